/* Every variant of every kernel against the scalar one, and against itself in other tiles: the bits of a pair must not depend
 * on its company. */
#include "backend/cpu/kernels.h"
#include "quant/quant.h"
#include "support/support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 7, X = 6, N_MAX = 1056 };

static const uint32_t types[] = { QUANT_F32, QUANT_F16, QUANT_BF16, QUANT_Q8_0 };

static tile_fn *tile_of(const cpu_kernels *k, uint32_t type)
{
    return type == QUANT_F32 ? k->f32 : type == QUANT_F16 ? k->f16 : type == QUANT_BF16 ? k->bf16 : k->q8_0;
}

/* ROWS rows of random weights of a type, each in its own block without slack, so that a read beyond a row is seen. */
static void make_rows(uint32_t type, size_t n, uint8_t *rows[ROWS])
{
    for (size_t i = 0; i < ROWS; i++) {
        float *values = test_random_f32(n, 100 + i);
        rows[i] = malloc(quant_row_bytes(type, n));
        for (size_t c = 0; c < n; c++) {
            const uint16_t half = type == QUANT_F16 ? quant_f32_to_f16(values[c]) : quant_f32_to_bf16(values[c]);
            if (type == QUANT_F32)
                memcpy(rows[i] + 4 * c, &values[c], 4);
            else if (type != QUANT_Q8_0)
                rows[i][2 * c] = (uint8_t)half, rows[i][2 * c + 1] = (uint8_t)(half >> 8);
        }
        if (type == QUANT_Q8_0)
            quant_row_to_q8_0(values, n, rows[i]);
        free(values);
    }
}

static void check_tiles(const cpu_kernels *k, uint32_t type, size_t n)
{
    uint8_t *rows[ROWS];
    float *x[X], want[X * ROWS], got[X * ROWS], alone;
    make_rows(type, n, rows);
    for (size_t j = 0; j < X; j++)
        x[j] = test_random_f32(n, 200 + j);
    tile_of(&cpu_kernels_scalar, type)(want, ROWS, (const uint8_t *const *)rows, ROWS, (const float *const *)x, X, n);
    tile_of(k, type)(got, ROWS, (const uint8_t *const *)rows, ROWS, (const float *const *)x, X, n);
    for (size_t j = 0; j < X; j++)
        for (size_t i = 0; i < ROWS; i++) {
            /* n products of size about 1: any order of summation errs by n u |w||x| at most. */
            const float bound = (float)n * FLT_EPSILON * 4.0f + 1e-6f;
            assert_float_equal(got[j * ROWS + i], want[j * ROWS + i], bound);
            tile_of(k, type)(&alone, 1, (const uint8_t *const *)&rows[i], 1, (const float *const *)&x[j], 1, n);
            assert_memory_equal(&alone, &got[j * ROWS + i], sizeof alone);
        }
    for (size_t i = 0; i < ROWS; i++)
        free(rows[i]);
    for (size_t j = 0; j < X; j++)
        free(x[j]);
}

static void check_quantised(const cpu_kernels *k, size_t n)
{
    uint8_t *rows[ROWS];
    q8_vector x[X];
    float want[X * ROWS], got[X * ROWS], alone;
    make_rows(QUANT_Q8_0, n, rows);
    rows[0][2] = 0x80; /* -128 may stand in a file */
    for (size_t j = 0; j < X; j++) {
        float *values = test_random_f32(n, 300 + j);
        int8_t *q = malloc(n);
        float *d = malloc(n / 32 * sizeof *d);
        quant_activation_q8(values, n, q, d);
        x[j] = (q8_vector){ q, d };
        free(values);
    }
    cpu_kernels_scalar.q8_0_q8(want, ROWS, (const uint8_t *const *)rows, ROWS, x, X, n);
    k->q8_0_q8(got, ROWS, (const uint8_t *const *)rows, ROWS, x, X, n);
    for (size_t j = 0; j < X; j++)
        for (size_t i = 0; i < ROWS; i++) {
            assert_float_equal(got[j * ROWS + i], want[j * ROWS + i], (float)n * FLT_EPSILON * 4.0f + 1e-6f);
            k->q8_0_q8(&alone, 1, (const uint8_t *const *)&rows[i], 1, &x[j], 1, n);
            assert_memory_equal(&alone, &got[j * ROWS + i], sizeof alone);
        }
    for (size_t i = 0; i < ROWS; i++)
        free(rows[i]);
    for (size_t j = 0; j < X; j++) {
        free((void *)x[j].q);
        free((void *)x[j].d);
    }
}

static void every_variant_agrees_with_scalar_and_with_itself(void **state)
{
    const size_t lengths[] = { 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 256, N_MAX };
    (void)state;
    for (size_t v = 0; v < n_cpu_kernel_variants; v++) {
        const cpu_kernels *k = cpu_kernel_variants[v];
        if (!cpu_has(k->needs)) {
            print_message("not checked here: %s\n", k->name);
            continue;
        }
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            for (size_t t = 0; t < 3; t++)
                check_tiles(k, types[t], lengths[i]);
            if (lengths[i] % 32 == 0) {
                check_tiles(k, QUANT_Q8_0, lengths[i]);
                check_quantised(k, lengths[i]);
            }
        }
    }
}

static void weighted_sums_agree(void **state)
{
    enum { N_ROWS = 40 };
    const size_t dims[] = { 1, 5, 16, 24, 63, 64, 65, 128, 192, 200 };
    (void)state;
    for (size_t v = 1; v < n_cpu_kernel_variants; v++) {
        const cpu_kernels *k = cpu_kernel_variants[v];
        if (!cpu_has(k->needs))
            continue;
        for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
            float *rows[N_ROWS], *p = test_random_f32(N_ROWS, 1), want[200], got[201];
            for (size_t i = 0; i < N_ROWS; i++)
                rows[i] = test_random_f32(dims[d], 10 + i);
            got[dims[d]] = 42.0f; /* a guard */
            cpu_kernels_scalar.weighted_sum(want, (const float *const *)rows, p, N_ROWS, dims[d]);
            k->weighted_sum(got, (const float *const *)rows, p, N_ROWS, dims[d]);
            for (size_t c = 0; c < dims[d]; c++)
                assert_float_equal(got[c], want[c], N_ROWS * FLT_EPSILON * 4.0f);
            assert_float_equal(got[dims[d]], 42.0f, 0.0f);
            for (size_t i = 0; i < N_ROWS; i++)
                free(rows[i]);
            free(p);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant_agrees_with_scalar_and_with_itself),
        cmocka_unit_test(weighted_sums_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
