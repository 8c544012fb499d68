/* base/cursor.h - reads bytes that somebody else wrote. It can only refuse: no read leaves the range, and a refused
 * read moves nothing. All numbers are little-endian on every machine. */
#ifndef BASE_CURSOR_H
#define BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct cursor {
    const uint8_t *at;
    size_t left; /* bytes that may still be read */
} cursor;

static inline bool cursor_take(cursor *in, size_t n, const uint8_t **out)
{
    if (n > in->left) /* against what is left: `at + n > end` could wrap */
        return false;
    *out = in->at;
    in->at += n;
    in->left -= n;
    return true;
}

static inline uint64_t cursor_load(const uint8_t *bytes, size_t n_bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n_bytes; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static inline bool cursor_u8(cursor *in, uint8_t *out)
{
    const uint8_t *bytes;
    if (!cursor_take(in, 1, &bytes))
        return false;
    *out = bytes[0];
    return true;
}

static inline bool cursor_u16(cursor *in, uint16_t *out)
{
    const uint8_t *bytes;
    if (!cursor_take(in, 2, &bytes))
        return false;
    *out = (uint16_t)cursor_load(bytes, 2);
    return true;
}

static inline bool cursor_u32(cursor *in, uint32_t *out)
{
    const uint8_t *bytes;
    if (!cursor_take(in, 4, &bytes))
        return false;
    *out = (uint32_t)cursor_load(bytes, 4);
    return true;
}

static inline bool cursor_u64(cursor *in, uint64_t *out)
{
    const uint8_t *bytes;
    if (!cursor_take(in, 8, &bytes))
        return false;
    *out = cursor_load(bytes, 8);
    return true;
}

static inline bool cursor_copy(cursor *in, void *out, size_t n)
{
    const uint8_t *bytes;
    if (!cursor_take(in, n, &bytes))
        return false;
    memcpy(out, bytes, n);
    return true;
}

#endif
