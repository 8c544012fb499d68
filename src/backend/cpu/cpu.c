/* The processor's backend: opening, scratch memory, and the operations that go value by value. */
#include "backend/cpu/cpu.h"
#include "quant/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- pieces lent to the other modules -------------------------------------------------------------------------------- */

float cpu_inverse_rms(const cpu_kernels *k, const float *x, size_t n, float eps)
{
    return (float)(1.0 / sqrt(k->sum_squares(x, n) / (double)n + (double)eps));
}

void cpu_rmsnorm_row(const cpu_kernels *k, float *y, const float *x, const float *w, size_t dim, float eps)
{
    const float scale = cpu_inverse_rms(k, x, dim, eps);
    for (size_t i = 0; i < dim; i++)
        y[i] = w ? x[i] * scale * w[i] : x[i] * scale;
}

void cpu_rope(float *x, uint32_t dim, const backend_rope *rope, uint32_t t, bool inverse)
{
    const float *cosine = rope->cos + (size_t)t * rope->n_pairs, *sine = rope->sin + (size_t)t * rope->n_pairs;
    float *tail = x + dim - 2 * rope->n_pairs;
    for (uint32_t j = 0; j < rope->n_pairs; j++) {
        const float u = tail[2 * j], v = tail[2 * j + 1], s = inverse ? -sine[j] : sine[j];
        tail[2 * j] = u * cosine[j] - v * s;
        tail[2 * j + 1] = u * s + v * cosine[j];
    }
}

void cpu_round(float *x, uint32_t dim, uint32_t n_rot, backend_round round)
{
    if (round == BACKEND_ROUND_KV)
        quant_round_kv(x, dim - n_rot);
    else if (round == BACKEND_ROUND_INDEX)
        quant_round_index(x, dim);
}

/* --- operations ------------------------------------------------------------------------------------------------------ */

typedef struct row_job {
    cpu_backend *b;
    const backend_matrix *table;
    const backend_step *s;
    const backend_rope *rope;
    float *y;
    const float *x, *w;
    size_t dim;
    uint32_t n_heads;
    float eps;
    backend_round round;
} row_job;

static void embed_task(void *arg, uint32_t t, uint32_t worker)
{
    const row_job *job = arg;
    const size_t d = job->table->n_cols;
    float *y = job->y + (size_t)t * job->n_heads * d;
    (void)worker;
    quant_row_to_f32(job->table->type, job->table->data + (size_t)job->s->tokens[t] * job->table->row_bytes, y, d);
    for (uint32_t j = 1; j < job->n_heads; j++)
        memcpy(y + j * d, y, d * sizeof *y);
}

static void cpu_embed(backend *b, float *x, const backend_matrix *table, const backend_step *s, uint32_t n_streams)
{
    row_job job = { .y = x, .table = table, .s = s, .n_heads = n_streams };
    pool_run(cpu_of(b)->pool, s->n_tokens, embed_task, &job);
}

static void turn_task(void *arg, uint32_t t, uint32_t worker)
{
    const row_job *job = arg;
    (void)worker;
    for (uint32_t j = 0; j < job->rope->n_pairs; j++) {
        const float angle = (float)job->s->positions[t] * job->rope->omega[j];
        job->rope->cos[(size_t)t * job->rope->n_pairs + j] = cosf(angle);
        job->rope->sin[(size_t)t * job->rope->n_pairs + j] = sinf(angle);
    }
}

static void cpu_turn(backend *b, backend_rope *rope, const backend_step *s)
{
    row_job job = { .rope = rope, .s = s };
    pool_run(cpu_of(b)->pool, s->n_tokens, turn_task, &job);
}

static void rmsnorm_task(void *arg, uint32_t i, uint32_t worker)
{
    const row_job *job = arg;
    (void)worker;
    cpu_rmsnorm_row(job->b->kernels, job->y + i * job->dim, job->x + i * job->dim, job->w, job->dim, job->eps);
}

