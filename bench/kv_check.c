/* How fast the bytes of a checkpoint are checked: the digest (V5) and the values (V7), beside a plain copy.
 *
 *     cmake --build build --target bench-kv-check && build/bench/bench-kv-check [MIB]
 *
 * The buffer is larger than the caches, as a checkpoint is. Medians of nine rounds, in turn. */
#include "base/clock.h"
#include "kv/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 9, WAYS = 3, GROUPS = 43 };

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static const char *const names[WAYS] = { "copy", "digest (XXH3-128)", "values (finite, STATS)" };
    const size_t size = (argc > 1 ? strtoull(argv[1], NULL, 10) : 128) << 20, n = size / sizeof(float);
    float *values = aligned_alloc(4096, size), *copy = aligned_alloc(4096, size), stats[2 * GROUPS];
    double speeds[WAYS][ROUNDS], sink = 0;
    if (!values || !copy)
        return 1;
    for (size_t i = 0; i < n; i++)
        values[i] = (float)(i % 1999) / 1000.0f - 1.0f;
    memset(copy, 1, size);
    for (int round = 0; round < ROUNDS; round++)
        for (int way = 0; way < WAYS; way++) {
            const int64_t begin_us = clock_monotonic_us();
            if (way == 0)
                memcpy(copy, values, size);
            else if (way == 1)
                sink += hash_bytes(values, size).bytes[0];
            else if (!kv_section_stats(values, size, GROUPS, stats))
                return 1;
            speeds[way][round] = (double)size / 1e3 / (double)(clock_monotonic_us() - begin_us);
            sink += copy[round];
        }
    for (int way = 0; way < WAYS; way++) {
        qsort(speeds[way], ROUNDS, sizeof speeds[way][0], by_size);
        printf("%-24s %7.2f GB/s  %5.2f of the digest's\n", names[way], speeds[way][ROUNDS / 2],
               speeds[way][ROUNDS / 2] / speeds[1][ROUNDS / 2]);
    }
    return sink == 0.123;
}
