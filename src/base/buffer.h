/* base/buffer.h - a growable run of bytes with a ceiling fixed at birth, and a borrowed view of bytes.
 * Threads: one at a time. A failed append changes nothing and leaves the buffer usable. */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include "ds4/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed bytes: length-counted, any byte may occur, no terminator is promised. */
typedef struct slice {
    const char *data;
    size_t size;
} slice;

/* A slice of a string literal. */
#define SLICE(literal) ((slice){ (literal), sizeof(literal) - 1 })

slice slice_of(const char *text); /* NULL gives the empty slice */
bool slice_equal(slice a, slice b);

typedef struct buffer {
    char *data; /* `size` bytes, then one 0 that is not counted; NULL while nothing was ever appended */
    size_t size;
    size_t capacity;
    size_t size_max; /* appending beyond it is DS4_ERR_NO_SPACE; 0 means SIZE_MAX / 2 */
} buffer;

/* A zeroed buffer is valid and unbounded. */
static inline buffer buffer_bounded(size_t size_max)
{
    return (buffer){ .size_max = size_max };
}

/* Errors: NO_SPACE (ceiling), NO_MEMORY. */
ds4_status buffer_reserve(buffer *b, size_t n_more);
ds4_status buffer_append(buffer *b, const void *bytes, size_t size);
ds4_status buffer_append_slice(buffer *b, slice s);
ds4_status buffer_append_text(buffer *b, const char *text);
ds4_status buffer_append_byte(buffer *b, uint8_t byte);
ds4_status buffer_printf(buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
ds4_status buffer_append_u32(buffer *b, uint32_t value); /* little-endian */
ds4_status buffer_append_u64(buffer *b, uint64_t value); /* little-endian */

void buffer_clear(buffer *b);               /* keeps the memory */
void buffer_free(buffer *b);                /* back to the zeroed state; size_max is kept */
slice buffer_slice(const buffer *b);        /* valid until the next change */
void buffer_consume(buffer *b, size_t n);   /* drops the first n bytes */
char *buffer_take(buffer *b, size_t *size); /* hands the memory over (free() it); NULL if nothing was appended */

#endif
