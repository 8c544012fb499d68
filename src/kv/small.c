/* kv/small.c - small files: records and temporaries, and the locks that say whose writer is at work.
 * (1) A small file appears under its name whole or not at all: no record is ever torn.
 * (2) A writer locks its file before the file has a name that others look for, and removes the name before it gives up the
 *     lock. So a file that can be locked and still has its name was left by a process that is gone (P3), whatever process
 *     ids mean to the two: in containers, and on other machines, they mean nothing.
 * (3) A write beyond the file-size limit (RLIMIT_FSIZE) is an error and not a signal, whatever the program does with
 *     SIGXFSZ: the signal is blocked in the writing thread, so that no process-wide disposition has to be changed. */
#include "base/fault.h"
#include "base/file.h"
#include "kv/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* --- locks ------------------------------------------------------------------------------------------------------------ */

/* Open file description locks: they belong to the descriptor, not to the process, so two stores of one process see each
 * other, and closing some other descriptor of the file does not drop them. `command`: F_OFD_SETLK or F_OFD_GETLK. */
static kv_lock lock_file(int fd, int command)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int result;
    if (fault_errno("lock"))
        return KV_LOCK_UNKNOWN;
    do
        result = fcntl(fd, command, &lock);
    while (result != 0 && errno == EINTR);
    if (result != 0)
        return errno == EAGAIN || errno == EACCES ? KV_LOCK_BUSY : KV_LOCK_UNKNOWN;
    return command == F_OFD_GETLK && lock.l_type != F_UNLCK ? KV_LOCK_BUSY : KV_LOCK_MINE;
}

static bool has_name(int fd)
{
    struct stat about;
    return fstat(fd, &about) == 0 && about.st_nlink > 0;
}

/* --- reading and writing ---------------------------------------------------------------------------------------------- */

static ds4_status no_directory(ds4_error *err)
{
    return ds4_fail(err, DS4_ERR_IO, "the directory is gone");
}

kv_size_limit kv_disk_expect_size_limit(void)
{
    kv_size_limit held;
    sigset_t pending, limit;
    sigemptyset(&limit);
    sigaddset(&limit, SIGXFSZ);
    sigpending(&pending);
    held.was_pending = sigismember(&pending, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &limit, &held.mask);
    return held;
}

void kv_disk_size_limit_over(const kv_size_limit *held)
{
    const int code = errno;
    const struct timespec now = { 0 };
    sigset_t limit;
    sigemptyset(&limit);
    sigaddset(&limit, SIGXFSZ);
    if (!held->was_pending)
        sigtimedwait(&limit, NULL, &now); /* takes the signal of a write that was refused */
    pthread_sigmask(SIG_SETMASK, &held->mask, NULL);
    errno = code;
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
    const kv_size_limit held = kv_disk_expect_size_limit(); /* (3) */
    const ds4_status status = file_write_all(fd, bytes, size, err);
    kv_disk_size_limit_over(&held);
    return status;
}

static ds4_status read_up_to(int fd, void *out, size_t size, size_t *n, const char *name, ds4_error *err)
{
    *n = 0;
    while (*n < size) {
        const ssize_t some = read(fd, (char *)out + *n, size - *n);
        if (some < 0 && errno == EINTR)
            continue;
        if (some < 0)
            return ds4_fail_errno(err, name);
        if (some == 0)
            break;
        *n += (size_t)some;
    }
    return DS4_OK;
}

