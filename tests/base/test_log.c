/* The log never holds up the program: where nobody reads it lines are dropped, and counted. */
#include "base/log.h"
#include "support/support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int ends[2], kept;

static int put_a_pipe_under_stderr(void **state)
{
    (void)state;
    kept = dup(STDERR_FILENO);
    return pipe(ends) == 0 && dup2(ends[1], STDERR_FILENO) >= 0 && close(ends[1]) == 0 ? 0 : -1;
}

static int restore_stderr(void **state)
{
    (void)state;
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(ends[0]);
    return 0;
}

/* What is in the pipe, with a 0 after it. */
static char *drain(void)
{
    enum { ROOM = 1 << 21 };
    char *text = malloc(ROOM);
    size_t n = 0;
    assert_non_null(text);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    for (ssize_t more; (more = read(ends[0], text + n, ROOM - 1 - n)) > 0;)
        n += (size_t)more;
    fcntl(ends[0], F_SETFL, 0);
    text[n] = 0;
    return text;
}

static void a_pipe_that_nobody_reads_stops_nothing(void **state)
{
    enum { N_LINES = 20000 };
    (void)state;
    alarm(20); /* a log that blocks ends the test */
    for (int i = 0; i < N_LINES; i++)
        log_warning("line=%d", i);
    char *first = drain();
    log_warning("line=%d", N_LINES);
    log_warning("line=%d", N_LINES + 1);
    alarm(0);
    char *second = drain();
    int n_written = 0, n_dropped = 0;
    for (const char *at = first; (at = strstr(at, "line=")); at++)
        n_written++;
    assert_in_range(n_written, 100, N_LINES - 1);
    const char *said = strstr(second, "line=20000 lines_dropped=");
    assert_non_null(said);
    assert_int_equal(sscanf(said, "line=20000 lines_dropped=%d\n", &n_dropped), 1);
    assert_int_equal(n_written + n_dropped, N_LINES); /* none is lost without being counted */
    assert_non_null(strstr(second, "line=20001\n"));  /* said once */
    free(first);
    free(second);
}

static void lines_are_whole_and_of_one_line(void **state)
{
    char longer[3000];
    (void)state;
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    log_error("%s", longer);
    log_error("a\nb\tc\033d");
    log_debug("not at this level");
    char *text = drain(), *end = strchr(text, '\n');
    assert_non_null(end);
    assert_int_equal(end - text, 1022); /* cut, with its end */
    assert_non_null(strstr(end, " error a?b?c?d\n"));
    assert_null(strstr(text, "not at this level"));
    free(text);
}

static void a_reader_that_went_away_is_no_signal(void **state)
{
    (void)state;
    close(ends[0]); /* SIGPIPE has its default action here: it would end the test */
    log_error("to nobody");
    ends[0] = dup(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pipe_that_nobody_reads_stops_nothing, put_a_pipe_under_stderr,
                                        restore_stderr),
        cmocka_unit_test_setup_teardown(lines_are_whole_and_of_one_line, put_a_pipe_under_stderr, restore_stderr),
        cmocka_unit_test_setup_teardown(a_reader_that_went_away_is_no_signal, put_a_pipe_under_stderr, restore_stderr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
