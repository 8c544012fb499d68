/* Opening and closing: maps a file, walks a split set (docs/spec/weights.md, section 1.3), hands each part to parse.c
 * and directory.c. */
#include "gguf/part.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { PARTS_MAX = 1024, SPLIT_SUFFIX = 20 }; /* "-00001-of-00005.gguf" */

/* --- one part --------------------------------------------------------------------------------------------------- */

static ds4_status read_part(gguf_file *file, uint32_t i_part, ds4_error *err)
{
    header_reader r;
    ds4_status status = gguf_parse_header(&file->parts[i_part], &r, err);
    return status == DS4_OK ? gguf_parse_directory(file, i_part, &r, err) : status;
}

static ds4_status open_part(gguf_file *file, uint32_t i_part, const char *path, ds4_error *err)
{
    gguf_part *part = &file->parts[i_part];
    const ds4_status status = file_map_open(&part->map, path, err);
    if (status != DS4_OK)
        return status;
    part->bytes = part->map.bytes;
    part->size = part->map.size;
    return read_part(file, i_part, err);
}

/* --- split sets -------------------------------------------------------------------------------------------------- */

static bool five_digits(const char *at, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 5; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        *out = *out * 10 + (uint32_t)(at[i] - '0');
    }
    return true;
}

/* Is `path` PREFIX-%05d-of-%05d.gguf? */
static bool split_name(const char *path, uint32_t *number, uint32_t *count)
{
    const size_t n = strlen(path);
    if (n < SPLIT_SUFFIX)
        return false;
    const char *at = path + n - SPLIT_SUFFIX;
    return at[0] == '-' && five_digits(at + 1, number) && memcmp(at + 6, "-of-", 4) == 0 &&
           five_digits(at + 10, count) && strcmp(at + 15, ".gguf") == 0;
}

static ds4_status check_split_keys(const gguf_file *file, uint32_t i_part, ds4_error *err)
{
    uint32_t no, count;
    ds4_status status = part_get_u32(&file->parts[i_part], "split.no", 0, PARTS_MAX, &no, err);
    if (status == DS4_OK)
        status = part_get_u32(&file->parts[i_part], "split.count", 1, PARTS_MAX, &count, err);
    if (status != DS4_OK)
        return status;
    if (no != i_part || count != file->n_parts)
        return ds4_fail(err, DS4_ERR_CORRUPT,
                        "part %" PRIu32 " of %" PRIu32 " says that it is number %" PRIu32 " of %" PRIu32
                        "; the set mixes files of different models",
                        i_part + 1, file->n_parts, no + 1, count);
    return DS4_OK;
}

static ds4_status open_rest(gguf_file *file, const char *path, ds4_error *err)
{
    const size_t n = strlen(path);
    uint32_t total;
    ds4_status status = part_get_u32(&file->parts[0], "split.tensors.count", 0, TENSOR_COUNT_MAX, &total, err);
    char *name = malloc(n + 16); /* the largest numbers that snprintf() could print would fit */
    if (!name)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    for (uint32_t i = 1; status == DS4_OK && i < file->n_parts; i++) {
        ds4_error inner = { 0 };
        memcpy(name, path, n + 1);
        snprintf(name + n - SPLIT_SUFFIX, SPLIT_SUFFIX + 16, "-%05" PRIu32 "-of-%05" PRIu32 ".gguf", i + 1,
                 file->n_parts);
        status = open_part(file, i, name, &inner);
        if (status != DS4_OK)
            ds4_fail(err, status, "part %" PRIu32 " of %" PRIu32 ": %s", i + 1, file->n_parts, inner.text);
        else
            status = check_split_keys(file, i, err);
    }
    free(name);
    if (status == DS4_OK && file->n_tensors != total)
        status = ds4_fail(err, DS4_ERR_CORRUPT,
                          "the parts hold %" PRIu64 " tensors, but the model has %" PRIu32 "; a part is incomplete",
                          file->n_tensors, total);
    return status;
}

/* --- the public functions ---------------------------------------------------------------------------------------- */

static ds4_status new_file(gguf_file **out, uint32_t n_parts, ds4_error *err)
{
    gguf_file *file = calloc(1, sizeof *file);
    if (file) {
        file->parts = calloc(n_parts, sizeof *file->parts);
        file->n_parts = n_parts;
    }
    if (!file || !file->parts) {
        free(file);
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    }
    for (uint32_t i = 0; i < n_parts; i++)
        file->parts[i].map.fd = -1;
    *out = file;
    return DS4_OK;
}

static void note_unused_bytes(gguf_file *file)
{
    uint64_t unused = 0;
    for (uint32_t i = 0; i < file->n_parts; i++)
        unused += file->parts[i].unused_bytes;
    if (unused)
        snprintf(file->warning, sizeof file->warning, "%" PRIu64 " unused bytes at the end", unused);
}

