/* Which tokens fit is found with few questions, and is what asking for every token finds. */
#include "support/byte_tokenizer.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

static byte_tokenizer fixture;
static const text_tokenizer *tokenizer;

static int open_tokenizer(void **state)
{
    static const char *const merges[] = { "a a", "aa a", "aaa a", "a b",   "ab a",          "a \u0120", "\u0120 a",
                                          "< /", "</ b", "b b",   "bb bb", "\u010a \u010a", "c a",      "ca b" };
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

/* Texts of which every beginning fits, and nothing else. */
typedef struct language {
    const char *texts[4];
    size_t n, n_asked;
} language;

static bool fits(void *user, slice bytes)
{
    language *l = user;
    l->n_asked++;
    for (size_t i = 0; i < l->n; i++)
        if (bytes.size <= strlen(l->texts[i]) && memcmp(l->texts[i], bytes.data, bytes.size) == 0)
            return true;
    return false;
}

static void assert_fits_agree(language *l)
{
    token_set set;
    assert_int_equal(token_set_new(&set, text_n_tokens(tokenizer)), DS4_OK);
    token_set_fill(&set, true);
    text_tokens_that_fit(tokenizer, fits, l, &set);
    for (uint32_t id = 0; id < text_n_tokens(tokenizer); id++) {
        const slice piece = text_piece(tokenizer, id);
        assert_int_equal(token_set_has(&set, id), !text_is_control(tokenizer, id) && piece.size && fits(l, piece));
    }
    token_set_free(&set);
}

static void what_fits_is_found(void **state)
{
    static const char letters[] = "aab </\n\xff";
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        test_random r = test_random_seeded(seed);
        char texts[4][8] = { { 0 } };
        language l = { .n = test_random_below(&r, 5) };
        for (size_t i = 0; i < l.n; i++) {
            for (uint32_t k = 0, n = test_random_below(&r, 8); k < n; k++)
                texts[i][k] = letters[test_random_below(&r, sizeof letters - 1)];
            l.texts[i] = texts[i];
        }
        assert_fits_agree(&l);
    }
}

/* A control token is never in a set, even where its spelling fits. */
static void control_tokens_never_fit(void **state)
{
    language l = { .texts = { "<think>", "\uff5cDSML\uff5c" }, .n = 2 };
    (void)state;
    assert_fits_agree(&l);
}

/* 265 plain tokens: nothing fits after one question for each first byte. */
static void little_is_asked(void **state)
{
    token_set set;
    language nothing = { 0 }, one = { .texts = { "aaaa" }, .n = 1 };
    (void)state;
    assert_int_equal(token_set_new(&set, text_n_tokens(tokenizer)), DS4_OK);
    text_tokens_that_fit(tokenizer, fits, &nothing, &set);
    assert_int_equal(nothing.n_asked, 256);
    text_tokens_that_fit(tokenizer, fits, &one, &set);
    assert_true(one.n_asked < 256 + 10);
    token_set_free(&set);
}

/* The last words of a set hold bits of no id. */
static void sets_know_their_ids(void **state)
{
    (void)state;
    for (uint32_t n = 0; n <= 130; n += 65) {
        token_set set;
        assert_int_equal(token_set_new(&set, n), DS4_OK);
        assert_false(token_set_has(&set, 0));
        token_set_fill(&set, true);
        assert_false(token_set_has(&set, n));
        assert_true(n == 0 || token_set_has(&set, n - 1));
        token_set_put(&set, n, true);
        token_set_put(&set, n / 2, false);
        assert_false(token_set_has(&set, n) || token_set_has(&set, n / 2));
        assert_true(n == 0 || token_set_has(&set, n / 2 + 1));
        token_set_free(&set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_is_found),
        cmocka_unit_test(control_tokens_never_fit),
        cmocka_unit_test(little_is_asked),
        cmocka_unit_test(sets_know_their_ids),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
