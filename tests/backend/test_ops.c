/* The operations of the backend against what the model specification says of them, written down plainly in double, with
 * every kernel variant: shapes that are multiples of nothing, spans that begin in the middle. */
#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "base/pool.h"
#include "quant/quant.h"
#include "support/support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static backend *b; /* of the variant at work */

static void open_backend(const cpu_kernels *k)
{
    const backend_limits limits = { .n_tokens = 64,
                                    .n_input_max = 4096,
                                    .n_attend_max = 256,
                                    .n_index_max = 256,
                                    .n_heads = 8,
                                    .head_dim = 64,
                                    .n_index_heads = 16,
                                    .index_dim = 64,
                                    .n_embd = 64,
                                    .n_streams = 4,
                                    .ff_dim = 64,
                                    .n_used = 4,
                                    .n_experts = 16 };
    assert_int_equal(backend_cpu_open(&b, 2, k->name, false, NULL), DS4_OK);
    assert_int_equal(b->ops->reserve(b, &limits, NULL), DS4_OK);
}

static void for_each_variant(void (*check)(void))
{
    for (size_t v = 0; v < n_cpu_kernel_variants; v++)
        if (cpu_has(cpu_kernel_variants[v]->needs)) {
            open_backend(cpu_kernel_variants[v]);
            check();
            b->ops->close(b);
        }
}

static backend_matrix matrix(const float *data, uint32_t n_rows, uint32_t n_cols, uint32_t n_stacked)
{
    return (backend_matrix){ (const uint8_t *)data, QUANT_F32, n_rows, n_cols, n_stacked, n_cols * sizeof *data };
}

static double sigmoid(double z)
{
    return 1 / (1 + exp(-z));
}

/* --- section 4 -------------------------------------------------------------------------------------------------------- */

/* With fn = 0 the mix depends on the bases alone: the specification's numbers for m = 2, and an epsilon that shows. */
static void check_balance(void)
{
    const float zeros[8 * 6] = { 0 }, x[6] = { 1, 2, 3, 10, 20, 30 }, scale[3] = { 1, 1, 1 };
    const backend_matrix fn = matrix(zeros, 8, 6, 1);
    const float base[8] = { 0.3f, -0.2f, 0.7f, -1.1f, 1, 0, 0, -2 };
    const struct {
        uint32_t n;
        float comb[4];
    } known[] = { { 1, { .453551f, .692887f, .546449f, .307110f } },
                  { 2, { .381937f, .626834f, .618062f, .373165f } },
                  { 20, { .377541f, .622458f, .622458f, .377541f } } };
    float a[3], post[2], comb[4], z[8];
    for (size_t i = 0; i < 3; i++) {
        const backend_hyper h = { &fn, base, scale, 2, 3, known[i].n, 1e-6f, 1e-6f };
        b->ops->hc_mix(b, &h, a, post, comb, z, x, 1);
        for (size_t k = 0; k < 4; k++)
            assert_float_equal(comb[k], known[i].comb[k], 1.5e-6f);
    }
    const backend_hyper wide = { &fn, base, scale, 2, 3, 1, 0.25f, 1e-6f };
    b->ops->hc_mix(b, &wide, a, post, comb, z, x, 1);
    for (size_t c = 0; c < 3; c++) /* pre has the epsilon */
        assert_float_equal(a[c], (sigmoid(0.3) + 0.25) * x[c] + (sigmoid(-0.2) + 0.25) * x[3 + c], 1e-5f);
    assert_float_equal(post[0], 2 * sigmoid(0.7), 1e-6f); /* post has not */
    assert_float_equal(post[1], 2 * sigmoid(-1.1), 1e-6f);
    const double first = sigmoid(1) + 0.25, below = sigmoid(2) + 0.25; /* softmax of (1, 0) and (0, -2), + eps */
    const double column = first + below + 0.25;
    assert_float_equal(comb[0], first / column, 1e-6f);
    assert_float_equal(comb[2], below / column, 1e-6f);
}