ds4_status gguf_open(gguf_file **out, const char *path, ds4_error *err)
{
    uint32_t number = 1, count = 1;
    gguf_file *file = NULL;
    const bool split = split_name(path, &number, &count);
    *out = NULL;
    if (split && number != 1)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "is part %" PRIu32 " of a set; name part 00001", number);
    if (split && (count == 0 || count > PARTS_MAX))
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "a set of %" PRIu32 " files is not supported (at most %d)", count,
                        PARTS_MAX);
    ds4_status status = new_file(&file, split ? count : 1, err);
    if (status != DS4_OK)
        return status;
    status = open_part(file, 0, path, err);
    if (status == DS4_OK && split) {
        status = check_split_keys(file, 0, err);
        if (status == DS4_OK)
            status = open_rest(file, path, err);
    } else if (status == DS4_OK && part_value_find(&file->parts[0], "split.count")) {
        status = part_get_u32(&file->parts[0], "split.count", 1, 1, &count, NULL);
        if (status != DS4_OK)
            ds4_fail(err, status, "is one part of a split set; give it back its name PREFIX-00001-of-0000N.gguf");
    }
    if (status != DS4_OK) {
        gguf_close(file);
        return status;
    }
    note_unused_bytes(file);
    *out = file;
    return DS4_OK;
}

ds4_status gguf_open_bytes(gguf_file **out, const void *bytes, size_t size, ds4_error *err)
{
    gguf_file *file = NULL;
    *out = NULL;
    ds4_status status = new_file(&file, 1, err);
    if (status != DS4_OK)
        return status;
    file->parts[0].bytes = bytes;
    file->parts[0].size = size;
    status = read_part(file, 0, err);
    if (status != DS4_OK) {
        gguf_close(file);
        return status;
    }
    note_unused_bytes(file);
    *out = file;
    return DS4_OK;
}

void gguf_close(gguf_file *file)
{
    if (!file)
        return;
    for (uint32_t i = 0; i < file->n_parts; i++) {
        if (file->parts[i].map.fd >= 0)
            file_map_close(&file->parts[i].map);
        free(file->parts[i].values);
        name_map_free(&file->parts[i].keys);
    }
    name_map_free(&file->names);
    free(file->tensors);
    free(file->parts);
    free(file);
}

uint64_t gguf_file_bytes(const gguf_file *file)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < file->n_parts; i++)
        n += file->parts[i].size;
    return n;
}

uint32_t gguf_n_parts(const gguf_file *file)
{
    return file->n_parts;
}

const char *gguf_warning(const gguf_file *file)
{
    return file->warning[0] ? file->warning : NULL;
}

bool gguf_still_whole(const gguf_file *file)
{
    for (uint32_t i = 0; i < file->n_parts; i++) {
        const file_map *map = &file->parts[i].map;
        struct stat now;
        if (map->fd < 0)
            continue;
        if (fstat(map->fd, &now) != 0 || (uint64_t)now.st_size != map->size ||
            now.st_mtim.tv_sec != map->modified.tv_sec || now.st_mtim.tv_nsec != map->modified.tv_nsec)
            return false;
    }
    return true;
}

static int64_t add_time(hash_stream *stream, const struct timespec *time)
{
    hash_stream_add_u64(stream, (uint64_t)time->tv_sec);
    hash_stream_add_u64(stream, (uint64_t)time->tv_nsec);
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

bool gguf_stamp(const gguf_file *file, hash_stream *stream, int64_t *newest_ns)
{
    *newest_ns = INT64_MIN;
    for (uint32_t i = 0; i < file->n_parts; i++) {
        struct stat now;
        if (file->parts[i].map.fd < 0 || fstat(file->parts[i].map.fd, &now) != 0)
            return false;
        hash_stream_add_u64(stream, now.st_dev);
        hash_stream_add_u64(stream, now.st_ino);
        hash_stream_add_u64(stream, (uint64_t)now.st_size);
        const int64_t written_ns = add_time(stream, &now.st_mtim), changed_ns = add_time(stream, &now.st_ctim);
        *newest_ns = written_ns > *newest_ns ? written_ns : *newest_ns;
        *newest_ns = changed_ns > *newest_ns ? changed_ns : *newest_ns;
    }
    return file->n_parts > 0;
}

uint64_t gguf_n_tensors(const gguf_file *file)
{
    return file->n_tensors;
}

const gguf_tensor *gguf_tensor_at(const gguf_file *file, uint64_t index)
{
    return index < file->n_tensors ? &file->tensors[index] : NULL;
}

const gguf_tensor *gguf_tensor_find(const gguf_file *file, const char *name)
{
    uint64_t index;
    return name_map_find(&file->names, slice_of(name), &index) ? &file->tensors[index] : NULL;
}
