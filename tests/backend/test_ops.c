/* The operations of a backend against what docs/spec/model.md says of them, written down plainly in double, with shapes
 * that are multiples of nothing. Everything goes through alloc(), write() and read(), so the same file accepts a
 * backend whose memory is a device's. On the processor every kernel variant is tried. */
#include "lab.h"

#include "base/pool.h"

#include <float.h>

static double sigmoid(double z)
{
    return 1 / (1 + exp(-z));
}

/* --- section 4 -------------------------------------------------------------------------------------------------------- */

/* With fn = 0 the mix depends on the bases alone: the document's numbers for m = 2, and an epsilon that shows. */
static void check_balance(void)
{
    const float zeros[8 * 6] = { 0 }, values[6] = { 1, 2, 3, 10, 20, 30 }, ones[3] = { 1, 1, 1 };
    const float bases[8] = { 0.3f, -0.2f, 0.7f, -1.1f, 1, 0, 0, -2 };
    const struct {
        uint32_t n;
        float comb[4];
    } known[] = { { 1, { .453551f, .692887f, .546449f, .307110f } },
                  { 2, { .381937f, .626834f, .618062f, .373165f } },
                  { 20, { .377541f, .622458f, .622458f, .377541f } } };
    const backend_shape shape = some_shape();
    open_backend(&shape);
    const backend_tensor *fn = matrix(zeros, 8, 6, 1), *base = vector(bases, 8), *scale = vector(ones, 3);
    float *x = put(values, 6), *a = device(12), *post = device(8), *comb = device(16), *z = device(32);
    float got_a[3], got_post[2], got_comb[4];
    begin(1, 0, NULL);
    for (size_t i = 0; i < 3; i++) {
        const backend_hyper h = { fn, base, scale, known[i].n, 1e-6f };
        b->ops->hc_mix(b, &h, a, post, comb, z, x);
        get(got_comb, comb, 4);
        for (size_t k = 0; k < 4; k++)
            assert_float_equal(got_comb[k], known[i].comb[k], 1.5e-6f);
    }
    const backend_hyper wide = { fn, base, scale, 1, 0.25f };
    b->ops->hc_mix(b, &wide, a, post, comb, z, x);
    end();
    get(got_a, a, 3), get(got_post, post, 2), get(got_comb, comb, 4);
    for (size_t c = 0; c < 3; c++) /* pre has the epsilon */
        assert_float_equal(got_a[c], (sigmoid(0.3) + 0.25) * values[c] + (sigmoid(-0.2) + 0.25) * values[3 + c], 1e-5f);
    assert_float_equal(got_post[0], 2 * sigmoid(0.7), 1e-6f); /* post has not */
    assert_float_equal(got_post[1], 2 * sigmoid(-1.1), 1e-6f);
    const double first = sigmoid(1) + 0.25, below = sigmoid(2) + 0.25; /* softmax of (1, 0) and (0, -2), + eps */
    const double column = first + below + 0.25;
    assert_float_equal(got_comb[0], first / column, 1e-6f);
    assert_float_equal(got_comb[2], below / column, 1e-6f);
    close_backend();
}

/* x'_k = post_k y + sum over j of comb[j][k] x_j: the first index is summed. */
static void check_merge(void)
{
    enum { T = 3, M = 3, D = 37 };
    float *x = test_random_f32(T * M * D, 1), *y = test_random_f32(T * D, 2), *post = test_random_f32(T * M, 3),
          *comb = test_random_f32(T * M * M, 4), *got = malloc(T * M * D * sizeof *got);
    backend_shape shape = some_shape();
    shape.n_streams = M, shape.n_embd = D;
    open_backend(&shape);
    float *merged = put(x, T * M * D);
    begin(T, 0, NULL);
    b->ops->hc_merge(b, merged, put(y, T * D), put(post, T * M), put(comb, T * M * M));
    end();
    get(got, merged, T * M * D);
    for (size_t t = 0; t < T; t++)
        for (size_t k = 0; k < M; k++)
            for (size_t c = 0; c < D; c++) {
                double want = (double)post[t * M + k] * y[t * D + c];
                for (size_t j = 0; j < M; j++)
                    want += (double)comb[(t * M + j) * M + k] * x[(t * M + j) * D + c];
                assert_float_equal(got[(t * M + k) * D + c], want, 1e-5f);
            }
    close_backend();
    free(x), free(y), free(post), free(comb), free(got);
}

