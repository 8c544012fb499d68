/* Heads that give a body two ends. */
#include "server/framing.h"
#include "support/support.h"

#include <string.h>

typedef struct line {
    const char *name, *value;
} line;

static framing read_lines(const line *lines, size_t n)
{
    framing f = { 0 };
    for (size_t i = 0; i < n && lines[i].name; i++)
        framing_line(&f, slice_of(lines[i].name), slice_of(lines[i].value));
    return f;
}

static void ambiguous_heads_are_refused(void **state)
{
    static const struct {
        const char *version, *words; /* NULL: fine */
        line lines[3];
    } cases[] = {
        { "HTTP/1.1", NULL, { { "Host", "x" }, { "Content-Length", "5" } } },
        { "HTTP/1.1", NULL, { { "host", "x" }, { "transfer-encoding", "Chunked" } } },
        { "HTTP/1.1", NULL, { { "Host", "" }, { "X-Tab", "a\tb" }, { "X-Empty", "" } } },
        { "HTTP/1.0", NULL, { { "Content-Length", "5" } } },
        { "HTTP/1.1", "not both", { { "Host", "x" }, { "Content-Length", "5" }, { "Transfer-Encoding", "chunked" } } },
        { "HTTP/1.1", "more than once", { { "Host", "x" }, { "Content-Length", "5" }, { "content-length", "5" } } },
        { "HTTP/1.1", "Host is given", { { "Host", "x" }, { "HOST", "x" } } },
        { "HTTP/1.1", "needs a Host", { { "Content-Length", "0" } } },
        { "HTTP/1.1", "the only", { { "Host", "x" }, { "Transfer-Encoding", "gzip, chunked" } } },
        { "HTTP/1.1", "the only", { { "Host", "x" }, { "Transfer-Encoding", "chunked " } } },
        { "HTTP/1.1",
          "the only",
          { { "Host", "x" }, { "Transfer-Encoding", "chunked" }, { "Transfer-Encoding", "chunked" } } },
        { "HTTP/1.1",
          "the only",
          { { "Host", "x" }, { "Transfer-Encoding", "gzip" }, { "Transfer-Encoding", "chunked" } } },
        { "HTTP/1.0", "needs HTTP/1.1", { { "Transfer-Encoding", "chunked" } } },
        { "HTTP/1.1", "header name", { { "Host", "x" }, { "Content-Length ", "5" } } },
        { "HTTP/1.1", "header name", { { "Host", "x" }, { "", "5" } } },
        { "HTTP/1.1", "header name", { { "Host", "x" }, { "X\x80", "5" } } },
        { "HTTP/1.1", "header value", { { "Host", "x" }, { "X", "a\rb" } } },
        { "HTTP/1.1", "header value", { { "Host", "x" }, { "X", "a\x7f" } } },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        http_error e = { 0 };
        const framing f = read_lines(cases[i].lines, 3);
        const bool good = framing_check(&f, cases[i].version, &e);
        if (good != !cases[i].words || (!good && (e.status != 400 || !strstr(e.message, cases[i].words))))
            fail_msg("case %zu: %d '%s'", i, e.status, e.message);
    }
    framing f = { 0 };
    framing_line(&f, SLICE("X"), (slice){ "a\0b", 3 });
    assert_true(f.bad_value);
}

/* A head that has one byte more or less than its lines account for hides something. */
static void only_a_plainly_written_head_keeps_its_connection(void **state)
{
    static const char head[] = "POST /v1/x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n";
    static const line lines[] = { { "Host", "a" }, { "Content-Length", "12" } };
    static const line coded[] = { { "Host", "a" }, { "Transfer-Encoding", "chunked" } };
    (void)state;
    const framing f = read_lines(lines, 2), chunks = read_lines(coded, 2);
    const size_t size = sizeof head - 1;
    assert_true(framing_is_plain(&f, "POST", strlen("/v1/x?y"), "HTTP/1.1", size));
    assert_false(framing_is_plain(&f, "POST", strlen("/v1/x?y"), "HTTP/1.1", size + 1));
    assert_false(framing_is_plain(&f, "POST", strlen("/v1/x?y"), "HTTP/1.1", size - 1));
    assert_false(framing_is_plain(&chunks, "POST", strlen("/v1/x?y"), "HTTP/1.1",
                                  strlen("POST /v1/x?y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")));
}

static void a_length_is_a_number(void **state)
{
    static const struct {
        const char *value;
        int status; /* 0: fine */
    } cases[] = { { "0", 0 },
                  { "007", 0 },
                  { "18446744073709551615", 0 },
                  { "18446744073709551616", 413 },
                  { "", 400 },
                  { "0, 0", 400 },
                  { "+0", 400 },
                  { "-1", 400 },
                  { "0x0", 400 },
                  { "5 ", 400 },
                  { "99999999999999999999", 413 },
                  { "99999999999999999999x", 400 } };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        http_error e = { 0 };
        assert_int_equal(framing_check_length(slice_of(cases[i].value), &e), cases[i].status == 0);
        assert_int_equal(e.status, cases[i].status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(ambiguous_heads_are_refused),
                                        cmocka_unit_test(a_length_is_a_number),
                                        cmocka_unit_test(only_a_plainly_written_head_keeps_its_connection) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
