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

/* Calls check(variant) for every variant that runs here. */
static void for_each_variant(void (*check)(const cpu_kernels *k))
{
    for (size_t v = 0; v < n_cpu_kernel_variants; v++)
        if (cpu_has(cpu_kernel_variants[v]->needs))
            check(cpu_kernel_variants[v]);
}

/* n values of many sizes, on a heap of their own so that a read beyond them is seen. */
static float *values_of_all_sizes(size_t n, uint64_t seed)
{
    test_random r = test_random_seeded(seed);
    float *x = malloc((n ? n : 1) * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = ldexpf(test_random_normal(&r), (int)test_random_below(&r, 20) - 10);
    return x;
}

/* To the bit, on random values, on halves (where rounding ties), and on values that are none. */
static void check_quantise(const cpu_kernels *k)
{
    enum { N = 32 * 9 };
    float *x[4] = { values_of_all_sizes(N, 1), values_of_all_sizes(N, 2), values_of_all_sizes(N, 3), calloc(N, 4) };
    for (size_t i = 0; i < N; i++)
        x[1][i] = i % 32 == 5 ? 127.0f : (float)(i % 32) - 15.5f; /* d is 1: exact halves */
    x[2][3] = NAN, x[2][40] = INFINITY, x[2][70] = -INFINITY, x[2][71] = NAN, x[2][100] = 1e-42f;
    for (size_t i = 96; i < 128; i++)
        x[2][i] *= 1e-40f; /* a block of subnormals */
    for (size_t i = 0; i < 4; i++) {
        int8_t *want = malloc(N), *got = malloc(N);
        float want_d[N / 32], got_d[N / 32];
        quant_activation_q8(x[i], N, want, want_d);
        k->quantise(x[i], N, got, got_d);
        assert_memory_equal(got, want, N);
        assert_memory_equal(got_d, want_d, sizeof want_d);
        free(want), free(got), free(x[i]);
    }
}

static void every_variant_quantises_to_the_same_bits(void **state)
{
    (void)state;
    for_each_variant(check_quantise);
}

/* Each weight within a few units of its last place of the one that double gives, and each a function of the row alone. */
static void check_softmax(const cpu_kernels *k)
{
    const size_t lengths[] = { 0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 129, 641, 5000 };
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++)
        for (int sink = -40; sink <= 40; sink += 20) {
            const size_t n = lengths[l];
            float *scores = test_random_f32(n, 50 + l), *got = malloc(n * sizeof *got + 1);
            double top = sink, sum = 0.0;
            for (size_t i = 0; i < n; i++) {
                scores[i] *= 60.0f;
                got[i] = scores[i];
                top = fmax(top, (double)(scores[i] * 0.125f));
            }
            for (size_t i = 0; i < n; i++)
                sum += exp((double)(scores[i] * 0.125f) - top);
            sum += exp(sink - top);
            k->softmax(got, n, 0.125f, (float)sink);
            for (size_t i = 0; i < n; i++) {
                /* The difference to the largest score is rounded before e^: up to 60 * u, that is 30 eps. */
                const double want = exp((double)(scores[i] * 0.125f) - top) / sum;
                assert_true(fabs(got[i] - want) <= 40 * (double)FLT_EPSILON * want + 2e-38);
            }
            free(scores), free(got);
        }
    float bad[20] = { 1.0f, [19] = NAN };
    k->softmax(bad, 20, 1.0f, 0.0f);
    assert_true(isnan(bad[0]) && isnan(bad[19])); /* to be noticed */
}

static void weights_of_attention_sum_to_one(void **state)
{
    (void)state;
    for_each_variant(check_softmax);
}

static void check_swiglu(const cpu_kernels *k)
{
    const size_t lengths[] = { 1, 3, 7, 8, 9, 15, 16, 17, 32, 45 };
    const float limits[] = { 0.0f, 1.5f, 10.0f };
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++)
        for (size_t m = 0; m < 3; m++) {
            const size_t n = lengths[l];
            float *gate = values_of_all_sizes(n, 5 + l), *up = values_of_all_sizes(n, 25 + l), want[45], got[46], one;
            got[n] = 42.0f; /* a guard */
            cpu_kernels_scalar.swiglu(want, gate, up, n, limits[m], 0.7f);
            k->swiglu(got, gate, up, n, limits[m], 0.7f);
            assert_float_equal(got[n], 42.0f, 0.0f);
            for (size_t i = 0; i < n; i++) {
                assert_float_equal(got[i], want[i], 8 * FLT_EPSILON * fabsf(want[i]) + 1e-34f * fabsf(gate[i] * up[i]));
                k->swiglu(&one, gate + i, up + i, 1, limits[m], 0.7f);
                assert_memory_equal(&one, &got[i], sizeof one); /* wherever it stands */
            }
            free(gate), free(up);
        }
    const float gate[] = { NAN, 1.0f, -INFINITY, 200.0f, -200.0f }, up[] = { 1.0f, NAN, 1.0f, 3.0f, 3.0f };
    float out[5];
    k->swiglu(out, gate, up, 5, 10.0f, 1.0f);
    assert_true(isnan(out[0]) && isnan(out[1]));
    assert_float_equal(out[3], 30.0f, 0.01f);
    assert_float_equal(out[4], 0.0f, 1e-30f);
}

