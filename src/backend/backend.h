/* backend/backend.h - the public header of the backend module: the operations of which a forward pass of DeepSeek V4 is
 * made, and the memory that they work on.
 *
 * A backend is opened, told the shape of the network (backend_configure), and handed every weight (adopt). After that a
 * step is: begin() with a description of the batch, a list of operations, end() with what the step brought back. Between
 * begin() and end() nothing comes back to the caller, and which operations run follows from the number of tokens, spans and
 * wanted rows alone, never from positions or values: what depends on those is decided inside operations. So a backend may
 * record a step of one shape once and replay it.
 *
 * Memory: what alloc() returns belongs to the backend. The caller may do arithmetic on these addresses, but must not
 * read or write through them: they may lie on a device. Only read() and write() cross the border.
 *
 * Batches are ragged: T tokens of several sequences, concatenated. Matrix work sees the T rows, attention sees spans.
 * Promise: what is computed for a token is the same to the bit whatever else is in the batch, however the sequence was
 * split into steps, and with any number of threads.
 * Formulas and section numbers: docs/spec/model.md; see also docs/modules/backend.md. Each backend has all operations,
 * and the scalar kernels of backend/cpu are the reference. Threads: one caller, except where an operation says
 * otherwise. Shapes are [slow, ..., fast]; all activations are f32. Several backends may be open in one process. */
#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H

#include "ds4/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct backend backend;

/* ---- the shape of the network: fixed after backend_configure() ---- */

typedef enum backend_layer_kind {
    BACKEND_LAYER_WINDOW, /* attends to the sliding window only */
    BACKEND_LAYER_CSA,    /* compressed rows from two overlapping series, chosen by an indexer */
    BACKEND_LAYER_HCA     /* compressed rows from one series, all visible */
} backend_layer_kind;

typedef struct backend_layer {
    backend_layer_kind kind;
    uint32_t ratio; /* tokens per compressed row; 0 for WINDOW */
} backend_layer;

/* Rounding of what a sequence keeps. */
typedef enum backend_round { BACKEND_ROUND_NONE, BACKEND_ROUND_KV, BACKEND_ROUND_INDEX } backend_round;

typedef struct backend_shape {
    uint32_t n_layers; /* of the trunk; draft layers follow */
    uint32_t n_draft_layers;
    const backend_layer *layers; /* [n_layers + n_draft_layers], copied */
    uint32_t n_embd, n_streams, n_heads, head_dim, rope_dim, window;
    uint32_t n_index_heads, index_dim, index_top_k;
    uint32_t n_experts, n_used, ff_dim, n_vocab;
    uint32_t n_input_max; /* most values per token that go into a matrix */
    /* Rotary frequencies [rope_dim / 2] of window layers and of compressed layers, copied. */
    const float *omega_window, *omega_compressed;
    float rms_eps;
    backend_round kv_round, index_round; /* NONE, or KV and INDEX */
    /* What one step may hold at most. Memory for it is taken once, here. */
    uint32_t n_tokens_max, n_rows_max, n_ctx_max;
    bool packed;            /* rows are kept packed (quant/pack.c) rather than in f32: needs both roundings */
    uint32_t page_tokens;   /* tokens of a page: a multiple of every ratio */
    uint32_t rewind_tokens; /* how many tokens a sequence can take back by a change of its length alone */
} backend_shape;

/* Bytes that a shape takes, known before anything is allocated. Per sequence and page 0 if there is no layout for it. */
typedef struct backend_needs {
    uint64_t scratch; /* of steps, once */
    uint64_t rolling; /* per sequence */
    uint64_t page;    /* per page of page_tokens tokens */
} backend_needs;

/* ---- where a sequence keeps what it remembers: offsets into pages and rolling blocks (backend/layout.c) ---- */

/* One series of compressed rows of one layer. In a page: rows [page_tokens / ratio] of row_bytes each, f32 [width] or packed.
 * In the rolling block: the projections of the last ring_tokens tokens, by position modulo ring_tokens, gates with their bias
 * added. */
typedef struct backend_series {
    uint32_t ratio, width;
    uint32_t n_sets; /* 2: two overlapping series (CSA), 1: one (HCA) */
    uint32_t ring_tokens;
    size_t row_bytes;
    size_t rows;               /* offset in a page */
    size_t ring_kv, ring_gate; /* offsets in the rolling block: [ring_tokens, n_sets * width] f32 */
} backend_series;

typedef struct backend_place {
    size_t window; /* offset in the rolling block: [window_tokens] rows by position modulo window_tokens */
    backend_series attention, index; /* ratio 0: absent */
} backend_place;

typedef struct backend_layout {
    uint32_t window_tokens, page_tokens;
    size_t window_row_bytes;
    size_t page_bytes, rolling_bytes;
    backend_place *layers; /* [n_layers + n_draft_layers] */
} backend_layout;

