#include "base/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 16 * 1024, ALIGNMENT = alignof(max_align_t) };

struct arena_block {
    arena_block *next;
    size_t used, capacity;
    alignas(max_align_t) char bytes[];
};

static arena_block *add_block(arena *a, size_t capacity)
{
    arena_block *block = calloc(1, sizeof *block + capacity);
    if (!block)
        return NULL;
    block->capacity = capacity;
    block->next = a->blocks;
    a->blocks = block;
    return block;
}

void *arena_alloc(arena *a, size_t size)
{
    if (size > SIZE_MAX / 4)
        return NULL;
    size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (size == 0)
        size = ALIGNMENT;
    if (a->size_max && size > a->size_max - a->size) {
        a->over = true;
        return NULL;
    }
    arena_block *block = a->blocks;
    if (!block || block->capacity - block->used < size) {
        block = add_block(a, size > BLOCK_BYTES ? size : BLOCK_BYTES);
        if (!block)
            return NULL;
    }
    void *out = block->bytes + block->used;
    block->used += size;
    a->size += size;
    return out;
}

void *arena_alloc_array(arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return NULL;
    return arena_alloc(a, bytes);
}

slice arena_copy(arena *a, slice s)
{
    char *data = s.size < SIZE_MAX ? arena_alloc(a, s.size + 1) : NULL;
    if (!data)
        return (slice){ NULL, 0 };
    if (s.size)
        memcpy(data, s.data, s.size);
    data[s.size] = 0;
    return (slice){ data, s.size };
}

void arena_free(arena *a)
{
    for (arena_block *block = a->blocks; block;) {
        arena_block *next = block->next;
        free(block);
        block = next;
    }
    *a = (arena){ .size_max = a->size_max };
}
