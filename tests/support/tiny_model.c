#include "support/tiny_model.h"

#include "base/buffer.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A GGUF written field by field, independent of the program's own writer. */
enum { U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9 };
enum { TENSOR_F32 = 0, TENSOR_I32 = 26, ALIGNMENT = 32 };

enum {
    LAYERS = 6,
    EMBD = 32,
    HEADS = 4,
    HEAD_DIM = 72, /* 64 that are not rotated: rows can be packed */
    ROPE = 8,
    Q_RANK = 16,
    GROUPS = 2,
    O_RANK = 8,
    INDEX_HEADS = 4,
    INDEX_DIM = 32,
    TOP_K = 6,
    EXPERTS = 4,
    USED = 2,
    FF = 16,
    HASHED = 1,
    STREAMS = 2
};
static const int32_t ratios[LAYERS] = { 0, 4, 8, 4, 6, 4 };

typedef struct writer {
    buffer values, directory, data;
    uint64_t n_values, n_tensors;
    test_random dice;
} writer;

static void put_string(buffer *b, const char *text)
{
    buffer_append_u64(b, strlen(text));
    buffer_append_text(b, text);
}

static void put_key(writer *w, const char *key, uint32_t type)
{
    put_string(&w->values, key);
    buffer_append_u32(&w->values, type);
    w->n_values++;
}

static void put_u32(writer *w, const char *key, uint32_t value)
{
    put_key(w, key, U32);
    buffer_append_u32(&w->values, value);
}

static void put_f32(writer *w, const char *key, float value)
{
    put_key(w, key, F32);
    buffer_append(&w->values, &value, 4);
}

static void put_text(writer *w, const char *key, const char *value)
{
    put_key(w, key, STRING);
    put_string(&w->values, value);
}

static void put_array(writer *w, const char *key, uint32_t element, uint64_t n)
{
    put_key(w, key, ARRAY);
    buffer_append_u32(&w->values, element);
    buffer_append_u64(&w->values, n);
}

