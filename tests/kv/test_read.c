/* The values of a section: finite or not, and its statistics, as the plain loops of docs/formats/kv-store.md give. */
#include "kv/stub_model.h"
#include "support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GROUPS = 5 };

/* Value i of n belongs to group i * n_groups / n. */
static bool plain_stats(const float *x, size_t n, uint32_t n_groups, float *out)
{
    bool finite = true;
    for (uint32_t g = 0; g < n_groups; g++) {
        double sum = 0;
        size_t count = 0;
        float top = 0;
        for (size_t i = 0; i < n; i++)
            if (i * n_groups / n == g) {
                top = fmaxf(top, fabsf(x[i]));
                sum += (double)x[i] * x[i];
                count++;
            }
        out[2 * g] = top;
        out[2 * g + 1] = count ? (float)(sum / (double)count) : 0.0f;
    }
    for (size_t i = 0; i < n; i++)
        finite = finite && isfinite(x[i]);
    return finite;
}

/* Largest magnitudes agree to the bit; mean squares up to the order of a sum of n doubles, rounded to f32 once. */
static void statistics_agree_with_the_plain_loops(void **state)
{
    static const size_t lengths[] = { 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 64, 100, 1000, 4099 };
    (void)state;
    for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++)
        for (uint32_t n_groups = 1; n_groups <= GROUPS; n_groups++) {
            const size_t n = lengths[k];
            float got[2 * GROUPS], want[2 * GROUPS];
            float *x = test_random_f32(n, 100 + n);
            assert_true(plain_stats(x, n, n_groups, want));
            assert_true(kv_section_stats(x, n * sizeof *x, n_groups, got));
            for (uint32_t g = 0; g < n_groups; g++) {
                assert_true(got[2 * g] == want[2 * g]);
                assert_true(fabsf(got[2 * g + 1] - want[2 * g + 1]) <= 1.2e-7f * want[2 * g + 1]);
            }
            free(x);
        }
}

/* F47: wherever it stands, one value that is not finite is found, with groups and without. */
static void no_value_that_is_not_finite_is_missed(void **state)
{
    enum { LENGTH = 45 };
    static const uint32_t bad[] = { 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001, 0xffffffff };
    static const uint32_t good[] = { 0, 0x80000000, 1, 0x807fffff, 0x7f7fffff, 0xff7fffff };
    (void)state;
    for (size_t n = 1; n <= LENGTH; n++)
        for (size_t at = 0; at < n; at++)
            for (size_t k = 0; k < 6; k++)
                for (uint32_t n_groups = 0; n_groups <= 3; n_groups += 3) {
                    float x[LENGTH], stats[6];
                    for (size_t i = 0; i < n; i++)
                        x[i] = (float)i - 3.5f;
                    memcpy(&x[at], &good[k], sizeof x[at]);
                    assert_true(kv_section_stats(x, n * sizeof x[0], n_groups, stats));
                    memcpy(&x[at], &bad[k], sizeof x[at]);
                    assert_false(kv_section_stats(x, n * sizeof x[0], n_groups, stats));
                }
    assert_true(kv_section_stats(NULL, 0, 0, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(statistics_agree_with_the_plain_loops),
                                        cmocka_unit_test(no_value_that_is_not_finite_is_missed) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
