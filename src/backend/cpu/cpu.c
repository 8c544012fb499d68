/* The processor's backend: opening, weights, memory, the frame of a step, and the operations that go value by value. */
#include "backend/cpu/cpu.h"
#include "base/fault.h"
#include "quant/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- pieces that the other files use -------------------------------------------------------------------------------- */

float cpu_inverse_rms(const cpu_kernels *k, const float *x, size_t n, float eps)
{
    return (float)(1.0 / sqrt(k->sum_squares(x, n) / (double)n + (double)eps));
}

void cpu_norm_row(const cpu_kernels *k, float *y, const float *x, const float *w, size_t dim, float eps)
{
    const float scale = cpu_inverse_rms(k, x, dim, eps);
    for (size_t i = 0; i < dim; i++)
        y[i] = w ? x[i] * scale * w[i] : x[i] * scale;
}

void cpu_rope(float *x, uint32_t dim, const float *cosine, const float *sine, uint32_t n_pairs, bool inverse)
{
    float *tail = x + dim - 2 * n_pairs;
    for (uint32_t j = 0; j < n_pairs; j++) {
        const float u = tail[2 * j], v = tail[2 * j + 1], s = inverse ? -sine[j] : sine[j];
        tail[2 * j] = u * cosine[j] - v * s;
        tail[2 * j + 1] = u * s + v * cosine[j];
    }
}

void cpu_round(float *x, uint32_t dim, uint32_t n_rot, backend_round round)
{
    if (round == BACKEND_ROUND_KV) {
        quant_round_kv(x, dim - n_rot);
        quant_round_bf16(x + dim - n_rot, n_rot);
    } else if (round == BACKEND_ROUND_INDEX)
        quant_round_index(x, dim);
}

/* --- operations ------------------------------------------------------------------------------------------------------ */

typedef struct row_job {
    cpu_backend *b;
    const backend_tensor *table;
    float *y;
    const float *x, *w;
    size_t dim;
    uint32_t n_heads, rope;
    float eps;
    backend_round round;
} row_job;

static void embed_task(void *arg, uint32_t t, uint32_t worker)
{
    const row_job *job = arg;
    const size_t d = job->table->n_cols;
    float *y = job->y + (size_t)t * job->n_heads * d;
    (void)worker;
    quant_row_to_f32(job->table->type, job->table->data + (size_t)job->b->step.tokens[t] * job->table->row_bytes, y, d);
    for (uint32_t j = 1; j < job->n_heads; j++)
        memcpy(y + j * d, y, d * sizeof *y);
}

static void cpu_embed(backend *b, float *x, const backend_tensor *table, uint32_t n_streams)
{
    row_job job = { .b = cpu_of(b), .y = x, .table = table, .n_heads = n_streams };
    pool_run(job.b->pool, job.b->step.n_tokens, embed_task, &job);
}

static void rope_task(void *arg, uint32_t t, uint32_t worker)
{
    const row_job *job = arg;
    const cpu_backend *b = job->b;
    (void)worker;
    for (int k = 0; k < 2; k++)
        for (uint32_t j = 0; j < b->n_pairs; j++) {
            const float angle = (float)b->step.positions[t] * b->omega[k][j];
            b->cos[k][(size_t)t * b->n_pairs + j] = cosf(angle);
            b->sin[k][(size_t)t * b->n_pairs + j] = sinf(angle);
        }
}

static void cpu_rope_table(backend *b)
{
    row_job job = { .b = cpu_of(b) };
    pool_run(job.b->pool, job.b->step.n_tokens, rope_task, &job);
}

static void norm_task(void *arg, uint32_t i, uint32_t worker)
{
    const row_job *job = arg;
    (void)worker;
    cpu_norm_row(job->b->kernels, job->y + i * job->dim, job->x + i * job->dim, job->w, job->dim, job->eps);
}

static void cpu_norm(backend *base, float *y, const float *x, const backend_tensor *w, size_t n, size_t dim)
{
    cpu_backend *b = cpu_of(base);
    row_job job = { .b = b, .y = y, .x = x, .w = cpu_values(w), .dim = dim, .eps = b->shape.rms_eps };
    pool_run(b->pool, (uint32_t)n, norm_task, &job);
}

