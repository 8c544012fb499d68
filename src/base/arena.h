/* base/arena.h - memory for many small things that die together (one request, one parsed file).
 * Threads: one at a time. Everything handed out lives until arena_free(). */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/buffer.h"

typedef struct arena_block arena_block;

typedef struct arena {
    arena_block *blocks;
    size_t size;     /* bytes handed out */
    size_t size_max; /* 0: unbounded */
    bool over;       /* something was refused because of size_max */
} arena;             /* a zeroed arena is valid */

/* Zeroed memory aligned for any type, or NULL (no memory, or beyond size_max). `size` 0 gives a valid pointer. */
void *arena_alloc(arena *a, size_t size);
/* The same for n items of `size` bytes; NULL when the product overflows. */
void *arena_alloc_array(arena *a, size_t n, size_t size);
/* A copy with a terminating 0 after it; .data is NULL when there is no memory. */
slice arena_copy(arena *a, slice s);
void arena_free(arena *a);

#endif
