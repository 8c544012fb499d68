/* Compressors, indexer and attention together, on ragged batches of sequences that began earlier: random shapes against
 * docs/spec/model.md written down plainly in double, what comes out and what stays in the memory of the sequences. */
#include "lab.h"

/* --- sections 5, 6 and 7 together: ragged batches of sequences that began earlier ------------------------------------------- */

enum {
    LAYERS = 3,
    SPANS_MAX = 4,
    HEADS = 3,
    IHEADS = 2,
    Q = 7,
    DIM = 14,
    IDIM = 10,
    ROT = 4,
    WINDOW = 6,
    TOP = 3,
    EMBD = 5,
    PAGE_TOKENS = 24,
    PAGES = 4,
    REWIND = 3,
    T_MAX = 40
};
static const backend_layer kinds[LAYERS] = { { BACKEND_LAYER_WINDOW, 0 },
                                             { BACKEND_LAYER_CSA, 4 },
                                             { BACKEND_LAYER_HCA, 6 } };
static const float slow[ROT / 2] = { 1, 0.1f }, yarn[ROT / 2] = { 0.7f, 0.03f };

/* A sequence with random contents, in ordinary memory and in the backend's. */
typedef struct twin {
    float *rolling, *pages[PAGES];
    void *device_pages[PAGES];
    backend_sequence sequence;
} twin;

static void new_twin(twin *t, uint32_t seed)
{
    t->rolling = test_random_f32(b->layout.rolling_bytes / 4, seed);
    for (uint32_t p = 0; p < PAGES; p++) {
        t->pages[p] = test_random_f32(b->layout.page_bytes / 4, seed + 1 + p);
        t->device_pages[p] = put(t->pages[p], b->layout.page_bytes / 4);
    }
    t->sequence = (backend_sequence){ put(t->rolling, b->layout.rolling_bytes / 4), t->device_pages, PAGES };
}

static float *row_of(const twin *t, const backend_series *s, uint32_t row)
{
    const uint32_t per_page = PAGE_TOKENS / s->ratio;
    return t->pages[row / per_page] + (s->rows + row % per_page * s->row_bytes) / 4;
}

static void turn(double *x, uint32_t dim, const float *omega, uint32_t position, double direction)
{
    for (size_t j = 0; j < ROT / 2; j++) {
        const double angle = direction * (double)((float)position * omega[j]);
        double *u = &x[dim - ROT + 2 * j], *v = u + 1;
        const double p = *u * cos(angle) - *v * sin(angle), r = *u * sin(angle) + *v * cos(angle);
        *u = p, *v = r;
    }
}

/* Section 6 for one span, into the twin: `kv` and `gate` [n, sets * width] are the projections of the span, unbiased. */
static void compress_by_hand(twin *t, const backend_series *s, const backend_span *at, const float *kv,
                             const float *gate, const float *bias, const float *norm)
{
    const uint32_t width = s->width, wide = s->n_sets * width;
    float *ring_kv = t->rolling + s->ring_kv / 4, *ring_gate = t->rolling + s->ring_gate / 4;
    for (uint32_t g = at->position / s->ratio; g < (at->position + at->n) / s->ratio; g++) {
        double row[DIM > IDIM ? DIM : IDIM], squares = 0;
        for (uint32_t c = 0; c < width; c++) {
            double sum = 0, weights = 0;
            for (uint32_t p = s->n_sets == 2 && g > 0 ? (g - 1) * s->ratio : g * s->ratio; p < (g + 1) * s->ratio;
                 p++) {
                const uint32_t channel = s->n_sets == 2 && p >= g * s->ratio ? width + c : c;
                const bool now = p >= at->position;
                const size_t i = now ? (p - at->position) * wide + channel : p % s->ring_tokens * wide + channel;
                const double v = now ? kv[i] : ring_kv[i];
                const double z = now ? (double)gate[i] + bias[p % s->ratio * wide + channel] : ring_gate[i];
                sum += exp(z) * v;
                weights += exp(z);
            }
            row[c] = sum / weights;
            squares += row[c] * row[c];
        }
        for (uint32_t c = 0; c < width; c++)
            row[c] *= norm[c] / sqrt(squares / width + 1e-6);
        turn(row, width, yarn, g * s->ratio, 1);
        for (uint32_t c = 0; c < width; c++)
            row_of(t, s, g)[c] = (float)row[c];
    }
    for (uint32_t k = 0; k < at->n; k++)
        for (uint32_t c = 0; c < wide; c++) {
            const size_t i = (at->position + k) % s->ring_tokens * wide + c;
            ring_kv[i] = kv[k * wide + c];
            ring_gate[i] = gate[k * wide + c] + bias[(at->position + k) % s->ratio * wide + c];
        }
}