/* x'_k = post_k y + sum over j of comb[j][k] x_j: the first index is summed. */
static void check_merge(void)
{
    enum { T = 3, M = 3, D = 37 };
    float *x = test_random_f32(T * M * D, 1), *y = test_random_f32(T * D, 2), *post = test_random_f32(T * M, 3),
          *comb = test_random_f32(T * M * M, 4), *old = malloc(T * M * D * sizeof *old);
    const backend_hyper h = { .n_streams = M, .n_embd = D };
    memcpy(old, x, T * M * D * sizeof *old);
    b->ops->hc_merge(b, &h, x, y, post, comb, T);
    for (size_t t = 0; t < T; t++)
        for (size_t k = 0; k < M; k++)
            for (size_t c = 0; c < D; c++) {
                double want = (double)post[t * M + k] * y[t * D + c];
                for (size_t j = 0; j < M; j++)
                    want += (double)comb[(t * M + j) * M + k] * old[(t * M + j) * D + c];
                assert_float_equal(x[(t * M + k) * D + c], want, 1e-5f);
            }
    free(x), free(y), free(post), free(comb), free(old);
}

/* --- section 3 -------------------------------------------------------------------------------------------------------- */

/* The angle is the float32 product; its sine and cosine are good to the last place even at a million turns. */
static void check_rotation(void)
{
    enum { PAIRS = 3, D = 10 };
    const float omega[PAIRS] = { 1.0f, 0.687656045f, 5.6805294e-7f };
    float cosine[4 * PAIRS], sine[4 * PAIRS], q[4 * 2 * D], w[D];
    const uint32_t positions[4] = { 0, 1, 131071, 1048575 };
    backend_rope rope = { omega, cosine, sine, PAIRS };
    const backend_step step = { .n_tokens = 4, .positions = positions };
    b->ops->turn(b, &rope, &step);
    for (size_t i = 0; i < 4 * PAIRS; i++) {
        const float angle = (float)positions[i / PAIRS] * omega[i % PAIRS];
        assert_float_equal(cosine[i], cos((double)angle), FLT_EPSILON / 2);
        assert_float_equal(sine[i], sin((double)angle), FLT_EPSILON / 2);
    }
    float *random = test_random_f32(4 * 2 * D, 5);
    memcpy(q, random, sizeof q);
    for (size_t i = 0; i < D; i++)
        w[i] = 0.5f + (float)i / 8;
    b->ops->shape_heads(b, q, 2, D, w, 1e-2f, &rope, BACKEND_ROUND_NONE, 4);
    for (size_t v = 0; v < 8; v++) { /* norm, then the last six channels in neighbouring pairs */
        const float *x = random + v * D, *y = q + v * D;
        double squares = 0;
        for (size_t i = 0; i < D; i++)
            squares += (double)x[i] * x[i];
        const double rms = sqrt(squares / D + 1e-2);
        for (size_t i = 0; i < D - 2 * PAIRS; i++)
            assert_float_equal(y[i], x[i] * w[i] / rms, 1e-5f);
        for (size_t j = 0; j < PAIRS; j++) {
            const size_t at = D - 2 * PAIRS + 2 * j, k = v / 2 * PAIRS + j;
            const double p = x[at] * w[at] / rms, r = x[at + 1] * w[at + 1] / rms;
            assert_float_equal(y[at], p * cosine[k] - r * sine[k], 1e-5f);
            assert_float_equal(y[at + 1], p * sine[k] + r * cosine[k], 1e-5f);
        }
    }
    free(random);
}

/* --- section 7: ties ---------------------------------------------------------------------------------------------------- */

