/* What a store keeps of a state: out, in again, and everything that must be refused on the way. Also what happens to a state whose
 * values are not finite: it is the only way a fault of the arithmetic shows. */
#include "model/model.h"
#include "quant/quant.h"
#include "support/support.h"
#include "support/tiny_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 100, SICK = 5 /* a token whose embedding is not finite, in the second model */ };

static const char *const healthy = TEST_SCRATCH "/healthy.gguf", *const sick = TEST_SCRATCH "/sick.gguf";
static uint32_t tokens[N];

static int write_models(void **state)
{
    test_random dice = test_random_seeded(3);
    gguf_file *file;
    size_t size;
    (void)state;
    test_empty_folder(TEST_SCRATCH);
    tiny_model_write(healthy, 1);
    char *bytes = test_read_file(healthy, &size);
    assert_int_equal(gguf_open(&file, healthy, NULL), DS4_OK);
    const gguf_tensor *embed = gguf_tensor_find(file, "token_embd.weight");
    const float infinite = INFINITY;
    memcpy(bytes + embed->offset + SICK * embed->row_bytes + 4, &infinite, sizeof infinite);
    test_write_file(sick, bytes, size);
    gguf_close(file);
    free(bytes);
    for (uint32_t i = 0; i < N; i++)
        tokens[i] = SICK + 1 + test_random_below(&dice, TINY_VOCAB - SICK - 1);
    return 0;
}

static model *open_model(const char *path)
{
    model *m;
    const model_options options = model_options_default();
    assert_int_equal(model_open(&m, path, &options, NULL), DS4_OK);
    return m;
}

static model_state *new_state(model *m)
{
    model_state *s;
    assert_int_equal(model_state_new(&s, m, TINY_CTX, NULL), DS4_OK);
    return s;
}

/* Feeds `n` tokens from `first` on; the logits of the last. */
static void feed(model *m, model_state *s, uint32_t first, uint32_t n, float *logits)
{
    model_slice one = { .state = s,
                        .tokens = tokens + first,
                        .n_tokens = n,
                        .want = logits ? MODEL_LOGITS_LAST : MODEL_LOGITS_NONE,
                        .logits = logits };
    assert_int_equal(model_forward(m, &one, 1, NULL), DS4_OK);
    assert_int_equal(one.status, DS4_OK);
}

typedef struct image {
    uint8_t *parts[MODEL_N_PARTS];
    size_t sizes[MODEL_N_PARTS];
    uint32_t n;
} image;

static image export_all(const model *m, const model_state *s)
{
    image out = { .n = model_state_length(s) };
    for (int part = 0; part < MODEL_N_PARTS; part++) {
        out.sizes[part] = model_part_bytes(m, (model_part)part, 0, out.n);
        out.parts[part] = malloc(out.sizes[part] + 1);
        assert_int_equal(model_state_export(s, (model_part)part, 0, out.n, out.parts[part], out.sizes[part], NULL),
                         DS4_OK);
    }
    return out;
}

static void image_free(image *i)
{
    for (int part = 0; part < MODEL_N_PARTS; part++)
        free(i->parts[part]);
}

static ds4_status import_part(model_state *s, const image *i, int part)
{
    return model_state_import(s, (model_part)part, 0, i->n, i->parts[part], i->sizes[part], NULL);
}

static void assert_same_image(const image *a, const image *b)
{
    assert_int_equal(a->n, b->n);
    for (int part = 0; part < MODEL_N_PARTS; part++) {
        assert_int_equal(a->sizes[part], b->sizes[part]);
        assert_memory_equal(a->parts[part], b->parts[part], a->sizes[part]);
    }
}

static bool can_be_computed_on(model *m, model_state *s)
{
    model_slice one = { .state = s, .tokens = tokens, .n_tokens = 1 };
    return model_forward(m, &one, 1, NULL) == DS4_OK;
}

