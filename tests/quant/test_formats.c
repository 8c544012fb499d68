/* Number formats: every code, and the check values of docs/spec/model.md, section 12.2. */
#include "quant/quant.h"
#include "support/support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void every_half_survives(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float x = quant_f16_to_f32((uint16_t)h), b = quant_bf16_to_f32((uint16_t)h);
        if (!isnan(x))
            assert_int_equal(quant_f32_to_f16(x), h);
        if (!isnan(b))
            assert_int_equal(quant_f32_to_bf16(b), h);
    }
}

static uint32_t bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* To 16 bits: nearest, ties to even, subnormals kept, infinity from halfway to the value that does not exist. */
static void halves_are_rounded_to_nearest_even(void **state)
{
    const struct {
        float x;
        uint16_t half, bf16;
    } cases[] = {
        { 1.0f, 0x3c00, 0x3f80 },          { -2.0f, 0xc000, 0xc000 },      { 0.0f, 0x0000, 0x0000 },
        { -0.0f, 0x8000, 0x8000 },         { 0x1.002p0f, 0x3c00, 0x3f80 }, /* halfway between two halves: the even one */
        { 0x1.006p0f, 0x3c02, 0x3f80 },                                    /* the same, one step on */
        { 0x1.002002p0f, 0x3c01, 0x3f80 },                                 /* a little above halfway */
        { 0x1.01p0f, 0x3c04, 0x3f80 },                                     /* halfway between two bf16 */
        { 0x1.03p0f, 0x3c0c, 0x3f82 },     { 65504.0f, 0x7bff, 0x4780 },   { 65519.0f, 0x7bff, 0x4780 },
        { 65520.0f, 0x7c00, 0x4780 },      { 1e30f, 0x7c00, 0x714a },      { -INFINITY, 0xfc00, 0xff80 },
        { 0x1p-24f, 0x0001, 0x3380 },     /* the least half */
        { 0x1p-25f, 0x0000, 0x3300 },     /* halfway to it */
        { 0x1.8p-24f, 0x0002, 0x33c0 },   /* halfway to the next */
        { 0x1.ff8p-15f, 0x03ff, 0x3880 }, /* the largest subnormal */
        { 0x1p-14f, 0x0400, 0x3880 },      { FLT_MAX, 0x7c00, 0x7f80 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(quant_f32_to_f16(cases[i].x), cases[i].half);
        assert_int_equal(quant_f32_to_bf16(cases[i].x), cases[i].bf16);
    }
    assert_float_equal(quant_f16_to_f32(0x0001), 0x1p-24f, 0.0f);
    assert_float_equal(quant_f16_to_f32(0x83ff), -0x1.ff8p-15f, 0.0f);
    assert_true(isnan(quant_f16_to_f32(quant_f32_to_f16(NAN))));
    assert_int_equal(quant_f32_to_bf16(NAN) & 0x7fc0, 0x7fc0); /* a quiet one, */
    uint32_t signalling = 0x7f800001;                          /* also where rounding would make an infinity */
    float nan;
    memcpy(&nan, &signalling, sizeof nan);
    assert_int_equal(quant_f32_to_bf16(nan), 0x7fc0);
}

/* All 256 codes, by the formats' definitions. */
static void every_code_of_fp8_and_of_scales_has_its_value(void **state)
{
    (void)state;
    for (int code = 0; code < 256; code++) {
        const int e = code >> 3 & 15, m = code & 7;
        const float x = quant_e4m3_to_f32((uint8_t)code), s = quant_e8m0_to_f32((uint8_t)code);
        if ((code & 0x7f) == 0x7f)
            assert_true(isnan(x));
        else
            assert_int_equal(bits(x), bits((code & 128 ? -1.0f : 1.0f) *
                                           (e ? ldexpf(1 + (float)m / 8, e - 7) : ldexpf((float)m / 8, -6))));
        if (code == 255)
            assert_true(isnan(s));
        else
            assert_int_equal(bits(s), bits(ldexpf(1, code - 127)));
    }
}

/* Between two neighbouring codes the nearer one is taken, and the even one in the middle. */
static void fp8_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint8_t code = 0; code < 0x7e; code++) {
        const float a = quant_e4m3_to_f32(code), b = quant_e4m3_to_f32(code + 1), middle = (a + b) / 2;
        assert_true(a < b);
        assert_int_equal(quant_f32_to_e4m3(a), code);
        assert_int_equal(quant_f32_to_e4m3(-a), code | 0x80);
        assert_int_equal(quant_f32_to_e4m3(nextafterf(middle, a)), code);
        assert_int_equal(quant_f32_to_e4m3(nextafterf(middle, b)), code + 1);
        assert_int_equal(quant_f32_to_e4m3(middle), code + (code & 1));
    }
    assert_float_equal(quant_e4m3_to_f32(0x7e), 448.0f, 0.0f);
    assert_float_equal(quant_e4m3_to_f32(0x01), 0x1p-9f, 0.0f);
    assert_true(isnan(quant_e4m3_to_f32(0x7f)));
}

