/* What ds4 reads and prints does not depend on the locale of the program around it. Skipped where localedef cannot make one. */
#include "base/buffer.h"
#include "base/c_locale.h"
#include "base/json.h"
#include "base/log.h"
#include "support/support.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Makes and enters a locale; skips the test without one. */
static void enter(const char *source)
{
    char command[512];
    const char *folder = test_empty_folder(TEST_SCRATCH "/locales");
    snprintf(command, sizeof command, "localedef -i %s -f UTF-8 '%s/%s' >/dev/null 2>&1", source, folder, source);
    setenv("LOCPATH", folder, 1);
    if (system(command) != 0 || !setlocale(LC_ALL, source)) {
        print_message("localedef makes no %s here\n", source);
        skip();
    }
}

static int leave(void **state)
{
    (void)state;
    return setlocale(LC_ALL, "C") ? 0 : -1;
}

static void json_is_the_same_under_a_comma(void **state)
{
    const double values[] = { 0.5, 1e-7, 1e22, 5.684341886080802e-14, 123456.789, 5e-324, 1.7976931348623157e308 };
    const char *const texts[] = {
        "0.5", "1e-07", "1e+22", "5.684341886080802e-14", "123456.789", "5e-324", "1.7976931348623157e+308"
    };
    (void)state;
    enter("de_DE");
    assert_string_equal(localeconv()->decimal_point, ",");
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        json_value *value;
        double read = -1;
        buffer written = { 0 }, printed = { 0 };
        assert_int_equal(json_write_double(&written, values[i]), DS4_OK);
        assert_string_equal(written.data, texts[i]);
        assert_int_equal(json_parse(&value, slice_of(texts[i]), NULL, NULL), DS4_OK);
        assert_true(json_double(value, &read));
        assert_memory_equal(&read, &values[i], sizeof read); /* to the bit */
        assert_int_equal(json_print_python(value, &printed), DS4_OK);
        assert_string_equal(printed.data, texts[i]);
        json_free(value);
        buffer_free(&written);
        buffer_free(&printed);
    }
    int64_t integer = 0;
    json_value *value;
    assert_int_equal(json_parse(&value, SLICE("30.0e-1"), NULL, NULL), DS4_OK);
    assert_true(json_int64(value, &integer));
    assert_int_equal(integer, 3);
    json_free(value);
}

static void messages_figures_and_log_lines_have_a_point(void **state)
{
    (void)state;
    enter("de_DE");
    buffer b = { 0 };
    ds4_error err = { 0 };
    assert_int_equal(buffer_printf(&b, "%.9g", 2.5), DS4_OK);
    assert_string_equal(b.data, "2.5");
    buffer_free(&b);
    ds4_fail(&err, DS4_ERR_ARGUMENT, "between %g and %g", 0.5, 1.5);
    assert_string_equal(err.text, "between 0.5 and 1.5");
    char line[256] = { 0 };
    int ends[2];
    const int kept = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    log_line(LOG_ERROR, "took=%.2fs", 0.25);
    dup2(kept, STDERR_FILENO);
    assert_true(read(ends[0], line, sizeof line - 1) > 0);
    assert_non_null(strstr(line, "took=0.25s"));
    close(kept), close(ends[0]), close(ends[1]);
    assert_string_equal(localeconv()->decimal_point, ","); /* the program keeps its own */
}

static void words_are_compared_by_the_letters_of_ascii(void **state)
{
    (void)state;
    enter("tr_TR");
    assert_int_equal(c_locale_strncasecmp("INSTRUCT", "instruct", 8), 0);
    assert_int_equal(c_locale_strncasecmp("ab", "abc", 2), 0);
    assert_true(c_locale_strncasecmp("ab", "abc", 3) < 0);
    assert_true(c_locale_strncasecmp("\xc3\x84", "\xc3\xa4", 2) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(json_is_the_same_under_a_comma, leave),
        cmocka_unit_test_teardown(messages_figures_and_log_lines_have_a_point, leave),
        cmocka_unit_test_teardown(words_are_compared_by_the_letters_of_ascii, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
