/* Hyper-parameters: checks 28, 29, 33 and 34 of docs/spec/weights.md; (1), (2), (7), (8) of docs/spec/model.md,
 * section 13.3. */
#include "one_change.h"

#include <math.h>

#define P "deepseek4."

/* A second change on top of what `with` and `without` bracket: `tiny` is the changed file meanwhile. */
static struct {
    gguf_file *before;
    char *bytes;
} outer;

static void with(const model_change *c)
{
    size_t size;
    outer.before = tiny;
    outer.bytes = changed_model(tiny, c, &size);
    assert_int_equal(gguf_open_bytes(&tiny, outer.bytes, size, NULL), DS4_OK);
}

static void without(void)
{
    gguf_close(tiny);
    free(outer.bytes);
    tiny = outer.before;
}

static const char *const u32_keys[] = { P "block_count",
                                        P "embedding_length",
                                        P "vocab_size",
                                        P "attention.head_count",
                                        P "attention.head_count_kv",
                                        P "attention.key_length",
                                        P "attention.value_length",
                                        P "attention.q_lora_rank",
                                        P "attention.output_lora_rank",
                                        P "attention.output_group_count",
                                        P "attention.sliding_window",
                                        P "attention.indexer.head_count",
                                        P "attention.indexer.key_length",
                                        P "attention.indexer.top_k",
                                        P "rope.dimension_count",
                                        P "expert_count",
                                        P "expert_used_count",
                                        P "expert_shared_count",
                                        P "expert_feed_forward_length",
                                        P "hash_layer_count",
                                        P "hyper_connection.count",
                                        P "hyper_connection.sinkhorn_iterations" };
static const char *const f32_keys[] = { P "attention.layer_norm_rms_epsilon", P "hyper_connection.epsilon",
                                        P "expert_weights_scale", P "rope.freq_base",
                                        P "attention.compress_rope_freq_base" };
static const char *const other_keys[] = { "general.architecture", P "expert_weights_norm",
                                          P "attention.compress_ratios", P "swiglu_clamp_exp",
                                          "tokenizer.ggml.tokens" };
enum { N_U32 = sizeof u32_keys / sizeof u32_keys[0], N_F32 = sizeof f32_keys / sizeof f32_keys[0] };

/* (28), (29); 13.3 (1). */
static void every_key_must_be_there(void **state)
{
    const char *const *const lists[] = { u32_keys, f32_keys, other_keys };
    const size_t sizes[] = { N_U32, N_F32, sizeof other_keys / sizeof other_keys[0] };
    char words[128];
    (void)state;
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < sizes[k]; i++) {
            snprintf(words, sizeof words, "metadata key '%s' is missing", lists[k][i]);
            assert_refused(&(model_change){ .key = lists[k][i] }, words);
        }
}

static void every_key_has_a_type_and_a_range(void **state)
{
    char words[128];
    (void)state;
    for (size_t i = 0; i < N_U32; i++) {
        const uint32_t huge = 0xffffffff;
        snprintf(words, sizeof words, "metadata key '%s' = 4294967295, supported range ", u32_keys[i]);
        assert_refused(&(model_change){ .key = u32_keys[i], .type = GGUF_UINT32, .bytes = &huge, .n_bytes = 4 }, words);
        snprintf(words, sizeof words, "metadata key '%s' = -1, supported range ", u32_keys[i]);
        assert_refused(&(model_change){ .key = u32_keys[i], .type = GGUF_INT32, .bytes = &huge, .n_bytes = 4 }, words);
        const float one = 1.0f;
        snprintf(words, sizeof words, "metadata key '%s' has type float32, expected an integer", u32_keys[i]);
        assert_refused(&(model_change){ .key = u32_keys[i], .type = GGUF_FLOAT32, .bytes = &one, .n_bytes = 4 }, words);
    }
    for (size_t i = 0; i < N_F32; i++) {
        const float bad[] = { 0.0f, -1.0f, INFINITY, NAN };
        snprintf(words, sizeof words, "metadata key '%s' = ", f32_keys[i]);
        for (size_t k = 0; k < 4; k++)
            assert_refused(&(model_change){ .key = f32_keys[i], .type = GGUF_FLOAT32, .bytes = &bad[k], .n_bytes = 4 },
                           words);
        const uint32_t one = 1;
        snprintf(words, sizeof words, "metadata key '%s' has type uint32, expected a float", f32_keys[i]);
        assert_refused(&(model_change){ .key = f32_keys[i], .type = GGUF_UINT32, .bytes = &one, .n_bytes = 4 }, words);
    }
}

