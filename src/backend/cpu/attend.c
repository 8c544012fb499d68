/* Attention over the window and compressed rows, with sinks: model specification, section 5. */
#include "backend/cpu/cpu.h"

#include <math.h>
#include <string.h>

typedef struct attend_job {
    cpu_backend *b;
    const backend_attend *a;
    const backend_span *span;
    uint32_t n_blocks; /* of heads */
} attend_job;

/* Lists the rows that the token sees: window by position, then compressed rows by number. */
static size_t visible_rows(const attend_job *job, uint32_t i, const float **rows)
{
    const backend_attend *a = job->a;
    const backend_memory *memory = job->span->memory;
    const uint32_t position = job->span->position + i, t = job->span->first + i;
    size_t n = 0;
    for (uint32_t p = position + 1 > a->window ? position + 1 - a->window : 0; p <= position; p++)
        rows[n++] = p >= job->span->position ? a->kv + (size_t)(job->span->first + p - job->span->position) * a->dim
                                             : memory->window + (size_t)(p % memory->window_tokens) * a->dim;
    if (!memory->attention.ratio)
        return n;
    const float *compressed = memory->attention.rows;
    if (a->chosen) {
        const uint32_t *chosen = a->chosen + (size_t)t * a->top_k;
        for (uint32_t k = 0; k < a->n_chosen[t]; k++)
            rows[n++] = compressed + (size_t)chosen[k] * a->dim;
    } else {
        const uint32_t n_groups = (position + 1) / memory->attention.ratio;
        for (uint32_t w = 0; w < n_groups; w++)
            rows[n++] = compressed + (size_t)w * a->dim;
    }
    return n;
}

static void attend_task(void *arg, uint32_t i_task, uint32_t worker)
{
    const attend_job *job = arg;
    const backend_attend *a = job->a;
    cpu_worker *w = &job->b->workers[worker];
    const uint32_t i = i_task / job->n_blocks, first_head = i_task % job->n_blocks * HEAD_BLOCK,
                   t = job->span->first + i;
    const uint32_t n_heads = a->n_heads - first_head < HEAD_BLOCK ? a->n_heads - first_head : HEAD_BLOCK;
    const float *x[HEAD_BLOCK];
    const size_t n = visible_rows(job, i, w->rows);
    for (size_t k = 0; k < n; k++) /* a tile takes rows of any type, as bytes */
        w->raw[k] = (const uint8_t *)w->rows[k];
    for (uint32_t k = 0; k < n_heads; k++)
        x[k] = a->query + ((size_t)t * a->n_heads + first_head + k) * a->dim;
    job->b->kernels->f32(w->scores, n, w->raw, n, x, n_heads, a->dim);
    for (uint32_t k = 0; k < n_heads; k++) {
        float *out = a->out + ((size_t)t * a->n_heads + first_head + k) * a->dim, *scores = w->scores + k * n;
        job->b->kernels->softmax(scores, n, 1.0f / sqrtf((float)a->dim), a->sinks[first_head + k]);
        job->b->kernels->weighted_sum(out, w->rows, scores, n, a->dim);
        cpu_rope(out, a->dim, a->rope, t, true);
    }
}

void cpu_attend(backend *base, const backend_attend *a, const backend_step *s)
{
    attend_job job = { .b = cpu_of(base), .a = a, .n_blocks = (a->n_heads + HEAD_BLOCK - 1) / HEAD_BLOCK };
    for (uint32_t i = 0; i < s->n_spans; i++) {
        job.span = &s->spans[i];
        pool_run(job.b->pool, job.span->n * job.n_blocks, attend_task, &job);
    }
}

void cpu_keep_window(backend *base, const float *kv, uint32_t dim, const backend_step *s)
{
    (void)base;
    for (uint32_t i = 0; i < s->n_spans; i++) {
        const backend_span *span = &s->spans[i];
        backend_memory *memory = span->memory;
        const uint32_t skip = span->n > memory->window_tokens ? span->n - memory->window_tokens : 0;
        for (uint32_t k = skip; k < span->n; k++)
            memcpy(memory->window + (size_t)((span->position + k) % memory->window_tokens) * dim,
                   kv + (size_t)(span->first + k) * dim, dim * sizeof(float));
    }
}
