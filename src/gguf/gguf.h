/* gguf/gguf.h - the public header of the GGUF module: reads version 3 files, every byte hostile until checked; writes them too.
 * Format and every check with its message: docs/spec/weights.md, section 1.
 * Threads: a gguf_file is immutable after gguf_open() and may be used by any number of threads at once.
 * Lifetime: everything handed out points into the mapped file or into the gguf_file and lives until gguf_close(). */
#ifndef GGUF_GGUF_H
#define GGUF_GGUF_H

#include "base/buffer.h"
#include "base/hash.h"
#include "ds4/error.h"
#include "quant/quant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Value types of metadata; the numbers are the file's. */
typedef enum gguf_value_type {
    GGUF_UINT8 = 0,
    GGUF_INT8 = 1,
    GGUF_UINT16 = 2,
    GGUF_INT16 = 3,
    GGUF_UINT32 = 4,
    GGUF_INT32 = 5,
    GGUF_FLOAT32 = 6,
    GGUF_BOOL = 7,
    GGUF_STRING = 8,
    GGUF_ARRAY = 9,
    GGUF_UINT64 = 10,
    GGUF_INT64 = 11,
    GGUF_FLOAT64 = 12
} gguf_value_type;

typedef struct gguf_tensor {
    slice name;
    uint32_t type; /* a number that quant_type_about() knows */
    uint32_t n_dims;
    uint64_t dims[4]; /* dims[0] is the fastest; unused ones are 1 */
    uint64_t n_values;
    uint64_t row_bytes;  /* bytes of dims[0] values */
    const uint8_t *data; /* [n_bytes], into the map, aligned to the file's alignment */
    uint64_t n_bytes;
    uint32_t i_part; /* which file of a split set, 0-based */
    uint64_t offset; /* from the start of that file, for readers that prefer pread() */
} gguf_tensor;

/* Text from a file, made fit for a line: bytes that are not printable (UTF-8 counts as printable), quotes and
 * backslashes are escaped, and what exceeds 80 bytes is cut and ends in "...". Writes to `out` and returns it. */
enum { GGUF_SHOW_BYTES = 84 };
const char *gguf_show(slice text, char out[GGUF_SHOW_BYTES]);

/* Well-formed UTF-8 without surrogates or overlong forms, and without NUL. */
bool gguf_utf8_valid(slice text);

typedef struct gguf_file gguf_file;

/* Maps and checks the whole directory (checks 1-27 of section 1.4). A path "PREFIX-00001-of-00005.gguf" opens the set.
 * The error text is what follows "ds4: <file>: "; advice, where there is some, comes after "; ".
 * Errors: NOT_FOUND, IO, CORRUPT, UNSUPPORTED, NO_MEMORY. */
ds4_status gguf_open(gguf_file **out, const char *path, ds4_error *err);
/* The same for bytes in memory (tests, fuzzers); `bytes` must outlive the file and be 8-byte aligned. */
ds4_status gguf_open_bytes(gguf_file **out, const void *bytes, size_t size, ds4_error *err);
void gguf_close(gguf_file *file); /* NULL is fine */

uint64_t gguf_file_bytes(const gguf_file *file); /* of all parts */
uint32_t gguf_n_parts(const gguf_file *file);    /* files of a split set; 1 otherwise */
/* What deserves a line in the log although the file is usable ("64 unused bytes at the end"); NULL if nothing. */
const char *gguf_warning(const gguf_file *file);
/* False once a mapped file has another size or modification time than when it was opened: reading on could raise
 * SIGBUS or give other weights (check 38). One fstat() per part. Always true for bytes in memory. */
bool gguf_still_whole(const gguf_file *file);

/* Adds what tells the files from others and from themselves after a change: device, inode, size, times of the last write and
 * of the last change of the inode, as they are now. *newest_ns: the latest of these times. False if they cannot be had (bytes
 * in memory). */
bool gguf_stamp(const gguf_file *file, hash_stream *stream, int64_t *newest_ns);

uint64_t gguf_n_tensors(const gguf_file *file);
const gguf_tensor *gguf_tensor_at(const gguf_file *file, uint64_t index);     /* directory order */
const gguf_tensor *gguf_tensor_find(const gguf_file *file, const char *name); /* NULL if absent */

/* One metadata value. Arrays keep their element type and count; elements are read with the calls below. */
typedef struct gguf_value {
    slice key;
    gguf_value_type type;
    gguf_value_type element_type; /* of arrays */
    uint64_t n;                   /* elements of an array; 1 otherwise */
    /* The value as it stands in the file, checked to be all there: of an array its elements, of a string its length
     * (u64) and text. Not aligned. */
    const uint8_t *bytes;
    size_t n_bytes;
} gguf_value;

/* "uint32", "string", ...; "unknown" otherwise. */
const char *gguf_value_type_name(gguf_value_type type);

uint64_t gguf_n_values(const gguf_file *file);
const gguf_value *gguf_value_at(const gguf_file *file, uint64_t index);
const gguf_value *gguf_value_find(const gguf_file *file, const char *key); /* NULL if absent */

/* Typed reads of single values. Any integer width is accepted for integers, f32 or f64 for floats (section 1.1), range-checked.
 * Missing: NOT_FOUND "metadata key '%' is missing"; other type: UNSUPPORTED; out of range: CORRUPT. */
ds4_status gguf_get_u32(const gguf_file *file, const char *key, uint32_t min, uint32_t max, uint32_t *out,
                        ds4_error *err);
ds4_status gguf_get_f32(const gguf_file *file, const char *key, float *out, ds4_error *err);
ds4_status gguf_get_bool(const gguf_file *file, const char *key, bool *out, ds4_error *err);
ds4_status gguf_get_string(const gguf_file *file, const char *key, slice *out, ds4_error *err);
/* Elements of numeric arrays, converted with the same rules. A scalar answers every index (section 1.1: a scalar may
 * stand where an array of equal values is meant). Errors: ARGUMENT (index), UNSUPPORTED (type), CORRUPT (range). */
ds4_status gguf_element_i64(const gguf_value *array, uint64_t index, int64_t *out, ds4_error *err);
ds4_status gguf_element_f32(const gguf_value *array, uint64_t index, float *out, ds4_error *err);
/* Walks a string array in order (or a single string): start with *position = 0; false at the end. */
bool gguf_next_string(const gguf_value *array, size_t *position, slice *out);

#endif
