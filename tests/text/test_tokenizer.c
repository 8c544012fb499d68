/* The tokenizer against docs/spec/protocol.md, section 1: the split, the merges, and what text can never become. */
#include "support/byte_tokenizer.h"
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

static byte_tokenizer fixture;
static const text_tokenizer *tokenizer;

static int open_tokenizer(void **state)
{
    (void)state;
    byte_tokenizer_open(&fixture, merges, N_MERGES);
    tokenizer = fixture.tokenizer;
    return 0;
}

static int close_tokenizer(void **state)
{
    (void)state;
    byte_tokenizer_close(&fixture);
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

static ds4_status note_size(void *user, slice piece)
{
    buffer *sizes = user;
    return buffer_printf(sizes, "%zu ", piece.size);
}

/* PCRE2's own limit of steps is ten million; a run of spaces beyond it splits as every other: all but one, then the word. */
static void runs_of_any_length_split_alike(void **state)
{
    enum { N = 11 << 20 };
    char *text = malloc(N), want[32];
    buffer sizes = { 0 };
    (void)state;
    memset(text, ' ', N);
    text[N - 1] = 'x';
    assert_int_equal(split_text(tokenizer, (slice){ text, N }, note_size, &sizes), DS4_OK);
    snprintf(want, sizeof want, "%d 2 ", N - 2);
    assert_string_equal(sizes.data, want);
    buffer_free(&sizes);
    free(text);
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

/* A rule that a file states twice has its first rank: "a b" comes before "b c". */
static void of_equal_rules_the_first_counts(void **state)
{
    static const char *const rules[] = { "a b", "b c", "a b" };
    byte_tokenizer t;
    token_list ids = { 0 };
    (void)state;
    byte_tokenizer_open(&t, rules, 3);
    assert_int_equal(text_encode(t.tokenizer, SLICE("abc"), &ids, NULL), DS4_OK);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.ids[0], FIRST_MERGE);
    assert_int_equal(ids.ids[1], FIRST_BYTE + 'c');
    token_list_free(&ids);
    byte_tokenizer_close(&t);
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

/* The same by the plainest means: of all neighbours with a rule the first of the lowest rank is merged, until none has one. */
static size_t merge_plainly(const char (*rules)[2][32], size_t n_rules, char (*symbols)[32], size_t n)
{
    for (;;) {
        size_t best = n_rules, at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t k = 0; k < best; k++)
                if (strcmp(rules[k][0], symbols[i]) == 0 && strcmp(rules[k][1], symbols[i + 1]) == 0) {
                    best = k;
                    at = i;
                }
        if (best == n_rules)
            return n;
        memcpy(symbols[at] + strlen(symbols[at]), symbols[at + 1], strlen(symbols[at + 1]) + 1);
        memmove(symbols[at + 1], symbols[at + 2], (n - at - 2) * sizeof *symbols);
        n--;
    }
}

static void random_rules_merge_as_by_the_plainest_means(void **state)
{
    enum { N_RULES = 14, N_TEXT = 60 };
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        test_random r = test_random_seeded(seed);
        char rules[N_RULES][2][32], lines[N_RULES][64], known[3 + N_RULES][32] = { "a", "b", "c" };
        const char *list[N_RULES];
        gguf_builder b = { 0 };
        gguf_file *f;
        text_tokenizer *t;
        size_t n = 0, size;
        while (n < N_RULES) {
            char joined[32];
            bool old = false;
            const char *left = known[test_random_below(&r, (uint32_t)n + 3)];
            const char *right = known[test_random_below(&r, (uint32_t)n + 3)];
            if (strlen(left) + strlen(right) > 8)
                continue;
            snprintf(joined, sizeof joined, "%s%s", left, right);
            for (size_t k = 0; k < n + 3; k++)
                old = old || strcmp(known[k], joined) == 0;
            if (old)
                continue;
            strcpy(rules[n][0], left), strcpy(rules[n][1], right), strcpy(known[n + 3], joined);
            snprintf(lines[n], sizeof lines[0], "%s %s", left, right);
            list[n] = lines[n];
            n++;
        }
        gb_tokenizer(&b, list, N_RULES);
        char *data = gb_finish(&b, &size);
        assert_int_equal(gguf_open_bytes(&f, data, size, NULL), DS4_OK);
        assert_int_equal(text_tokenizer_open(&t, f, NULL, NULL), DS4_OK);
        for (int round = 0; round < 40; round++) {
            char text[N_TEXT + 1] = "", symbols[N_TEXT][32];
            token_list ids = { 0 };
            const size_t n_text = 1 + test_random_below(&r, N_TEXT);
            for (size_t i = 0; i < n_text; i++) {
                text[i] = "abc"[test_random_below(&r, 3)];
                snprintf(symbols[i], sizeof symbols[0], "%c", text[i]);
            }
            const size_t n_want = merge_plainly((const char(*)[2][32])rules, N_RULES, symbols, n_text);
            assert_int_equal(text_encode(t, (slice){ text, n_text }, &ids, NULL), DS4_OK);
            assert_int_equal(ids.n, n_want);
            for (size_t i = 0; i < n_want; i++)
                if (!slice_equal(text_piece(t, ids.ids[i]), slice_of(symbols[i])))
                    fail_msg("seed %u: '%s' is cut in another way at piece %zu", (unsigned)seed, text, i);
            token_list_free(&ids);
        }
        text_tokenizer_close(t);
        gguf_close(f);
        free(data);
    }
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

/* The good vocabulary's tokens, to be spoilt one at a time. */
typedef struct parts {
    const char *model, *pre;
    const char *tokens[FIRST_MERGE + N_MERGES];
    int32_t types[FIRST_MERGE + N_MERGES];
    const char *merges[N_MERGES];
    size_t n_tokens, n_types;
    char texts[FIRST_MERGE + N_MERGES][64];
} parts;

static void put_parts(gguf_builder *b, const parts *p)
{
    if (p->model)
        gb_string(b, "tokenizer.ggml.model", p->model);
    gb_string(b, "tokenizer.ggml.pre", p->pre);
    gb_strings(b, "tokenizer.ggml.tokens", p->tokens, p->n_tokens);
    gb_i32s(b, "tokenizer.ggml.token_type", p->types, p->n_types);
    gb_strings(b, "tokenizer.ggml.merges", p->merges, N_MERGES);
}

static parts good_parts(void)
{
    static parts p;
    size_t position = 0;
    slice text;
    p = (parts){ .model = "gpt2", .pre = "joyai-llm" };
    while (gguf_next_string(gguf_value_find(fixture.file, "tokenizer.ggml.tokens"), &position, &text)) {
        snprintf(p.texts[p.n_tokens], sizeof p.texts[0], "%.*s", (int)text.size, text.data);
        p.types[p.n_tokens++] = p.n_types < FIRST_BYTE ? 3 : 1;
        p.n_types++;
    }
    memcpy(p.merges, merges, sizeof merges);
    return p;
}

static void a_wrong_vocabulary_is_refused_with_words(void **state)
{
    static const struct {
        const char *words;
        size_t token;      /* this one becomes ... */
        const char *text;  /* ... that, */
        const char *merge; /* or the last merge that, */
        const char *model, *pre;
        int types_missing;
        int32_t type; /* of that token */
    } cases[] = {
        { .words = "names a token that is not in the vocabulary", .merge = "q nope" },
        { .words = "merge 9 is not two tokens", .merge = "alone" },
        { .words = "merge 9 is not two tokens", .merge = "" },
        { .words = "no token '</think>'", .token = 5, .text = "</thin>" },
        { .words = "no token '<\uff5cbegin\u2581of\u2581sentence\uff5c>'", .text = "<|begin|>" },
        { .words = "no plain token for byte 0x61", .token = FIRST_BYTE + 'a', .text = "aaaaaa" },
        { .words = "token 270 is not valid UTF-8", .token = 270, .text = "\xff" },
        { .words = "tokenizer.ggml.model is 'llama'", .model = "llama" },
        { .words = "'llama-bpe'; this program knows", .pre = "llama-bpe" },
        { .words = "token types for", .types_missing = 1 },
        { .words = "no plain token for byte 0x20", .token = FIRST_BYTE + ' ', .type = 5 },
    };
    gguf_builder b = { 0 };
    (void)state;
    assert_refused(&b, NULL, "tokenizer.ggml.model' is missing");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        parts p = good_parts();
        for (size_t k = 0; k < p.n_tokens; k++)
            p.tokens[k] = p.texts[k];
        if (cases[i].text)
            p.tokens[cases[i].token] = cases[i].text;
        if (cases[i].type)
            p.types[cases[i].token] = cases[i].type;
        if (cases[i].merge)
            p.merges[N_MERGES - 1] = cases[i].merge;
        p.model = cases[i].model ? cases[i].model : p.model;
        p.pre = cases[i].pre ? cases[i].pre : p.pre;
        p.n_types -= (size_t)cases[i].types_missing;
        put_parts(&b, &p);
        assert_refused(&b, NULL, cases[i].words);
    }
    gb_tokenizer(&b, merges, 0);
    assert_refused(&b, "llama-bpe", "'llama-bpe'");
}

