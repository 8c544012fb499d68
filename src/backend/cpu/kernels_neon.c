/* The kernels in NEON: 4 lanes, 32 registers, tiles of 4 rows and 4 vectors; part of every 64-bit Arm. */
#include "backend/cpu/kernels.h"

#if defined(__aarch64__)
#include "quant/quant.h"

#include <arm_neon.h>
#include <string.h>

#define ISA
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 4, TILE_ROWS = 4, TILE_X = 4 };
typedef float32x4_t lanes;

INLINE lanes v_load(const float *x)
{
    return vld1q_f32(x);
}

INLINE void v_store(float *x, lanes v)
{
    vst1q_f32(x, v);
}

INLINE lanes v_set(float x)
{
    return vdupq_n_f32(x);
}

INLINE lanes v_zero(void)
{
    return vdupq_n_f32(0.0f);
}

INLINE lanes v_add(lanes a, lanes b)
{
    return vaddq_f32(a, b);
}

INLINE lanes v_sub(lanes a, lanes b)
{
    return vsubq_f32(a, b);
}

INLINE lanes v_mul(lanes a, lanes b)
{
    return vmulq_f32(a, b);
}

INLINE lanes v_div(lanes a, lanes b)
{
    return vdivq_f32(a, b);
}

/* Comparisons with a NaN are false, so the second is taken: vminq_f32() would give the NaN. */
INLINE lanes v_min(lanes a, lanes b)
{
    return vbslq_f32(vcltq_f32(a, b), a, b);
}

INLINE lanes v_max(lanes a, lanes b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

INLINE lanes v_fma(lanes a, lanes b, lanes c)
{
    return vfmaq_f32(c, a, b);
}

INLINE lanes v_fnma(lanes a, lanes b, lanes c)
{
    return vfmsq_f32(c, a, b);
}

INLINE lanes v_round(lanes x)
{
    return vrndnq_f32(x);
}

INLINE float sum_lanes(lanes v)
{
    return vaddvq_f32(v);
}

INLINE float max_lanes(lanes v)
{
    return vmaxvq_f32(v);
}

INLINE lanes load_last(const float *x, size_t n, float fill)
{
    float all[LANES] = { fill, fill, fill, fill };
    memcpy(all, x, n * sizeof *x);
    return vld1q_f32(all);
}

INLINE void store_last(float *out, size_t n, lanes v)
{
    float all[LANES];
    vst1q_f32(all, v);
    memcpy(out, all, n * sizeof *out);
}

INLINE lanes v_exp2(lanes sum, lanes k, lanes x, lanes least)
{
    const int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(k), vdupq_n_s32(127)), 23);
    const uint32x4_t scaled = vreinterpretq_u32_f32(vmulq_f32(sum, vreinterpretq_f32_s32(power)));
    return vreinterpretq_f32_u32(vbicq_u32(scaled, vcltq_f32(x, least)));
}

/* --- weights ------------------------------------------------------------------------------------------------------- */

INLINE float half(uint16_t bits)
{
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0);
}

INLINE lanes load_f16(const uint8_t *row, size_t i)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(row + 2 * i)));
}

INLINE lanes load_bf16(const uint8_t *row, size_t i)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(row + 2 * i)), 16));
}

INLINE lanes load_q8_0(const uint8_t *row, size_t i)
{
    float values[LANES];
    const uint8_t *at = row + i / QUANT_Q8_BLOCK * QUANT_Q8_BYTES;
    const float d = half((uint16_t)(at[0] | at[1] << 8));
    for (size_t k = 0; k < LANES; k++)
        values[k] = d * (float)(int8_t)at[2 + i % QUANT_Q8_BLOCK + k];
    return vld1q_f32(values);
}

/* --- Q8_0 blocks --------------------------------------------------------------------------------------------------- */

typedef int8x16x2_t block;
typedef float32x4_t sums;

INLINE block load_block(const int8_t *q)
{
    return (block){ { vld1q_s8(q), vld1q_s8(q + 16) } };
}

INLINE block block_extra(block x)
{
    return x; /* none is needed */
}

INLINE sums zero_sums(void)
{
    return vdupq_n_f32(0.0f);
}

INLINE sums add_block(sums acc, block w, block x, block unused, float scale)
{
    int32x4_t sum = vdupq_n_s32(0);
    (void)unused;
    for (size_t k = 0; k < 2; k++) {
        sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(w.val[k]), vget_low_s8(x.val[k])));
        sum = vpadalq_s16(sum, vmull_s8(vget_high_s8(w.val[k]), vget_high_s8(x.val[k])));
    }
    return vfmaq_n_f32(acc, vcvtq_f32_s32(sum), scale);
}

INLINE float total(sums acc)
{
    return vaddvq_f32(acc);
}

#include "backend/cpu/kernels_lanes.h"

/* --- quantising, sums of squares ----------------------------------------------------------------------------------- */