/* ---- a step ---- */

/* What a sequence remembers, in the backend's memory. */
typedef struct backend_sequence {
    void *rolling;      /* [rolling_bytes] */
    void *const *pages; /* [n_pages] [page_bytes] each; the last one may be open */
    uint32_t n_pages;
} backend_sequence;

typedef struct backend_span {
    uint32_t first, n; /* tokens first .. first + n - 1 of the batch */
    uint32_t position; /* of the first one in its sequence */
    backend_sequence sequence;
} backend_span;

/* A token of the batch whose logits are wanted. */
typedef struct backend_row {
    uint32_t token; /* index in the batch, ascending */
    float *logits;  /* caller's memory [n_vocab]; filled by end() */
} backend_row;

typedef struct backend_step {
    uint32_t n_tokens;                  /* T */
    const uint32_t *tokens, *positions; /* [T] */
    const backend_span *spans;          /* [n_spans] */
    uint32_t n_spans;
    const backend_row *rows; /* [n_rows] */
    uint32_t n_rows;
} backend_step;

/* ---- weights ---- */

typedef struct backend_tensor backend_tensor; /* a weight as this backend keeps it */

/* A weight as the file has it: [n_stacked, n_rows, n_cols] of a type of quant/types.h. */
typedef struct backend_source {
    const void *data;
    uint32_t type;
    uint32_t n_stacked, n_rows, n_cols;
    size_t row_bytes;
    bool stays; /* the bytes outlive the backend (a mapped file): they may be used in place. Else they are copied */
} backend_source;

/* ---- operations: their parameters ---- */

typedef struct backend_hyper {
    const backend_tensor *fn;           /* [(2 + m) m, m d]; for the head [m, m d] */
    const backend_tensor *base, *scale; /* f32 vectors */
    uint32_t n_sinkhorn;
    float eps;
} backend_hyper;

typedef struct backend_compress {
    uint32_t layer;
    bool index;                        /* the indexer's series rather than attention's */
    const backend_tensor *bias, *norm; /* [ratio, n_sets * width], [width] */
    const float *kv;                   /* [T, n_sets * width] projections of this step */
    float *gate;                       /* the same; the bias is added in place */
} backend_compress;

typedef struct backend_index {
    uint32_t layer;
    const backend_tensor *query, *weight; /* [HI I, q], [HI, d] */
    const float *qr, *x;                  /* [T, q], [T, d] */
} backend_index;

typedef struct backend_attend {
    uint32_t layer;
    const float *query;          /* [T, H, D] */
    const float *kv;             /* [T, D] rows of this step */
    const backend_tensor *sinks; /* [H] */
    float *out;                  /* [T, H, D], rotated back */
} backend_attend;

typedef struct backend_route {
    const float *logits;         /* [T, E] */
    const backend_tensor *bias;  /* [E]; NULL: by table */
    const backend_tensor *table; /* [V, k] of I32 */
    float scale;
    uint32_t *ids;  /* out: [T, k] */
    float *weights; /* out: [T, k] */
} backend_route;

typedef struct backend_experts {
    const backend_tensor *gate, *up, *down; /* stacked by expert */
    const float *x;                         /* [T, d] */
    const uint32_t *ids;                    /* [T, n_used]; NULL: expert 0 with weight 1 for every token */
    const float *weights;                   /* [T, n_used] */
    uint32_t n_used;                        /* 1 where ids is NULL */
    float clamp;
    bool accumulate; /* out += instead of out = */
    float *out;      /* [T, d] */
} backend_experts;

/* ---- operations ---- */