static void fp8_saturates(void **state)
{
    const float large[] = { 448, 449, 463.9f, 464, 479, 480, 511, 512, 1e4f, 3.4e38f, INFINITY };
    (void)state;
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        assert_int_equal(quant_f32_to_e4m3(large[i]), 0x7e);
        assert_int_equal(quant_f32_to_e4m3(-large[i]), 0xfe);
    }
    assert_int_equal(quant_f32_to_e4m3(NAN) & 0x7f, 0x7f);
}

static void fp4_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint8_t code = 0; code < 7; code++) {
        const float a = quant_e2m1_to_f32(code), b = quant_e2m1_to_f32(code + 1), middle = (a + b) / 2;
        assert_int_equal(quant_f32_to_e2m1(a), code);
        assert_int_equal(quant_f32_to_e2m1(nextafterf(middle, a)), code);
        assert_int_equal(quant_f32_to_e2m1(nextafterf(middle, b)), code + 1);
        assert_int_equal(quant_f32_to_e2m1(middle), code + (code & 1));
    }
    assert_int_equal(quant_f32_to_e2m1(100.0f), 7);
}

static void the_roundings_of_the_state_have_their_check_values(void **state)
{
    float kv[64] = { 0.1f, 3.3f, 449.0f }, other[64] = { 100.0f }, whole[64] = { 448.0f }, h[4] = { 1, 2, 3, 4 };
    (void)state;
    quant_round_kv(kv, 64);
    assert_float_equal(kv[0], 0.1015625f, 0.0f);
    assert_float_equal(kv[1], 3.25f, 0.0f);
    assert_float_equal(kv[2], 448.0f, 0.0f);
    quant_round_kv(other, 64);
    assert_float_equal(other[0], 96.0f, 0.0f);
    quant_round_kv(whole, 64);
    assert_float_equal(whole[0], 448.0f, 0.0f);
    assert_float_equal(quant_pow2_scale(448.0f, 1e-4f, 448.0f), 1.0f, 0.0f);
    assert_float_equal(quant_pow2_scale(449.0f, 1e-4f, 448.0f), 2.0f, 0.0f);
    assert_float_equal(quant_pow2_scale(7.0f, 6 * 0x1p-126f, 6.0f), 2.0f, 0.0f);
    assert_float_equal(quant_pow2_scale(0.0f, 1e-4f, 448.0f), 0x1p-22f, 0.0f); /* the floors */
    assert_float_equal(quant_pow2_scale(0.0f, 6 * 0x1p-126f, 6.0f), 0x1p-126f, 0.0f);
    quant_hadamard(h, 4);
    assert_float_equal(h[0], 5.0f, 0.0f);
    assert_float_equal(h[1], -1.0f, 0.0f);
    assert_float_equal(h[2], -2.0f, 0.0f);
    assert_float_equal(h[3], 0.0f, 0.0f);
}

/* 64 channels make the rotation exact for short numbers, and doing it twice is doing nothing: so the blocks of 32 that are
 * rounded are the ones that docs/spec/model.md, section 12.2, gives values for. */
static void the_index_rounding_has_its_check_values(void **state)
{
    float given[64] = { 0.26f, -1.3f, 2.5f, 5.0f, 7.0f },
          ties[64] = { 6.0f, 0.25f, 0.75f, -1.25f, -1.75f, 3.5f, 5.0f, 2.5f };
    const float want_given[64] = { 0, -1, 2, 4, 8 }, want_ties[64] = { 6, 0, 1, -1, -2, 4, 4, 2 };
    (void)state;
    quant_hadamard(given, 64);
    quant_round_index(given, 64);
    quant_hadamard(ties, 64);
    quant_round_index(ties, 64);
    for (int i = 0; i < 64; i++) {
        assert_float_equal(given[i], want_given[i], 0.0f);
        assert_float_equal(ties[i], want_ties[i], 0.0f);
    }
}

