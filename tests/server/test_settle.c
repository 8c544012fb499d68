/* What of a request stays in memory while it waits and runs. */
#include "server/request.h"
#include "support/support.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static server_options options;

static bool read_body(chat_request *r, const buffer *body, http_error *e)
{
    return request_read(r, buffer_slice(body), &options, 8192, 2048, e);
}

static size_t bytes_in_use(void)
{
    const struct mallinfo2 now = mallinfo2();
    return now.uordblks + now.hblkhd;
}

static void a_settled_request_keeps_what_running_needs(void **state)
{
    buffer body = { 0 };
    chat_request r;
    http_error e;
    (void)state;
    assert_int_equal(
        buffer_append_text(
            &body,
            "{\"model\":\"my model\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stop\":[\"END\",\"\\n\"],"
            "\"logit_bias\":{\"7\":-5,\"9\":2},\"stream\":true,\"seed\":3,"
            "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}},"
            "{\"type\":\"function\",\"function\":{\"name\":\"g\"}}],"
            "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}}}"),
        DS4_OK);
    assert_true(read_body(&r, &body, &e));
    memset(body.data, '#', body.size); /* nothing may point into it */
    buffer_free(&body);
    const chat_request before = r;
    const char *stop = r.stops[1].data, *name = r.tools[1].name.data, *schema = r.tools[0].schema.data;
    assert_true(request_settle(&r, &e));
    assert_null(r.body);
    assert_ptr_not_equal(r.model.data, before.model.data);
    assert_ptr_not_equal(r.choice_name.data, before.choice_name.data);
    assert_ptr_not_equal(r.sampling.biases, before.sampling.biases);
    assert_ptr_not_equal(r.stops[1].data, stop);
    assert_ptr_not_equal(r.tools[1].name.data, name);
    assert_ptr_not_equal(r.tools[0].schema.data, schema);
    assert_null(r.messages);
    assert_int_equal(r.n_messages, 0);
    assert_true(slice_equal(r.model, SLICE("my model")));
    assert_int_equal(r.n_stops, 2);
    assert_true(slice_equal(r.stops[0], SLICE("END")));
    assert_true(slice_equal(r.stops[1], SLICE("\n")));
    assert_int_equal(r.n_tools, 2);
    assert_true(slice_equal(r.tools[0].name, SLICE("f")));
    assert_true(slice_equal(r.tools[0].schema, SLICE("{\"name\": \"f\", \"parameters\": {}}")));
    assert_true(slice_equal(r.tools[1].name, SLICE("g")));
    assert_int_equal(r.choice, CHOICE_NAMED);
    assert_true(slice_equal(r.choice_name, SLICE("g")));
    assert_int_equal(r.sampling.n_biases, 2);
    assert_int_equal(r.sampling.biases[1].id, 9);
    assert_true(r.stream);
    request_free(&r);
}

static void a_waiting_request_takes_no_memory_for_its_body(void **state)
{
    enum { MESSAGES = 100000 };
    buffer body = { 0 };
    chat_request r;
    http_error e;
    (void)state;
    assert_int_equal(buffer_append_text(&body, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}"), DS4_OK);
    for (int i = 0; i < MESSAGES; i++)
        assert_int_equal(buffer_append_text(&body, ",{\"role\":\"user\",\"content\":\"x\"}"), DS4_OK);
    assert_int_equal(buffer_append_text(&body, "]}"), DS4_OK);
    const size_t before = bytes_in_use();
    if (before == 0) { /* a sanitizer's allocator, which does not tell */
        buffer_free(&body);
        skip();
    }
    assert_true(read_body(&r, &body, &e));
    assert_true(bytes_in_use() - before > body.size);
    assert_true(request_settle(&r, &e));
    assert_true(bytes_in_use() - before < 64 * 1024);
    request_free(&r);
    buffer_free(&body);
}

static void fill(buffer *body, const char *item, size_t n)
{
    assert_int_equal(buffer_append_text(body, "{\"messages\":["), DS4_OK);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(buffer_append_text(body, i ? "," : ""), DS4_OK);
        assert_int_equal(buffer_append_text(body, item), DS4_OK);
    }
    assert_int_equal(buffer_append_text(body, "]}"), DS4_OK);
}

