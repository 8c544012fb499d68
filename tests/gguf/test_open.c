/* Hostile model files: checks 1 to 27, 37 and 38 of docs/spec/weights.md, each with its words. The number of a check
 * stands behind its first case. Checks 28 to 36 need a model: tests/model/test_config.c, test_bind.c. */
#include "gguf/gguf.h"
#include "support/gguf_builder.h"
#include "support/support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void assert_refused(const void *bytes, size_t size, const char *words)
{
    gguf_file *file;
    ds4_error err = { 0 };
    if (gguf_open_bytes(&file, bytes, size, &err) == DS4_OK)
        fail_msg("accepted, but should say '%s'", words);
    assert_null(file);
    if (!strstr(err.text, words))
        fail_msg("'%s' does not say '%s'", err.text, words);
}

static void assert_builder_refused(gguf_builder *b, const char *words)
{
    size_t size;
    char *bytes = gb_finish(b, &size);
    assert_refused(bytes, size, words);
    free(bytes);
}

static char *good_file(size_t *size)
{
    gguf_builder b = { 0 };
    const float data[] = { 1, 2, 3, 4, 5, 6 };
    gb_string(&b, "general.architecture", "deepseek4");
    gb_u32(&b, "a.number", 7);
    gb_i32s(&b, "a.list", (int32_t[]){ 1, -2, 3 }, 3);
    gb_tensor(&b, "first", QUANT_F32, (uint64_t[]){ 3, 2 }, 2, data, sizeof data);
    gb_tensor(&b, "second", QUANT_Q8_0, (uint64_t[]){ 32 }, 1, NULL, 34);
    return gb_finish(&b, size);
}

static void a_good_file_is_read(void **state)
{
    size_t size;
    char *bytes = good_file(&size);
    gguf_file *file;
    slice text;
    uint32_t n;
    int64_t element;
    (void)state;
    assert_int_equal(gguf_open_bytes(&file, bytes, size, NULL), DS4_OK);
    assert_int_equal(gguf_get_string(file, "general.architecture", &text, NULL), DS4_OK);
    assert_true(slice_equal(text, SLICE("deepseek4")));
    assert_int_equal(gguf_get_u32(file, "a.number", 0, 10, &n, NULL), DS4_OK);
    assert_int_equal(n, 7);
    assert_int_equal(gguf_get_u32(file, "a.number", 0, 6, &n, NULL), DS4_ERR_CORRUPT);
    assert_int_equal(gguf_get_u32(file, "missing", 0, 6, &n, NULL), DS4_ERR_NOT_FOUND);
    assert_int_equal(gguf_element_i64(gguf_value_find(file, "a.list"), 1, &element, NULL), DS4_OK);
    assert_int_equal(element, -2);
    assert_int_equal(gguf_element_i64(gguf_value_find(file, "a.list"), 3, &element, NULL), DS4_ERR_ARGUMENT);
    const gguf_tensor *t = gguf_tensor_find(file, "first");
    assert_int_equal(t->dims[0], 3);
    assert_int_equal(t->n_bytes, 24);
    assert_int_equal(((const float *)(const void *)t->data)[5], 6);
    assert_null(gguf_tensor_find(file, "third"));
    gguf_close(file);
    free(bytes);
}

/* Every prefix of a good file is refused: nothing is read beyond the end. (Padding after the last tensor may be missing.) */
static void every_truncation_is_refused(void **state)
{
    size_t size;
    char *bytes = good_file(&size);
    (void)state;
    for (size_t n = 0; n + 32 < size; n++) {
        char *cut = malloc(n + 8); /* the sanitizer sees a read beyond n + 7 */
        gguf_file *file;
        memcpy(cut, bytes, n);
        assert_int_not_equal(gguf_open_bytes(&file, cut, n, NULL), DS4_OK);
        free(cut);
    }
    free(bytes);
}

static void every_bit_can_be_flipped(void **state)
{
    size_t size;
    char *bytes = good_file(&size);
    (void)state;
    for (size_t i = 0; i < size * 8; i++) {
        gguf_file *file;
        bytes[i / 8] ^= (char)(1 << (i % 8));
        if (gguf_open_bytes(&file, bytes, size, NULL) == DS4_OK)
            gguf_close(file);
        bytes[i / 8] ^= (char)(1 << (i % 8));
    }
    free(bytes);
}

