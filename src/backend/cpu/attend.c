/* Attention over the window and compressed rows, with sinks: docs/spec/model.md, section 5. */
#include "backend/cpu/cpu.h"
#include "quant/quant.h"

#include <math.h>
#include <string.h>

/* Tokens [begin, end) of a span, and where their rows are read. */
typedef struct attend_job {
    cpu_backend *b;
    const backend_attend *a;
    const backend_place *place;
    const backend_span *span;
    uint32_t begin, end;
    uint32_t n_blocks; /* of heads */
    bool chosen;       /* the tokens see the rows that the indexer chose */
    /* Rows in f32. Of the window the row of position p is window + p % window_tokens * dim, or with packed rows
     * window + (p - oldest) * dim. `compressed`: all rows of the span by number, or of token begin + i its chosen rows from
     * i * top_k on; NULL: in the pages. */
    const float *window, *compressed;
    uint32_t oldest; /* position of the first unpacked window row */
    bool by_token;
} attend_job;

static const float *window_row(const attend_job *job, uint32_t p)
{
    const cpu_backend *b = job->b;
    const size_t slot = b->shape.packed ? p - job->oldest : p % b->base.layout.window_tokens;
    return job->window + slot * b->shape.head_dim;
}

/* Compressed row `row`, the k-th that the token sees. */
static const float *compressed_row(const attend_job *job, uint32_t i, uint32_t row, uint32_t k)
{
    const cpu_backend *b = job->b;
    if (!job->compressed)
        return (const float *)(const void *)cpu_series_row(&b->base.layout, &job->place->attention,
                                                           &job->span->sequence, row);
    const size_t at = job->by_token ? (size_t)(i - job->begin) * b->shape.index_top_k + k : row;
    return job->compressed + at * b->shape.head_dim;
}

/* Lists the rows that the token sees: window by position, then compressed rows by number. */
static size_t visible_rows(const attend_job *job, uint32_t i, const float **rows)
{
    const cpu_backend *b = job->b;
    const backend_span *span = job->span;
    const uint32_t position = span->position + i, t = span->first + i, W = b->shape.window;
    const size_t dim = b->shape.head_dim;
    size_t n = 0;
    for (uint32_t p = position + 1 > W ? position + 1 - W : 0; p <= position; p++)
        rows[n++] = p >= span->position ? job->a->kv + (span->first + p - span->position) * dim : window_row(job, p);
    if (job->chosen) {
        const uint32_t *chosen = b->chosen + (size_t)t * b->shape.index_top_k;
        for (uint32_t k = 0; k < b->n_chosen[t]; k++)
            rows[n++] = compressed_row(job, i, chosen[k], k);
    } else if (job->place->attention.ratio) {
        const uint32_t n_groups = (position + 1) / job->place->attention.ratio;
        for (uint32_t w = 0; w < n_groups; w++)
            rows[n++] = compressed_row(job, i, w, w);
    }
    return n;
}

static void attend_task(void *arg, uint32_t i_task, uint32_t worker)
{
    const attend_job *job = arg;
    cpu_backend *b = job->b;
    cpu_worker *w = &b->workers[worker];
    const uint32_t H = b->shape.n_heads, dim = b->shape.head_dim, rope = cpu_rope_of(b, job->a->layer);
    const uint32_t i = job->begin + i_task / job->n_blocks, first_head = i_task % job->n_blocks * HEAD_BLOCK,
                   t = job->span->first + i;
    const uint32_t n_heads = H - first_head < HEAD_BLOCK ? H - first_head : HEAD_BLOCK;
    const float *cosine = b->cos[rope] + (size_t)t * b->n_pairs, *sine = b->sin[rope] + (size_t)t * b->n_pairs;
    const float *x[HEAD_BLOCK];
    const size_t n = visible_rows(job, i, w->rows);
    for (size_t k = 0; k < n; k++) /* a tile takes rows of any type, as bytes */
        w->raw[k] = (const uint8_t *)w->rows[k];
    for (uint32_t k = 0; k < n_heads; k++)
        x[k] = job->a->query + ((size_t)t * H + first_head + k) * dim;
    b->kernels->f32(w->scores, n, w->raw, n, x, n_heads, dim);
    for (uint32_t k = 0; k < n_heads; k++) {
        float *out = job->a->out + ((size_t)t * H + first_head + k) * dim, *scores = w->scores + k * n;
        b->kernels->softmax(scores, n, 1.0f / sqrtf((float)dim), cpu_values(job->a->sinks)[first_head + k]);
        b->kernels->weighted_sum(out, w->rows, scores, n, dim);
        cpu_rope(out, dim, cosine, sine, b->n_pairs, true);
    }
}

static void attend_tokens(attend_job *job, uint32_t begin, uint32_t end)
{
    job->begin = begin;
    job->end = end;
    pool_run(job->b->pool, (end - begin) * job->n_blocks, attend_task, job);
}

/* --- packed rows: unpacked before they are read, so that all heads share the work ------------------------------------------- */

enum { UNPACK_BLOCK = 16 /* rows per task */ };

typedef struct unpack_job {
    const attend_job *attend;
    uint32_t n, first; /* rows; of the window the position of the first */
    uint32_t n_tokens; /* chosen rows: of so many tokens from attend->begin on, top_k places each */
    float *out;        /* [n, head_dim] */
} unpack_job;

static void unpack_row(const cpu_backend *b, const uint8_t *packed, float *out)
{
    b->kernels->unpack_kv(packed, b->shape.head_dim, 2 * b->n_pairs, out);
}