ds4_status kv_disk_append(kv_disk *d, const char *name, const void *bytes, size_t size, const char *point,
                          ds4_error *err)
{
    const int root = kv_disk_root(d);
    if (root < 0)
        return no_directory(err);
    const int fd = openat(root, name, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    const ds4_status status = fd < 0 ? ds4_fail_errno(err, name) : write_faulty(fd, bytes, size, point, err);
    if (fd >= 0)
        close(fd);
    close(root);
    return status;
}

ds4_status kv_disk_read_small(kv_disk *d, const char *name, void *out, size_t size, size_t *n, ds4_error *err)
{
    const int root = kv_disk_root(d);
    *n = 0;
    if (root < 0)
        return no_directory(err);
    const int fd = openat(root, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    const ds4_status status = fd < 0 ? ds4_fail_errno(err, name) : read_up_to(fd, out, size, n, name, err);
    if (fd >= 0)
        close(fd);
    close(root);
    return status;
}

/* --- temporaries, and files that stay locked -------------------------------------------------------------------------- */

static void make_name(char out[KV_NAME_BYTES])
{
    uint64_t random;
    hash_random(&random, sizeof random);
    snprintf(out, KV_NAME_BYTES, "tmp/%ld.%016" PRIx64, (long)getpid(), random);
}

ds4_status kv_locked_create(kv_locked *out, kv_disk *d, ds4_error *err)
{
    const int root = kv_disk_root(d);
    *out = KV_LOCKED_NONE;
    if (root < 0)
        return no_directory(err);
    ds4_status status = DS4_OK;
    for (;;) {
        make_name(out->name);
        out->fd = openat(root, out->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (out->fd < 0) {
            status = ds4_fail_errno(err, out->name);
            break;
        }
        out->lock = lock_file(out->fd, F_OFD_SETLK);
        if (out->lock != KV_LOCK_BUSY && has_name(out->fd))
            break;
        close(out->fd); /* another server swept it up before it was locked: once more */
    }
    if (status != DS4_OK)
        *out = KV_LOCKED_NONE;
    close(root);
    return status;
}

int kv_disk_name_once(int root, const char *temporary, const char *name)
{
    if (linkat(root, temporary, root, name, 0) == 0)
        return 0;
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK)
        return -1;
    /* No hard links here (FAT, some network file systems). */
    if (renameat2(root, temporary, root, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    return renameat(root, temporary, root, name); /* replaces what means the same */
}

/* Fills the temporary and gives it its name. `lasting`: never replaces, and is on the disk before it has its name. */
static ds4_status fill_and_name(kv_locked *f, kv_disk *d, const char *name, const void *bytes, size_t size,
                                bool lasting, const char *point, ds4_error *err)
{
    ds4_status status = write_faulty(f->fd, bytes, size, point, err);
    if (status != DS4_OK)
        return status;
    const int root = kv_disk_root(d);
    if (root < 0)
        return no_directory(err);
    if (lasting && fdatasync(f->fd) != 0) /* never repeated (F53): the file is given up */
        status = ds4_fail_errno(err, "fdatasync");
    if (status == DS4_OK && !lasting && renameat(root, f->name, root, name) != 0)
        status = ds4_fail_errno(err, name);
    if (status == DS4_OK && lasting && kv_disk_name_once(root, f->name, name) != 0 && errno != EEXIST)
        status = ds4_fail_errno(err, name);
    if (status == DS4_OK && lasting)
        kv_disk_sync_folder(root, ".");
    close(root);
    return status;
}

ds4_status kv_locked_publish(kv_locked *f, kv_disk *d, const char *name, const void *bytes, size_t size,
                             const char *point, ds4_error *err)
{
    const ds4_status status = fill_and_name(f, d, name, bytes, size, false, point, err);
    if (status == DS4_OK)
        snprintf(f->name, sizeof f->name, "%s", name);
    return status;
}

ds4_status kv_locked_open(kv_locked *out, kv_disk *d, const char *name, ds4_error *err)
{
    const int root = kv_disk_root(d);
    *out = KV_LOCKED_NONE;
    if (root < 0)
        return no_directory(err);
    const int access = d->read_only ? O_RDONLY : O_RDWR;
    const int fd = openat(root, name, access | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    const ds4_status status = fd < 0 ? ds4_fail_errno(err, name) : DS4_OK;
    close(root);
    if (status != DS4_OK)
        return status;
    out->fd = fd;
    out->lock = lock_file(fd, d->read_only ? F_OFD_GETLK : F_OFD_SETLK);
    snprintf(out->name, sizeof out->name, "%s", name);
    if (out->lock == KV_LOCK_BUSY || has_name(fd))
        return DS4_OK;
    kv_locked_close(out); /* its writer removed it meanwhile (2) */
    return ds4_fail(err, DS4_ERR_NOT_FOUND, "%s is gone", name);
}

ds4_status kv_locked_read(kv_locked *f, void *out, size_t size, size_t *n, ds4_error *err)
{
    return read_up_to(f->fd, out, size, n, f->name, err);
}

void kv_locked_close(kv_locked *f)
{
    if (f->fd >= 0)
        close(f->fd);
    *f = KV_LOCKED_NONE;
}

bool kv_locked_remove(kv_locked *f, kv_disk *d)
{
    if (f->fd < 0)
        return true;
    const bool gone = kv_disk_unlink(d, f->name, "intent.unlink");
    /* What keeps its name must not count as a crash once it is no longer locked: an empty record is ignored. */
    const bool harmless = gone || ftruncate(f->fd, 0) == 0;
    kv_locked_close(f);
    return harmless;
}

static ds4_status write_small(kv_disk *d, const char *name, const void *bytes, size_t size, bool lasting,
                              const char *point, ds4_error *err)
{
    kv_locked temporary;
    ds4_status status = kv_locked_create(&temporary, d, err);
    if (status != DS4_OK)
        return status;
    status = fill_and_name(&temporary, d, name, bytes, size, lasting, point, err);
    kv_disk_unlink(d, temporary.name, NULL);
    kv_locked_close(&temporary);
    return status;
}

ds4_status kv_disk_write_small(kv_disk *d, const char *name, const void *bytes, size_t size, const char *point,
                               ds4_error *err)
{
    return write_small(d, name, bytes, size, false, point, err);
}

ds4_status kv_disk_write_once(kv_disk *d, const char *name, const void *bytes, size_t size, const char *point,
                              ds4_error *err)
{
    return write_small(d, name, bytes, size, true, point, err);
}