/* A tensor of normal values times `scale` plus `shift`; d0 is the fastest dimension, 0 ends the list. */
static void put_tensor(writer *w, const char *layer, const char *name, uint64_t d0, uint64_t d1, uint64_t d2,
                       float scale, float shift)
{
    const uint64_t dims[3] = { d0, d1, d2 };
    char full[96];
    uint32_t n_dims = 0;
    uint64_t n = 1;
    while (n_dims < 3 && dims[n_dims])
        n *= dims[n_dims++];
    snprintf(full, sizeof full, "%s%s", layer, name);
    put_string(&w->directory, full);
    buffer_append_u32(&w->directory, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        buffer_append_u64(&w->directory, dims[i]);
    buffer_append_u32(&w->directory, TENSOR_F32);
    buffer_append_u64(&w->directory, w->data.size);
    for (uint64_t i = 0; i < n; i++) {
        const float x = scale * test_random_normal(&w->dice) + shift;
        buffer_append(&w->data, &x, 4);
    }
    while (w->data.size % ALIGNMENT)
        buffer_append_byte(&w->data, 0);
    w->n_tensors++;
}

static void put_matrix(writer *w, const char *layer, const char *name, uint64_t in, uint64_t out)
{
    put_tensor(w, layer, name, in, out, 0, 1 / sqrtf((float)in), 0);
}

static void put_norm(writer *w, const char *layer, const char *name, uint64_t n)
{
    put_tensor(w, layer, name, n, 0, 0, 0.2f, 1);
}

static void put_expert_table(writer *w, const char *layer)
{
    char full[96];
    snprintf(full, sizeof full, "%sffn_gate_tid2eid.weight", layer);
    put_string(&w->directory, full);
    buffer_append_u32(&w->directory, 2);
    buffer_append_u64(&w->directory, USED);
    buffer_append_u64(&w->directory, TINY_VOCAB);
    buffer_append_u32(&w->directory, TENSOR_I32);
    buffer_append_u64(&w->directory, w->data.size);
    for (uint32_t token = 0; token < TINY_VOCAB; token++) {
        const uint32_t first = test_random_below(&w->dice, EXPERTS);
        buffer_append_u32(&w->data, first);
        buffer_append_u32(&w->data, (first + 1 + test_random_below(&w->dice, EXPERTS - 1)) % EXPERTS);
    }
    w->n_tensors++;
}

static void put_compressor(writer *w, const char *layer, const char *prefix, uint64_t width, uint64_t n_series,
                           uint64_t ratio)
{
    char name[64];
    snprintf(name, sizeof name, "%s_kv.weight", prefix);
    put_matrix(w, layer, name, EMBD, width * n_series);
    snprintf(name, sizeof name, "%s_gate.weight", prefix);
    put_matrix(w, layer, name, EMBD, width * n_series);
    snprintf(name, sizeof name, "%s_ape.weight", prefix);
    put_tensor(w, layer, name, width * n_series, ratio, 0, 0.7f, 0);
    snprintf(name, sizeof name, "%s_norm.weight", prefix);
    put_norm(w, layer, name, width);
}

static void put_layer(writer *w, uint32_t i)
{
    char l[16];
    const uint64_t mix = (2 + STREAMS) * STREAMS, ratio = (uint64_t)ratios[i];
    snprintf(l, sizeof l, "blk.%u.", i);
    for (int site = 0; site < 2; site++) {
        put_matrix(w, l, site ? "hc_ffn_fn.weight" : "hc_attn_fn.weight", STREAMS * EMBD, mix);
        put_tensor(w, l, site ? "hc_ffn_base.weight" : "hc_attn_base.weight", mix, 0, 0, 0.5f, 0);
        put_tensor(w, l, site ? "hc_ffn_scale.weight" : "hc_attn_scale.weight", 3, 0, 0, 0.3f, 1);
    }
    put_norm(w, l, "attn_norm.weight", EMBD);
    put_matrix(w, l, "attn_q_a.weight", EMBD, Q_RANK);
    put_norm(w, l, "attn_q_a_norm.weight", Q_RANK);
    put_matrix(w, l, "attn_q_b.weight", Q_RANK, HEADS * HEAD_DIM);
    put_matrix(w, l, "attn_kv.weight", EMBD, HEAD_DIM);
    put_norm(w, l, "attn_kv_a_norm.weight", HEAD_DIM);
    put_tensor(w, l, "attn_sinks.weight", HEADS, 0, 0, 1, 0);
    put_matrix(w, l, "attn_output_a.weight", HEADS * HEAD_DIM / GROUPS, GROUPS * O_RANK);
    put_matrix(w, l, "attn_output_b.weight", GROUPS * O_RANK, EMBD);
    if (ratio)
        put_compressor(w, l, "attn_compressor", HEAD_DIM, ratio == 4 ? 2 : 1, ratio);
    if (ratio == 4) {
        put_matrix(w, l, "indexer.attn_q_b.weight", Q_RANK, INDEX_HEADS * INDEX_DIM);
        put_matrix(w, l, "indexer.proj.weight", EMBD, INDEX_HEADS);
        put_compressor(w, l, "indexer_compressor", INDEX_DIM, 2, ratio);
    }
    put_norm(w, l, "ffn_norm.weight", EMBD);
    put_matrix(w, l, "ffn_gate_inp.weight", EMBD, EXPERTS);
    if (i < HASHED)
        put_expert_table(w, l);
    else
        put_tensor(w, l, "exp_probs_b.bias", EXPERTS, 0, 0, 0.3f, 0);
    put_tensor(w, l, "ffn_gate_exps.weight", EMBD, FF, EXPERTS, 1.5f / sqrtf(EMBD), 0);
    put_tensor(w, l, "ffn_up_exps.weight", EMBD, FF, EXPERTS, 1.5f / sqrtf(EMBD), 0);
    put_tensor(w, l, "ffn_down_exps.weight", FF, EMBD, EXPERTS, 1 / sqrtf(FF), 0);
    put_matrix(w, l, "ffn_gate_shexp.weight", EMBD, FF);
    put_matrix(w, l, "ffn_up_shexp.weight", EMBD, FF);
    put_matrix(w, l, "ffn_down_shexp.weight", FF, EMBD);
}

static void put_hyper_parameters(writer *w)
{
    put_text(w, "general.architecture", "deepseek4");
    put_text(w, "general.name", "tiny");
#define KEY(name) "deepseek4." name
    put_u32(w, KEY("block_count"), LAYERS);
    put_u32(w, KEY("context_length"), TINY_CTX);
    put_u32(w, KEY("embedding_length"), EMBD);
    put_u32(w, KEY("vocab_size"), TINY_VOCAB);
    put_u32(w, KEY("attention.head_count"), HEADS);
    put_u32(w, KEY("attention.head_count_kv"), 1);
    put_u32(w, KEY("attention.key_length"), HEAD_DIM);
    put_u32(w, KEY("attention.value_length"), HEAD_DIM);
    put_u32(w, KEY("attention.q_lora_rank"), Q_RANK);
    put_u32(w, KEY("attention.output_lora_rank"), O_RANK);
    put_u32(w, KEY("attention.output_group_count"), GROUPS);
    put_u32(w, KEY("attention.sliding_window"), TINY_WINDOW);
    put_f32(w, KEY("attention.layer_norm_rms_epsilon"), 1e-6f);
    put_array(w, KEY("attention.compress_ratios"), I32, LAYERS);
    for (uint32_t i = 0; i < LAYERS; i++)
        buffer_append_u32(&w->values, (uint32_t)ratios[i]);
    put_f32(w, KEY("attention.compress_rope_freq_base"), 160000);
    put_u32(w, KEY("attention.indexer.head_count"), INDEX_HEADS);
    put_u32(w, KEY("attention.indexer.key_length"), INDEX_DIM);
    put_u32(w, KEY("attention.indexer.top_k"), TOP_K);
    put_u32(w, KEY("rope.dimension_count"), ROPE);
    put_f32(w, KEY("rope.freq_base"), 10000);
    put_u32(w, KEY("expert_count"), EXPERTS);
    put_u32(w, KEY("expert_used_count"), USED);
    put_u32(w, KEY("expert_shared_count"), 1);
    put_u32(w, KEY("expert_feed_forward_length"), FF);
    put_f32(w, KEY("expert_weights_scale"), 1.5f);
    put_key(w, KEY("expert_weights_norm"), BOOL);
    buffer_append_byte(&w->values, 1);
    put_u32(w, KEY("expert_gating_func"), 4);
    put_u32(w, KEY("hash_layer_count"), HASHED);
    put_f32(w, KEY("swiglu_clamp_exp"), 10);
    put_u32(w, KEY("hyper_connection.count"), STREAMS);
    put_u32(w, KEY("hyper_connection.sinkhorn_iterations"), 4);
    put_f32(w, KEY("hyper_connection.epsilon"), 1e-6f);
#undef KEY
}

/* The printable stand-in of a byte (docs/spec/protocol.md, section 1.1), as UTF-8. */
static void put_byte_symbol(buffer *b, unsigned byte)
{
    unsigned point = byte, extra = 0;
    const bool plain = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    if (!plain) {
        for (unsigned i = 0; i < byte; i++)
            extra += !((i >= 0x21 && i <= 0x7E) || (i >= 0xA1 && i <= 0xAC) || i >= 0xAE);
        point = 0x100 + extra;
    }
    char text[4];
    size_t n = 1;
    text[0] = (char)point;
    if (point >= 0x80) {
        text[0] = (char)(0xC0 | point >> 6);
        text[1] = (char)(0x80 | (point & 0x3F));
        n = 2;
    }
    buffer_append_u64(b, n);
    buffer_append(b, text, n);
}

static void put_tokenizer(writer *w)
{
    static const char *const specials[] = { "<｜begin▁of▁sentence｜>",
                                            "<｜end▁of▁sentence｜>",
                                            "<｜User｜>",
                                            "<｜Assistant｜>",
                                            "<think>",
                                            "</think>",
                                            "｜DSML｜",
                                            "<｜latest_reminder｜>" };
    enum { N_SPECIALS = sizeof specials / sizeof specials[0] };
    char unused[16];
    put_text(w, "tokenizer.ggml.model", "gpt2");
    put_text(w, "tokenizer.ggml.pre", "joyai-llm");
    put_array(w, "tokenizer.ggml.tokens", STRING, TINY_VOCAB);
    for (uint32_t i = 0; i < TINY_VOCAB; i++) {
        if (i < N_SPECIALS) {
            put_string(&w->values, specials[i]);
        } else if (i < N_SPECIALS + 256) {
            put_byte_symbol(&w->values, i - N_SPECIALS);
        } else if (i == N_SPECIALS + 256) {
            put_string(&w->values, "he"); /* what the one merge makes */
        } else {
            snprintf(unused, sizeof unused, "<unused%u>", i);
            put_string(&w->values, unused);
        }
    }
    put_array(w, "tokenizer.ggml.token_type", I32, TINY_VOCAB);
    for (uint32_t i = 0; i < TINY_VOCAB; i++)
        buffer_append_u32(&w->values, i < N_SPECIALS ? 3 : i <= N_SPECIALS + 256 ? 1 : 5);
    put_array(w, "tokenizer.ggml.merges", STRING, 1);
    put_string(&w->values, "h e");
}

void tiny_model_write(const char *path, uint64_t seed)
{
    writer w = { .dice = test_random_seeded(seed) };
    buffer file = { 0 };
    put_hyper_parameters(&w);
    put_tokenizer(&w);
    put_tensor(&w, "", "token_embd.weight", EMBD, TINY_VOCAB, 0, 1, 0);
    put_norm(&w, "", "output_norm.weight", EMBD);
    put_matrix(&w, "", "output.weight", EMBD, TINY_VOCAB);
    put_matrix(&w, "", "output_hc_fn.weight", STREAMS * EMBD, STREAMS);
    put_tensor(&w, "", "output_hc_base.weight", STREAMS, 0, 0, 0.5f, 0);
    put_tensor(&w, "", "output_hc_scale.weight", 1, 0, 0, 0.3f, 1);
    for (uint32_t i = 0; i < LAYERS; i++)
        put_layer(&w, i);
    buffer_append(&file, "GGUF", 4);
    buffer_append_u32(&file, 3);
    buffer_append_u64(&file, w.n_tensors);
    buffer_append_u64(&file, w.n_values);
    buffer_append_slice(&file, buffer_slice(&w.values));
    buffer_append_slice(&file, buffer_slice(&w.directory));
    while (file.size % ALIGNMENT)
        buffer_append_byte(&file, 0);
    buffer_append_slice(&file, buffer_slice(&w.data));
    test_write_file(path, file.data, file.size);
    buffer_free(&w.values);
    buffer_free(&w.directory);
    buffer_free(&w.data);
    buffer_free(&file);
}
