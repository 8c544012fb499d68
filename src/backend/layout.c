/* backend/layout.c - where a sequence's memory has what: offsets into pages and into the rolling block.
 *
 * A page holds the compressed rows that page_tokens aligned tokens add to all layers, in three sections: attention rows of CSA
 * layers, index rows of CSA layers, attention rows of HCA layers; each section layer by layer, and aligned to ALIGNMENT, as in
 * the files of the store. The rolling block holds what changes in place, layer by layer. */
#include "backend/backend.h"
#include "quant/quant.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 4096, RING_ALIGNMENT = 64 };

static size_t aligned(size_t at, size_t to)
{
    return (at + to - 1) / to * to;
}

/* Bytes of a row of attention, or of the indexer. */
static size_t row_bytes(const backend_shape *shape, bool index)
{
    const uint32_t width = index ? shape->index_dim : shape->head_dim;
    if (!shape->packed)
        return width * sizeof(float);
    return index ? quant_packed_index_bytes(width) : quant_packed_kv_bytes(width, shape->rope_dim);
}

static backend_series series_of(const backend_shape *shape, const backend_layer *layer, bool index)
{
    const uint32_t width = index ? shape->index_dim : shape->head_dim;
    const uint32_t n_sets = layer->kind == BACKEND_LAYER_CSA ? 2 : 1;
    return (backend_series){ .ratio = layer->ratio,
                             .width = width,
                             .n_sets = n_sets,
                             .ring_tokens = n_sets * layer->ratio + shape->rewind_tokens,
                             .row_bytes = row_bytes(shape, index) };
}

/* Gives the series its rings, and returns where the next thing goes. */
static size_t place_rings(backend_series *s, size_t at)
{
    const size_t ring = aligned((size_t)s->ring_tokens * s->n_sets * s->width * sizeof(float), RING_ALIGNMENT);
    s->ring_kv = at;
    s->ring_gate = at + ring;
    return at + 2 * ring;
}

/* One section of a page: the series of every layer of `kind`, and returns the end of the section. */
static size_t place_rows(backend_layout *l, const backend_shape *shape, uint32_t n, backend_layer_kind kind, bool index,
                         size_t at)
{
    for (uint32_t i = 0; i < n; i++) {
        if (shape->layers[i].kind != kind)
            continue;
        backend_series *s = index ? &l->layers[i].index : &l->layers[i].attention;
        s->rows = at;
        at += l->page_tokens / s->ratio * s->row_bytes;
    }
    return aligned(at, ALIGNMENT);
}

ds4_status backend_layout_new(backend_layout *out, const backend_shape *shape, ds4_error *err)
{
    const uint32_t n = shape->n_layers + shape->n_draft_layers;
    *out = (backend_layout){ .window_tokens = shape->window + shape->rewind_tokens, .page_tokens = shape->page_tokens };
    for (uint32_t i = 0; i < n; i++)
        if (shape->layers[i].ratio && shape->page_tokens % shape->layers[i].ratio != 0)
            return ds4_fail(err, DS4_ERR_ARGUMENT,
                            "segments of %" PRIu32 " tokens do not hold whole groups of this model (%" PRIu32 ")",
                            shape->page_tokens, shape->layers[i].ratio);
    out->window_row_bytes = row_bytes(shape, false);
    if (out->window_row_bytes == 0 || row_bytes(shape, true) == 0)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "rows of %" PRIu32 " and %" PRIu32 " values cannot be packed",
                        shape->head_dim, shape->index_dim);
    out->layers = calloc(n ? n : 1, sizeof *out->layers);
    if (!out->layers)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        const backend_layer *layer = &shape->layers[i];
        backend_place *place = &out->layers[i];
        place->window = at;
        at += aligned(out->window_tokens * out->window_row_bytes, RING_ALIGNMENT);
        if (layer->kind == BACKEND_LAYER_WINDOW)
            continue;
        place->attention = series_of(shape, layer, false);
        at = place_rings(&place->attention, at);
        if (layer->kind == BACKEND_LAYER_CSA) {
            place->index = series_of(shape, layer, true);
            at = place_rings(&place->index, at);
        }
    }
    out->rolling_bytes = at;
    at = place_rows(out, shape, n, BACKEND_LAYER_CSA, false, 0);
    at = place_rows(out, shape, n, BACKEND_LAYER_CSA, true, at);
    out->page_bytes = place_rows(out, shape, n, BACKEND_LAYER_HCA, false, at);
    return DS4_OK;
}

void backend_layout_free(backend_layout *layout)
{
    free(layout->layers);
    *layout = (backend_layout){ 0 };
}
