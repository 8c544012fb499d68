/* The sampling chain against docs/spec/protocol.md, section 5.1, written a second time in the plainest way. */
#include "engine/engine.h"
#include "support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 61 };

static const engine_choice sampled = { 0 };

static engine_sampler *sampler_of(const engine_sampling *o)
{
    engine_sampler *s = NULL;
    assert_int_equal(engine_sampler_new(&s, o, VOCAB, NULL), DS4_OK);
    return s;
}

static const float *sorted_by; /* of order_of() */

static int by_logit_then_id(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if (sorted_by[x] != sorted_by[y])
        return sorted_by[x] > sorted_by[y] ? -1 : 1;
    return (x > y) - (x < y);
}

/* Steps 6-11 with a full sort and no shortcuts; `u` is the random number. */
static uint32_t plain_draw(const float *z, uint32_t n_vocab, const engine_sampling *o, double u)
{
    uint32_t *order = malloc(n_vocab * sizeof *order);
    double *w = malloc(n_vocab * sizeof *w), all = 0, kept = 0;
    size_t n = 0;
    for (uint32_t i = 0; i < n_vocab; i++)
        if (isfinite(z[i]))
            order[n++] = i;
    sorted_by = z;
    qsort(order, n, sizeof *order, by_logit_then_id);
    for (uint32_t i = 0; i < n_vocab && !o->top_k; i++)
        if (isfinite(z[i]))
            all += exp(((double)z[i] - z[order[0]]) / o->temperature);
    if (o->top_k && n > o->top_k)
        n = o->top_k;
    for (size_t i = 0; i < n; i++) {
        w[i] = exp(((double)z[order[i]] - z[order[0]]) / o->temperature);
        all += o->top_k ? w[i] : 0;
    }
    size_t n_min = 1;
    while (n_min < n && w[n_min] >= o->min_p)
        n_min++;
    size_t n_kept = 0;
    while (n_kept < n_min && (n_kept == 0 || kept < o->top_p * all))
        kept += w[n_kept++];
    double rest = u * kept;
    uint32_t id = order[n_kept - 1];
    for (size_t i = 0; i < n_kept; i++) {
        rest -= w[i];
        if (rest < 0) {
            id = order[i];
            break;
        }
    }
    free(order), free(w);
    return id;
}

/* The generator of section 5.3, written down again. */
static double plain_unit(uint64_t *x)
{
    *x ^= *x >> 12;
    *x ^= *x << 25;
    *x ^= *x >> 27;
    return (double)((*x * 0x2545F4914F6CDD1Du) >> 40) / 16777216.0;
}

