/* backend/cpu/kernels_lanes.h - the kernels that read the same in every instruction set; kernels_avx2.c, kernels_avx512.c and
 * kernels_neon.c include it once each, after these, in their own words:
 *
 *   ISA, INLINE                how a function, and one that must vanish, is declared
 *   LANES, TILE_ROWS, TILE_X   floats in a vector; rows and vectors of a tile, as many as there are registers for
 *   lanes                      LANES floats: v_load, v_store, v_set, v_zero, v_add, v_sub, v_mul, v_div; v_fma(a, b, c) = a b + c,
 *                              v_fnma = c - a b; v_min, v_max: the second where either is NaN
 *   sum_lanes, max_lanes       over a fixed tree
 *   load_last, store_last      the last n < LANES values, touching nothing beyond; load_last fills the other lanes
 *   v_round                    to the nearest whole number
 *   v_exp2(sum, k, x, least)   sum * 2^k; 0 where x < least
 *   half                       the value of an f16, by an instruction: every Q8_0 block has one
 *   load_f16, _bf16, _q8_0     LANES weights of a row from column i on, widened; i is a multiple of LANES
 *   block, sums                a Q8_0 block of weights or values, and partial sums of products: load_block, block_extra,
 *                              zero_sums, add_block(acc, w, x, block_extra(x), scale), total */
#ifndef BACKEND_CPU_KERNELS_LANES_H
#define BACKEND_CPU_KERNELS_LANES_H

#include "quant/quant.h"

#include <math.h>
#include <string.h>

/* --- weights of each type, widened -------------------------------------------------------------------------------- */

typedef lanes load_fn(const uint8_t *row, size_t i);
typedef float load_one_fn(const uint8_t *row, size_t i);

INLINE lanes load_f32(const uint8_t *row, size_t i)
{
    return v_load((const float *)(const void *)(row + 4 * i));
}

INLINE float one_f32(const uint8_t *row, size_t i)
{
    float x;
    memcpy(&x, row + 4 * i, sizeof x);
    return x;
}

INLINE float one_f16(const uint8_t *row, size_t i)
{
    return half((uint16_t)(row[2 * i] | row[2 * i + 1] << 8));
}

INLINE float one_bf16(const uint8_t *row, size_t i)
{
    return quant_bf16_to_f32((uint16_t)(row[2 * i] | row[2 * i + 1] << 8));
}

INLINE float one_q8_0(const uint8_t *row, size_t i)
{
    (void)row, (void)i;
    return 0.0f; /* never asked: a row is a whole number of blocks */
}

/* --- tiles ------------------------------------------------------------------------------------------------------- */

/* The shapes are constants after inlining, so the accumulators live in registers. */
INLINE void tile_fixed(float *out, size_t stride, const uint8_t *const *rows, const size_t n_rows,
                       const float *const *x, const size_t n_x, size_t n, load_fn *load, load_one_fn *load_one)
{
    lanes acc[TILE_ROWS][TILE_X];
    size_t c = 0;
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < n_x; j++)
            acc[i][j] = v_zero();
    for (; c + LANES <= n; c += LANES) {
        lanes v[TILE_X];
        for (size_t j = 0; j < n_x; j++)
            v[j] = v_load(x[j] + c);
        for (size_t i = 0; i < n_rows; i++) {
            const lanes w = load(rows[i], c);
            for (size_t j = 0; j < n_x; j++)
                acc[i][j] = v_fma(w, v[j], acc[i][j]);
        }
    }
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < n_x; j++) {
            float sum = sum_lanes(acc[i][j]);
            for (size_t k = c; k < n; k++)
                sum += load_one(rows[i], k) * x[j][k];
            out[j * stride + i] = sum;
        }
}

