/* The official roundings of the state: docs/spec/model.md, section 12.2. */
#include "quant/quant.h"

#include <math.h>

static float block_max(const float *x, size_t n)
{
    float amax = 0.0f;
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > amax) /* never for a NaN */
            amax = fabsf(x[i]);
    return amax;
}

void quant_round_kv(float *x, size_t n)
{
    for (size_t at = 0; at < n; at += QUANT_KV_BLOCK) {
        const size_t size = n - at < QUANT_KV_BLOCK ? n - at : QUANT_KV_BLOCK;
        const float s = quant_pow2_scale(block_max(x + at, size), QUANT_KV_FLOOR, QUANT_KV_TOP);
        for (size_t i = at; i < at + size; i++)
            if (isfinite(x[i])) /* others stay what they are, to be noticed */
                x[i] = quant_e4m3_to_f32(quant_f32_to_e4m3(x[i] / s)) * s;
    }
}

void quant_round_bf16(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isfinite(x[i]))
            x[i] = quant_bf16_to_f32(quant_f32_to_bf16(x[i]));
}

void quant_hadamard(float *x, size_t n)
{
    for (size_t h = 1; h < n; h *= 2)
        for (size_t i = 0; i < n; i += 2 * h)
            for (size_t j = i; j < i + h; j++) {
                const float a = x[j], b = x[j + h];
                x[j] = a + b;
                x[j + h] = a - b;
            }
    const float scale = (float)(1.0 / sqrt((double)n));
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
}

void quant_round_index(float *x, size_t n)
{
    quant_hadamard(x, n);
    for (size_t at = 0; at + QUANT_INDEX_BLOCK <= n; at += QUANT_INDEX_BLOCK) {
        const float s = quant_pow2_scale(block_max(x + at, QUANT_INDEX_BLOCK), QUANT_INDEX_FLOOR, QUANT_INDEX_TOP);
        for (size_t i = at; i < at + QUANT_INDEX_BLOCK; i++)
            if (isfinite(x[i]))
                x[i] = quant_e2m1_to_f32(quant_f32_to_e2m1(x[i] / s)) * s;
    }
}
