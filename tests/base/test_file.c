/* Whole reads and writes through a system that returns short counts, interrupts and fails; and maps. */
#include "base/file.h"
#include "support/support.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How the next calls of write() and pread() behave. */
static struct {
    size_t at_most;    /* bytes a call; 0: as many as it likes */
    int n_interrupted; /* so many fail with EINTR first */
    int fails_with;    /* then with this */
    size_t after;      /* ... once so many bytes are through */
    size_t done;
    bool no_progress; /* 0 instead of an error */
} disk;

static bool refuses(size_t *size)
{
    if (disk.n_interrupted > 0) {
        disk.n_interrupted--;
        errno = EINTR;
        return true;
    }
    if (disk.fails_with && disk.done >= disk.after) {
        errno = disk.fails_with;
        return true;
    }
    if (disk.at_most && *size > disk.at_most)
        *size = disk.at_most;
    return false;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    ssize_t (*real)(int, const void *, size_t);
    *(void **)&real = dlsym(RTLD_NEXT, "write");
    if (fd > STDERR_FILENO) {
        if (refuses(&size))
            return -1;
        if (disk.no_progress)
            return 0;
        disk.done += size;
    }
    return real(fd, bytes, size);
}

ssize_t pread(int fd, void *out, size_t size, off_t offset)
{
    ssize_t (*real)(int, void *, size_t, off_t);
    *(void **)&real = dlsym(RTLD_NEXT, "pread");
    if (refuses(&size))
        return -1;
    disk.done += size;
    return real(fd, out, size, offset);
}

static int be_whole(void **state)
{
    (void)state;
    memset(&disk, 0, sizeof disk);
    return 0;
}

#define PATH TEST_SCRATCH "/file"
static char text[5000];

static int open_anew(void)
{
    test_empty_folder(TEST_SCRATCH);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i % 23);
    const int fd = open(PATH, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    return fd;
}

static void short_counts_and_interrupts_are_gone_on_from(void **state)
{
    char back[sizeof text];
    (void)state;
    const int fd = open_anew();
    for (size_t at_most = 1; at_most < 3000; at_most = at_most * 3 + 1) {
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        disk.at_most = at_most;
        disk.n_interrupted = 3;
        assert_int_equal(file_write_all(fd, text, sizeof text, NULL), DS4_OK);
        disk.n_interrupted = 3;
        memset(back, 0, sizeof back);
        assert_int_equal(file_read_at(fd, 0, back, sizeof back, NULL), DS4_OK);
        assert_memory_equal(back, text, sizeof text);
        assert_int_equal(file_read_at(fd, 1234, back, 100, NULL), DS4_OK);
        assert_memory_equal(back, text + 1234, 100);
    }
    assert_int_equal(file_write_all(fd, text, 0, NULL), DS4_OK);
    close(fd);
}

static void a_file_that_ends_early_is_corrupt(void **state)
{
    char back[16];
    ds4_error err = { 0 };
    (void)state;
    const int fd = open_anew();
    assert_int_equal(file_write_all(fd, text, 10, NULL), DS4_OK);
    assert_int_equal(file_read_at(fd, 0, back, 10, &err), DS4_OK);
    assert_int_equal(file_read_at(fd, 0, back, 11, &err), DS4_ERR_CORRUPT);
    assert_non_null(strstr(err.text, "ends at byte 10, 1 bytes early"));
    assert_int_equal(file_read_at(fd, 10, back, 0, &err), DS4_OK);
    assert_int_equal(file_read_at(fd, 500, back, 1, &err), DS4_ERR_CORRUPT);
    close(fd);
}