static void a_restored_state_goes_on_as_if_it_had_never_been_away(void **state)
{
    model *m = open_model(healthy);
    (void)state;
    for (uint32_t n = 1; n < N - 10; n += n < 30 ? 1 : 13) {
        model_state *first = new_state(m), *second = new_state(m);
        float a[TINY_VOCAB], b[TINY_VOCAB];
        feed(m, first, 0, n, NULL);
        image saved = export_all(m, first);
        for (int part = 0; part < MODEL_N_PARTS; part++)
            assert_int_equal(import_part(second, &saved, part), DS4_OK);
        assert_int_equal(model_state_commit(second, n, NULL), DS4_OK);
        image again = export_all(m, second);
        assert_same_image(&saved, &again);
        if (n > 1) /* what was restored cannot be taken back: the rings hold no more */
            assert_int_equal(model_state_rewind(second, n - 1, NULL), DS4_ERR_UNSUPPORTED);
        feed(m, first, n, 10, a);
        feed(m, second, n, 10, b);
        assert_memory_equal(a, b, sizeof a);
        image_free(&saved);
        image_free(&again);
        model_state_free(first);
        model_state_free(second);
    }
    model_close(m);
}

/* Four bytes of a part that no healthy state has, at its beginning, in the middle or at its end: a value that is not finite,
 * or in packed rows a code or scale that stands for none. */
static uint8_t *spoil(const model *m, model_part part, const image *saved, size_t i, uint8_t kept[4])
{
    const float bad[] = { NAN, INFINITY, -INFINITY };
    const size_t size = saved->sizes[part], places[] = { 0, size / 8 * 4, size - 4 };
    uint8_t *at = saved->parts[part] + places[i];
    const bool packed = !model_part_is_f32(m, part);
    if (packed && part == MODEL_INDEX_ROWS) /* a row ends with its scales */
        at = saved->parts[part] + (i == 2 ? size : quant_packed_index_bytes(model_config_of(m)->index_dim)) - 4;
    memcpy(kept, at, 4);
    memcpy(at, &bad[i], 4);
    if (packed)
        memset(at, 0xff, 4);
    return at;
}

static void check_spoiled_parts(model_row_format rows)
{
    model_options options = model_options_default();
    model *m;
    options.rows = rows;
    assert_int_equal(model_open(&m, healthy, &options, NULL), DS4_OK);
    assert_int_equal(model_config_of(m)->row_format, rows);
    model_state *s = new_state(m);
    feed(m, s, 0, N - 1, NULL);
    image saved = export_all(m, s);
    for (int part = 0; part < MODEL_N_PARTS; part++)
        for (size_t i = 0; i < 3 && saved.sizes[part]; i++) {
            uint8_t kept[4], *at = spoil(m, (model_part)part, &saved, i, kept);
            model_state_reset(s);
            assert_int_equal(import_part(s, &saved, part), DS4_ERR_STATE_BAD);
            assert_false(can_be_computed_on(m, s));
            memcpy(at, kept, 4);
        }
    model_state_reset(s);
    assert_true(can_be_computed_on(m, s));
    image_free(&saved);
    model_state_free(s);
    model_close(m);
}

static void a_value_that_is_not_finite_is_refused_in_every_part(void **state)
{
    (void)state;
    check_spoiled_parts(MODEL_ROWS_F32);
    check_spoiled_parts(MODEL_ROWS_PACKED);
}

static void a_state_that_lacks_a_part_is_none(void **state)
{
    model *m = open_model(healthy);
    model_state *s = new_state(m);
    (void)state;
    feed(m, s, 0, N - 1, NULL); /* every part has something at this length */
    image saved = export_all(m, s);
    for (int missing = 0; missing < MODEL_N_PARTS; missing++) {
        assert_true(saved.sizes[missing] > 0);
        model_state_reset(s);
        for (int part = 0; part < MODEL_N_PARTS; part++)
            if (part != missing)
                assert_int_equal(import_part(s, &saved, part), DS4_OK);
        assert_false(can_be_computed_on(m, s)); /* nor before it is committed */
        assert_int_equal(model_state_commit(s, saved.n, NULL), DS4_ERR_ARGUMENT);
        assert_int_equal(model_state_length(s), 0);
    }
    image_free(&saved);
    model_state_free(s);
    model_close(m);
}