/* One head, one channel: the score of row w is the row itself, or 0 where it is negative. */
static void check_choice(void)
{
    enum { N = 12, K = 4 };
    const struct {
        float rows[N];
        uint32_t chosen[K];
    } cases[] = {
        { { 1, 5, 2, 5, 3, 5, 4, 5, 0, 5, 5, 5 }, { 1, 3, 5, 7 } },            /* equal: the smaller row */
        { { 9, 1, 1, 8, 1, 1, 7, 1, 1, 1, 1, 1 }, { 0, 1, 3, 6 } },            /* the tie at the border */
        { { -1, -0.0f, 0, -5, 0, 0, -0.0f, 0, 0, 2, -1, 0 }, { 0, 1, 2, 9 } }, /* all below 0 count as 0, -0 too */
        { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 }, { 8, 9, 10, 11 } },
        { { 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1 }, { 0, 1, 2, 3 } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float query = 1, weight = 1;
        uint32_t chosen[K], n_chosen;
        float rows[N];
        memcpy(rows, cases[i].rows, sizeof rows);
        backend_memory memory = { .index = { .ratio = 4, .width = 1, .rows = rows } };
        backend_span span = { .n = 1, .position = 4 * N - 1, .memory = &memory };
        const backend_step step = { .n_tokens = 1, .spans = &span, .n_spans = 1 };
        const backend_select c = { &query, &weight, 1, 1, K, chosen, &n_chosen };
        b->ops->select(b, &c, &step);
        assert_int_equal(n_chosen, K);
        assert_memory_equal(chosen, cases[i].chosen, sizeof chosen);
        span.position = 4 * 3; /* three rows are visible: all of them */
        b->ops->select(b, &c, &step);
        assert_int_equal(n_chosen, 3);
        for (uint32_t k = 0; k < 3; k++)
            assert_int_equal(chosen[k], k);
    }
}

/* --- section 8 ---------------------------------------------------------------------------------------------------------- */

static double affinity(double z)
{
    return sqrt(fmax(z, 0) + log1p(exp(-fabs(z))));
}

static void check_router(void)
{
    enum { E = 6, K = 3 };
    const float logits[E] = { 0.5f, -3, 2, 2, -100, 2 }, none[E] = { 0 }, bias[E] = { 0, 5, 0, 0, 9, 0 };
    const int32_t table[2 * K] = { 0, 0, 0, 5, 1, 5 };
    const uint32_t token = 1;
    uint32_t ids[K];
    float weights[K];
    const backend_step step = { .n_tokens = 1, .tokens = &token };
    backend_route r = { logits, none, NULL, E, K, 1.5f, ids, weights };
    b->ops->route(b, &r, &step);
    assert_memory_equal(ids, ((uint32_t[]){ 2, 3, 5 }), sizeof ids); /* equal: the smaller expert first */
    for (size_t k = 0; k < K; k++)
        assert_float_equal(weights[k], 0.5f, 1e-6f);
    r.bias = bias; /* chooses, and does not weigh */
    b->ops->route(b, &r, &step);
    assert_memory_equal(ids, ((uint32_t[]){ 4, 1, 2 }), sizeof ids);
    const double sum = affinity(-100) + affinity(-3) + affinity(2);
    assert_float_equal(weights[1], 1.5 * affinity(-3) / sum, 1e-6f);
    assert_float_equal(weights[2], 1.5 * affinity(2) / sum, 1e-6f);
    r.bias = NULL;
    r.table = table; /* an expert that stands there twice counts twice */
    b->ops->route(b, &r, &step);
    assert_memory_equal(ids, ((uint32_t[]){ 5, 1, 5 }), sizeof ids);
    assert_float_equal(weights[0], 1.5 * affinity(2) / (2 * affinity(2) + affinity(-3)), 1e-6f);
    const float low[E] = { -300, -300, -300, -300, -300, -300 }; /* nothing to divide by: the floor of 1e-20 */
    r.logits = low;
    b->ops->route(b, &r, &step);
    for (size_t k = 0; k < K; k++)
        assert_true(isfinite(weights[k]));
    const float nan[E] = { NAN, NAN, NAN, NAN, NAN, NAN }; /* a fault elsewhere: the ids stay in range */
    r.logits = nan;
    r.table = NULL;
    r.bias = bias;
    b->ops->route(b, &r, &step);
    for (size_t k = 0; k < K; k++)
        assert_true(ids[k] < E);
}

