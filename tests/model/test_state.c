/* The same state to the bit, whichever way the tokens came: one by one, in chunks, beside other sequences, with more threads,
 * after a rewind. For every kernel variant, every kind of layer, both roundings, float and quantised weights. */
#include "base/hash.h"
#include "model/model.h"
#include "quant/quant.h"
#include "support/changed_model.h"
#include "support/support.h"
#include "support/tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_SHORT = 150,
    N_MAX = 601 /* more than one step takes (MODEL_CHUNK_MAX) */
};

/* What the tokens must lead to, found by feeding them one by one on one thread. */
typedef struct expectation {
    uint32_t n;                   /* tokens */
    float *logits;                /* [n, TINY_VOCAB] */
    hash_key frontier[N_MAX + 1]; /* of everything but the rows, at n tokens */
    hash_key rows[N_MAX + 1];     /* of the rows that token n - 1 completed */
} expectation;

static uint32_t tokens[N_MAX];
static const char *const paths[] = { TEST_SCRATCH "/f32.gguf", TEST_SCRATCH "/q8.gguf" };

static int write_models(void **state)
{
    test_random dice = test_random_seeded(7);
    gguf_file *file;
    size_t size;
    (void)state;
    test_empty_folder(TEST_SCRATCH);
    tiny_model_write(paths[0], 1);
    assert_int_equal(gguf_open(&file, paths[0], NULL), DS4_OK);
    char *bytes = changed_model(file, &(model_change){ .narrow_to = QUANT_Q8_0 }, &size);
    test_write_file(paths[1], bytes, size);
    free(bytes);
    gguf_close(file);
    for (uint32_t i = 0; i < N_MAX; i++)
        tokens[i] = test_random_below(&dice, TINY_VOCAB);
    return hash_start(NULL) != DS4_OK;
}

static model_state *new_state(model *m)
{
    model_state *s;
    assert_int_equal(model_state_new(&s, m, TINY_CTX, NULL), DS4_OK);
    return s;
}

static void add_part(hash_stream *h, const model *m, const model_state *s, model_part part, uint32_t begin,
                     uint32_t end)
{
    const size_t size = model_part_bytes(m, part, begin, end);
    void *bytes = malloc(size + 1);
    assert_int_equal(model_state_export(s, part, begin, end, bytes, size, NULL), DS4_OK);
    hash_stream_add(h, bytes, size);
    free(bytes);
}

static hash_key hash_parts(const model *m, const model_state *s, model_part first, model_part last, uint32_t begin,
                           uint32_t end)
{
    hash_stream h;
    hash_key key;
    hash_stream_begin(&h, NULL);
    for (int part = first; part <= (int)last; part++)
        add_part(&h, m, s, (model_part)part, begin, end);
    hash_stream_end(&h, &key);
    return key;
}

static hash_key hash_rows(const model *m, const model_state *s, uint32_t n)
{
    return hash_parts(m, s, MODEL_CSA_ROWS, MODEL_HCA_ROWS, n - 1, n);
}

static hash_key hash_frontier(const model *m, const model_state *s)
{
    return hash_parts(m, s, MODEL_WINDOW, MODEL_INDEX_OVERLAP, 0, model_state_length(s));
}

static void assert_same(const hash_key *a, const hash_key *b, const char *what, uint32_t n, const char *how)
{
    if (memcmp(a, b, sizeof *a) != 0)
        fail_msg("%s at %u tokens is different: %s", what, (unsigned)n, how);
}

/* Logits of the last fed token, the frontier, and the rows of the last `n_fed` tokens. */
static void assert_expected(const model *m, const model_state *s, const float *logits, uint32_t n_fed,
                            const expectation *e, const char *how)
{
    const uint32_t n = model_state_length(s);
    const hash_key frontier = hash_frontier(m, s);
    if (logits && memcmp(logits, e->logits + (size_t)(n - 1) * TINY_VOCAB, TINY_VOCAB * sizeof *logits) != 0)
        fail_msg("logits at %u tokens are different: %s", (unsigned)n, how);
    assert_same(&frontier, &e->frontier[n], "frontier", n, how);
    for (uint32_t i = n - n_fed + 1; i <= n; i++) {
        const hash_key rows = hash_rows(m, s, i);
        assert_same(&rows, &e->rows[i], "rows", i, how);
    }
}

static void feed(model *m, model_slice *slices, size_t n)
{
    ds4_error err = { 0 };
    if (model_forward(m, slices, n, &err) != DS4_OK)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(slices[i].status, DS4_OK);
}

static void expect(model *m, expectation *e)
{
    model_state *s = new_state(m);
    e->frontier[0] = hash_frontier(m, s);
    for (uint32_t n = 1; n <= e->n; n++) {
        model_slice one = { .state = s,
                            .tokens = tokens + n - 1,
                            .n_tokens = 1,
                            .want = MODEL_LOGITS_LAST,
                            .logits = e->logits + (size_t)(n - 1) * TINY_VOCAB };
        feed(m, &one, 1);
        e->frontier[n] = hash_frontier(m, s);
        e->rows[n] = hash_rows(m, s, n);
    }
    model_state_free(s);
}