static void gated_units_agree(void **state)
{
    (void)state;
    for_each_variant(check_swiglu);
}

static void check_squares(const cpu_kernels *k)
{
    const size_t lengths[] = { 0, 1, 3, 4, 5, 7, 8, 9, 24, 36, 448, 4096 };
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
        float *x = values_of_all_sizes(lengths[l], 70 + l);
        const double want = cpu_kernels_scalar.sum_squares(x, lengths[l]), got = k->sum_squares(x, lengths[l]);
        assert_true(fabs(got - want) <= (double)lengths[l] * 2.3e-16 * want);
        free(x);
    }
}

static void sums_of_squares_agree(void **state)
{
    (void)state;
    for_each_variant(check_squares);
}

/* Scales that are powers of two, and sums below 2^24: every variant must have every integer right. */
static void check_integers(const cpu_kernels *k)
{
    enum { N = 320 };
    test_random r = test_random_seeded(11);
    uint8_t row[N / 32 * QUANT_Q8_BYTES];
    const uint8_t *rows[] = { row };
    int8_t q[N];
    float d[N / 32], want = 0.0f, got;
    int32_t sum = 0;
    for (size_t b = 0; b < N / 32; b++) {
        d[b] = 1.0f;
        row[b * QUANT_Q8_BYTES] = 0, row[b * QUANT_Q8_BYTES + 1] = 0x3c; /* 1 */
        for (size_t c = 0; c < 32; c++) {
            const int8_t w = (int8_t)(test_random_below(&r, 3) ? test_random_below(&r, 256) : 128);
            q[b * 32 + c] = (int8_t)(test_random_below(&r, 3) ? (int)test_random_below(&r, 255) - 127 : -127);
            row[b * QUANT_Q8_BYTES + 2 + c] = (uint8_t)w;
            sum += w * q[b * 32 + c];
        }
    }
    want = (float)sum;
    k->q8_0_q8(&got, 1, rows, 1, &(q8_vector){ q, d }, 1, N);
    assert_float_equal(got, want, 0.0f);
}

static void integer_parts_are_exact(void **state)
{
    (void)state;
    for_each_variant(check_integers);
}

/* Unpacking has one right answer. Rows stand in blocks without slack, so that a read beyond a row is seen. */
static void packed_rows_unpack_to_the_same_bits(void **state)
{
    const struct {
        size_t n, n_rot, n_index;
    } shapes[] = { { 512, 64, 128 }, { 192, 64, 64 }, { 72, 8, 32 }, { 70, 6, 96 } };
    (void)state;
    for (size_t v = 1; v < n_cpu_kernel_variants; v++) {
        const cpu_kernels *k = cpu_kernel_variants[v];
        if (!cpu_has(k->needs))
            continue;
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
            for (uint64_t seed = 0; seed < 20; seed++) {
                const size_t n = shapes[s].n, n_rot = shapes[s].n_rot, n_index = shapes[s].n_index;
                float *x = test_random_f32(n, seed), *want = malloc(n * sizeof *want), *got = malloc(n * sizeof *got);
                uint8_t *kv = malloc(quant_packed_kv_bytes(n, n_rot)),
                        *index = malloc(quant_packed_index_bytes(n_index));
                for (size_t i = 0; i < n; i++)
                    x[i] *= powf(10, (float)((i / 64 + seed) % 9) - 6);
                if (seed % 5 == 4)
                    x[seed] = NAN;
                quant_pack_kv(x, n, n_rot, kv);
                quant_unpack_kv(kv, n, n_rot, want);
                k->unpack_kv(kv, n, n_rot, got);
                for (size_t i = 0; i < n; i++) /* a NaN may be another NaN */
                    assert_true(memcmp(&got[i], &want[i], sizeof got[i]) == 0 ||
                                (got[i] != got[i] && want[i] != want[i]));
                float *values = test_random_f32(n_index, seed + 100);
                if (seed % 5 == 4)
                    values[seed] = NAN;
                quant_pack_index(values, n_index, index);
                float *want_index = malloc(n_index * sizeof *want), *got_index = malloc(n_index * sizeof *got);
                quant_unpack_index(index, n_index, want_index);
                k->unpack_index(index, n_index, got_index);
                for (size_t i = 0; i < n_index; i++)
                    assert_true(memcmp(&got_index[i], &want_index[i], sizeof *got) == 0 ||
                                (got_index[i] != got_index[i] && want_index[i] != want_index[i]));
                free(x), free(want), free(got), free(kv), free(index), free(values), free(want_index), free(got_index);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant_agrees_with_scalar_and_with_itself),
        cmocka_unit_test(weighted_sums_agree),
        cmocka_unit_test(every_variant_quantises_to_the_same_bits),
        cmocka_unit_test(weights_of_attention_sum_to_one),
        cmocka_unit_test(gated_units_agree),
        cmocka_unit_test(sums_of_squares_agree),
        cmocka_unit_test(integer_parts_are_exact),
        cmocka_unit_test(packed_rows_unpack_to_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
