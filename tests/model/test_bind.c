/* Tensors: checks 22, 30, 31, 32, 35 and 36 of docs/spec/weights.md; (3) to (6) of docs/spec/model.md, section 13.3. */
#include "backend/cpu/cpu.h"
#include "one_change.h"
#include "quant/quant.h"

#include <math.h>

/* Tests that look into a weight as the processor's backend keeps it. */
static void skip_on_a_device(void)
{
#ifdef TEST_MOCK_DEVICE
    skip();
#endif
}

static const char *name_of(const gguf_tensor *t)
{
    static char name[64];
    snprintf(name, sizeof name, "%.*s", (int)t->name.size, t->name.data);
    return name;
}

/* (22), (30), (31); 13.3 (3): for each tensor in turn. */
static void every_tensor_must_be_there_in_its_shape_and_type(void **state)
{
    char words[160];
    (void)state;
    for (uint64_t i = 0; i < gguf_n_tensors(tiny); i++) {
        const gguf_tensor *t = gguf_tensor_at(tiny, i);
        const char *name = name_of(t);
        uint64_t dims[4] = { t->dims[0], t->dims[1], t->dims[2], 1 };
        const bool table = t->type == QUANT_I32;
        model_change c = { .tensor = name };
        snprintf(words, sizeof words, "tensor '%s' is missing", name);
        assert_refused(&c, words);
        c.new_tensor.type = table ? QUANT_F32 : QUANT_I32;
        c.new_tensor.dims = dims;
        c.new_tensor.n_dims = t->n_dims;
        c.new_tensor.n_bytes = t->n_bytes;
        snprintf(words, sizeof words, "tensor '%s' is %s; expected %s", name, table ? "F32" : "I32",
                 table ? "I32" : "one of F32, F16, BF16, Q8_0");
        assert_refused(&c, words);
        c.new_tensor.type = t->type;
        dims[t->n_dims - 1]++;
        c.new_tensor.n_bytes = dims[0] * dims[1] * dims[2] * 4;
        snprintf(words, sizeof words, "tensor '%s' is %ux%ux%u, the metadata says %ux%ux%u", name, (unsigned)dims[0],
                 (unsigned)dims[1], (unsigned)dims[2], (unsigned)t->dims[0], (unsigned)t->dims[1],
                 (unsigned)t->dims[2]);
        assert_refused(&c, words);
    }
}

/* (30): how much more is missing. */
static void missing_tensors_are_counted(void **state)
{
    const uint32_t more = 5;
    (void)state;
    assert_refused(
        &(model_change){ .key = "deepseek4.hash_layer_count", .type = GGUF_UINT32, .bytes = &more, .n_bytes = 4 },
        "tensor 'blk.1.ffn_gate_tid2eid.weight' is missing, and 3 more");
}

/* (36); 13.3 (6). */
static void vectors_must_be_finite(void **state)
{
    static const char *const suffixes[] = { "norm.weight",  "sinks.weight", "base.weight",
                                            "scale.weight", "bias",         "ape.weight" };
    const float bad[] = { NAN, INFINITY, -INFINITY };
    char words[128];
    size_t n = 0;
    (void)state;
    for (uint64_t i = 0; i < gguf_n_tensors(tiny); i++) {
        const gguf_tensor *t = gguf_tensor_at(tiny, i);
        const char *name = name_of(t);
        bool vector = false;
        for (size_t k = 0; k < sizeof suffixes / sizeof suffixes[0]; k++) {
            const size_t size = strlen(suffixes[k]);
            vector = vector || strcmp(name + strlen(name) - size, suffixes[k]) == 0;
        }
        if (!vector)
            continue;
        float *data = malloc(t->n_bytes);
        memcpy(data, t->data, t->n_bytes);
        data[t->n_values - 1] = bad[n++ % 3];
        snprintf(words, sizeof words, "tensor '%s' contains a non-finite value", name);
        assert_refused(
            &(model_change){ .tensor = name, .new_tensor = { QUANT_F32, t->n_dims, t->dims, data, t->n_bytes } },
            words);
        free(data);
    }
    assert_true(n > 60);
}

/* (35); 13.3 (5). */
static void expert_tables_hold_experts(void **state)
{
    const gguf_tensor *t = gguf_tensor_find(tiny, "blk.0.ffn_gate_tid2eid.weight");
    int32_t *table = malloc(t->n_bytes);
    const model_change c = { .tensor = "blk.0.ffn_gate_tid2eid.weight",
                             .new_tensor = { QUANT_I32, t->n_dims, t->dims, table, t->n_bytes } };
    (void)state;
    memcpy(table, t->data, t->n_bytes);
    table[t->n_values - 1] = 4;
    assert_refused(&c, "layer 0: expert table has id 4");
    table[t->n_values - 1] = -1;
    assert_refused(&c, "layer 0: expert table has id -1");
    table[t->n_values - 1] = 3;
    assert_accepted(&c);
    free(table);
}