static void rows_come_in_order_and_in_their_size(void **state)
{
    model *m = open_model(healthy);
    model_state *s = new_state(m);
    (void)state;
    feed(m, s, 0, 96, NULL);
    const size_t size = model_part_bytes(m, MODEL_CSA_ROWS, 48, 96);
    uint8_t *bytes = malloc(size + 4);
    assert_int_equal(model_state_export(s, MODEL_CSA_ROWS, 48, 96, bytes, size, NULL), DS4_OK);
    assert_int_equal(model_state_export(s, MODEL_CSA_ROWS, 48, 97, bytes, size, NULL), DS4_ERR_ARGUMENT);
    assert_int_equal(model_state_import(s, MODEL_CSA_ROWS, 48, 96, bytes, size, NULL),
                     DS4_ERR_ARGUMENT); /* not reset */
    model_state_reset(s);
    assert_int_equal(model_state_import(s, MODEL_CSA_ROWS, 48, 96, bytes, size, NULL), DS4_ERR_ARGUMENT); /* a gap */
    assert_int_equal(model_state_import(s, MODEL_CSA_ROWS, 0, 48, bytes, size + 4, NULL), DS4_ERR_ARGUMENT);
    assert_int_equal(model_state_import(s, MODEL_CSA_ROWS, 0, 48, bytes, size, NULL), DS4_OK);
    assert_int_equal(model_state_import(s, MODEL_CSA_ROWS, 0, 48, bytes, size, NULL), DS4_ERR_ARGUMENT); /* twice */
    free(bytes);
    model_state_free(s);
    model_close(m);
}

/* Of two sequences in a batch only the one whose values are not finite is bad, and it stays so until it is reset. */
static void values_that_are_not_finite_make_their_own_state_bad(void **state)
{
    model *m = open_model(sick);
    model_state *good = new_state(m), *bad = new_state(m);
    const uint32_t fault = SICK;
    (void)state;
    for (int logits = 0; logits < 2; logits++) {
        float rows[2][TINY_VOCAB];
        model_slice slices[2] = { { .state = good, .tokens = tokens, .n_tokens = 3, .logits = rows[0] },
                                  { .state = bad, .tokens = &fault, .n_tokens = 1, .logits = rows[1] } };
        slices[0].want = slices[1].want = logits ? MODEL_LOGITS_LAST : MODEL_LOGITS_NONE;
        assert_int_equal(model_forward(m, slices, 2, NULL), DS4_OK);
        assert_int_equal(slices[0].status, DS4_OK);
        assert_int_equal(slices[1].status, DS4_ERR_STATE_BAD);
        assert_true(can_be_computed_on(m, good));
        assert_false(can_be_computed_on(m, bad));
        assert_int_equal(model_state_rewind(bad, 0, NULL), DS4_ERR_UNSUPPORTED);
        model_state_reset(bad);
        assert_true(can_be_computed_on(m, bad));
        model_state_reset(bad);
    }
    model_state_free(good);
    model_state_free(bad);
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restored_state_goes_on_as_if_it_had_never_been_away),
        cmocka_unit_test(a_value_that_is_not_finite_is_refused_in_every_part),
        cmocka_unit_test(a_state_that_lacks_a_part_is_none),
        cmocka_unit_test(rows_come_in_order_and_in_their_size),
        cmocka_unit_test(values_that_are_not_finite_make_their_own_state_bad),
    };
    return cmocka_run_group_tests(tests, write_models, NULL);
}