INLINE void tile(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows, const float *const *x,
                 size_t n_x, size_t n, load_fn *load, load_one_fn *load_one)
{
    size_t i = 0;
    for (; i + TILE_ROWS <= n_rows; i += TILE_ROWS) {
        size_t j = 0;
        for (; j + TILE_X <= n_x; j += TILE_X)
            tile_fixed(out + j * stride + i, stride, rows + i, TILE_ROWS, x + j, TILE_X, n, load, load_one);
        for (; j < n_x; j++)
            tile_fixed(out + j * stride + i, stride, rows + i, TILE_ROWS, x + j, 1, n, load, load_one);
    }
    for (; i < n_rows; i++) {
        size_t j = 0;
        for (; j + TILE_X <= n_x; j += TILE_X)
            tile_fixed(out + j * stride + i, stride, rows + i, 1, x + j, TILE_X, n, load, load_one);
        for (; j < n_x; j++)
            tile_fixed(out + j * stride + i, stride, rows + i, 1, x + j, 1, n, load, load_one);
    }
}

#define TILE_OF(type)                                                                                                  \
    ISA static void tile_##type(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows,                  \
                                const float *const *x, size_t n_x, size_t n)                                           \
    {                                                                                                                  \
        tile(out, stride, rows, n_rows, x, n_x, n, load_##type, one_##type);                                           \
    }
TILE_OF(f32)
TILE_OF(f16)
TILE_OF(bf16)
TILE_OF(q8_0)

/* --- Q8_0 against quantised vectors ------------------------------------------------------------------------------- */

INLINE void tile_q8(float *out, size_t stride, const uint8_t *const *rows, const size_t n_rows, const q8_vector *x,
                    const size_t n_x, size_t n)
{
    sums acc[TILE_ROWS][TILE_X];
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < n_x; j++)
            acc[i][j] = zero_sums();
    for (size_t b = 0; b < n / QUANT_Q8_BLOCK; b++) {
        block q[TILE_X], extra[TILE_X];
        for (size_t j = 0; j < n_x; j++) {
            q[j] = load_block(x[j].q + b * QUANT_Q8_BLOCK);
            extra[j] = block_extra(q[j]);
        }
        for (size_t i = 0; i < n_rows; i++) {
            const uint8_t *at = rows[i] + b * QUANT_Q8_BYTES;
            const block w = load_block((const int8_t *)at + 2);
            const float d = one_f16(at, 0);
            for (size_t j = 0; j < n_x; j++)
                acc[i][j] = add_block(acc[i][j], w, q[j], extra[j], d * x[j].d[b]);
        }
    }
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < n_x; j++)
            out[j * stride + i] = total(acc[i][j]);
}

ISA static void tile_q8_0_q8(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows, const q8_vector *x,
                             size_t n_x, size_t n)
{
    size_t i = 0;
    for (; i + TILE_ROWS <= n_rows; i += TILE_ROWS) {
        size_t j = 0;
        for (; j + TILE_X <= n_x; j += TILE_X)
            tile_q8(out + j * stride + i, stride, rows + i, TILE_ROWS, x + j, TILE_X, n);
        for (; j < n_x; j++)
            tile_q8(out + j * stride + i, stride, rows + i, TILE_ROWS, x + j, 1, n);
    }
    for (; i < n_rows; i++)
        for (size_t j = 0; j < n_x; j++)
            tile_q8(out + j * stride + i, stride, rows + i, 1, x + j, 1, n);
}

/* --- sums of rows ------------------------------------------------------------------------------------------------- */

ISA static void weighted_sum(float *out, const float *const *rows, const float *p, size_t n_rows, size_t dim)
{
    size_t c = 0;
    for (; c + 4 * LANES <= dim; c += 4 * LANES) {
        lanes acc[4] = { v_zero(), v_zero(), v_zero(), v_zero() };
        for (size_t i = 0; i < n_rows; i++) {
            const lanes weight = v_set(p[i]);
            for (size_t k = 0; k < 4; k++)
                acc[k] = v_fma(weight, v_load(rows[i] + c + k * LANES), acc[k]);
        }
        for (size_t k = 0; k < 4; k++)
            v_store(out + c + k * LANES, acc[k]);
    }
    for (; c < dim; c++) {
        float sum = 0.0f;
        for (size_t i = 0; i < n_rows; i++)
            sum += p[i] * rows[i][c];
        out[c] = sum;
    }
}

