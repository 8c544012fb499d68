/* quant/pack.c - rows of a sequence in the bytes that the official roundings leave of them. A repacking, not a quantisation: of
 * a row that was rounded before, unpacking gives every bit back.
 *
 * A kv row of n values, the last n_rot of them rotated:
 *     n - n_rot bytes       E4M3 codes
 *     (n - n_rot) / 64      E8M0 scales of blocks of 64, then zeros up to a multiple of 8
 *     2 n_rot               bf16, little-endian
 * An index row of n values: n / 2 bytes of E2M1 codes, the even value in the low half; n / 32 E8M0 scales of blocks of 32.
 *
 * The scale of a block is computed from its rounded values. It can be half of the one that rounded them: then the largest
 * value is a power of two away from the top, and twice each code is a code too. */
#include "quant/quant.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { SCALES_ALIGNMENT = 8 };

static size_t scale_bytes(size_t n_blocks)
{
    return (n_blocks + SCALES_ALIGNMENT - 1) / SCALES_ALIGNMENT * SCALES_ALIGNMENT;
}

static float block_max(const float *x, size_t n)
{
    float amax = 0.0f;
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > amax && isfinite(x[i]))
            amax = fabsf(x[i]);
    return amax;
}

/* The exponent of a power of two, biased: what E8M0 stores. */
static uint8_t exponent_code(float power)
{
    uint32_t bits;
    memcpy(&bits, &power, sizeof bits);
    return (uint8_t)(bits >> 23);
}

/* Scales from here on can make a value infinite: the largest code, times the scale before, is below 2^128. */
enum { KV_SCALE_LARGE = 247, INDEX_SCALE_LARGE = 253 };

/* Whether the largest value of a block is infinite, or its scale no number. */
static bool overflows(float largest, uint8_t scale)
{
    return !isfinite(largest * quant_e8m0_to_f32(scale));
}

/* --- kv rows --------------------------------------------------------------------------------------------------------- */

size_t quant_packed_kv_bytes(size_t n, size_t n_rot)
{
    const size_t plain = n - n_rot;
    return plain % QUANT_KV_BLOCK == 0 ? plain + scale_bytes(plain / QUANT_KV_BLOCK) + 2 * n_rot : 0;
}

void quant_pack_kv(const float *x, size_t n, size_t n_rot, uint8_t *out)
{
    const size_t plain = n - n_rot, n_blocks = plain / QUANT_KV_BLOCK;
    uint8_t *scales = out + plain, *tail = scales + scale_bytes(n_blocks);
    memset(scales, 0, scale_bytes(n_blocks));
    for (size_t b = 0; b < n_blocks; b++, x += QUANT_KV_BLOCK, out += QUANT_KV_BLOCK) {
        const float s = quant_pow2_scale(block_max(x, QUANT_KV_BLOCK), QUANT_KV_FLOOR, QUANT_KV_TOP);
        scales[b] = exponent_code(s);
        for (size_t i = 0; i < QUANT_KV_BLOCK; i++)
            out[i] = isfinite(x[i]) ? quant_f32_to_e4m3(x[i] / s) : 0x7f; /* a NaN stays one, to be noticed */
    }
    for (size_t i = 0; i < n_rot; i++) {
        const uint16_t half = quant_f32_to_bf16(x[i]);
        tail[2 * i] = (uint8_t)half;
        tail[2 * i + 1] = (uint8_t)(half >> 8);
    }
}

void quant_unpack_kv(const uint8_t *in, size_t n, size_t n_rot, float *x)
{
    const size_t plain = n - n_rot, n_blocks = plain / QUANT_KV_BLOCK;
    const uint8_t *scales = in + plain, *tail = scales + scale_bytes(n_blocks);
    for (size_t i = 0; i < plain; i++)
        x[i] = quant_e4m3_to_f32(in[i]) * quant_e8m0_to_f32(scales[i / QUANT_KV_BLOCK]);
    for (size_t i = 0; i < n_rot; i++)
        x[plain + i] = quant_bf16_to_f32((uint16_t)(tail[2 * i] | tail[2 * i + 1] << 8));
}

