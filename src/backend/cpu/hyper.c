/* Hyper-connections: docs/spec/model.md, section 4. All f32, norms in double. */
#include "backend/cpu/cpu.h"

#include <math.h>
#include <string.h>

enum {
    STREAMS_MAX = 16,
    COLUMNS = 256 /* of the streams that are merged at a time */
};

static float sigmoid(float z)
{
    return z >= 0.0f ? 1.0f / (1.0f + expf(-z)) : expf(z) / (1.0f + expf(z));
}

/* comb [m, m]: softmax of each row, then columns and rows in turn to sum 1. */
static void balance(float *comb, uint32_t m, uint32_t n_iterations, float eps)
{
    for (uint32_t j = 0; j < m; j++) {
        float *row = comb + j * m, top = row[0], sum = 0.0f;
        for (uint32_t k = 1; k < m; k++)
            top = fmaxf(top, row[k]);
        for (uint32_t k = 0; k < m; k++)
            sum += row[k] = expf(row[k] - top);
        for (uint32_t k = 0; k < m; k++)
            row[k] = row[k] / sum + eps;
    }
    for (uint32_t i = 0; i < n_iterations; i++) {
        for (uint32_t j = 0; i > 0 && j < m; j++) {
            float sum = eps;
            for (uint32_t k = 0; k < m; k++)
                sum += comb[j * m + k];
            for (uint32_t k = 0; k < m; k++)
                comb[j * m + k] /= sum;
        }
        for (uint32_t k = 0; k < m; k++) {
            float sum = eps;
            for (uint32_t j = 0; j < m; j++)
                sum += comb[j * m + k];
            for (uint32_t j = 0; j < m; j++)
                comb[j * m + k] /= sum;
        }
    }
}

typedef struct hyper_job {
    const cpu_backend *b;
    const cpu_kernels *kernels;
    const backend_hyper *h;
    const float *base, *scale;
    const backend_row *rows; /* of the head */
    float *a, *comb_out, *post_out, *out;
    const float *z, *x, *y, *post, *comb;
} hyper_job;

static void mix_streams(const hyper_job *job, float *a, const float *x, const float *pre)
{
    const backend_shape *s = &job->b->shape;
    const float *streams[STREAMS_MAX];
    for (uint32_t j = 0; j < s->n_streams; j++)
        streams[j] = x + (size_t)j * s->n_embd;
    job->kernels->weighted_sum(a, streams, pre, s->n_streams, s->n_embd);
}

static void mix_task(void *arg, uint32_t t, uint32_t worker)
{
    const hyper_job *job = arg;
    const backend_hyper *h = job->h;
    const uint32_t m = job->b->shape.n_streams, d = job->b->shape.n_embd;
    const float *z = job->z + (size_t)t * (2 + m) * m, *x = job->x + (size_t)t * m * d;
    const float scale = cpu_inverse_rms(job->kernels, x, (size_t)m * d, job->b->shape.rms_eps);
    float pre[STREAMS_MAX], *comb = job->comb_out + (size_t)t * m * m;
    (void)worker;
    for (uint32_t j = 0; j < m; j++) {
        pre[j] = sigmoid(z[j] * scale * job->scale[0] + job->base[j]) + h->eps;
        job->post_out[(size_t)t * m + j] = 2.0f * sigmoid(z[m + j] * scale * job->scale[1] + job->base[m + j]);
    }
    for (uint32_t i = 0; i < m * m; i++)
        comb[i] = z[2 * m + i] * scale * job->scale[2] + job->base[2 * m + i];
    balance(comb, m, h->n_sinkhorn, h->eps);
    mix_streams(job, job->a + (size_t)t * d, x, pre);
}

void cpu_hc_mix(backend *base, const backend_hyper *h, float *a, float *post, float *comb, float *z, const float *x)
{
    cpu_backend *b = cpu_of(base);
    hyper_job job = { .b = b,
                      .kernels = b->kernels,
                      .h = h,
                      .base = cpu_values(h->base),
                      .scale = cpu_values(h->scale),
                      .a = a,
                      .post_out = post,
                      .comb_out = comb,
                      .z = z,
                      .x = x };
    cpu_matmul(base, z, h->fn, x, b->step.n_tokens, true);
    pool_run(b->pool, b->step.n_tokens, mix_task, &job);
}

static void merge_task(void *arg, uint32_t t, uint32_t worker)
{
    const hyper_job *job = arg;
    const uint32_t m = job->b->shape.n_streams, d = job->b->shape.n_embd;
    const float *post = job->post + (size_t)t * m, *comb = job->comb + (size_t)t * m * m, *y = job->y + (size_t)t * d;
    float *x = job->out + (size_t)t * m * d, old[STREAMS_MAX][COLUMNS], weights[1 + STREAMS_MAX];
    const float *rows[1 + STREAMS_MAX];
    (void)worker;
    for (uint32_t c = 0; c < d; c += COLUMNS) {
        const uint32_t n = d - c < COLUMNS ? d - c : COLUMNS;
        rows[0] = y + c;
        for (uint32_t j = 0; j < m; j++)
            rows[1 + j] = memcpy(old[j], x + (size_t)j * d + c, n * sizeof(float));
        for (uint32_t k = 0; k < m; k++) {
            weights[0] = post[k];
            for (uint32_t j = 0; j < m; j++)
                weights[1 + j] = comb[j * m + k];
            job->kernels->weighted_sum(x + (size_t)k * d + c, rows, weights, 1 + m, n);
        }
    }
}

void cpu_hc_merge(backend *base, float *x, const float *y, const float *post, const float *comb)
{
    cpu_backend *b = cpu_of(base);
    hyper_job job = { .b = b, .kernels = b->kernels, .y = y, .post = post, .comb = comb, .out = x };
    pool_run(b->pool, b->step.n_tokens, merge_task, &job);
}

static void head_task(void *arg, uint32_t i, uint32_t worker)
{
    const hyper_job *job = arg;
    const uint32_t m = job->b->shape.n_streams, d = job->b->shape.n_embd;
    const float *x = job->x + (size_t)job->rows[i].token * m * d, *z = job->z + (size_t)i * m;
    const float scale = cpu_inverse_rms(job->kernels, x, (size_t)m * d, job->b->shape.rms_eps);
    float pre[STREAMS_MAX];
    (void)worker;
    for (uint32_t j = 0; j < m; j++)
        pre[j] = sigmoid(z[j] * scale * job->scale[0] + job->base[j]) + job->h->eps;
    mix_streams(job, job->a + (size_t)i * d, x, pre);
}

void cpu_hc_head(backend *base, const backend_hyper *h, float *a, float *z, const float *x, uint32_t first, uint32_t n)
{
    cpu_backend *b = cpu_of(base);
    const size_t m = b->shape.n_streams, d = b->shape.n_embd;
    hyper_job job = { .b = b,
                      .kernels = b->kernels,
                      .h = h,
                      .base = cpu_values(h->base),
                      .scale = cpu_values(h->scale),
                      .rows = b->step.rows + first,
                      .a = a,
                      .z = z,
                      .x = x };
    for (uint32_t i = 0; i < n; i++)
        cpu_matmul(base, z + i * m, h->fn, x + job.rows[i].token * m * d, 1, true);
    pool_run(b->pool, n, head_task, &job);
}