static void a_body_of_tiny_values_is_refused_before_it_fills_the_memory(void **state)
{
    (void)state;
    options.body_bytes_max = 4 << 20; /* 64 MiB for values */
    /* The tree itself, and then the lists made from it: each message of 17 bytes is a structure of a hundred. */
    static const struct {
        const char *item;
        size_t n;
    } cases[] = { { "[0]", 1 << 20 }, { "{\"role\":\"user\"}", 600000 } };
    for (size_t i = 0; i < 2; i++) {
        buffer body = { 0 };
        chat_request r;
        http_error e;
        fill(&body, cases[i].item, cases[i].n);
        assert_false(read_body(&r, &body, &e));
        assert_int_equal(e.status, 413);
        assert_non_null(strstr(e.message, "too many values"));
        request_free(&r);
        buffer_free(&body);
    }
    options = server_options_default();
}

static void echoed_names_have_a_limit(void **state)
{
    (void)state;
    for (size_t n = MODEL_BYTES_MAX; n <= MODEL_BYTES_MAX + 1; n++) {
        buffer body = { 0 };
        chat_request r;
        http_error e;
        assert_int_equal(buffer_printf(&body,
                                       "{\"model\":\"%0*d\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
                                       (int)n, 0),
                         DS4_OK);
        assert_int_equal(read_body(&r, &body, &e), n == MODEL_BYTES_MAX);
        if (n > MODEL_BYTES_MAX) {
            assert_int_equal(e.status, 400);
            assert_string_equal(e.param, "model");
        }
        request_free(&r);
        buffer_free(&body);
    }
}

/* A refusal quotes the client at most once, cut; so an error is never longer than this. */
static void a_refusal_is_short_whatever_the_client_sent(void **state)
{
    static const char *const bodies[] = {
        "{\"messages\":[{\"role\":\"%s\"}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"%s\"}]}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"reasoning_effort\":\"%s\"}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"response_format\":{\"type\":\"%s\"}}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"thinking\":{\"type\":\"%s\"}}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"logit_bias\":{\"%s\":1}}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":\"%s\"}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":{\"function\":{\"name\":\"%s\"}}}",
        ("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\",\"function\":{"
         "\"name\":\"%s\"}}]}"),
    };
    char *long_text = malloc(1 << 20);
    (void)state;
    assert_non_null(long_text);
    memset(long_text, 'z', (1 << 20) - 1);
    long_text[(1 << 20) - 1] = 0;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        buffer body = { 0 }, printed = { 0 };
        chat_request r;
        http_error e;
        const char *hole = strstr(bodies[i], "%s");
        assert_int_equal(buffer_append(&body, bodies[i], (size_t)(hole - bodies[i])), DS4_OK);
        assert_int_equal(buffer_append_text(&body, long_text), DS4_OK);
        assert_int_equal(buffer_append_text(&body, hole + 2), DS4_OK);
        if (read_body(&r, &body, &e))
            fail_msg("%s is accepted", bodies[i]);
        assert_int_equal(error_print(&e, &printed), DS4_OK);
        assert_true(printed.size < 1024);
        request_free(&r);
        buffer_free(&body);
        buffer_free(&printed);
    }
    free(long_text);
}

static int set_up(void **state)
{
    (void)state;
    options = server_options_default();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_settled_request_keeps_what_running_needs),
                                        cmocka_unit_test(a_waiting_request_takes_no_memory_for_its_body),
                                        cmocka_unit_test(a_body_of_tiny_values_is_refused_before_it_fills_the_memory),
                                        cmocka_unit_test(echoed_names_have_a_limit),
                                        cmocka_unit_test(a_refusal_is_short_whatever_the_client_sent) };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
