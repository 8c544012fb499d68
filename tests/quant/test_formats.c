/* Number formats: every code, and the check values of model specification 12.2. */
#include "quant/quant.h"
#include "support/support.h"

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
    quant_hadamard(h, 4);
    assert_float_equal(h[0], 5.0f, 0.0f);
    assert_float_equal(h[1], -1.0f, 0.0f);
    assert_float_equal(h[2], -2.0f, 0.0f);
    assert_float_equal(h[3], 0.0f, 0.0f);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_survives),
        cmocka_unit_test(fp8_rounds_to_nearest_even),
        cmocka_unit_test(fp4_rounds_to_nearest_even),
        cmocka_unit_test(the_roundings_of_the_state_have_their_check_values),
        cmocka_unit_test(rounding_twice_is_rounding_once),
        cmocka_unit_test(eight_bit_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
