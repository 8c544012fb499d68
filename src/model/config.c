/* Hyper-parameters: docs/spec/model.md, sections 1 and 13.1; checks 28, 29, 33 and 34 of docs/spec/weights.md. */
#include "model/network.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define P "deepseek4."

enum { LAYERS_MAX = 1024, WIDTH_MAX = 1 << 20, STREAMS_LIMIT = 16, VOCAB_MAX = 1 << 24 };

typedef struct key_u32 {
    const char *key;
    size_t offset;
    uint32_t min, max;
} key_u32;

#define U32(name, field, low, high)                                                                                    \
    {                                                                                                                  \
        P name, offsetof(model_config, field), low, high                                                               \
    }

static const key_u32 counts[] = {
    U32("embedding_length", n_embd, 1, WIDTH_MAX),
    U32("attention.head_count", n_heads, 1, 4096),
    U32("attention.key_length", head_dim, 1, WIDTH_MAX),
    U32("rope.dimension_count", rope_dim, 2, WIDTH_MAX),
    U32("attention.q_lora_rank", q_rank, 1, WIDTH_MAX),
    U32("attention.output_group_count", n_groups, 1, 4096),
    U32("attention.output_lora_rank", o_rank, 1, WIDTH_MAX),
    U32("attention.sliding_window", window, 2, WIDTH_MAX),
    U32("attention.indexer.head_count", n_index_heads, 1, 4096),
    U32("attention.indexer.key_length", index_dim, 1, WIDTH_MAX),
    U32("attention.indexer.top_k", index_top_k, 1, WIDTH_MAX),
    U32("expert_count", n_experts, 1, 65536),
    U32("expert_used_count", n_used, 1, 1024),
    U32("expert_feed_forward_length", ff_dim, 1, WIDTH_MAX),
    U32("hash_layer_count", n_hash_layers, 0, LAYERS_MAX),
    U32("hyper_connection.count", n_streams, 1, STREAMS_LIMIT),
    U32("hyper_connection.sinkhorn_iterations", n_sinkhorn, 1, 1000),
};

typedef struct key_f32 {
    const char *key;
    size_t offset;
    float above; /* the value must be finite and greater */
} key_f32;

#define F32(name, field, bound)                                                                                        \
    {                                                                                                                  \
        P name, offsetof(model_config, field), bound                                                                   \
    }

static const key_f32 reals[] = {
    F32("expert_weights_scale", expert_scale, 0.0f),
    F32("hyper_connection.epsilon", hc_eps, 0.0f),
    F32("attention.layer_norm_rms_epsilon", rms_eps, 0.0f),
    F32("rope.freq_base", rope_base, 1.0f),
    F32("attention.compress_rope_freq_base", compress_rope_base, 1.0f),
};

static ds4_status read_f32(const gguf_file *file, const char *key, float above, float *out, ds4_error *err)
{
    const ds4_status status = gguf_get_f32(file, key, out, err);
    if (status == DS4_OK && !(isfinite(*out) && *out > above))
        return ds4_fail(err, DS4_ERR_CORRUPT, "metadata key '%s' = %g, supported range above %g", key, (double)*out,
                        (double)above);
    return status;
}

static ds4_status read_tables(model_config *c, const gguf_file *file, ds4_error *err)
{
    ds4_status status = DS4_OK;
    for (size_t i = 0; status == DS4_OK && i < sizeof counts / sizeof counts[0]; i++)
        status = gguf_get_u32(file, counts[i].key, counts[i].min, counts[i].max,
                              (uint32_t *)(void *)((char *)c + counts[i].offset), err);
    for (size_t i = 0; status == DS4_OK && i < sizeof reals / sizeof reals[0]; i++)
        status = read_f32(file, reals[i].key, reals[i].above, (float *)(void *)((char *)c + reals[i].offset), err);
    return status;
}

