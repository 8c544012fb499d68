/* The tensor directory of one part: checks 18 to 27 of docs/spec/weights.md. */
#include "gguf/part.h"

#include <inttypes.h>
#include <stdlib.h>

static const uint64_t DIM_MAX = UINT64_C(1) << 40, VALUES_MAX = UINT64_C(1) << 63;

static ds4_status check_name(gguf_file *file, const header_reader *r, slice name, uint64_t position, ds4_error *err)
{
    char shown[GGUF_SHOW_BYTES];
    if (name.size == 0 || name.size > NAME_BYTES_MAX || memchr(name.data, 0, name.size)) /* (15), (18) */
        return ds4_fail(err, DS4_ERR_CORRUPT, "tensor %" PRIu64 " has a bad name, at byte %" PRIu64, r->i_entry,
                        position);
    if (!gguf_utf8_valid(name)) /* (14) */
        return ds4_fail(err, DS4_ERR_CORRUPT, "name of tensor %" PRIu64 " is not valid UTF-8, at byte %" PRIu64,
                        r->i_entry, position);
    if (!name_map_add(&file->names, name, file->n_tensors)) /* (18), over all parts */
        return ds4_fail(err, DS4_ERR_CORRUPT, "tensor '%s' appears twice, at byte %" PRIu64, gguf_show(name, shown),
                        position);
    return DS4_OK;
}

static ds4_status parse_dims(header_reader *r, gguf_tensor *t, ds4_error *err)
{
    char shown[GGUF_SHOW_BYTES];
    const uint64_t begin = reader_position(r);
    ds4_status status = reader_u32(r, &t->n_dims, err);
    if (status != DS4_OK)
        return status;
    if (t->n_dims == 0 || t->n_dims > 4) /* (19) */
        return ds4_fail(err, DS4_ERR_CORRUPT, "tensor '%s' has %" PRIu32 " dimensions, at byte %" PRIu64,
                        gguf_show(t->name, shown), t->n_dims, begin);
    t->n_values = 1;
    for (uint32_t i = 0; i < 4; i++) {
        t->dims[i] = 1;
        if (i >= t->n_dims)
            continue;
        status = reader_u64(r, &t->dims[i], err);
        if (status != DS4_OK)
            return status;
        if (t->dims[i] == 0) /* (20) */
            return ds4_fail(err, DS4_ERR_CORRUPT, "tensor '%s' is empty, at byte %" PRIu64, gguf_show(t->name, shown),
                            begin);
        if (t->dims[i] > DIM_MAX || __builtin_mul_overflow(t->n_values, t->dims[i], &t->n_values) ||
            t->n_values >= VALUES_MAX)
            return ds4_fail(err, DS4_ERR_CORRUPT, "tensor '%s' is too large, at byte %" PRIu64,
                            gguf_show(t->name, shown), begin);
    }
    return DS4_OK;
}

static ds4_status check_type(gguf_tensor *t, uint64_t position, ds4_error *err)
{
    char shown[GGUF_SHOW_BYTES];
    const quant_type *info = quant_type_about(t->type);
    if (!info) { /* (21) */
        const char *name = quant_type_name(t->type);
        const bool named = strcmp(name, "unknown") != 0;
        return ds4_fail(err, DS4_ERR_UNSUPPORTED,
                        "tensor '%s' uses type %" PRIu32 ", which this program does not know, at byte %" PRIu64 "%s%s",
                        gguf_show(t->name, shown), t->type, position, named ? "; it is " : "", named ? name : "");
    }
    if (t->dims[0] % info->block_values != 0) /* (23) */
        return ds4_fail(err, DS4_ERR_CORRUPT,
                        "tensor '%s': row of %" PRIu64 " values is not a multiple of %" PRIu32 " (%s)",
                        gguf_show(t->name, shown), t->dims[0], info->block_values, info->name);
    t->row_bytes = t->dims[0] / info->block_values * info->block_bytes;              /* below 2^40 * 8 */
    if (__builtin_mul_overflow(t->n_values / t->dims[0], t->row_bytes, &t->n_bytes)) /* (20) */
        return ds4_fail(err, DS4_ERR_CORRUPT, "tensor '%s' is too large", gguf_show(t->name, shown));
    return DS4_OK;
}

/* One entry; t->offset is still relative to the data. */
static ds4_status parse_entry(gguf_file *file, header_reader *r, gguf_tensor *t, ds4_error *err)
{
    char shown[GGUF_SHOW_BYTES];
    uint64_t position = reader_position(r);
    ds4_status status = reader_string(r, &t->name, err);
    if (status == DS4_OK)
        status = check_name(file, r, t->name, position, err);
    if (status == DS4_OK)
        status = parse_dims(r, t, err);
    if (status != DS4_OK)
        return status;
    position = reader_position(r);
    status = reader_u32(r, &t->type, err);
    if (status == DS4_OK)
        status = reader_u64(r, &t->offset, err);
    if (status == DS4_OK)
        status = check_type(t, position, err);
    if (status == DS4_OK && t->offset % r->part->alignment != 0) /* (24) */
        status = ds4_fail(err, DS4_ERR_CORRUPT, "tensor '%s' is misaligned (offset %" PRIu64 ", alignment %" PRIu64 ")",
                          gguf_show(t->name, shown), t->offset, r->part->alignment);
    return status;
}