/* --- section 9 -------------------------------------------------------------------------------------------------------- */

/* The head mixes the streams of the wanted rows, and only of those; logits come back to the row that asked. */
static void check_head(void)
{
    enum { T = 7, M = 2, D = 5, V = 16, N = 3 };
    const uint32_t wanted[N] = { 1, 4, 6 };
    float *x = test_random_f32(T * M * D, 1), *f = test_random_f32(M * M * D, 2), *w = test_random_f32(V * D, 3);
    const float bases[M] = { 0.5f, -1 }, scales[1] = { 0.75f };
    float mixed[N * D], logits[N][V];
    backend_shape shape = some_shape();
    shape.n_embd = D, shape.n_streams = M, shape.n_vocab = V;
    open_backend(&shape);
    const backend_hyper h = { matrix(f, M, M * D, 1), vector(bases, M), vector(scales, 1), 0, 1e-3f };
    const backend_tensor *output = matrix(w, V, D, 1);
    float *streams = put(x, T * M * D), *a = device(N * D * 4), *z = device(N * M * 4), *made = device(N * V * 4);
    const backend_span spans[2] = { { .first = 0, .n = 3 }, { .first = 3, .n = 4, .position = 9 } };
    backend_row rows[N];
    for (size_t i = 0; i < N; i++)
        rows[i] = (backend_row){ wanted[i], logits[i] };
    for (uint32_t i = 0; i < T; i++)
        positions[i] = i < 3 ? i : 6 + i;
    const backend_step step = { T, tokens, positions, spans, 2, rows, N };
    for (int broken = 0; broken < 2; broken++) {
        bool finite[2];
        if (broken)
            x[4 * M * D] = INFINITY, streams = put(x, T * M * D);
        b->ops->begin(b, &step);
        b->ops->hc_head(b, &h, a, z, streams, 0, 1); /* in two pieces */
        b->ops->hc_head(b, &h, a + D, z + M, streams, 1, N - 1);
        b->ops->matmul(b, made, output, a, N, true);
        b->ops->logits(b, made, 0, N);
        if (broken)
            b->ops->check(b, streams, M * D);
        assert_int_equal(b->ops->end(b, finite, NULL), DS4_OK);
        assert_true(finite[0]); /* the other span has nothing to do with it */
        assert_int_equal(finite[1], !broken);
        if (broken)
            break;
        get(mixed, a, N * D);
        for (size_t i = 0; i < N; i++) {
            const float *own = x + wanted[i] * M * D;
            double squares = 0, want[D] = { 0 };
            for (size_t c = 0; c < M * D; c++)
                squares += (double)own[c] * own[c];
            for (size_t j = 0; j < M; j++) {
                double dot = 0;
                for (size_t c = 0; c < M * D; c++)
                    dot += (double)f[j * M * D + c] * own[c];
                const double pre = sigmoid(dot / sqrt(squares / (M * D) + shape.rms_eps) * scales[0] + bases[j]) + 1e-3;
                for (size_t c = 0; c < D; c++)
                    want[c] += pre * own[j * D + c];
            }
            for (size_t c = 0; c < D; c++)
                assert_float_equal(mixed[i * D + c], want[c], 1e-5f);
            for (size_t v = 0; v < V; v++) {
                double want_logit = 0;
                for (size_t c = 0; c < D; c++)
                    want_logit += (double)w[v * D + c] * mixed[i * D + c];
                assert_float_equal(logits[i][v], want_logit, 1e-5f);
            }
        }
    }
    close_backend();
    free(x), free(f), free(w);
}

/* --- section 3 -------------------------------------------------------------------------------------------------------- */