static uint64_t plain_seed(uint64_t s)
{
    uint64_t z = s + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void the_chain_agrees_with_its_plain_form(void **state)
{
    (void)state;
    const engine_sampling cases[] = {
        { .temperature = 1, .top_p = 1, .min_p = 0.05f, .repetition_penalty = 1, .seed = 1 },
        { .temperature = 0.7f, .top_p = 0.9f, .min_p = 0, .repetition_penalty = 1, .seed = 2 },
        { .temperature = 1.8f, .top_p = 1, .min_p = 0, .top_k = 5, .repetition_penalty = 1, .seed = 0 },
        { .temperature = 1, .top_p = 0.5f, .min_p = 0.2f, .top_k = 20, .repetition_penalty = 1, .seed = 77 },
        { .temperature = 0.1f, .top_p = 0.999f, .min_p = 0.01f, .repetition_penalty = 1, .seed = UINT64_MAX },
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        engine_sampler *s = sampler_of(&cases[c]);
        uint64_t x = plain_seed(cases[c].seed);
        for (uint64_t round = 0; round < 400; round++) {
            float *z = test_random_f32(VOCAB, round * 31 + c);
            for (size_t i = 0; i < VOCAB; i++)
                z[i] = roundf(z[i] * 4) / 2; /* ties on purpose */
            if (round % 7 == 0)
                z[round % VOCAB] = round % 2 ? NAN : -INFINITY;
            uint32_t got = 0;
            assert_int_equal(engine_sampler_pick(s, z, &sampled, &got, NULL), DS4_OK);
            assert_int_equal(got, plain_draw(z, VOCAB, &cases[c], plain_unit(&x)));
            free(z);
        }
        engine_sampler_free(s);
    }
}

/* The same over vocabularies in which not everything is sorted: few candidates that matter, many, all; ties at every border. */
static void a_large_vocabulary_is_drawn_from_as_if_it_were_sorted(void **state)
{
    enum { LARGE = 6000 };
    (void)state;
    const uint32_t top_ks[] = { 0, 2, 40, 63, 64, 65, 4095, 4096, LARGE - 1, LARGE + 5 };
    const float top_ps[] = { 0.3f, 0.95f, 0.9999f, 1 }, min_ps[] = { 0, 1e-4f, 0.05f, 1 },
                spreads[] = { 0, 0.01f, 1, 6 };
    float *z = malloc(LARGE * sizeof *z), *noise = test_random_f32(LARGE, 3);
    uint64_t seed = 0;
    for (size_t k = 0; k < sizeof top_ks / sizeof top_ks[0]; k++)
        for (size_t p = 0; p < sizeof top_ps / sizeof top_ps[0]; p++)
            for (size_t m = 0; m < sizeof min_ps / sizeof min_ps[0]; m++) {
                engine_sampling o = engine_sampling_default();
                engine_sampler *s = NULL;
                o.top_k = top_ks[k], o.top_p = top_ps[p], o.min_p = min_ps[m], o.seed = ++seed;
                uint64_t x = plain_seed(o.seed);
                assert_int_equal(engine_sampler_new(&s, &o, LARGE, NULL), DS4_OK);
                for (size_t i = 0; i < sizeof spreads / sizeof spreads[0]; i++) {
                    for (size_t id = 0; id < LARGE; id++)
                        z[id] = id % 5 ? noise[id] * spreads[i] : roundf(noise[id] * 3) * spreads[i];
                    z[seed] = NAN;
                    uint32_t got = 0;
                    assert_int_equal(engine_sampler_pick(s, z, &sampled, &got, NULL), DS4_OK);
                    assert_int_equal(got, plain_draw(z, LARGE, &o, plain_unit(&x)));
                }
                engine_sampler_free(s);
            }
    free(z), free(noise);
}

static void greedy_takes_the_lowest_of_equal_ids_and_no_random_number(void **state)
{
    (void)state;
    float z[VOCAB] = { 0 };
    z[9] = z[4] = 3;
    engine_sampling o = engine_sampling_default();
    o.seed = 5;
    engine_sampler *a = sampler_of(&o), *b = sampler_of(&o);
    uint32_t id = 99, other = 98;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(engine_sampler_pick(a, z, &(engine_choice){ .greedy = true }, &id, NULL), DS4_OK);
        assert_int_equal(id, 4);
    }
    for (int i = 0; i < 20; i++) { /* both generators still stand at the same place */
        float *noise = test_random_f32(VOCAB, (uint64_t)i);
        engine_sampler_pick(a, noise, &sampled, &id, NULL);
        engine_sampler_pick(b, noise, &sampled, &other, NULL);
        assert_int_equal(id, other);
        free(noise);
    }
    engine_sampler_free(a);
    engine_sampler_free(b);
    const engine_sampling greedy[] = { { .temperature = 0, .top_p = 1, .repetition_penalty = 1 },
                                       { .temperature = 1, .top_p = 0, .repetition_penalty = 1 },
                                       { .temperature = 1, .top_p = 1, .top_k = 1, .repetition_penalty = 1 } };
    for (size_t i = 0; i < 3; i++) {
        engine_sampler *s = sampler_of(&greedy[i]);
        assert_int_equal(engine_sampler_pick(s, z, &sampled, &id, NULL), DS4_OK);
        assert_int_equal(id, 4);
        engine_sampler_free(s);
    }
}

typedef struct rule {
    uint32_t modulus; /* allowed: its multiples; 0: nothing */
    uint32_t n_asked, n_sets;
    uint64_t words[VOCAB / 64 + 1];
    token_set set;
} rule;

static bool obeys(void *user, uint32_t id)
{
    rule *r = user;
    r->n_asked++;
    return r->modulus && id % r->modulus == 0;
}

