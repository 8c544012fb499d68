/* Hyper-connections: model specification, section 4. All f32, sums in double. */
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
    const cpu_kernels *kernels;
    const backend_hyper *h;
    float *a, *post, *comb; /* out, of a mix */
    const float *z, *x;
} hyper_job;

static void mix_streams(const hyper_job *job, float *a, const float *x, const float *pre)
{
    const float *streams[STREAMS_MAX];
    for (uint32_t j = 0; j < job->h->n_streams; j++)
        streams[j] = x + (size_t)j * job->h->n_embd;
    job->kernels->weighted_sum(a, streams, pre, job->h->n_streams, job->h->n_embd);
}

static void mix_task(void *arg, uint32_t t, uint32_t worker)
{
    const hyper_job *job = arg;
    const backend_hyper *h = job->h;
    const uint32_t m = h->n_streams;
    const float *z = job->z + (size_t)t * (2 + m) * m, *x = job->x + (size_t)t * m * h->n_embd;
    const float scale = cpu_inverse_rms(job->kernels, x, (size_t)m * h->n_embd, h->rms_eps);
    float pre[STREAMS_MAX], *comb = job->comb + (size_t)t * m * m;
    (void)worker;
    for (uint32_t j = 0; j < m; j++) {
        pre[j] = sigmoid(z[j] * scale * h->scale[0] + h->base[j]) + h->hc_eps;
        job->post[(size_t)t * m + j] = 2.0f * sigmoid(z[m + j] * scale * h->scale[1] + h->base[m + j]);
    }
    for (uint32_t i = 0; i < m * m; i++)
        comb[i] = z[2 * m + i] * scale * h->scale[2] + h->base[2 * m + i];
    balance(comb, m, h->n_sinkhorn, h->hc_eps);
    mix_streams(job, job->a + (size_t)t * h->n_embd, x, pre);
}

void cpu_hc_mix(backend *b, const backend_hyper *h, float *a, float *post, float *comb, float *z, const float *x,
                uint32_t n_tokens)
{
    hyper_job job = { .kernels = cpu_of(b)->kernels, .h = h, .a = a, .post = post, .comb = comb, .z = z, .x = x };
    cpu_matmul(b, z, h->fn, x, n_tokens, true);
    pool_run(cpu_of(b)->pool, n_tokens, mix_task, &job);
}

typedef struct merge_job {
    const cpu_kernels *kernels;
    const backend_hyper *h;
    float *x; /* in and out */
    const float *y, *post, *comb;
} merge_job;

static void merge_task(void *arg, uint32_t t, uint32_t worker)
{
    const merge_job *job = arg;
    const uint32_t m = job->h->n_streams, d = job->h->n_embd;
    const float *post = job->post + (size_t)t * m, *comb = job->comb + (size_t)t * m * m, *y = job->y + (size_t)t * d;
    float *x = job->x + (size_t)t * m * d, old[STREAMS_MAX][COLUMNS], weights[1 + STREAMS_MAX];
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

void cpu_hc_merge(backend *b, const backend_hyper *h, float *x, const float *y, const float *post, const float *comb,
                  uint32_t n_tokens)
{
    merge_job job = { cpu_of(b)->kernels, h, x, y, post, comb };
    pool_run(cpu_of(b)->pool, n_tokens, merge_task, &job);
}

static void head_task(void *arg, uint32_t t, uint32_t worker)
{
    const hyper_job *job = arg;
    const backend_hyper *h = job->h;
    const uint32_t m = h->n_streams;
    const float *x = job->x + (size_t)t * m * h->n_embd, *z = job->z + (size_t)t * m;
    const float scale = cpu_inverse_rms(job->kernels, x, (size_t)m * h->n_embd, h->rms_eps);
    float pre[STREAMS_MAX];
    (void)worker;
    for (uint32_t j = 0; j < m; j++)
        pre[j] = sigmoid(z[j] * scale * h->scale[0] + h->base[j]) + h->hc_eps;
    mix_streams(job, job->a + (size_t)t * h->n_embd, x, pre);
}

void cpu_hc_head(backend *b, const backend_hyper *h, float *a, float *z, const float *x, uint32_t n_tokens)
{
    hyper_job job = { .kernels = cpu_of(b)->kernels, .h = h, .a = a, .z = z, .x = x };
    cpu_matmul(b, z, h->fn, x, n_tokens, true);
    pool_run(cpu_of(b)->pool, n_tokens, head_task, &job);
}
