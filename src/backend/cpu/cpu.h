/* backend/cpu/cpu.h - inside the processor's backend: its state, and what its files share.
 * Every operation splits its work into tasks for the pool; a task writes what no other task touches, and the order of
 * the sums inside a task follows from the operation's shape alone. That is the whole of the promise about bits. */
#ifndef BACKEND_CPU_CPU_H
#define BACKEND_CPU_CPU_H

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "base/pool.h"

enum {
    ROW_BLOCK = 32,   /* rows of a matrix per task */
    HEAD_BLOCK = 4,   /* heads per attention task: they share the reading of the rows */
    SCORE_BLOCK = 16, /* index rows scored by one tile */
    UNPACK_TOKENS = 8 /* tokens whose chosen rows are unpacked together */
};

/* A weight: in the mapped file, or a copy. */
struct backend_tensor {
    const uint8_t *data;
    uint32_t type, n_stacked, n_rows, n_cols;
    size_t row_bytes;
    tile_fn *tile;        /* products of its rows with f32 vectors */
    tile_q8_fn *tile_q8;  /* with quantised vectors; NULL: this type has none */
    void *copy;           /* freed by close(); NULL: `data` is the caller's */
    backend_tensor *next; /* every tensor of a backend is in one list */
};

/* Scratch of one worker. */
typedef struct cpu_worker {
    float *scores;       /* [HEAD_BLOCK, rows that a query sees], or [2, index rows] */
    const float **rows;  /* [rows that a query sees] */
    float *pooled;       /* [3, widest row] of the compressor */
    float *tile;         /* [SCORE_BLOCK, index_dim] index rows, unpacked */
    float *affinities;   /* [n_experts] of the router */
    const uint8_t **raw; /* [ROW_BLOCK, or the rows that a query sees] */
} cpu_worker;

typedef struct cpu_backend {
    backend base;
    const cpu_kernels *kernels;
    pool *pool;
    bool quantise;
    backend_shape shape; /* its lists are ours */
    backend_layer *layers;
    float *omega[2]; /* of window layers, of compressed ones */
    uint32_t n_pairs;
    backend_tensor *tensors;
    backend_step step; /* between begin() and end() */
    /* Scratch of a step; sizes follow from the shape. */
    bool *finite;                      /* [n_tokens_max] of spans */
    float *cos[2], *sin[2];            /* [T, n_pairs] by kind of frequencies */
    float *index_query, *index_weight; /* [T, HI, I], [T, HI] */
    uint32_t *chosen, *n_chosen;       /* [T, K], [T]: rows that the indexer chose */
    bool choosing;                     /* the last index() had to choose */
    float *unpacked; /* [n_unpacked_max, head_dim] rows that attention reads; only where rows are packed */
    size_t n_unpacked_max;
    int8_t *q; /* quantised inputs */
    float *q_scale;
    q8_vector *q_rows;    /* [2, n_vectors_max]: of tokens, of experts' slots */
    const float **x_rows; /* the same */
    float *hidden;        /* [T k, ff] of the experts */
    float *parts;         /* [T k, d] their outputs */
    uint32_t *by_expert;  /* [2, T k]: slots sorted by expert; where each slot went */
    uint32_t *offsets;    /* [E + 1] */
    uint32_t *active;     /* [E] experts that have slots */
    cpu_worker *workers;  /* [n_threads] */
    size_t n_vectors_max;
} cpu_backend;

static inline cpu_backend *cpu_of(backend *b)
{
    return (cpu_backend *)b; /* `base` is the first member */
}

/* The values of a vector or small table, which adopt() keeps as aligned f32. NULL for NULL. */
static inline const float *cpu_values(const backend_tensor *t)
{
    return t ? (const float *)(const void *)t->data : NULL;
}

/* Row number `row` of a series of a sequence, in its page: f32, aligned, or packed. */
static inline uint8_t *cpu_series_row(const backend_layout *layout, const backend_series *s, const backend_sequence *q,
                                      uint32_t row)
{
    const uint32_t per_page = layout->page_tokens / s->ratio;
    uint8_t *page = q->pages[row / per_page];
    return page + s->rows + row % per_page * s->row_bytes;
}

/* The address of an offset in a sequence's rolling block. */
static inline float *cpu_rolling(const backend_sequence *q, size_t offset)
{
    return (float *)(void *)((uint8_t *)q->rolling + offset);
}

/* The vectors of a matrix product as the kernels want them. */
typedef struct cpu_vectors {
    const float *const *x; /* [n] */
    const q8_vector *q;    /* [n]; NULL unless quantised */
    size_t n;
} cpu_vectors;

/* Lists n vectors of n_cols values, `stride` apart, and quantises them if `w` and the options ask for it. The lists are the
 * backend's and good until the next call. */
cpu_vectors cpu_prepare(cpu_backend *b, const backend_tensor *w, const float *x, size_t stride, size_t n, bool exact);
/* Rows [row, row + n_rows) of matrix number i_stacked against vectors [first, first + n): out[j * stride + i]. Any worker. */
void cpu_rows(const backend_tensor *w, uint32_t i_stacked, uint32_t row, uint32_t n_rows, const cpu_vectors *v,
              size_t first, size_t n, float *out, size_t stride, cpu_worker *worker);

/* Rotates the last channels of x [dim] by the angles cosine, sine [n_pairs]; `inverse`: back. */
void cpu_rope(float *x, uint32_t dim, const float *cosine, const float *sine, uint32_t n_pairs, bool inverse);
void cpu_round(float *x, uint32_t dim, uint32_t n_rot, backend_round round);
float cpu_inverse_rms(const cpu_kernels *k, const float *x, size_t n, float eps); /* 1 / sqrt(mean of squares + eps) */
void cpu_norm_row(const cpu_kernels *k, float *y, const float *x, const float *w, size_t dim, float eps);
/* Which of the two tables of angles a layer uses. */
static inline uint32_t cpu_rope_of(const cpu_backend *b, uint32_t layer)
{
    return b->layers[layer].kind != BACKEND_LAYER_WINDOW;
}

/* The operations; contracts in backend/backend.h. */
void cpu_matmul(backend *b, float *y, const backend_tensor *w, const float *x, uint32_t n, bool exact);
void cpu_matmul_grouped(backend *b, float *y, const backend_tensor *w, const float *x, uint32_t n_groups);
void cpu_hc_mix(backend *b, const backend_hyper *h, float *a, float *post, float *comb, float *z, const float *x);
void cpu_hc_merge(backend *b, float *x, const float *y, const float *post, const float *comb);
void cpu_hc_head(backend *b, const backend_hyper *h, float *a, float *z, const float *x, uint32_t first, uint32_t n);
void cpu_norm_rope_round(backend *b, float *x, uint32_t layer, uint32_t n_heads, const backend_tensor *w, bool round);
void cpu_compress(backend *b, const backend_compress *c);
void cpu_index(backend *b, const backend_index *i);
void cpu_attend(backend *b, const backend_attend *a);
void cpu_route(backend *b, const backend_route *r);
void cpu_experts(backend *b, const backend_experts *e);
/* Heads of `dim` values, any table of angles: norm if eps > 0, rotation, rounding. */
void cpu_shape_heads(cpu_backend *b, float *x, uint32_t n_heads, uint32_t dim, const float *w, float eps, uint32_t rope,
                     backend_round round);

#endif