static void unpack_window_task(void *arg, uint32_t i_task, uint32_t worker)
{
    const unpack_job *job = arg;
    const cpu_backend *b = job->attend->b;
    const backend_layout *layout = &b->base.layout;
    const uint8_t *ring = (const uint8_t *)job->attend->span->sequence.rolling + job->attend->place->window;
    (void)worker;
    for (uint32_t i = i_task * UNPACK_BLOCK; i < (i_task + 1) * UNPACK_BLOCK && i < job->n; i++)
        unpack_row(b, ring + (job->first + i) % layout->window_tokens * layout->window_row_bytes,
                   job->out + (size_t)i * b->shape.head_dim);
}

static void unpack_rows_task(void *arg, uint32_t i_task, uint32_t worker)
{
    const unpack_job *job = arg;
    const cpu_backend *b = job->attend->b;
    const attend_job *a = job->attend;
    (void)worker;
    for (uint32_t i = i_task * UNPACK_BLOCK; i < (i_task + 1) * UNPACK_BLOCK && i < job->n; i++)
        unpack_row(b, cpu_series_row(&b->base.layout, &a->place->attention, &a->span->sequence, i),
                   job->out + (size_t)i * b->shape.head_dim);
}

static void unpack_chosen_task(void *arg, uint32_t i_task, uint32_t worker)
{
    const unpack_job *job = arg;
    const cpu_backend *b = job->attend->b;
    const attend_job *a = job->attend;
    const uint32_t top_k = b->shape.index_top_k, per_token = (top_k + UNPACK_BLOCK - 1) / UNPACK_BLOCK;
    const uint32_t i = i_task / per_token, first = i_task % per_token * UNPACK_BLOCK;
    const uint32_t t = a->span->first + a->begin + i;
    (void)worker;
    for (uint32_t k = first; k < first + UNPACK_BLOCK && k < b->n_chosen[t]; k++)
        unpack_row(
            b,
            cpu_series_row(&b->base.layout, &a->place->attention, &a->span->sequence, b->chosen[(size_t)t * top_k + k]),
            job->out + ((size_t)i * top_k + k) * b->shape.head_dim);
}

static uint32_t n_blocks_of(uint32_t n)
{
    return (n + UNPACK_BLOCK - 1) / UNPACK_BLOCK;
}

/* The window before the span goes first into the scratch, compressed rows after it. All of them are unpacked at once where
 * that is less work than unpacking what each token chose, and where they fit. */
static void attend_packed(attend_job *job)
{
    cpu_backend *b = job->b;
    const backend_span *span = job->span;
    const backend_series *series = &job->place->attention;
    const uint32_t W = b->shape.window, top_k = b->shape.index_top_k;
    const uint32_t n_window = span->position < W - 1 ? span->position : W - 1;
    const uint32_t n_rows = series->ratio ? (span->position + span->n) / series->ratio : 0;
    float *compressed = b->unpacked + (size_t)n_window * b->shape.head_dim;
    unpack_job unpack = { .attend = job, .n = n_window, .first = span->position - n_window, .out = b->unpacked };
    job->window = b->unpacked;
    job->oldest = unpack.first;
    job->compressed = compressed;
    if (n_window)
        pool_run(b->pool, n_blocks_of(n_window), unpack_window_task, &unpack);
    const bool all = !job->chosen || (n_rows <= b->n_unpacked_max - n_window && n_rows <= (uint64_t)span->n * top_k);
    if (all) {
        unpack = (unpack_job){ .attend = job, .n = n_rows, .out = compressed };
        if (n_rows)
            pool_run(b->pool, n_blocks_of(n_rows), unpack_rows_task, &unpack);
        attend_tokens(job, 0, span->n);
        return;
    }
    job->by_token = true;
    for (uint32_t begin = 0; begin < span->n; begin += UNPACK_TOKENS) {
        const uint32_t end = span->n - begin < UNPACK_TOKENS ? span->n : begin + UNPACK_TOKENS;
        job->begin = begin;
        unpack = (unpack_job){ .attend = job, .out = compressed };
        pool_run(b->pool, (end - begin) * n_blocks_of(top_k), unpack_chosen_task, &unpack);
        attend_tokens(job, begin, end);
    }
    job->by_token = false;
}

/* --- the operation ------------------------------------------------------------------------------------------------------- */

/* The last rows of the span go into the ring, for the next step. */
static void keep_window(const cpu_backend *b, const backend_place *place, const float *kv, const backend_span *span)
{
    const backend_layout *layout = &b->base.layout;
    const uint32_t ring = layout->window_tokens, dim = b->shape.head_dim;
    uint8_t *window = (uint8_t *)span->sequence.rolling + place->window;
    for (uint32_t k = span->n > ring ? span->n - ring : 0; k < span->n; k++) {
        uint8_t *out = window + (span->position + k) % ring * layout->window_row_bytes;
        const float *row = kv + (size_t)(span->first + k) * dim;
        if (b->shape.packed)
            quant_pack_kv(row, dim, 2 * b->n_pairs, out);
        else
            memcpy(out, row, dim * sizeof *row);
    }
}

void cpu_attend(backend *base, const backend_attend *a)
{
    cpu_backend *b = cpu_of(base);
    attend_job job = { .b = b,
                       .a = a,
                       .place = &base->layout.layers[a->layer],
                       .n_blocks = (b->shape.n_heads + HEAD_BLOCK - 1) / HEAD_BLOCK };
    job.chosen = job.place->attention.n_sets == 2 && b->choosing;
    for (uint32_t i = 0; i < b->step.n_spans; i++) {
        job.span = &b->step.spans[i];
        if (b->shape.packed) {
            attend_packed(&job);
        } else {
            job.window = cpu_rolling(&job.span->sequence, job.place->window);
            attend_tokens(&job, 0, job.span->n);
        }
        keep_window(b, job.place, a->kv, job.span);
    }
}
