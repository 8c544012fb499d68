/* kv/disk.c
 * (1) An object appears under its name whole or not at all: an unnamed file is filled, then linked (P2).
 * (2) linkat() never replaces: the first one stays.
 * (3) A failed fsync is never repeated: the kernel may have marked the pages clean (F53). The file is given up.
 * (4) Nothing is done through a path twice: one descriptor of the root, everything else relative to it (F22). */
#include "kv/disk.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "kv/layout.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char *const folders[] = { "o", "use", "poison", "intent", "quarantine", "pin", "tmp" };

void kv_object_name(const kv_key *key, uint16_t kind, char out[KV_NAME_BYTES])
{
    char hex[HASH_KEY_HEX];
    hash_key_hex(key, hex);
    snprintf(out, KV_NAME_BYTES, "o/%.2s/%s.%c", hex, hex, kind == KV_KIND_SEGMENT ? 's' : 'f');
}

/* --- the directory --------------------------------------------------------------------------------------------------- */

/* Makes the directory and its parents. */
static ds4_status make_path(const char *path, ds4_error *err)
{
    char *copy = strdup(path);
    if (!copy)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    ds4_status status = DS4_OK;
    for (char *at = copy + 1;; at++) {
        const char c = *at;
        if (c != '/' && c != 0)
            continue;
        *at = 0;
        if (mkdir(copy, 0700) != 0 && errno != EEXIST && (c == 0 || errno != EROFS)) {
            status = ds4_fail(err, DS4_ERR_ARGUMENT, "cannot make the directory: %s", strerror(errno));
            break;
        }
        *at = c;
        if (c == 0)
            break;
    }
    free(copy);
    return status;
}

static ds4_status check_owner(int root, bool trust_group, struct stat *about, ds4_error *err)
{
    if (fstat(root, about) != 0)
        return ds4_fail_errno(err, "cannot look at the directory");
    if (about->st_uid != geteuid() && !trust_group)
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "belongs to another user; name a directory of your own");
    if ((about->st_mode & 022) != 0 && !trust_group)
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "can be written by others (mode %03o); chmod 700 it",
                        (unsigned)about->st_mode & 0777);
    return DS4_OK;
}

/* Opens what is there, with all folders if it can be written. Fills root, device, inode, read_only. */
static ds4_status open_root(kv_disk *d, bool read_only, bool trust_group, ds4_error *err)
{
    struct stat about;
    if (fault_errno("open.dir"))
        return ds4_fail_errno(err, "cannot open the directory");
    const int root = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return errno == ENOTDIR ? ds4_fail(err, DS4_ERR_ARGUMENT, "is not a directory")
                                : ds4_fail_errno(err, "cannot open the directory");
    const ds4_status status = check_owner(root, trust_group, &about, err);
    if (status != DS4_OK) {
        close(root);
        return status;
    }
    bool writable = !read_only;
    for (size_t i = 0; writable && i < sizeof folders / sizeof folders[0]; i++)
        if (mkdirat(root, folders[i], 0700) != 0 && errno != EEXIST) {
            log_warning("kv read-only dir=\"%s\" why=\"%s\"", d->path, strerror(errno));
            writable = false;
        }
    if (writable && faccessat(root, "o", W_OK | X_OK, AT_EACCESS) != 0) {
        log_warning("kv read-only dir=\"%s\" why=\"%s\"", d->path, strerror(errno));
        writable = false;
    }
    d->root = root;
    d->device = about.st_dev;
    d->inode = about.st_ino;
    d->read_only = !writable;
    return DS4_OK;
}

ds4_status kv_disk_open(kv_disk *d, const char *path, bool read_only, bool trust_group, ds4_error *err)
{
    *d = (kv_disk){ .root = -1 };
    pthread_mutex_init(&d->lock, NULL);
    d->path = strdup(path);
    if (!d->path)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    struct stat about;
    ds4_status status = DS4_OK;
    if (!read_only && stat(path, &about) != 0 && errno == ENOENT)
        status = make_path(path, err);
    if (status == DS4_OK)
        status = open_root(d, read_only, trust_group, err);
    return status;
}

