/* base/c_locale.h - numbers and letters as the C locale has them, whatever setlocale() said: libds4 lives in programs that
 * call it. Under de_DE, strtod() reads "0.5" as 0 and printf() prints 0.5 as "0,5". Any thread. */
#ifndef BASE_C_LOCALE_H
#define BASE_C_LOCALE_H

#include <stdarg.h>
#include <stddef.h>

/* strtod(), vsnprintf() and snprintf() in the C locale. */
double c_locale_strtod(const char *text, char **end);
int c_locale_vsnprintf(char *out, size_t size, const char *format, va_list args) __attribute__((format(printf, 3, 0)));
int c_locale_snprintf(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* strncasecmp() that knows the letters of ASCII only: in Turkish, I is not the capital of i. */
int c_locale_strncasecmp(const char *a, const char *b, size_t n);

#endif
