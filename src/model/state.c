/* The memory of a sequence: model specification, section 11.
 *
 * Rings are indexed by position and hold MODEL_REWIND_MAX tokens more than the arithmetic needs, so that taking back a few
 * tokens is a change of counters. Memory of rows is asked for at once and comes from the system as it is touched. */
#include "model/network.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool series_new(const model *m, backend_series *s, uint32_t ratio, uint32_t width, uint32_t n_ctx)
{
    const backend_ops *ops = m->backend->ops;
    s->ratio = ratio;
    s->width = width;
    s->n_sets = is_csa(ratio) ? 2 : 1;
    s->ring_tokens = s->n_sets * ratio + MODEL_REWIND_MAX;
    const size_t ring = (size_t)s->ring_tokens * s->n_sets * width * sizeof(float);
    s->rows = ops->alloc(m->backend, ((size_t)n_ctx / ratio + 1) * width * sizeof(float));
    s->ring_kv = ops->alloc(m->backend, ring);
    s->ring_gate = ops->alloc(m->backend, ring);
    return s->rows && s->ring_kv && s->ring_gate;
}

static void series_free(const model *m, backend_series *s)
{
    float *all[] = { s->rows, s->ring_kv, s->ring_gate };
    for (size_t i = 0; i < 3; i++)
        if (all[i])
            m->backend->ops->free(m->backend, all[i]);
}

bool model_memory_new(const model *m, backend_memory *memory, uint32_t ratio, uint32_t n_ctx)
{
    const model_config *c = &m->config;
    memory->window_tokens = c->window + MODEL_REWIND_MAX;
    memory->window = m->backend->ops->alloc(m->backend, (size_t)memory->window_tokens * c->head_dim * sizeof(float));
    bool good = memory->window != NULL;
    if (good && ratio)
        good = series_new(m, &memory->attention, ratio, c->head_dim, n_ctx);
    if (good && is_csa(ratio))
        good = series_new(m, &memory->index, ratio, c->index_dim, n_ctx);
    return good;
}

void model_memory_free(const model *m, backend_memory *memory)
{
    if (memory->window)
        m->backend->ops->free(m->backend, memory->window);
    series_free(m, &memory->attention);
    series_free(m, &memory->index);
}

ds4_status model_state_new(model_state **out, model *m, uint32_t n_ctx, ds4_error *err)
{
    const uint32_t L = m->config.n_layers;
    *out = NULL;
    if (n_ctx == 0 || n_ctx > INT32_MAX)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "a context of %" PRIu32 " tokens is not possible", n_ctx);
    model_state *s = calloc(1, sizeof *s);
    bool good = s && (s->layers = calloc(L, sizeof *s->layers)) != NULL;
    if (s) {
        s->m = m;
        s->n_ctx = n_ctx;
    }
    for (uint32_t i = 0; good && i < L; i++)
        good = model_memory_new(m, &s->layers[i], m->config.ratios[i], n_ctx);
    if (!good) {
        model_state_free(s);
        return ds4_fail(err, DS4_ERR_NO_MEMORY,
                        "not enough memory for a sequence of %" PRIu32
                        " tokens; a smaller context (--ctx), or fewer tokens, needs less",
                        n_ctx);
    }
    model_state_reset(s);
    *out = s;
    return DS4_OK;
}

void model_state_free(model_state *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; s->layers && i < s->m->config.n_layers; i++)
        model_memory_free(s->m, &s->layers[i]);
    free(s->layers);
    free(s);
}

void model_state_reset(model_state *s)
{
    s->n = s->peak = s->floor = 0;
    s->bad = s->importing = false;
    memset(s->rows_end, 0, sizeof s->rows_end);
    for (size_t i = 0; i < MODEL_N_PARTS; i++)
        s->part_end[i] = UINT32_MAX;
}

uint32_t model_state_length(const model_state *s)
{
    return s->n;
}

ds4_status model_state_rewind(model_state *s, uint32_t n, ds4_error *err)
{
    if (s->bad)
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "a bad state cannot be rewound, only reset");
    if (n > s->n || n < s->floor || s->peak - n > MODEL_REWIND_MAX)
        return ds4_fail(err, DS4_ERR_UNSUPPORTED,
                        "cannot rewind from %" PRIu32 " to %" PRIu32 " tokens (longest %" PRIu32 ", not below %" PRIu32
                        ")",
                        s->n, n, s->peak, s->floor);
    s->n = n;
    return DS4_OK;
}
