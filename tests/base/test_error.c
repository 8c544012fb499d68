/* What a failed system call leaves for people. */
#include "ds4/error.h"
#include "support/support.h"

#include <errno.h>

static void errno_becomes_words(void **state)
{
    const struct {
        int code;
        ds4_status status;
        const char *text;
    } cases[] = {
        { ENOENT, DS4_ERR_NOT_FOUND, "open: No such file or directory" },
        { ENOSPC, DS4_ERR_NO_SPACE, "open: No space left on device" },
        { EFBIG, DS4_ERR_NO_SPACE, "open: File too large" },
        { ENOMEM, DS4_ERR_NO_MEMORY, "open: Cannot allocate memory" },
        { EACCES, DS4_ERR_IO, "open: Permission denied" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_error err = { 0 };
        errno = cases[i].code;
        assert_int_equal(ds4_fail_errno(&err, "open"), cases[i].status);
        assert_int_equal(err.status, cases[i].status);
        assert_string_equal(err.text, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(errno_becomes_words) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
