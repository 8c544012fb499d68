#include "base/log.h"

#include "base/c_locale.h"

#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024, DROPPED_MAX_BYTES = 32 };

static atomic_int level_now = LOG_WARNING; /* of the process. A program that embeds libds4 hears of trouble alone */

void log_set_level(log_level level)
{
    atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
}

log_level log_get_level(void)
{
    return (log_level)atomic_load_explicit(&level_now, memory_order_relaxed);
}

/* Whoever logs must not wait for whoever reads: a pipe that is full, or a terminal that was stopped, takes no line until it is
 * read again. Lines are shorter than the room (PIPE_BUF) that a pipe has when poll() says it can be written to. A reader that went
 * away is none, and no reason for a SIGPIPE. */
static bool is_read(void)
{
    struct pollfd out = { .fd = STDERR_FILENO, .events = POLLOUT };
    return poll(&out, 1, 0) == 1 && out.revents == POLLOUT;
}

/* Writes a line, or drops and counts it. The first line after dropped ones says how many, at its end. */
static void put(char *line, size_t n)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* between the question and the write nobody else writes */
    static unsigned n_dropped;                               /* guarded by `lock` */
    pthread_mutex_lock(&lock);
    if (is_read()) {
        if (n_dropped)
            n += (size_t)snprintf(line + n, DROPPED_MAX_BYTES, " lines_dropped=%u", n_dropped);
        line[n++] = '\n';
        n_dropped = write(STDERR_FILENO, line, n) < 0 ? n_dropped + 1 : 0;
    } else {
        n_dropped++;
    }
    pthread_mutex_unlock(&lock);
}

void log_line(log_level level, const char *format, ...)
{
    static const char *const words[] = { "error", "warning", "info", "debug" };
    if (level > log_get_level())
        return;
    char line[LINE_MAX_BYTES + DROPPED_MAX_BYTES];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    const size_t room = LINE_MAX_BYTES - 1;
    size_t n = (size_t)snprintf(line, room, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s ", parts.tm_year + 1900,
                                parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                                (int)(now.tv_nsec / 1000000), words[level]);
    va_list args;
    va_start(args, format);
    const int more = c_locale_vsnprintf(line + n, room - n, format, args);
    va_end(args);
    if (more > 0)
        n += (size_t)more < room - n ? (size_t)more : room - n - 1;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    put(line, n);
}