/* The scale is the least power of two that covers the float32 product; at the borders, and at random. */
static void the_scale_is_the_least_that_covers(void **state)
{
    test_random r = test_random_seeded(3);
    const float tops[] = { 448.0f, 6.0f }, floors[] = { 1e-4f, 6 * 0x1p-126f };
    (void)state;
    for (int i = 0; i < 20000; i++)
        for (int k = 0; k < 2; k++) {
            float amax =
                ldexpf(1 + (float)test_random_below(&r, 1 << 20) / (1 << 20), (int)test_random_below(&r, 200) - 100);
            if (i % 4 == 0) /* top * 2^e and its neighbours */
                amax = nextafterf(ldexpf(tops[k], (int)test_random_below(&r, 20) - 10), i % 8 ? INFINITY : 0.0f);
            const float s = quant_pow2_scale(amax, floors[k], tops[k]);
            const float p = fmaxf(amax, floors[k]) * (1.0f / tops[k]);
            int e;
            assert_true(frexpf(s, &e) == 0.5f);
            assert_true(p <= s && p > s / 2);
        }
}

static double nearest_of(double v, const float *grid, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++) /* the grid ascends with its codes: of two equally near ones the even code wins */
        if (fabs(v - grid[i]) < fabs(v - grid[best]) || (fabs(v - grid[i]) == fabs(v - grid[best]) && i % 2 == 0))
            best = i;
    return grid[best];
}

/* Bit for bit: random rows of every length, blocks of very different sizes, against a search through the whole grid. */
static void the_roundings_of_the_state_are_those_of_a_search(void **state)
{
    float fp8[127], fp4[8];
    test_random r = test_random_seeded(17);
    (void)state;
    for (int i = 0; i < 127; i++)
        fp8[i] = quant_e4m3_to_f32((uint8_t)i);
    for (int i = 0; i < 8; i++)
        fp4[i] = quant_e2m1_to_f32((uint8_t)i);
    for (uint64_t round = 0; round < 60; round++) {
        const size_t n = round % 2 ? (size_t)32 << test_random_below(&r, 4) : 1 + test_random_below(&r, 200);
        float *x = test_random_f32(n, 400 + round), *turned = malloc(n * sizeof *x), *kv = malloc(n * sizeof *x);
        for (size_t i = 0; i < n; i++)
            turned[i] = kv[i] = x[i] *= ldexpf(1, (int)(i / 32 * 7 % 23) - 11);
        quant_round_kv(kv, n);
        for (size_t at = 0; at < n; at += 64) {
            float amax = 0;
            for (size_t i = at; i < n && i < at + 64; i++)
                amax = fmaxf(amax, fabsf(x[i]));
            const double s = quant_pow2_scale(amax, 1e-4f, 448.0f);
            for (size_t i = at; i < n && i < at + 64; i++)
                assert_int_equal(bits(kv[i]), bits((float)copysign(nearest_of(fabs(x[i] / s), fp8, 127) * s, x[i])));
        }
        if (round % 2) {
            quant_hadamard(turned, n);
            quant_round_index(x, n);
            for (size_t i = 0; i < n; i++) {
                float amax = 0;
                for (size_t k = i / 32 * 32; k < i / 32 * 32 + 32; k++)
                    amax = fmaxf(amax, fabsf(turned[k]));
                const double s = quant_pow2_scale(amax, 6 * 0x1p-126f, 6.0f);
                const double want = copysign(nearest_of(fabs(turned[i] / s), fp4, 8) * s, turned[i]);
                assert_int_equal(bits(x[i]), bits((float)want));
            }
        }
        free(x), free(turned), free(kv);
    }
}

/* The rotation keeps lengths, and twice is not at all. */
static void the_rotation_undoes_itself(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 256; n *= 2) {
        float *x = test_random_f32(n, n), *y = malloc(n * sizeof *y);
        memcpy(y, x, n * sizeof *y);
        quant_hadamard(y, n);
        quant_hadamard(y, n);
        for (size_t i = 0; i < n; i++)
            assert_float_equal(y[i], x[i], 4e-6f);
        free(x), free(y);
    }
}