/* Clamps before the SiLU, the weight before the down projection, the sum over a token's experts, and `accumulate`. */
static void check_experts(void)
{
    enum { T = 5, D = 19, F = 37, E = 4, K = 3 };
    float *g = test_random_f32(E * F * D, 1), *u = test_random_f32(E * F * D, 2), *down = test_random_f32(E * D * F, 3),
          *x = test_random_f32(T * D, 4), *weights = test_random_f32(T * K, 5), *out = test_random_f32(T * D, 6);
    const uint32_t ids[T * K] = { 0, 1, 2, 3, 3, 0, 2, 1, 2, 0, 3, 1, 1, 1, 1 };
    const backend_matrix gate = matrix(g, F, D, E), up = matrix(u, F, D, E), narrow = matrix(down, D, F, E);
    for (int limited = 0; limited < 2; limited++)
        for (int accumulate = 0; accumulate < 2; accumulate++) {
            const float limit = limited ? 1.5f : 0.0f;
            float *before = malloc(T * D * sizeof *before);
            memcpy(before, out, T * D * sizeof *before);
            const backend_experts e = { &gate, &up, &narrow, x, ids, weights, K, limit, accumulate, out };
            b->ops->experts(b, &e, T);
            for (size_t t = 0; t < T; t++)
                for (size_t i = 0; i < D; i++) {
                    double want = accumulate ? before[t * D + i] : 0, size = 1;
                    for (size_t k = 0; k < K; k++) {
                        const size_t at = ids[t * K + k];
                        for (size_t f = 0; f < F; f++) {
                            double p = 0, r = 0;
                            for (size_t c = 0; c < D; c++) {
                                p += (double)g[(at * F + f) * D + c] * x[t * D + c];
                                r += (double)u[(at * F + f) * D + c] * x[t * D + c];
                            }
                            if (limited) {
                                p = fmin(p, 1.5);
                                r = fmax(fmin(r, 1.5), -1.5);
                            }
                            const double term = down[(at * D + i) * F + f] * weights[t * K + k] * p * sigmoid(p) * r;
                            want += term;
                            size += fabs(term);
                        }
                    }
                    assert_float_equal(out[t * D + i], want, 1e-5 * size);
                }
            free(before);
        }
    free(g), free(u), free(down), free(x), free(weights), free(out);
}

/* The linker sends the backend's calls of pool_run() here (cmake/Ds4Rooms.cmake). */
static uint32_t n_tasks_run;
void __real_pool_run(pool *p, uint32_t n_tasks, pool_task *task, void *arg);
void __wrap_pool_run(pool *p, uint32_t n_tasks, pool_task *task, void *arg);

void __wrap_pool_run(pool *p, uint32_t n_tasks, pool_task *task, void *arg)
{
    n_tasks_run += n_tasks;
    __real_pool_run(p, n_tasks, task, arg);
}

/* Experts that nobody chose are no tasks: one token's work is the same among 4 experts and among 16. */
static void check_idle_experts(void)
{
    enum { D = 32, F = 64, K = 2 };
    float *w = test_random_f32(16 * F * D, 1), *x = test_random_f32(D, 2), out[2][D];
    const uint32_t ids[K] = { 3, 1 };
    const float weights[K] = { 0.5f, 2 };
    uint32_t n_tasks[2];
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t E = i ? 16 : 4;
        const backend_matrix wide = matrix(w, F, D, E), narrow = matrix(w, D, F, E);
        const backend_experts e = { &wide, &wide, &narrow, x, ids, weights, K, 0, false, out[i] };
        n_tasks_run = 0;
        b->ops->experts(b, &e, 1);
        n_tasks[i] = n_tasks_run;
    }
    assert_int_equal(n_tasks[0], n_tasks[1]);
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    free(w), free(x);
}

/* Rows of group g see the values of group g. */
static void check_groups(void)
{
    enum { T = 6, G = 3, PER = 35, C = 21 };
    float *w = test_random_f32(G * PER * C, 1), *x = test_random_f32(T * G * C, 2),
          *y = malloc(T * G * PER * sizeof *y);
    const backend_matrix m = matrix(w, G * PER, C, 1);
    b->ops->matmul_grouped(b, y, &m, x, T, G);
    for (size_t t = 0; t < T; t++)
        for (size_t row = 0; row < G * PER; row++) {
            double want = 0;
            for (size_t c = 0; c < C; c++)
                want += (double)w[row * C + c] * x[(t * G + row / PER) * C + c];
            assert_float_equal(y[t * G * PER + row], want, 1e-4f);
        }
    free(w), free(x), free(y);
}