/* The K rows of largest score, as a mask. False when the last one chosen and the first one left out are too close to call. */
static bool choose_by_hand(const twin *t, const backend_series *s, uint32_t position, const float *query_weight,
                           const float *head_weight, const float *qr, const float *x, bool *chosen)
{
    const uint32_t n = (position + 1) / s->ratio;
    double scores[PAGES * PAGE_TOKENS];
    for (uint32_t w = 0; w < n; w++)
        scores[w] = 0, chosen[w] = n <= TOP;
    if (n <= TOP)
        return true;
    for (uint32_t h = 0; h < IHEADS; h++) {
        double q[IDIM], a = 0;
        for (uint32_t c = 0; c < IDIM; c++) {
            q[c] = 0;
            for (uint32_t k = 0; k < Q; k++)
                q[c] += (double)query_weight[(h * IDIM + c) * Q + k] * qr[k];
        }
        turn(q, IDIM, yarn, position, 1);
        for (uint32_t k = 0; k < EMBD; k++)
            a += (double)head_weight[h * EMBD + k] * x[k];
        for (uint32_t w = 0; w < n; w++) {
            double dot = 0;
            for (uint32_t c = 0; c < IDIM; c++)
                dot += q[c] * row_of(t, s, w)[c];
            scores[w] += a / sqrt(IDIM * IHEADS) * fmax(dot, 0);
        }
    }
    double last = 0, next = -INFINITY;
    for (uint32_t k = 0; k <= TOP; k++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t w = 0; w < n; w++)
            if (!chosen[w] && (best == UINT32_MAX || scores[w] > scores[best]))
                best = w;
        if (k < TOP)
            chosen[best] = true, last = scores[best];
        else
            next = scores[best];
    }
    return last == next || last - next > 1e-4;
}

static void attend_by_hand(const twin *t, uint32_t layer, const backend_span *at, uint32_t i, const bool *chosen,
                           const float *query, const float *kv, const float *sinks, double *out)
{
    const backend_place *place = &b->layout.layers[layer];
    const uint32_t position = at->position + i, ratio = place->attention.ratio;
    const float *window = t->rolling + place->window / 4;
    const float *rows[WINDOW + PAGES * PAGE_TOKENS];
    uint32_t n = 0;
    for (uint32_t p = position + 1 > WINDOW ? position + 1 - WINDOW : 0; p <= position; p++)
        rows[n++] = p >= at->position ? kv + (p - at->position) * DIM : window + p % b->layout.window_tokens * DIM;
    for (uint32_t w = 0; ratio && w < (position + 1) / ratio; w++)
        if (!chosen || chosen[w])
            rows[n++] = row_of(t, &place->attention, w);
    for (uint32_t h = 0; h < HEADS; h++) {
        double sum = exp(sinks[h]), *o = out + h * DIM;
        memset(o, 0, DIM * sizeof *o);
        for (uint32_t k = 0; k < n; k++) {
            double s = 0;
            for (uint32_t c = 0; c < DIM; c++)
                s += (double)query[h * DIM + c] * rows[k][c];
            const double p = exp(s / sqrt(DIM));
            sum += p;
            for (uint32_t c = 0; c < DIM; c++)
                o[c] += p * rows[k][c];
        }
        for (uint32_t c = 0; c < DIM; c++)
            o[c] /= sum;
        turn(o, DIM, ratio ? yarn : slow, position, -1);
    }
}

static void assert_near(const float *got, const double *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_float_equal(got[i], want[i], 2e-5 * (1 + fabs(want[i])));
}