/* Everything in one call, logits of every token wanted. */
static void all_at_once(model *m, const expectation *e, const char *how)
{
    model_state *s = new_state(m);
    float *logits = malloc((size_t)e->n * TINY_VOCAB * sizeof *logits);
    model_slice all = { .state = s, .tokens = tokens, .n_tokens = e->n, .want = MODEL_LOGITS_ALL, .logits = logits };
    feed(m, &all, 1);
    if (memcmp(logits, e->logits, (size_t)e->n * TINY_VOCAB * sizeof *logits) != 0)
        fail_msg("logits of one call are different: %s", how);
    assert_expected(m, s, NULL, e->n, e, how);
    free(logits);
    model_state_free(s);
}

static uint32_t random_chunk(test_random *dice, uint32_t left)
{
    static const uint32_t most[] = { 2, 7, 40, 300 };
    const uint32_t n = 1 + test_random_below(dice, most[test_random_below(dice, 4)]);
    return n < left ? n : left;
}

/* Random chunks; now and then some tokens are taken back and fed again, after others have been there. */
static void in_chunks(model *m, const expectation *e, uint64_t seed, const char *how)
{
    test_random dice = test_random_seeded(seed);
    model_state *s = new_state(m);
    float logits[TINY_VOCAB];
    while (model_state_length(s) < e->n) {
        const uint32_t at = model_state_length(s), n = random_chunk(&dice, e->n - at);
        model_slice chunk = {
            .state = s, .tokens = tokens + at, .n_tokens = n, .want = MODEL_LOGITS_LAST, .logits = logits
        };
        feed(m, &chunk, 1);
        assert_expected(m, s, logits, n, e, how);
        if (test_random_below(&dice, 3) == 0) {
            const uint32_t back = test_random_below(&dice, 1 + (n < MODEL_REWIND_MAX ? n : MODEL_REWIND_MAX));
            uint32_t wrong[MODEL_REWIND_MAX];
            const uint32_t n_wrong = test_random_below(&dice, 1 + MODEL_REWIND_MAX - back);
            for (uint32_t i = 0; i < n_wrong; i++)
                wrong[i] = test_random_below(&dice, TINY_VOCAB);
            model_slice astray = { .state = s, .tokens = wrong, .n_tokens = n_wrong };
            if (n_wrong)
                feed(m, &astray, 1);
            assert_int_equal(model_state_rewind(s, at + n - back, NULL), DS4_OK);
            assert_expected(m, s, NULL, n - back, e, how);
        }
    }
    assert_expected(m, s, NULL, e->n, e, how); /* no old row was touched */
    model_state_free(s);
}

/* Three sequences of different age and speed share every batch; the middle one is watched. */
static void in_company(model *m, const expectation *e, uint64_t seed, const char *how)
{
    test_random dice = test_random_seeded(seed);
    model_state *s[3];
    float logits[3][TINY_VOCAB];
    for (size_t i = 0; i < 3; i++)
        s[i] = new_state(m);
    while (model_state_length(s[1]) < e->n) {
        model_slice slices[3];
        const uint32_t n = random_chunk(&dice, e->n - model_state_length(s[1]));
        for (size_t i = 0; i < 3; i++) {
            if (i != 1 && model_state_length(s[i]) > TINY_CTX - N_MAX)
                model_state_reset(s[i]);
            const uint32_t at = model_state_length(s[i]);
            slices[i] = (model_slice){ .state = s[i], .tokens = tokens + at, .n_tokens = n };
            if (i != 1) {
                slices[i].tokens = tokens + test_random_below(&dice, 100);
                slices[i].n_tokens = 1 + test_random_below(&dice, 60);
            }
            slices[i].want = i == 2 ? MODEL_LOGITS_NONE : MODEL_LOGITS_LAST;
            slices[i].logits = logits[i];
        }
        feed(m, slices, 3);
        assert_expected(m, s[1], logits[1], n, e, how);
    }
    assert_expected(m, s[1], NULL, e->n, e, how);
    for (size_t i = 0; i < 3; i++)
        model_state_free(s[i]);
}

/* `seed` makes the splits: every configuration has its own. */
static void check_model(const char *path, const model_options *options, uint32_t n, uint64_t seed, const char *how)
{
    expectation *e = calloc(1, sizeof *e);
    e->n = n;
    e->logits = malloc((size_t)n * TINY_VOCAB * sizeof *e->logits);
    for (uint32_t n_threads = 1; n_threads <= 2; n_threads++, seed++) {
        model_options o = *options;
        model *m;
        char what[128];
        o.n_threads = n_threads;
        assert_int_equal(model_open(&m, path, &o, NULL), DS4_OK);
        if (n_threads == 1)
            expect(m, e);
        snprintf(what, sizeof what, "%s, %u threads, seed %u", how, (unsigned)n_threads, (unsigned)seed);
        all_at_once(m, e, what);
        in_chunks(m, e, seed, what);
        in_company(m, e, seed, what);
        model_close(m);
    }
    free(e->logits);
    free(e);
}