void kv_disk_close(kv_disk *d)
{
    if (d->root >= 0)
        close(d->root);
    free(d->path);
    pthread_mutex_destroy(&d->lock);
}

int kv_disk_root(kv_disk *d)
{
    pthread_mutex_lock(&d->lock);
    const int root = d->root >= 0 ? fcntl(d->root, F_DUPFD_CLOEXEC, 3) : -1;
    pthread_mutex_unlock(&d->lock);
    return root;
}

bool kv_disk_revalidate(kv_disk *d, int64_t recreate_us, bool *anew)
{
    struct stat about;
    const int64_t now_us = clock_monotonic_us();
    *anew = false;
    pthread_mutex_lock(&d->lock);
    const bool same =
        d->root >= 0 && stat(d->path, &about) == 0 && about.st_dev == d->device && about.st_ino == d->inode;
    if (!same && d->root >= 0) {
        log_warning("kv directory gone dir=\"%s\"", d->path);
        close(d->root);
        d->root = -1;
        d->tried_us = now_us - recreate_us; /* the first look is at once */
    }
    bool good = same;
    if (!same && !d->read_only && now_us - d->tried_us >= recreate_us) {
        ds4_error err;
        d->tried_us = now_us;
        good = make_path(d->path, &err) == DS4_OK && open_root(d, false, false, &err) == DS4_OK;
        *anew = good;
        log_warning("kv directory %s dir=\"%s\" why=\"%s\"", good ? "back" : "missing", d->path, good ? "" : err.text);
    }
    pthread_mutex_unlock(&d->lock);
    return good;
}

/* --- small files ------------------------------------------------------------------------------------------------------ */

static ds4_status gone(ds4_error *err)
{
    return ds4_fail(err, DS4_ERR_IO, "the directory is gone");
}

/* write() of everything, with the fault point of its kind: errno, or only the first k bytes. */
static ds4_status write_faulty(int fd, const void *bytes, size_t size, const char *point, ds4_error *err)
{
    const fault f = fault_at(point);
    if (f.kind == FAULT_ERRNO) {
        errno = f.code;
        return ds4_fail_errno(err, "write");
    }
    if (f.kind == FAULT_SHORT && (size_t)f.arg < size) {
        file_write_all(fd, bytes, (size_t)f.arg, NULL);
        errno = ENOSPC;
        return ds4_fail_errno(err, "write");
    }
    return file_write_all(fd, bytes, size, err);
}

