/* A disk that hangs, for a process that has this library preloaded: while the file $DS4_HANG_FLAG exists, every system call
 * on the directory $DS4_HANG_DIR, or on what is in it, waits. Each call that begins to wait appends its name to
 * $DS4_HANG_FLAG.log. Works on any build, because it knows nothing of the program. */
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static bool flag_stands(void)
{
    const char *flag = getenv("DS4_HANG_FLAG");
    return flag && syscall(SYS_faccessat, AT_FDCWD, flag, F_OK) == 0;
}

static bool is_inside(const char *path)
{
    const char *dir = getenv("DS4_HANG_DIR");
    const size_t n = dir ? strlen(dir) : 0;
    return n > 0 && strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == 0 || path[n] == ' ');
}

static bool is_descriptor_inside(int fd)
{
    char link[64], path[PATH_BYTES];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return is_inside(path);
}

static void note(const char *call)
{
    char path[PATH_BYTES], line[64];
    snprintf(path, sizeof path, "%s.log", getenv("DS4_HANG_FLAG"));
    snprintf(line, sizeof line, "%s\n", call);
    const long fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
        syscall(SYS_write, fd, line, strlen(line));
        syscall(SYS_close, fd);
    }
}

/* A call on `path` relative to `fd`, or on `fd` itself when `path` is NULL. */
static void hang(const char *call, int fd, const char *path)
{
    if (!flag_stands())
        return;
    if (path && path[0] == '/' ? !is_inside(path) : fd < 0 || !is_descriptor_inside(fd))
        return;
    note(call);
    const struct timespec moment = { .tv_nsec = 10 * 1000 * 1000 };
    while (flag_stands())
        nanosleep(&moment, NULL);
}

/* The real function, looked up once; racing lookups find the same. */
#define REAL(name)                                                                                                     \
    static __typeof__(name) *real;                                                                                     \
    if (!__atomic_load_n(&real, __ATOMIC_ACQUIRE))                                                                     \
    __atomic_store_n(&real, (__typeof__(name) *)(uintptr_t)dlsym(RTLD_NEXT, #name), __ATOMIC_RELEASE)

#define HANGING(result, name, parameters, arguments, fd, path)                                                         \
    __attribute__((visibility("default"))) result name parameters                                                      \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        hang(#name, fd, path);                                                                                         \
        return real arguments;                                                                                         \
    }

#define HANGING_OPEN(name, parameters, fd, ...)                                                                        \
    __attribute__((visibility("default"))) int name parameters                                                         \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        va_list list;                                                                                                  \
        va_start(list, flags);                                                                                         \
        const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;                                  \
        va_end(list);                                                                                                  \
        hang(#name, fd, path);                                                                                         \
        return real(__VA_ARGS__, mode);                                                                                \
    }

HANGING_OPEN(open, (const char *path, int flags, ...), -1, path, flags)
HANGING_OPEN(openat, (int fd, const char *path, int flags, ...), fd, fd, path, flags)
HANGING(int, statvfs, (const char *path, struct statvfs *out), (path, out), -1, path)
HANGING(int, fstatvfs, (int fd, struct statvfs *out), (fd, out), fd, NULL)
HANGING(int, stat, (const char *path, struct stat *out), (path, out), -1, path)
HANGING(int, fstat, (int fd, struct stat *out), (fd, out), fd, NULL)
HANGING(int, fstatat, (int fd, const char *path, struct stat *out, int flags), (fd, path, out, flags), fd, path)
HANGING(int, faccessat, (int fd, const char *path, int mode, int flags), (fd, path, mode, flags), fd, path)
HANGING(int, mkdir, (const char *path, mode_t mode), (path, mode), -1, path)
HANGING(int, mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode), fd, path)
HANGING(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags), fd, path)
HANGING(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), a, from)
HANGING(int, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), b, to)
HANGING(ssize_t, read, (int fd, void *out, size_t n), (fd, out, n), fd, NULL)
HANGING(ssize_t, pread, (int fd, void *out, size_t n, off_t at), (fd, out, n, at), fd, NULL)
HANGING(ssize_t, write, (int fd, const void *in, size_t n), (fd, in, n), fd, NULL)
HANGING(ssize_t, pwrite, (int fd, const void *in, size_t n, off_t at), (fd, in, n, at), fd, NULL)
HANGING(int, fsync, (int fd), (fd), fd, NULL)
HANGING(int, fdatasync, (int fd), (fd), fd, NULL)
HANGING(int, ftruncate, (int fd, off_t n), (fd, n), fd, NULL)
HANGING(int, posix_fallocate, (int fd, off_t at, off_t n), (fd, at, n), fd, NULL)
HANGING(struct dirent *, readdir, (DIR * dir), (dir), dirfd(dir), NULL)

__attribute__((visibility("default"))) int fcntl(int fd, int command, ...)
{
    REAL(fcntl);
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    if (command == F_OFD_SETLK || command == F_OFD_GETLK)
        hang("fcntl", fd, NULL);
    return real(fd, command, argument);
}
