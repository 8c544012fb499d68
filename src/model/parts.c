/* The parts of a state that a store keeps, out and in: docs/spec/kvstore.md, section 4. Layouts: model/model.h. */
#include "model/network.h"
#include "quant/quant.h"

#include <inttypes.h>
#include <string.h>

/* What a part is made of. */
static bool is_rows(model_part part)
{
    return part <= MODEL_HCA_ROWS;
}

static bool layer_has(const model *m, model_part part, uint32_t i_layer)
{
    const model_layer_kind kind = m->config.kinds[i_layer];
    switch (part) {
    case MODEL_WINDOW: return true;
    case MODEL_HCA_ROWS:
    case MODEL_HCA_PENDING: return kind == MODEL_LAYER_HCA;
    default: return kind == MODEL_LAYER_CSA;
    }
}

static bool of_index(model_part part)
{
    return part == MODEL_INDEX_ROWS || part == MODEL_INDEX_PENDING || part == MODEL_INDEX_OVERLAP;
}

static uint32_t width_of(const model *m, model_part part)
{
    return of_index(part) ? m->config.index_dim : m->config.head_dim;
}

/* Bytes of a row of a part that is made of rows. */
static size_t row_bytes(const model *m, model_part part)
{
    if (m->config.row_format == MODEL_ROWS_F32)
        return width_of(m, part) * sizeof(float);
    return of_index(part) ? quant_packed_index_bytes(m->config.index_dim)
                          : quant_packed_kv_bytes(m->config.head_dim, m->config.rope_dim);
}

bool model_part_is_f32(const model *m, model_part part)
{
    return m->config.row_format == MODEL_ROWS_F32 || (!is_rows(part) && part != MODEL_WINDOW);
}

/* Bytes of `part` in one layer. */
static uint64_t layer_bytes(const model *m, model_part part, uint32_t i_layer, uint64_t begin, uint64_t end)
{
    const uint64_t value = width_of(m, part) * sizeof(float), ratio = m->config.ratios[i_layer];
    const uint64_t sets = m->config.kinds[i_layer] == MODEL_LAYER_CSA ? 2 : 1;
    switch (part) {
    case MODEL_CSA_ROWS:
    case MODEL_INDEX_ROWS:
    case MODEL_HCA_ROWS: return (end / ratio - begin / ratio) * row_bytes(m, part);
    case MODEL_WINDOW: return (end < m->config.window ? end : m->config.window) * row_bytes(m, part);
    case MODEL_CSA_OVERLAP:
    case MODEL_INDEX_OVERLAP: return end >= ratio ? 2 * ratio * value : 0;
    default: return end % ratio * 2 * sets * value;
    }
}

size_t model_part_bytes(const model *m, model_part part, uint64_t begin, uint64_t end)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < m->config.n_layers; i++)
        if (layer_has(m, part, i))
            n += layer_bytes(m, part, i, begin, end);
    return (size_t)n;
}

/* --- walking a part: the same walk copies out and in --------------------------------------------------------------- */

typedef struct walk {
    const model *m;
    uint8_t *out;      /* export: where the next bytes go */
    const uint8_t *in; /* import: where they come from; NULL when exporting */
} walk;

/* Copies what is `offset` bytes into a block of the backend's memory. */
static void pass(walk *w, void *block, size_t offset, size_t bytes)
{
    const backend_ops *ops = w->m->backend->ops;
    uint8_t *memory = (uint8_t *)block + offset;
    if (w->in) {
        ops->write(w->m->backend, memory, w->in, bytes);
        w->in += bytes;
    } else {
        ops->read(w->m->backend, w->out, memory, bytes);
        w->out += bytes;
    }
}

/* Rows [begin, end) of a series, page by page. */
static void pass_rows(walk *w, const model_state *state, const backend_series *s, uint64_t begin, uint64_t end)
{
    const uint64_t per_page = w->m->backend->layout.page_tokens / s->ratio;
    while (begin < end) {
        const uint64_t first = begin % per_page, rest = end - begin,
                       n = rest < per_page - first ? rest : per_page - first;
        pass(w, state->pages[begin / per_page], s->rows + first * s->row_bytes, (size_t)n * s->row_bytes);
        begin += n;
    }
}

/* The first n floats of the projections of tokens [begin, end). */
static void pass_tokens(walk *w, const model_state *state, const backend_series *s, uint64_t begin, uint64_t end,
                        size_t n)
{
    for (uint64_t position = begin; position < end; position++) {
        const size_t at = (size_t)(position % s->ring_tokens) * s->n_sets * s->width * sizeof(float);
        pass(w, state->rolling, s->ring_kv + at, n * sizeof(float));
        pass(w, state->rolling, s->ring_gate + at, n * sizeof(float));
    }
}

static void pass_window(walk *w, const model_state *state, size_t window, uint64_t end)
{
    const backend_layout *layout = &w->m->backend->layout;
    const uint64_t n = w->m->config.window;
    for (uint64_t position = end > n ? end - n : 0; position < end; position++)
        pass(w, state->rolling, window + (size_t)(position % layout->window_tokens) * layout->window_row_bytes,
             layout->window_row_bytes);
}

