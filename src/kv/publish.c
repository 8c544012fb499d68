/* kv/publish.c - how an object gets its name. Writer thread.
 * (1) An object appears under its name whole or not at all: an unnamed file is filled, then linked (P2).
 * (2) linkat() never replaces: what has the name stays, and the writer looks at it.
 * (3) A failed fsync is never repeated: the kernel may have marked the pages clean (F53). The file is given up. */
#include "base/fault.h"
#include "kv/disk.h"
#include "kv/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static ds4_status at_point(const char *point, ds4_error *err)
{
    return fault_errno(point) ? ds4_fail_errno(err, "publish") : DS4_OK;
}

/* An unnamed file in the root's file system; where that does not exist, a named one in tmp/ (name filled in, and locked). */
static int open_temporary(kv_disk *d, int root, char name[KV_NAME_BYTES])
{
    kv_locked named;
    name[0] = 0;
    if (fault_errno("open.tmp"))
        return -1;
    if (!d->no_tmpfile) {
        const int fd = openat(root, "o", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
        if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
            return fd;
        d->no_tmpfile = true; /* writer thread only: it alone publishes */
    }
    if (kv_locked_create(&named, d, NULL) != DS4_OK)
        return -1;
    memcpy(name, named.name, sizeof named.name);
    return named.fd;
}

static ds4_status pwrite_all(int fd, const uint8_t *bytes, size_t size, uint64_t offset, ds4_error *err)
{
    while (size > 0) {
        const ssize_t n = pwrite(fd, bytes, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ds4_fail_errno(err, "write");
        bytes += n;
        size -= (size_t)n;
        offset += (uint64_t)n;
    }
    return DS4_OK;
}

/* Sections in pieces, so that writeback starts early and never floods the page cache (F43); the header last. */
static ds4_status fill(int fd, uint16_t kind, const uint8_t *image, uint64_t size, ds4_error *err)
{
    enum { PIECE = 32 << 20 };
    ds4_status status = at_point("publish.before_alloc", err);
    if (status != DS4_OK)
        return status;
    const int refused = posix_fallocate(fd, 0, (off_t)size);
    if (refused == ENOSPC || refused == EDQUOT || refused == EFBIG) { /* other answers: not supported here, go on */
        errno = refused;
        return ds4_fail_errno(err, "allocate");
    }
    status = at_point("publish.after_alloc", err);
    const fault f = fault_at(kind == KV_KIND_SEGMENT ? "write.seg" : "write.frn");
    if (f.kind == FAULT_SHORT && (uint64_t)f.arg < size)
        pwrite_all(fd, image, (size_t)f.arg, 0, err);
    if (status == DS4_OK && (f.kind == FAULT_ERRNO || f.kind == FAULT_SHORT)) {
        errno = f.kind == FAULT_ERRNO ? f.code : ENOSPC;
        status = ds4_fail_errno(err, "write");
    }
    for (uint64_t at = KV_PAGE; status == DS4_OK && at < size; at += PIECE) {
        const size_t n = (size_t)(size - at < PIECE ? size - at : PIECE);
        status = pwrite_all(fd, image + at, n, at, err);
        if (status == DS4_OK)
            sync_file_range(fd, (off_t)at, (off_t)n, SYNC_FILE_RANGE_WRITE);
        if (status == DS4_OK)
            status = at_point("publish.mid_write", err);
    }
    if (status == DS4_OK)
        status = at_point("publish.before_header", err);
    if (status == DS4_OK)
        status = pwrite_all(fd, image, KV_PAGE, 0, err);
    return status == DS4_OK ? at_point("publish.after_header", err) : status;
}

static int link_once(int root, int fd, const char *temporary, const char *name)
{
    char unnamed[40];
    if (temporary[0])
        return kv_disk_name_once(root, temporary, name);
    snprintf(unnamed, sizeof unnamed, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, unnamed, root, name, AT_SYMLINK_FOLLOW);
}

static ds4_status give_name(kv_disk *d, int root, int fd, const char *temporary, const char *name, bool *taken,
                            ds4_error *err)
{
    ds4_status status = at_point("publish.before_link", err);
    if (status != DS4_OK)
        return status;
    int linked = link_once(root, fd, temporary, name);
    if (linked != 0 && errno == ENOENT) { /* the folder of two digits is not there yet */
        char folder[8];
        snprintf(folder, sizeof folder, "%.4s", name);
        const bool made = mkdirat(root, folder, 0700) == 0;
        if (made)
            kv_disk_sync_folder(root, "o"); /* once: a power failure must not take away all that will be in it */
        if (made || errno == EEXIST)
            linked = link_once(root, fd, temporary, name);
        if (linked != 0 && errno == ENOENT && !temporary[0])
            d->no_tmpfile = true; /* there is no /proc to link from: named ones from now on */
    }
    *taken = linked != 0 && errno == EEXIST; /* (2) */
    if (linked != 0 && !*taken)
        return ds4_fail_errno(err, "link");
    return at_point("publish.after_link", err);
}

ds4_status kv_disk_publish(kv_disk *d, const kv_key *key, uint16_t kind, const uint8_t *image, uint64_t size,
                           kv_durability durability, bool *taken, ds4_error *err)
{
    char name[KV_NAME_BYTES], temporary[KV_NAME_BYTES] = "";
    const int root = kv_disk_root(d);
    *taken = false;
    if (root < 0)
        return ds4_fail(err, DS4_ERR_IO, "the directory is gone");
    kv_object_name(key, kind, name);
    ds4_status status = DS4_OK;
    const int fd = open_temporary(d, root, temporary);
    if (fd < 0)
        status = ds4_fail_errno(err, "create a temporary file");
    if (status == DS4_OK) {
        const kv_size_limit held = kv_disk_expect_size_limit();
        status = fill(fd, kind, image, size, err);
        kv_disk_size_limit_over(&held);
    }
    if (status == DS4_OK && durability != KV_DURABILITY_NONE) { /* (3) */
        status = at_point("publish.fsync", err);
        if (status == DS4_OK && fdatasync(fd) != 0)
            status = ds4_fail_errno(err, "fdatasync");
    }
    if (status == DS4_OK)
        status = give_name(d, root, fd, temporary, name, taken, err);
    if (status == DS4_OK && durability == KV_DURABILITY_FULL) {
        name[4] = 0; /* "o/3f" */
        const int folder = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        status = at_point("publish.dirsync", err);
        if (status == DS4_OK && (folder < 0 || fsync(folder) != 0))
            status = ds4_fail_errno(err, "fsync");
        if (folder >= 0)
            close(folder);
    }
    if (temporary[0])
        unlinkat(root, temporary, 0);
    if (fd >= 0)
        close(fd);
    close(root);
    return status;
}