/* The angle is the float32 product; its sine and cosine are good to the last place even at a million turns. */
static void check_rotation(void)
{
    enum { PAIRS = 3, D = 10, T = 4, H = 2 };
    const float omega[PAIRS] = { 1.0f, 0.687656045f, 5.6805294e-7f };
    const uint32_t at[T] = { 0, 1, 131071, 1048575 };
    float w[D], got[T * H * D], *random = test_random_f32(T * H * D, 5);
    for (size_t i = 0; i < D; i++)
        w[i] = 0.5f + (float)i / 8;
    backend_shape shape = some_shape();
    shape.head_dim = D, shape.rope_dim = 2 * PAIRS, shape.rms_eps = 1e-2f;
    shape.omega_window = shape.omega_compressed = omega;
    open_backend(&shape);
    memcpy(positions, at, sizeof at);
    const backend_span spans[T] = {
        { 0, 1, at[0], { 0 } }, { 1, 1, at[1], { 0 } }, { 2, 1, at[2], { 0 } }, { 3, 1, at[3], { 0 } }
    };
    const backend_step step = { .n_tokens = T, .tokens = tokens, .positions = at, .spans = spans, .n_spans = T };
    float *q = put(random, T * H * D);
    b->ops->begin(b, &step);
    b->ops->rope_table(b);
    b->ops->norm_rope_round(b, q, 0, H, vector(w, D), true); /* the shape says that rows are not rounded */
    end();
    get(got, q, T * H * D);
    for (size_t v = 0; v < T * H; v++) { /* norm, then the last six channels in neighbouring pairs */
        const float *x = random + v * D, *y = got + v * D;
        double squares = 0;
        for (size_t i = 0; i < D; i++)
            squares += (double)x[i] * x[i];
        const double rms = sqrt(squares / D + 1e-2);
        for (size_t i = 0; i < D - 2 * PAIRS; i++)
            assert_float_equal(y[i], x[i] * w[i] / rms, 1e-5f);
        for (size_t j = 0; j < PAIRS; j++) {
            const size_t c = D - 2 * PAIRS + 2 * j;
            const double angle = (double)((float)at[v / H] * omega[j]);
            const double p = x[c] * w[c] / rms, r = x[c + 1] * w[c + 1] / rms;
            assert_float_equal(y[c], p * cos(angle) - r * sin(angle), 1e-5f);
            assert_float_equal(y[c + 1], p * sin(angle) + r * cos(angle), 1e-5f);
        }
    }
    close_backend();
    free(random);
}

/* --- section 7: ties ---------------------------------------------------------------------------------------------------- */

/* One head, one channel: the score of row w is the row itself, or 0 where it is negative. Attention row w is 1 in channel w
 * alone, and the query is 0: channel w of the output is not 0 where row w was chosen. */