/* (32); 13.3 (4). */
static void gate_and_up_have_one_type(void **state)
{
    const gguf_tensor *t = gguf_tensor_find(tiny, "blk.2.ffn_up_exps.weight"),
                      *shared = gguf_tensor_find(tiny, "blk.2.ffn_gate_shexp.weight");
    (void)state;
    assert_refused(&(model_change){ .tensor = "blk.2.ffn_up_exps.weight",
                                    .new_tensor = { QUANT_F16, 3, t->dims, NULL, t->n_bytes / 2 } },
                   "layer 2: gate and up experts have different types (F32 and F16)");
    assert_refused(&(model_change){ .tensor = "blk.2.ffn_gate_shexp.weight",
                                    .new_tensor = { QUANT_F16, 2, shared->dims, NULL, shared->n_bytes / 2 } },
                   "layer 2: gate and up of the shared expert have different types (F16 and F32)");
}

/* 13.3 (3): layer 0 is of ratio 0, layer 2 of ratio 8. */
static void tensors_of_another_kind_of_layer_are_refused(void **state)
{
    static const char *const compressor[] = { "attn_compressor_kv.weight", "attn_compressor_gate.weight",
                                              "attn_compressor_ape.weight", "attn_compressor_norm.weight" },
                             *const index[] = { "indexer.attn_q_b.weight",       "indexer.proj.weight",
                                                "indexer_compressor_kv.weight",  "indexer_compressor_gate.weight",
                                                "indexer_compressor_ape.weight", "indexer_compressor_norm.weight" };
    char name[64], words[128];
    (void)state;
    for (size_t i = 0; i < 4 + 6 + 6; i++) {
        const unsigned layer = i < 10 ? 0 : 2;
        const char *suffix = i < 4 ? compressor[i] : index[(i - 4) % 6];
        snprintf(name, sizeof name, "blk.%u.%s", layer, suffix);
        snprintf(words, sizeof words, "tensor '%s' does not belong in a layer of compression ratio %u", name,
                 layer ? 8 : 0);
        assert_refused(&(model_change){ .tensor = name, .new_tensor = { QUANT_F32, 1, (uint64_t[]){ 4 }, NULL, 16 } },
                       words);
    }
}

/* --- what is accepted --------------------------------------------------------------------------------------------------- */

/* Matrices stay where the file is mapped. */
static void weights_are_not_copied(void **state)
{
    model_options o = model_options_default();
    model *m;
    (void)state;
    skip_on_a_device();
    assert_int_equal(model_open(&m, TEST_SCRATCH "/tiny.gguf", &o, NULL), DS4_OK);
    const struct {
        const char *name;
        const uint8_t *data;
    } bound[] = { { "token_embd.weight", m->embed->data },
                  { "output.weight", m->output->data },
                  { "blk.1.attn_q_b.weight", m->layers[1].q_b->data },
                  { "blk.1.attn_compressor_gate.weight", m->layers[1].attention.gate->data },
                  { "blk.3.hc_ffn_fn.weight", m->layers[3].hc_ffn.fn->data },
                  { "blk.5.ffn_down_exps.weight", m->layers[5].down->data },
                  { "blk.0.ffn_gate_tid2eid.weight", m->layers[0].table->data } };
    for (size_t i = 0; i < sizeof bound / sizeof bound[0]; i++)
        assert_ptr_equal(bound[i].data, gguf_tensor_find(model_gguf(m), bound[i].name)->data);
    model_close(m);
}

/* 13.2: any float type for any float tensor; the values are exactly those of the file. */
static void sixteen_bit_floats_may_stand_anywhere(void **state)
{
    skip_on_a_device();
    const uint32_t kinds[] = { QUANT_F16, QUANT_BF16 };
    const uint32_t tokens[] = { 5, 77, 200, 13, 5, 9, 100, 3, 3, 250 };
    const model_options o = model_options_parity();
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        model *m;
        char *bytes;
        model_state *s;
        float logits[TINY_VOCAB];
        assert_int_equal(open_changed(&(model_change){ .narrow_to = kinds[k] }, &o, &m, &bytes, NULL), DS4_OK);
        assert_int_equal(model_state_new(&s, m, 10, NULL), DS4_OK);
        model_slice batch = {
            .state = s, .tokens = tokens, .n_tokens = 10, .want = MODEL_LOGITS_LAST, .logits = logits
        };
        assert_int_equal(model_forward(m, &batch, 1, NULL), DS4_OK);
        assert_int_equal(batch.status, DS4_OK);
        const uint8_t *raw = gguf_tensor_find(model_gguf(m), "blk.2.attn_compressor_ape.weight")->data;
        for (size_t i = 0; i < 32; i++) {
            const uint16_t h = (uint16_t)(raw[2 * i] | raw[2 * i + 1] << 8);
            assert_float_equal(cpu_values(m->layers[2].attention.bias)[i],
                               kinds[k] == QUANT_F16 ? quant_f16_to_f32(h) : quant_bf16_to_f32(h), 0.0f);
        }
        model_state_free(s);
        model_close(m);
        free(bytes);
    }
}