/* What is on the grid stays: rounding twice is rounding once. */
static void rounding_twice_is_rounding_once(void **state)
{
    float *x = test_random_f32(192, 5), once[192];
    (void)state;
    for (int i = 0; i < 192; i++)
        x[i] *= 30.0f;
    memcpy(once, x, sizeof once);
    quant_round_kv(once, 192);
    memcpy(x, once, sizeof once);
    quant_round_kv(x, 192);
    assert_memory_equal(x, once, sizeof once);
    free(x);
}

/* Blocks with the values that another program reads in them, and the example of docs/spec/weights.md, section 2.3. */
static void known_blocks_of_q8_0(void **state)
{
    static const struct {
        const char *hex;
        float values[32];
    } blocks[] = {
        { "002062da1890fee2a773ba402acc0222438f39bbfac10c87db959667abd8d681ce1c",
          { 0.765625f,  -0.296875f,  0.1875f,     -0.875f,     -0.015625f, -0.234375f,  -0.6953125f, 0.8984375f,
            -0.546875f, 0.5f,        0.328125f,   -0.40625f,   0.015625f,  0.265625f,   0.5234375f,  -0.8828125f,
            0.4453125f, -0.5390625f, -0.046875f,  -0.4921875f, 0.09375f,   -0.9453125f, -0.2890625f, -0.8359375f,
            -0.828125f, 0.8046875f,  -0.6640625f, -0.3125f,    -0.328125f, -0.9921875f, -0.390625f,  0.21875f } },
        { "4c229f5b148c315d45fce80bafc0ced84e8d5484e65d9f786525d11a529d79c0d570",
          { -1.19296265f,   1.11917114f,   0.24597168f,   -1.42663574f,  0.602630615f,  1.14376831f,   0.848602295f,
            -0.0491943359f, -0.295166016f, 0.135284424f,  -0.996185303f, -0.787109375f, -0.614929199f, -0.491943359f,
            0.959289551f,   -1.41433716f,  1.03308105f,   -1.52502441f,  -0.319763184f, 1.14376831f,   -1.19296265f,
            1.47583008f,    1.24215698f,   0.455047607f,  -0.578033447f, 0.319763184f,  1.00848389f,   -1.21755981f,
            1.48812866f,    -0.787109375f, -0.528839111f, 1.37744141f } },
        { "003e15c9b522c989c83552f2eaf019a89cc71223e1f8817eedea73f595a29ca576a1",
          { 31.5f,  -82.5f, -112.5f, 51,     -82.5f,  -178.5f, -84,   79.5f,   123, -21,     -33,
            -24,    37.5f,  -132,    -150,   -85.5f,  27,      52.5f, -46.5f,  -12, -190.5f, 189,
            -28.5f, -33,    172.5f,  -16.5f, -160.5f, -141,    -150,  -136.5f, 177, -142.5f } },
        { "003401ff7f81000af60000000000000000000000000000000000000000000000000000",
          { 0.25f, -0.25f, 31.75f, -31.75f, 0, 2.5f, -2.5f } },
    };
    (void)state;
    for (size_t k = 0; k < sizeof blocks / sizeof blocks[0]; k++) {
        uint8_t block[QUANT_Q8_BYTES];
        float values[32];
        for (size_t i = 0; i < sizeof block; i++) {
            const char digits[3] = { blocks[k].hex[2 * i], blocks[k].hex[2 * i + 1], 0 };
            block[i] = (uint8_t)strtoul(digits, NULL, 16);
        }
        quant_row_to_f32(QUANT_Q8_0, block, values, 32);
        assert_memory_equal(values, blocks[k].values, sizeof values);
    }
}

/* q comes from the scale before that is rounded to a half, and halves are rounded away from zero. */
static void eight_bit_blocks_round_away_from_zero(void **state)
{
    float x[32] = { 127.0f, 0.5f, -0.5f, 1.5f, -2.5f, 0.49999997f };
    uint8_t block[QUANT_Q8_BYTES];
    const int8_t want[] = { 127, 1, -1, 2, -3, 0 };
    (void)state;
    quant_row_to_q8_0(x, 32, block);
    assert_int_equal(block[0] | block[1] << 8, 0x3c00);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal((int8_t)block[2 + i], want[i]);
    memset(x, 0, sizeof x);
    quant_row_to_q8_0(x, 32, block);
    for (size_t i = 0; i < sizeof block; i++)
        assert_int_equal(block[i], 0);
}