static void check_choice(void)
{
    enum { N = 12, K = 4 };
    static const backend_layer csa[1] = { { BACKEND_LAYER_CSA, 4 } };
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
    const float one = 1, none[N * N] = { 0 }, sink = -30;
    backend_shape shape = some_shape();
    shape.layers = csa;
    shape.n_embd = 1, shape.head_dim = N, shape.index_dim = 1, shape.index_top_k = K;
    shape.page_tokens = 4 * 5; /* rows 5 and 10 begin pages */
    open_backend(&shape);
    const backend_tensor *unit = matrix(&one, 1, 1, 1);
    const backend_series *index = &b->layout.layers[0].index, *attention = &b->layout.layers[0].attention;
    void *pages[3];
    for (size_t p = 0; p < 3; p++)
        pages[p] = device(b->layout.page_bytes);
    const backend_sequence sequence = { device(b->layout.rolling_bytes), pages, 3 };
    float *x = put(&one, 1), *zero = put(none, N), *out = device(N * 4);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (uint32_t w = 0; w < N; w++) {
            float row[N] = { 0 };
            row[w] = 1;
            uint8_t *page = pages[w / 5];
            b->ops->write(b, page + index->rows + w % 5 * index->row_bytes, &cases[i].rows[w], 4);
            b->ops->write(b, page + attention->rows + w % 5 * attention->row_bytes, row, sizeof row);
        }
        for (uint32_t visible = 3; visible <= N; visible += N - 3) { /* three visible rows: all of them */
            const backend_index job = { 0, unit, unit, x, x };
            const backend_attend attend = { 0, zero, zero, vector(&sink, 1), out };
            float got[N];
            begin(1, 4 * visible - 1, &sequence);
            b->ops->rope_table(b);
            b->ops->index(b, &job);
            b->ops->attend(b, &attend);
            end();
            get(got, out, N);
            for (uint32_t w = 0, k = 0; w < N; w++) {
                const bool chosen = visible == 3 ? w < 3 : k < K && cases[i].chosen[k] == w;
                assert_int_equal(got[w] > 0.01f, chosen);
                k += chosen;
            }
        }
    }
    close_backend();
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
    const float low[E] = { -300, -300, -300, -300, -300, -300 }, nan[E] = { NAN, NAN, NAN, NAN, NAN, NAN },
                some_nan[E] = { NAN, 0.5f, NAN, 2, NAN, -1 };
    const int32_t table[2 * K] = { 0, 0, 0, 5, 1, 5 };
    uint32_t got_ids[K];
    float got[K];
    backend_shape shape = some_shape();
    shape.n_experts = E, shape.n_used = K;
    open_backend(&shape);
    tokens[0] = 1;
    uint32_t *ids = device(K * 4);
    float *weights = device(K * 4);
    backend_route r = { put(logits, E), vector(none, E), NULL, 1.5f, ids, weights };
    begin(1, 0, NULL);
    b->ops->route(b, &r);
    get(got_ids, ids, K), get(got, weights, K);
    assert_memory_equal(got_ids, ((uint32_t[]){ 2, 3, 5 }), sizeof got_ids); /* equal: the smaller expert first */
    for (size_t k = 0; k < K; k++)
        assert_float_equal(got[k], 0.5f, 1e-6f);
    const backend_tensor *biased = vector(bias, E);
    r.bias = biased; /* chooses, and does not weigh */
    b->ops->route(b, &r);
    get(got_ids, ids, K), get(got, weights, K);
    assert_memory_equal(got_ids, ((uint32_t[]){ 4, 1, 2 }), sizeof got_ids);
    const double sum = affinity(-100) + affinity(-3) + affinity(2);
    assert_float_equal(got[1], 1.5 * affinity(-3) / sum, 1e-6f);
    assert_float_equal(got[2], 1.5 * affinity(2) / sum, 1e-6f);
    r.bias = NULL;
    r.table = adopt(table, QUANT_I32, 1, 2, K); /* an expert that stands there twice counts twice */
    b->ops->route(b, &r);
    get(got_ids, ids, K), get(got, weights, K);
    assert_memory_equal(got_ids, ((uint32_t[]){ 5, 1, 5 }), sizeof got_ids);
    assert_float_equal(got[0], 1.5 * affinity(2) / (2 * affinity(2) + affinity(-3)), 1e-6f);
    r.logits = put(low, E); /* nothing to divide by: the floor of 1e-20 */
    b->ops->route(b, &r);
    get(got, weights, K);
    for (size_t k = 0; k < K; k++)
        assert_true(isfinite(got[k]));
    r.logits = put(nan, E); /* a fault elsewhere: the ids stay in range */
    r.table = NULL;
    r.bias = biased;
    b->ops->route(b, &r);
    get(got_ids, ids, K);
    for (size_t k = 0; k < K; k++)
        assert_true(got_ids[k] < E);
    r.logits = put(some_nan, E); /* less than any number */
    r.bias = vector(none, E);
    b->ops->route(b, &r);
    end();
    get(got_ids, ids, K);
    assert_memory_equal(got_ids, ((uint32_t[]){ 3, 1, 5 }), sizeof got_ids);
    close_backend();
}

/* Clamps before the SiLU, the weight before the down projection, the sum over a token's experts, and `accumulate`. Without
 * ids there is one expert, for every token, with weight 1. */
