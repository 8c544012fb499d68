/* From the body of a request to its prompt, against a renderer that was written from the specification alone
 * (tests/oracle/prompt.py made tests/data/prompts.jsonl). */
#include "server/request.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

/* The text with every control token between U+0002 and U+0003, so that none can be mistaken for its spelling. */
static void print_marked(const text_spans *spans, buffer *out)
{
    for (size_t i = 0; i < spans->n; i++) {
        const text_span *span = &spans->items[i];
        if (span->kind == TEXT_SPAN_TEXT) {
            assert_int_equal(buffer_append_slice(out, span->text), DS4_OK);
            continue;
        }
        assert_int_equal(buffer_printf(out, "\x02%s\x03", text_special_spelling(span->special)), DS4_OK);
    }
}

static void check(const json_value *entry, size_t line)
{
    server_options options = server_options_default();
    buffer body = { 0 }, got = { 0 };
    text_spans spans = { 0 };
    chat_request r;
    http_error e;
    ds4_error err = { 0 };
    int64_t profile = -1;
    slice want = { 0 };
    assert_true(json_int64(json_member(entry, "profile"), &profile));
    assert_true(json_string(json_member(entry, "prompt"), &want));
    assert_int_equal(json_print_compact(json_member(entry, "body"), &body), DS4_OK);
    options.profile = (chat_profile)profile;
    if (!request_read(&r, buffer_slice(&body), &options, 8192, 2048, &e))
        fail_msg("line %zu: %s", line, e.message);
    const chat_prompt prompt = { .profile = options.profile,
                                 .mode = r.mode,
                                 .effort = r.effort,
                                 .messages = r.messages,
                                 .n_messages = r.n_messages,
                                 .tools = r.tools,
                                 .n_tools = r.n_tools,
                                 .response_format = r.response_format };
    if (chat_render(&prompt, &spans, NULL, &err) != DS4_OK)
        fail_msg("line %zu: %s", line, err.text);
    assert_int_equal(text_spans_seal(&spans), DS4_OK);
    print_marked(&spans, &got);
    if (!slice_equal(buffer_slice(&got), want))
        fail_msg("line %zu gives '%.*s'\nwant '%.*s'", line, (int)got.size, got.data, (int)want.size, want.data);
    text_spans_free(&spans);
    request_free(&r);
    buffer_free(&body);
    buffer_free(&got);
}

static void requests_become_the_prompts_of_the_second_renderer(void **state)
{
    size_t size = 0, n = 0;
    char *text = test_read_file(TEST_DATA "/prompts.jsonl", &size);
    (void)state;
    assert_non_null(text);
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        const size_t length = end ? (size_t)(end - text) - at : size - at;
        json_value *entry;
        assert_int_equal(json_parse(&entry, (slice){ text + at, length }, NULL, NULL), DS4_OK);
        check(entry, ++n);
        json_free(entry);
        at += length + 1;
    }
    assert_true(n >= 100);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(requests_become_the_prompts_of_the_second_renderer) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
