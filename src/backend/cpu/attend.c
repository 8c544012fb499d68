/* Attention over the window and compressed rows, with sinks: model specification, section 5. */
#include "backend/cpu/cpu.h"

#include <math.h>
#include <string.h>

typedef struct attend_job {
    cpu_backend *b;
    const backend_attend *a;
    const backend_place *place;
    const backend_span *span;
    uint32_t n_blocks; /* of heads */
} attend_job;

/* Lists the rows that the token sees: window by position, then compressed rows by number. */
static size_t visible_rows(const attend_job *job, uint32_t i, const float **rows)
{
    const cpu_backend *b = job->b;
    const backend_layout *layout = &b->base.layout;
    const backend_span *span = job->span;
    const backend_series *series = &job->place->attention;
    const uint32_t position = span->position + i, t = span->first + i, W = b->shape.window;
    const size_t dim = b->shape.head_dim;
    const float *window = cpu_rolling(&span->sequence, job->place->window);
    size_t n = 0;
    for (uint32_t p = position + 1 > W ? position + 1 - W : 0; p <= position; p++)
        rows[n++] = p >= span->position ? job->a->kv + (span->first + p - span->position) * dim
                                        : window + p % layout->window_tokens * dim;
    if (!series->ratio)
        return n;
    if (series->n_sets == 2 && b->choosing) {
        const uint32_t *chosen = b->chosen + (size_t)t * b->shape.index_top_k;
        for (uint32_t k = 0; k < b->n_chosen[t]; k++)
            rows[n++] = cpu_series_row(layout, series, &span->sequence, chosen[k]);
    } else {
        const uint32_t n_groups = (position + 1) / series->ratio;
        for (uint32_t w = 0; w < n_groups; w++)
            rows[n++] = cpu_series_row(layout, series, &span->sequence, w);
    }
    return n;
}

static void attend_task(void *arg, uint32_t i_task, uint32_t worker)
{
    const attend_job *job = arg;
    cpu_backend *b = job->b;
    cpu_worker *w = &b->workers[worker];
    const uint32_t H = b->shape.n_heads, dim = b->shape.head_dim, rope = cpu_rope_of(b, job->a->layer);
    const uint32_t i = i_task / job->n_blocks, first_head = i_task % job->n_blocks * HEAD_BLOCK,
                   t = job->span->first + i;
    const uint32_t n_heads = H - first_head < HEAD_BLOCK ? H - first_head : HEAD_BLOCK;
    const float *cosine = b->cos[rope] + (size_t)t * b->n_pairs, *sine = b->sin[rope] + (size_t)t * b->n_pairs;
    const float *x[HEAD_BLOCK];
    const size_t n = visible_rows(job, i, w->rows);
    for (size_t k = 0; k < n; k++) /* a tile takes rows of any type, as bytes */
        w->raw[k] = (const uint8_t *)w->rows[k];
    for (uint32_t k = 0; k < n_heads; k++)
        x[k] = job->a->query + ((size_t)t * H + first_head + k) * dim;
    b->kernels->f32(w->scores, n, w->raw, n, x, n_heads, dim);
    for (uint32_t k = 0; k < n_heads; k++) {
        float *out = job->a->out + ((size_t)t * H + first_head + k) * dim, *scores = w->scores + k * n;
        b->kernels->softmax(scores, n, 1.0f / sqrtf((float)dim), cpu_values(job->a->sinks)[first_head + k]);
        b->kernels->weighted_sum(out, w->rows, scores, n, dim);
        cpu_rope(out, dim, cosine, sine, b->n_pairs, true);
    }
}

/* The last rows of the span go into the ring, for the next step. */
static void keep_window(const cpu_backend *b, const backend_place *place, const float *kv, const backend_span *span)
{
    const uint32_t ring = b->base.layout.window_tokens;
    const size_t dim = b->shape.head_dim;
    float *window = cpu_rolling(&span->sequence, place->window);
    for (uint32_t k = span->n > ring ? span->n - ring : 0; k < span->n; k++)
        memcpy(window + (span->position + k) % ring * dim, kv + (span->first + k) * dim, dim * sizeof(float));
}

void cpu_attend(backend *base, const backend_attend *a)
{
    cpu_backend *b = cpu_of(base);
    attend_job job = { .b = b,
                       .a = a,
                       .place = &base->layout.layers[a->layer],
                       .n_blocks = (b->shape.n_heads + HEAD_BLOCK - 1) / HEAD_BLOCK };
    for (uint32_t i = 0; i < b->step.n_spans; i++) {
        job.span = &b->step.spans[i];
        pool_run(b->pool, job.span->n * job.n_blocks, attend_task, &job);
        keep_window(b, job.place, a->kv, job.span);
    }
}