/* Keys that choose between forms of which only one is computed here. */
static ds4_status read_fixed(const gguf_file *file, const model_config *c, ds4_error *err)
{
    const struct {
        const char *key;
        uint32_t min, max;
        bool required;
    } fixed[] = {
        { P "attention.head_count_kv", 1, 1, true }, { P "attention.value_length", c->head_dim, c->head_dim, true },
        { P "expert_shared_count", 1, 1, true },     { P "expert_gating_func", 4, 4, false },
        { P "expert_group_count", 0, 1, false },     { P "expert_group_used_count", 0, 1, false }
    };
    uint32_t value;
    bool norm = true;
    ds4_status status = DS4_OK;
    for (size_t i = 0; status == DS4_OK && i < sizeof fixed / sizeof fixed[0]; i++)
        if (fixed[i].required || gguf_value_find(file, fixed[i].key))
            status = gguf_get_u32(file, fixed[i].key, fixed[i].min, fixed[i].max, &value, err);
    if (status == DS4_OK)
        status = gguf_get_bool(file, P "expert_weights_norm", &norm, err);
    if (status == DS4_OK && !norm)
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "metadata key '%s' is false, supported is true",
                        P "expert_weights_norm");
    return status;
}

/* block_count counts draft layers in some files: section 13.1. */
static ds4_status read_layer_count(model_config *c, const gguf_file *file, ds4_error *err)
{
    char first[64], second[64];
    uint32_t n_next = 0;
    ds4_status status = gguf_get_u32(file, P "block_count", 1, LAYERS_MAX, &c->n_layers, err);
    if (status == DS4_OK && gguf_value_find(file, P "nextn_predict_layers"))
        status = gguf_get_u32(file, P "nextn_predict_layers", 0, 16, &n_next, err);
    if (status != DS4_OK || n_next == 0 || n_next >= c->n_layers)
        return status;
    snprintf(first, sizeof first, "blk.%u.nextn.eh_proj.weight", (unsigned)(c->n_layers - n_next));
    snprintf(second, sizeof second, "blk.%u.nextn.e_proj.weight", (unsigned)(c->n_layers - n_next));
    if (gguf_tensor_find(file, first) || gguf_tensor_find(file, second))
        c->n_layers -= n_next;
    return DS4_OK;
}

static ds4_status read_ratios(model_config *c, const gguf_file *file, arena *memory, ds4_error *err)
{
    const gguf_value *list = gguf_value_find(file, P "attention.compress_ratios");
    if (!list)
        return ds4_fail(err, DS4_ERR_NOT_FOUND, "metadata key '%s' is missing", P "attention.compress_ratios");
    if (list->type == GGUF_ARRAY && list->n < c->n_layers)
        return ds4_fail(err, DS4_ERR_CORRUPT, "attention.compress_ratios: %" PRIu64 " entries for %" PRIu32 " layers",
                        list->n, c->n_layers);
    c->ratios = arena_alloc_array(memory, c->n_layers, sizeof *c->ratios);
    c->kinds = arena_alloc_array(memory, c->n_layers, sizeof *c->kinds);
    if (!c->ratios || !c->kinds)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    for (uint32_t i = 0; i < c->n_layers; i++) {
        int64_t ratio;
        const ds4_status status = gguf_element_i64(list, i, &ratio, err);
        if (status != DS4_OK)
            return status;
        if (ratio < 0 || ratio == 1 || ratio > 65536)
            return ds4_fail(err, DS4_ERR_CORRUPT, "attention.compress_ratios: entry %" PRIu32 " is %" PRId64, i, ratio);
        c->ratios[i] = (uint32_t)ratio;
        c->kinds[i] = ratio == 0 ? MODEL_LAYER_WINDOW : ratio == MODEL_CSA_RATIO ? MODEL_LAYER_CSA : MODEL_LAYER_HCA;
    }
    return DS4_OK;
}

static ds4_status read_clamp(const model_config *c, const gguf_file *file, const char *key, arena *memory, float **out,
                             ds4_error *err)
{
    const gguf_value *list = gguf_value_find(file, key);
    if (!list)
        return ds4_fail(err, DS4_ERR_NOT_FOUND, "metadata key '%s' is missing", key);
    if (list->type == GGUF_ARRAY && list->n < c->n_layers)
        return ds4_fail(err, DS4_ERR_CORRUPT, "%s: %" PRIu64 " entries for %" PRIu32 " layers", key, list->n,
                        c->n_layers);
    *out = arena_alloc_array(memory, c->n_layers, sizeof **out);
    if (!*out)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    for (uint32_t i = 0; i < c->n_layers; i++) {
        const ds4_status status = gguf_element_f32(list, i, &(*out)[i], err);
        if (status != DS4_OK)
            return status;
        if (!isfinite((*out)[i]))
            return ds4_fail(err, DS4_ERR_CORRUPT, "%s: entry %" PRIu32 " is not finite", key, i);
    }
    return DS4_OK;
}