/* Checks 2 to 6: the first 24 bytes. */
static void the_fixed_part_is_checked(void **state)
{
    (void)state;
    assert_refused("GGUF", 4, "too short to be a GGUF file (4 bytes)"); /* (2) */
    assert_refused("", 0, "too short to be a GGUF file (0 bytes)");
    assert_refused("\1\2\3\4....................", 24, "not a GGUF file (starts with 01 02 03 04)"); /* (3) */
    assert_refused("version https://git-lfs.github.com/spec/v1", 42,
                   "this looks like a Git LFS pointer; download the file itself");
    assert_refused("<html><head><title>404 Not Found</title>", 40,
                   "this looks like an HTML error page; download the file itself");
    assert_refused("<!DOCTYPE html><html>....", 25, "HTML error page");
    assert_refused("PK\3\4aaaaaaaaaaaaaaaaaaaaaaaaaa", 30, "zip archive");
    assert_refused("{\"error\": \"not found\"}      ", 28, "JSON file");
    assert_refused("\20\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\"}}", 30, "safetensors file");
    assert_refused("tjgg....................", 24, "older ggml format");
    assert_refused("GGUF\0\0\0\3................", 24, "big-endian GGUF is not supported");                  /* (4) */
    assert_refused("GGUF\2\0\0\0................", 24, "GGUF version 2 is not supported (need 3); convert"); /* (5) */
    assert_refused("GGUF\0\0\0\0................", 24, "GGUF version 0 is not supported");
    assert_refused("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\377\377\377\377\0\0\0\0", 24, /* (6) */
                   "claims 4294967295 metadata entries, impossible for a file of 24 bytes, at byte 16");
    assert_refused("GGUF\3\0\0\0\377\377\377\377\377\377\377\377\0\0\0\0\0\0\0\0", 24,
                   "claims 18446744073709551615 tensors, impossible for a file of 24 bytes, at byte 8");
}

/* (6): as many entries as the limit allows would fit into this file, one more is refused by the limit alone. */
static void counts_have_limits(void **state)
{
    enum { SIZE = 40 << 20 };
    char *bytes = calloc(1, SIZE);
    (void)state;
    memcpy(bytes, "GGUF\3", 5);
    memcpy(bytes + 16, "\1\0\1", 3); /* 65537 */
    assert_refused(bytes, SIZE, "claims 65537 metadata entries");
    memcpy(bytes + 16, "\0\0\0", 3);
    memcpy(bytes + 8, "\1\0\20", 3); /* 1048577 */
    assert_refused(bytes, SIZE, "claims 1048577 tensors");
    free(bytes);
}

/* (8), (12): limits that only a file of their size can reach. The pages behind these sizes are never touched. */
static void lengths_have_limits(void **state)
{
    enum { STRING_AT = 24 + 8 + 1 + 4 };
    const size_t size = ((size_t)1 << 28) + 4096;
    char *bytes = calloc(1, size);
    (void)state;
    memcpy(bytes, "GGUF\3", 5);
    bytes[16] = 1;                            /* one key */
    bytes[24] = 1, bytes[32] = 'k';           /* "k" */
    bytes[33] = 8;                            /* a string */
    memcpy(bytes + STRING_AT, "\1\0\0\4", 4); /* of 64 MiB and a byte */
    assert_refused(bytes, size, "string of 67108865 bytes in metadata entry 0 is over the limit of 64 MiB");
    bytes[33] = 9;                                     /* an array of uint8 */
    memcpy(bytes + STRING_AT, "\0\0\0\0\1\0\0\20", 8); /* of 2^28 elements and one */
    assert_refused(bytes, size, "metadata array 'k' claims 268435457 elements");
    free(bytes);
}