/* Matrices are too large to be checked at every start: what is not finite in them is noticed where it comes out. */
static void logits_that_are_not_finite_condemn_the_state(void **state)
{
    const gguf_tensor *t = gguf_tensor_find(tiny, "output.weight");
    float *data = malloc(t->n_bytes), logits[TINY_VOCAB];
    const uint32_t tokens[] = { 5, 77, 200 };
    const model_options o = model_options_default();
    model *m;
    model_state *s;
    char *bytes;
    (void)state;
    memcpy(data, t->data, t->n_bytes);
    data[17 * t->dims[0]] = INFINITY; /* one logit; the streams do not see it */
    assert_int_equal(open_changed(&(model_change){ .tensor = "output.weight",
                                                   .new_tensor = { QUANT_F32, 2, t->dims, data, t->n_bytes } },
                                  &o, &m, &bytes, NULL),
                     DS4_OK);
    assert_int_equal(model_state_new(&s, m, 10, NULL), DS4_OK);
    model_slice batch = { .state = s, .tokens = tokens, .n_tokens = 3 };
    assert_int_equal(model_forward(m, &batch, 1, NULL), DS4_OK);
    assert_int_equal(batch.status, DS4_OK); /* nobody looked */
    model_state_reset(s);
    batch.want = MODEL_LOGITS_LAST;
    batch.logits = logits;
    assert_int_equal(model_forward(m, &batch, 1, NULL), DS4_OK);
    assert_int_equal(batch.status, DS4_ERR_STATE_BAD);
    assert_int_equal(model_forward(m, &batch, 1, NULL), DS4_ERR_ARGUMENT); /* must be reset first */
    model_state_free(s);
    model_close(m);
    free(bytes);
    free(data);
}

/* A step without logits looks at the streams. */
static void streams_that_are_not_finite_condemn_the_state(void **state)
{
    const gguf_tensor *t = gguf_tensor_find(tiny, "token_embd.weight");
    float *data = malloc(t->n_bytes);
    const uint32_t tokens[] = { 5, 77, 200 }, others[] = { 5, 78, 200 };
    const model_options o = model_options_default();
    model *m;
    model_state *s, *beside;
    char *bytes;
    (void)state;
    memcpy(data, t->data, t->n_bytes);
    data[77 * t->dims[0] + 3] = NAN;
    assert_int_equal(open_changed(&(model_change){ .tensor = "token_embd.weight",
                                                   .new_tensor = { QUANT_F32, 2, t->dims, data, t->n_bytes } },
                                  &o, &m, &bytes, NULL),
                     DS4_OK);
    assert_int_equal(model_state_new(&s, m, 10, NULL), DS4_OK);
    assert_int_equal(model_state_new(&beside, m, 10, NULL), DS4_OK);
    model_slice batch[] = { { .state = s, .tokens = tokens, .n_tokens = 3 },
                            { .state = beside, .tokens = others, .n_tokens = 3 } };
    assert_int_equal(model_forward(m, batch, 2, NULL), DS4_OK);
    assert_int_equal(batch[0].status, DS4_ERR_STATE_BAD);
    assert_int_equal(batch[1].status, DS4_OK);
    model_state_free(s);
    model_state_free(beside);
    model_close(m);
    free(bytes);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tensor_must_be_there_in_its_shape_and_type),
        cmocka_unit_test(missing_tensors_are_counted),
        cmocka_unit_test(vectors_must_be_finite),
        cmocka_unit_test(expert_tables_hold_experts),
        cmocka_unit_test(gate_and_up_have_one_type),
        cmocka_unit_test(tensors_of_another_kind_of_layer_are_refused),
        cmocka_unit_test(weights_are_not_copied),
        cmocka_unit_test(sixteen_bit_floats_may_stand_anywhere),
        cmocka_unit_test(logits_that_are_not_finite_condemn_the_state),
        cmocka_unit_test(streams_that_are_not_finite_condemn_the_state),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