static void heads_task(void *arg, uint32_t t, uint32_t worker)
{
    const row_job *job = arg;
    const cpu_backend *b = job->b;
    const uint32_t dim = (uint32_t)job->dim;
    const float *cosine = b->cos[job->rope] + (size_t)t * b->n_pairs,
                *sine = b->sin[job->rope] + (size_t)t * b->n_pairs;
    (void)worker;
    for (uint32_t h = 0; h < job->n_heads; h++) {
        float *x = job->y + ((size_t)t * job->n_heads + h) * dim;
        if (job->eps > 0.0f)
            cpu_norm_row(b->kernels, x, x, job->w, dim, job->eps);
        cpu_rope(x, dim, cosine, sine, b->n_pairs, false);
        cpu_round(x, dim, 2 * b->n_pairs, job->round);
    }
}

void cpu_shape_heads(cpu_backend *b, float *x, uint32_t n_heads, uint32_t dim, const float *w, float eps, uint32_t rope,
                     backend_round round)
{
    row_job job = { .b = b, .y = x, .n_heads = n_heads, .dim = dim, .w = w, .eps = eps, .rope = rope, .round = round };
    pool_run(b->pool, b->step.n_tokens, heads_task, &job);
}

void cpu_norm_rope_round(backend *base, float *x, uint32_t layer, uint32_t n_heads, const backend_tensor *w, bool round)
{
    cpu_backend *b = cpu_of(base);
    cpu_shape_heads(b, x, n_heads, b->shape.head_dim, cpu_values(w), b->shape.rms_eps, cpu_rope_of(b, layer),
                    round ? b->shape.kv_round : BACKEND_ROUND_NONE);
}

static void cpu_add_to_streams(backend *base, float *x, const float *e, const float *h)
{
    const cpu_backend *b = cpu_of(base);
    const size_t m = b->shape.n_streams, d = b->shape.n_embd;
    for (size_t t = 0; t < b->step.n_tokens; t++)
        for (size_t i = 0; i < m * d; i++)
            x[t * m * d + i] = e[t * d + i % d] + h[t * m * d + i];
}

static bool all_finite(const float *x, size_t n)
{
    uint32_t bad = 0, bits;
    for (size_t i = 0; i < n; i++) {
        memcpy(&bits, &x[i], sizeof bits);
        bad |= (bits & 0x7f800000) == 0x7f800000;
    }
    return !bad;
}

static void cpu_check(backend *base, const float *x, size_t dim)
{
    cpu_backend *b = cpu_of(base);
    for (uint32_t i = 0; i < b->step.n_spans; i++) {
        const backend_span *span = &b->step.spans[i];
        b->finite[i] = b->finite[i] && all_finite(x + span->first * dim, span->n * dim);
    }
}

static void cpu_logits(backend *base, const float *logits, uint32_t first, uint32_t n)
{
    cpu_backend *b = cpu_of(base);
    const size_t n_vocab = b->shape.n_vocab;
    uint32_t at = 0; /* the span of the row: both lists are in order of tokens */
    for (uint32_t i = 0; i < n; i++) {
        const backend_row *row = &b->step.rows[first + i];
        while (row->token >= b->step.spans[at].first + b->step.spans[at].n)
            at++;
        memcpy(row->logits, logits + i * n_vocab, n_vocab * sizeof *logits);
        b->finite[at] = b->finite[at] && all_finite(logits + i * n_vocab, n_vocab);
    }
}

/* --- the frame of a step ------------------------------------------------------------------------------------------------ */

static void cpu_begin(backend *base, const backend_step *step)
{
    cpu_backend *b = cpu_of(base);
    b->step = *step;
    b->choosing = false;
    for (uint32_t i = 0; i < step->n_spans; i++)
        b->finite[i] = true;
}

