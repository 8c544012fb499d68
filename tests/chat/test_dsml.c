/* What dsml.c writes, the parser reads back to the same arguments, and the grammar allows token by token. */
#include "chat/template.h"
#include "support/byte_tokenizer.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

#define CLOSE "/\uff5cDSML\uff5cparameter>"

static byte_tokenizer fixture;
static const text_tokenizer *tokenizer;

static int open_tokenizer(void **state)
{
    static const char *const merges[] = { "\" >", "\"> \u010a", "\">\u010a \u010a", "> \u010a", "< /", "p a", "= \"" };
    (void)state;
    byte_tokenizer_open(&fixture, merges, sizeof merges / sizeof merges[0]);
    tokenizer = fixture.tokenizer;
    return 0;
}

static int close_tokenizer(void **state)
{
    (void)state;
    byte_tokenizer_close(&fixture);
    return 0;
}

/* --- random arguments -------------------------------------------------------------------------------------------------- */

static const char *const atoms[] = { "a",
                                     "<",
                                     "</",
                                     "&",
                                     "&amp;",
                                     "&lt;",
                                     "&lt;" CLOSE,
                                     "<" CLOSE,
                                     "amp;",
                                     "&amp;lt;" CLOSE,
                                     "\uff5cDSML\uff5c",
                                     "\n",
                                     "\"",
                                     "\\",
                                     "\u00e9",
                                     " ",
                                     "</think>",
                                     "<parameter name=\"s\">" };

static void put_string(buffer *out, test_random *r, bool plain)
{
    buffer text = { 0 };
    for (uint32_t n = test_random_below(r, 5); n > 0; n--)
        buffer_append_text(&text, plain ? "k" : atoms[test_random_below(r, sizeof atoms / sizeof atoms[0])]);
    assert_int_equal(json_write_string(out, buffer_slice(&text)), DS4_OK);
    buffer_free(&text);
}

static void put_value(buffer *out, test_random *r, int depth)
{
    static const char *const scalars[] = { "true", "null", "-1.5e+300", "12345678901234567890", "0.1", "0" };
    const uint32_t kind = test_random_below(r, depth > 2 ? 6 : 9);
    if (kind < 4) {
        put_string(out, r, false);
    } else if (kind < 6) {
        buffer_append_text(out, scalars[test_random_below(r, 6)]);
    } else {
        buffer_append_text(out, kind < 8 ? "[" : "{");
        for (uint32_t i = 0, n = test_random_below(r, 4); i < n; i++) {
            buffer_append_text(out, i ? "," : "");
            if (kind == 8)
                buffer_printf(out, "\"%u<\":", (unsigned)i);
            put_value(out, r, depth + 1);
        }
        buffer_append_text(out, kind < 8 ? "]" : "}");
    }
}

static void put_arguments(buffer *out, test_random *r, bool plain_keys)
{
    buffer_append_byte(out, '{');
    for (uint32_t i = 0, n = test_random_below(r, 4); i < n; i++) {
        buffer_append_text(out, i ? "," : "");
        put_string(out, r, plain_keys);
        buffer_append_byte(out, ':');
        put_value(out, r, 0);
    }
    buffer_append_byte(out, '}');
}

/* --- there and back ----------------------------------------------------------------------------------------------------- */

typedef struct seen {
    buffer arguments;
    uint32_t n_calls;
} seen;

static void on_event(void *user, const chat_event *event)
{
    seen *s = user;
    if (event->kind == CHAT_EVENT_CALL_DATA)
        assert_int_equal(buffer_append_slice(&s->arguments, event->text), DS4_OK);
    else if (event->kind == CHAT_EVENT_CALL_END)
        s->n_calls++;
    else
        assert_int_equal(event->kind, CHAT_EVENT_CALL_BEGIN);
}

static void normalise(slice text, buffer *out)
{
    json_value *value;
    ds4_error err = { 0 };
    if (json_parse(&value, text, NULL, &err) != DS4_OK)
        fail_msg("'%.*s': %s", (int)text.size, text.data, err.text);
    assert_int_equal(json_print_compact(value, out), DS4_OK);
    json_free(value);
}

