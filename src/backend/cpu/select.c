/* The lightning indexer's choice: model specification, section 7. */
#include "backend/cpu/cpu.h"

#include <math.h>
#include <string.h>

enum { SCORE_BLOCK = 16 }; /* rows scored by one tile */

typedef struct select_job {
    cpu_backend *b;
    const backend_select *c;
    const backend_step *s;
    const backend_span *span;
} select_job;

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

static void score_rows(const select_job *job, uint32_t t, size_t n_rows, float *scores, cpu_worker *w)
{
    const backend_select *c = job->c;
    const uint32_t HI = c->n_heads, I = c->dim;
    const float scale = 1.0f / sqrtf((float)I * (float)HI);
    const float *x[HEAD_BLOCK];
    float dots[HEAD_BLOCK * SCORE_BLOCK];
    for (size_t at = 0; at < n_rows; at += SCORE_BLOCK) {
        const size_t n = n_rows - at < SCORE_BLOCK ? n_rows - at : SCORE_BLOCK;
        for (size_t i = 0; i < n; i++) {
            w->raw[i] = (const uint8_t *)(job->span->memory->index.rows + (at + i) * I);
            scores[at + i] = 0.0f;
        }
        for (uint32_t h = 0; h < HI; h += HEAD_BLOCK) {
            const uint32_t n_heads = HI - h < HEAD_BLOCK ? HI - h : HEAD_BLOCK;
            for (uint32_t k = 0; k < n_heads; k++)
                x[k] = c->query + ((size_t)t * HI + h + k) * I;
            job->b->kernels->f32(dots, SCORE_BLOCK, w->raw, n, x, n_heads, I);
            for (uint32_t k = 0; k < n_heads; k++) {
                const float a = c->head_weight[(size_t)t * HI + h + k] * scale;
                const float *dot = dots + k * SCORE_BLOCK;
                for (size_t i = 0; i < n; i++)
                    scores[at + i] += dot[i] > 0.0f ? a * dot[i] : 0.0f;
            }
        }
    }
}

static void select_task(void *arg, uint32_t i_task, uint32_t worker)
{
    const select_job *job = arg;
    const backend_select *c = job->c;
    const uint32_t t = job->span->first + i_task;
    const size_t n = (job->span->position + i_task + 1) / job->span->memory->index.ratio;
    uint32_t *chosen = c->chosen + (size_t)t * c->top_k;
    cpu_worker *w = &job->b->workers[worker];
    float *scores = w->scores;
    if (n <= c->top_k) {
        for (uint32_t i = 0; i < n; i++)
            chosen[i] = i;
        c->n_chosen[t] = (uint32_t)n;
        return;
    }
    score_rows(job, t, n, scores, w);
    const float least = kth_largest(scores, n, c->top_k, scores + n);
    size_t n_above = 0, n_chosen = 0;
    for (size_t i = 0; i < n; i++)
        n_above += scores[i] > least;
    size_t n_ties = n_above < c->top_k ? c->top_k - n_above : 0; /* of equal ones, the first */
    for (size_t i = 0; i < n && n_chosen < c->top_k; i++) {
        const bool tie = scores[i] == least && n_ties > 0;
        if (scores[i] > least || tie) {
            chosen[n_chosen++] = (uint32_t)i;
            n_ties -= tie;
        }
    }
    c->n_chosen[t] = (uint32_t)n_chosen;
}

void cpu_select(backend *base, const backend_select *c, const backend_step *s)
{
    select_job job = { .b = cpu_of(base), .c = c, .s = s };
    for (uint32_t i = 0; i < s->n_spans; i++) {
        job.span = &s->spans[i];
        pool_run(job.b->pool, job.span->n, select_task, &job);
    }
}