static ds4_status cpu_end(backend *base, bool *finite, ds4_error *err)
{
    cpu_backend *b = cpu_of(base);
    memcpy(finite, b->finite, b->step.n_spans * sizeof *finite);
    b->step = (backend_step){ 0 };
    const fault f = fault_at("backend.end"); /* a processor does not get lost; test builds say so all the same */
    if (f.kind == FAULT_STATUS)
        return ds4_fail(err, f.status, "injected failure");
    return DS4_OK;
}

/* --- memory ---------------------------------------------------------------------------------------------------------- */

static void *cpu_alloc(backend *b, size_t bytes)
{
    enum { ALIGNMENT = 4096 };
    (void)b;
    const size_t size = (bytes ? bytes + ALIGNMENT - 1 : ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    void *memory = aligned_alloc(ALIGNMENT, size);
    return memory ? memset(memory, 0, size) : NULL;
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

/* --- weights --------------------------------------------------------------------------------------------------------- */

static ds4_status cpu_adopt(backend *base, const backend_source *source, backend_tensor **out, ds4_error *err)
{
    cpu_backend *b = cpu_of(base);
    *out = NULL;
    backend_tensor *t = calloc(1, sizeof *t);
    if (!t)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for a weight");
    *t = (backend_tensor){ .data = source->data,
                           .type = source->type,
                           .n_stacked = source->n_stacked,
                           .n_rows = source->n_rows,
                           .n_cols = source->n_cols,
                           .row_bytes = source->row_bytes };
    if (source->type != QUANT_I32 && !cpu_kernels_of_type(b->kernels, source->type, &t->tile, &t->tile_q8)) {
        free(t);
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "weights of type %s cannot be computed with on the processor",
                        quant_type_name(source->type));
    }
    if (!source->stays) {
        const size_t bytes = (size_t)source->n_stacked * source->n_rows * source->row_bytes;
        t->copy = malloc(bytes ? bytes : 1);
        if (!t->copy) {
            free(t);
            return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for a weight of %zu bytes", bytes);
        }
        t->data = memcpy(t->copy, source->data, bytes);
    }
    t->next = b->tensors;
    b->tensors = t;
    *out = t;
    return DS4_OK;
}

/* --- the shape ------------------------------------------------------------------------------------------------------- */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

enum { UNPACK_ALL = 4096 /* rows of a CSA layer that are unpacked at once, for all tokens of a span */ };

/* Sizes that follow from a shape. */
typedef struct scratch_sizes {
    size_t n_slots, n_vectors, n_attend, n_index, n_unpacked, width;
} scratch_sizes;

static scratch_sizes sizes_of(const backend_shape *s)
{
    scratch_sizes z = { .n_slots = s->n_tokens_max * larger(s->n_used, 1), .width = larger(s->head_dim, s->index_dim) };
    /* Vectors of one product: a slot's hidden row, a group of heads, or a stream. */
    z.n_vectors = larger(z.n_slots, s->n_tokens_max * larger(s->n_heads, s->n_streams));
    for (uint32_t i = 0; i < s->n_layers + s->n_draft_layers; i++) {
        if (s->layers[i].kind == BACKEND_LAYER_WINDOW)
            continue;
        const size_t rows = s->n_ctx_max / s->layers[i].ratio + 1;
        const bool csa = s->layers[i].kind == BACKEND_LAYER_CSA;
        z.n_attend = larger(z.n_attend, csa && rows > s->index_top_k ? s->index_top_k : rows);
        if (csa)
            z.n_index = larger(z.n_index, rows);
    }
    z.n_attend += s->window;
    if (s->packed) {
        const size_t many = larger(UNPACK_ALL, (size_t)UNPACK_TOKENS * s->index_top_k);
        z.n_unpacked = larger(z.n_attend, s->window + (z.n_index < many ? z.n_index : many));
    }
    return z;
}

/* One list of a step's scratch: where its address goes and how many bytes it has. */
typedef struct scratch_list {
    void *pointer; /* of a pointer */
    size_t bytes;
} scratch_list;

enum { N_LISTS = 20, N_WORKER_LISTS = 6 };

static void lists_of(cpu_backend *b, const backend_shape *s, scratch_list out[N_LISTS])
{
    const scratch_sizes z = sizes_of(s);
    const size_t T = s->n_tokens_max, F = sizeof(float), angles = T * (s->rope_dim / 2) * F;
    const scratch_list lists[N_LISTS] = {
        { &b->finite, T * sizeof *b->finite },
        { &b->cos[0], angles },
        { &b->cos[1], angles },
        { &b->sin[0], angles },
        { &b->sin[1], angles },
        { &b->index_query, T * s->n_index_heads * s->index_dim * F },
        { &b->index_weight, T * s->n_index_heads * F },
        { &b->chosen, T * s->index_top_k * sizeof *b->chosen },
        { &b->n_chosen, T * sizeof *b->n_chosen },
        { &b->unpacked, z.n_unpacked * s->head_dim * F },
        { &b->q, T * s->n_input_max },
        { &b->q_scale, T * s->n_input_max / QUANT_Q8_BLOCK * F },
        { &b->q_rows, 2 * z.n_vectors * sizeof *b->q_rows },
        { &b->x_rows, 2 * z.n_vectors * sizeof *b->x_rows },
        { &b->hidden, z.n_slots * s->ff_dim * F },
        { &b->parts, z.n_slots * s->n_embd * F },
        { &b->by_expert, 2 * z.n_slots * sizeof *b->by_expert },
        { &b->offsets, (larger(s->n_experts, 1) + 2) * sizeof *b->offsets },
        { &b->active, larger(s->n_experts, 1) * sizeof *b->active },
        { &b->workers, b->base.n_threads * sizeof *b->workers },
    };
    memcpy(out, lists, sizeof lists);
}

static void worker_lists_of(cpu_worker *w, const backend_shape *s, scratch_list out[N_WORKER_LISTS])
{
    const scratch_sizes z = sizes_of(s);
    const size_t F = sizeof(float);
    const scratch_list lists[N_WORKER_LISTS] = {
        { &w->scores, larger(HEAD_BLOCK * z.n_attend, 2 * z.n_index) * F },
        { &w->rows, z.n_attend * sizeof *w->rows },
        { &w->pooled, 3 * z.width * F },
        { &w->tile, SCORE_BLOCK * s->index_dim * F },
        { &w->affinities, larger(s->n_experts, 1) * F },
        { &w->raw, larger(ROW_BLOCK, z.n_attend) * sizeof *w->raw },
    };
    memcpy(out, lists, sizeof lists);
}

static bool new_lists(const scratch_list *lists, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        void *memory = calloc(1, lists[i].bytes + 1); /* from the system as it is touched */
        memcpy(lists[i].pointer, &memory, sizeof memory);
        if (!memory)
            return false;
    }
    return true;
}