static void check(slice arguments, chat_profile profile, bool legal)
{
    const chat_call call = { .name = SLICE("f"), .arguments = arguments };
    const chat_tool tool = { SLICE("f"), SLICE("{\"name\": \"f\"}") };
    const chat_parser_options options = {
        .allow_tools = true, .grammar = true, .profile = profile, .tools = &tool, .n_tools = 1
    };
    text_spans spans = { 0 };
    token_list ids = { 0 };
    buffer want = { 0 }, got = { 0 };
    chat_verdict verdict = CHAT_GO_ON;
    chat_parser *p;
    seen s = { 0 };
    assert_int_equal(dsml_render_calls(&spans, profile, &call, 1), DS4_OK);
    assert_int_equal(text_spans_seal(&spans), DS4_OK);
    assert_int_equal(text_encode_spans(tokenizer, &spans, &ids, NULL), DS4_OK);
    assert_int_equal(chat_parser_new(&p, tokenizer, &options, on_event, &s, NULL), DS4_OK);
    for (size_t i = 0; i < ids.n; i++) {
        if (legal && !chat_parser_allows(p, ids.ids[i]))
            fail_msg("token %zu of the call with '%.*s' is refused", i, (int)arguments.size, arguments.data);
        assert_int_equal(verdict, CHAT_GO_ON);
        assert_int_equal(chat_parser_feed(p, ids.ids[i], &verdict, NULL), DS4_OK);
    }
    assert_int_equal(verdict, CHAT_STOP_TOOLS);
    assert_int_equal(s.n_calls, 1);
    normalise(arguments, &want);
    normalise(buffer_slice(&s.arguments), &got);
    if (!slice_equal(buffer_slice(&want), buffer_slice(&got)))
        fail_msg("'%.*s' comes back as '%.*s'", (int)want.size, want.data, (int)got.size, got.data);
    chat_parser_free(p);
    text_spans_free(&spans);
    token_list_free(&ids);
    buffer_free(&want);
    buffer_free(&got);
    buffer_free(&s.arguments);
}

static void what_is_rendered_reads_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4000; seed++) {
        test_random r = test_random_seeded(seed);
        const bool plain_keys = seed % 2; /* others hold what the grammar offers no model, and clients may send */
        buffer arguments = { 0 };
        put_arguments(&arguments, &r, plain_keys);
        check(buffer_slice(&arguments), (chat_profile)(seed % 3), false);
        buffer_free(&arguments);
    }
}

static void what_is_rendered_is_legal(void **state)
{
    static const char *const list[] = { "{}", "{\"a\":\"\"}",
                                        "{\"a\":\"</b> &amp; <\",\"b\":[1,-2.5,{\"k\":null}],\"c\":true}",
                                        "{\"a b\":{},\"x-y\":\"\\n\\n\"}", "{\"\u00e9\":[[],[{}]],\"n\":1e-7}" };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        for (int profile = CHAT_V4; profile <= CHAT_V4_1; profile++)
            check(slice_of(list[i]), (chat_profile)profile, true);
}

/* 2.5: the two reversible exceptions, in the letters of the specification. */
static void closing_tags_in_values_are_escaped(void **state)
{
    static const struct {
        const char *value, *written;
    } cases[] = { { "<" CLOSE, "&lt;" CLOSE },
                  { "&lt;" CLOSE, "&amp;lt;" CLOSE },
                  { "&amp;lt;" CLOSE, "&amp;amp;lt;" CLOSE },
                  { "&lt; &amp; </b> </parameter>", "&lt; &amp; </b> </parameter>" } };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        buffer arguments = { 0 }, text = { 0 }, want = { 0 };
        text_spans spans = { 0 };
        assert_int_equal(buffer_append_text(&arguments, "{\"a\":"), DS4_OK);
        assert_int_equal(json_write_string(&arguments, slice_of(cases[i].value)), DS4_OK);
        assert_int_equal(buffer_append_text(&arguments, "}"), DS4_OK);
        const chat_call call = { .name = SLICE("f"), .arguments = buffer_slice(&arguments) };
        assert_int_equal(dsml_render_calls(&spans, CHAT_V4, &call, 1), DS4_OK);
        assert_int_equal(text_spans_print(&spans, &text), DS4_OK);
        assert_int_equal(buffer_printf(&want, "string=\"true\">%s<" CLOSE "\n", cases[i].written), DS4_OK);
        assert_non_null(memmem(text.data, text.size, want.data, want.size));
        buffer_free(&arguments);
        buffer_free(&text);
        buffer_free(&want);
        text_spans_free(&spans);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_rendered_reads_back),
        cmocka_unit_test(what_is_rendered_is_legal),
        cmocka_unit_test(closing_tags_in_values_are_escaped),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
