/* backend/backend.h - the door of the backend room: the operations of which a forward pass of DeepSeek V4 is made.
 *
 * A backend knows tensors, positions and the memory of sequences; it has no idea of layers, files or tokenizers. The
 * model's forward pass states their order once. Formulas: docs/modules/backend.md; each backend has them all, and each
 * has a scalar reference in backend/cpu.
 *
 * Batches are ragged: T tokens of several sequences, concatenated. Matrix work sees the T rows, attention sees spans.
 * Promise: what is computed for a token is the same to the bit whatever else is in the batch, however the sequence was
 * split into steps, and with any number of threads.
 * No operation fails or allocates: reserve() has made room for the whole step before.
 * Threads: one caller. Shapes are [slow, ..., fast]; all activations are f32 in the backend's memory. */
#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H

#include "ds4/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A weight matrix [n_stacked, n_rows, n_cols]; y = W x. Points into the model file; `type` is the file's number. */
typedef struct backend_matrix {
    const uint8_t *data;
    uint32_t type;
    uint32_t n_rows, n_cols;
    uint32_t n_stacked; /* experts; 1 for a plain matrix */
    size_t row_bytes;
} backend_matrix;

/* Rotary frequencies and, for the tokens of the present step, their angles. */
typedef struct backend_rope {
    const float *omega; /* [n_pairs] */
    float *cos, *sin;   /* [T, n_pairs] */
    uint32_t n_pairs;
} backend_rope;

/* The memory of one compressor of one sequence in one layer. */
typedef struct backend_series {
    uint32_t ratio, width;
    uint32_t n_sets;            /* 2: two overlapping series (CSA), 1: one (HCA) */
    uint32_t ring_tokens;       /* positions that the rings hold */
    float *rows;                /* [>= floor(n / ratio), width] finished rows */
    float *ring_kv, *ring_gate; /* [ring_tokens, n_sets * width] by position modulo ring_tokens; bias added */
} backend_series;

typedef struct backend_memory {
    float *window; /* [window_tokens, head_dim] by position modulo window_tokens */
    uint32_t window_tokens;
    backend_series attention, index; /* ratio 0: absent */
} backend_memory;

typedef struct backend_span {
    uint32_t first, n;      /* tokens first .. first + n - 1 of the batch */
    uint32_t position;      /* of the first one in its sequence */
    backend_memory *memory; /* of the layer at work */
} backend_span;

typedef struct backend_step {
    uint32_t n_tokens;                  /* T */
    const uint32_t *tokens, *positions; /* [T] */
    backend_span *spans;
    uint32_t n_spans;
} backend_step;

/* The most that any step until the next reserve() needs. */
typedef struct backend_limits {
    uint32_t n_tokens;
    uint32_t n_input_max;  /* most values per token that go into a matrix: widest of m d, q, H D, G o, k f */
    uint32_t n_attend_max; /* rows that one query may see: window and compressed */
    uint32_t n_index_max;  /* indexer rows of one sequence */
    uint32_t n_heads, head_dim, n_index_heads, index_dim, n_embd, n_streams, ff_dim, n_used, n_experts;
} backend_limits;

typedef enum backend_round { BACKEND_ROUND_NONE, BACKEND_ROUND_KV, BACKEND_ROUND_INDEX } backend_round;

typedef struct backend_hyper {
    const backend_matrix *fn; /* [(2 + m) m, m d]; for the head [m, m d] */
    const float *base, *scale;
    uint32_t n_streams, n_embd, n_sinkhorn;
    float hc_eps, rms_eps;
} backend_hyper;

typedef struct backend_compress {
    bool index;        /* the indexer's series rather than attention's */
    const float *ape;  /* [ratio, n_sets * width] */
    const float *norm; /* [width] */
    const backend_rope *rope;
    float rms_eps;
    backend_round round;
    const float *kv; /* [T, n_sets * width] projections of this step */
    float *gate;     /* the same; the bias is added in place */
} backend_compress;

typedef struct backend_select {
    const float *query;       /* [T, HI, I], rotated and rounded */
    const float *head_weight; /* [T, HI], not yet scaled */
    uint32_t n_heads, dim, top_k;
    uint32_t *chosen;   /* out: [T, top_k] ascending */
    uint32_t *n_chosen; /* out: [T] */
} backend_select;

typedef struct backend_attend {
    const float *query; /* [T, H, D] */
    const float *kv;    /* [T, D] rows of this step */
    const float *sinks; /* [H] */
    const backend_rope *rope;
    uint32_t n_heads, dim, window;
    const uint32_t *chosen, *n_chosen; /* of backend_select; NULL: every visible compressed row */
    uint32_t top_k;
    float *out; /* [T, H, D], rotated back */
} backend_attend;

typedef struct backend_route {
    const float *logits;  /* [T, E] */
    const float *bias;    /* [E]; NULL: by table */
    const int32_t *table; /* [V, k] */
    uint32_t n_experts, n_used;
    float scale;
    uint32_t *ids;  /* out: [T, k] */
    float *weights; /* out: [T, k] */
} backend_route;

