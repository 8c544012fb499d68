/* The reference: every kernel as one would write it down. f32 weights and activations are summed in double, so that what
 * remains of a difference to a fast variant is that variant's. */
#include "backend/cpu/kernels.h"
#include "quant/quant.h"

#include <math.h>
#include <string.h>

typedef float load_fn(const uint8_t *row, size_t i);

static float load_f32(const uint8_t *row, size_t i)
{
    float x;
    memcpy(&x, row + 4 * i, sizeof x);
    return x;
}

static uint16_t load16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static float load_f16(const uint8_t *row, size_t i)
{
    return quant_f16_to_f32(load16(row + 2 * i));
}

static float load_bf16(const uint8_t *row, size_t i)
{
    return quant_bf16_to_f32(load16(row + 2 * i));
}

static float load_q8_0(const uint8_t *row, size_t i)
{
    const uint8_t *block = row + i / QUANT_Q8_BLOCK * QUANT_Q8_BYTES;
    return quant_f16_to_f32(load16(block)) * (float)(int8_t)block[2 + i % QUANT_Q8_BLOCK];
}

static inline void tile(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows, const float *const *x,
                        size_t n_x, size_t n, load_fn *load)
{
    for (size_t j = 0; j < n_x; j++)
        for (size_t i = 0; i < n_rows; i++) {
            double sum = 0.0;
            for (size_t c = 0; c < n; c++)
                sum += (double)load(rows[i], c) * x[j][c];
            out[j * stride + i] = (float)sum;
        }
}

static void tile_f32(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows, const float *const *x,
                     size_t n_x, size_t n)
{
    tile(out, stride, rows, n_rows, x, n_x, n, load_f32);
}

static void tile_f16(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows, const float *const *x,
                     size_t n_x, size_t n)
{
    tile(out, stride, rows, n_rows, x, n_x, n, load_f16);
}

static void tile_bf16(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows, const float *const *x,
                      size_t n_x, size_t n)
{
    tile(out, stride, rows, n_rows, x, n_x, n, load_bf16);
}

static void tile_q8_0(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows, const float *const *x,
                      size_t n_x, size_t n)
{
    tile(out, stride, rows, n_rows, x, n_x, n, load_q8_0);
}

static void tile_q8_0_q8(float *out, size_t stride, const uint8_t *const *rows, size_t n_rows, const q8_vector *x,
                         size_t n_x, size_t n)
{
    for (size_t j = 0; j < n_x; j++)
        for (size_t i = 0; i < n_rows; i++) {
            float sum = 0.0f;
            const uint8_t *block = rows[i];
            for (size_t b = 0; b < n / QUANT_Q8_BLOCK; b++, block += QUANT_Q8_BYTES) {
                int32_t dot = 0;
                for (size_t c = 0; c < QUANT_Q8_BLOCK; c++)
                    dot += (int32_t)(int8_t)block[2 + c] * x[j].q[b * QUANT_Q8_BLOCK + c];
                sum += quant_f16_to_f32(load16(block)) * x[j].d[b] * (float)dot;
            }
            out[j * stride + i] = sum;
        }
}

static void weighted_sum(float *out, const float *const *rows, const float *p, size_t n_rows, size_t dim)
{
    for (size_t c = 0; c < dim; c++) {
        double sum = 0.0;
        for (size_t i = 0; i < n_rows; i++)
            sum += (double)p[i] * rows[i][c];
        out[c] = (float)sum;
    }
}

static void softmax(float *scores, size_t n, float scale, float sink)
{
    float top = sink;
    for (size_t i = 0; i < n; i++) {
        scores[i] *= scale;
        top = fmaxf(top, scores[i]);
    }
    double sum = (double)expf(sink - top);
    for (size_t i = 0; i < n; i++) {
        scores[i] = expf(scores[i] - top);
        sum += scores[i];
    }
    const float inverse = (float)(1.0 / sum);
    for (size_t i = 0; i < n; i++)
        scores[i] *= inverse;
}

static void swiglu(float *out, const float *gate, const float *up, size_t n, float limit, float weight)
{
    for (size_t i = 0; i < n; i++) {
        float g = gate[i], u = up[i];
        if (limit > 0.0f) { /* so that a NaN stays one */
            g = g > limit ? limit : g;
            u = u > limit ? limit : u < -limit ? -limit : u;
        }
        out[i] = g / (1.0f + expf(-g)) * u * weight;
    }
}

static double sum_squares(const float *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

const cpu_kernels cpu_kernels_scalar = {
    "scalar",     CPU_BASELINE,        tile_f32, tile_f16, tile_bf16,   tile_q8_0,       tile_q8_0_q8,
    weighted_sum, quant_activation_q8, softmax,  swiglu,   sum_squares, quant_unpack_kv, quant_unpack_index,
};