static const token_set *obeying(void *user)
{
    rule *r = user;
    r->n_sets++;
    r->set = (token_set){ r->words, VOCAB };
    for (uint32_t id = 0; id < VOCAB; id++)
        token_set_put(&r->set, id, r->modulus && id % r->modulus == 0);
    return &r->set;
}

/* Step 4: a greedy choice is the best of what is allowed, near or far; one that is allowed at once is asked for once. */
static void a_greedy_choice_is_the_best_that_is_allowed(void **state)
{
    static const uint32_t moduli[] = { 1, 2, 7, 60 };
    engine_sampling o = engine_sampling_default();
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        float *z = test_random_f32(VOCAB, seed);
        engine_sampler *s = sampler_of(&o);
        for (size_t m = 0; m < 8; m++) {
            rule r = { .modulus = moduli[m / 2] };
            const engine_choice choice = {
                .greedy = true, .allowed = obeying, .allows = m % 2 ? obeys : NULL, .user = &r
            };
            uint32_t best = 0, id;
            for (uint32_t i = 0; i < VOCAB; i += r.modulus)
                best = z[i] > z[best] ? i : best;
            assert_int_equal(engine_sampler_pick(s, z, &choice, &id, NULL), DS4_OK);
            assert_int_equal(id, best);
            assert_true(r.modulus > 1 || m % 2 == 0 || (r.n_asked == 1 && r.n_sets == 0));
        }
        rule nothing = { 0 };
        uint32_t best, id;
        engine_sampler_pick(s, z, &(engine_choice){ .greedy = true }, &best, NULL);
        engine_sampler_pick(s, z, &(engine_choice){ .greedy = true, .allowed = obeying, .user = &nothing }, &id, NULL);
        assert_int_equal(id, best);
        engine_sampler_free(s);
        free(z);
    }
}

/* Step 4 of a draw: what is not allowed has no probability and the rest is as if it had never been there, random numbers
 * included. */
static void a_draw_is_one_among_what_is_allowed(void **state)
{
    static const engine_sampling cases[] = {
        { .temperature = 1, .top_p = 1, .min_p = 0.05f, .repetition_penalty = 1, .seed = 3 },
        { .temperature = 1.5f, .top_p = 0.8f, .top_k = 9, .repetition_penalty = 1, .seed = 4 },
    };
    (void)state;
    for (size_t c = 0; c < 2; c++) {
        engine_sampler *bound = sampler_of(&cases[c]), *free_one = sampler_of(&cases[c]);
        for (uint64_t seed = 1; seed <= 300; seed++) {
            float *z = test_random_f32(VOCAB, seed);
            rule r = { .modulus = 1 + seed % 5 };
            uint32_t id, want;
            assert_int_equal(
                engine_sampler_pick(bound, z, &(engine_choice){ .allowed = obeying, .user = &r }, &id, NULL), DS4_OK);
            for (uint32_t i = 0; i < VOCAB; i++)
                z[i] = i % r.modulus ? -INFINITY : z[i];
            assert_int_equal(engine_sampler_pick(free_one, z, &sampled, &want, NULL), DS4_OK);
            assert_int_equal(id, want);
            free(z);
        }
        engine_sampler_free(bound);
        engine_sampler_free(free_one);
    }
}

static const token_set *given(void *user)
{
    return user;
}

/* The usual set holds nearly everything, word by word. Ids beyond it, which a padded output layer has, are not in it. */
static void what_a_large_set_leaves_out_never_comes(void **state)
{
    enum { LARGE = 300, IN_SET = 290 };
    static const uint32_t out[] = { 0, 70, 191, 289, 290, 299 };
    const engine_sampling hot = engine_sampling_default();
    engine_sampler *s;
    float z[LARGE];
    token_set set;
    uint32_t id = 0;
    (void)state;
    assert_int_equal(token_set_new(&set, IN_SET), DS4_OK);
    token_set_fill(&set, true);
    for (uint32_t i = 0; i < LARGE; i++)
        z[i] = i == 100 || i == 130 ? 1 : 0;
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++) {
        z[out[i]] = 50;
        token_set_put(&set, out[i], false);
    }
    assert_int_equal(engine_sampler_new(&s, &hot, LARGE, NULL), DS4_OK);
    engine_choice choice = { .greedy = true, .allowed = given, .user = &set };
    assert_int_equal(engine_sampler_pick(s, z, &choice, &id, NULL), DS4_OK);
    assert_int_equal(id, 100);
    choice.greedy = false;
    for (int n = 0; n < 2000; n++) {
        assert_int_equal(engine_sampler_pick(s, z, &choice, &id, NULL), DS4_OK);
        assert_true(token_set_has(&set, id));
    }
    engine_sampler_free(s);
    token_set_free(&set);
}

