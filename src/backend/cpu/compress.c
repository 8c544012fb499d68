/* Compressors: docs/spec/model.md, section 6. Groups are aligned to absolute positions; what a group needs from
 * before this step is in the rings. */
#include "backend/cpu/cpu.h"
#include "quant/quant.h"

#include <math.h>
#include <string.h>

typedef struct compress_job {
    cpu_backend *b;
    const backend_compress *c;
    const backend_series *series;
    const float *bias, *norm;
    const backend_span *span;
    uint32_t first_group;
} compress_job;

/* Where token `position` keeps its projections: in this step or in the ring. */
static void token_at(const compress_job *job, uint32_t position, const float **kv, const float **gate)
{
    const backend_series *s = job->series;
    const size_t width = (size_t)s->n_sets * s->width;
    if (position >= job->span->position) {
        const size_t t = job->span->first + (position - job->span->position);
        *kv = job->c->kv + t * width;
        *gate = job->c->gate + t * width;
    } else {
        const size_t slot = position % s->ring_tokens;
        *kv = cpu_rolling(&job->span->sequence, s->ring_kv) + slot * width;
        *gate = cpu_rolling(&job->span->sequence, s->ring_gate) + slot * width;
    }
}

/* Two passes over the slots, per channel: the largest gate, then weights and sum. Slots in ascending position. */
static void pool_group(const compress_job *job, uint32_t group, float *row, float *top, float *total)
{
    const backend_series *s = job->series;
    const uint32_t r = s->ratio, D = s->width;
    const uint32_t begin = s->n_sets == 2 && group > 0 ? (group - 1) * r : group * r, end = (group + 1) * r;
    for (uint32_t i = 0; i < D; i++)
        top[i] = -INFINITY, row[i] = total[i] = 0.0f;
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t position = begin; position < end; position++) {
            const float *kv, *gate;
            /* The first series pools the group before this one, the second this one. */
            const size_t shift = s->n_sets == 2 && position >= group * r ? D : 0;
            token_at(job, position, &kv, &gate);
            kv += shift;
            gate += shift;
            if (pass == 0) {
                for (uint32_t i = 0; i < D; i++)
                    top[i] = gate[i] > top[i] ? gate[i] : top[i];
                continue;
            }
            for (uint32_t i = 0; i < D; i++) {
                const float weight = expf(gate[i] - top[i]);
                total[i] += weight;
                row[i] += weight * kv[i];
            }
        }
    for (uint32_t i = 0; i < D; i++)
        row[i] /= total[i];
}

static void compress_task(void *arg, uint32_t i_task, uint32_t worker)
{
    const compress_job *job = arg;
    const cpu_backend *b = job->b;
    const uint32_t group = job->first_group + i_task, D = job->series->width;
    float *scratch = b->workers[worker].pooled, *row = scratch + 2 * (size_t)D;
    const uint32_t n_rot = 2 * b->n_pairs, position = group * job->series->ratio;
    pool_group(job, group, row, scratch, scratch + D);
    cpu_norm_row(b->kernels, row, row, job->norm, D, b->shape.rms_eps);
    float *cosine = scratch,
          *sine = scratch + D; /* the group's first token may be of an earlier step: its angles are made here */
    for (uint32_t j = 0; j < b->n_pairs; j++) {
        const float angle = (float)position * b->omega[1][j];
        cosine[j] = cosf(angle);
        sine[j] = sinf(angle);
    }
    cpu_rope(row, D, cosine, sine, b->n_pairs, false);
    cpu_round(row, D, n_rot, job->c->index ? b->shape.index_round : b->shape.kv_round);
    uint8_t *out = cpu_series_row(&b->base.layout, job->series, &job->span->sequence, group);
    if (!b->shape.packed)
        memcpy(out, row, D * sizeof *row);
    else if (job->c->index)
        quant_pack_index(row, D, out);
    else
        quant_pack_kv(row, D, n_rot, out);
}

static void bias_task(void *arg, uint32_t t, uint32_t worker)
{
    const compress_job *job = arg;
    const size_t width = (size_t)job->series->n_sets * job->series->width;
    const float *bias = job->bias + job->b->step.positions[t] % job->series->ratio * width;
    float *gate = job->c->gate + (size_t)t * width;
    (void)worker;
    for (size_t i = 0; i < width; i++)
        gate[i] += bias[i];
}

/* The last projections of the span go into the rings, for the next step. */
static void keep_projections(const compress_job *job)
{
    const backend_series *s = job->series;
    const backend_span *span = job->span;
    const size_t width = (size_t)s->n_sets * s->width;
    float *kv = cpu_rolling(&span->sequence, s->ring_kv), *gate = cpu_rolling(&span->sequence, s->ring_gate);
    for (uint32_t k = span->n > s->ring_tokens ? span->n - s->ring_tokens : 0; k < span->n; k++) {
        const size_t slot = (span->position + k) % s->ring_tokens, t = span->first + k;
        memcpy(kv + slot * width, job->c->kv + t * width, width * sizeof(float));
        memcpy(gate + slot * width, job->c->gate + t * width, width * sizeof(float));
    }
}

void cpu_compress(backend *base, const backend_compress *c)
{
    cpu_backend *b = cpu_of(base);
    const backend_place *place = &base->layout.layers[c->layer];
    compress_job job = { .b = b,
                         .c = c,
                         .series = c->index ? &place->index : &place->attention,
                         .bias = cpu_values(c->bias),
                         .norm = cpu_values(c->norm) };
    pool_run(b->pool, b->step.n_tokens, bias_task, &job);
    for (uint32_t i = 0; i < b->step.n_spans; i++) {
        job.span = &b->step.spans[i];
        job.first_group = job.span->position / job.series->ratio;
        const uint32_t end = (job.span->position + job.span->n) / job.series->ratio;
        if (end > job.first_group)
            pool_run(b->pool, end - job.first_group, compress_task, &job);
        keep_projections(&job);
    }
}
