/* In place of the C library's fsync() and fdatasync(): the tests of the store see what is synced, and do not wait for it. */
#include "kv/stub_model.h"
#include "support/support.h"

#include <unistd.h>

enum { SYNCS_MAX = 64 };

atomic_int stub_n_synced;
static struct stat synced[SYNCS_MAX];

int fsync(int fd)
{
    const int i = atomic_fetch_add(&stub_n_synced, 1);
    return i < SYNCS_MAX ? fstat(fd, &synced[i]) : 0;
}

int fdatasync(int fd)
{
    return fsync(fd);
}

bool stub_was_synced(const char *path)
{
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    for (int i = 0; i < stub_n_synced && i < SYNCS_MAX; i++)
        if (synced[i].st_dev == about.st_dev && synced[i].st_ino == about.st_ino)
            return true;
    return false;
}