static void eight_bit_blocks(void **state)
{
    float *x = test_random_f32(256, 9), back[256], d[8];
    uint8_t row[8 * QUANT_Q8_BYTES];
    int8_t q[256];
    (void)state;
    quant_row_to_q8_0(x, 256, row);
    quant_row_to_f32(QUANT_Q8_0, row, back, 256);
    quant_activation_q8(x, 256, q, d);
    for (int i = 0; i < 256; i++) {
        assert_float_equal(back[i], x[i], d[i / 32] * 0.51f + fabsf(x[i]) * 0.002f);
        assert_float_equal(q[i] * d[i / 32], x[i], d[i / 32] * 0.501f);
        assert_true(q[i] >= -127);
    }
    free(x);
}

/* Of rows that were rounded, packing loses nothing; what is not finite stays so, and is not valid. */
static void packed_rows_hold_every_bit(void **state)
{
    enum { N = 512, ROT = 64, ROUNDS = 300 };
    static const float scales[] = { 0, 1e-30f, 1e-6f, 1e-3f, 1, 50, 3000, 1e20f };
    (void)state;
    assert_int_equal(quant_packed_kv_bytes(N, ROT), 584);
    assert_int_equal(quant_packed_kv_bytes(192, 64), 264);
    assert_int_equal(quant_packed_kv_bytes(100, 64), 0);
    assert_int_equal(quant_packed_index_bytes(128), 68);
    assert_int_equal(quant_packed_index_bytes(48), 0);
    for (size_t round = 0; round < ROUNDS; round++) {
        float *x = test_random_f32(N, round), back[N];
        uint8_t packed[584];
        for (size_t i = 0; i < N; i++) /* neighbouring blocks of all sizes, zeros between */
            x[i] *= scales[(i / 64 + round) % (sizeof scales / sizeof scales[0])] * (i % 7 ? 1.0f : 0.0f);
        float kv[N], index[128];
        memcpy(kv, x, sizeof kv);
        memcpy(index, x + round % 64, sizeof index);
        quant_round_kv(kv, N - ROT);
        quant_round_bf16(kv + N - ROT, ROT);
        quant_pack_kv(kv, N, ROT, packed);
        assert_true(quant_packed_kv_valid(packed, N, ROT));
        quant_unpack_kv(packed, N, ROT, back);
        assert_memory_equal(back, kv, sizeof kv);
        quant_round_index(index, 128);
        quant_pack_index(index, 128, packed);
        assert_true(quant_packed_index_valid(packed, 128));
        quant_unpack_index(packed, 128, back);
        for (size_t i = 0; i < 128; i++)
            assert_float_equal(back[i], index[i], 0.0f); /* -0 has become 0 */
        const float bad[] = { NAN, INFINITY, -INFINITY };
        kv[round % N] = bad[round % 3];
        index[round % 128] = bad[round % 3];
        quant_pack_kv(kv, N, ROT, packed);
        assert_false(quant_packed_kv_valid(packed, N, ROT));
        quant_unpack_kv(packed, N, ROT, back);
        assert_false(isfinite(back[round % N]));
        quant_pack_index(index, 128, packed);
        assert_false(quant_packed_index_valid(packed, 128));
        quant_unpack_index(packed, 128, back);
        assert_false(isfinite(back[round % 128]));
        free(x);
    }
}