static void quantise(const float *x, size_t n, int8_t *q, float *d)
{
    for (size_t b = 0; b < n / QUANT_Q8_BLOCK; b++, x += QUANT_Q8_BLOCK, q += QUANT_Q8_BLOCK) {
        float32x4_t top = vdupq_n_f32(0.0f);
        for (size_t c = 0; c < QUANT_Q8_BLOCK; c += LANES)
            top = vmaxnmq_f32(top, vabsq_f32(vld1q_f32(x + c))); /* of a number and a NaN, the number */
        d[b] = vmaxvq_f32(top) / 127.0f;
        const float inverse = d[b] != 0.0f ? 1.0f / d[b] : 0.0f;
        for (size_t c = 0; c < QUANT_Q8_BLOCK; c += 2 * LANES) {
            /* To the nearest, ties away from zero; a NaN becomes 0. */
            const int32x4_t u = vcvtaq_s32_f32(vmulq_n_f32(vld1q_f32(x + c), inverse)),
                            v = vcvtaq_s32_f32(vmulq_n_f32(vld1q_f32(x + c + LANES), inverse));
            vst1_s8(q + c, vmax_s8(vqmovn_s16(vcombine_s16(vqmovn_s32(u), vqmovn_s32(v))), vdup_n_s8(-127)));
        }
    }
}

static double sum_squares(const float *x, size_t n)
{
    float64x2_t acc = vdupq_n_f64(0.0);
    size_t i = 0;
    for (; i + 2 <= n; i += 2) {
        const float64x2_t v = vcvt_f64_f32(vld1_f32(x + i));
        acc = vfmaq_f64(acc, v, v);
    }
    double sum = vaddvq_f64(acc);
    if (i < n)
        sum += (double)x[i] * x[i];
    return sum;
}

/* --- packed rows --------------------------------------------------------------------------------------------------- */

static void unpack_kv(const uint8_t *in, size_t n, size_t n_rot, float *x)
{
    const size_t plain = n - n_rot;
    const uint8_t *scales = in + plain, *tail = in + quant_packed_kv_bytes(n, n_rot) - 2 * n_rot;
    for (size_t i = 0; i < plain; i += 8) { /* as f16 with an exponent that is 8 too small; NaN codes as NaN */
        const uint16x8_t c = vmovl_u8(vld1_u8(in + i)), low = vandq_u16(c, vdupq_n_u16(0x7f));
        const uint16x8_t sign = vshlq_n_u16(vandq_u16(c, vdupq_n_u16(0x80)), 8),
                         nan = vceqq_u16(low, vdupq_n_u16(0x7f));
        const float16x8_t h = vreinterpretq_f16_u16(vorrq_u16(vorrq_u16(sign, vshlq_n_u16(low, 7)), nan));
        const float s = quant_e8m0_to_f32(scales[i / QUANT_KV_BLOCK]) * 256.0f;
        vst1q_f32(x + i, vmulq_n_f32(vcvt_f32_f16(vget_low_f16(h)), s));
        vst1q_f32(x + i + 4, vmulq_n_f32(vcvt_f32_f16(vget_high_f16(h)), s));
    }
    for (size_t i = 0; i < n_rot; i++)
        x[plain + i] = one_bf16(tail, i);
}

static void unpack_index(const uint8_t *in, size_t n, float *x)
{
    static const int8_t doubled[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };
    const int8x16_t table = vld1q_s8(doubled);
    const uint8_t *scales = in + n / 2;
    for (size_t b = 0; b < n / QUANT_INDEX_BLOCK; b++, in += QUANT_INDEX_BLOCK / 2) {
        const float s = quant_e8m0_to_f32(scales[b]);
        const uint8x16_t codes = vld1q_u8(in), even = vandq_u8(codes, vdupq_n_u8(0xf)), odd = vshrq_n_u8(codes, 4);
        const uint8x16_t parts[2] = { vzip1q_u8(even, odd), vzip2q_u8(even, odd) };
        for (size_t k = 0; k < 2; k++) {
            const int8x16_t v = vqtbl1q_s8(table, parts[k]);
            const int16x8_t wide[2] = { vmovl_s8(vget_low_s8(v)), vmovl_s8(vget_high_s8(v)) };
            for (size_t j = 0; j < 2; j++, x += 8) {
                const float32x4_t a = vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide[j]))),
                                  c = vcvtq_f32_s32(vmovl_s16(vget_high_s16(wide[j])));
                vst1q_f32(x, vmulq_n_f32(vmulq_n_f32(a, 0.5f), s));
                vst1q_f32(x + 4, vmulq_n_f32(vmulq_n_f32(c, 0.5f), s));
            }
        }
    }
}

const cpu_kernels cpu_kernels_neon = {
    "neon",       CPU_NEON, tile_f32, tile_f16, tile_bf16,   tile_q8_0, tile_q8_0_q8,
    weighted_sum, quantise, softmax,  swiglu,   sum_squares, unpack_kv, unpack_index,
};
#endif
