/* Hostile model files: each check of weights specification 1.4, and its words. */
#include "gguf/gguf.h"
#include "support/gguf_builder.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    gb_tensor(&b, "first", GGUF_F32, (uint64_t[]){ 3, 2 }, 2, data, sizeof data);
    gb_tensor(&b, "second", GGUF_Q8_0, (uint64_t[]){ 32 }, 1, NULL, 34);
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

static void the_magic_has_hints(void **state)
{
    (void)state;
    assert_refused("GGUF", 4, "too short to be a GGUF file (4 bytes)");
    assert_refused("version https://git-lfs.github.com/spec/v1", 42, "Git LFS pointer");
    assert_refused("<html><head><title>404 Not Found</title>", 40, "HTML error page");
    assert_refused("PK\3\4aaaaaaaaaaaaaaaaaaaaaaaaaa", 30, "zip archive");
    assert_refused("GGUF\0\0\0\3................", 24, "big-endian GGUF is not supported");
    assert_refused("GGUF\2\0\0\0................", 24, "GGUF version 2 is not supported (need 3)");
    assert_refused("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\377\377\377\377\0\0\0\0", 24,
                   "metadata entries, impossible for a file of 24 bytes");
    assert_refused("GGUF\3\0\0\0\377\377\377\377\377\377\377\377\0\0\0\0\0\0\0\0", 24,
                   "tensors, impossible for a file of 24 bytes");
}

static void metadata_is_checked(void **state)
{
    gguf_builder b = { 0 };
    const uint8_t array_of_arrays[] = { 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0 };
    const uint8_t huge_array[] = { 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0 };
    const uint8_t huge_string[] = { 0, 0, 0, 0, 0, 1, 0, 0 };
    (void)state;
    gb_u32(&b, "k", 1);
    gb_u32(&b, "k", 2);
    assert_builder_refused(&b, "metadata key 'k' appears twice");
    gb_raw(&b, "k", 13, "", 0);
    gb_u32(&b, "fill", 1);
    assert_builder_refused(&b, "metadata key 'k' has unknown type 13");
    gb_raw(&b, "k", 9, array_of_arrays, sizeof array_of_arrays);
    gb_u32(&b, "fill", 1);
    assert_builder_refused(&b, "arrays of arrays");
    gb_raw(&b, "k", 9, huge_array, sizeof huge_array);
    gb_u32(&b, "fill", 1);
    assert_builder_refused(&b, "elements, more than the file holds");
    gb_raw(&b, "k", 8, huge_string, sizeof huge_string);
    gb_u32(&b, "fill", 1);
    assert_builder_refused(&b, "runs past the end of the file");
    gb_raw(&b, "k", 7, "\2", 1);
    gb_u32(&b, "fill", 1);
    assert_builder_refused(&b, "metadata key 'k' is not a valid boolean");
    gb_u32(&b, "bad\nkey", 1);
    assert_builder_refused(&b, "bad metadata key in entry 0");
    gb_u32(&b, "general.alignment", 24);
    assert_builder_refused(&b, "alignment 24 is not a power of two between 8 and 65536");
}

static void tensors_are_checked(void **state)
{
    gguf_builder b = { 0 };
    const uint64_t dims[] = { 4, 4, 1, 1, 1 };
    const float data[16] = { 0 };
    (void)state;
    gb_tensor(&b, "t", GGUF_F32, dims, 2, data, sizeof data);
    gb_tensor(&b, "t", GGUF_F32, dims, 2, data, sizeof data);
    assert_builder_refused(&b, "tensor 't' appears twice");
    gb_tensor(&b, "", GGUF_F32, dims, 2, data, sizeof data);
    assert_builder_refused(&b, "has a bad name");
    gb_tensor(&b, "t", GGUF_F32, dims, 5, data, sizeof data);
    assert_builder_refused(&b, "tensor 't' has 5 dimensions");
    gb_tensor(&b, "t", GGUF_F32, (uint64_t[]){ 0 }, 1, data, sizeof data);
    assert_builder_refused(&b, "tensor 't' is empty");
    gb_tensor(&b, "t", GGUF_F32, (uint64_t[]){ UINT64_C(1) << 40, UINT64_C(1) << 40 }, 2, data, sizeof data);
    assert_builder_refused(&b, "tensor 't' is too large");
    gb_tensor(&b, "t", 31, dims, 2, data, sizeof data);
    assert_builder_refused(&b, "uses type 31, which this program does not know");
    gb_tensor(&b, "t", GGUF_Q8_0, (uint64_t[]){ 33 }, 1, data, sizeof data);
    assert_builder_refused(&b, "row of 33 values is not a multiple of 32 (Q8_0)");
    gb_tensor(&b, "t", GGUF_F32, (uint64_t[]){ 1000 }, 1, data, sizeof data);
    assert_builder_refused(&b, "tensor 't' lies outside the file");
}

static void files_that_are_none(void **state)
{
    gguf_file *file;
    ds4_error err = { 0 };
    (void)state;
    assert_int_equal(gguf_open(&file, "/nonexistent/model.gguf", &err), DS4_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "cannot open"));
    assert_int_not_equal(gguf_open(&file, "/tmp", &err), DS4_OK);
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_int_equal(gguf_open(&file, "/x/model-00002-of-00003.gguf", &err), DS4_ERR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_is_read),      cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_bit_can_be_flipped), cmocka_unit_test(the_magic_has_hints),
        cmocka_unit_test(metadata_is_checked),      cmocka_unit_test(tensors_are_checked),
        cmocka_unit_test(files_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
