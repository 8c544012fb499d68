/* Rows that are kept packed: compressors, indexer and attention give the same bits as over the same rows in f32, wherever the
 * limits of the scratch for unpacked rows lie. The sanitizers watch its bounds. */
#include "lab.h"

enum { HEADS = 2, Q = 5, EMBD = 3, ROT = 4, DIM = 64 + ROT, IDIM = 32, SPANS = 2, T_MAX = 64, PAGES_MAX = 8 };

static const backend_layer kinds[] = { { BACKEND_LAYER_WINDOW, 0 },
                                       { BACKEND_LAYER_CSA, 4 },
                                       { BACKEND_LAYER_HCA, 6 } };
enum { LAYERS = sizeof kinds / sizeof kinds[0] };

/* One step at the end of two sequences. */
typedef struct scene {
    uint32_t top_k, window, n_ctx, page_tokens;
    uint32_t n[SPANS], position[SPANS];
} scene;

/* Writes a random row, rounded as a sequence's rows are, in the format of the backend. */
static void write_row(uint8_t *memory, size_t offset, size_t row_bytes, bool packed, bool index, uint32_t seed)
{
    const uint32_t width = index ? IDIM : DIM;
    float *row = test_random_f32(width, seed);
    uint8_t bytes[4 * DIM];
    if (index) {
        quant_round_index(row, width);
        for (uint32_t c = 0; c < width; c++)
            row[c] += 0.0f; /* no -0: see quant/quant.h */
    } else {
        quant_round_kv(row, width - ROT);
        quant_round_bf16(row + width - ROT, ROT);
    }
    if (!packed)
        memcpy(bytes, row, row_bytes);
    else if (index)
        quant_pack_index(row, width, bytes);
    else
        quant_pack_kv(row, width, ROT, bytes);
    b->ops->write(b, memory + offset, bytes, row_bytes);
    free(row);
}

static void write_series(uint8_t *rolling, void *const *pages, const backend_series *s, bool packed, bool index,
                         uint32_t n_tokens, uint32_t seed)
{
    const uint32_t per_page = b->layout.page_tokens / (s->ratio ? s->ratio : 1);
    const size_t n = (size_t)s->ring_tokens * s->n_sets * s->width;
    if (!s->ratio)
        return;
    float *kv = test_random_f32(n, seed), *gate = test_random_f32(n, seed + 1);
    b->ops->write(b, rolling + s->ring_kv, kv, n * sizeof *kv);
    b->ops->write(b, rolling + s->ring_gate, gate, n * sizeof *gate);
    free(kv), free(gate);
    for (uint32_t g = 0; g < n_tokens / s->ratio; g++)
        write_row(pages[g / per_page], s->rows + g % per_page * s->row_bytes, s->row_bytes, packed, index,
                  seed + 2 + g);
}

static backend_sequence new_sequence(const scene *at, uint32_t i, bool packed, void **pages)
{
    const uint32_t n_pages = (at->n_ctx + at->page_tokens - 1) / at->page_tokens;
    uint8_t *rolling = device(b->layout.rolling_bytes);
    assert_true(n_pages <= PAGES_MAX);
    for (uint32_t p = 0; p < n_pages; p++)
        pages[p] = device(b->layout.page_bytes);
    for (uint32_t l = 0; l < LAYERS; l++) {
        const backend_place *place = &b->layout.layers[l];
        for (uint32_t k = 0; k < b->layout.window_tokens; k++)
            write_row(rolling, place->window + k * b->layout.window_row_bytes, b->layout.window_row_bytes, packed,
                      false, 900000 + 1000 * l + k);
        write_series(rolling, pages, &place->attention, packed, false, at->position[i], 100000 * (l + 1));
        write_series(rolling, pages, &place->index, packed, true, at->position[i], 500000 * (l + 1));
    }
    return (backend_sequence){ rolling, pages, n_pages };
}

static backend_compress compressor(uint32_t layer, bool index, uint32_t n)
{
    const backend_place *place = &b->layout.layers[layer];
    const backend_series *s = index ? &place->index : &place->attention;
    const uint32_t wide = s->n_sets * s->width;
    float *bias = test_random_f32(s->ratio * wide, 11), *norm = test_random_f32(s->width, 12),
          *kv = test_random_f32((size_t)n * wide, 13), *gate = test_random_f32((size_t)n * wide, 14);
    const backend_compress c = { layer,
                                 index,
                                 matrix(bias, s->ratio, wide, 1),
                                 vector(norm, s->width),
                                 put(kv, (size_t)n * wide),
                                 put(gate, (size_t)n * wide) };
    free(bias), free(norm), free(kv), free(gate);
    return c;
}

