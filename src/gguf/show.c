#include "gguf/gguf.h"

#include <stdio.h>
#include <string.h>

/* Length of the UTF-8 sequence at `at` (RFC 3629, table 3-7 of the Unicode standard), or 0 if it is ill-formed. */
static size_t utf8_length(const uint8_t *at, size_t left)
{
    const uint8_t first = at[0];
    uint8_t low = 0x80, high = 0xbf; /* bounds of the second byte: where overlong forms and surrogates would hide */
    size_t n;
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf) {
        n = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        n = 3;
        if (first == 0xe0)
            low = 0xa0;
        if (first == 0xed)
            high = 0x9f;
    } else if (first >= 0xf0 && first <= 0xf4) {
        n = 4;
        if (first == 0xf0)
            low = 0x90;
        if (first == 0xf4)
            high = 0x8f;
    } else {
        return 0;
    }
    if (left < n || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

bool gguf_utf8_valid(slice text)
{
    const uint8_t *at = (const uint8_t *)text.data;
    for (size_t i = 0; i < text.size;) {
        const size_t n = utf8_length(at + i, text.size - i);
        if (n == 0 || at[i] == 0)
            return false;
        i += n;
    }
    return true;
}

const char *gguf_show(slice text, char out[GGUF_SHOW_BYTES])
{
    enum { KEEP = 80 };
    const uint8_t *at = (const uint8_t *)text.data;
    size_t used = 0;
    for (size_t i = 0; i < text.size;) {
        char piece[8];
        size_t n = utf8_length(at + i, text.size - i), size;
        /* C1 controls (U+0080..U+009F) are two well-formed bytes that a terminal may obey. */
        const bool control = at[i] < 0x20 || at[i] == 0x7f || (n == 2 && at[i] == 0xc2 && at[i + 1] < 0xa0);
        if (n == 0 || control) {
            n = 1;
            size = (size_t)snprintf(piece, sizeof piece, "\\x%02x", at[i]);
        } else if (at[i] == '\'' || at[i] == '\\') {
            piece[0] = '\\', piece[1] = (char)at[i];
            size = 2;
        } else {
            memcpy(piece, at + i, n);
            size = n;
        }
        if (size > KEEP - used) {
            memcpy(out + used, "...", 4);
            return out;
        }
        memcpy(out + used, piece, size);
        used += size;
        i += n;
    }
    out[used] = 0;
    return out;
}
