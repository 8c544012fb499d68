/* Matrix products: vectors of this step against rows of the file. */
#include "backend/cpu/cpu.h"
#include "quant/quant.h"

typedef struct prepare_job {
    cpu_backend *b;
    const float *x;
    size_t stride, n_cols, n, per_task;
    bool quantise;
} prepare_job;

static void prepare_task(void *arg, uint32_t i_task, uint32_t worker)
{
    const prepare_job *job = arg;
    (void)worker;
    for (size_t j = i_task * job->per_task; j < (i_task + 1) * job->per_task && j < job->n; j++) {
        int8_t *q = job->b->q + j * job->n_cols;
        float *d = job->b->q_scale + j * (job->n_cols / QUANT_Q8_BLOCK);
        job->b->x_rows[j] = job->x + j * job->stride;
        if (job->quantise) {
            job->b->kernels->quantise(job->x + j * job->stride, job->n_cols, q, d);
            job->b->q_rows[j] = (q8_vector){ q, d };
        }
    }
}

cpu_vectors cpu_prepare(cpu_backend *b, const backend_tensor *w, const float *x, size_t stride, size_t n, bool exact)
{
    prepare_job job = { b, x, stride, w->n_cols, n, n < 64 ? n : 32, b->quantise && !exact && w->tile_q8 };
    if (n)
        pool_run(b->pool, (uint32_t)((n + job.per_task - 1) / job.per_task), prepare_task, &job);
    return (cpu_vectors){ b->x_rows, job.quantise ? b->q_rows : NULL, n };
}

void cpu_rows(const backend_tensor *w, uint32_t i_stacked, uint32_t row, uint32_t n_rows, const cpu_vectors *v,
              size_t first, size_t n, float *out, size_t stride, cpu_worker *worker)
{
    const uint8_t *at = w->data + ((size_t)i_stacked * w->n_rows + row) * w->row_bytes;
    for (uint32_t done = 0; done < n_rows; done += ROW_BLOCK) {
        const uint32_t count = n_rows - done < ROW_BLOCK ? n_rows - done : ROW_BLOCK;
        for (uint32_t i = 0; i < count; i++)
            worker->raw[i] = at + (size_t)(done + i) * w->row_bytes;
        if (v->q)
            w->tile_q8(out + done, stride, worker->raw, count, v->q + first, n, w->n_cols);
        else
            w->tile(out + done, stride, worker->raw, count, v->x + first, n, w->n_cols);
    }
}

typedef struct matmul_job {
    cpu_backend *b;
    const backend_tensor *w;
    float *y;
    cpu_vectors v;
    uint32_t n_groups, n_tokens;
} matmul_job;

static void matmul_task(void *arg, uint32_t i_task, uint32_t worker)
{
    const matmul_job *job = arg;
    const uint32_t row = i_task * ROW_BLOCK, left = job->w->n_rows - row;
    cpu_rows(job->w, 0, row, left < ROW_BLOCK ? left : ROW_BLOCK, &job->v, 0, job->v.n, job->y + row, job->w->n_rows,
             &job->b->workers[worker]);
}

void cpu_matmul(backend *base, float *y, const backend_tensor *w, const float *x, uint32_t n, bool exact)
{
    cpu_backend *b = cpu_of(base);
    matmul_job job = { .b = b, .w = w, .y = y, .v = cpu_prepare(b, w, x, w->n_cols, n, exact) };
    pool_run(b->pool, (w->n_rows + ROW_BLOCK - 1) / ROW_BLOCK, matmul_task, &job);
}

static void grouped_task(void *arg, uint32_t i_task, uint32_t worker)
{
    const matmul_job *job = arg;
    const uint32_t per_group = job->w->n_rows / job->n_groups, n_blocks = (per_group + ROW_BLOCK - 1) / ROW_BLOCK;
    const uint32_t group = i_task / n_blocks, row = i_task % n_blocks * ROW_BLOCK, left = per_group - row;
    const uint32_t first = group * per_group + row;
    cpu_rows(job->w, 0, first, left < ROW_BLOCK ? left : ROW_BLOCK, &job->v, (size_t)group * job->n_tokens,
             job->n_tokens, job->y + first, job->w->n_rows, &job->b->workers[worker]);
}

/* The vectors come token by token; all tokens of a group in a row let a tile see many of them. */
static cpu_vectors by_group(cpu_backend *b, const cpu_vectors *v, uint32_t n_tokens, uint32_t n_groups)
{
    const float **x = b->x_rows + b->n_vectors_max;
    q8_vector *q = b->q_rows + b->n_vectors_max;
    for (size_t g = 0; g < n_groups; g++)
        for (size_t t = 0; t < n_tokens; t++) {
            x[g * n_tokens + t] = v->x[t * n_groups + g];
            if (v->q)
                q[g * n_tokens + t] = v->q[t * n_groups + g];
        }
    return (cpu_vectors){ x, v->q ? q : NULL, v->n };
}

void cpu_matmul_grouped(backend *base, float *y, const backend_tensor *w, const float *x, uint32_t n_groups)
{
    cpu_backend *b = cpu_of(base);
    const uint32_t per_group = w->n_rows / n_groups, n_tokens = b->step.n_tokens;
    matmul_job job = { .b = b, .w = w, .y = y, .n_groups = n_groups, .n_tokens = n_tokens };
    job.v = cpu_prepare(b, w, x, w->n_cols, (size_t)n_tokens * n_groups, false);
    job.v = by_group(b, &job.v, n_tokens, n_groups);
    pool_run(b->pool, n_groups * ((per_group + ROW_BLOCK - 1) / ROW_BLOCK), grouped_task, &job);
}