/* What attention gives for every layer, [LAYERS, T, HEADS, DIM]. */
static void run_layers(uint32_t T, float *out)
{
    float *query = test_random_f32((size_t)T * HEADS * DIM, 21), *rows = test_random_f32((size_t)T * DIM, 22),
          *wq = test_random_f32(HEADS * IDIM * Q, 23), *wh = test_random_f32(HEADS * EMBD, 24),
          *qr = test_random_f32((size_t)T * Q, 25), *x = test_random_f32((size_t)T * EMBD, 26);
    const float sinks[HEADS] = { 0.5f, -3 };
    float *kv = put(rows, (size_t)T * DIM), *got = device((size_t)T * HEADS * DIM * sizeof *got);
    const backend_attend attend = { 0, put(query, (size_t)T * HEADS * DIM), kv, vector(sinks, HEADS), got };
    const backend_index index = { 1, matrix(wq, HEADS * IDIM, Q, 1), matrix(wh, HEADS, EMBD, 1), put(qr, (size_t)T * Q),
                                  put(x, (size_t)T * EMBD) };
    b->ops->rope_table(b);
    b->ops->norm_rope_round(b, kv, 0, 1, NULL, true);
    for (uint32_t l = 0; l < LAYERS; l++) {
        backend_attend a = attend;
        a.layer = l;
        if (kinds[l].ratio) {
            const backend_compress c = compressor(l, false, T);
            b->ops->compress(b, &c);
        }
        if (kinds[l].kind == BACKEND_LAYER_CSA) {
            const backend_compress c = compressor(l, true, T);
            b->ops->compress(b, &c);
            b->ops->index(b, &index);
        }
        b->ops->attend(b, &a);
        get(out + (size_t)l * T * HEADS * DIM, got, (size_t)T * HEADS * DIM);
    }
    free(query), free(rows), free(wq), free(wh), free(qr), free(x);
}

static void play(const scene *at, bool packed, float *out)
{
    static const float slow[ROT / 2] = { 1, 0.1f }, yarn[ROT / 2] = { 0.7f, 0.03f };
    backend_shape shape = some_shape();
    backend_span spans[SPANS];
    void *pages[SPANS][PAGES_MAX];
    uint32_t T = 0;
    shape.n_layers = LAYERS, shape.layers = kinds, shape.n_embd = EMBD, shape.n_heads = HEADS;
    shape.head_dim = DIM, shape.rope_dim = ROT, shape.n_index_heads = HEADS, shape.index_dim = IDIM;
    shape.window = at->window, shape.index_top_k = at->top_k, shape.n_ctx_max = at->n_ctx;
    shape.page_tokens = at->page_tokens, shape.packed = packed, shape.n_tokens_max = T_MAX;
    shape.kv_round = BACKEND_ROUND_KV, shape.index_round = BACKEND_ROUND_INDEX;
    shape.omega_window = slow, shape.omega_compressed = yarn;
    open_backend(&shape);
    for (uint32_t i = 0; i < SPANS; i++) {
        spans[i] = (backend_span){ T, at->n[i], at->position[i], new_sequence(at, i, packed, pages[i]) };
        for (uint32_t k = 0; k < at->n[i]; k++)
            positions[T++] = at->position[i] + k;
    }
    const backend_step step = { T, tokens, positions, spans, SPANS, NULL, 0 };
    b->ops->begin(b, &step);
    run_layers(T, out);
    bool finite[SPANS];
    assert_int_equal(b->ops->end(b, finite, NULL), DS4_OK);
    close_backend();
}

static void compare_formats(void)
{
    const scene scenes[] = {
        { 1, 2, 48, 48, { 40, 1 }, { 8, 47 } },           /* the smallest numbers; chunks of tokens and single ones */
        { 3, 6, 96, 24, { 9, 3 }, { 87, 0 } },            /* all rows are fewer than what the tokens choose */
        { 8, 40, 240, 48, { 1, 24 }, { 239, 216 } },      /* a token alone; exactly the rows of the context */
        { 8, 5, 240, 48, { 7, 8 }, { 233, 232 } },        /* 60 rows: 7 tokens choose fewer, 8 tokens more */
        { 600, 7, 1200, 240, { 60, 4 }, { 1140, 20 } },   /* more is chosen than there is */
        { 3, 9, 19200, 4800, { 17, 1 }, { 19183, 900 } }, /* more rows than are ever unpacked at once */
        { 600, 9, 19200, 4800, { 63, 1 }, { 19137, 19199 } }, /* the scratch is what eight tokens choose */
    };
    float *want = malloc((size_t)LAYERS * T_MAX * HEADS * DIM * sizeof *want),
          *got = malloc((size_t)LAYERS * T_MAX * HEADS * DIM * sizeof *got);
    for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++) {
        const size_t n = (size_t)LAYERS * (scenes[i].n[0] + scenes[i].n[1]) * HEADS * DIM;
        play(&scenes[i], false, want);
        play(&scenes[i], true, got);
        for (size_t k = 0; k < n; k++)
            assert_true(isfinite(want[k]));
        assert_memory_equal(got, want, n * sizeof *got);
    }
    free(want), free(got);
}

static void packed_rows_give_the_bits_of_plain_ones(void **state)
{
    (void)state;
    for_each_variant(compare_formats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_rows_give_the_bits_of_plain_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
