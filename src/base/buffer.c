#include "base/buffer.h"

#include "base/c_locale.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

slice slice_of(const char *text)
{
    return (slice){ text, text ? strlen(text) : 0 };
}

bool slice_equal(slice a, slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

ds4_status buffer_reserve(buffer *b, size_t n_more)
{
    const size_t ceiling = b->size_max ? b->size_max : SIZE_MAX / 2;
    if (n_more > ceiling - b->size)
        return DS4_ERR_NO_SPACE;
    const size_t need = b->size + n_more + 1;
    if (need <= b->capacity)
        return DS4_OK;
    size_t capacity = b->capacity ? b->capacity : 64;
    while (capacity < need)
        capacity *= 2; /* cannot wrap: need is at most SIZE_MAX / 2 + 1 */
    if (capacity > ceiling + 1)
        capacity = ceiling + 1; /* no more than can ever be used */
    char *data = realloc(b->data, capacity);
    if (!data)
        return DS4_ERR_NO_MEMORY;
    b->data = data;
    b->capacity = capacity;
    return DS4_OK;
}

ds4_status buffer_append(buffer *b, const void *bytes, size_t size)
{
    const ds4_status status = buffer_reserve(b, size);
    if (status != DS4_OK)
        return status;
    if (size)
        memcpy(b->data + b->size, bytes, size);
    b->size += size;
    b->data[b->size] = 0;
    return DS4_OK;
}

ds4_status buffer_append_slice(buffer *b, slice s)
{
    return buffer_append(b, s.data, s.size);
}

ds4_status buffer_append_text(buffer *b, const char *text)
{
    return buffer_append(b, text, strlen(text));
}

ds4_status buffer_append_byte(buffer *b, uint8_t byte)
{
    return buffer_append(b, &byte, 1);
}

ds4_status buffer_printf(buffer *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int n = c_locale_vsnprintf(NULL, 0, format, args);
    va_end(args);
    ds4_status status = n < 0 ? DS4_ERR_ARGUMENT : buffer_reserve(b, (size_t)n);
    if (status == DS4_OK) {
        c_locale_vsnprintf(b->data + b->size, (size_t)n + 1, format, again);
        b->size += (size_t)n;
    }
    va_end(again);
    return status;
}

static ds4_status append_little_endian(buffer *b, uint64_t value, size_t n_bytes)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < n_bytes; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    return buffer_append(b, bytes, n_bytes);
}

ds4_status buffer_append_u32(buffer *b, uint32_t value)
{
    return append_little_endian(b, value, 4);
}

ds4_status buffer_append_u64(buffer *b, uint64_t value)
{
    return append_little_endian(b, value, 8);
}

void buffer_clear(buffer *b)
{
    b->size = 0;
    if (b->data)
        b->data[0] = 0;
}

void buffer_free(buffer *b)
{
    free(b->data);
    *b = (buffer){ .size_max = b->size_max };
}

slice buffer_slice(const buffer *b)
{
    return (slice){ b->data, b->size };
}

void buffer_consume(buffer *b, size_t n)
{
    if (n >= b->size) {
        buffer_clear(b);
        return;
    }
    memmove(b->data, b->data + n, b->size - n + 1);
    b->size -= n;
}

char *buffer_take(buffer *b, size_t *size)
{
    char *data = b->data;
    if (size)
        *size = b->size;
    *b = (buffer){ .size_max = b->size_max };
    return data;
}