static void check_experts(void)
{
    enum { T = 5, D = 19, F = 37, E = 4, K = 3 };
    float *g = test_random_f32(E * F * D, 1), *u = test_random_f32(E * F * D, 2), *down = test_random_f32(E * D * F, 3),
          *x = test_random_f32(T * D, 4), *weights = test_random_f32(T * K, 5), *before = test_random_f32(T * D, 6),
          *got = malloc(T * D * sizeof *got);
    const uint32_t ids[T * K] = { 0, 1, 2, 3, 3, 0, 2, 1, 2, 0, 3, 1, 1, 1, 1 };
    backend_shape shape = some_shape();
    shape.n_embd = D, shape.ff_dim = F, shape.n_experts = E, shape.n_used = K;
    open_backend(&shape);
    const float *input = put(x, T * D), *given = put(weights, T * K);
    const uint32_t *listed = put(ids, T * K);
    for (int shared = 0; shared < 2; shared++) {
        const uint32_t n = shared ? 1 : E, k_used = shared ? 1 : K;
        const backend_tensor *gate = matrix(g, F, D, n), *up = matrix(u, F, D, n), *narrow = matrix(down, D, F, n);
        for (int limited = 0; limited < 2; limited++)
            for (int accumulate = 0; accumulate < 2; accumulate++) {
                float *out = put(before, T * D);
                const backend_experts e = { .gate = gate,
                                            .up = up,
                                            .down = narrow,
                                            .x = input,
                                            .ids = shared ? NULL : listed,
                                            .weights = shared ? NULL : given,
                                            .n_used = k_used,
                                            .clamp = limited ? 1.5f : 0.0f,
                                            .accumulate = accumulate,
                                            .out = out };
                begin(T, 0, NULL);
                b->ops->experts(b, &e);
                end();
                get(got, out, T * D);
                for (size_t t = 0; t < T; t++)
                    for (size_t i = 0; i < D; i++) {
                        double want = accumulate ? before[t * D + i] : 0, size = 1;
                        for (size_t k = 0; k < k_used; k++) {
                            const size_t at = shared ? 0 : ids[t * K + k];
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
                                const double term =
                                    down[(at * D + i) * F + f] * (shared ? 1 : weights[t * K + k]) * p * sigmoid(p) * r;
                                want += term;
                                size += fabs(term);
                            }
                        }
                        assert_float_equal(got[t * D + i], want, 1e-5 * size);
                    }
            }
    }
    close_backend();
    free(g), free(u), free(down), free(x), free(weights), free(before), free(got);
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
    float *w = test_random_f32(16 * F * D, 1), *x = test_random_f32(D, 2), got[2][D];
    const uint32_t ids[K] = { 3, 1 };
    const float weights[K] = { 0.5f, 2 };
    uint32_t n_tasks[2];
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t E = i ? 16 : 4;
        backend_shape shape = some_shape();
        shape.n_embd = D, shape.ff_dim = F, shape.n_experts = E, shape.n_used = K;
        open_backend(&shape);
        const backend_tensor *wide = matrix(w, F, D, E), *narrow = matrix(w, D, F, E);
        float *out = device(D * 4);
        const backend_experts e = { wide, wide, narrow, put(x, D), put(ids, K), put(weights, K), K, 0, false, out };
        begin(1, 0, NULL);
        n_tasks_run = 0;
        b->ops->experts(b, &e);
        n_tasks[i] = n_tasks_run;
        end();
        get(got[i], out, D);
        close_backend();
    }
    assert_int_equal(n_tasks[0], n_tasks[1]);
    assert_memory_equal(got[0], got[1], sizeof got[0]);
    free(w), free(x);
}

/* Rows of group g see the values of group g. */
static void check_groups(void)
{
    enum { T = 6, G = 3, PER = 35, C = 21 };
    float *w = test_random_f32(G * PER * C, 1), *x = test_random_f32(T * G * C, 2),
          *got = malloc(T * G * PER * sizeof *got);
    backend_shape shape = some_shape();
    shape.n_heads = G;
    open_backend(&shape);
    float *y = device(T * G * PER * 4);
    begin(T, 0, NULL);
    b->ops->matmul_grouped(b, y, matrix(w, G * PER, C, 1), put(x, T * G * C), G);
    end();
    get(got, y, T * G * PER);
    for (size_t t = 0; t < T; t++)
        for (size_t row = 0; row < G * PER; row++) {
            double want = 0;
            for (size_t c = 0; c < C; c++)
                want += (double)w[row * C + c] * x[(t * G + row / PER) * C + c];
            assert_float_equal(got[t * G * PER + row], want, 1e-4f);
        }
    close_backend();
    free(w), free(x), free(got);
}

static void streams_are_balanced_and_merged(void **state)
{
    (void)state;
    for_each_variant(check_balance);
    for_each_variant(check_merge);
    for_each_variant(check_head);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_are_balanced_and_merged),
        cmocka_unit_test(heads_are_normalised_and_turned),
        cmocka_unit_test(of_equal_rows_the_first_is_chosen),
        cmocka_unit_test(experts_are_chosen_weighed_and_summed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
