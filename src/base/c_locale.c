#include "base/c_locale.h"

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t c_locale; /* constant after `once` */

static void make_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* The calling thread's locale until leave(). Should there be no memory for a locale, it stays the program's. */
static locale_t enter(void)
{
    pthread_once(&once, make_locale);
    return c_locale ? uselocale(c_locale) : (locale_t)0;
}

static void leave(locale_t before)
{
    if (before)
        uselocale(before);
}

double c_locale_strtod(const char *text, char **end)
{
    const locale_t before = enter();
    const double value = strtod(text, end);
    leave(before);
    return value;
}

int c_locale_vsnprintf(char *out, size_t size, const char *format, va_list args)
{
    const locale_t before = enter();
    const int n = vsnprintf(out, size, format, args);
    leave(before);
    return n;
}

int c_locale_snprintf(char *out, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = c_locale_vsnprintf(out, size, format, args);
    va_end(args);
    return n;
}

static int lower(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : (unsigned char)c;
}

int c_locale_strncasecmp(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const int difference = lower(a[i]) - lower(b[i]);
        if (difference != 0 || a[i] == 0)
            return difference;
    }
    return 0;
}
