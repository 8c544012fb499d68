/* Compressors: model specification, section 6. Groups are aligned to absolute positions; what a group needs from before this
 * step stands in the rings. */
#include "backend/cpu/cpu.h"

#include <math.h>
#include <string.h>

typedef struct compress_job {
    cpu_backend *b;
    const backend_compress *c;
    const backend_step *s;
    const backend_span *span;
    backend_series *series;
    uint32_t first_group;
} compress_job;

static backend_series *series_of(const backend_compress *c, const backend_span *span)
{
    return c->index ? &span->memory->index : &span->memory->attention;
}

/* Where token `position` keeps its projections: in this step or in the ring. */
static void token_at(const compress_job *job, uint32_t position, const float **kv, const float **gate)
{
    const size_t width = (size_t)job->series->n_sets * job->series->width;
    if (position >= job->span->position) {
        const size_t t = job->span->first + (position - job->span->position);
        *kv = job->c->kv + t * width;
        *gate = job->c->gate + t * width;
    } else {
        const size_t slot = position % job->series->ring_tokens;
        *kv = job->series->ring_kv + slot * width;
        *gate = job->series->ring_gate + slot * width;
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
    const backend_compress *c = job->c;
    const uint32_t group = job->first_group + i_task, D = job->series->width;
    float *row = job->series->rows + (size_t)group * D, *scratch = job->b->workers[worker].pooled;
    const uint32_t n_rot = 2 * c->rope->n_pairs, position = group * job->series->ratio;
    pool_group(job, group, row, scratch, scratch + D);
    cpu_rmsnorm_row(job->b->kernels, row, row, c->norm, D, c->rms_eps);
    float *tail = row + D - n_rot; /* the group's first token may be of an earlier step: its angles are made here */
    for (uint32_t j = 0; j < c->rope->n_pairs; j++) {
        const float angle = (float)position * c->rope->omega[j], cosine = cosf(angle), sine = sinf(angle);
        const float u = tail[2 * j], v = tail[2 * j + 1];
        tail[2 * j] = u * cosine - v * sine;
        tail[2 * j + 1] = u * sine + v * cosine;
    }
    cpu_round(row, D, n_rot, c->round);
}

static void bias_task(void *arg, uint32_t t, uint32_t worker)
{
    const compress_job *job = arg;
    const size_t width = (size_t)job->series->n_sets * job->series->width;
    const float *ape = job->c->ape + (size_t)(job->s->positions[t] % job->series->ratio) * width;
    float *gate = job->c->gate + (size_t)t * width;
    (void)worker;
    for (size_t i = 0; i < width; i++)
        gate[i] += ape[i];
}

void cpu_compress(backend *base, const backend_compress *c, const backend_step *s)
{
    cpu_backend *b = cpu_of(base);
    compress_job job = { .b = b, .c = c, .s = s, .series = series_of(c, &s->spans[0]) };
    pool_run(b->pool, s->n_tokens, bias_task, &job);
    for (uint32_t i = 0; i < s->n_spans; i++) {
        job.span = &s->spans[i];
        job.series = series_of(c, job.span);
        job.first_group = job.span->position / job.series->ratio;
        const uint32_t end = (job.span->position + job.span->n) / job.series->ratio;
        if (end > job.first_group)
            pool_run(b->pool, end - job.first_group, compress_task, &job);
    }
}

void cpu_keep_series(backend *base, const backend_compress *c, const backend_step *s)
{
    (void)base;
    for (uint32_t i = 0; i < s->n_spans; i++) {
        const backend_span *span = &s->spans[i];
        backend_series *series = series_of(c, span);
        const size_t width = (size_t)series->n_sets * series->width;
        const uint32_t skip = span->n > series->ring_tokens ? span->n - series->ring_tokens : 0;
        for (uint32_t k = skip; k < span->n; k++) {
            const size_t slot = (span->position + k) % series->ring_tokens, t = span->first + k;
            memcpy(series->ring_kv + slot * width, c->kv + t * width, width * sizeof(float));
            memcpy(series->ring_gate + slot * width, c->gate + t * width, width * sizeof(float));
        }
    }
}
