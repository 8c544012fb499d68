/* gguf/part.h - internal: one file of a set (or the only one), and what the modules hand each other.
 *
 *   file.c  maps, walks the set  ->  parse.c  header and keys  ->  directory.c  tensors
 *
 * Check numbers in the code, (7) for example, are the rows of the table in docs/spec/weights.md, section 1.4. */
#ifndef GGUF_PART_H
#define GGUF_PART_H

#include "base/cursor.h"
#include "base/file.h"
#include "gguf/gguf.h"
#include "gguf/name_map.h"

/* Limits of docs/spec/weights.md, section 1.4: generous for real files, small enough that no hostile count
 * costs much. */
enum {
    KV_COUNT_MAX = 65536,
    TENSOR_COUNT_MAX = 1048576,
    KEY_BYTES_MAX = 65535,
    NAME_BYTES_MAX = 63,
    STRING_BYTES_MAX = 64 << 20,
    ARRAY_COUNT_MAX = 1 << 28,
    HEADER_BYTES_MAX = 1 << 30,
    KV_ENTRY_MIN = 8 + 1 + 4 + 1,             /* key length, key, type, value */
    TENSOR_ENTRY_MIN = 8 + 1 + 4 + 8 + 4 + 8, /* name length, name, n_dims, one dim, type, offset */
    ALIGNMENT_DEFAULT = 32
};

typedef struct gguf_part {
    file_map map; /* .fd is -1 when the bytes are the caller's */
    const uint8_t *bytes;
    size_t size;
    gguf_value *values; /* [n_values], in the file's order */
    uint64_t n_values;
    name_map keys;
    uint64_t n_tensors; /* as the header says */
    uint64_t alignment;
    uint64_t unused_bytes; /* (27) after the last tensor and its padding */
} gguf_part;

struct gguf_file {
    gguf_part *parts; /* [n_parts] */
    uint32_t n_parts;
    gguf_tensor *tensors; /* [n_tensors], of all parts in order */
    uint64_t n_tensors;
    name_map names;
    char warning[80]; /* empty: none */
};

/* The header of one part while it is read. */
typedef struct header_reader {
    cursor in;
    const gguf_part *part;
    const char *kind; /* "metadata" or "tensor": which list the entry belongs to */
    uint64_t i_entry;
} header_reader;

static inline uint64_t reader_position(const header_reader *r)
{
    return (uint64_t)(r->in.at - r->part->bytes);
}

/* Takes n bytes, or says what is missing (7). */
ds4_status reader_take(header_reader *r, uint64_t n, const uint8_t **out, ds4_error *err);
ds4_status reader_u32(header_reader *r, uint32_t *out, ds4_error *err);
ds4_status reader_u64(header_reader *r, uint64_t *out, ds4_error *err);
ds4_status reader_string(header_reader *r, slice *out, ds4_error *err); /* (8) */

/* Fills part->values, keys, n_tensors, alignment; *r then stands at the tensor directory. */
ds4_status gguf_parse_header(gguf_part *part, header_reader *r, ds4_error *err);
/* Reads the tensor directory of part number i_part from *r and appends it to the file's. */
ds4_status gguf_parse_directory(gguf_file *file, uint32_t i_part, header_reader *r, ds4_error *err);

const gguf_value *part_value_find(const gguf_part *part, const char *key);
/* The typed read behind gguf_get_u32(), on the keys of one part. */
ds4_status part_get_u32(const gguf_part *part, const char *key, uint32_t min, uint32_t max, uint32_t *out,
                        ds4_error *err);

/* Bytes of a fixed-size value; 0 for strings, arrays and unknown types. */
size_t value_type_bytes(uint32_t type);

#endif
