/* tests/support/support.h - what many tests need: cmocka in the order it wants, scratch folders, seeded random data. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TEST_SKIPPED = 77 }; /* what main() returns when this build has nothing to test; CTest says so */

/* xorshift64*; the same numbers on every machine. */
typedef struct test_random {
    uint64_t state;
} test_random;
test_random test_random_seeded(uint64_t seed);
uint64_t test_random_u64(test_random *r);
uint32_t test_random_below(test_random *r, uint32_t n); /* 0 .. n-1 */
float test_random_normal(test_random *r);               /* mean 0, variance 1 */
float *test_random_f32(size_t n, uint64_t seed);        /* n normal values; free() */

/* Makes `path` an empty folder (removing what was there, parents made) and returns it. Dies if it cannot. */
const char *test_empty_folder(const char *path);
void test_remove_tree(const char *path);

/* Whole files. The reader adds a 0 that `size` does not count; free() the result. Both die on failure. */
char *test_read_file(const char *path, size_t *size);
void test_write_file(const char *path, const void *bytes, size_t size);

#endif
