/* The NEON kernels against the scalar ones, without a test library: runs under qemu-user. Prints how many results agreed. */
#include "backend/cpu/kernels.h"
#include "quant/quant.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 5, X = 3, N_MAX = 1024, N_TYPES = 4 };
static const uint32_t types[N_TYPES] = { QUANT_F32, QUANT_F16, QUANT_BF16, QUANT_Q8_0 };
static uint64_t state = 1;
static int agreed;

static float noise(void)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (float)((int64_t)(state >> 33) - (1 << 30)) / (float)(1 << 30);
}

static void compare(const char *what, const float *got, const float *want, size_t n, float bound)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - want[i]) <= bound)) {
            printf("%s %zu: %g against %g\n", what, i, (double)got[i], (double)want[i]);
            exit(1);
        }
    agreed += (int)n;
}

static tile_fn *tile_of(const cpu_kernels *k, uint32_t type)
{
    return type == QUANT_F32 ? k->f32 : type == QUANT_F16 ? k->f16 : type == QUANT_BF16 ? k->bf16 : k->q8_0;
}

/* Tiles against the scalar ones, and each pair against itself alone. */
static void check_tiles(const cpu_kernels *fast, size_t n)
{
    static float values[N_MAX], x[X][N_MAX], want[ROWS * X], got[ROWS * X], alone;
    static uint8_t rows[N_TYPES][ROWS][4 * N_MAX];
    static int8_t q[X][N_MAX];
    static float d[X][N_MAX / 32];
    const uint8_t *list[N_TYPES][ROWS];
    const float *xs[X];
    q8_vector qs[X];
    const bool blocks = n % QUANT_Q8_BLOCK == 0;
    for (size_t j = 0; j < X; j++) {
        for (size_t c = 0; c < n; c++)
            x[j][c] = noise();
        quant_activation_q8(x[j], n, q[j], d[j]);
        xs[j] = x[j];
        qs[j] = (q8_vector){ q[j], d[j] };
    }
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t c = 0; c < n; c++) {
            values[c] = noise();
            const uint16_t h = quant_f32_to_f16(values[c]), b = quant_f32_to_bf16(values[c]);
            memcpy(rows[0][i] + 4 * c, &values[c], 4);
            memcpy(rows[1][i] + 2 * c, &h, 2);
            memcpy(rows[2][i] + 2 * c, &b, 2);
        }
        quant_row_to_q8_0(values, n, rows[3][i]);
        for (size_t t = 0; t < N_TYPES; t++)
            list[t][i] = rows[t][i];
    }
    for (size_t t = 0; t < (blocks ? N_TYPES : N_TYPES - 1); t++) {
        tile_of(&cpu_kernels_scalar, types[t])(want, ROWS, list[t], ROWS, xs, X, n);
        tile_of(fast, types[t])(got, ROWS, list[t], ROWS, xs, X, n);
        compare("tile", got, want, ROWS * X, (float)n * 2e-6f);
        for (size_t i = 0; i < ROWS; i++) {
            tile_of(fast, types[t])(&alone, 1, &list[t][i], 1, &xs[1], 1, n);
            compare("tile of one", &alone, &got[ROWS + i], 1, 0.0f);
        }
    }
    if (blocks) {
        cpu_kernels_scalar.q8_0_q8(want, ROWS, list[3], ROWS, qs, X, n);
        fast->q8_0_q8(got, ROWS, list[3], ROWS, qs, X, n);
        compare("q8 tile", got, want, ROWS * X, (float)n * 2e-6f);
    }
}

static void check_vectors(const cpu_kernels *fast, size_t n)
{
    static float x[N_MAX], y[N_MAX], want[N_MAX], got[N_MAX], d[2][N_MAX / 32];
    static int8_t q[2][N_MAX];
    const float *rows[] = { x, y, x }, p[] = { 0.5f, -1.25f, 0.3f };
    for (size_t i = 0; i < n; i++)
        x[i] = 4 * noise(), y[i] = 4 * noise();
    cpu_kernels_scalar.weighted_sum(want, rows, p, 3, n);
    fast->weighted_sum(got, rows, p, 3, n);
    compare("sum of rows", got, want, n, 1e-5f);
    cpu_kernels_scalar.swiglu(want, x, y, n, 3.0f, 0.7f);
    fast->swiglu(got, x, y, n, 3.0f, 0.7f);
    compare("gated units", got, want, n, 1e-5f);
    memcpy(want, x, n * sizeof *x);
    memcpy(got, x, n * sizeof *x);
    cpu_kernels_scalar.softmax(want, n, 2.0f, 1.0f);
    fast->softmax(got, n, 2.0f, 1.0f);
    compare("softmax", got, want, n, 1e-6f);
    want[0] = (float)cpu_kernels_scalar.sum_squares(x, n);
    got[0] = (float)fast->sum_squares(x, n);
    compare("squares", got, want, 1, FLT_EPSILON * want[0]);
    for (size_t i = 0; i < n; i += 7)
        x[i] = i % 2 ? NAN : 12.5f; /* exact halves, and values that are none */
    if (n % QUANT_Q8_BLOCK == 0) {
        quant_activation_q8(x, n, q[0], d[0]);
        fast->quantise(x, n, q[1], d[1]);
        if (memcmp(q[0], q[1], n) != 0 || memcmp(d[0], d[1], n / 32 * sizeof d[0][0]) != 0) {
            printf("quantising %zu values gives other bits\n", n);
            exit(1);
        }
        agreed += (int)n;
    }
}

/* Packed rows have one right answer. */
static void check_unpacking(const cpu_kernels *fast)
{
    enum { N = 512, ROT = 64, INDEX = 128 };
    static float x[N], want[N], got[N];
    static uint8_t kv[N + N], index[INDEX];
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < N; i++)
            x[i] = noise() * powf(10.0f, (float)((int)(i / 64 + (size_t)round) % 9 - 6));
        quant_pack_kv(x, N, ROT, kv);
        quant_unpack_kv(kv, N, ROT, want);
        fast->unpack_kv(kv, N, ROT, got);
        compare("unpack kv", got, want, N, 0.0f);
        quant_pack_index(x, INDEX, index);
        quant_unpack_index(index, INDEX, want);
        fast->unpack_index(index, INDEX, got);
        compare("unpack index", got, want, INDEX, 0.0f);
    }
}

int main(void)
{
    const cpu_kernels *fast = cpu_kernels_find(NULL);
    const size_t lengths[] = { 1, 2, 3, 4, 5, 7, 8, 31, 32, 33, 63, 64, 127, 192, 256, 1023, 1024 };
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        check_tiles(fast, lengths[i]);
        check_vectors(fast, lengths[i]);
    }
    check_unpacking(fast);
    printf("%s agrees with scalar in %d results\n", fast->name, agreed);
    return strcmp(fast->name, "scalar") == 0; /* the fast ones were meant */
}
