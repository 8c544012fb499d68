/* The first half of a file: magic, counts, keys. Checks 2 to 17 of docs/spec/weights.md. */
#include "gguf/part.h"

#include <inttypes.h>
#include <stdlib.h>

size_t value_type_bytes(uint32_t type)
{
    static const uint8_t sizes[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    return type < sizeof sizes ? sizes[type] : 0;
}

/* --- the reader ------------------------------------------------------------------------------------------------- */

static ds4_status fail_end(const header_reader *r, uint64_t n, ds4_error *err)
{
    if (r->part->size > HEADER_BYTES_MAX)
        return ds4_fail(err, DS4_ERR_CORRUPT, "the header is longer than 1 GiB, in %s entry %" PRIu64, r->kind,
                        r->i_entry);
    return ds4_fail(err, DS4_ERR_CORRUPT,
                    "truncated: header ends at byte %zu but %s entry %" PRIu64 " needs %" PRIu64
                    " more bytes, at byte %" PRIu64 "; the download is incomplete",
                    r->part->size, r->kind, r->i_entry, n - r->in.left, reader_position(r));
}

ds4_status reader_take(header_reader *r, uint64_t n, const uint8_t **out, ds4_error *err)
{
    if (n > r->in.left)
        return fail_end(r, n, err); /* (7) */
    cursor_take(&r->in, (size_t)n, out);
    return DS4_OK;
}

ds4_status reader_u32(header_reader *r, uint32_t *out, ds4_error *err)
{
    return cursor_u32(&r->in, out) ? DS4_OK : fail_end(r, 4, err);
}

ds4_status reader_u64(header_reader *r, uint64_t *out, ds4_error *err)
{
    return cursor_u64(&r->in, out) ? DS4_OK : fail_end(r, 8, err);
}

ds4_status reader_string(header_reader *r, slice *out, ds4_error *err)
{
    uint64_t n = 0;
    const uint8_t *bytes = NULL;
    const uint64_t begin = reader_position(r);
    ds4_status status = reader_u64(r, &n, err);
    if (status != DS4_OK)
        return status;
    if (n > r->in.left) /* (8) */
        return ds4_fail(err, DS4_ERR_CORRUPT,
                        "string of %" PRIu64 " bytes in %s entry %" PRIu64
                        " runs past the end of the file, at byte %" PRIu64 "; the download is incomplete or damaged",
                        n, r->kind, r->i_entry, begin);
    if (n > STRING_BYTES_MAX)
        return ds4_fail(err, DS4_ERR_UNSUPPORTED,
                        "string of %" PRIu64 " bytes in %s entry %" PRIu64
                        " is over the limit of 64 MiB, at byte %" PRIu64,
                        n, r->kind, r->i_entry, begin);
    cursor_take(&r->in, (size_t)n, &bytes);
    *out = (slice){ (const char *)bytes, (size_t)n };
    return DS4_OK;
}

/* --- values ----------------------------------------------------------------------------------------------------- */

static ds4_status check_booleans(const gguf_value *value, uint64_t position, ds4_error *err)
{
    char key[GGUF_SHOW_BYTES];
    for (size_t i = 0; i < value->n_bytes; i++)
        if (value->bytes[i] > 1) /* (13) */
            return ds4_fail(err, DS4_ERR_CORRUPT, "metadata key '%s' is not a valid boolean, at byte %" PRIu64,
                            gguf_show(value->key, key), position + i);
    return DS4_OK;
}

static ds4_status fail_type(const gguf_value *value, uint32_t type, uint64_t position, ds4_error *err)
{
    char key[GGUF_SHOW_BYTES];
    return ds4_fail(err, DS4_ERR_UNSUPPORTED, "metadata key '%s' has unknown type %" PRIu32 ", at byte %" PRIu64 "%s",
                    gguf_show(value->key, key), type, position,
                    type == GGUF_ARRAY ? "; arrays of arrays are not supported" : ""); /* (11) */
}

/* Elements of `element_type`, `value->n` of them: leaves value->bytes and n_bytes set and *r after them. */
static ds4_status parse_elements(header_reader *r, gguf_value *value, uint32_t element_type, ds4_error *err)
{
    const uint64_t begin = reader_position(r);
    const size_t fixed = value_type_bytes(element_type);
    ds4_status status = DS4_OK;
    value->bytes = r->in.at;
    if (fixed) {
        const uint8_t *bytes;
        status = reader_take(r, value->n * fixed, &bytes, err); /* n is below 2^28 */
    } else {
        for (uint64_t i = 0; status == DS4_OK && i < value->n; i++) {
            slice text;
            status = reader_string(r, &text, err);
        }
    }
    if (status != DS4_OK)
        return status;
    value->n_bytes = (size_t)(reader_position(r) - begin);
    return element_type == GGUF_BOOL ? check_booleans(value, begin, err) : DS4_OK;
}

static ds4_status parse_array(header_reader *r, gguf_value *value, ds4_error *err)
{
    char key[GGUF_SHOW_BYTES];
    const uint64_t begin = reader_position(r);
    uint32_t element_type = 0;
    ds4_status status = reader_u32(r, &element_type, err);
    if (status == DS4_OK)
        status = reader_u64(r, &value->n, err);
    if (status != DS4_OK)
        return status;
    if (element_type != GGUF_STRING && value_type_bytes(element_type) == 0)
        return fail_type(value, element_type, begin, err);
    const size_t element_min = element_type == GGUF_STRING ? 8 : value_type_bytes(element_type);
    if (value->n > ARRAY_COUNT_MAX || value->n > r->in.left / element_min) /* (12) */
        return ds4_fail(err, DS4_ERR_CORRUPT,
                        "metadata array '%s' claims %" PRIu64 " elements, more than the file holds, at byte %" PRIu64,
                        gguf_show(value->key, key), value->n, begin + 4);
    value->element_type = (gguf_value_type)element_type;
    return parse_elements(r, value, element_type, err);
}

static bool key_is_good(slice key)
{
    if (key.size == 0 || key.size > KEY_BYTES_MAX)
        return false;
    for (size_t i = 0; i < key.size; i++)
        if (key.data[i] < 0x20 || key.data[i] > 0x7e) /* signed or not, bytes from 0x80 on fall out */
            return false;
    return true;
}

static ds4_status parse_value(header_reader *r, gguf_value *value, ds4_error *err)
{
    const uint64_t begin = reader_position(r);
    ds4_status status = reader_string(r, &value->key, err);
    if (status != DS4_OK)
        return status;
    if (!key_is_good(value->key)) /* (9), (15) */
        return ds4_fail(err, DS4_ERR_CORRUPT, "bad metadata key in entry %" PRIu64 ", at byte %" PRIu64, r->i_entry,
                        begin);
    const uint64_t type_at = reader_position(r);
    uint32_t type = 0;
    status = reader_u32(r, &type, err);
    if (status != DS4_OK)
        return status;
    if (type > GGUF_FLOAT64)
        return fail_type(value, type, type_at, err);
    value->type = (gguf_value_type)type;
    if (type == GGUF_ARRAY)
        return parse_array(r, value, err);
    value->element_type = value->type;
    value->n = 1;
    return parse_elements(r, value, type, err);
}

static ds4_status parse_values(gguf_part *part, header_reader *r, uint64_t n, ds4_error *err)
{
    if (n == 0)
        return DS4_OK;
    part->values = calloc((size_t)n, sizeof *part->values);
    if (!part->values || name_map_reserve(&part->keys, (size_t)n) != DS4_OK)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for %" PRIu64 " metadata entries", n);
    r->kind = "metadata";
    for (r->i_entry = 0; r->i_entry < n; r->i_entry++) {
        const uint64_t begin = reader_position(r);
        gguf_value *value = &part->values[r->i_entry];
        const ds4_status status = parse_value(r, value, err);
        if (status != DS4_OK)
            return status;
        if (!name_map_add(&part->keys, value->key, r->i_entry)) { /* (10) */
            char key[GGUF_SHOW_BYTES];
            return ds4_fail(err, DS4_ERR_CORRUPT, "metadata key '%s' appears twice, at byte %" PRIu64,
                            gguf_show(value->key, key), begin);
        }
        part->n_values++;
    }
    return DS4_OK;
}

/* (16), (17): the keys have all been read before the first offset is computed from it. */
static ds4_status read_alignment(gguf_part *part, ds4_error *err)
{
    const gguf_value *value = part_value_find(part, "general.alignment");
    part->alignment = ALIGNMENT_DEFAULT;
    if (!value)
        return DS4_OK;
    if (value->type != GGUF_UINT32)
        return ds4_fail(err, DS4_ERR_CORRUPT,
                        "alignment of type %s is not a power of two between 8 and 65536 of type uint32",
                        gguf_value_type_name(value->type));
    part->alignment = cursor_load(value->bytes, 4);
    if (part->alignment < 8 || part->alignment > 65536 || (part->alignment & (part->alignment - 1)) != 0)
        return ds4_fail(err, DS4_ERR_CORRUPT, "alignment %" PRIu64 " is not a power of two between 8 and 65536",
                        part->alignment);
    return DS4_OK;
}

/* --- the fixed part --------------------------------------------------------------------------------------------- */

static const char *magic_hint(const uint8_t *bytes, size_t size)
{
    if (memcmp(bytes, "vers", 4) == 0)
        return "; this looks like a Git LFS pointer; download the file itself";
    if (memcmp(bytes, "<htm", 4) == 0 || memcmp(bytes, "<!DO", 4) == 0 || memcmp(bytes, "<!do", 4) == 0 ||
        memcmp(bytes, "<HTM", 4) == 0)
        return "; this looks like an HTML error page; download the file itself";
    if (memcmp(bytes, "PK", 2) == 0)
        return "; this looks like a zip archive or a PyTorch checkpoint; convert it first";
    if (size >= 9 && bytes[8] == '{' && cursor_load(bytes, 8) < size)
        return "; this looks like a safetensors file; convert it first";
    if (bytes[0] == '{')
        return "; this looks like a JSON file; name the .gguf file";
    if (memcmp(bytes, "ggjt", 4) == 0 || memcmp(bytes, "tjgg", 4) == 0 || memcmp(bytes, "lmgg", 4) == 0)
        return "; this is an older ggml format; convert the model again with a current tool";
    return "";
}

/* Says "starts with" for humans: four printable bytes as text, others as hexadecimal. */
static ds4_status check_magic(const gguf_part *part, ds4_error *err)
{
    const uint8_t *b = part->bytes;
    if (memcmp(b, "GGUF", 4) == 0)
        return DS4_OK;
    return ds4_fail(err, DS4_ERR_CORRUPT, "not a GGUF file (starts with %02X %02X %02X %02X)%s", b[0], b[1], b[2], b[3],
                    magic_hint(b, part->size)); /* (3) */
}

static ds4_status check_version(uint32_t version, ds4_error *err)
{
    if ((version & 0xffff) == 0 && version != 0) /* (4) */
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "big-endian GGUF is not supported");
    if (version != 3) /* (5) */
        return ds4_fail(
            err, DS4_ERR_UNSUPPORTED,
            "GGUF version %" PRIu32 " is not supported (need 3); convert the file again with a current tool", version);
    return DS4_OK;
}