static void free_lists(const scratch_list *lists, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        void *memory;
        memcpy(&memory, lists[i].pointer, sizeof memory);
        free(memory);
    }
}

static backend_needs cpu_needs(const backend *base, const backend_shape *shape)
{
    cpu_backend probe = { .base = *base };
    cpu_worker worker;
    scratch_list lists[N_LISTS], of_worker[N_WORKER_LISTS];
    backend_layout layout;
    backend_needs needs = { 0 };
    lists_of(&probe, shape, lists);
    worker_lists_of(&worker, shape, of_worker);
    for (size_t i = 0; i < N_LISTS; i++)
        needs.scratch += lists[i].bytes;
    for (size_t i = 0; i < N_WORKER_LISTS; i++)
        needs.scratch += of_worker[i].bytes * base->n_threads;
    if (backend_layout_new(&layout, shape, NULL) == DS4_OK) {
        needs.rolling = layout.rolling_bytes;
        needs.page = layout.page_bytes;
        backend_layout_free(&layout);
    }
    return needs;
}

static ds4_status copy_shape(cpu_backend *b, const backend_shape *shape)
{
    const size_t n = shape->n_layers + shape->n_draft_layers;
    b->n_pairs = shape->rope_dim / 2;
    b->layers = calloc(n + 1, sizeof *b->layers);
    for (int k = 0; k < 2; k++)
        b->omega[k] = calloc(b->n_pairs + 1, sizeof *b->omega[k]);
    if (!b->layers || !b->omega[0] || !b->omega[1])
        return DS4_ERR_NO_MEMORY; /* b->shape stays empty: it must not point to the caller's lists */
    b->shape = *shape;
    memcpy(b->layers, shape->layers, n * sizeof *b->layers);
    memcpy(b->omega[0], shape->omega_window, b->n_pairs * sizeof(float));
    memcpy(b->omega[1], shape->omega_compressed, b->n_pairs * sizeof(float));
    b->shape.layers = b->layers;
    b->shape.omega_window = b->omega[0];
    b->shape.omega_compressed = b->omega[1];
    return DS4_OK;
}