/* --- exponentials ------------------------------------------------------------------------------------------------- */

/* e^x: x = k ln 2 + r with |r| <= ln 2 / 2, then the series of e^r to r^7 (the rest is below 6e-9). Within 2 ulp where the
 * result is a normal number, 0 below, and large but finite from 88 on; a NaN stays one. */
INLINE lanes exp_lanes(lanes x)
{
    const lanes least = v_set(-87.3f), most = v_set(88.0f);
    const lanes bounded = v_max(least, v_min(most, x));
    const lanes k = v_round(v_mul(bounded, v_set(0x1.715476p0f)));
    lanes r = v_fnma(k, v_set(0x1.62e4p-1f), bounded); /* 15 bits of ln 2: the product is exact */
    r = v_fnma(k, v_set(0x1.7f7d1cp-20f), r);          /* the others */
    lanes sum = v_set(1.0f / 5040);
    sum = v_fma(sum, r, v_set(1.0f / 720));
    sum = v_fma(sum, r, v_set(1.0f / 120));
    sum = v_fma(sum, r, v_set(1.0f / 24));
    sum = v_fma(sum, r, v_set(1.0f / 6));
    sum = v_fma(sum, r, v_set(0.5f));
    sum = v_fma(sum, r, v_set(1.0f));
    sum = v_fma(sum, r, v_set(1.0f));
    return v_exp2(sum, k, x, least);
}

ISA static void softmax(float *scores, size_t n, float scale, float sink)
{
    const size_t whole = n / LANES * LANES, rest = n - whole;
    const lanes s = v_set(scale);
    lanes top = v_set(sink), sum = v_zero();
    for (size_t i = 0; i < whole; i += LANES) {
        const lanes v = v_mul(v_load(scores + i), s);
        v_store(scores + i, v);
        top = v_max(v, top); /* a NaN in v leaves top */
    }
    if (rest) {
        const lanes v = v_mul(load_last(scores + whole, rest, 0.0f), s);
        store_last(scores + whole, rest, v);
        top = v_max(load_last(scores + whole, rest, sink), top);
    }
    const float best = max_lanes(top);
    const lanes bests = v_set(best);
    for (size_t i = 0; i < whole; i += LANES) {
        const lanes e = exp_lanes(v_sub(v_load(scores + i), bests));
        v_store(scores + i, e);
        sum = v_add(sum, e);
    }
    if (rest) {
        const lanes e = exp_lanes(v_sub(load_last(scores + whole, rest, -INFINITY), bests));
        store_last(scores + whole, rest, e);
        sum = v_add(sum, e);
    }
    const lanes inverse = v_set(1.0f / (sum_lanes(sum) + expf(sink - best)));
    for (size_t i = 0; i < whole; i += LANES)
        v_store(scores + i, v_mul(v_load(scores + i), inverse));
    if (rest)
        store_last(scores + whole, rest, v_mul(load_last(scores + whole, rest, 0.0f), inverse));
}

INLINE lanes swiglu_lanes(lanes gate, lanes up, float limit, float weight)
{
    if (limit > 0.0f) {
        gate = v_min(v_set(limit), gate);
        up = v_max(v_set(-limit), v_min(v_set(limit), up));
    }
    const lanes silu = v_div(gate, v_add(v_set(1.0f), exp_lanes(v_sub(v_zero(), gate))));
    return v_mul(v_mul(silu, up), v_set(weight));
}

ISA static void swiglu(float *out, const float *gate, const float *up, size_t n, float limit, float weight)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        v_store(out + i, swiglu_lanes(v_load(gate + i), v_load(up + i), limit, weight));
    if (i < n)
        store_last(out + i, n - i,
                   swiglu_lanes(load_last(gate + i, n - i, 0.0f), load_last(up + i, n - i, 0.0f), limit, weight));
}

#endif