/* Rounds up to the part's alignment; false when that leaves 64 bits. */
static bool align_up(const gguf_part *part, uint64_t n, uint64_t *out)
{
    if (__builtin_add_overflow(n, part->alignment - 1, out))
        return false;
    *out &= ~(part->alignment - 1);
    return true;
}

/* (25): turns offsets into pointers. `packed` follows the layout that writers produce; a tensor that lies where they
 * would put it but ends after the file is the mark of a download that was cut off. */
static ds4_status place_tensors(gguf_part *part, gguf_tensor *tensors, uint64_t data_start, ds4_error *err)
{
    char shown[GGUF_SHOW_BYTES];
    uint64_t packed = 0, last = data_start;
    bool is_packed = true;
    for (uint64_t i = 0; i < part->n_tensors; i++) {
        gguf_tensor *t = &tensors[i];
        uint64_t end = UINT64_MAX;
        is_packed = is_packed && t->offset == packed;
        const bool fits = !__builtin_add_overflow(t->offset, data_start, &t->offset) &&
                          !__builtin_add_overflow(t->offset, t->n_bytes, &end);
        if (!fits || end > part->size)
            return ds4_fail(err, DS4_ERR_CORRUPT,
                            "tensor '%s' lies outside the file (needs byte %" PRIu64 ", file has %zu)%s",
                            gguf_show(t->name, shown), fits ? end : UINT64_MAX, part->size,
                            fits && is_packed ? "; the download is incomplete" : "");
        t->data = part->bytes + t->offset;
        is_packed = is_packed && align_up(part, packed + t->n_bytes, &packed); /* both fit in the file */
        last = end > last ? end : last;
    }
    if (align_up(part, last, &last) && last < part->size)
        part->unused_bytes = part->size - last; /* (27) */
    return DS4_OK;
}

static int compare_offsets(const void *a, const void *b)
{
    const gguf_tensor *x = *(const gguf_tensor *const *)a, *y = *(const gguf_tensor *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* (26) */
static ds4_status check_overlap(const gguf_tensor *tensors, uint64_t n, ds4_error *err)
{
    char first[GGUF_SHOW_BYTES], second[GGUF_SHOW_BYTES];
    ds4_status status = DS4_OK;
    if (n < 2)
        return DS4_OK;
    const gguf_tensor **sorted = malloc((size_t)n * sizeof *sorted);
    if (!sorted)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for %" PRIu64 " tensors", n);
    for (uint64_t i = 0; i < n; i++)
        sorted[i] = &tensors[i];
    qsort(sorted, (size_t)n, sizeof *sorted, compare_offsets);
    for (uint64_t i = 1; i < n && status == DS4_OK; i++)
        if (sorted[i - 1]->offset + sorted[i - 1]->n_bytes > sorted[i]->offset)
            status =
                ds4_fail(err, DS4_ERR_CORRUPT, "tensors '%s' and '%s' overlap, at byte %" PRIu64,
                         gguf_show(sorted[i - 1]->name, first), gguf_show(sorted[i]->name, second), sorted[i]->offset);
    free(sorted);
    return status;
}

static ds4_status make_room(gguf_file *file, uint64_t n_more, ds4_error *err)
{
    /* The header was checked to be long enough for n_more entries, so this is within a small factor of its size. */
    const uint64_t n = file->n_tensors + n_more;
    gguf_tensor *grown = n > SIZE_MAX / sizeof *grown ? NULL : realloc(file->tensors, (size_t)n * sizeof *grown);
    if (grown)
        file->tensors = grown;
    if (!grown || name_map_reserve(&file->names, (size_t)n) != DS4_OK)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for %" PRIu64 " tensors", n);
    memset(file->tensors + file->n_tensors, 0, (size_t)n_more * sizeof *grown);
    return DS4_OK;
}

ds4_status gguf_parse_directory(gguf_file *file, uint32_t i_part, header_reader *r, ds4_error *err)
{
    gguf_part *part = &file->parts[i_part];
    const uint64_t n_before = file->n_tensors;
    uint64_t data_start;
    ds4_status status = part->n_tensors ? make_room(file, part->n_tensors, err) : DS4_OK;
    r->kind = "tensor";
    for (r->i_entry = 0; status == DS4_OK && r->i_entry < part->n_tensors; r->i_entry++) {
        gguf_tensor *t = &file->tensors[file->n_tensors];
        t->i_part = i_part;
        status = parse_entry(file, r, t, err);
        if (status == DS4_OK)
            file->n_tensors++;
    }
    if (status != DS4_OK || part->n_tensors == 0)
        return status;
    align_up(part, reader_position(r), &data_start); /* a position is at most 1 GiB */
    status = place_tensors(part, file->tensors + n_before, data_start, err);
    return status == DS4_OK ? check_overlap(file->tensors + n_before, part->n_tensors, err) : status;
}