static void cpu_rmsnorm(backend *b, float *y, const float *x, const float *w, size_t n_rows, size_t dim, float eps)
{
    row_job job = { .b = cpu_of(b), .y = y, .x = x, .w = w, .dim = dim, .eps = eps };
    pool_run(cpu_of(b)->pool, (uint32_t)n_rows, rmsnorm_task, &job);
}

static void shape_task(void *arg, uint32_t t, uint32_t worker)
{
    const row_job *job = arg;
    const uint32_t dim = (uint32_t)job->dim;
    (void)worker;
    for (uint32_t h = 0; h < job->n_heads; h++) {
        float *q = job->y + ((size_t)t * job->n_heads + h) * dim;
        if (job->eps > 0.0f)
            cpu_rmsnorm_row(job->b->kernels, q, q, job->w, dim, job->eps);
        cpu_rope(q, dim, job->rope, t, false);
        cpu_round(q, dim, 2 * job->rope->n_pairs, job->round);
    }
}

static void cpu_shape_heads(backend *b, float *q, uint32_t n_heads, uint32_t dim, const float *w, float eps,
                            const backend_rope *rope, backend_round round, uint32_t n_tokens)
{
    row_job job = {
        .b = cpu_of(b), .y = q, .n_heads = n_heads, .dim = dim, .w = w, .eps = eps, .rope = rope, .round = round
    };
    pool_run(cpu_of(b)->pool, n_tokens, shape_task, &job);
}

static void cpu_join(backend *b, float *x, const float *e, const float *h, uint32_t n_tokens, uint32_t n_streams,
                     uint32_t n_embd)
{
    (void)b;
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t i = 0; i < (size_t)n_streams * n_embd; i++)
            x[t * n_streams * n_embd + i] = e[t * n_embd + i % n_embd] + h[t * n_streams * n_embd + i];
}

static bool cpu_finite(backend *b, const float *x, size_t n)
{
    (void)b;
    bool good = true;
    for (size_t i = 0; i < n; i++)
        good &= isfinite(x[i]) != 0;
    return good;
}

/* --- memory ---------------------------------------------------------------------------------------------------------- */

static void *cpu_alloc(backend *b, size_t bytes)
{
    (void)b;
    return calloc(1, bytes ? bytes : 1); /* large blocks come from the system as untouched pages */
}

static void cpu_free(backend *b, void *memory)
{
    (void)b;
    free(memory);
}

static void cpu_read(backend *b, void *out, const void *memory, size_t bytes)
{
    (void)b;
    memcpy(out, memory, bytes);
}

static void cpu_write(backend *b, void *memory, const void *bytes, size_t n_bytes)
{
    (void)b;
    memcpy(memory, bytes, n_bytes);
}