/* Checks 7 to 17: keys and their values. */
static void metadata_is_checked(void **state)
{
    gguf_builder b = { 0 };
    const uint8_t array_of_arrays[] = { 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0 };
    const uint8_t array_of_nothing[] = { 13, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0 };
    const uint8_t huge_array[] = { 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0 };
    const uint8_t overflowing_array[] = { 10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x20 }; /* 8 * n wraps to 8 */
    const uint8_t long_array[] = { 10, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0 }; /* 16 bytes follow, but not 16 numbers */
    const uint8_t huge_string[] = { 0, 0, 0, 0, 0, 1, 0, 0 },
                  largest_string[] = { 255, 255, 255, 255, 255, 255, 255, 255 };
    const uint8_t booleans[] = { 7, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2 };
    const struct {
        uint32_t type;
        const void *bytes;
        size_t size;
        const char *words;
    } values[] = {
        { 8, huge_string, sizeof huge_string,
          "string of 1099511627776 bytes in metadata entry 0 runs past the end of the file" }, /* (8) */
        { 8, largest_string, sizeof largest_string, "runs past the end of the file, at byte" },
        { 13, "", 0, "metadata key 'k' has unknown type 13" }, /* (11) */
        { 0xffffffff, "", 0, "metadata key 'k' has unknown type 4294967295" },
        { 9, array_of_arrays, sizeof array_of_arrays,
          "has unknown type 9, at byte 37; arrays of arrays are not supported" },
        { 9, array_of_nothing, sizeof array_of_nothing, "metadata key 'k' has unknown type 13" },
        { 9, huge_array, sizeof huge_array,
          "metadata array 'k' claims 4294967296 elements, more than the file holds" }, /* (12) */
        { 9, overflowing_array, sizeof overflowing_array, "elements, more than the file holds" },
        { 9, long_array, sizeof long_array, "claims 16 elements, more than the file holds" },
        { 7, "\2", 1, "metadata key 'k' is not a valid boolean, at byte 37" }, /* (13) */
        { 9, booleans, sizeof booleans, "metadata key 'k' is not a valid boolean, at byte 50" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        gb_raw(&b, "k", values[i].type, values[i].bytes, values[i].size);
        gb_u32(&b, "fill", 1); /* so that the value itself is not what ends too early */
        assert_builder_refused(&b, values[i].words);
    }
    gb_u32(&b, "k", 1); /* (10) */
    gb_u32(&b, "other", 1);
    gb_u32(&b, "k", 1);
    assert_builder_refused(&b, "metadata key 'k' appears twice");
    gb_u32(&b, "general.alignment", 32); /* (17) */
    gb_u32(&b, "general.alignment", 64);
    assert_builder_refused(&b, "metadata key 'general.alignment' appears twice");
}

static void keys_are_checked(void **state) /* (9), (15) */
{
    gguf_builder b = { 0 };
    char *long_key = calloc(1, 65537);
    char nul[] = { 5, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 'b', 'c', 'd', 4, 0, 0, 0, 1, 0, 0, 0 };
    (void)state;
    gb_u32(&b, "bad\nkey", 1);
    assert_builder_refused(&b, "bad metadata key in entry 0, at byte 24");
    gb_u32(&b, "fine", 1);
    gb_u32(&b, "", 1);
    assert_builder_refused(&b, "bad metadata key in entry 1");
    gb_u32(&b, "schl\xc3\xbcssel", 1);
    assert_builder_refused(&b, "bad metadata key in entry 0");
    memset(long_key, 'a', 65536);
    gb_u32(&b, long_key, 1);
    assert_builder_refused(&b, "bad metadata key in entry 0");
    free(long_key);
    buffer_append(&b.values, nul, sizeof nul);
    b.n_values = 1;
    assert_builder_refused(&b, "bad metadata key in entry 0");
}

static void the_alignment_is_checked(void **state) /* (16) */
{
    const uint32_t bad[] = { 0, 1, 4, 24, 33, 131072, 0x80000000 };
    gguf_builder b = { 0 };
    char words[96];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(words, sizeof words, "alignment %u is not a power of two between 8 and 65536", (unsigned)bad[i]);
        gb_u32(&b, "general.alignment", bad[i]);
        assert_builder_refused(&b, words);
    }
    gb_raw(&b, "general.alignment", GGUF_UINT64, "\40\0\0\0\0\0\0\0", 8);
    assert_builder_refused(&b, "alignment of type uint64 is not");
}

/* (7): what is cut off inside the header says where, and what to do. */
static void a_cut_header_says_so(void **state)
{
    size_t size;
    char *bytes = good_file(&size);
    (void)state;
    assert_refused(
        bytes, 195, /* inside the name of the second tensor */
        "string of 6 bytes in tensor entry 1 runs past the end of the file, at byte 184; the download is incomplete");
    free(bytes);
    gguf_builder b = { 0 };
    const uint64_t dims[] = { 4, 4 };
    gb_tensor(&b, "a tensor with a long name", QUANT_F32, dims, 2, NULL, 64);
    bytes = gb_finish(&b, &size);
    assert_refused(
        bytes, 24 + 8 + 25 + 4 + 8, /* inside the second dimension */
        "truncated: header ends at byte 69 but tensor entry 0 needs 8 more bytes, at byte 69; the download is "
        "incomplete");
    free(bytes);
}

