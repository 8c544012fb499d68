/* backend/cpu/kernels.h - the inner loops of the processor's backend, and the table of their variants.
 *
 * A tile is a few rows of a matrix against a few vectors. Promise of every variant: the bits of one (row, vector) result
 * depend on that row, that vector and n alone, never on what else is in the tile: each pair has one accumulator, filled
 * in ascending order and summed over a fixed tree at the end. Variants differ from each other by rounding only.
 * `scalar` is the reference; tests walk the table. Pure functions, any thread. */
#ifndef BACKEND_CPU_KERNELS_H
#define BACKEND_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A vector quantised by quant_activation_q8(). */
typedef struct q8_vector {
    const int8_t *q; /* [n] */
    const float *d;  /* [n / 32] */
} q8_vector;

/* out[j * stride + i] = sum over c < n of row i [c] * x[j][c], for i < n_rows, j < n_x. Rows are raw weights of one type. */
typedef void tile_fn(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows, const float *const *x,
                     size_t n_x, size_t n);
/* The same for Q8_0 rows and quantised vectors; int32 inside a block, f32 across blocks in ascending order. */
typedef void tile_q8_fn(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows, const q8_vector *x,
                        size_t n_x, size_t n);
/* out[c] = sum over i < n_rows, ascending, of p[i] * rows[i][c], for c < dim. */
typedef void weighted_sum_fn(float *out, const float *const *rows, const float *p, size_t n_rows, size_t dim);
/* The contract of quant_activation_q8(); every variant gives its bits. */
typedef void quantise_fn(const float *x, size_t n, int8_t *q, float *d);
/* scores [n] times `scale` become weights that sum, with the sink's, to 1 (docs/spec/model.md, section 5). */
typedef void softmax_fn(float *scores, size_t n, float scale, float sink);
/* out[i] = silu(min(gate[i], limit)) * clamp(up[i], +-limit) * weight; limit <= 0: no bounds. What comes out for i does not
 * depend on where i stands. */
typedef void swiglu_fn(float *out, const float *gate, const float *up, size_t n, float limit, float weight);
/* Sum of x[i]^2 in double. */
typedef double sum_squares_fn(const float *x, size_t n);
/* The contracts of quant_unpack_kv() and quant_unpack_index(); every variant gives their bits (n_rot is a multiple of 2). */
typedef void unpack_kv_fn(const uint8_t *in, size_t n, size_t n_rot, float *x);
typedef void unpack_index_fn(const uint8_t *in, size_t n, float *x);

enum { CPU_BASELINE = 0, CPU_AVX2 = 1, CPU_AVX512 = 2, CPU_NEON = 4 };

typedef struct cpu_kernels {
    const char *name;
    uint32_t needs;                   /* CPU_... */
    tile_fn *f32, *f16, *bf16, *q8_0; /* by the type of the rows */
    tile_q8_fn *q8_0_q8;
    weighted_sum_fn *weighted_sum;
    quantise_fn *quantise;
    softmax_fn *softmax;
    swiglu_fn *swiglu;
    sum_squares_fn *sum_squares;
    unpack_kv_fn *unpack_kv;
    unpack_index_fn *unpack_index;
} cpu_kernels;

/* The products of a variant with rows of one type; *tile_q8 is NULL for types without quantised products. False: this variant
 * cannot compute with the type. */
bool cpu_kernels_of_type(const cpu_kernels *k, uint32_t type, tile_fn **tile, tile_q8_fn **tile_q8);

/* Slowest first. */
extern const cpu_kernels *const cpu_kernel_variants[];
extern const size_t n_cpu_kernel_variants;

bool cpu_has(uint32_t needs); /* does this machine run it? */
/* The last variant of the table that runs here, or the one of that name; NULL if it does not exist or run here. */
const cpu_kernels *cpu_kernels_find(const char *name);

extern const cpu_kernels cpu_kernels_scalar;
#if defined(__x86_64__)
extern const cpu_kernels cpu_kernels_avx2;   /* AVX2, FMA, F16C */
extern const cpu_kernels cpu_kernels_avx512; /* AVX-512 F, BW, DQ, VL, VNNI */
#elif defined(__aarch64__)
extern const cpu_kernels cpu_kernels_neon;
#endif

#endif
