/* Mixture of experts: docs/spec/model.md, section 8. */
#include "backend/cpu/cpu.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* --- the router --------------------------------------------------------------------------------------------------- */

static float sqrt_softplus(float z)
{
    return sqrtf(fmaxf(z, 0.0f) + log1pf(expf(-fabsf(z))));
}

/* The n_used largest scores, one after the other; of equal ones the first. A NaN counts as less than any number: ids stay
 * in range, and the NaN is noticed in the streams. */
static void choose(const backend_shape *s, const float *bias, const float *logits, uint32_t *ids, float *scores)
{
    for (uint32_t e = 0; e < s->n_experts; e++) {
        const float score = sqrt_softplus(logits[e]) + bias[e];
        scores[e] = score == score ? score : -FLT_MAX;
    }
    for (uint32_t k = 0; k < s->n_used; k++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t e = 0; e < s->n_experts; e++)
            if (scores[e] > -INFINITY && (best == UINT32_MAX || scores[e] > scores[best]))
                best = e;
        ids[k] = best;
        scores[best] = -INFINITY; /* taken */
    }
}

typedef struct route_job {
    cpu_backend *b;
    const backend_route *r;
} route_job;

static void route_task(void *arg, uint32_t t, uint32_t worker)
{
    const route_job *job = arg;
    const backend_route *r = job->r;
    const backend_shape *s = &job->b->shape;
    const float *logits = r->logits + (size_t)t * s->n_experts;
    uint32_t *ids = r->ids + (size_t)t * s->n_used;
    float *weights = r->weights + (size_t)t * s->n_used, sum = 0.0f;
    if (r->bias)
        choose(s, cpu_values(r->bias), logits, ids, job->b->workers[worker].affinities);
    else
        memcpy(ids, r->table->data + job->b->step.tokens[t] * r->table->row_bytes, s->n_used * sizeof *ids);
    for (uint32_t k = 0; k < s->n_used; k++)
        sum += weights[k] = sqrt_softplus(logits[ids[k]]);
    for (uint32_t k = 0; k < s->n_used; k++)
        weights[k] *= r->scale / fmaxf(sum, 1e-20f);
}

void cpu_route(backend *base, const backend_route *r)
{
    cpu_backend *b = cpu_of(base);
    route_job job = { b, r };
    pool_run(b->pool, b->step.n_tokens, route_task, &job);
}

/* --- the experts -------------------------------------------------------------------------------------------------- */

/* A slot is one (token, k). Slots are sorted by expert, so that an expert's weights are read once for all its tokens; each
 * slot's result is kept apart and a token's slots are summed at the end in the order of ids: the sum does not depend on
 * who else chose the expert. */
typedef struct experts_job {
    cpu_backend *b;
    const backend_experts *e;
    uint32_t n_slots, n_blocks, n_tokens;
    cpu_vectors v; /* of slots in sorted order */
} experts_job;

/* Without ids every slot belongs to the one expert that there is. */
static uint32_t expert_of(const backend_experts *e, uint32_t slot)
{
    return e->ids ? e->ids[slot] : 0;
}

/* Also lists the experts that have slots: the others are no tasks. Returns their number. */
static uint32_t sort_slots(cpu_backend *b, const backend_experts *e, uint32_t n_slots)
{
    uint32_t n_active = 0;
    const uint32_t n_experts = e->gate->n_stacked;
    memset(b->offsets, 0, (n_experts + 1) * sizeof *b->offsets);
    for (uint32_t i = 0; i < n_slots; i++)
        b->offsets[expert_of(e, i) + 1]++;
    for (uint32_t i = 0; i < n_experts; i++) {
        if (b->offsets[i + 1])
            b->active[n_active++] = i;
        b->offsets[i + 1] += b->offsets[i];
    }
    for (uint32_t i = 0; i < n_slots; i++)
        b->by_expert[b->offsets[expert_of(e, i)]++] = i;
    for (uint32_t i = n_experts; i > 0; i--) /* filling moved every offset to the next one's place */
        b->offsets[i] = b->offsets[i - 1];
    b->offsets[0] = 0;
    return n_active;
}

