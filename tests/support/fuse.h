/* support/fuse.h - memory that runs out: the n-th request for it fails. Defines malloc() and its relatives, so one file of a test
 * program includes it. Sanitizers bring an allocator of their own: there FUSE_WORKS is 0, and tests that need it skip(). */
#ifndef TESTS_FUSE_H
#define TESTS_FUSE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

/* The number of the request, from now on, that fails; 0: none. For tests of one thread. */
static long fuse_left;

static inline void fuse_set(long nth)
{
    fuse_left = nth;
}

/* No fuse from now on. True if it had blown. */
static inline bool fuse_clear(void)
{
    const bool blown = fuse_left < 0;
    fuse_left = 0;
    return blown;
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FUSE_WORKS 1

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

static inline bool fuse_blows(void)
{
    if (fuse_left <= 0 || --fuse_left > 0)
        return false;
    fuse_left = -1;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fuse_blows() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return fuse_blows() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    return fuse_blows() ? NULL : __libc_realloc(old, size);
}

#else
#define FUSE_WORKS 0
#endif
#endif