/* Every byte of a packed row that no packing gives is noticed: NaN codes, NaN scales, what must be zero, infinite tails. */
static void damaged_packed_rows_are_not_valid(void **state)
{
    float *x = test_random_f32(512, 3);
    uint8_t kv[584], index[68];
    (void)state;
    quant_pack_kv(x, 512, 64, kv);
    quant_pack_index(x, 128, index);
    for (size_t i = 0; i < 456; i++) {
        const uint8_t was = kv[i];
        kv[i] = i < 448 ? 0x7f : 0xff; /* code, scale, padding */
        assert_false(quant_packed_kv_valid(kv, 512, 64));
        kv[i] = i < 448 ? 0xff : was;
        assert_int_equal(quant_packed_kv_valid(kv, 512, 64), i >= 448);
        kv[i] = was;
    }
    for (size_t i = 456; i < 584; i += 2) {
        const uint8_t low = kv[i], high = kv[i + 1];
        kv[i] = 0x80, kv[i + 1] = 0x7f;
        assert_false(quant_packed_kv_valid(kv, 512, 64));
        kv[i] = low, kv[i + 1] = high;
    }
    for (size_t i = 0; i < 68; i++)
        for (unsigned half = 0; half < 2; half++) {
            const uint8_t was = index[i];
            index[i] = i >= 64 ? 0xff : half ? (uint8_t)((was & 0xf) | 0x80) : (uint8_t)((was & 0xf0) | 8);
            assert_false(quant_packed_index_valid(index, 128));
            index[i] = was;
        }
    assert_true(quant_packed_kv_valid(kv, 512, 64));
    assert_true(quant_packed_index_valid(index, 128));
    free(x);
}

/* Also scales so large that a value is infinite, although neither the scale nor the code is. */
static void packed_values_that_overflow_are_not_valid(void **state)
{
    (void)state;
    for (unsigned scale = 240; scale < 255; scale++)
        for (unsigned code = 0; code < 0x7f; code++) {
            uint8_t kv[64 + 8] = { 0 }, index[16 + 1] = { 0 };
            float x[64];
            kv[code % 64] = (uint8_t)(code | (code & 1) << 7);
            kv[64] = (uint8_t)scale;
            quant_unpack_kv(kv, 64, 0, x);
            assert_int_equal(quant_packed_kv_valid(kv, 64, 0), isfinite(x[code % 64]) != 0);
            if (code >= 16 || code == 8)
                continue;
            index[code] = (uint8_t)(code % 2 ? code << 4 : code);
            index[16] = (uint8_t)scale;
            quant_unpack_index(index, 32, x);
            assert_int_equal(quant_packed_index_valid(index, 32), isfinite(x[2 * code + code % 2]) != 0);
        }
}

/* Values so small that their scale is rounded to a few bits, and values that are none. */
static void eight_bit_values_stay_in_range(void **state)
{
    const float tiny = 0x1p-149f;
    const float blocks[][4] = { { 190 * tiny, -190 * tiny, tiny, 0 },
                                { -3 * tiny, tiny, 2 * tiny, -tiny },
                                { 1, NAN, -1, -NAN },
                                { INFINITY, -INFINITY, 1, NAN } };
    (void)state;
    for (size_t k = 0; k < sizeof blocks / sizeof blocks[0]; k++) {
        float x[32] = { 0 }, d;
        int8_t q[32];
        uint8_t row[QUANT_Q8_BYTES];
        memcpy(x, blocks[k], sizeof blocks[k]);
        quant_activation_q8(x, 32, q, &d);
        quant_row_to_q8_0(x, 32, row);
        for (size_t i = 0; i < 32; i++) {
            assert_in_range(q[i] + 127, 0, 254);
            assert_int_equal((int8_t)row[2 + i], q[i]);
            if (isnan(x[i]))
                assert_int_equal(q[i], 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_survives),
        cmocka_unit_test(halves_are_rounded_to_nearest_even),
        cmocka_unit_test(every_code_of_fp8_and_of_scales_has_its_value),
        cmocka_unit_test(fp8_rounds_to_nearest_even),
        cmocka_unit_test(fp8_saturates),
        cmocka_unit_test(fp4_rounds_to_nearest_even),
        cmocka_unit_test(the_roundings_of_the_state_have_their_check_values),
        cmocka_unit_test(the_index_rounding_has_its_check_values),
        cmocka_unit_test(the_scale_is_the_least_that_covers),
        cmocka_unit_test(the_roundings_of_the_state_are_those_of_a_search),
        cmocka_unit_test(the_rotation_undoes_itself),
        cmocka_unit_test(rounding_twice_is_rounding_once),
        cmocka_unit_test(known_blocks_of_q8_0),
        cmocka_unit_test(eight_bit_blocks_round_away_from_zero),
        cmocka_unit_test(eight_bit_blocks),
        cmocka_unit_test(packed_rows_hold_every_bit),
        cmocka_unit_test(damaged_packed_rows_are_not_valid),
        cmocka_unit_test(packed_values_that_overflow_are_not_valid),
        cmocka_unit_test(eight_bit_values_stay_in_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