/* What the backend's memory holds after a step is what the twin holds: rows nearly, the rings to the bit. */
static void compare_memory(const twin *t, const backend_span *at, uint32_t layer)
{
    const backend_place *place = &b->layout.layers[layer];
    const backend_series *series[2] = { &place->attention, &place->index };
    float got[2 * DIM];
    for (uint32_t k = at->n > b->layout.window_tokens ? at->n - b->layout.window_tokens : 0; k < at->n; k++) {
        const size_t offset = place->window + (at->position + k) % b->layout.window_tokens * DIM * sizeof(float);
        get(got, (uint8_t *)t->sequence.rolling + offset, DIM);
        assert_memory_equal(got, t->rolling + offset / 4, DIM * sizeof(float));
    }
    for (int i = 0; i < 2; i++) {
        const backend_series *s = series[i];
        if (!s->ratio)
            continue;
        for (uint32_t g = 0; g < (at->position + at->n) / s->ratio; g++) {
            const float *want = row_of(t, s, g);
            const uint32_t per_page = PAGE_TOKENS / s->ratio;
            get(got, (uint8_t *)t->device_pages[g / per_page] + s->rows + g % per_page * s->row_bytes, s->width);
            for (uint32_t c = 0; c < s->width; c++)
                assert_float_equal(got[c], want[c], 2e-5 * (1 + fabs((double)want[c])));
        }
        for (uint32_t k = at->n > s->ring_tokens ? at->n - s->ring_tokens : 0; k < at->n; k++) {
            const size_t wide = s->n_sets * s->width, slot = (at->position + k) % s->ring_tokens * wide;
            get(got, (uint8_t *)t->sequence.rolling + s->ring_gate + slot * 4, wide);
            assert_memory_equal(got, t->rolling + s->ring_gate / 4 + slot, wide * 4);
            get(got, (uint8_t *)t->sequence.rolling + s->ring_kv + slot * 4, wide);
            assert_memory_equal(got, t->rolling + s->ring_kv / 4 + slot, wide * 4);
        }
    }
}

typedef struct ragged {
    uint32_t n_tokens, n_spans;
    backend_span spans[SPANS_MAX];
    twin twins[SPANS_MAX];
} ragged;

/* One layer of a ragged step, by the backend and by hand. Returns how many tokens could be compared. */
static uint32_t check_layer(ragged *r, uint32_t layer, uint32_t seed)
{
    const backend_place *place = &b->layout.layers[layer];
    const uint32_t T = r->n_tokens;
    const bool csa = kinds[layer].kind == BACKEND_LAYER_CSA, any = kinds[layer].kind != BACKEND_LAYER_WINDOW;
    const uint32_t wide = (csa ? 2 : 1) * DIM, index_wide = 2 * IDIM, ratio = any ? kinds[layer].ratio : 1;
    float *query = test_random_f32(T * HEADS * DIM, seed), *kv = test_random_f32(T * DIM, seed + 1),
          *akv = test_random_f32(T * wide, seed + 2), *agate = test_random_f32(T * wide, seed + 3),
          *ikv = test_random_f32(T * index_wide, seed + 4), *igate = test_random_f32(T * index_wide, seed + 5),
          *abias = test_random_f32(ratio * wide, seed + 6), *ibias = test_random_f32(4 * index_wide, seed + 7),
          *anorm = test_random_f32(DIM, seed + 8), *inorm = test_random_f32(IDIM, seed + 9),
          *wq = test_random_f32(IHEADS * IDIM * Q, seed + 10), *wh = test_random_f32(IHEADS * EMBD, seed + 11),
          *qr = test_random_f32(T * Q, seed + 12), *x = test_random_f32(T * EMBD, seed + 13);
    const float sinks[HEADS] = { -30, 0.5f, 3 };
    float *out = device(T * HEADS * DIM * 4), *got = malloc(T * HEADS * DIM * sizeof *got);
    uint32_t n_compared = 0;
    const backend_compress attention = {
        layer, false, matrix(abias, ratio, wide, 1), vector(anorm, DIM), put(akv, T * wide), put(agate, T * wide)
    };
    const backend_compress index = { layer,
                                     true,
                                     matrix(ibias, 4, index_wide, 1),
                                     vector(inorm, IDIM),
                                     put(ikv, T * index_wide),
                                     put(igate, T * index_wide) };
    const backend_index choice = { layer, matrix(wq, IHEADS * IDIM, Q, 1), matrix(wh, IHEADS, EMBD, 1), put(qr, T * Q),
                                   put(x, T * EMBD) };
    const backend_attend attend = { layer, put(query, T * HEADS * DIM), put(kv, T * DIM), vector(sinks, HEADS), out };
    if (any)
        b->ops->compress(b, &attention);
    if (csa) {
        b->ops->compress(b, &index);
        b->ops->index(b, &choice);
    }
    b->ops->attend(b, &attend);
    get(got, out, T * HEADS * DIM);
    for (uint32_t s = 0; s < r->n_spans; s++) {
        const backend_span *at = &r->spans[s];
        twin *t = &r->twins[s];
        if (any)
            compress_by_hand(t, &place->attention, at, akv + at->first * wide, agate + at->first * wide, abias, anorm);
        if (csa)
            compress_by_hand(t, &place->index, at, ikv + at->first * index_wide, igate + at->first * index_wide, ibias,
                             inorm);
        for (uint32_t i = 0; i < at->n; i++) {
            const uint32_t token = at->first + i;
            bool chosen[PAGES * PAGE_TOKENS];
            double want[HEADS * DIM];
            if (csa &&
                !choose_by_hand(t, &place->index, at->position + i, wq, wh, qr + token * Q, x + token * EMBD, chosen))
                continue;
            attend_by_hand(t, layer, at, i, csa ? chosen : NULL, query + token * HEADS * DIM, kv + at->first * DIM,
                           sinks, want);
            assert_near(got + token * HEADS * DIM, want, HEADS * DIM);
            n_compared++;
        }
        for (uint32_t k = 0; k < at->n; k++)
            memcpy(t->rolling + place->window / 4 + (at->position + k) % b->layout.window_tokens * DIM,
                   kv + (at->first + k) * DIM, DIM * sizeof(float));
        compare_memory(t, at, layer);
    }
    free(query), free(kv), free(akv), free(agate), free(ikv), free(igate), free(abias), free(ibias);
    free(anorm), free(inorm), free(wq), free(wh), free(qr), free(x), free(got);
    return n_compared;
}