static void check_variant(const char *kernels, uint32_t n, uint64_t seed)
{
    for (unsigned i = 0; i < 2 * 2; i++, seed += 2) {
        const bool rounded = i & 1, quantised = i & 2;
        model_options o = rounded ? model_options_default() : model_options_parity();
        model *m;
        char how[96];
        o.kernels = kernels;
        o.act = quantised ? MODEL_ACT_Q8 : MODEL_ACT_F32;
        if (model_open(&m, paths[quantised], &o, NULL) != DS4_OK) {
            print_message("not checked here: %s\n", kernels);
            return;
        }
        snprintf(how, sizeof how, "%s, %s, %s", model_kernels(m), rounded ? "official roundings" : "no roundings",
                 quantised ? "8 bit" : "float");
        model_close(m);
        check_model(paths[quantised], &o, n, seed, how);
    }
}

static void the_state_is_the_same_to_the_bit_however_the_tokens_came(void **state)
{
    (void)state;
    check_variant("scalar", N_SHORT, 100);
    check_variant("avx2", N_SHORT, 200);
    check_variant("avx512", N_SHORT, 300);
    check_variant("neon", N_SHORT, 400);
}

static void batches_longer_than_a_step_are_the_same_to_the_bit(void **state)
{
    const model_options o = model_options_default();
    (void)state;
    check_model(paths[1], &o, N_MAX, 500, "long");
}

/* The limits of a rewind, and that a refused one changes nothing. */
static void a_rewind_knows_its_limits(void **state)
{
    const model_options o = model_options_default();
    model *m;
    (void)state;
    assert_int_equal(model_open(&m, paths[0], &o, NULL), DS4_OK);
    model_state *s = new_state(m);
    model_slice slices = { .state = s, .tokens = tokens, .n_tokens = 100 };
    feed(m, &slices, 1);
    const hash_key before = hash_frontier(m, s);
    assert_int_equal(model_state_rewind(s, 101, NULL), DS4_ERR_UNSUPPORTED);
    assert_int_equal(model_state_rewind(s, 100 - MODEL_REWIND_MAX - 1, NULL), DS4_ERR_UNSUPPORTED);
    assert_int_equal(model_state_rewind(s, 100, NULL), DS4_OK);
    const hash_key after = hash_frontier(m, s);
    assert_same(&before, &after, "frontier", 100, "refused rewinds");
    assert_int_equal(model_state_rewind(s, 100 - MODEL_REWIND_MAX, NULL), DS4_OK);
    /* What was beyond is gone for good, but the rings still reach no further back than before. */
    assert_int_equal(model_state_rewind(s, 100 - MODEL_REWIND_MAX - 1, NULL), DS4_ERR_UNSUPPORTED);
    model_state_free(s);
    model_close(m);
}

/* A batch that cannot be run leaves every state as it was. */
static void a_refused_batch_changes_nothing(void **state)
{
    const model_options o = model_options_default();
    const uint32_t outside[] = { 1, 2, TINY_VOCAB };
    model *m;
    (void)state;
    assert_int_equal(model_open(&m, paths[0], &o, NULL), DS4_OK);
    model_state *a = new_state(m), *b = new_state(m);
    model_slice slices[2] = { { .state = a, .tokens = tokens, .n_tokens = 30 },
                              { .state = b, .tokens = tokens, .n_tokens = 20 } };
    feed(m, slices, 2);
    const hash_key before = hash_frontier(m, a);
    const model_slice bad[] = { { .state = b, .tokens = outside, .n_tokens = 3 },
                                { .state = b, .tokens = tokens, .n_tokens = 0 },
                                { .state = a, .tokens = tokens, .n_tokens = 1 },
                                { .state = b, .tokens = tokens, .n_tokens = TINY_CTX - 19 } };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        slices[0].n_tokens = 1;
        slices[1] = bad[i];
        assert_int_equal(model_forward(m, slices, 2, NULL), DS4_ERR_ARGUMENT);
        assert_int_equal(model_state_length(a), 30);
        const hash_key after = hash_frontier(m, a);
        assert_same(&before, &after, "frontier", 30, "refused batch");
    }
    model_state_free(a);
    model_state_free(b);
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_state_is_the_same_to_the_bit_however_the_tokens_came),
        cmocka_unit_test(batches_longer_than_a_step_are_the_same_to_the_bit),
        cmocka_unit_test(a_rewind_knows_its_limits),
        cmocka_unit_test(a_refused_batch_changes_nothing),
    };
    return cmocka_run_group_tests(tests, write_models, NULL);
}