static void free_scratch(cpu_backend *b)
{
    free(b->q), free(b->q_scale), free(b->q_rows), free(b->x_rows);
    free(b->active), free(b->hidden), free(b->parts), free(b->by_expert), free(b->offsets);
    for (uint32_t i = 0; b->workers && i < b->base.n_threads; i++) {
        free(b->workers[i].scores), free(b->workers[i].rows);
        free(b->workers[i].pooled), free(b->workers[i].affinities), free(b->workers[i].raw);
    }
    free(b->workers);
    b->q = NULL, b->q_scale = NULL, b->q_rows = NULL, b->x_rows = NULL;
    b->hidden = NULL, b->parts = NULL, b->by_expert = NULL, b->offsets = NULL, b->active = NULL, b->workers = NULL;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* An array of n items, never of size 0. */
#define NEW(pointer, n) ((pointer) = calloc((n) + 1, sizeof *(pointer)))

static bool new_scratch(cpu_backend *b, const backend_limits *l)
{
    const size_t T = l->n_tokens, slots = T * larger(l->n_used, 1);
    const size_t width = larger(l->head_dim, l->index_dim);
    bool good = true;
    /* Vectors of one product: a slot's hidden row, a group of heads, or a stream. */
    b->n_vectors_max = larger(slots, T * larger(l->n_heads, l->n_streams));
    good = NEW(b->q, T * l->n_input_max) && NEW(b->q_scale, T * l->n_input_max / QUANT_Q8_BLOCK) &&
           NEW(b->q_rows, 2 * b->n_vectors_max) && NEW(b->x_rows, 2 * b->n_vectors_max) &&
           NEW(b->hidden, slots * l->ff_dim) && NEW(b->parts, slots * l->n_embd) && NEW(b->by_expert, 2 * slots) &&
           NEW(b->offsets, larger(l->n_experts, 1) + 1) && NEW(b->active, larger(l->n_experts, 1)) &&
           NEW(b->workers, b->base.n_threads);
    for (uint32_t i = 0; good && i < b->base.n_threads; i++) {
        cpu_worker *w = &b->workers[i];
        good = NEW(w->scores, larger(HEAD_BLOCK * (size_t)l->n_attend_max, 2 * (size_t)l->n_index_max)) &&
               NEW(w->rows, l->n_attend_max) && NEW(w->pooled, 2 * width) && NEW(w->affinities, l->n_experts) &&
               NEW(w->raw, ROW_BLOCK);
    }
    return good;
}

static ds4_status cpu_reserve(backend *base, const backend_limits *l, ds4_error *err)
{
    cpu_backend *b = cpu_of(base);
    const backend_limits *old = &b->limits;
    if (b->workers && l->n_tokens <= old->n_tokens && l->n_attend_max <= old->n_attend_max &&
        l->n_index_max <= old->n_index_max && l->n_input_max <= old->n_input_max)
        return DS4_OK; /* the other limits are the model's and do not change */
    backend_limits grown = *l;
    grown.n_tokens = (uint32_t)larger(l->n_tokens, old->n_tokens);
    /* In steps, so that a growing sequence does not come here at every token. */
    grown.n_attend_max = (uint32_t)larger(l->n_attend_max + l->n_attend_max / 2, old->n_attend_max);
    grown.n_index_max = (uint32_t)larger(l->n_index_max + l->n_index_max / 2, old->n_index_max);
    free_scratch(b);
    if (!new_scratch(b, &grown)) {
        free_scratch(b);
        b->limits = (backend_limits){ 0 };
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for a step of %u tokens", (unsigned)grown.n_tokens);
    }
    b->limits = grown;
    return DS4_OK;
}

/* --- the door -------------------------------------------------------------------------------------------------------- */

static void cpu_close(backend *base)
{
    cpu_backend *b = cpu_of(base);
    free_scratch(b);
    pool_free(b->pool);
    free(b);
}

static const backend_ops cpu_ops = {
    .close = cpu_close,
    .reserve = cpu_reserve,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .read = cpu_read,
    .write = cpu_write,
    .embed = cpu_embed,
    .turn = cpu_turn,
    .hc_mix = cpu_hc_mix,
    .hc_merge = cpu_hc_merge,
    .hc_head = cpu_hc_head,
    .rmsnorm = cpu_rmsnorm,
    .matmul = cpu_matmul,
    .matmul_grouped = cpu_matmul_grouped,
    .shape_heads = cpu_shape_heads,
    .compress = cpu_compress,
    .select = cpu_select,
    .attend = cpu_attend,
    .keep_window = cpu_keep_window,
    .keep_series = cpu_keep_series,
    .route = cpu_route,
    .experts = cpu_experts,
    .join = cpu_join,
    .finite = cpu_finite,
};

ds4_status backend_cpu_open(backend **out, uint32_t n_threads, const char *kernels, bool quantise, ds4_error *err)
{
    const cpu_kernels *found = cpu_kernels_find(kernels);
    *out = NULL;
    if (!found)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "kernels '%.40s' do not exist or do not run on this processor", kernels);
    cpu_backend *b = calloc(1, sizeof *b);
    if (!b)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    const ds4_status status = pool_new(&b->pool, n_threads, err);
    if (status != DS4_OK) {
        free(b);
        return status;
    }
    b->base = (backend){ &cpu_ops, "cpu", found->name, pool_n_threads(b->pool) };
    b->kernels = found;
    b->quantise = quantise;
    *out = &b->base;
    return DS4_OK;
}