static ds4_status write_at(kv_disk *d, const char *name, int flags, const void *bytes, size_t size, const char *point,
                           ds4_error *err)
{
    const int root = kv_disk_root(d);
    if (root < 0)
        return gone(err);
    ds4_status status = DS4_OK;
    const int fd = openat(root, name, flags | O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        status = ds4_fail_errno(err, name);
    else
        status = write_faulty(fd, bytes, size, point, err);
    if (fd >= 0)
        close(fd);
    if (fd >= 0 && status != DS4_OK && (flags & O_EXCL))
        unlinkat(root, name, 0);
    close(root);
    return status;
}

ds4_status kv_disk_write_small(kv_disk *d, const char *name, const void *bytes, size_t size, const char *point,
                               ds4_error *err)
{
    kv_disk_unlink(d, name, NULL);
    return write_at(d, name, O_EXCL, bytes, size, point, err);
}

ds4_status kv_disk_append(kv_disk *d, const char *name, const void *bytes, size_t size, const char *point,
                          ds4_error *err)
{
    return write_at(d, name, O_APPEND, bytes, size, point, err);
}

ds4_status kv_disk_read_small(kv_disk *d, const char *name, void *out, size_t size, size_t *n, ds4_error *err)
{
    const int root = kv_disk_root(d);
    ds4_status status = DS4_OK;
    *n = 0;
    if (root < 0)
        return gone(err);
    const int fd = openat(root, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        status = ds4_fail_errno(err, name);
    while (fd >= 0 && *n < size) {
        const ssize_t some = read(fd, (char *)out + *n, size - *n);
        if (some < 0 && errno == EINTR)
            continue;
        if (some < 0)
            status = ds4_fail_errno(err, name);
        if (some <= 0)
            break;
        *n += (size_t)some;
    }
    if (fd >= 0)
        close(fd);
    close(root);
    return status;
}

bool kv_disk_unlink(kv_disk *d, const char *name, const char *point)
{
    const int root = kv_disk_root(d);
    bool good = root >= 0 && !(point && fault_errno(point));
    if (good)
        good = unlinkat(root, name, 0) == 0 || errno == ENOENT;
    if (root >= 0)
        close(root);
    return good;
}

bool kv_disk_quarantine(kv_disk *d, const kv_key *key, uint16_t kind)
{
    char from[KV_NAME_BYTES], to[KV_NAME_BYTES + 16];
    kv_object_name(key, kind, from);
    snprintf(to, sizeof to, "quarantine/%s", from + 5); /* without "o/3f/" */
    const int root = kv_disk_root(d);
    if (root < 0)
        return false;
    const bool moved = renameat(root, from, root, to) == 0;
    close(root);
    return moved;
}

bool kv_disk_stat(kv_disk *d, const char *name, struct stat *out)
{
    const int root = kv_disk_root(d);
    const bool good = root >= 0 && fstatat(root, name, out, AT_SYMLINK_NOFOLLOW) == 0;
    if (root >= 0)
        close(root);
    return good;
}

void kv_disk_list(kv_disk *d, const char *folder, kv_visit_fn *visit, void *user)
{
    const int root = kv_disk_root(d);
    const int fd = root < 0 ? -1 : openat(root, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (root >= 0)
        close(root);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (const struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.' && !visit(user, folder, entry->d_name))
            break;
    closedir(dir);
}

uint64_t kv_disk_free_bytes(kv_disk *d, uint64_t *total)
{
    struct statvfs about;
    const int root = kv_disk_root(d);
    const bool good = root >= 0 && fstatvfs(root, &about) == 0;
    if (root >= 0)
        close(root);
    if (total)
        *total = good ? (uint64_t)about.f_blocks * about.f_frsize : 0;
    return good ? (uint64_t)about.f_bavail * about.f_frsize : 0;
}

/* --- objects ----------------------------------------------------------------------------------------------------------- */

static ds4_status at_point(const char *point, ds4_error *err)
{
    return fault_errno(point) ? ds4_fail_errno(err, "publish") : DS4_OK;
}

/* An unnamed file in the root's file system; where that does not exist, a named one in tmp/ (name filled in). */
static int open_temporary(kv_disk *d, int root, char name[KV_NAME_BYTES])
{
    uint64_t random;
    name[0] = 0;
    if (fault_errno("open.tmp"))
        return -1;
    if (!d->no_tmpfile) {
        const int fd = openat(root, "o", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
        if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
            return fd;
        d->no_tmpfile = true; /* writer thread only: it alone publishes */
    }
    hash_random(&random, sizeof random);
    snprintf(name, KV_NAME_BYTES, "tmp/%ld.%016" PRIx64, (long)getpid(), random);
    return openat(root, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0600);
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
    if (status == DS4_OK && f.kind == FAULT_ERRNO) {
        errno = f.code;
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

static ds4_status give_name(int root, int fd, const char *temporary, const char *name, ds4_error *err)
{
    char link_path[40];
    int linked;
    ds4_status status = at_point("publish.before_link", err);
    if (status != DS4_OK)
        return status;
    snprintf(link_path, sizeof link_path, "/proc/self/fd/%d", fd);
    linked = temporary[0] ? linkat(root, temporary, root, name, 0)
                          : linkat(AT_FDCWD, link_path, root, name, AT_SYMLINK_FOLLOW);
    if (linked != 0 && errno == ENOENT) { /* the folder of two digits is not there yet */
        char folder[8];
        snprintf(folder, sizeof folder, "%.4s", name);
        if (mkdirat(root, folder, 0700) == 0 || errno == EEXIST)
            linked = temporary[0] ? linkat(root, temporary, root, name, 0)
                                  : linkat(AT_FDCWD, link_path, root, name, AT_SYMLINK_FOLLOW);
    }
    if (linked != 0 && errno != EEXIST) /* (2) */
        return ds4_fail_errno(err, "link");
    return at_point("publish.after_link", err);
}

ds4_status kv_disk_publish(kv_disk *d, const kv_key *key, uint16_t kind, const uint8_t *image, uint64_t size,
                           kv_durability durability, ds4_error *err)
{
    char name[KV_NAME_BYTES], temporary[KV_NAME_BYTES] = "";
    const int root = kv_disk_root(d);
    if (root < 0)
        return gone(err);
    kv_object_name(key, kind, name);
    ds4_status status = DS4_OK;
    const int fd = open_temporary(d, root, temporary);
    if (fd < 0)
        status = ds4_fail_errno(err, "create a temporary file");
    if (status == DS4_OK)
        status = fill(fd, kind, image, size, err);
    if (status == DS4_OK && durability != KV_DURABILITY_NONE) { /* (3) */
        status = at_point("publish.fsync", err);
        if (status == DS4_OK && fdatasync(fd) != 0)
            status = ds4_fail_errno(err, "fdatasync");
    }
    if (status == DS4_OK)
        status = give_name(root, fd, temporary, name, err);
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

ds4_status kv_disk_open_object(kv_disk *d, const kv_key *key, uint16_t kind, bool trust_group, int *fd, uint64_t *size,
                               ds4_error *err)
{
    char name[KV_NAME_BYTES];
    struct stat about;
    const int root = kv_disk_root(d);
    *fd = -1;
    if (root < 0)
        return ds4_fail(err, DS4_ERR_NOT_FOUND, "the directory is gone");
    kv_object_name(key, kind, name);
    if (!fault_errno(kind == KV_KIND_SEGMENT ? "open.seg" : "open.frn"))
        *fd = openat(root, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    close(root);
    if (*fd < 0)
        return errno == ELOOP ? ds4_fail(err, DS4_ERR_CORRUPT, "is a symbolic link") : ds4_fail_errno(err, "open");
    ds4_status status = DS4_OK;
    if (fstat(*fd, &about) != 0)
        status = ds4_fail_errno(err, "fstat");
    else if (!S_ISREG(about.st_mode))
        status = ds4_fail(err, DS4_ERR_CORRUPT, "is not a regular file");
    else if (about.st_uid != geteuid() && about.st_uid != 0 && !trust_group)
        status = ds4_fail(err, DS4_ERR_CORRUPT, "belongs to another user");
    *size = status == DS4_OK ? (uint64_t)about.st_size : 0;
    if (status != DS4_OK) {
        close(*fd);
        *fd = -1;
    }
    return status;
}

ds4_status kv_disk_read(int fd, uint64_t offset, void *out, size_t size, const char *point, ds4_error *err)
{
    const fault f = fault_at(point);
    if (f.kind == FAULT_ERRNO) {
        errno = f.code;
        return ds4_fail_errno(err, "read");
    }
    if (f.kind == FAULT_SHORT && (size_t)f.arg < size)
        return ds4_fail(err, DS4_ERR_CORRUPT, "ends early");
    const ds4_status status = file_read_at(fd, offset, out, size, err);
    if (status == DS4_OK && f.kind == FAULT_FLIP && (size_t)(f.arg / 8) < size)
        ((uint8_t *)out)[f.arg / 8] ^= (uint8_t)(1u << (f.arg % 8));
    if (status == DS4_OK && f.kind == FAULT_ZERO && (size_t)f.arg < size)
        memset((uint8_t *)out + f.arg, 0, size - (size_t)f.arg);
    return status;
}
