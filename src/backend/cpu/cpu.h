/* backend/cpu/cpu.h - inside the processor's backend: its state, and what its modules lend each other.
 * Every operation splits its work into tasks for the pool; a task writes what no other task touches, and the order of
 * the sums inside a task follows from the operation's shape alone. That is the whole of the promise about bits. */
#ifndef BACKEND_CPU_CPU_H
#define BACKEND_CPU_CPU_H

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "base/pool.h"

enum {
    ROW_BLOCK = 32, /* rows of a matrix per task */
    HEAD_BLOCK = 4  /* heads per attention task: they share the reading of the rows */
};

/* Scratch of one worker. */
typedef struct cpu_worker {
    float *scores;       /* [HEAD_BLOCK, n_attend_max], or [2, n_index_max] */
    const float **rows;  /* [n_attend_max] */
    float *pooled;       /* [2, widest row] of the compressor */
    float *affinities;   /* [n_experts] of the router */
    const uint8_t **raw; /* [ROW_BLOCK] */
} cpu_worker;

typedef struct cpu_backend {
    backend base;
    const cpu_kernels *kernels;
    pool *pool;
    bool quantise;
    backend_limits limits;
    /* Scratch of a step; sizes follow from `limits`. */
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

/* The vectors of a matrix product as the kernels want them. */
typedef struct cpu_vectors {
    const float *const *x; /* [n] */
    const q8_vector *q;    /* [n]; NULL unless quantised */
    size_t n;
} cpu_vectors;

/* Lists n vectors of n_cols values, `stride` apart, and quantises them if `w` and the options ask for it. The lists are the
 * backend's and good until the next call. */
cpu_vectors cpu_prepare(cpu_backend *b, const backend_matrix *w, const float *x, size_t stride, size_t n, bool exact);
/* Rows [row, row + n_rows) of matrix number i_stacked against vectors [first, first + n): out[j * stride + i]. Any worker. */
void cpu_rows(const cpu_backend *b, const backend_matrix *w, uint32_t i_stacked, uint32_t row, uint32_t n_rows,
              const cpu_vectors *v, size_t first, size_t n, float *out, size_t stride, cpu_worker *worker);

void cpu_rope(float *x, uint32_t dim, const backend_rope *rope, uint32_t t, bool inverse);
void cpu_round(float *x, uint32_t dim, uint32_t n_rot, backend_round round);
float cpu_inverse_rms(const cpu_kernels *k, const float *x, size_t n, float eps); /* 1 / sqrt(mean of squares + eps) */
void cpu_rmsnorm_row(const cpu_kernels *k, float *y, const float *x, const float *w, size_t dim, float eps);

/* The operations; contracts in backend/backend.h. */
void cpu_matmul(backend *b, float *y, const backend_matrix *w, const float *x, uint32_t n_tokens, bool exact);
void cpu_matmul_grouped(backend *b, float *y, const backend_matrix *w, const float *x, uint32_t n_tokens,
                        uint32_t n_groups);
void cpu_hc_mix(backend *b, const backend_hyper *h, float *a, float *post, float *comb, float *z, const float *x,
                uint32_t n_tokens);
void cpu_hc_merge(backend *b, const backend_hyper *h, float *x, const float *y, const float *post, const float *comb,
                  uint32_t n_tokens);
void cpu_hc_head(backend *b, const backend_hyper *h, float *a, float *z, const float *x, uint32_t n_tokens);
void cpu_compress(backend *b, const backend_compress *c, const backend_step *s);
void cpu_keep_series(backend *b, const backend_compress *c, const backend_step *s);
void cpu_select(backend *b, const backend_select *c, const backend_step *s);
void cpu_attend(backend *b, const backend_attend *a, const backend_step *s);
void cpu_keep_window(backend *b, const float *kv, uint32_t dim, const backend_step *s);
void cpu_route(backend *b, const backend_route *r, const backend_step *s);
void cpu_experts(backend *b, const backend_experts *e, uint32_t n_tokens);

#endif
