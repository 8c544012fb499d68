/* The NEON kernels against the scalar ones, without a test library: runs under qemu-user. Prints how many results agreed. */
#include "backend/cpu/kernels.h"
#include "quant/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 5, X = 3 };

static float noise(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (float)((int64_t)(*state >> 33) - (1 << 30)) / (float)(1 << 30);
}

static int compare(const float *a, const float *b, size_t n, float bound)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= bound)) {
            printf("%zu: %g against %g\n", i, (double)a[i], (double)b[i]);
            exit(1);
        }
    return (int)n;
}

int main(void)
{
    const cpu_kernels *fast = cpu_kernels_find(NULL);
    static float x[X][1024], values[1024], want[ROWS * X], got[ROWS * X];
    static uint8_t rows[4][ROWS][4096];
    static int8_t q[X][1024];
    static float d[X][32];
    static const uint32_t types[] = { QUANT_F32, QUANT_F16, QUANT_BF16, QUANT_Q8_0 };
    uint64_t state = 1;
    int agreed = 0;
    for (size_t n = 32; n <= 1024; n *= 2) {
        const uint8_t *list[4][ROWS];
        const float *xs[X];
        q8_vector qs[X];
        for (size_t j = 0; j < X; j++) {
            for (size_t c = 0; c < n; c++)
                x[j][c] = noise(&state);
            quant_activation_q8(x[j], n, q[j], d[j]);
            xs[j] = x[j];
            qs[j] = (q8_vector){ q[j], d[j] };
        }
        for (size_t i = 0; i < ROWS; i++) {
            for (size_t c = 0; c < n; c++) {
                values[c] = noise(&state);
                const uint16_t h = quant_f32_to_f16(values[c]), b = quant_f32_to_bf16(values[c]);
                memcpy(rows[0][i] + 4 * c, &values[c], 4);
                memcpy(rows[1][i] + 2 * c, &h, 2);
                memcpy(rows[2][i] + 2 * c, &b, 2);
            }
            quant_row_to_q8_0(values, n, rows[3][i]);
            for (size_t t = 0; t < 4; t++)
                list[t][i] = rows[t][i];
        }
        for (size_t t = 0; t < 4; t++) {
            const cpu_kernels *k[] = { &cpu_kernels_scalar, fast };
            float *out[] = { want, got };
            for (int v = 0; v < 2; v++) {
                tile_fn *tile = types[t] == QUANT_F32    ? k[v]->f32
                                : types[t] == QUANT_F16  ? k[v]->f16
                                : types[t] == QUANT_BF16 ? k[v]->bf16
                                                         : k[v]->q8_0;
                tile(out[v], ROWS, list[t], ROWS, xs, X, n);
            }
            agreed += compare(got, want, ROWS * X, (float)n * 2e-6f);
        }
        cpu_kernels_scalar.q8_0_q8(want, ROWS, list[3], ROWS, qs, X, n);
        fast->q8_0_q8(got, ROWS, list[3], ROWS, qs, X, n);
        agreed += compare(got, want, ROWS * X, (float)n * 2e-6f);
    }
    printf("%s agrees with scalar in %d results\n", fast->name, agreed);
    return strcmp(fast->name, "scalar") == 0; /* the fast ones were meant */
}