static ds4_status read_yarn(model_config *c, const gguf_file *file, ds4_error *err)
{
    char shown[GGUF_SHOW_BYTES];
    slice kind;
    c->yarn_factor = 1.0f;
    if (!gguf_value_find(file, P "rope.scaling.factor"))
        return DS4_OK;
    ds4_status status = gguf_get_string(file, P "rope.scaling.type", &kind, err);
    if (status == DS4_OK && !slice_equal(kind, SLICE("yarn"))) /* another scaling would give other angles */
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "metadata key '%s' is '%s', supported is yarn", P "rope.scaling.type",
                        gguf_show(kind, shown));
    if (status == DS4_OK)
        status = read_f32(file, P "rope.scaling.factor", 0.0f, &c->yarn_factor, err);
    if (status == DS4_OK && c->yarn_factor < 1.0f)
        return ds4_fail(err, DS4_ERR_CORRUPT, "metadata key '%s' = %g, supported range from 1", P "rope.scaling.factor",
                        (double)c->yarn_factor);
    if (status != DS4_OK || c->yarn_factor == 1.0f)
        return status;
    status = gguf_get_u32(file, P "rope.scaling.original_context_length", 1, INT32_MAX, &c->yarn_original, err);
    if (status == DS4_OK)
        status = read_f32(file, P "rope.scaling.yarn_beta_fast", 0.0f, &c->yarn_beta_fast, err);
    if (status == DS4_OK)
        status = read_f32(file, P "rope.scaling.yarn_beta_slow", 0.0f, &c->yarn_beta_slow, err);
    return status;
}

static ds4_status read_vocabulary(model_config *c, const gguf_file *file, ds4_error *err)
{
    const gguf_value *tokens = gguf_value_find(file, "tokenizer.ggml.tokens");
    if (!tokens || tokens->type != GGUF_ARRAY)
        return ds4_fail(err, DS4_ERR_NOT_FOUND, "metadata key 'tokenizer.ggml.tokens' is missing");
    if (tokens->n == 0 || tokens->n > VOCAB_MAX)
        return ds4_fail(err, DS4_ERR_CORRUPT, "tokenizer.ggml.tokens has %" PRIu64 " entries", tokens->n);
    const ds4_status status = gguf_get_u32(file, P "vocab_size", 1, VOCAB_MAX, &c->n_vocab, err);
    if (status == DS4_OK && c->n_vocab != tokens->n)
        return ds4_fail(err, DS4_ERR_CORRUPT, "metadata: vocab_size %" PRIu32 " is not the number of tokens, %" PRIu64,
                        c->n_vocab, tokens->n);
    return status;
}

static ds4_status check_relations(const model_config *c, ds4_error *err)
{
    if (c->n_heads % c->n_groups != 0)
        return ds4_fail(err, DS4_ERR_CORRUPT, "metadata: %" PRIu32 " output groups do not divide %" PRIu32 " heads",
                        c->n_groups, c->n_heads);
    if (c->rope_dim % 2 != 0 || c->rope_dim > c->head_dim || c->rope_dim > c->index_dim)
        return ds4_fail(err, DS4_ERR_CORRUPT,
                        "metadata: rope.dimension_count %" PRIu32 " must be even and fit in heads of %" PRIu32
                        " and indexer heads of %" PRIu32,
                        c->rope_dim, c->head_dim, c->index_dim);
    if (c->n_used > c->n_experts)
        return ds4_fail(err, DS4_ERR_CORRUPT, "metadata: %" PRIu32 " experts used of %" PRIu32, c->n_used,
                        c->n_experts);
    if (c->n_hash_layers > c->n_layers)
        return ds4_fail(err, DS4_ERR_CORRUPT, "metadata: %" PRIu32 " hash layers of %" PRIu32 " layers",
                        c->n_hash_layers, c->n_layers);
    const uint64_t heads = (uint64_t)c->n_heads * c->head_dim, index = (uint64_t)c->n_index_heads * c->index_dim;
    if (heads > WIDTH_MAX * 16u || index > WIDTH_MAX * 16u || (uint64_t)c->n_groups * c->o_rank > WIDTH_MAX * 16u ||
        (uint64_t)c->n_used * c->ff_dim > WIDTH_MAX * 16u)
        return ds4_fail(err, DS4_ERR_CORRUPT, "metadata: %" PRIu32 " heads of %" PRIu32 " are too wide", c->n_heads,
                        c->head_dim);
    return DS4_OK;
}

