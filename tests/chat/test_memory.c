/* Memory runs out at the n-th request for it, alone or with all that follow, for every n: the parser, its sets and the rendering of
 * prompts say so, or have done all they were asked for. */
#include "chat/chat.h"
#include "support/byte_tokenizer.h"
#include "support/memory_fuse.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DSML "\uff5cDSML\uff5c"

static byte_tokenizer fixture;

static int open_tokenizer(void **state)
{
    (void)state;
    byte_tokenizer_open(&fixture, NULL, 0);
    return 0;
}

static int close_tokenizer(void **state)
{
    (void)state;
    byte_tokenizer_close(&fixture);
    return 0;
}

static const chat_tool tools[] = { { SLICE("f"),
                                     SLICE("{\"name\":\"f\",\"parameters\":{\"properties\":{\"s\":{\"type\":"
                                           "\"string\"},\"n\":{}},\"required\":[\"s\"]}}") } };

/* A record of fixed size: it needs no memory of its own. */
typedef struct record {
    char out[512];
    size_t n;
} record;

static void on_event(void *user, const chat_event *event)
{
    record *r = user;
    assert_true(r->n + event->text.size + 2 < sizeof r->out);
    if (r->n == 0 || event->kind >= CHAT_EVENT_CALL_BEGIN)
        r->out[r->n++] = "RC[D]"[event->kind];
    memcpy(r->out + r->n, event->text.data, event->text.size);
    r->n += event->text.size;
}

/* Feeds the ids, asking before each what may come. True if nothing failed. */
static bool run(const token_list *ids, record *r)
{
    static const slice stops[] = { SLICE("STOP") };
    const chat_parser_options options = { .thinking_open = true,
                                          .allow_tools = true,
                                          .grammar = true,
                                          .tools = tools,
                                          .n_tools = 1,
                                          .stops = stops,
                                          .n_stops = 1 };
    chat_verdict verdict = CHAT_GO_ON;
    chat_outcome outcome;
    chat_parser *p;
    ds4_status status = chat_parser_new(&p, fixture.tokenizer, &options, on_event, r, NULL);
    for (size_t i = 0; status == DS4_OK && i < ids->n && verdict == CHAT_GO_ON; i++) {
        chat_parser_allowed(p);
        status = chat_parser_feed(p, ids->ids[i], &verdict, NULL);
    }
    if (status == DS4_OK)
        status = chat_parser_finish(p, false, &outcome, NULL);
    assert_true(status == DS4_OK || status == DS4_ERR_NO_MEMORY);
    chat_parser_free(p);
    return status == DS4_OK;
}

static void an_answer_is_whole_or_fails(void **state)
{
    static const char text[] =
        "why</think>ok STO\n\n<" DSML "tool_calls>\n<" DSML "invoke name=\"f\">\n<" DSML
        "parameter name=\"s\" string=\"true\">a \"b\"</" DSML "parameter>\n<" DSML
        "parameter name=\"n\" string=\"false\">[1, {}]</" DSML "parameter>\n</" DSML "invoke>\n</" DSML "tool_calls>";
    token_list ids = { 0 };
    record want = { 0 };
    long n_failed = 0;
    (void)state;
    if (!MEMORY_FUSE)
        skip();
    assert_int_equal(text_encode_with_specials(fixture.tokenizer, SLICE(text), &ids, NULL), DS4_OK);
    assert_true(run(&ids, &want));
    assert_non_null(strstr(want.out, "[f"));
    for (int for_good = 0; for_good < 2; for_good++)
        for (long n = 1;; n++) {
            record got = { 0 };
            memory_fuse_set(n, for_good);
            const bool good = run(&ids, &got);
            const bool blown = memory_fuse_clear();
            if (good) {
                assert_int_equal(got.n, want.n);
                assert_memory_equal(got.out, want.out, want.n);
            }
            assert_true(good || blown);
            n_failed += !good;
            if (!blown)
                break;
        }
    printf("%ld failures\n", n_failed);
    assert_true(n_failed > 20);
    token_list_free(&ids);
}

static ds4_status render(text_spans *spans)
{
    static const slice texts[] = { SLICE("Weather?"), SLICE("in Rome") };
    static const chat_call calls[] = { { SLICE("1"), SLICE("f"), SLICE("{\"s\": \"</\", \"n\": [1]}") } };
    static const chat_message messages[] = {
        { .role = CHAT_SYSTEM, .texts = texts, .n_texts = 2 },
        { .role = CHAT_USER, .texts = texts, .n_texts = 1 },
        { .role = CHAT_ASSISTANT, .reasoning = SLICE("hm"), .calls = calls, .n_calls = 1 },
        { .role = CHAT_TOOL, .texts = texts, .n_texts = 2, .call_id = SLICE("1") },
    };
    const chat_prompt prompt = {
        .mode = CHAT_THINK_MAX, .messages = messages, .n_messages = 4, .tools = tools, .n_tools = 1
    };
    ds4_status status = chat_render(&prompt, spans, NULL, NULL);
    return status == DS4_OK ? text_spans_seal(spans) : status;
}

static void a_prompt_is_whole_or_fails(void **state)
{
    text_spans spans = { 0 };
    token_list want = { 0 };
    (void)state;
    if (!MEMORY_FUSE)
        skip();
    assert_int_equal(render(&spans), DS4_OK);
    assert_int_equal(text_encode_spans(fixture.tokenizer, &spans, &want, NULL), DS4_OK);
    text_spans_free(&spans);
    for (long n = 1;; n++) {
        token_list got = { 0 };
        memory_fuse_set(n, false);
        ds4_status status = render(&spans);
        if (status == DS4_OK)
            status = text_encode_spans(fixture.tokenizer, &spans, &got, NULL);
        const bool blown = memory_fuse_clear();
        assert_true(status == DS4_OK || (blown && status == DS4_ERR_NO_MEMORY));
        if (status == DS4_OK) {
            assert_int_equal(got.n, want.n);
            assert_memory_equal(got.ids, want.ids, want.n * sizeof *want.ids);
        }
        text_spans_free(&spans);
        token_list_free(&got);
        if (!blown)
            break;
    }
    token_list_free(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_whole_or_fails),
        cmocka_unit_test(a_prompt_is_whole_or_fails),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
