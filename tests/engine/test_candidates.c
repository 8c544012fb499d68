/* The order of candidates: against a plain sort by (larger logit, smaller id). */
#include "engine/candidates.h"
#include "support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float logits[3000];

static int by_logit_then_id(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if (logits[x] != logits[y])
        return logits[x] > logits[y] ? -1 : 1;
    return (x > y) - (x < y);
}

/* Logits of several kinds: spread, full of ties, ascending, descending, all equal, zeros of both signs. */
static float logit_of(int kind, size_t i, float noise)
{
    switch (kind) {
    case 0: return noise * 10;
    case 1: return roundf(noise * 2);
    case 2: return (float)i - 1000;
    case 3: return 1000 - (float)i;
    case 4: return 2.5f;
    case 5: return i % 2 ? 0.0f : -0.0f;
    default: return i % 3 ? noise * 1e-38f : noise * 1e38f;
    }
}

static void the_best_are_those_of_a_plain_sort(void **state)
{
    (void)state;
    const size_t sizes[] = { 1, 2, 3, 64, 65, 255, 1000, 3000 };
    for (int kind = 0; kind < 7; kind++)
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            const size_t n = sizes[k], bests[] = { 0, 1, 2, 7, n / 2, n - 1, n };
            float *noise = test_random_f32(n, 77 + k);
            uint32_t order[3000];
            candidate c[3000], scratch[3000];
            for (uint32_t i = 0; i < n; i++) {
                logits[i] = logit_of(kind, i, noise[i]);
                order[i] = i;
            }
            qsort(order, n, sizeof *order, by_logit_then_id);
            for (size_t b = 0; b < sizeof bests / sizeof bests[0]; b++) {
                const size_t n_best = bests[b] < n ? bests[b] : n;
                for (uint32_t i = 0; i < n; i++)
                    c[i] = candidate_of(logits[i], i);
                candidates_select(c, n, n_best);
                for (size_t i = 0; i < n_best; i++)
                    assert_int_equal(candidate_id(c[i]), order[i]);
                candidates_sort(c, n, scratch); /* nothing was lost, and the order before does not matter */
                for (size_t i = 0; i < n; i++)
                    assert_int_equal(candidate_id(c[i]), order[i]);
            }
            free(noise);
        }
    candidates_sort(NULL, 0, NULL);
    candidates_select(NULL, 0, 0);
}

static void ids_of_any_size_are_kept(void **state)
{
    (void)state;
    const uint32_t ids[] = { 0, 1, 255, 256, 129279, 1u << 24, UINT32_MAX };
    const float values[] = { -INFINITY, -3, -1e-40f, -0.0f, 0, 1e-40f, 3, 3.4e38f };
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        for (size_t k = 0; k < sizeof values / sizeof values[0]; k++) {
            assert_int_equal(candidate_id(candidate_of(values[k], ids[i])), ids[i]);
            if (k > 0 && values[k] > values[k - 1])
                assert_true(candidate_of(values[k], ids[i]) < candidate_of(values[k - 1], 0));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_are_those_of_a_plain_sort),
        cmocka_unit_test(ids_of_any_size_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
