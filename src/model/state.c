/* The memory of a sequence: docs/spec/model.md, section 11.
 *
 * Rings are indexed by position and hold MODEL_REWIND_MAX tokens more than the arithmetic needs, so that taking back a few
 * tokens is a change of counters. Compressed rows are in pages of page_tokens tokens, taken as the sequence grows. */
#include "model/network.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

ds4_status model_state_new(model_state **out, model *m, uint32_t n_ctx, ds4_error *err)
{
    *out = NULL;
    if (n_ctx == 0 || n_ctx > m->n_ctx_max)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "a context of %" PRIu32 " tokens is not possible: 1 to %" PRIu32 " are",
                        n_ctx, m->n_ctx_max);
    model_state *s = calloc(1, sizeof *s);
    const size_t n_pages = ((size_t)n_ctx + m->backend->layout.page_tokens - 1) / m->backend->layout.page_tokens;
    if (s) {
        s->m = m;
        s->n_ctx = n_ctx;
        s->pages = calloc(n_pages, sizeof *s->pages);
        s->rolling = m->backend->ops->alloc(m->backend, m->backend->layout.rolling_bytes);
    }
    if (!s || !s->pages || !s->rolling) {
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

/* Gives back the pages beyond those of n tokens. */
static void shrink(model_state *s, uint32_t n)
{
    const uint32_t page = s->m->backend->layout.page_tokens, keep = n / page + (n % page != 0);
    while (s->n_pages > keep)
        s->m->backend->ops->free(s->m->backend, s->pages[--s->n_pages]);
}

ds4_status model_state_grow(model_state *s, uint32_t n, ds4_error *err)
{
    backend *b = s->m->backend;
    while ((uint64_t)s->n_pages * b->layout.page_tokens < n) {
        void *page = b->ops->alloc(b, b->layout.page_bytes);
        if (!page)
            return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for the rows of %" PRIu32 " tokens", n);
        s->pages[s->n_pages++] = page;
    }
    return DS4_OK;
}

backend_sequence model_state_memory(const model_state *s)
{
    return (backend_sequence){ .rolling = s->rolling, .pages = s->pages, .n_pages = s->n_pages };
}

void model_state_free(model_state *s)
{
    if (!s)
        return;
    shrink(s, 0);
    s->m->backend->ops->free(s->m->backend, s->rolling);
    free(s->pages);
    free(s);
}

void model_state_reset(model_state *s)
{
    shrink(s, 0);
    model_state_clear(s);
}

void model_state_clear(model_state *s)
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