/* A file may say that "th" + "i" makes a control token, or that "\u0120w" is no piece of text. Text must not become the one, and
 * must come back from the other. */
static void merges_that_would_spoil_text_are_left_out(void **state)
{
    static const struct {
        size_t token;
        int32_t type;
        const char *text;
    } cases[] = { { FIRST_MERGE + 9, 4, "thi" }, { FIRST_MERGE + 4, 5, " w" } };
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        gguf_builder b = { 0 };
        gguf_file *f;
        text_tokenizer *t;
        token_list ids = { 0 };
        buffer back = { 0 };
        size_t size;
        parts p = good_parts();
        for (size_t k = 0; k < p.n_tokens; k++)
            p.tokens[k] = p.texts[k];
        p.types[cases[c].token] = cases[c].type;
        put_parts(&b, &p);
        char *data = gb_finish(&b, &size);
        assert_int_equal(gguf_open_bytes(&f, data, size, NULL), DS4_OK);
        assert_int_equal(text_tokenizer_open(&t, f, NULL, NULL), DS4_OK);
        assert_int_equal(text_encode(t, slice_of(cases[c].text), &ids, NULL), DS4_OK);
        assert_int_equal(ids.n, 2);
        for (size_t i = 0; i < ids.n; i++) {
            assert_false(text_is_control(t, ids.ids[i]));
            buffer_append_slice(&back, text_piece(t, ids.ids[i]));
        }
        assert_true(slice_equal(buffer_slice(&back), slice_of(cases[c].text)));
        token_list_free(&ids);
        buffer_free(&back);
        text_tokenizer_close(t);
        gguf_close(f);
        free(data);
    }
}

