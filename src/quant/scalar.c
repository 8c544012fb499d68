/* Number formats of one value, by their bits. */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

float quant_f16_to_f32(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = (half >> 10) & 31, mantissa = half & 1023;
    if (exponent == 31)
        return float_of(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) /* subnormal: mantissa * 2^-24, exact in f32 */
        return sign ? -(float)mantissa * 0x1p-24f : (float)mantissa * 0x1p-24f;
    return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t quant_f32_to_f16(float x)
{
    const uint32_t u = bits_of(x), sign = (u >> 16) & 0x8000, magnitude = u & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x47800000) /* from 65536 on; 65520..65535 round up below */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: round at the subnormal step by adding a number whose ulp it is */
        const float shifted = float_of(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of(shifted) - bits_of(0.5f)));
    }
    const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
    return (uint16_t)(sign | (rounded - 0x38000000) >> 13);
}

float quant_bf16_to_f32(uint16_t b)
{
    return float_of((uint32_t)b << 16);
}

uint16_t quant_f32_to_bf16(float x)
{
    const uint32_t u = bits_of(x);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

float quant_e4m3_to_f32(uint8_t code)
{
    const uint32_t exponent = (code >> 3) & 15, mantissa = code & 7;
    float x;
    if (exponent == 15 && mantissa == 7)
        x = NAN;
    else if (exponent == 0)
        x = (float)mantissa * 0x1p-9f;
    else
        x = float_of((exponent + 120) << 23 | mantissa << 20); /* bias 127 - 7 */
    return code & 0x80 ? -x : x;
}

uint8_t quant_f32_to_e4m3(float x)
{
    const uint32_t u = bits_of(x), magnitude = u & 0x7fffffff;
    const uint8_t sign = (uint8_t)(u >> 24 & 0x80);
    if (magnitude > 0x7f800000)
        return sign | 0x7f;
    const float a = float_of(magnitude);
    if (a < 0x1p-6f) /* subnormal: steps of 2^-9; adding 2^14 makes f32 round at that step, ties to even */
        return (uint8_t)(sign | (bits_of(a + 0x1p14f) - bits_of(0x1p14f)));
    const uint32_t rounded = magnitude + 0x7ffff + ((magnitude >> 20) & 1);
    const uint32_t code = (rounded >> 20) - (120 << 3);   /* exponent bias 127 - 7 */
    return (uint8_t)(sign | (code > 0x7e ? 0x7e : code)); /* the next code would be 480, and is the NaN */
}

float quant_e8m0_to_f32(uint8_t code)
{
    return code == 255 ? NAN : ldexpf(1.0f, code - 127);
}

float quant_e2m1_to_f32(uint8_t code)
{
    static const float values[] = { 0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f };
    return code & 8 ? -values[code & 7] : values[code & 7];
}

uint8_t quant_f32_to_e2m1(float x)
{
    const float a = fabsf(x);
    uint8_t code;
    /* Halfway points; on one the even code wins, which is the lower one exactly where `<=` stands. */
    if (a <= 0.25f)
        code = 0;
    else if (a < 0.75f)
        code = 1;
    else if (a <= 1.25f)
        code = 2;
    else if (a < 1.75f)
        code = 3;
    else if (a <= 2.5f)
        code = 4;
    else if (a < 3.5f)
        code = 5;
    else if (a <= 5.0f)
        code = 6;
    else
        code = 7;
    return signbit(x) ? code | 8 : code;
}

float quant_pow2_scale(float amax, float floor, float top)
{
    const float p = (amax > floor ? amax : floor) * (1.0f / top);
    const uint32_t u = bits_of(p);
    const uint32_t exponent = (u >> 23) + ((u & 0x7fffff) != 0);
    return float_of(exponent << 23);
}
