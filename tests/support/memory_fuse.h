/* tests/support/memory_fuse.h - memory that runs out at a chosen request. It replaces the allocator of the program that includes
 * it, so one file of a test does. The sanitizers bring an allocator of their own: MEMORY_FUSE is then 0 and nothing runs out. */
#ifndef TESTS_SUPPORT_MEMORY_FUSE_H
#define TESTS_SUPPORT_MEMORY_FUSE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

static atomic_long memory_requests;  /* since the fuse was set */
static atomic_long memory_fuse;      /* the number of the request that fails; 0: none */
static atomic_bool memory_stays_out; /* and all that follow */
/* Of malloc(), calloc() and realloc(), not freed. */
__attribute__((unused)) static atomic_long memory_n_live;

static inline void memory_fuse_set(long nth, bool for_good)
{
    memory_stays_out = for_good;
    memory_requests = 0;
    memory_fuse = nth;
}

/* Memory is there again. True if the fuse has blown. */
static inline bool memory_fuse_clear(void)
{
    const long nth = memory_fuse;
    memory_fuse = 0;
    return nth && memory_requests >= nth;
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MEMORY_FUSE 1

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *old);

static bool memory_fails(void)
{
    const long limit = memory_fuse, n = limit ? ++memory_requests : 0;
    if (limit == 0 || n < limit || (n > limit && !memory_stays_out))
        return false;
    errno = ENOMEM;
    return true;
}

static void *memory_counted(void *fresh)
{
    memory_n_live += fresh != NULL;
    return fresh;
}

void *malloc(size_t size)
{
    return memory_fails() ? NULL : memory_counted(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    return memory_fails() ? NULL : memory_counted(__libc_calloc(n, size));
}

void *realloc(void *old, size_t size)
{
    if (!old)
        return malloc(size);
    return memory_fails() ? NULL : __libc_realloc(old, size);
}

void free(void *old)
{
    memory_n_live -= old != NULL;
    __libc_free(old);
}

#else
#define MEMORY_FUSE 0
#endif

#endif