static ds4_status cpu_configure(backend *base, const backend_shape *shape, ds4_error *err)
{
    cpu_backend *b = cpu_of(base);
    scratch_list lists[N_LISTS], of_worker[N_WORKER_LISTS];
    const ds4_status status = backend_layout_new(&base->layout, shape, err);
    if (status != DS4_OK)
        return status;
    b->n_vectors_max = sizes_of(shape).n_vectors;
    b->n_unpacked_max = sizes_of(shape).n_unpacked;
    lists_of(b, shape, lists);
    bool good = copy_shape(b, shape) == DS4_OK && new_lists(lists, N_LISTS);
    for (uint32_t i = 0; good && i < base->n_threads; i++) {
        worker_lists_of(&b->workers[i], shape, of_worker);
        good = new_lists(of_worker, N_WORKER_LISTS);
    }
    return good ? DS4_OK
                : ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for steps of %u tokens", shape->n_tokens_max);
}

/* --- opening and closing --------------------------------------------------------------------------------------------- */

static void cpu_close(backend *base)
{
    cpu_backend *b = cpu_of(base);
    scratch_list lists[N_LISTS], of_worker[N_WORKER_LISTS];
    for (uint32_t i = 0; b->workers && i < base->n_threads; i++) {
        worker_lists_of(&b->workers[i], &b->shape, of_worker);
        free_lists(of_worker, N_WORKER_LISTS);
    }
    lists_of(b, &b->shape, lists);
    free_lists(lists, N_LISTS);
    while (b->tensors) {
        backend_tensor *t = b->tensors;
        b->tensors = t->next;
        free(t->copy);
        free(t);
    }
    free(b->layers), free(b->omega[0]), free(b->omega[1]);
    backend_layout_free(&base->layout);
    pool_free(b->pool);
    free(b);
}

static const backend_ops cpu_ops = {
    .close = cpu_close,
    .configure = cpu_configure,
    .needs = cpu_needs,
    .adopt = cpu_adopt,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .read = cpu_read,
    .write = cpu_write,
    .begin = cpu_begin,
    .end = cpu_end,
    .embed = cpu_embed,
    .rope_table = cpu_rope_table,
    .hc_mix = cpu_hc_mix,
    .hc_merge = cpu_hc_merge,
    .hc_head = cpu_hc_head,
    .norm = cpu_norm,
    .matmul = cpu_matmul,
    .matmul_grouped = cpu_matmul_grouped,
    .norm_rope_round = cpu_norm_rope_round,
    .compress = cpu_compress,
    .index = cpu_index,
    .attend = cpu_attend,
    .route = cpu_route,
    .experts = cpu_experts,
    .add_to_streams = cpu_add_to_streams,
    .check = cpu_check,
    .logits = cpu_logits,
};

ds4_status backend_cpu_open(backend **out, const backend_options *options, ds4_error *err)
{
    const cpu_kernels *found = cpu_kernels_find(options->kernels);
    *out = NULL;
    if (!found)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "kernels '%.40s' do not exist or do not run on this processor",
                        options->kernels);
    cpu_backend *b = calloc(1, sizeof *b);
    if (!b)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    const ds4_status status = pool_new(&b->pool, options->n_threads, err);
    if (status != DS4_OK) {
        free(b);
        return status;
    }
    b->base =
        (backend){ .ops = &cpu_ops, .family = "cpu", .kernels = found->name, .n_threads = pool_n_threads(b->pool) };
    b->kernels = found;
    b->quantise = options->quantise;
    *out = &b->base;
    return DS4_OK;
}
