#include "base/log.h"

#include "base/c_locale.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024 };

static atomic_int level_now = LOG_INFO; /* the one setting of the process */

void log_set_level(log_level level)
{
    atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
}

log_level log_get_level(void)
{
    return (log_level)atomic_load_explicit(&level_now, memory_order_relaxed);
}

void log_line(log_level level, const char *format, ...)
{
    static const char *const words[] = { "error", "warning", "info", "debug" };
    if (level > log_get_level())
        return;
    char line[LINE_MAX_BYTES];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    const size_t room = sizeof line - 1;
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
    line[n++] = '\n';
    /* A log that cannot be written (closed pipe) must not stop the server. */
    if (write(STDERR_FILENO, line, n) < 0)
        return;
}
