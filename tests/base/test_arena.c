/* An arena hands out zeroed, aligned memory that stays where it is, up to its ceiling. */
#include "base/arena.h"
#include "support/fuse.h"
#include "support/support.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void memory_is_zeroed_aligned_and_apart(void **state)
{
    enum { N = 3000 };
    static uint8_t *given[N];
    static size_t sizes[N];
    arena a = { 0 };
    test_random r = test_random_seeded(11);
    (void)state;
    void *dirty[8];
    for (int i = 0; i < 8; i++) { /* what was freed is not zero */
        dirty[i] = malloc(17000);
        memset(dirty[i], 0xff, 17000);
    }
    for (int i = 0; i < 8; i++)
        free(dirty[i]);
    for (int i = 0; i < N; i++) {
        sizes[i] =
            test_random_below(&r, i % 100 == 0 ? 40000 : 60); /* small ones, and some that need a block of their own */
        given[i] = arena_alloc(&a, sizes[i]);
        assert_non_null(given[i]);
        assert_int_equal((uintptr_t)given[i] % alignof(max_align_t), 0);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(given[i][k], 0);
        memset(given[i], i % 255 + 1, sizes[i]);
    }
    for (int i = 0; i < N; i++) /* nobody wrote over another's */
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(given[i][k], i % 255 + 1);
    arena_free(&a);
    assert_null(a.blocks);
    assert_int_equal(a.size, 0);
}

static void no_size_at_all_is_a_pointer_of_its_own(void **state)
{
    arena a = { 0 };
    (void)state;
    const void *one = arena_alloc(&a, 0), *other = arena_alloc(&a, 0);
    assert_non_null(one);
    assert_ptr_not_equal(one, other);
    arena_free(&a);
}

static void the_ceiling_holds(void **state)
{
    arena a = { .size_max = 1024 };
    (void)state;
    assert_null(arena_alloc(&a, 1025));
    assert_non_null(arena_alloc(&a, 1000));
    assert_null(arena_alloc(&a, 100));
    assert_non_null(arena_alloc(&a, 16));
    assert_true(a.size <= a.size_max);
    assert_null(arena_alloc(&a, 16));
    arena_free(&a);
    assert_int_equal(a.size_max, 1024);
    assert_null(arena_alloc(&a, 1025));
    assert_non_null(arena_alloc(&a, 1024));
    arena_free(&a);
}

static void sizes_that_wrap_are_refused(void **state)
{
    arena a = { 0 };
    (void)state;
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX / 2));
    assert_null(arena_alloc_array(&a, SIZE_MAX / 2, 4));
    assert_null(arena_alloc_array(&a, (size_t)1 << 33, (size_t)1 << 33)); /* 4 times 2^64: 0 as a product */
    assert_null(arena_copy(&a, (slice){ "x", SIZE_MAX }).data);
    uint32_t *array = arena_alloc_array(&a, 10, sizeof *array);
    assert_non_null(array);
    array[9] = 1;
    arena_free(&a);
}

static void a_copy_ends_with_a_zero(void **state)
{
    arena a = { 0 };
    char text[] = "a\0b";
    (void)state;
    const slice copy = arena_copy(&a, (slice){ text, 3 }), empty = arena_copy(&a, (slice){ NULL, 0 });
    memset(text, 'x', 3);
    assert_int_equal(copy.size, 3);
    assert_memory_equal(copy.data, "a\0b", 4);
    assert_int_equal(empty.size, 0);
    assert_string_equal(empty.data, "");
    arena_free(&a);
}

static void no_memory_is_a_null_and_the_arena_lives_on(void **state)
{
    arena a = { 0 };
    (void)state;
    if (!FUSE_WORKS)
        skip();
    fuse_set(1);
    const void *none = arena_alloc(&a, 10);
    assert_true(fuse_clear());
    assert_null(none);
    assert_int_equal(a.size, 0);
    const char *kept = arena_copy(&a, SLICE("kept")).data;
    fuse_set(1);
    const slice failed = arena_copy(&a, (slice){ kept, 4 }); /* fits into the block: needs none */
    assert_false(fuse_clear());
    assert_non_null(failed.data);
    fuse_set(1);
    none = arena_alloc(&a, 100000);
    assert_true(fuse_clear());
    assert_null(none);
    assert_string_equal(kept, "kept");
    assert_non_null(arena_alloc(&a, 100000));
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_aligned_and_apart),
        cmocka_unit_test(no_size_at_all_is_a_pointer_of_its_own),
        cmocka_unit_test(the_ceiling_holds),
        cmocka_unit_test(sizes_that_wrap_are_refused),
        cmocka_unit_test(a_copy_ends_with_a_zero),
        cmocka_unit_test(no_memory_is_a_null_and_the_arena_lives_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