/* Of two specials that begin alike the longer one is meant: "th" and "thi" are made control tokens here. */
static void the_longest_special_is_recognised(void **state)
{
    gguf_builder b = { 0 };
    gguf_file *f;
    text_tokenizer *t;
    token_list ids = { 0 };
    size_t size;
    parts p = good_parts();
    const uint32_t want[] = { FIRST_MERGE + 9, FIRST_MERGE + 8, FIRST_BYTE + 'o' };
    (void)state;
    for (size_t k = 0; k < p.n_tokens; k++)
        p.tokens[k] = p.texts[k];
    p.types[FIRST_MERGE + 8] = p.types[FIRST_MERGE + 9] = 3;
    put_parts(&b, &p);
    char *data = gb_finish(&b, &size);
    assert_int_equal(gguf_open_bytes(&f, data, size, NULL), DS4_OK);
    assert_int_equal(text_tokenizer_open(&t, f, NULL, NULL), DS4_OK);
    assert_int_equal(text_encode_with_specials(t, SLICE("thitho"), &ids, NULL), DS4_OK);
    assert_int_equal(ids.n, 3);
    assert_memory_equal(ids.ids, want, sizeof want);
    token_list_free(&ids);
    text_tokenizer_close(t);
    gguf_close(f);
    free(data);
}

/* Two files with another merge, or another order, are two vocabularies: a stored state of one is none of the other. */
static void fingerprints_tell_vocabularies_apart(void **state)
{
    hash_key keys[3];
    (void)state;
    for (int i = 0; i < 3; i++) {
        const char *const other[] = { "l l", "h e", "he ll", "hell o" };
        const char *const same[] = { "h e", "l l", "he ll", "hell o" };
        gguf_builder b = { 0 };
        gguf_file *f;
        text_tokenizer *t;
        hash_stream stream;
        size_t size;
        gb_tokenizer(&b, i == 2 ? other : same, 4);
        char *data = gb_finish(&b, &size);
        assert_int_equal(gguf_open_bytes(&f, data, size, NULL), DS4_OK);
        assert_int_equal(text_tokenizer_open(&t, f, NULL, NULL), DS4_OK);
        hash_stream_begin(&stream, NULL);
        text_fingerprint(t, &stream);
        hash_stream_end(&stream, &keys[i]);
        text_tokenizer_close(t);
        gguf_close(f);
        free(data);
    }
    assert_true(hash_key_equal(&keys[0], &keys[1]));
    assert_false(hash_key_equal(&keys[0], &keys[2]));
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
        cmocka_unit_test(runs_of_any_length_split_alike),
        cmocka_unit_test(lower_ranks_merge_first_and_equal_pairs_from_the_left),
        cmocka_unit_test(of_equal_rules_the_first_counts),
        cmocka_unit_test(random_rules_merge_as_by_the_plainest_means),
        cmocka_unit_test(a_mebibyte_of_one_letter_is_encoded),
        cmocka_unit_test(text_never_becomes_a_control_token),
        cmocka_unit_test(spans_are_joined_and_only_controls_cut),
        cmocka_unit_test(specials_are_recognised_only_on_request),
        cmocka_unit_test(a_wrong_vocabulary_is_refused_with_words),
        cmocka_unit_test(merges_that_would_spoil_text_are_left_out),
        cmocka_unit_test(the_longest_special_is_recognised),
        cmocka_unit_test(fingerprints_tell_vocabularies_apart),
        cmocka_unit_test(utf8_is_the_same_however_it_is_cut),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
