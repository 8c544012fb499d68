/* base/file.h - whole reads, whole writes and read-only maps, with every short count and EINTR dealt with.
 * Any thread. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "ds4/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

ds4_status file_write_all(int fd, const void *bytes, size_t size, ds4_error *err);
/* Reads exactly `size` bytes at `offset`; CORRUPT when the file ends first. */
ds4_status file_read_at(int fd, uint64_t offset, void *out, size_t size, ds4_error *err);

/* Makes the entries of a folder durable; `path` is relative to the folder `parent` (AT_FDCWD: the working directory). Best
 * effort: some file systems cannot. */
void file_sync_folder(int parent, const char *path);
/* The same for the folder that holds `path`, which was just created. */
void file_sync_parent(const char *path);

typedef struct file_map {
    const uint8_t *bytes; /* NULL when size is 0 */
    size_t size;
    struct timespec modified; /* the time of its last change when it was mapped */
    int fd;
} file_map;

/* Maps a regular file for reading (shared, so the page cache holds the only copy).
 * Errors: NOT_FOUND, IO (cannot open), UNSUPPORTED (not a regular file), NO_MEMORY. */
ds4_status file_map_open(file_map *out, const char *path, ds4_error *err);
void file_map_close(file_map *map);

#endif
