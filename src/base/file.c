#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

ds4_status file_write_all(int fd, const void *bytes, size_t size, ds4_error *err)
{
    const uint8_t *at = bytes;
    while (size > 0) {
        const ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ds4_fail_errno(err, "write");
        if (n == 0) /* not what POSIX has for a file; but a loop without end if a file system does it */
            return ds4_fail(err, DS4_ERR_IO, "write: no progress");
        at += n;
        size -= (size_t)n;
    }
    return DS4_OK;
}

ds4_status file_read_at(int fd, uint64_t offset, void *out, size_t size, ds4_error *err)
{
    uint8_t *at = out;
    while (size > 0) {
        const ssize_t n = pread(fd, at, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ds4_fail_errno(err, "read");
        if (n == 0)
            return ds4_fail(err, DS4_ERR_CORRUPT, "the file ends at byte %llu, %zu bytes early",
                            (unsigned long long)offset, size);
        at += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return DS4_OK;
}

void file_sync_folder(int parent, const char *path)
{
    const int fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

void file_sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *parent = slash && slash > path ? strndup(path, (size_t)(slash - path)) : strdup(slash ? "/" : ".");
    if (parent)
        file_sync_folder(AT_FDCWD, parent);
    free(parent);
}

ds4_status file_map_open(file_map *out, const char *path, ds4_error *err)
{
    ds4_status status = DS4_OK;
    struct stat about;
    void *bytes = NULL;
    *out = (file_map){ .fd = -1 };
    /* O_NONBLOCK: opening a FIFO by mistake must not hang; it is refused right below. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ds4_fail_errno(err, "cannot open");
    if (fstat(fd, &about) != 0) {
        status = ds4_fail_errno(err, "cannot open");
        goto out;
    }
    if (!S_ISREG(about.st_mode)) {
        status = ds4_fail(err, DS4_ERR_UNSUPPORTED, "is not a regular file");
        goto out;
    }
    if (about.st_size > 0) {
        bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (bytes == MAP_FAILED) {
            status = ds4_fail_errno(err, "cannot map");
            goto out;
        }
    }
    *out = (file_map){ .bytes = bytes, .size = (size_t)about.st_size, .modified = about.st_mtim, .fd = fd };
out:
    if (status != DS4_OK)
        close(fd);
    return status;
}

void file_map_close(file_map *map)
{
    if (map->bytes)
        munmap((void *)(uintptr_t)map->bytes, map->size); /* const for readers, not for the system */
    if (map->fd >= 0)
        close(map->fd);
    *map = (file_map){ .fd = -1 };
}
