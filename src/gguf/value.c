/* Typed reads of metadata: docs/spec/weights.md, section 1.1 (any integer width, f32 or f64) and check 29. */
#include "gguf/part.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

static const gguf_part *first_part(const gguf_file *file)
{
    return &file->parts[0]; /* of a split set, only the first file carries keys of the model */
}

const gguf_value *part_value_find(const gguf_part *part, const char *key)
{
    uint64_t index;
    return name_map_find(&part->keys, slice_of(key), &index) ? &part->values[index] : NULL;
}

uint64_t gguf_n_values(const gguf_file *file)
{
    return first_part(file)->n_values;
}

const gguf_value *gguf_value_at(const gguf_file *file, uint64_t index)
{
    return index < first_part(file)->n_values ? &first_part(file)->values[index] : NULL;
}

const gguf_value *gguf_value_find(const gguf_file *file, const char *key)
{
    return part_value_find(first_part(file), key);
}

/* --- messages (29) ---------------------------------------------------------------------------------------------- */

static ds4_status fail_missing(const char *key, ds4_error *err)
{
    char shown[GGUF_SHOW_BYTES];
    return ds4_fail(err, DS4_ERR_NOT_FOUND, "metadata key '%s' is missing", gguf_show(slice_of(key), shown));
}

static ds4_status fail_type(const gguf_value *value, const char *expected, ds4_error *err)
{
    char shown[GGUF_SHOW_BYTES];
    const bool array = value->type == GGUF_ARRAY;
    return ds4_fail(err, DS4_ERR_UNSUPPORTED, "metadata key '%s' has type %s%s, expected %s",
                    gguf_show(value->key, shown), array ? "array of " : "",
                    gguf_value_type_name(array ? value->element_type : value->type), expected);
}

/* The one value, or nothing: arrays are no answer to a question for a single value. */
static ds4_status find_single(const gguf_part *part, const char *key, const char *expected, const gguf_value **out,
                              ds4_error *err)
{
    const gguf_value *value = part_value_find(part, key);
    if (!value)
        return fail_missing(key, err);
    if (value->type == GGUF_ARRAY)
        return fail_type(value, expected, err);
    *out = value;
    return DS4_OK;
}

/* --- elements --------------------------------------------------------------------------------------------------- */

/* Where element `index` stands; NULL when a fixed-size element of that index is not there. */
static const uint8_t *element_at(const gguf_value *value, uint64_t index)
{
    const size_t size = value_type_bytes(value->element_type);
    if (value->type != GGUF_ARRAY)
        return value->bytes;
    return index < value->n ? value->bytes + (size_t)index * size : NULL;
}

static ds4_status fail_index(const gguf_value *value, uint64_t index, ds4_error *err)
{
    char shown[GGUF_SHOW_BYTES];
    return ds4_fail(err, DS4_ERR_ARGUMENT, "metadata array '%s' has %" PRIu64 " elements, asked for number %" PRIu64,
                    gguf_show(value->key, shown), value->n, index);
}

ds4_status gguf_element_i64(const gguf_value *array, uint64_t index, int64_t *out, ds4_error *err)
{
    char shown[GGUF_SHOW_BYTES];
    switch (array->element_type) {
    case GGUF_UINT8:
    case GGUF_INT8:
    case GGUF_UINT16:
    case GGUF_INT16:
    case GGUF_UINT32:
    case GGUF_INT32:
    case GGUF_UINT64:
    case GGUF_INT64: break;
    default: return fail_type(array, "an integer", err);
    }
    const uint8_t *at = element_at(array, index);
    if (!at)
        return fail_index(array, index, err);
    const uint64_t raw = cursor_load(at, value_type_bytes(array->element_type));
    switch (array->element_type) {
    case GGUF_INT8: *out = (int8_t)raw; break;
    case GGUF_INT16: *out = (int16_t)raw; break;
    case GGUF_INT32: *out = (int32_t)raw; break;
    case GGUF_INT64: *out = (int64_t)raw; break;
    default:
        if (raw > INT64_MAX)
            return ds4_fail(err, DS4_ERR_CORRUPT, "metadata key '%s' = %" PRIu64 ", supported range 0..%" PRId64,
                            gguf_show(array->key, shown), raw, INT64_MAX);
        *out = (int64_t)raw;
    }
    return DS4_OK;
}