/* A set whose logits are all infinite or no numbers still binds; what lies outside the set never comes. */
static void a_set_binds_where_no_logit_of_it_is_finite(void **state)
{
    const engine_sampling hot = engine_sampling_default();
    engine_sampler *s = sampler_of(&hot);
    float z[VOCAB] = { 0 };
    rule r = { .modulus = 20 };
    uint32_t id = 0;
    (void)state;
    z[0] = z[20] = z[40] = z[60] = -INFINITY;
    for (int greedy = 0; greedy < 2; greedy++) {
        const engine_choice choice = { .greedy = greedy, .allowed = obeying, .user = &r };
        id = 99;
        assert_int_equal(engine_sampler_pick(s, z, &choice, &id, NULL), DS4_OK);
        assert_int_equal(id, 0);
    }
    engine_sampler_free(s);
}

static void a_replaced_id_comes_as_its_replacement(void **state)
{
    engine_sampling o = engine_sampling_default();
    engine_sampler *s = sampler_of(&o);
    float z[VOCAB] = { 0 };
    uint32_t id = 0;
    (void)state;
    z[7] = 100;
    const engine_choice choice = { .replace = true, .replaced_id = 7, .replacement_id = 3 };
    assert_int_equal(engine_sampler_pick(s, z, &choice, &id, NULL), DS4_OK);
    assert_int_equal(id, 3);
    z[8] = 200;
    assert_int_equal(engine_sampler_pick(s, z, &choice, &id, NULL), DS4_OK);
    assert_int_equal(id, 8);
    engine_sampler_free(s);
}

/* 3.7: a token that is wanted is taken once it is likely enough, and only then. */
static void a_wanted_token_is_taken_when_it_is_near_the_best(void **state)
{
    float z[VOCAB];
    uint32_t id = 0;
    engine_sampling o = engine_sampling_default();
    engine_sampler *s = sampler_of(&o);
    (void)state;
    for (uint32_t i = 0; i < VOCAB; i++)
        z[i] = -1000 - (float)i;
    z[5] = 3, z[6] = 2, z[7] = 1;
    assert_int_equal(engine_sampler_pick(s, z, &(engine_choice){ .near_id = 7, .n_near = 3 }, &id, NULL), DS4_OK);
    assert_int_equal(id, 7);
    o.temperature = 0;
    engine_sampler_free(s);
    s = sampler_of(&o);
    assert_int_equal(engine_sampler_pick(s, z, &(engine_choice){ .near_id = 7, .n_near = 2 }, &id, NULL), DS4_OK);
    assert_int_equal(id, 5);
    /* The set does not bind it. */
    token_set set = { 0 };
    assert_int_equal(token_set_new(&set, VOCAB), DS4_OK);
    token_set_fill(&set, true);
    token_set_put(&set, 5, false);
    engine_choice choice = { .allowed = given, .user = &set, .near_id = 5, .n_near = 1 };
    assert_int_equal(engine_sampler_pick(s, z, &choice, &id, NULL), DS4_OK);
    assert_int_equal(id, 5);
    choice.near_id = 7;
    assert_int_equal(engine_sampler_pick(s, z, &choice, &id, NULL), DS4_OK);
    assert_int_equal(id, 6);
    token_set_free(&set);
    engine_sampler_free(s);
}