typedef struct u32_case {
    const char *key;
    uint32_t value;
    const char *words;
} u32_case;

/* (29), (34); 13.3 (1), (7), (8). */
static void keys_must_fit_each_other(void **state)
{
    const u32_case cases[] = {
        { P "attention.head_count", 0, "head_count' = 0, supported range 1.." },
        { P "attention.output_group_count", 0, "output_group_count' = 0, supported range 1.." },
        { P "attention.output_group_count", 3, "metadata: 3 output groups do not divide 4 heads" },
        { P "attention.head_count_kv", 4, "head_count_kv' = 4, supported range 1..1" },
        { P "attention.value_length", 16, "value_length' = 16, supported range 72..72" },
        { P "attention.sliding_window", 1, "sliding_window' = 1, supported range 2.." },
        { P "attention.indexer.top_k", 0, "top_k' = 0, supported range 1.." },
        { P "rope.dimension_count", 7, "rope.dimension_count 7 must be even" },
        { P "rope.dimension_count", 34, "rope.dimension_count 34 must be even and fit in heads of 72" },
        { P "attention.indexer.key_length", 4, "and indexer heads of 4" },
        { P "attention.indexer.key_length", 48, "indexer heads of 48 values cannot be rounded officially" },
        { P "attention.indexer.key_length", 16, "indexer heads of 16 values cannot be rounded officially" },
        { P "expert_used_count", 0, "expert_used_count' = 0, supported range 1.." },
        { P "expert_used_count", 5, "metadata: 5 experts used of 4" },
        { P "expert_shared_count", 2, "expert_shared_count' = 2, supported range 1..1" },
        { P "expert_gating_func", 2, "expert_gating_func' = 2, supported range 4..4" },
        { P "expert_group_count", 8, "expert_group_count' = 8, supported range 0..1" },
        { P "hash_layer_count", 7, "metadata: 7 hash layers of 6 layers" },
        { P "hyper_connection.count", 0, "hyper_connection.count' = 0, supported range 1..16" },
        { P "hyper_connection.count", 17, "hyper_connection.count' = 17, supported range 1..16" },
        { P "hyper_connection.sinkhorn_iterations", 0, "sinkhorn_iterations' = 0, supported range 1.." },
        { P "vocab_size", TINY_VOCAB + 1, "metadata: vocab_size 289 is not the number of tokens, 288" },
        { P "block_count", 7, "attention.compress_ratios: 6 entries for 7 layers" },
        { P "nextn_predict_layers", 17, "nextn_predict_layers' = 17, supported range 0..16" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(
            &(model_change){ .key = cases[i].key, .type = GGUF_UINT32, .bytes = &cases[i].value, .n_bytes = 4 },
            cases[i].words);
    assert_refused(
        &(model_change){
            .key = "general.architecture", .type = GGUF_STRING, .bytes = "\5\0\0\0\0\0\0\0llama", .n_bytes = 13 },
        "is a 'llama' model; this program runs deepseek4 (DeepSeek V4)");
    assert_refused(&(model_change){ .key = P "expert_weights_norm", .type = GGUF_BOOL, .bytes = "", .n_bytes = 1 },
                   "expert_weights_norm' is false, supported is true");
    const float one = 1.0f;
    assert_refused(&(model_change){ .key = P "rope.freq_base", .type = GGUF_FLOAT32, .bytes = &one, .n_bytes = 4 },
                   "rope.freq_base' = 1, supported range above 1");
}

/* (33); 13.3 (2). */
static void lists_have_an_entry_for_every_layer(void **state)
{
    struct {
        uint32_t type;
        uint8_t n[8];
        int32_t values[7];
    } list = { GGUF_INT32, { 6 }, { 0, 4, 8, 4, 6, 4 } };
    const model_change c = {
        .key = P "attention.compress_ratios", .type = GGUF_ARRAY, .bytes = &list, .n_bytes = 12 + 24
    };
    (void)state;
    assert_accepted(&c);
    list.values[3] = 1;
    assert_refused(&c, "attention.compress_ratios: entry 3 is 1");
    list.values[3] = -4;
    assert_refused(&c, "attention.compress_ratios: entry 3 is -4");
    list.values[3] = 65537;
    assert_refused(&c, "attention.compress_ratios: entry 3 is 65537");
    list.values[3] = 4;
    model_change other = c;
    list.n[0] = 5;
    other.n_bytes = 12 + 20;
    assert_refused(&other, "attention.compress_ratios: 5 entries for 6 layers");
    list.n[0] = 7; /* more than layers: the tail belongs to draft blocks */
    other.n_bytes = 12 + 28;
    assert_accepted(&other);
    const float clamps[] = { 10, 10, 10, 10, 10, INFINITY };
    list.type = GGUF_FLOAT32;
    list.n[0] = 6;
    memcpy(list.values, clamps, sizeof clamps);
    other = (model_change){ .key = P "swiglu_clamp_exp", .type = GGUF_ARRAY, .bytes = &list, .n_bytes = 12 + 24 };
    assert_refused(&other, "swiglu_clamp_exp: entry 5 is not finite");
    list.n[0] = 5;
    other.n_bytes = 12 + 20;
    assert_refused(&other, "swiglu_clamp_exp: 5 entries for 6 layers");
    list.n[0] = 6;
    other.key = P "swiglu_clamp_shexp";
    other.n_bytes = 12 + 24;
    assert_refused(&other, "swiglu_clamp_shexp: entry 5 is not finite");
}

/* A scaling block that is there must be whole, and YaRN. */
static void scaling_is_yarn_or_nothing(void **state)
{
    const float half = 0.5f, four = 4.0f;
    model_change c = { .key = P "rope.scaling.factor", .type = GGUF_FLOAT32, .bytes = &four, .n_bytes = 4 },
                 kind = { .key = P "rope.scaling.type", .type = GGUF_STRING };
    (void)state;
    assert_refused(&c, "metadata key 'deepseek4.rope.scaling.type' is missing");
    kind.bytes = "\6\0\0\0\0\0\0\0linear", kind.n_bytes = 14;
    with(&kind);
    assert_refused(&c, "rope.scaling.type' is 'linear', supported is yarn");
    without();
    kind.bytes = "\4\0\0\0\0\0\0\0yarn", kind.n_bytes = 12;
    with(&kind);
    assert_refused(&c, "metadata key 'deepseek4.rope.scaling.original_context_length' is missing");
    c.bytes = &half;
    assert_refused(&c, "rope.scaling.factor' = 0.5, supported range from 1");
    without();
}

/* 13.1: block_count may count draft layers, which are then not layers of the trunk. */
static void draft_layers_are_not_counted(void **state)
{
    const uint32_t seven = 7, one = 1;
    model_change c = { .key = P "block_count", .type = GGUF_UINT32, .bytes = &seven, .n_bytes = 4 };
    (void)state;
    with(&(model_change){ .key = P "nextn_predict_layers", .type = GGUF_UINT32, .bytes = &one, .n_bytes = 4 });
    assert_refused(&c, "6 entries for 7 layers");
    c.tensor = "blk.6.nextn.eh_proj.weight";
    c.new_tensor.type = QUANT_F32;
    c.new_tensor.n_dims = 1;
    c.new_tensor.dims = (uint64_t[]){ 4 };
    c.new_tensor.n_bytes = 16;
    assert_accepted(&c);
    without();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_must_be_there),    cmocka_unit_test(every_key_has_a_type_and_a_range),
        cmocka_unit_test(keys_must_fit_each_other),   cmocka_unit_test(lists_have_an_entry_for_every_layer),
        cmocka_unit_test(scaling_is_yarn_or_nothing), cmocka_unit_test(draft_layers_are_not_counted),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