static void pass_layer(walk *w, const model_state *state, model_part part, uint32_t i_layer, uint64_t begin,
                       uint64_t end)
{
    const backend_place *place = &w->m->backend->layout.layers[i_layer];
    const backend_series *s = of_index(part) ? &place->index : &place->attention;
    switch (part) {
    case MODEL_CSA_ROWS:
    case MODEL_INDEX_ROWS:
    case MODEL_HCA_ROWS: pass_rows(w, state, s, begin / s->ratio, end / s->ratio); break;
    case MODEL_WINDOW: pass_window(w, state, place->window, end); break;
    case MODEL_CSA_OVERLAP:
    case MODEL_INDEX_OVERLAP: /* the first series of the last closed group */
        if (end >= s->ratio)
            pass_tokens(w, state, s, end / s->ratio * s->ratio - s->ratio, end / s->ratio * s->ratio, s->width);
        break;
    default: pass_tokens(w, state, s, end - end % s->ratio, end, (size_t)s->n_sets * s->width); break;
    }
}

static void walk_part(walk *w, const model_state *state, model_part part, uint64_t begin, uint64_t end)
{
    for (uint32_t i = 0; i < w->m->config.n_layers; i++)
        if (layer_has(w->m, part, i))
            pass_layer(w, state, part, i, begin, end);
}

/* --- export and import -------------------------------------------------------------------------------------------- */

ds4_status model_state_export(const model_state *state, model_part part, uint64_t begin, uint64_t end, void *out,
                              size_t size, ds4_error *err)
{
    walk w = { .m = state->m, .out = out };
    const bool range = is_rows(part) ? begin <= end && end <= state->n : end == state->n;
    if (state->bad || !range || size != model_part_bytes(state->m, part, begin, end))
        return ds4_fail(err, DS4_ERR_ARGUMENT,
                        "part %d of tokens %" PRIu64 "..%" PRIu64 " cannot be exported at %" PRIu32, (int)part, begin,
                        end, state->n);
    walk_part(&w, state, part, begin, end);
    return DS4_OK;
}

/* The exponent of a value that is not finite is all ones: its magnitude, as an integer, is at least INFINITE. Four values at a
 * time, in the vectors that every x86-64 and AArch64 has. The engine thread waits for this. */
static bool all_finite(const uint8_t *bytes, size_t n)
{
    enum { LANES = 4, MAGNITUDE = 0x7fffffff, INFINITE = 0x7f800000 };
    typedef int32_t bits_x4 __attribute__((vector_size(LANES * sizeof(int32_t))));
    bits_x4 bad = { 0 }, some;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __builtin_memcpy(&some, bytes + i * sizeof(float), sizeof some);
        bad |= (some & MAGNITUDE) >= INFINITE;
    }
    some = (bits_x4){ 0 };
    if (i < n)
        __builtin_memcpy(&some, bytes + i * sizeof(float), (n - i) * sizeof(float));
    bad |= (some & MAGNITUDE) >= INFINITE;
    return !(bad[0] | bad[1] | bad[2] | bad[3]);
}

bool model_part_valid(const model *m, model_part part, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    if (model_part_is_f32(m, part))
        return all_finite(at, size / sizeof(float));
    bool good = true;
    for (const size_t row = row_bytes(m, part); good && size >= row; at += row, size -= row)
        good = of_index(part) ? quant_packed_index_valid(at, m->config.index_dim)
                              : quant_packed_kv_valid(at, m->config.head_dim, m->config.rope_dim);
    return good;
}

ds4_status model_state_import(model_state *state, model_part part, uint64_t begin, uint64_t end, const void *bytes,
                              size_t size, ds4_error *err)
{
    walk w = { .m = state->m, .in = bytes };
    if (state->n != 0 || (state->bad && !state->importing))
        return ds4_fail(err, DS4_ERR_ARGUMENT, "only a state that was just reset can be filled");
    if (begin > end || end > state->n_ctx || size != model_part_bytes(state->m, part, begin, end) ||
        (is_rows(part) && begin != state->rows_end[part]))
        return ds4_fail(err, DS4_ERR_ARGUMENT, "part %d of tokens %" PRIu64 "..%" PRIu64 " does not fit (%zu bytes)",
                        (int)part, begin, end, size);
    state->importing = state->bad = true;
    if (!model_part_valid(state->m, part, bytes, size))
        return ds4_fail(err, DS4_ERR_STATE_BAD, "a stored value of part %d is not finite, or no code of a row",
                        (int)part);
    if (is_rows(part)) {
        const ds4_status status = model_state_grow(state, (uint32_t)end, err);
        if (status != DS4_OK)
            return status;
    }
    if (size > 0)
        walk_part(&w, state, part, begin, end);
    if (is_rows(part))
        state->rows_end[part] = end;
    state->part_end[part] = (uint32_t)end;
    return DS4_OK;
}

ds4_status model_state_commit(model_state *state, uint32_t n, ds4_error *err)
{
    bool whole = state->n == 0 && n <= state->n_ctx;
    for (int part = 0; whole && part < MODEL_N_PARTS; part++) {
        if (is_rows((model_part)part))
            whole = state->rows_end[part] <= n &&
                    model_part_bytes(state->m, (model_part)part, state->rows_end[part], n) == 0;
        else
            whole = state->part_end[part] == n || model_part_bytes(state->m, (model_part)part, 0, n) == 0;
    }
    if (!whole) {
        model_state_reset(state);
        return ds4_fail(err, DS4_ERR_ARGUMENT, "the imported parts do not make a state of %" PRIu32 " tokens", n);
    }
    const ds4_status status =
        model_state_grow(state, n, err); /* where nothing was imported because nothing is complete */
    if (status != DS4_OK) {
        model_state_reset(state);
        return status;
    }
    model_state_clear(state);
    state->n = state->peak = state->floor = n;
    return DS4_OK;
}