static void penalties_and_biases_change_the_logits_as_written(void **state)
{
    (void)state;
    float z[VOCAB];
    uint32_t id = 0;
    for (uint32_t i = 0; i < VOCAB; i++)
        z[i] = -1;
    z[3] = 2, z[4] = 1.5f, z[5] = 1.4f;
    engine_sampling o = { .temperature = 0, .top_p = 1, .repetition_penalty = 2 };
    engine_sampler *s = sampler_of(&o);
    const uint32_t three = 3;
    engine_sampler_note(s, &three, 1, false); /* a prompt token counts for repetition: 2 / 2 = 1 */
    assert_int_equal(engine_sampler_pick(s, z, &sampled, &id, NULL), DS4_OK);
    assert_int_equal(id, 4);
    engine_sampler_free(s);

    o = (engine_sampling){ .temperature = 0, .top_p = 1, .repetition_penalty = 1, .frequency_penalty = 0.3f };
    s = sampler_of(&o);
    engine_sampler_note(s, &three, 1, false); /* the other penalties look at generated tokens only */
    assert_int_equal(engine_sampler_pick(s, z, &sampled, &id, NULL), DS4_OK);
    assert_int_equal(id, 3);
    engine_sampler_note(s, &three, 1, true);
    assert_int_equal(engine_sampler_pick(s, z, &sampled, &id, NULL), DS4_OK);
    assert_int_equal(id, 3); /* 1.7 */
    engine_sampler_note(s, &three, 1, true);
    assert_int_equal(engine_sampler_pick(s, z, &sampled, &id, NULL), DS4_OK);
    assert_int_equal(id, 4); /* 1.4 is less than 1.5 */
    engine_sampler_free(s);

    for (uint32_t i = 0; i < VOCAB; i++)
        z[i] = -10;
    z[3] = -1, z[4] = -1.5f; /* where all are unlikely, a repeated token becomes less likely, too: -2 */
    o = (engine_sampling){ .temperature = 0, .top_p = 1, .repetition_penalty = 2 };
    s = sampler_of(&o);
    engine_sampler_note(s, &three, 1, true);
    assert_int_equal(engine_sampler_pick(s, z, &sampled, &id, NULL), DS4_OK);
    assert_int_equal(id, 4);
    engine_sampler_free(s);

    o = (engine_sampling){ .temperature = 0, .top_p = 1, .repetition_penalty = 1, .presence_penalty = 0.4f };
    s = sampler_of(&o);
    for (int i = 0; i < 5; i++)
        engine_sampler_note(s, &three, 1, true); /* presence counts once: -1.4 */
    assert_int_equal(engine_sampler_pick(s, z, &sampled, &id, NULL), DS4_OK);
    assert_int_equal(id, 3);
    engine_sampler_free(s);

    const engine_bias bias[] = { { 7, 100 }, { 3, -100 } };
    o = (engine_sampling){ .temperature = 0, .top_p = 1, .repetition_penalty = 1, .biases = bias, .n_biases = 2 };
    s = sampler_of(&o);
    assert_int_equal(engine_sampler_pick(s, z, &sampled, &id, NULL), DS4_OK);
    assert_int_equal(id, 7);
    engine_sampler_free(s);
}

static void a_bias_outside_the_vocabulary_is_refused_by_name(void **state)
{
    (void)state;
    const engine_bias bias = { VOCAB, 1 };
    engine_sampling o = engine_sampling_default();
    o.biases = &bias;
    o.n_biases = 1;
    engine_sampler *s = NULL;
    ds4_error err;
    assert_int_equal(engine_sampler_new(&s, &o, VOCAB, &err), DS4_ERR_ARGUMENT);
    assert_null(s);
    assert_non_null(strstr(err.text, "61"));
}

/* One rule for the server, the program and the library: both ends of a range are inside it, and NaN is not. */
static void numbers_out_of_range_are_refused_by_name(void **state)
{
    (void)state;
    const struct {
        size_t field;
        float max;
        const char *word;
    } fields[] = { { offsetof(engine_sampling, temperature), 2, "temperature" },
                   { offsetof(engine_sampling, top_p), 1, "top_p" },
                   { offsetof(engine_sampling, min_p), 1, "min_p" } };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const float values[] = { 0, fields[i].max, -0.01f, fields[i].max + 0.01f, NAN, INFINITY };
        for (size_t k = 0; k < sizeof values / sizeof values[0]; k++) {
            engine_sampling o = engine_sampling_default();
            ds4_error err = { 0 };
            memcpy((char *)&o + fields[i].field, &values[k], sizeof values[k]);
            assert_int_equal(engine_sampling_check(&o, 10, &err), k < 2 ? DS4_OK : DS4_ERR_ARGUMENT);
            assert_true(k < 2 || strstr(err.text, fields[i].word));
        }
    }
}