static void check_ragged(void)
{
    backend_shape shape = some_shape();
    shape.n_layers = LAYERS, shape.layers = kinds;
    shape.n_embd = EMBD, shape.n_heads = HEADS, shape.head_dim = DIM, shape.rope_dim = ROT, shape.window = WINDOW;
    shape.n_index_heads = IHEADS, shape.index_dim = IDIM, shape.index_top_k = TOP;
    shape.omega_window = slow, shape.omega_compressed = yarn;
    shape.n_ctx_max = PAGES * PAGE_TOKENS, shape.page_tokens = PAGE_TOKENS, shape.rewind_tokens = REWIND;
    shape.n_tokens_max = T_MAX;
    uint32_t random = 12345; /* the seed of all shapes */
    for (uint32_t round = 0; round < 8; round++) {
        ragged r = { 0 };
        uint32_t n_compared = 0;
        const uint32_t n_spans = 1 + round % SPANS_MAX;
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
            open_backend(&shape);
            r = (ragged){ 0 };
            for (uint32_t s = 0; s < n_spans; s++) {
                random = random * 1664525u + 1013904223u;
                const uint32_t n = 1 + (random >> 20) % (round < 4 ? 9 : T_MAX / n_spans),
                               position = (random >> 8) % 55;
                r.spans[s] = (backend_span){ .first = r.n_tokens, .n = n, .position = position };
                for (uint32_t i = 0; i < n; i++)
                    positions[r.n_tokens++] = position + i;
                new_twin(&r.twins[s], random);
                r.spans[s].sequence = r.twins[s].sequence;
            }
            r.n_spans = n_spans;
            const backend_step step = { r.n_tokens, tokens, positions, r.spans, n_spans, NULL, 0 };
            bool finite[SPANS_MAX];
            b->ops->begin(b, &step);
            b->ops->rope_table(b);
            const uint32_t n = check_layer(&r, layer, random % 1000);
            assert_true(n > 0);
            n_compared += n;
            assert_int_equal(b->ops->end(b, finite, NULL), DS4_OK);
            for (uint32_t s = 0; s < n_spans; s++) {
                free(r.twins[s].rolling);
                for (uint32_t p = 0; p < PAGES; p++)
                    free(r.twins[s].pages[p]);
            }
            close_backend();
        }
        assert_true(n_compared > 0);
    }
}

static void ragged_batches_compress_choose_and_attend(void **state)
{
    (void)state;
    for_each_variant(check_ragged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ragged_batches_compress_choose_and_attend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