static void failures_keep_their_words(void **state)
{
    char back[100];
    ds4_error err = { 0 };
    (void)state;
    const int fd = open_anew();
    disk.at_most = 40;
    disk.after = 80;
    disk.fails_with = ENOSPC;
    assert_int_equal(file_write_all(fd, text, 100, &err), DS4_ERR_NO_SPACE);
    assert_string_equal(err.text, "write: No space left on device");
    assert_int_equal(disk.done, 80); /* what was written before the failure is not written again */
    disk.done = 0;
    disk.after = 40;
    disk.fails_with = EIO;
    assert_int_equal(file_read_at(fd, 0, back, 80, &err), DS4_ERR_IO);
    assert_string_equal(err.text, "read: Input/output error");
    close(fd);
}

static void a_write_without_progress_is_a_failure(void **state)
{
    ds4_error err = { 0 };
    (void)state;
    const int fd = open_anew();
    disk.no_progress = true;
    assert_int_equal(file_write_all(fd, text, 10, &err), DS4_ERR_IO);
    close(fd);
}

static void a_map_shows_the_file(void **state)
{
    file_map map;
    struct stat about;
    (void)state;
    const int fd = open_anew();
    assert_int_equal(file_write_all(fd, text, sizeof text, NULL), DS4_OK);
    assert_int_equal(file_map_open(&map, PATH, NULL), DS4_OK);
    assert_int_equal(map.size, sizeof text);
    assert_memory_equal(map.bytes, text, sizeof text);
    assert_int_equal(fstat(map.fd, &about), 0);
    assert_int_equal(about.st_mtim.tv_nsec, map.modified.tv_nsec);
    assert_true(fcntl(map.fd, F_GETFD) & FD_CLOEXEC);
    file_map_close(&map);
    assert_int_equal(map.fd, -1);
    assert_null(map.bytes);
    file_map_close(&map); /* twice is fine */
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(file_map_open(&map, PATH, NULL), DS4_OK); /* nothing in it, nothing mapped */
    assert_int_equal(map.size, 0);
    assert_null(map.bytes);
    file_map_close(&map);
    close(fd);
}

static void what_is_no_file_is_refused_at_once(void **state)
{
    file_map map;
    ds4_error err = { 0 };
    (void)state;
    close(open_anew());
    assert_int_equal(file_map_open(&map, TEST_SCRATCH "/none", &err), DS4_ERR_NOT_FOUND);
    assert_int_equal(map.fd, -1);
    assert_int_equal(file_map_open(&map, TEST_SCRATCH, &err), DS4_ERR_UNSUPPORTED);
    assert_int_equal(mkfifo(TEST_SCRATCH "/fifo", 0600), 0);
    alarm(10); /* a FIFO without a writer: an open that waits ends the test */
    assert_int_equal(file_map_open(&map, TEST_SCRATCH "/fifo", &err), DS4_ERR_UNSUPPORTED);
    alarm(0);
    assert_int_equal(map.fd, -1);
}

static void no_descriptor_stays_open(void **state)
{
    file_map map;
    (void)state;
    close(open_anew());
    const int before = dup(0);
    close(before);
    for (int i = 0; i < 3; i++) {
        file_map_open(&map, TEST_SCRATCH, NULL);
        file_map_open(&map, TEST_SCRATCH "/none", NULL);
        assert_int_equal(file_map_open(&map, PATH, NULL), DS4_OK);
        file_map_close(&map);
        file_sync_parent(PATH);
        file_sync_parent("file");
        file_sync_parent("/file");
        file_sync_folder(AT_FDCWD, TEST_SCRATCH "/none");
    }
    const int after = dup(0);
    close(after);
    assert_int_equal(after, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(short_counts_and_interrupts_are_gone_on_from, be_whole),
        cmocka_unit_test_setup(a_file_that_ends_early_is_corrupt, be_whole),
        cmocka_unit_test_setup(failures_keep_their_words, be_whole),
        cmocka_unit_test_setup(a_write_without_progress_is_a_failure, be_whole),
        cmocka_unit_test_setup(a_map_shows_the_file, be_whole),
        cmocka_unit_test_setup(what_is_no_file_is_refused_at_once, be_whole),
        cmocka_unit_test_setup(no_descriptor_stays_open, be_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