ds4_status gguf_element_f32(const gguf_value *array, uint64_t index, float *out, ds4_error *err)
{
    char shown[GGUF_SHOW_BYTES];
    if (array->element_type != GGUF_FLOAT32 && array->element_type != GGUF_FLOAT64)
        return fail_type(array, "a float", err);
    const uint8_t *at = element_at(array, index);
    if (!at)
        return fail_index(array, index, err);
    if (array->element_type == GGUF_FLOAT32) {
        const uint32_t bits = (uint32_t)cursor_load(at, 4);
        memcpy(out, &bits, sizeof bits);
        return DS4_OK;
    }
    const uint64_t bits = cursor_load(at, 8);
    double wide;
    memcpy(&wide, &bits, sizeof bits);
    if (isfinite(wide) && fabs(wide) > FLT_MAX)
        return ds4_fail(err, DS4_ERR_CORRUPT, "metadata key '%s' = %g, supported range %g..%g",
                        gguf_show(array->key, shown), wide, (double)-FLT_MAX, (double)FLT_MAX);
    *out = (float)wide;
    return DS4_OK;
}

bool gguf_next_string(const gguf_value *array, size_t *position, slice *out)
{
    uint64_t n;
    const uint8_t *bytes;
    if (array->element_type != GGUF_STRING || *position >= array->n_bytes)
        return false;
    /* Checked when the file was opened, and again here: a mapped file can change under our feet. */
    cursor in = { array->bytes + *position, array->n_bytes - *position };
    if (!cursor_u64(&in, &n) || n > in.left || !cursor_take(&in, (size_t)n, &bytes))
        return false;
    *out = (slice){ (const char *)bytes, (size_t)n };
    *position = array->n_bytes - in.left;
    return true;
}

/* --- single values ---------------------------------------------------------------------------------------------- */

ds4_status part_get_u32(const gguf_part *part, const char *key, uint32_t min, uint32_t max, uint32_t *out,
                        ds4_error *err)
{
    char shown[GGUF_SHOW_BYTES];
    const gguf_value *value = NULL;
    int64_t wide = 0;
    ds4_status status = find_single(part, key, "an integer", &value, err);
    if (status == DS4_OK)
        status = gguf_element_i64(value, 0, &wide, err);
    if (status != DS4_OK)
        return status;
    if (wide < (int64_t)min || wide > (int64_t)max)
        return ds4_fail(err, DS4_ERR_CORRUPT, "metadata key '%s' = %" PRId64 ", supported range %" PRIu32 "..%" PRIu32,
                        gguf_show(value->key, shown), wide, min, max);
    *out = (uint32_t)wide;
    return DS4_OK;
}

ds4_status gguf_get_u32(const gguf_file *file, const char *key, uint32_t min, uint32_t max, uint32_t *out,
                        ds4_error *err)
{
    return part_get_u32(first_part(file), key, min, max, out, err);
}

ds4_status gguf_get_f32(const gguf_file *file, const char *key, float *out, ds4_error *err)
{
    const gguf_value *value = NULL;
    const ds4_status status = find_single(first_part(file), key, "a float", &value, err);
    return status == DS4_OK ? gguf_element_f32(value, 0, out, err) : status;
}

ds4_status gguf_get_bool(const gguf_file *file, const char *key, bool *out, ds4_error *err)
{
    const gguf_value *value = NULL;
    const ds4_status status = find_single(first_part(file), key, "bool", &value, err);
    if (status != DS4_OK)
        return status;
    if (value->type != GGUF_BOOL)
        return fail_type(value, "bool", err);
    *out = value->bytes[0] != 0;
    return DS4_OK;
}

ds4_status gguf_get_string(const gguf_file *file, const char *key, slice *out, ds4_error *err)
{
    const gguf_value *value = NULL;
    size_t position = 0;
    const ds4_status status = find_single(first_part(file), key, "string", &value, err);
    if (status != DS4_OK)
        return status;
    if (value->type != GGUF_STRING || !gguf_next_string(value, &position, out))
        return fail_type(value, "string", err);
    return DS4_OK;
}

const char *gguf_value_type_name(gguf_value_type type)
{
    static const char *const names[] = { "uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
                                         "bool",  "string", "array",  "uint64", "int64",  "float64" };
    return (unsigned)type < sizeof names / sizeof names[0] ? names[type] : "unknown";
}
