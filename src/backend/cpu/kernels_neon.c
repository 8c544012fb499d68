/* The kernels in NEON: 4 lanes; part of every 64-bit Arm. */
#include "backend/cpu/kernels.h"

#if defined(__aarch64__)
#include "quant/quant.h"

#include <arm_neon.h>
#include <string.h>

enum { LANES = 4 };

/* c is a multiple of four, so a Q8_0 block is never crossed. */
typedef float32x4_t load_fn(const uint8_t *row, size_t c);

static inline float32x4_t load_f32(const uint8_t *row, size_t c)
{
    return vreinterpretq_f32_u8(vld1q_u8(row + 4 * c));
}

static inline float32x4_t load_f16(const uint8_t *row, size_t c)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(row + 2 * c)));
}

static inline float32x4_t load_bf16(const uint8_t *row, size_t c)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(row + 2 * c)), 16));
}

static inline float32x4_t load_q8_0(const uint8_t *row, size_t c)
{
    float values[LANES];
    const uint8_t *block = row + c / QUANT_Q8_BLOCK * QUANT_Q8_BYTES;
    const float d = quant_f16_to_f32((uint16_t)(block[0] | block[1] << 8));
    for (size_t i = 0; i < LANES; i++)
        values[i] = d * (float)(int8_t)block[2 + c % QUANT_Q8_BLOCK + i];
    return vld1q_f32(values);
}

static inline __attribute__((always_inline)) void tile(float *out, size_t stride, const uint8_t *const *rows,
                                                       size_t n_rows, const float *const *x, size_t n_x, size_t n,
                                                       uint32_t type, load_fn *load)
{
    for (size_t j = 0; j < n_x; j++)
        for (size_t i = 0; i < n_rows; i++) {
            float32x4_t acc = vdupq_n_f32(0.0f);
            float last[LANES];
            size_t c = 0;
            for (; c + LANES <= n; c += LANES)
                acc = vfmaq_f32(acc, load(rows[i], c), vld1q_f32(x[j] + c));
            float sum = vaddvq_f32(acc);
            if (c < n) { /* never with Q8_0 */
                quant_row_to_f32(type, rows[i] + quant_row_bytes(type, c), last, n - c);
                for (size_t k = c; k < n; k++)
                    sum += last[k - c] * x[j][k];
            }
            out[j * stride + i] = sum;
        }
}

#define TILE_OF(name, type)                                                                                            \
    static void tile_##name(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows,                      \
                            const float *const *x, size_t n_x, size_t n)                                               \
    {                                                                                                                  \
        tile(out, stride, rows, n_rows, x, n_x, n, type, load_##name);                                                 \
    }
TILE_OF(f32, QUANT_F32)
TILE_OF(f16, QUANT_F16)
TILE_OF(bf16, QUANT_BF16)
TILE_OF(q8_0, QUANT_Q8_0)

static inline int32_t dot_block(const int8_t *w, const int8_t *x)
{
    int32x4_t sum = vdupq_n_s32(0);
    for (size_t c = 0; c < QUANT_Q8_BLOCK; c += 8)
        sum = vpadalq_s16(sum, vmull_s8(vld1_s8(w + c), vld1_s8(x + c)));
    return vaddvq_s32(sum);
}

static void tile_q8_0_q8(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows, const q8_vector *x,
                         size_t n_x, size_t n)
{
    for (size_t j = 0; j < n_x; j++)
        for (size_t i = 0; i < n_rows; i++) {
            const uint8_t *block = rows[i];
            float sum = 0.0f;
            for (size_t b = 0; b < n / QUANT_Q8_BLOCK; b++, block += QUANT_Q8_BYTES) {
                const float d = quant_f16_to_f32((uint16_t)(block[0] | block[1] << 8));
                sum += d * x[j].d[b] * (float)dot_block((const int8_t *)block + 2, x[j].q + b * QUANT_Q8_BLOCK);
            }
            out[j * stride + i] = sum;
        }
}

static void weighted_sum(float *out, const float *const *rows, const float *p, size_t n_rows, size_t dim)
{
    size_t c = 0;
    for (; c + LANES <= dim; c += LANES) {
        float32x4_t acc = vdupq_n_f32(0.0f);
        for (size_t i = 0; i < n_rows; i++)
            acc = vfmaq_n_f32(acc, vld1q_f32(rows[i] + c), p[i]);
        vst1q_f32(out + c, acc);
    }
    for (; c < dim; c++) {
        float sum = 0.0f;
        for (size_t i = 0; i < n_rows; i++)
            sum += p[i] * rows[i][c];
        out[c] = sum;
    }
}

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

const cpu_kernels cpu_kernels_neon = {
    "neon",       CPU_NEON,     tile_f32, tile_f16,           tile_bf16,         tile_q8_0,
    tile_q8_0_q8, weighted_sum, quantise, cpu_softmax_scalar, cpu_swiglu_scalar, sum_squares,
};
#endif