static bool kv_block_overflows(const uint8_t *codes, uint8_t scale)
{
    uint8_t top = 0;
    for (size_t i = 0; scale >= KV_SCALE_LARGE && i < QUANT_KV_BLOCK; i++)
        top = (codes[i] & 0x7f) > top ? codes[i] & 0x7f : top;
    return scale >= KV_SCALE_LARGE && overflows(quant_e4m3_to_f32(top), scale);
}

bool quant_packed_kv_valid(const uint8_t *in, size_t n, size_t n_rot)
{
    const size_t plain = n - n_rot, n_blocks = plain / QUANT_KV_BLOCK;
    const uint8_t *scales = in + plain, *tail = scales + scale_bytes(n_blocks);
    unsigned bad = 0;
    for (size_t i = 0; i < plain; i++)
        bad |= (in[i] & 0x7f) == 0x7f;
    for (size_t b = 0; b < scale_bytes(n_blocks); b++)
        bad |= b < n_blocks ? kv_block_overflows(in + b * QUANT_KV_BLOCK, scales[b]) : scales[b] != 0;
    for (size_t i = 0; i < n_rot; i++)
        bad |= (tail[2 * i + 1] & 0x7f) == 0x7f && (tail[2 * i] & 0x80) != 0; /* exponent all ones */
    return !bad;
}

/* --- index rows ------------------------------------------------------------------------------------------------------ */

size_t quant_packed_index_bytes(size_t n)
{
    return n % QUANT_INDEX_BLOCK == 0 ? n / 2 + n / QUANT_INDEX_BLOCK : 0;
}

/* -0 becomes 0: no score can tell them apart, and the fast readers need not either. */
static uint8_t e2m1_of(float x)
{
    const uint8_t code = isfinite(x) ? quant_f32_to_e2m1(x) : 0;
    return code == 8 ? 0 : code;
}

void quant_pack_index(const float *x, size_t n, uint8_t *out)
{
    uint8_t *scales = out + n / 2;
    for (size_t b = 0; b < n / QUANT_INDEX_BLOCK; b++, x += QUANT_INDEX_BLOCK) {
        const float s = quant_pow2_scale(block_max(x, QUANT_INDEX_BLOCK), QUANT_INDEX_FLOOR, QUANT_INDEX_TOP);
        bool finite = true;
        for (size_t i = 0; i < QUANT_INDEX_BLOCK; i += 2) {
            finite = finite && isfinite(x[i]) && isfinite(x[i + 1]);
            *out++ = (uint8_t)(e2m1_of(x[i] / s) | e2m1_of(x[i + 1] / s) << 4);
        }
        scales[b] = finite ? exponent_code(s) : 0xff; /* E2M1 has no NaN; the scale has one */
    }
}

void quant_unpack_index(const uint8_t *in, size_t n, float *x)
{
    const uint8_t *scales = in + n / 2;
    for (size_t i = 0; i < n; i += 2) {
        const float s = quant_e8m0_to_f32(scales[i / QUANT_INDEX_BLOCK]);
        x[i] = quant_e2m1_to_f32(in[i / 2] & 0xf) * s;
        x[i + 1] = quant_e2m1_to_f32(in[i / 2] >> 4) * s;
    }
}

static bool index_block_overflows(const uint8_t *codes, uint8_t scale)
{
    uint8_t top = 0;
    for (size_t i = 0; scale >= INDEX_SCALE_LARGE && i < QUANT_INDEX_BLOCK; i++) {
        const uint8_t magnitude = codes[i / 2] >> 4 * (i % 2) & 7;
        top = magnitude > top ? magnitude : top;
    }
    return scale >= INDEX_SCALE_LARGE && overflows(quant_e2m1_to_f32(top), scale);
}

bool quant_packed_index_valid(const uint8_t *in, size_t n)
{
    unsigned bad = 0;
    for (size_t b = 0; b < n / QUANT_INDEX_BLOCK; b++)
        bad |= index_block_overflows(in + b * QUANT_INDEX_BLOCK / 2, in[n / 2 + b]);
    for (size_t i = 0; i < n / 2; i++)
        bad |= (in[i] & 0xf) == 8 || in[i] >> 4 == 8; /* never written */
    return !bad;
}