/* Checks 14, 15, 18 to 24: entries of the directory. */
static void tensors_are_checked(void **state)
{
    const uint64_t square[] = { 4, 4, 1, 1, 1 }, none[] = { 0 }, later_none[] = { 4, 0 },
                   wide[] = { (UINT64_C(1) << 40) + 1 }, product[] = { UINT64_C(1) << 40, UINT64_C(1) << 23 },
                   bytes_overflow[] = { UINT64_C(1) << 40, UINT64_C(1) << 22 }, odd[] = { 33 }, block[] = { 255 },
                   wraps[] = { 32, 1229673, 3935371, 7623851 }; /* the last three are 1 modulo 2^64 */
    const struct {
        const char *name;
        uint32_t type;
        const uint64_t *dims;
        uint32_t n_dims;
        uint64_t offset;
        const char *words;
    } entries[] = {
        { "caf\xc3", QUANT_F32, square, 2, 0, "name of tensor 0 is not valid UTF-8" }, /* (14) */
        { "", QUANT_F32, square, 2, 0, "tensor 0 has a bad name" },                    /* (18) */
        { "a name of sixty-four bytes.....................................64", QUANT_F32, square, 2, 0,
          "tensor 0 has a bad name" },
        { "t", QUANT_F32, square, 0, 0, "tensor 't' has 0 dimensions" }, /* (19) */
        { "t", QUANT_F32, square, 5, 0, "tensor 't' has 5 dimensions" },
        { "t", QUANT_F32, none, 1, 0, "tensor 't' is empty" }, /* (20) */
        { "t", QUANT_F32, later_none, 2, 0, "tensor 't' is empty" },
        { "t", QUANT_F32, wide, 1, 0, "tensor 't' is too large" },
        { "t", QUANT_F32, product, 2, 0, "tensor 't' is too large" },
        { "t", QUANT_F32, bytes_overflow, 2, 0, "tensor 't' is too large" },
        { "t", QUANT_F32, wraps, 4, 0, "tensor 't' is too large" },
        { "t", 43, square, 2, 0, "tensor 't' uses type 43, which this program does not know" }, /* (21) */
        { "t", 0xffffffff, square, 2, 0, "tensor 't' uses type 4294967295" },
        { "t", 31, square, 2, 0,
          "uses type 31, which this program does not know, at byte 53; it is Q4_0_4_4, removed" },
        { "t", 42, square, 2, 0, "it is Q2_0, or F8_E4M3_B128" },
        { "t", QUANT_Q8_0, odd, 1, 0, "tensor 't': row of 33 values is not a multiple of 32 (Q8_0)" }, /* (23) */
        { "t", QUANT_Q2_K, block, 1, 0, "tensor 't': row of 255 values is not a multiple of 256 (Q2_K)" },
        { "t", QUANT_F32, square, 2, 4, "tensor 't' is misaligned (offset 4, alignment 32)" }, /* (24) */
        { "t", QUANT_F32, square, 2, 16, "tensor 't' is misaligned (offset 16, alignment 32)" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        gguf_builder b = { 0 };
        gb_entry(&b, entries[i].name, entries[i].type, entries[i].dims, entries[i].n_dims, entries[i].offset);
        assert_builder_refused(&b, entries[i].words);
    }
    const uint32_t removed[] = { 4, 5, 31, 32, 33, 36, 37, 38, 42, 43 };
    for (size_t i = 0; i < sizeof removed / sizeof removed[0]; i++)
        assert_null(quant_type_about(removed[i]));
    gguf_builder b = { 0 };
    gb_entry(&b, "abc", QUANT_F32, square, 2, 0);
    ((char *)b.tensors.data)[9] = 0; /* (15) */
    assert_builder_refused(&b, "tensor 0 has a bad name");
    gb_entry(&b, "t", QUANT_F32, square, 2, 0); /* (18) */
    gb_entry(&b, "u", QUANT_F32, square, 2, 64);
    gb_entry(&b, "t", QUANT_F32, square, 2, 128);
    assert_builder_refused(&b, "tensor 't' appears twice");
}

/* Checks 25 to 27: where the data lies. */
static void tensors_stay_inside_and_apart(void **state)
{
    const uint64_t dims[] = { 16 }, large[] = { 1000 };
    gguf_builder b = { 0 };
    size_t size;
    (void)state;
    gb_tensor(&b, "t", QUANT_F32, large, 1, NULL, 64); /* (25) */
    assert_builder_refused(
        &b, "tensor 't' lies outside the file (needs byte 4064, file has 128); the download is incomplete");
    gb_tensor(&b, "first", QUANT_F32, dims, 1, NULL, 64);
    gb_entry(&b, "t", QUANT_F32, dims, 1, UINT64_MAX - 31);
    assert_builder_refused(&b, "tensor 't' lies outside the file (needs byte 18446744073709551615, file has");
    gb_tensor(&b, "first", QUANT_F32, dims, 1, NULL, 128);
    gb_entry(&b, "second", QUANT_F32, dims, 1, 32); /* (26): in the middle of the first */
    assert_builder_refused(&b, "tensors 'first' and 'second' overlap, at byte");
    gb_tensor(&b, "first", QUANT_F32, dims, 1, NULL, 128);
    gb_entry(&b, "again", QUANT_F32, dims, 1, 0);
    assert_builder_refused(&b, "overlap, at byte");
    /* (27) is a warning. */
    gb_tensor(&b, "t", QUANT_F32, dims, 1, NULL, 64 + 96);
    char *bytes = gb_finish(&b, &size);
    gguf_file *file;
    assert_int_equal(gguf_open_bytes(&file, bytes, size, NULL), DS4_OK);
    assert_string_equal(gguf_warning(file), "96 unused bytes at the end");
    gguf_close(file);
    assert_int_equal(gguf_open_bytes(&file, bytes, size - 96, NULL), DS4_OK);
    assert_null(gguf_warning(file));
    gguf_close(file);
    free(bytes);
}

static void files_that_are_none(void **state) /* (1) */
{
    gguf_file *file;
    ds4_error err = { 0 };
    (void)state;
    assert_int_equal(gguf_open(&file, "/nonexistent/model.gguf", &err), DS4_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "cannot open"));
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_not_equal(gguf_open(&file, "/tmp", &err), DS4_OK);
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_int_not_equal(gguf_open(&file, "/dev/null", &err), DS4_OK);
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_int_equal(gguf_open(&file, "/x/model-00002-of-00003.gguf", &err), DS4_ERR_ARGUMENT);
}

