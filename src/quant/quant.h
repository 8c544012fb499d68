/* quant/quant.h - public header of the quant module: number formats of weights, activations and states.
 * docs/spec/weights.md, sections 2 and 3; docs/spec/model.md, section 12.2 (roundings of the state).
 * Everything here is a pure function of its arguments; any thread. Sums and products are f32 unless said otherwise. */
#ifndef QUANT_QUANT_H
#define QUANT_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Tensor types by their number in the file format (ggml's); the table is quant/types.c. */
enum {
    QUANT_F32 = 0,
    QUANT_F16 = 1,
    QUANT_Q4_0 = 2,
    QUANT_Q8_0 = 8,
    QUANT_Q2_K = 10,
    QUANT_Q3_K = 11,
    QUANT_Q4_K = 12,
    QUANT_Q5_K = 13,
    QUANT_Q6_K = 14,
    QUANT_IQ2_XXS = 16,
    QUANT_I32 = 26,
    QUANT_BF16 = 30,
    QUANT_MXFP4 = 39
};

enum {
    QUANT_Q8_BLOCK = 32, /* values of a Q8_0 block: f16 scale, then 32 int8 */
    QUANT_Q8_BYTES = 34,
    QUANT_KV_BLOCK = 64,   /* channels that share an FP8 scale */
    QUANT_INDEX_BLOCK = 32 /* channels that share an FP4 scale */
};
/* Scales of the official roundings: the smallest power of two with max(largest, FLOOR) <= TOP * scale. */
#define QUANT_KV_FLOOR    1e-4f
#define QUANT_KV_TOP      448.0f
#define QUANT_INDEX_FLOOR (6.0f * 0x1p-126f)
#define QUANT_INDEX_TOP   6.0f

/* What is known of a type. Constant. */
typedef struct quant_type {
    const char *name;                   /* "Q8_0" */
    uint32_t block_values, block_bytes; /* a row is made of blocks of so many values in so many bytes */
    /* out [n] = the values of a row, n a multiple of block_values; `row` needs no alignment. NULL: the sizes are known, but
     * no value can be computed with. */
    void (*to_f32)(const uint8_t *row, float *out, size_t n);
} quant_type;

const quant_type *quant_type_about(uint32_t number); /* NULL: unknown or removed */
/* The name of a type for messages: also of some that are refused ("Q4_2, removed"); "unknown" otherwise. */
const char *quant_type_name(uint32_t number);
bool quant_type_supported(uint32_t number); /* values of it can be computed with */
/* Bytes of a row of n values; n is a multiple of the type's block. 0 for unknown types. */
size_t quant_row_bytes(uint32_t number, size_t n);
/* out [n] = the values of a row of a supported type. */
void quant_row_to_f32(uint32_t number, const uint8_t *row, float *out, size_t n);
/* Writes x [n], n a multiple of 32, as Q8_0: d = f16(max|x| / 127), q = nearest(x / d). */
void quant_row_to_q8_0(const float *x, size_t n, uint8_t *out);

/* ---- scalars ---- */
float quant_f16_to_f32(uint16_t half);
uint16_t quant_f32_to_f16(float x); /* to nearest, ties to even */
float quant_bf16_to_f32(uint16_t b);
uint16_t quant_f32_to_bf16(float x);
float quant_e4m3_to_f32(uint8_t code); /* OCP FP8 E4M3FN: bias 7, no infinities, 0x7f and 0xff are NaN */
uint8_t quant_f32_to_e4m3(float x);    /* |x| <= 448 expected, larger saturates; ties to even; subnormals kept */
float quant_e8m0_to_f32(uint8_t code); /* 2^(code - 127); 255 is NaN */
float quant_e2m1_to_f32(uint8_t code); /* 0 .5 1 1.5 2 3 4 6, sign in bit 3 */
uint8_t quant_f32_to_e2m1(float x);    /* nearest, ties to the even code; larger than 6 saturates */

/* Smallest power of two s with max(amax, floor) * fl(1/top) <= s, from the bits of the product. */
float quant_pow2_scale(float amax, float floor, float top);

/* ---- activations (docs/spec/weights.md, section 3.1) ---- */
/* q [n] = nearest(x / d) within -127..127, d [n / 32] = max|x| / 127; ties away from zero. n is a multiple of 32. */
void quant_activation_q8(const float *x, size_t n, int8_t *q, float *d);

/* ---- roundings of the state (docs/spec/model.md, section 12.2), in place ---- */
void quant_round_kv(float *x, size_t n);    /* E4M3 in blocks of 64, the last may be short */
void quant_round_bf16(float *x, size_t n);  /* what the rotated channels of a kv row are kept in */
void quant_hadamard(float *x, size_t n);    /* normalised, natural order; n a power of two */
void quant_round_index(float *x, size_t n); /* Hadamard, then E2M1 in blocks of 32; n a power of two, multiple of 32 */

/* ---- packed rows of the state; the bytes are described in quant/pack.c ---- */
/* Of rows that were rounded as above, unpacking gives every bit back (but -0 of an index row comes back as 0). A value that is
 * not finite comes back as one that is not. `valid`: whether the bytes are such as packing finite values gives. */
size_t quant_packed_kv_bytes(size_t n,
                             size_t n_rot); /* 0: n - n_rot is no multiple of 64, such rows have no packed form */
void quant_pack_kv(const float *x, size_t n, size_t n_rot, uint8_t *out);
void quant_unpack_kv(const uint8_t *in, size_t n, size_t n_rot, float *x);
bool quant_packed_kv_valid(const uint8_t *in, size_t n, size_t n_rot);
size_t quant_packed_index_bytes(size_t n); /* 0: n is no multiple of 32 */
void quant_pack_index(const float *x, size_t n, uint8_t *out);
void quant_unpack_index(const uint8_t *in, size_t n, float *x);
bool quant_packed_index_valid(const uint8_t *in, size_t n);

#endif