static ds4_status fail_count(const gguf_part *part, uint64_t n, const char *what, int at, ds4_error *err)
{
    return ds4_fail(err, DS4_ERR_CORRUPT,
                    "claims %" PRIu64 " %s, impossible for a file of %zu bytes, at byte %d"
                    "; the download is incomplete or damaged",
                    n, what, part->size, at); /* (6) */
}

ds4_status gguf_parse_header(gguf_part *part, header_reader *r, ds4_error *err)
{
    uint32_t magic, version = 0;
    uint64_t n_values = 0;
    *r = (header_reader){ .part = part, .kind = "metadata" };
    if (part->size < 24) /* (2) */
        return ds4_fail(err, DS4_ERR_CORRUPT, "too short to be a GGUF file (%zu bytes)", part->size);
    r->in = (cursor){ part->bytes, part->size < HEADER_BYTES_MAX ? part->size : HEADER_BYTES_MAX };
    ds4_status status = check_magic(part, err);
    if (status != DS4_OK)
        return status;
    cursor_u32(&r->in, &magic); /* 24 bytes are there: these four cannot fail */
    cursor_u32(&r->in, &version);
    cursor_u64(&r->in, &part->n_tensors);
    cursor_u64(&r->in, &n_values);
    status = check_version(version, err);
    if (status != DS4_OK)
        return status;
    if (n_values > KV_COUNT_MAX || n_values > r->in.left / KV_ENTRY_MIN)
        return fail_count(part, n_values, "metadata entries", 16, err);
    if (part->n_tensors > TENSOR_COUNT_MAX ||
        part->n_tensors > (r->in.left - (size_t)n_values * KV_ENTRY_MIN) / TENSOR_ENTRY_MIN)
        return fail_count(part, part->n_tensors, "tensors", 8, err);
    status = parse_values(part, r, n_values, err);
    return status == DS4_OK ? read_alignment(part, err) : status;
}