static void without_a_finite_logit_the_state_is_bad(void **state)
{
    (void)state;
    float z[VOCAB];
    for (size_t i = 0; i < VOCAB; i++)
        z[i] = i % 2 ? NAN : INFINITY;
    engine_sampling o = engine_sampling_default();
    engine_sampler *s = sampler_of(&o);
    uint32_t id;
    assert_int_equal(engine_sampler_pick(s, z, &sampled, &id, NULL), DS4_ERR_STATE_BAD);
    engine_sampler_free(s);
}

static void logprobs_are_the_log_softmax_of_the_raw_logits(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        float *z = test_random_f32(VOCAB, seed);
        z[10] = z[20]; /* a tie: the lower id comes first */
        double sum = 0;
        for (size_t i = 0; i < VOCAB; i++)
            sum += exp(z[i]);
        engine_logprob top[5];
        for (uint32_t id = 0; id < VOCAB; id++)
            assert_float_equal(engine_logprobs(z, VOCAB, id, NULL, 0), z[id] - log(sum), 1e-5);
        engine_logprobs(z, VOCAB, 0, top, 5);
        for (size_t i = 0; i < 5; i++) {
            assert_float_equal(top[i].logprob, z[top[i].id] - log(sum), 1e-5);
            size_t better = 0;
            for (uint32_t k = 0; k < VOCAB; k++)
                better += z[k] > z[top[i].id] || (z[k] == z[top[i].id] && k < top[i].id);
            assert_int_equal(better, i);
        }
        free(z);
    }
}

/* Numbers that would make every logit infinite or none: they are the caller's mistake, not that of a state. */
static void penalties_and_biases_must_be_numbers(void **state)
{
    (void)state;
    const float bad[] = { NAN, INFINITY, -INFINITY };
    const engine_sampling plain = engine_sampling_default();
    assert_int_equal(engine_sampling_check(&plain, 10, NULL), DS4_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const engine_bias bias = { 3, bad[i] };
        engine_sampling o[4] = { plain, plain, plain, plain };
        o[0].presence_penalty = o[1].frequency_penalty = o[2].repetition_penalty = bad[i];
        o[3].biases = &bias, o[3].n_biases = 1;
        for (size_t k = 0; k < 4; k++)
            assert_int_equal(engine_sampling_check(&o[k], 10, NULL), DS4_ERR_ARGUMENT);
    }
    engine_sampling zero = plain;
    zero.repetition_penalty = 0;
    assert_int_equal(engine_sampling_check(&zero, 10, NULL), DS4_ERR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(penalties_and_biases_must_be_numbers),
        cmocka_unit_test(the_chain_agrees_with_its_plain_form),
        cmocka_unit_test(a_large_vocabulary_is_drawn_from_as_if_it_were_sorted),
        cmocka_unit_test(greedy_takes_the_lowest_of_equal_ids_and_no_random_number),
        cmocka_unit_test(a_greedy_choice_is_the_best_that_is_allowed),
        cmocka_unit_test(a_draw_is_one_among_what_is_allowed),
        cmocka_unit_test(what_a_large_set_leaves_out_never_comes),
        cmocka_unit_test(a_set_binds_where_no_logit_of_it_is_finite),
        cmocka_unit_test(a_replaced_id_comes_as_its_replacement),
        cmocka_unit_test(a_wanted_token_is_taken_when_it_is_near_the_best),
        cmocka_unit_test(penalties_and_biases_change_the_logits_as_written),
        cmocka_unit_test(a_bias_outside_the_vocabulary_is_refused_by_name),
        cmocka_unit_test(numbers_out_of_range_are_refused_by_name),
        cmocka_unit_test(without_a_finite_logit_the_state_is_bad),
        cmocka_unit_test(logprobs_are_the_log_softmax_of_the_raw_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
