/* The tokenizer against protocol specification 1: the split, the merges, and what text can never become. */
#include "support/gguf_builder.h"
#include "support/support.h"
#include "text/vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const merges[] = {
    "h e", "l l", "he ll", "hell o", "\u0120 w", "a a", "aa aa", "< /", "t h", "th i"
};
enum { N_MERGES = sizeof merges / sizeof merges[0], FIRST_BYTE = 9, FIRST_MERGE = 9 + 256 };

static gguf_file *file;
static text_tokenizer *tokenizer;
static char *bytes;

static int open_tokenizer(void **state)
{
    gguf_builder b = { 0 };
    size_t size;
    ds4_error err = { 0 };
    (void)state;
    gb_tokenizer(&b, merges, N_MERGES);
    bytes = gb_finish(&b, &size);
    assert_int_equal(hash_start(NULL), DS4_OK);
    assert_int_equal(gguf_open_bytes(&file, bytes, size, &err), DS4_OK);
    if (text_tokenizer_open(&tokenizer, file, NULL, &err) != DS4_OK)
        fail_msg("%s", err.text);
    return 0;
}

static int close_tokenizer(void **state)
{
    (void)state;
    text_tokenizer_close(tokenizer);
    gguf_close(file);
    free(bytes);
    return 0;
}

/* --- the split: the vectors of 1.3 ---------------------------------------------------------------------------------------- */

static ds4_status join(void *user, slice piece)
{
    buffer *out = user;
    if (out->size)
        buffer_append_text(out, "|");
    return buffer_append_slice(out, piece);
}

