/* Lists of token ids: they keep what they hold, whatever fails. */
#include "base/tokens.h"
#include "support/fuse.h"
#include "support/support.h"

static void ids_are_kept_in_order(void **state)
{
    const uint32_t some[] = { 7, 8, 9 };
    token_list list = { 0 };
    (void)state;
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(token_list_append(&list, i), DS4_OK);
    assert_int_equal(token_list_append_all(&list, some, 3), DS4_OK);
    assert_int_equal(token_list_append_all(&list, NULL, 0), DS4_OK);
    assert_int_equal(list.n, 1003);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(list.ids[i], i);
    assert_memory_equal(list.ids + 1000, some, sizeof some);
    token_list_free(&list);
    assert_null(list.ids);
    assert_int_equal(list.n + list.capacity, 0);
}

static void counts_that_wrap_are_refused(void **state)
{
    token_list list = { 0 };
    (void)state;
    assert_int_equal(token_list_reserve(&list, SIZE_MAX), DS4_ERR_NO_MEMORY);
    assert_int_equal(token_list_append(&list, 1), DS4_OK);
    assert_int_equal(token_list_reserve(&list, SIZE_MAX), DS4_ERR_NO_MEMORY);
    assert_int_equal(token_list_reserve(&list, SIZE_MAX / 4), DS4_ERR_NO_MEMORY); /* times the size of an id: wraps */
    assert_int_equal(list.n, 1);
    assert_int_equal(list.ids[0], 1);
    token_list_free(&list);
}

static void no_memory_changes_nothing(void **state)
{
    token_list list = { 0 };
    (void)state;
    if (!FUSE_WORKS)
        skip();
    for (uint32_t round = 0; round < 6; round++) {
        const size_t n = list.n;
        while (list.n < list.capacity)
            assert_int_equal(token_list_append(&list, (uint32_t)list.n), DS4_OK);
        const size_t full = list.n;
        fuse_set(1);
        const ds4_status status = token_list_append(&list, 99);
        assert_true(fuse_clear());
        assert_int_equal(status, DS4_ERR_NO_MEMORY);
        assert_int_equal(list.n, full);
        for (size_t i = 0; i < list.n; i++)
            assert_int_equal(list.ids[i], i);
        assert_int_equal(token_list_append(&list, (uint32_t)list.n), DS4_OK);
        assert_true(list.n > n);
    }
    token_list_free(&list);
}

static void the_common_prefix_ends_with_the_shorter_list(void **state)
{
    const uint32_t a[] = { 1, 2, 3, 4 }, b[] = { 1, 2, 9, 4 };
    (void)state;
    assert_int_equal(token_list_common_prefix(a, 4, b, 4), 2);
    assert_int_equal(token_list_common_prefix(a, 4, a, 4), 4);
    assert_int_equal(token_list_common_prefix(a, 3, a, 4), 3);
    assert_int_equal(token_list_common_prefix(a, 4, a, 2), 2);
    assert_int_equal(token_list_common_prefix(a, 0, NULL, 0), 0);
    assert_int_equal(token_list_common_prefix(a + 1, 3, b, 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_kept_in_order),
        cmocka_unit_test(counts_that_wrap_are_refused),
        cmocka_unit_test(no_memory_changes_nothing),
        cmocka_unit_test(the_common_prefix_ends_with_the_shorter_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
