#include "server/stub_fuse.h"

#if defined(__GLIBC__) || defined(__linux__)
#include <features.h>
#endif

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *old);

static atomic_long requests, fuse, live;
static atomic_bool lasting;

static bool fails(void)
{
    const long limit = fuse, n = limit ? ++requests : 0;
    if (limit == 0 || n < limit || (n > limit && !lasting))
        return false;
    errno = ENOMEM;
    return true;
}

static void *counted(void *fresh)
{
    live += fresh != NULL;
    return fresh;
}

void *malloc(size_t size)
{
    return fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *old, size_t size)
{
    if (!old)
        return malloc(size);
    return fails() ? NULL : __libc_realloc(old, size);
}

void free(void *old)
{
    live -= old != NULL;
    __libc_free(old);
}

bool fuse_works(void)
{
    return true;
}

void fuse_set(long n, bool for_good)
{
    lasting = for_good;
    requests = 0;
    fuse = n;
}

long fuse_n_requests(void)
{
    return requests;
}

long fuse_n_live(void)
{
    return live;
}

#else

bool fuse_works(void)
{
    return false;
}

void fuse_set(long n, bool for_good)
{
    (void)n, (void)for_good;
}

long fuse_n_requests(void)
{
    return 0;
}

long fuse_n_live(void)
{
    return 0;
}

#endif
