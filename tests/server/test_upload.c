/* The limit of one body, and of the sum of long ones. */
#include "base/fault.h"
#include "server/upload.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 64 * 1024, SUM = 4 * UPLOAD_LONG };

static char block[BLOCK];

static upload_result fill(upload *u, size_t size)
{
    upload_result result = UPLOAD_TAKEN;
    while (result == UPLOAD_TAKEN && u->bytes.size < size)
        result = upload_append(u, block, size - u->bytes.size < BLOCK ? size - u->bytes.size : BLOCK);
    return result;
}

static void a_body_has_a_limit_of_its_own(void **state)
{
    upload_sum sum = { .bytes_max = SUM };
    (void)state;
    upload u = upload_new(&sum, 10);
    assert_int_equal(upload_append(&u, "0123456789", 10), UPLOAD_TAKEN);
    assert_int_equal(upload_append(&u, "", 0), UPLOAD_TAKEN);
    assert_int_equal(upload_append(&u, "x", 1), UPLOAD_TOO_LONG);
    assert_int_equal(u.bytes.size, 10);
    assert_memory_equal(u.bytes.data, "0123456789", 10);
    upload_free(&u);
    upload empty = { 0 };
    upload_free(&empty);
}

/* An announced length bounds what is allocated, not only what is taken. */
static void memory_follows_the_limit(void **state)
{
    upload_sum sum = { .bytes_max = SUM };
    (void)state;
    upload u = upload_new(&sum, 100000);
    assert_int_equal(fill(&u, 100000), UPLOAD_TAKEN);
    assert_true(u.bytes.capacity <= 100001);
    upload_free(&u);
}

static void short_bodies_do_not_count_and_long_ones_share(void **state)
{
    upload_sum sum = { .bytes_max = SUM };
    upload u[6];
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        u[i] = upload_new(&sum, SUM);
        assert_int_equal(fill(&u[i], UPLOAD_LONG), UPLOAD_TAKEN);
        assert_int_equal(sum.bytes, 0);
    }
    assert_int_equal(fill(&u[0], UPLOAD_LONG + 1), UPLOAD_TAKEN);
    assert_int_equal(sum.bytes, UPLOAD_LONG + 1);
    assert_int_equal(fill(&u[0], 2 * UPLOAD_LONG), UPLOAD_TAKEN);
    assert_int_equal(fill(&u[1], UPLOAD_LONG + BLOCK), UPLOAD_TAKEN);
    assert_int_equal(sum.bytes, 3 * UPLOAD_LONG + BLOCK);
    assert_int_equal(fill(&u[2], UPLOAD_LONG + 1), UPLOAD_SUM_FULL);
    assert_int_equal(u[2].bytes.size, UPLOAD_LONG);
    assert_int_equal(fill(&u[0], 3 * UPLOAD_LONG - BLOCK), UPLOAD_TAKEN); /* to the last byte */
    assert_int_equal(sum.bytes, SUM);
    assert_int_equal(upload_append(&u[0], "x", 1), UPLOAD_SUM_FULL);
    upload_free(&u[0]);
    assert_int_equal(sum.bytes, UPLOAD_LONG + BLOCK);
    assert_int_equal(fill(&u[2], UPLOAD_LONG + 1), UPLOAD_TAKEN);
    for (size_t i = 0; i < 6; i++)
        upload_free(&u[i]);
    assert_int_equal(sum.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_body_has_a_limit_of_its_own),
                                        cmocka_unit_test(memory_follows_the_limit),
                                        cmocka_unit_test(short_bodies_do_not_count_and_long_ones_share) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