/* --- files on the disk: split sets (37), and files that change (38) ------------------------------------------------ */

static const char *scratch(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", TEST_SCRATCH, name);
    return path;
}

/* One part with one tensor; a negative number leaves its key out. */
static void write_part(const char *file_name, int no, int count, int total, const char *tensor)
{
    gguf_builder b = { 0 };
    size_t size;
    const uint64_t dims[] = { 16 };
    const struct {
        const char *key;
        int value;
    } keys[] = { { "split.no", no }, { "split.count", count }, { "split.tensors.count", total } };
    for (size_t i = 0; i < 3; i++) {
        const uint8_t value[4] = { (uint8_t)keys[i].value, (uint8_t)(keys[i].value >> 8) };
        if (keys[i].value >= 0)
            gb_raw(&b, keys[i].key, i < 2 ? GGUF_UINT16 : GGUF_INT32, value, i < 2 ? 2 : 4);
    }
    gb_tensor(&b, tensor, QUANT_F32, dims, 1, NULL, 64);
    char *bytes = gb_finish(&b, &size);
    test_write_file(scratch(file_name), bytes, size);
    free(bytes);
}

static void assert_set_refused(const char *words)
{
    gguf_file *file;
    ds4_error err = { 0 };
    assert_int_not_equal(gguf_open(&file, scratch("m-00001-of-00002.gguf"), &err), DS4_OK);
    if (!strstr(err.text, words))
        fail_msg("'%s' does not say '%s'", err.text, words);
}

