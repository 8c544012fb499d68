/* The lightning indexer: which compressed rows a query sees. See docs/spec/model.md, section 7. */
#include "backend/cpu/cpu.h"

#include <math.h>
#include <string.h>

typedef struct index_job {
    cpu_backend *b;
    const backend_series *series;
    const backend_span *span;
} index_job;

/* Moves heap[i] down to where no child is smaller. */
static void sift_down(float *heap, size_t n, size_t i)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1] < heap[child])
            child++;
        if (!(heap[child] < heap[i])) /* so that a NaN ends the walk too */
            return;
        const float swap = heap[i];
        heap[i] = heap[child];
        heap[child] = swap;
    }
}

/* The k-th largest of v [n], 1 <= k <= n: the root of a heap of the k largest. heap [k] is scratch. */
static float kth_largest(const float *v, size_t n, size_t k, float *heap)
{
    memcpy(heap, v, k * sizeof *heap);
    for (size_t i = k / 2; i-- > 0;)
        sift_down(heap, k, i);
    for (size_t i = k; i < n; i++)
        if (v[i] > heap[0]) {
            heap[0] = v[i];
            sift_down(heap, k, 0);
        }
    return heap[0];
}

static void score_rows(const index_job *job, uint32_t t, uint32_t n_rows, float *scores, cpu_worker *w)
{
    const cpu_backend *b = job->b;
    const uint32_t HI = b->shape.n_index_heads, I = b->shape.index_dim;
    const float scale = 1.0f / sqrtf((float)I * (float)HI);
    const float *x[HEAD_BLOCK];
    float dots[HEAD_BLOCK * SCORE_BLOCK];
    for (uint32_t at = 0; at < n_rows; at += SCORE_BLOCK) {
        const uint32_t n = n_rows - at < SCORE_BLOCK ? n_rows - at : SCORE_BLOCK;
        for (uint32_t i = 0; i < n; i++) {
            w->raw[i] = cpu_series_row(&b->base.layout, job->series, &job->span->sequence, at + i);
            if (b->shape.packed) {
                b->kernels->unpack_index(w->raw[i], I, w->tile + (size_t)i * I);
                w->raw[i] = (const uint8_t *)(w->tile + (size_t)i * I);
            }
            scores[at + i] = 0.0f;
        }
        for (uint32_t h = 0; h < HI; h += HEAD_BLOCK) {
            const uint32_t n_heads = HI - h < HEAD_BLOCK ? HI - h : HEAD_BLOCK;
            for (uint32_t k = 0; k < n_heads; k++)
                x[k] = b->index_query + ((size_t)t * HI + h + k) * I;
            b->kernels->f32(dots, SCORE_BLOCK, w->raw, n, x, n_heads, I);
            for (uint32_t k = 0; k < n_heads; k++) {
                const float a = b->index_weight[(size_t)t * HI + h + k] * scale;
                const float *dot = dots + k * SCORE_BLOCK;
                for (uint32_t i = 0; i < n; i++)
                    scores[at + i] += dot[i] > 0.0f ? a * dot[i] : 0.0f;
            }
        }
    }
}

static void choose_task(void *arg, uint32_t i_task, uint32_t worker)
{
    const index_job *job = arg;
    cpu_backend *b = job->b;
    const uint32_t t = job->span->first + i_task, top_k = b->shape.index_top_k;
    const uint32_t n = (job->span->position + i_task + 1) / job->series->ratio;
    uint32_t *chosen = b->chosen + (size_t)t * top_k;
    cpu_worker *w = &b->workers[worker];
    float *scores = w->scores;
    if (n <= top_k) {
        for (uint32_t i = 0; i < n; i++)
            chosen[i] = i;
        b->n_chosen[t] = n;
        return;
    }
    score_rows(job, t, n, scores, w);
    const float least = kth_largest(scores, n, top_k, scores + n);
    uint32_t n_above = 0, n_chosen = 0;
    for (uint32_t i = 0; i < n; i++)
        n_above += scores[i] > least;
    uint32_t n_ties = n_above < top_k ? top_k - n_above : 0; /* of equal ones, the first */
    for (uint32_t i = 0; i < n && n_chosen < top_k; i++) {
        const bool tie = scores[i] == least && n_ties > 0;
        if (scores[i] > least || tie) {
            chosen[n_chosen++] = i;
            n_ties -= tie;
        }
    }
    b->n_chosen[t] = n_chosen;
}

/* While every visible row is chosen anyway, nothing has to be computed. */
static bool must_choose(const cpu_backend *b, const backend_series *series)
{
    for (uint32_t i = 0; i < b->step.n_spans; i++)
        if ((b->step.spans[i].position + b->step.spans[i].n) / series->ratio > b->shape.index_top_k)
            return true;
    return false;
}

void cpu_index(backend *base, const backend_index *c)
{
    cpu_backend *b = cpu_of(base);
    index_job job = { .b = b, .series = &base->layout.layers[c->layer].index };
    b->choosing = must_choose(b, job.series);
    if (!b->choosing)
        return;
    cpu_matmul(base, b->index_query, c->query, c->qr, b->step.n_tokens, false);
    cpu_shape_heads(b, b->index_query, b->shape.n_index_heads, b->shape.index_dim, NULL, 0.0f, 1, b->shape.index_round);
    cpu_matmul(base, b->index_weight, c->weight, c->x, b->step.n_tokens, true);
    for (uint32_t i = 0; i < b->step.n_spans; i++) {
        job.span = &b->step.spans[i];
        pool_run(b->pool, job.span->n, choose_task, &job);
    }
}