/* --- sections 5 and 6: a sequence whose first tokens are in the rings already ---------------------------------------------- */

static void check_attention(void)
{
    enum { W = 5, RING = 9, D = 13, H = 3, BEFORE = 11, T = 7, ROWS = 4, RATIO = 4, PAIRS = 2 };
    float *kv = test_random_f32((BEFORE + T) * D, 1), *rows = test_random_f32(ROWS * D, 2), ring[RING * D],
          *q = test_random_f32(T * H * D, 3), out[T * H * D], cosine[T * PAIRS], sine[T * PAIRS];
    const float sinks[H] = { -30, 0.5f, 3 }, omega[PAIRS] = { 1, 0.1f };
    uint32_t positions[T];
    for (uint32_t t = 0; t < T; t++)
        positions[t] = BEFORE + t;
    for (size_t p = 0; p < BEFORE; p++)
        memcpy(ring + p % RING * D, kv + p * D, D * sizeof(float));
    backend_memory memory = { .window = ring, .window_tokens = RING, .attention = { .ratio = RATIO, .rows = rows } };
    backend_span span = { .n = T, .position = BEFORE, .memory = &memory };
    backend_rope rope = { omega, cosine, sine, PAIRS };
    const backend_step step = { .n_tokens = T, .positions = positions, .spans = &span, .n_spans = 1 };
    const backend_attend a = { q, kv + BEFORE * D, sinks, &rope, H, D, W, NULL, NULL, 0, out };
    b->ops->turn(b, &rope, &step);
    b->ops->attend(b, &a, &step);
    for (size_t t = 0; t < T; t++)
        for (size_t h = 0; h < H; h++) {
            const float *query = q + (t * H + h) * D;
            double sum = exp(sinks[h]), want[D] = { 0 };
            for (size_t i = 0; i < W + (BEFORE + t + 1) / RATIO; i++) { /* W window rows, then the complete groups */
                const float *row = i < W ? kv + (BEFORE + t + 1 - W + i) * D : rows + (i - W) * D;
                double s = 0;
                for (size_t c = 0; c < D; c++)
                    s += (double)query[c] * row[c];
                const double p = exp(s / sqrt(D));
                sum += p;
                for (size_t c = 0; c < D; c++)
                    want[c] += p * row[c];
            }
            for (size_t j = 0; j < PAIRS; j++) { /* turned back at the query's position */
                const double angle = (double)(BEFORE + t) * omega[j], u = want[D - 4 + 2 * j], v = want[D - 3 + 2 * j];
                want[D - 4 + 2 * j] = u * cos(angle) + v * sin(angle);
                want[D - 3 + 2 * j] = -u * sin(angle) + v * cos(angle);
            }
            for (size_t c = 0; c < D; c++)
                assert_float_equal(out[(t * H + h) * D + c], want[c] / sum, 1e-5f);
        }
    free(kv), free(rows), free(q);
}

static void streams_are_balanced_and_merged(void **state)
{
    (void)state;
    for_each_variant(check_balance);
    for_each_variant(check_merge);
}

static void heads_are_normalised_and_turned(void **state)
{
    (void)state;
    for_each_variant(check_rotation);
}

static void of_equal_rows_the_first_is_chosen(void **state)
{
    (void)state;
    for_each_variant(check_choice);
}

static void experts_are_chosen_weighed_and_summed(void **state)
{
    (void)state;
    for_each_variant(check_router);
    for_each_variant(check_experts);
    for_each_variant(check_idle_experts);
    for_each_variant(check_groups);
}

static void attention_sees_its_window_its_groups_and_the_sink(void **state)
{
    (void)state;
    for_each_variant(check_attention);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_are_balanced_and_merged),
        cmocka_unit_test(heads_are_normalised_and_turned),
        cmocka_unit_test(of_equal_rows_the_first_is_chosen),
        cmocka_unit_test(experts_are_chosen_weighed_and_summed),
        cmocka_unit_test(attention_sees_its_window_its_groups_and_the_sink),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