/* (8) of 13.3: where the index rounding has no meaning it must have been switched off. */
static ds4_status check_roundings(const model_config *c, ds4_error *err)
{
    const uint32_t I = c->index_dim;
    bool csa = false;
    for (uint32_t i = 0; i < c->n_layers; i++)
        csa = csa || c->kinds[i] == MODEL_LAYER_CSA;
    if (csa && c->index_rounding == MODEL_ROUNDING_OFFICIAL && ((I & (I - 1)) != 0 || I % 32 != 0))
        return ds4_fail(err, DS4_ERR_UNSUPPORTED,
                        "indexer heads of %" PRIu32
                        " values cannot be rounded officially (a power of two from 32 on is "
                        "needed); use --index-rounding none",
                        I);
    return DS4_OK;
}

ds4_status model_config_read(model_config *c, const gguf_file *file, arena *memory, ds4_error *err)
{
    char shown[GGUF_SHOW_BYTES];
    slice architecture;
    ds4_status status = gguf_get_string(file, "general.architecture", &architecture, err);
    if (status != DS4_OK)
        return status;
    if (!slice_equal(architecture, SLICE("deepseek4")))
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "is a '%s' model; this program runs deepseek4 (DeepSeek V4)",
                        gguf_show(architecture, shown));
    status = read_layer_count(c, file, err);
    if (status == DS4_OK)
        status = read_tables(c, file, err);
    if (status == DS4_OK)
        status = read_fixed(file, c, err);
    if (status == DS4_OK)
        status = read_ratios(c, file, memory, err);
    if (status == DS4_OK)
        status = read_clamp(c, file, P "swiglu_clamp_exp", memory, &c->clamp, err);
    if (status == DS4_OK)
        status = read_clamp(
            c, file, gguf_value_find(file, P "swiglu_clamp_shexp") ? P "swiglu_clamp_shexp" : P "swiglu_clamp_exp",
            memory, &c->clamp_shared, err);
    if (status == DS4_OK)
        status = read_yarn(c, file, err);
    if (status == DS4_OK)
        status = read_vocabulary(c, file, err);
    if (status == DS4_OK && gguf_value_find(file, P "context_length"))
        status = gguf_get_u32(file, P "context_length", 1, INT32_MAX, &c->n_ctx_trained, err);
    c->n_draft_layers = gguf_tensor_find(file, "mtp.0.e_proj.weight") ? 1 : 0;
    if (status == DS4_OK)
        status = check_relations(c, err);
    return status == DS4_OK ? check_roundings(c, err) : status;
}

void model_rope_frequencies(const model_config *c, bool compressed, float *omega)
{
    const float base = compressed ? c->compress_rope_base : c->rope_base;
    const double R = c->rope_dim, turn = 2.0 * 3.14159265358979323846;
    double low = 0.0, high = 0.0;
    const bool yarn = compressed && c->yarn_factor > 1.0f;
    if (yarn) { /* the pairs at which beta turns fit into the original length */
        low = floor(R * log(c->yarn_original / (c->yarn_beta_fast * turn)) / (2.0 * log(base)));
        high = ceil(R * log(c->yarn_original / (c->yarn_beta_slow * turn)) / (2.0 * log(base)));
        low = low > 0.0 ? low : 0.0;
        high = high < R - 1.0 ? high : R - 1.0;
        if (low == high)
            high += 0.001;
    }
    for (uint32_t j = 0; j < c->rope_dim / 2; j++) {
        omega[j] = 1.0f / powf(base, (float)(2 * j) / (float)c->rope_dim);
        if (!yarn)
            continue;
        const float ramp = fminf(fmaxf((float)((j - low) / (high - low)), 0.0f), 1.0f);
        omega[j] = omega[j] / c->yarn_factor * ramp + omega[j] * (1.0f - ramp);
    }
}