typedef struct backend_ops {
    void (*close)(backend *b);

    /* -- before the first step -- */
    /* Takes the shape and all memory that steps need. Once. Errors: ARGUMENT (shape), NO_MEMORY. */
    ds4_status (*configure)(backend *b, const backend_shape *shape, ds4_error *err);
    backend_needs (*needs)(const backend *b, const backend_shape *shape);
    /* Takes over one weight: maps, copies or re-lays it. The tensor lives until close().
     * Errors: UNSUPPORTED (a type that this backend cannot compute with), NO_MEMORY. */
    ds4_status (*adopt)(backend *b, const backend_source *source, backend_tensor **out, ds4_error *err);

    /* -- memory: any thread -- */
    void *(*alloc)(backend *b, size_t bytes); /* zeroed, aligned to 4096 bytes; NULL if there is none */
    void (*free)(backend *b, void *memory);   /* NULL is fine */
    /* Between the caller's memory and the backend's; complete when they return. */
    void (*read)(backend *b, void *out, const void *memory, size_t bytes);
    void (*write)(backend *b, void *memory, const void *bytes, size_t n_bytes);

    /* -- a step -- */
    /* The description is copied, except for what it points to in the caller's memory: that stays until end(). */
    void (*begin)(backend *b, const backend_step *step);
    /* Waits for the step. finite [n_spans]: whether everything that check() and logits() saw of a span is finite.
     * Errors: DEVICE_LOST, also for memory that a device runs out of in the middle of a step: what the sequences of this step
     * hold is then undefined. */
    ds4_status (*end)(backend *b, bool *finite, ds4_error *err);

    /* x[t, j] = row tokens[t] of `table` for every stream j < n_streams. */
    void (*embed)(backend *b, float *x, const backend_tensor *table, uint32_t n_streams);
    /* cos and sin of position * omega for every token, the product in f32; before any operation that rotates. */
    void (*rope_table)(backend *b);
    /* Section 4. a [T, d], post [T, m], comb [T, m, m] from the streams x [T, m, d]; `z` is scratch [T, (2 + m) m]. */
    void (*hc_mix)(backend *b, const backend_hyper *h, float *a, float *post, float *comb, float *z, const float *x);
    void (*hc_merge)(backend *b, float *x, const float *y, const float *post, const float *comb);
    /* a [n, d] from the streams of wanted rows first .. first + n - 1; `z` is scratch [n, m]. */
    void (*hc_head)(backend *b, const backend_hyper *h, float *a, float *z, const float *x, uint32_t first, uint32_t n);
    /* y = x * w / rms(x) for n rows of `dim`; w NULL: unweighted; y may be x. */
    void (*norm)(backend *b, float *y, const float *x, const backend_tensor *w, size_t n, size_t dim);
    /* y [n, n_rows] = x [n, n_cols] W^T. `exact`: never quantise x (router, hyper-connections, compressors). */
    void (*matmul)(backend *b, float *y, const backend_tensor *w, const float *x, uint32_t n, bool exact);
    /* Rows of W in n_groups equal parts, part g sees x[t, g]: x [T, n_groups, n_cols], y [T, n_rows]. */
    void (*matmul_grouped)(backend *b, float *y, const backend_tensor *w, const float *x, uint32_t n_groups);
    /* In place on n_heads vectors of head_dim per token: norm (w NULL: unweighted), rotation of the last channels with the
     * frequencies of the layer's kind; `round`: then as the rows of a sequence are rounded. */
    void (*norm_rope_round)(backend *b, float *x, uint32_t layer, uint32_t n_heads, const backend_tensor *w,
                            bool round);
    /* Section 6: adds the bias, appends the rows of the groups that this step closes to the pages, and keeps what the
     * next step needs of these projections. */
    void (*compress)(backend *b, const backend_compress *c);
    /* Section 7: which compressed rows attend() of this layer sees. Costs nothing while every row is chosen anyway. */
    void (*index)(backend *b, const backend_index *i);
    /* Section 5: softmax with sinks over window and compressed rows, then the inverse rotation; then the window keeps this
     * step's rows. */
    void (*attend)(backend *b, const backend_attend *a);
    /* Section 8: choice and weights, then the sum over the chosen experts in the order of ids. */
    void (*route)(backend *b, const backend_route *r);
    void (*experts)(backend *b, const backend_experts *e);
    /* x[t, j] = e[t] + h[t, j] for every stream j: the input of a draft block (section 10). */
    void (*add_to_streams)(backend *b, float *x, const float *e, const float *h);
    /* Notes for end() which spans have a value in x [T, dim] that is not finite. */
    void (*check)(backend *b, const float *x, size_t dim);
    /* Brings logits [n, n_vocab] of wanted rows first .. first + n - 1 to their callers, and checks them. */
    void (*logits)(backend *b, const float *logits, uint32_t first, uint32_t n);
} backend_ops;

struct backend {
    const backend_ops *ops;
    const char *family;  /* "cpu" */
    const char *kernels; /* "avx512", ...; or "scalar" */
    uint32_t n_threads;
    backend_layout layout; /* after configure() */
};

typedef struct backend_options {
    uint32_t n_threads;  /* kernels' threads on the processor, the caller's included; 0: automatic */
    const char *kernels; /* a variant by name; NULL: the best that runs here */
    bool quantise;       /* 8-bit activations against 8-bit weights */
} backend_options;

/* Opens a backend by name ("cpu"). Errors: ARGUMENT (unknown name, or a variant that does not exist or does not run here),
 * UNSUPPORTED (no such device here), NO_MEMORY, IO. */
ds4_status backend_open(backend **out, const char *name, const backend_options *options, ds4_error *err);
ds4_status backend_cpu_open(backend **out, const backend_options *options, ds4_error *err);

/* The layout of a shape's memory; the same for every backend. Pure. Errors: NO_MEMORY; ARGUMENT when a page does not hold whole
 * groups, or rows of this width cannot be packed. */
ds4_status backend_layout_new(backend_layout *out, const backend_shape *shape, ds4_error *err);
void backend_layout_free(backend_layout *layout);

#endif