/* Rows [row, row + n) of one expert's gate and up for its slots: hidden, in sorted order, weighted. */
static void widen_task(void *arg, uint32_t i_task, uint32_t worker)
{
    enum { CHUNK = 16 };
    const experts_job *job = arg;
    const backend_experts *e = job->e;
    cpu_backend *b = job->b;
    float gate[CHUNK * ROW_BLOCK], up[CHUNK * ROW_BLOCK];
    const uint32_t expert = b->active[i_task / job->n_blocks], row = i_task % job->n_blocks * ROW_BLOCK,
                   f = e->gate->n_rows;
    const uint32_t n_rows = f - row < ROW_BLOCK ? f - row : ROW_BLOCK;
    for (uint32_t at = b->offsets[expert]; at < b->offsets[expert + 1]; at += CHUNK) {
        const uint32_t left = b->offsets[expert + 1] - at, n = left < CHUNK ? left : CHUNK;
        cpu_rows(e->gate, expert, row, n_rows, &job->v, at, n, gate, ROW_BLOCK, &b->workers[worker]);
        cpu_rows(e->up, expert, row, n_rows, &job->v, at, n, up, ROW_BLOCK, &b->workers[worker]);
        for (uint32_t j = 0; j < n; j++)
            b->kernels->swiglu(b->hidden + (size_t)(at + j) * f + row, gate + j * ROW_BLOCK, up + j * ROW_BLOCK, n_rows,
                               e->clamp, e->ids ? e->weights[b->by_expert[at + j]] : 1.0f);
    }
}

static void narrow_task(void *arg, uint32_t i_task, uint32_t worker)
{
    const experts_job *job = arg;
    cpu_backend *b = job->b;
    const uint32_t d = job->e->down->n_rows;
    const uint32_t expert = b->active[i_task / job->n_blocks], row = i_task % job->n_blocks * ROW_BLOCK;
    const uint32_t n_rows = d - row < ROW_BLOCK ? d - row : ROW_BLOCK, at = b->offsets[expert];
    cpu_rows(job->e->down, expert, row, n_rows, &job->v, at, b->offsets[expert + 1] - at,
             b->parts + (size_t)at * d + row, d, &b->workers[worker]);
}

static void sum_task(void *arg, uint32_t t, uint32_t worker)
{
    const experts_job *job = arg;
    const backend_experts *e = job->e;
    const uint32_t d = e->down->n_rows;
    float *out = e->out + (size_t)t * d;
    (void)worker;
    for (uint32_t k = 0; k < e->n_used; k++) {
        const float *part = job->b->parts + (size_t)job->b->by_expert[job->n_slots + t * e->n_used + k] * d;
        if (k == 0 && !e->accumulate)
            memcpy(out, part, d * sizeof *out);
        else
            for (uint32_t i = 0; i < d; i++)
                out[i] += part[i];
    }
}

/* cpu_prepare() lists vectors by a stride; slots want their token's vector instead. */
static void spread_vectors(cpu_backend *b, const backend_experts *e, uint32_t n_tokens, uint32_t n_slots,
                           cpu_vectors *v)
{
    /* The lists of tokens stand first; the lists of slots follow, n_vectors_max entries later. */
    const float **x = b->x_rows + b->n_vectors_max;
    q8_vector *q = b->q_rows + b->n_vectors_max;
    *v = cpu_prepare(b, e->gate, e->x, e->gate->n_cols, n_tokens, false);
    for (uint32_t i = 0; i < n_slots; i++) {
        const uint32_t t = b->by_expert[i] / e->n_used;
        x[i] = b->x_rows[t];
        if (v->q)
            q[i] = b->q_rows[t];
    }
    *v = (cpu_vectors){ x, v->q ? q : NULL, n_slots };
}

void cpu_experts(backend *base, const backend_experts *e)
{
    cpu_backend *b = cpu_of(base);
    const uint32_t n_tokens = b->step.n_tokens;
    experts_job job = { .b = b, .e = e, .n_slots = n_tokens * e->n_used, .n_tokens = n_tokens };
    const uint32_t n_active = sort_slots(b, e, job.n_slots);
    for (uint32_t i = 0; i < job.n_slots; i++) /* where each slot went, for the sum */
        b->by_expert[job.n_slots + b->by_expert[i]] = i;
    spread_vectors(b, e, n_tokens, job.n_slots, &job.v);
    job.n_blocks = (e->gate->n_rows + ROW_BLOCK - 1) / ROW_BLOCK;
    pool_run(b->pool, n_active * job.n_blocks, widen_task, &job);
    job.v = cpu_prepare(b, e->down, b->hidden, e->down->n_cols, job.n_slots, false);
    job.n_blocks = (e->down->n_rows + ROW_BLOCK - 1) / ROW_BLOCK;
    pool_run(b->pool, n_active * job.n_blocks, narrow_task, &job);
    pool_run(b->pool, n_tokens, sum_task, &job);
}