static void split_sets_are_checked(void **state)
{
    gguf_file *file;
    ds4_error err = { 0 };
    (void)state;
    test_empty_folder(TEST_SCRATCH);
    write_part("m-00001-of-00002.gguf", 0, 2, 2, "a");
    assert_set_refused("part 2 of 2: cannot open: No such file");
    write_part("m-00002-of-00002.gguf", 1, 2, 2, "b");
    assert_int_equal(gguf_open(&file, scratch("m-00001-of-00002.gguf"), NULL), DS4_OK);
    assert_int_equal(gguf_n_parts(file), 2);
    assert_int_equal(gguf_n_tensors(file), 2);
    assert_int_equal(gguf_tensor_find(file, "b")->i_part, 1);
    gguf_close(file);
    write_part("m-00002-of-00002.gguf", 0, 2, 2, "b");
    assert_set_refused("part 2 of 2 says that it is number 1 of 2");
    write_part("m-00002-of-00002.gguf", 1, 3, 2, "b");
    assert_set_refused("part 2 of 2 says that it is number 2 of 3");
    write_part("m-00002-of-00002.gguf", -1, 2, 2, "b");
    assert_set_refused("metadata key 'split.no' is missing");
    write_part("m-00002-of-00002.gguf", 1, 2, 2, "a");
    assert_set_refused("part 2 of 2: tensor 'a' appears twice");
    write_part("m-00002-of-00002.gguf", 1, 2, 2, "b");
    write_part("m-00001-of-00002.gguf", 0, 2, 3, "a");
    assert_set_refused("the parts hold 2 tensors, but the model has 3");
    write_part("alone.gguf", 0, 2, 2, "a");
    assert_int_not_equal(gguf_open(&file, scratch("alone.gguf"), &err), DS4_OK);
    assert_non_null(strstr(err.text, "is one part of a split set"));
    test_write_file(scratch("m-00002-of-00002.gguf"), "GGUF", 4);
    write_part("m-00001-of-00002.gguf", 0, 2, 2, "a");
    assert_set_refused("part 2 of 2: too short to be a GGUF file");
}

static void a_file_that_changes_is_noticed(void **state) /* (38) */
{
    size_t size;
    char *bytes = good_file(&size);
    gguf_file *file;
    (void)state;
    test_empty_folder(TEST_SCRATCH);
    test_write_file(scratch("m.gguf"), bytes, size);
    assert_int_equal(gguf_open(&file, scratch("m.gguf"), NULL), DS4_OK);
    assert_true(gguf_still_whole(file));
    struct stat about; /* the same size, written a second or a nanosecond later */
    assert_int_equal(stat(scratch("m.gguf"), &about), 0);
    for (int i = 0; i < 3; i++) {
        const struct timespec times[2] = { about.st_atim,
                                           { about.st_mtim.tv_sec + (i == 0), about.st_mtim.tv_nsec ^ (i == 1) } };
        assert_int_equal(utimensat(AT_FDCWD, scratch("m.gguf"), times, 0), 0);
        assert_int_equal(gguf_still_whole(file), i == 2);
    }
    assert_int_equal(truncate(scratch("m.gguf"), (off_t)size - 1), 0);
    assert_false(gguf_still_whole(file));
    gguf_close(file);
    free(bytes);
}

/* What a terminal would obey, what ends a string early, and what is no character. */
static void names_are_shown_escaped(void **state)
{
    (void)state;
    char shown[GGUF_SHOW_BYTES];
    assert_string_equal(gguf_show(SLICE("a\x1b[2J\n'\\\x7f"), shown), "a\\x1b[2J\\x0a\\'\\\\\\x7f");
    assert_string_equal(gguf_show(SLICE("caf\xc3\xa9 \xc2\x9b \xff"), shown), "caf\xc3\xa9 \\xc2\\x9b \\xff");
    const slice good[] = { SLICE(""),
                           SLICE("caf\xc3\xa9"),
                           SLICE("\xe0\xa0\x80"),
                           SLICE("\xef\xbf\xbf"),
                           SLICE("\xf0\x90\x80\x80"),
                           SLICE("\xf4\x8f\xbf\xbf"),
                           SLICE("\xed\x9f\xbf") };
    const slice bad[] = { SLICE("\0"),
                          SLICE("\xc0\x80"),
                          SLICE("\xe0\x9f\xbf"),
                          SLICE("\xf0\x8f\xbf\xbf"),
                          SLICE("\xed\xa0\x80"),
                          SLICE("\xf4\x90\x80\x80"),
                          SLICE("\xc3"),
                          SLICE("\xe0\xa0"),
                          SLICE("\xe1\x80\x41"),
                          SLICE("\x80"),
                          SLICE("\xf5\x80\x80\x80") };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(gguf_utf8_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(gguf_utf8_valid(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_is_read),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_bit_can_be_flipped),
        cmocka_unit_test(the_fixed_part_is_checked),
        cmocka_unit_test(counts_have_limits),
        cmocka_unit_test(lengths_have_limits),
        cmocka_unit_test(metadata_is_checked),
        cmocka_unit_test(keys_are_checked),
        cmocka_unit_test(the_alignment_is_checked),
        cmocka_unit_test(a_cut_header_says_so),
        cmocka_unit_test(tensors_are_checked),
        cmocka_unit_test(tensors_stay_inside_and_apart),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(split_sets_are_checked),
        cmocka_unit_test(a_file_that_changes_is_noticed),
        cmocka_unit_test(names_are_shown_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