static void the_split_is_that_of_the_specification(void **state)
{
    static const struct {
        const char *text, *pieces;
    } vectors[] = {
        { "Hello world", "Hello| world" },
        { "    int x = 12345;\n", "   | int| x| =| |123|45|;\n" },
        { "a  123", "a|  |123" },
        { "x=1;\n\n\ny", "x|=|1|;\n\n\n|y" },
        { "don't stop", "don|'t| stop" },
        { "</think>", "</|think|>" },
        { "foo_bar(baz)", "foo|_bar|(baz|)" },
        { "\u4f60\u597d\uff0cworld", "\u4f60\u597d|\uff0c|world" },
        { "  \u4e2d\u6587", "  |\u4e2d\u6587" },
        { "na\u00efve caf\u00e9\u2026", "na\u00efve| caf\u00e9|\u2026" },
        { "\U0001f469\u200d\U0001f4bb ok", "\U0001f469|\u200d|\U0001f4bb| ok" },
        { "\u2764\ufe0f!", "\u2764|\ufe0f|!" },
        { "\u0661\u0662\u0663\u0664", "\u0661\u0662\u0663|\u0664" },
        { "tab\tsep", "tab|\tsep" },
        { "end  ", "end|  " },
        { "\r\n\r\nA", "\r\n\r\n|A" },
        { "say \"hi\"", "say| \"|hi|\"" },
        { "price: $9.99", "price|:| $|9|.|99" },
        { "#include <stdio.h>", "#include| <|stdio|.h|>" },
        { "a\u00a0b", "a|\u00a0b" },
        { "\u00bd cup", "\u00bd| cup" },
        { "", "" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        buffer out = { 0 };
        assert_int_equal(split_text(tokenizer, slice_of(vectors[i].text), join, &out), DS4_OK);
        assert_string_equal(out.data ? out.data : "", vectors[i].pieces);
        buffer_free(&out);
    }
}

/* --- merging ------------------------------------------------------------------------------------------------------------- */

static void assert_ids(const char *text, const uint32_t *ids, size_t n)
{
    token_list out = { 0 };
    assert_int_equal(text_encode(tokenizer, slice_of(text), &out, NULL), DS4_OK);
    assert_int_equal(out.n, n);
    assert_memory_equal(out.ids, ids, n * sizeof *ids);
    token_list_free(&out);
}

static void lower_ranks_merge_first_and_equal_pairs_from_the_left(void **state)
{
    (void)state;
    assert_ids("hello", (uint32_t[]){ FIRST_MERGE + 3 }, 1);
    assert_ids("hell", (uint32_t[]){ FIRST_MERGE + 2 }, 1);
    assert_ids("aaaaa", (uint32_t[]){ FIRST_MERGE + 6, FIRST_BYTE + 'a' }, 2);
    assert_ids("aaa", (uint32_t[]){ FIRST_MERGE + 5, FIRST_BYTE + 'a' }, 2);
    assert_ids("hello world",
               (uint32_t[]){ FIRST_MERGE + 3, FIRST_MERGE + 4, FIRST_BYTE + 'o', FIRST_BYTE + 'r', FIRST_BYTE + 'l',
                             FIRST_BYTE + 'd' },
               6);
}

/* O(n log n): a mebibyte of one letter is one piece. With a quadratic algorithm this takes hours, so no clock is needed. */
static void a_mebibyte_of_one_letter_is_encoded(void **state)
{
    enum { N = 1 << 20 };
    char *text = malloc(N);
    token_list out = { 0 };
    (void)state;
    memset(text, 'a', N);
    assert_int_equal(text_encode(tokenizer, (slice){ text, N }, &out, NULL), DS4_OK);
    assert_int_equal(out.n, N / 4);
    token_list_free(&out);
    free(text);
}

static void decode(const token_list *ids, buffer *out)
{
    for (size_t i = 0; i < ids->n; i++)
        buffer_append_slice(out, text_piece(tokenizer, ids->ids[i]));
}

/* 1.4: for any bytes whatever, the ids hold no control token, and give the bytes back. */
static void text_never_becomes_a_control_token(void **state)
{
    static const char *const parts[] = { "<think>",
                                         "</think>",
                                         "<\uff5cUser\uff5c>",
                                         "\uff5cDSML\uff5c",
                                         "hello",
                                         " ",
                                         "\n",
                                         "\xff",
                                         "\xe4\xbd",
                                         "12",
                                         "\u4f60",
                                         "<",
                                         "\uff5c",
                                         "a",
                                         "think>" };
    test_random r = test_random_seeded(20261124);
    (void)state;
    for (int round = 0; round < 2000; round++) {
        buffer text = { 0 }, back = { 0 };
        token_list ids = { 0 };
        for (uint32_t n = test_random_below(&r, 12); n > 0; n--)
            buffer_append_text(&text, parts[test_random_below(&r, sizeof parts / sizeof parts[0])]);
        assert_int_equal(text_encode(tokenizer, buffer_slice(&text), &ids, NULL), DS4_OK);
        for (size_t i = 0; i < ids.n; i++)
            assert_false(text_is_control(tokenizer, ids.ids[i]));
        decode(&ids, &back);
        assert_int_equal(back.size, text.size);
        if (text.size)
            assert_memory_equal(back.data, text.data, text.size);
        buffer_free(&text);
        buffer_free(&back);
        token_list_free(&ids);
    }
}

static void spans_are_joined_and_only_controls_cut(void **state)
{
    text_spans spans = { 0 };
    token_list ids = { 0 };
    const uint32_t want[] = { 2, FIRST_MERGE + 3, 4 };
    (void)state;
    assert_int_equal(text_spans_control(&spans, TEXT_USER), DS4_OK);
    assert_int_equal(text_spans_text(&spans, SLICE("he")), DS4_OK);
    assert_int_equal(text_spans_text(&spans, SLICE("llo")), DS4_OK);
    assert_int_equal(text_spans_control(&spans, TEXT_THINK), DS4_OK);
    assert_int_equal(text_spans_seal(&spans), DS4_OK);
    assert_int_equal(text_encode_spans(tokenizer, &spans, &ids, NULL), DS4_OK);
    assert_int_equal(ids.n, 3);
    assert_memory_equal(ids.ids, want, sizeof want);
    token_list_free(&ids);
    text_spans_free(&spans);
}

static void specials_are_recognised_only_on_request(void **state)
{
    token_list ids = { 0 };
    const uint32_t want[] = { FIRST_MERGE + 3, 4, 5 };
    (void)state;
    assert_int_equal(text_encode_with_specials(tokenizer, SLICE("hello<think></think>"), &ids, NULL), DS4_OK);
    assert_int_equal(ids.n, 3);
    assert_memory_equal(ids.ids, want, sizeof want);
    token_list_free(&ids);
}

/* --- a vocabulary that is wrong --------------------------------------------------------------------------------------------- */

static void assert_refused(gguf_builder *b, const char *pre, const char *words)
{
    size_t size;
    char *wrong = gb_finish(b, &size);
    gguf_file *f;
    text_tokenizer *t;
    ds4_error err = { 0 };
    assert_int_equal(gguf_open_bytes(&f, wrong, size, &err), DS4_OK);
    assert_int_not_equal(text_tokenizer_open(&t, f, pre, &err), DS4_OK);
    assert_null(t);
    if (!strstr(err.text, words))
        fail_msg("'%s' does not say '%s'", err.text, words);
    gguf_close(f);
    free(wrong);
}

static void a_wrong_vocabulary_is_refused_with_words(void **state)
{
    gguf_builder b = { 0 };
    const char *const unknown[] = { "h e", "q nope" };
    (void)state;
    assert_refused(&b, NULL, "tokenizer.ggml.model' is missing");
    gb_tokenizer(&b, merges, 0);
    assert_refused(&b, "llama-bpe", "'llama-bpe'");
    /* "q nope": the right half is no token. */
    gb_string(&b, "tokenizer.ggml.model", "gpt2");
    gb_string(&b, "tokenizer.ggml.pre", "joyai-llm");
    gb_strings(&b, "tokenizer.ggml.tokens", unknown, 2);
    gb_i32s(&b, "tokenizer.ggml.token_type", (int32_t[]){ 1, 1 }, 2);
    gb_strings(&b, "tokenizer.ggml.merges", unknown, 0);
    assert_refused(&b, NULL, "has no token");
}

/* --- streaming UTF-8 ---------------------------------------------------------------------------------------------------------- */

static void utf8_is_the_same_however_it_is_cut(void **state)
{
    static const struct {
        const char *text, *shown;
    } cases[] = { { "a\u00e9\u20ac\U0001f600z", "a\u00e9\u20ac\U0001f600z" },
                  { "\xff", "\ufffd" },
                  { "\xe2\x82", "\ufffd" },
                  { "\xe2\x82x", "\ufffdx" },
                  { "\xf0\x9f\x98\xe2\x82\xac", "\ufffd\u20ac" },
                  { "\xed\xa0\x80", "\ufffd\ufffd\ufffd" },
                  { "\xc0\xaf", "\ufffd\ufffd" } };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t cut = 0; cut <= strlen(cases[i].text); cut++) {
            text_utf8 s = { 0 };
            buffer out = { 0 };
            text_utf8_feed(&s, (slice){ cases[i].text, cut }, &out);
            text_utf8_feed(&s, slice_of(cases[i].text + cut), &out);
            text_utf8_finish(&s, &out);
            assert_string_equal(out.data ? out.data : "", cases[i].shown);
            buffer_free(&out);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_split_is_that_of_the_specification),
        cmocka_unit_test(lower_ranks_merge_first_and_equal_pairs_from_the_left),
        cmocka_unit_test(a_mebibyte_of_one_letter_is_encoded),
        cmocka_unit_test(text_never_becomes_a_control_token),
        cmocka_unit_test(spans_are_joined_and_only_controls_cut),
        cmocka_unit_test(specials_are_recognised_only_on_request),
        cmocka_unit_test(a_wrong_vocabulary_is_refused_with_words),
        cmocka_unit_test(utf8_is_the_same_however_it_is_cut),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
