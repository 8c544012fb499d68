/* There are two strerror_r(): this file wants the one of POSIX, which answers with a number; _GNU_SOURCE, which the build
 * defines everywhere, chooses the other, which answers with a text. */
#undef _GNU_SOURCE
#define _POSIX_C_SOURCE 200809L
#include "ds4/error.h"

#include "base/c_locale.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void make_one_line(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at; at++)
        if (*at < 0x20 || *at == 0x7f)
            *at = '?';
}

ds4_status ds4_fail(ds4_error *err, ds4_status status, const char *format, ...)
{
    if (!err)
        return status;
    /* Arguments may point into err->text (adding context to an error), so it is overwritten last. */
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    c_locale_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    make_one_line(text);
    memcpy(err->text, text, sizeof text);
    err->status = status;
    return status;
}

static ds4_status status_of_errno(int code)
{
    switch (code) {
    case ENOSPC:
    case EFBIG: /* the file-size limit of the process, or of the file system */
    case EDQUOT: return DS4_ERR_NO_SPACE;
    case ENOMEM: return DS4_ERR_NO_MEMORY;
    case ENOENT: return DS4_ERR_NOT_FOUND;
    default: return DS4_ERR_IO;
    }
}

ds4_status ds4_fail_errno(ds4_error *err, const char *what)
{
    const int code = errno;
    char words[96];
    /* strerror() may share a buffer between threads; this form does not. */
    if (strerror_r(code, words, sizeof words) != 0)
        snprintf(words, sizeof words, "error %d", code);
    return ds4_fail(err, status_of_errno(code), "%.120s: %s", what, words);
}

const char *ds4_status_word(ds4_status status)
{
    static const char *const words[] = {
        [DS4_OK] = "ok",
        [DS4_ERR_ARGUMENT] = "argument",
        [DS4_ERR_NOT_FOUND] = "not_found",
        [DS4_ERR_NO_MEMORY] = "no_memory",
        [DS4_ERR_NO_SPACE] = "no_space",
        [DS4_ERR_IO] = "io",
        [DS4_ERR_CORRUPT] = "corrupt",
        [DS4_ERR_UNSUPPORTED] = "unsupported",
        [DS4_ERR_CANCELLED] = "cancelled",
        [DS4_ERR_STATE_BAD] = "state_bad",
        [DS4_ERR_DEVICE_LOST] = "device_lost",
    };
    if ((unsigned)status >= sizeof words / sizeof words[0] || !words[status])
        return "unknown";
    return words[status];
}