typedef struct backend_experts {
    const backend_matrix *gate, *up, *down; /* stacked by expert */
    const float *x;                         /* [T, d] */
    const uint32_t *ids;                    /* [T, n_used] */
    const float *weights;                   /* [T, n_used] */
    uint32_t n_used;
    float clamp;
    bool accumulate; /* out += instead of out = */
    float *out;      /* [T, d] */
} backend_experts;

typedef struct backend backend;
typedef struct backend_ops {
    void (*close)(backend *b);
    ds4_status (*reserve)(backend *b, const backend_limits *limits, ds4_error *err);
    void *(*alloc)(backend *b, size_t bytes); /* zeroed; NULL if there is none */
    void (*free)(backend *b, void *memory);
    /* Between the caller's memory and the backend's. */
    void (*read)(backend *b, void *out, const void *memory, size_t bytes);
    void (*write)(backend *b, void *memory, const void *bytes, size_t n_bytes);

    /* x[t, j] = row tokens[t] of `table` for every stream j. */
    void (*embed)(backend *b, float *x, const backend_matrix *table, const backend_step *s, uint32_t n_streams);
    /* cos and sin of position * omega, the product in f32. */
    void (*turn)(backend *b, backend_rope *rope, const backend_step *s);
    /* Section 4. a [T, d], post [T, m], comb [T, m, m] from the streams x [T, m, d]; `z` is scratch [T, (2+m) m]. */
    void (*hc_mix)(backend *b, const backend_hyper *h, float *a, float *post, float *comb, float *z, const float *x,
                   uint32_t n_tokens);
    void (*hc_merge)(backend *b, const backend_hyper *h, float *x, const float *y, const float *post, const float *comb,
                     uint32_t n_tokens);
    void (*hc_head)(backend *b, const backend_hyper *h, float *a, float *z, const float *x, uint32_t n_tokens);
    /* y = x * w / rms(x) for n rows; w NULL: unweighted; y may be x. */
    void (*rmsnorm)(backend *b, float *y, const float *x, const float *w, size_t n_rows, size_t dim, float eps);
    /* y [T, n_rows] = x [T, n_cols] W^T. `exact`: never quantise x (router, hyper-connections). */
    void (*matmul)(backend *b, float *y, const backend_matrix *w, const float *x, uint32_t n_tokens, bool exact);
    /* Rows of W in n_groups equal parts, part g sees x[t, g]: x [T, n_groups, n_cols], y [T, n_rows]. */
    void (*matmul_grouped)(backend *b, float *y, const backend_matrix *w, const float *x, uint32_t n_tokens,
                           uint32_t n_groups);
    /* In place on n_heads vectors per token: normalise (if eps > 0; w may be NULL), rotate the last channels, round. */
    void (*shape_heads)(backend *b, float *q, uint32_t n_heads, uint32_t dim, const float *w, float eps,
                        const backend_rope *rope, backend_round round, uint32_t n_tokens);
    /* Section 6: appends the rows of the groups that this step closes. */
    void (*compress)(backend *b, const backend_compress *c, const backend_step *s);
    /* Section 7. */
    void (*select)(backend *b, const backend_select *c, const backend_step *s);
    /* Section 5: softmax with sinks over window and compressed rows, then the inverse rotation. */
    void (*attend)(backend *b, const backend_attend *a, const backend_step *s);
    /* Writes this step's window rows into the rings; after attend(). */
    void (*keep_window)(backend *b, const float *kv, uint32_t dim, const backend_step *s);
    /* Writes this step's projections into the rings of a series; after compress(). */
    void (*keep_series)(backend *b, const backend_compress *c, const backend_step *s);
    /* Section 8: choice and weights, then the sum over the chosen experts in the order of ids. */
    void (*route)(backend *b, const backend_route *r, const backend_step *s);
    void (*experts)(backend *b, const backend_experts *e, uint32_t n_tokens);
    /* x[t, j] = e[t] + h[t, j] for every stream j: the input of a draft block (section 10). */
    void (*join)(backend *b, float *x, const float *e, const float *h, uint32_t n_tokens, uint32_t n_streams,
                 uint32_t n_embd);
    bool (*finite)(backend *b, const float *x, size_t n);
} backend_ops;

struct backend {
    const backend_ops *ops;
    const char *family;  /* "cpu" */
    const char *kernels; /* "avx512", ...; or "scalar" */
    uint32_t n_threads;
};

/* The processor's backend. `kernels` NULL takes the best variant that runs here; an unknown one, or one that does not run
 * here, is ARGUMENT. `quantise`: 8-bit activations against 8-bit weights. Errors: ARGUMENT, NO_MEMORY, IO. */
ds4_status backend_cpu_open(backend **out, uint32_t n_threads, const char *kernels, bool quantise, ds4_error *err);

#endif
