/* Rows of weights and of activations. */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

static float largest(const float *x, size_t n)
{
    float amax = 0.0f;
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > amax) /* never for a NaN */
            amax = fabsf(x[i]);
    return amax;
}

/* Clamped: -128 on both sides would overflow the 16-bit pair sums of the fast kernels, and subnormal values divided by a scale
 * that was rounded can be larger than 127, infinite too. A NaN becomes 0 and is noticed by the check of the streams. */
static int8_t nearest(float x)
{
    const float v = roundf(x);
    return (int8_t)(v > 127.0f ? 127.0f : v < -127.0f ? -127.0f : v == v ? v : 0.0f);
}

void quant_row_to_q8_0(const float *x, size_t n, uint8_t *out)
{
    for (size_t b = 0; b < n / QUANT_Q8_BLOCK; b++, x += QUANT_Q8_BLOCK, out += QUANT_Q8_BYTES) {
        const float d = largest(x, QUANT_Q8_BLOCK) / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
        const uint16_t half = quant_f32_to_f16(d);
        out[0] = (uint8_t)half, out[1] = (uint8_t)(half >> 8);
        for (size_t i = 0; i < QUANT_Q8_BLOCK; i++)
            out[2 + i] = (uint8_t)nearest(x[i] * inverse);
    }
}

void quant_activation_q8(const float *x, size_t n, int8_t *q, float *d)
{
    for (size_t b = 0; b < n / QUANT_Q8_BLOCK; b++, x += QUANT_Q8_BLOCK, q += QUANT_Q8_BLOCK) {
        d[b] = largest(x, QUANT_Q8_BLOCK) / 127.0f;
        const float inverse = d[b] != 0.0f ? 1.0f / d[b] : 0.0f;
        for (size_t i = 0; i < QUANT_Q8_BLOCK; i++)
            q[i] = nearest(x[i] * inverse);
    }
}
