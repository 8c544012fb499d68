/* kv/disk.c - the directory itself, names in it, and reading objects; publishing them is publish.c, records are small.c.
 * (1) Nothing is done through a path twice: one descriptor of the root, everything else relative to it (F22).
 * (2) What every object depends on survives a power failure: STORE, whose salt names them, and the directories that they
 *     are in are synced when they are created. Objects are not (kv_durability): one that is lost is only a miss. */
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
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char *const folders[] = { "o", "use", "poison", "intent", "quarantine", "pin", "tmp", "model" };

void kv_object_name(const kv_key *key, uint16_t kind, char out[KV_NAME_BYTES])
{
    char hex[HASH_KEY_HEX];
    hash_key_hex(key, hex);
    snprintf(out, KV_NAME_BYTES, "o/%.2s/%s.%c", hex, hex, kind == KV_KIND_SEGMENT ? 's' : 'f');
}

/* --- the directory --------------------------------------------------------------------------------------------------- */

void kv_disk_sync_folder(int root, const char *folder)
{
    file_sync_folder(root, folder);
}

/* A full or failing disk is no reason not to start: that is "no cache", like any later error. */
static ds4_status cannot_make(ds4_error *err)
{
    return errno == ENOSPC || errno == EDQUOT || errno == EIO
               ? ds4_fail_errno(err, "cannot make the directory")
               : ds4_fail(err, DS4_ERR_ARGUMENT, "cannot make the directory: %s", strerror(errno));
}

/* At the first opening parents are not made: the path may be mistyped. */
static ds4_status make_last_part(const char *path, ds4_error *err)
{
    if (mkdir(path, 0700) == 0)
        file_sync_parent(path); /* (2) */
    else if (errno == ENOENT)
        return ds4_fail(err, DS4_ERR_ARGUMENT,
                        "cannot make the directory: its parent does not exist; check the path, or make the parent");
    else if (errno != EEXIST)
        return cannot_make(err);
    return DS4_OK;
}

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
        if (mkdir(copy, 0700) == 0) {
            file_sync_parent(copy);
        } else if (errno != EEXIST && (c == 0 || errno != EROFS)) {
            status = cannot_make(err);
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

/* Makes the folders that are missing. *made_objects: "o" was one of them, so the store has lost its objects. */
static bool make_folders(int root, bool *made_objects)
{
    bool made = false;
    *made_objects = false;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        if (mkdirat(root, folders[i], 0700) == 0) {
            made = true;
            *made_objects = *made_objects || i == 0;
        } else if (errno != EEXIST) {
            return false;
        }
    }
    if (made)
        file_sync_folder(root, "."); /* (2) */
    return true;
}

/* Opens what is there, with all folders if it can be written. Replaces root, device, inode, read_only. */
static ds4_status open_root(kv_disk *d, bool read_only, ds4_error *err)
{
    struct stat about;
    if (fault_errno("open.dir"))
        return ds4_fail_errno(err, "cannot open the directory");
    const int root = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return errno == ENOTDIR ? ds4_fail(err, DS4_ERR_ARGUMENT, "is not a directory")
                                : ds4_fail_errno(err, "cannot open the directory");
    const ds4_status status = check_owner(root, d->trust_group, &about, err);
    if (status != DS4_OK) {
        close(root);
        return status;
    }
    bool made_objects;
    const bool writable =
        !read_only && make_folders(root, &made_objects) && faccessat(root, "o", W_OK | X_OK, AT_EACCESS) == 0;
    if (!writable && !read_only)
        log_warning("kv read-only dir=\"%s\" why=\"%s\"", d->path, strerror(errno));
    pthread_mutex_lock(&d->lock);
    const int old = d->root;
    d->root = root;
    d->device = about.st_dev;
    d->inode = about.st_ino;
    pthread_mutex_unlock(&d->lock);
    atomic_store(&d->read_only, !writable);
    if (old >= 0)
        close(old);
    return DS4_OK;
}

ds4_status kv_disk_open(kv_disk *d, const char *path, bool read_only, bool trust_group, ds4_error *err)
{
    *d = (kv_disk){ .root = -1, .trust_group = trust_group };
    pthread_mutex_init(&d->lock, NULL);
    d->path = strdup(path);
    if (!d->path)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    struct stat about;
    ds4_status status = DS4_OK;
    if (!read_only && stat(path, &about) != 0 && errno == ENOENT)
        status = make_last_part(path, err);
    if (status == DS4_OK)
        status = open_root(d, read_only, err);
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

/* The directory is the one under its path and has a STORE; folders that somebody removed are made again. */
static bool is_intact(kv_disk *d, bool *lost_objects)
{
    struct stat about;
    *lost_objects = false;
    pthread_mutex_lock(&d->lock);
    const bool held = d->root >= 0;
    const dev_t device = d->device;
    const ino_t inode = d->inode;
    pthread_mutex_unlock(&d->lock);
    if (!held || stat(d->path, &about) != 0 || about.st_dev != device || about.st_ino != inode)
        return false;
    if (d->read_only)
        return true;
    const int root = kv_disk_root(d);
    const bool whole =
        root >= 0 && fstatat(root, "STORE", &about, AT_SYMLINK_NOFOLLOW) == 0 && make_folders(root, lost_objects);
    if (root >= 0)
        close(root);
    return whole;
}

bool kv_disk_revalidate(kv_disk *d, int64_t recreate_us, bool *anew)
{
    ds4_error err;
    *anew = false;
    if (atomic_exchange(&d->looking, true))
        return !d->gone;
    bool good = is_intact(d, anew);
    if (good)
        d->tried_us = 0;
    if (*anew)
        log_warning("kv objects gone dir=\"%s\": folder o made again", d->path);
    const int64_t now_us = clock_monotonic_us();
    const bool first = d->tried_us == 0; /* the first look is at once */
    if (!good && (first || now_us - d->tried_us >= recreate_us)) {
        const bool read_only = d->read_only;
        if (first)
            log_warning("kv directory gone dir=\"%s\"", d->path);
        d->tried_us = now_us;
        good = (read_only || make_path(d->path, &err) == DS4_OK) && open_root(d, read_only, &err) == DS4_OK;
        *anew = good;
        log_warning("kv directory %s dir=\"%s\" why=\"%s\"", good ? "back" : "missing", d->path, good ? "" : err.text);
    }
    atomic_store(&d->gone, !good);
    atomic_store(&d->looking, false);
    return good;
}

/* --- names ------------------------------------------------------------------------------------------------------------ */

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
    /* To leave its place matters more than to be kept for diagnosis. */
    const bool left = renameat(root, from, root, to) == 0 || unlinkat(root, from, 0) == 0 || errno == ENOENT;
    close(root);
    return left;
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

void kv_disk_object_folders(kv_disk *d, struct timespec changed[256])
{
    const int root = kv_disk_root(d);
    for (int i = 0; i < 256; i++) {
        char folder[8];
        struct stat about;
        snprintf(folder, sizeof folder, "o/%02x", (unsigned)i);
        const bool there = root >= 0 && fstatat(root, folder, &about, AT_SYMLINK_NOFOLLOW) == 0;
        changed[i] = there ? about.st_mtim : (struct timespec){ 0 };
    }
    if (root >= 0)
        close(root);
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

/* --- objects, for reading ----------------------------------------------------------------------------------------------- */

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
