/* A buffer grows up to its ceiling, always ends with a 0, and is unchanged by what fails. */
#include "base/buffer.h"
#include "support/fuse.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void assert_holds(const buffer *b, const char *text)
{
    assert_int_equal(b->size, strlen(text));
    assert_string_equal(b->data, text);
}

static void it_grows_and_ends_with_a_zero(void **state)
{
    buffer b = { 0 };
    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(buffer_append_byte(&b, (uint8_t)('a' + i % 26)), DS4_OK);
        assert_int_equal(b.data[b.size], 0);
        assert_true(b.capacity > b.size); /* the 0 has its place */
    }
    assert_int_equal(b.size, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(b.data[i], 'a' + i % 26);
    buffer_free(&b);
    assert_null(b.data);
    assert_int_equal(b.size + b.capacity, 0);
}

static void the_ceiling_holds_to_the_byte(void **state)
{
    buffer b = buffer_bounded(10);
    (void)state;
    assert_int_equal(buffer_append_text(&b, "0123456789"), DS4_OK);
    assert_int_equal(buffer_append_byte(&b, 'x'), DS4_ERR_NO_SPACE);
    assert_int_equal(buffer_append_text(&b, ""), DS4_OK);
    assert_holds(&b, "0123456789");
    buffer_clear(&b);
    assert_int_equal(buffer_append_text(&b, "0123456789a"), DS4_ERR_NO_SPACE);
    assert_int_equal(buffer_printf(&b, "%011d", 7), DS4_ERR_NO_SPACE);
    assert_int_equal(buffer_append_u64(&b, 1), DS4_OK);
    assert_int_equal(buffer_append_u32(&b, 1), DS4_ERR_NO_SPACE);
    assert_int_equal(b.size, 8);
    buffer_free(&b);
    assert_int_equal(buffer_append_text(&b, "0123456789a"), DS4_ERR_NO_SPACE); /* the ceiling outlives buffer_free() */
    free(buffer_take(&b, NULL));
    assert_int_equal(buffer_reserve(&b, 11), DS4_ERR_NO_SPACE);
    buffer unbounded = { 0 };
    assert_int_equal(buffer_reserve(&unbounded, SIZE_MAX), DS4_ERR_NO_SPACE); /* no sum wraps */
    assert_int_equal(buffer_append_text(&unbounded, "x"), DS4_OK);
    assert_int_equal(buffer_reserve(&unbounded, SIZE_MAX - 1), DS4_ERR_NO_SPACE);
    assert_holds(&unbounded, "x");
    buffer_free(&unbounded);
}

static void what_is_reserved_needs_no_memory(void **state)
{
    buffer b = { 0 };
    (void)state;
    assert_int_equal(buffer_reserve(&b, 1000), DS4_OK);
    const char *data = b.data;
    fuse_set(1);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(buffer_append_byte(&b, 'x'), DS4_OK);
    assert_false(fuse_clear());
    assert_ptr_equal(b.data, data);
    buffer_free(&b);
}

static void numbers_are_little_endian(void **state)
{
    buffer b = { 0 };
    (void)state;
    assert_int_equal(buffer_append_u32(&b, 0x04030201), DS4_OK);
    assert_int_equal(buffer_append_u64(&b, UINT64_C(0x0c0b0a0908070605)), DS4_OK);
    assert_memory_equal(b.data, "\1\2\3\4\5\6\7\10\11\12\13\14", 12);
    buffer_free(&b);
}

static void printing_takes_texts_of_any_length(void **state)
{
    char longer[500];
    buffer b = { 0 };
    (void)state;
    memset(longer, 'y', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    assert_int_equal(buffer_printf(&b, "%d-%s-", -5, "x"), DS4_OK);
    assert_int_equal(buffer_printf(&b, "%s", longer), DS4_OK);
    assert_int_equal(b.size, 5 + 499);
    assert_memory_equal(b.data, "-5-x-yyy", 8);
    assert_int_equal(b.data[b.size - 1], 'y');
    assert_int_equal(b.data[b.size], 0);
    buffer_free(&b);
}

static void consuming_drops_the_front(void **state)
{
    buffer b = { 0 };
    (void)state;
    assert_int_equal(buffer_append_text(&b, "abcdef"), DS4_OK);
    buffer_consume(&b, 0);
    assert_holds(&b, "abcdef");
    buffer_consume(&b, 2);
    assert_holds(&b, "cdef");
    buffer_consume(&b, 4);
    assert_holds(&b, "");
    assert_int_equal(buffer_append_text(&b, "g"), DS4_OK);
    buffer_consume(&b, 100);
    assert_holds(&b, "");
    buffer_free(&b);
}

static void taking_hands_the_memory_over(void **state)
{
    buffer b = { 0 };
    size_t size = 7;
    (void)state;
    assert_null(buffer_take(&b, &size));
    assert_int_equal(size, 0);
    assert_int_equal(buffer_append(&b, "a\0b", 3), DS4_OK);
    char *taken = buffer_take(&b, &size);
    assert_int_equal(size, 3);
    assert_memory_equal(taken, "a\0b", 4);
    assert_null(b.data);
    assert_int_equal(buffer_append_text(&b, "new"), DS4_OK);
    assert_memory_equal(taken, "a\0b", 4);
    free(taken);
    buffer_free(&b);
}

static void slices_are_compared_by_all_their_bytes(void **state)
{
    (void)state;
    assert_int_equal(slice_of(NULL).size, 0);
    assert_true(slice_equal(slice_of("ab"), SLICE("ab")));
    assert_false(slice_equal(SLICE("ab"), SLICE("abc")));
    assert_false(slice_equal(SLICE("a\0b"), SLICE("a\0c")));
    assert_true(slice_equal((slice){ NULL, 0 }, SLICE("")));
}

/* Each append, with the n-th request for memory refused. */
static void a_failed_append_changes_nothing(void **state)
{
    char longer[3000];
    (void)state;
    if (!FUSE_WORKS)
        skip();
    memset(longer, 'z', sizeof longer);
    buffer b = { 0 };
    for (long nth = 1; nth < 8; nth++) {
        const size_t size = b.size;
        const char *const data = b.data;
        fuse_set(1);
        const ds4_status status = buffer_append(&b, longer, b.capacity ? b.capacity : 10);
        assert_true(fuse_clear());
        assert_int_equal(status, DS4_ERR_NO_MEMORY);
        assert_int_equal(b.size, size);
        assert_ptr_equal(b.data, data);
        assert_int_equal(buffer_append(&b, longer, b.capacity ? b.capacity : 10), DS4_OK); /* usable afterwards */
        fuse_set(1);
        assert_int_equal(buffer_printf(&b, "%*d", (int)b.capacity, 1), DS4_ERR_NO_MEMORY);
        assert_true(fuse_clear());
        assert_int_equal(b.data[b.size], 0);
    }
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_grows_and_ends_with_a_zero),      cmocka_unit_test(the_ceiling_holds_to_the_byte),
        cmocka_unit_test(what_is_reserved_needs_no_memory),   cmocka_unit_test(numbers_are_little_endian),
        cmocka_unit_test(printing_takes_texts_of_any_length), cmocka_unit_test(consuming_drops_the_front),
        cmocka_unit_test(taking_hands_the_memory_over),       cmocka_unit_test(slices_are_compared_by_all_their_bytes),
        cmocka_unit_test(a_failed_append_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
