/* Tensors by name and shape: docs/spec/model.md, section 13.2; checks 22, 30, 31, 32, 35 and 36 of
 * docs/spec/weights.md. */
#include "model/network.h"
#include "quant/quant.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Collects what is missing, so that the message can say how much; the first real error ends the binding. */
typedef struct binder {
    model *m;
    const char *prefix;
    const char *where; /* for messages about a layer */
    char missing[96];
    uint32_t n_missing;
    ds4_status status;
    ds4_error *err;
} binder;

static const gguf_tensor *find(binder *b, const char *suffix, char name[96])
{
    snprintf(name, 96, "%s%s", b->prefix, suffix);
    const gguf_tensor *t = gguf_tensor_find(b->m->file, name);
    if (!t && b->n_missing++ == 0)
        snprintf(b->missing, sizeof b->missing, "%s", name);
    return t;
}

static bool has_shape(binder *b, const gguf_tensor *t, const char *name, uint64_t d0, uint64_t d1, uint64_t d2)
{
    if (t->dims[0] == d0 && t->dims[1] == d1 && t->dims[2] == d2 && t->dims[3] == 1)
        return true;
    b->status = ds4_fail(b->err, DS4_ERR_CORRUPT,
                         "tensor '%s' is %" PRIu64 "x%" PRIu64 "x%" PRIu64 ", the metadata says %" PRIu64 "x%" PRIu64
                         "x%" PRIu64,
                         name, t->dims[0], t->dims[1], t->dims[2], d0, d1, d2);
    return false;
}

static bool has_type(binder *b, const gguf_tensor *t, const char *name)
{
    if (quant_type_supported(t->type))
        return true;
    b->status = ds4_fail(b->err, DS4_ERR_UNSUPPORTED, "tensor '%s' is %s; expected one of F32, F16, BF16, Q8_0", name,
                         quant_type_name(t->type));
    return false;
}

/* Hands the weight to the backend; the error then names the tensor. */
static void adopt(binder *b, const char *name, const backend_source *source, backend_tensor **out)
{
    ds4_error why = { 0 };
    b->status = b->m->backend->ops->adopt(b->m->backend, source, out, &why);
    if (b->status != DS4_OK)
        ds4_fail(b->err, b->status, "tensor '%s': %s", name, why.text);
}

static void matrix(binder *b, const char *suffix, backend_tensor **out, uint32_t n_rows, uint32_t n_cols,
                   uint32_t n_stacked)
{
    char name[96];
    const gguf_tensor *t = b->status == DS4_OK ? find(b, suffix, name) : NULL;
    if (!t || !has_type(b, t, name) || !has_shape(b, t, name, n_cols, n_rows, n_stacked))
        return;
    adopt(b, name,
          &(backend_source){ .data = t->data,
                             .type = t->type,
                             .n_stacked = n_stacked,
                             .n_rows = n_rows,
                             .n_cols = n_cols,
                             .row_bytes = (size_t)t->row_bytes,
                             .stays = true },
          out);
}

/* A vector or small table [n_rows, n_cols] in f32: widened, every value finite (36). */
static void values(binder *b, const char *suffix, backend_tensor **out, uint32_t n_rows, uint32_t n_cols)
{
    char name[96];
    const gguf_tensor *t = b->status == DS4_OK ? find(b, suffix, name) : NULL;
    if (!t || !has_type(b, t, name) || !has_shape(b, t, name, n_cols, n_rows, 1))
        return;
    const size_t n = (size_t)n_rows * n_cols;
    float *wide = calloc(n, sizeof *wide);
    if (!wide) {
        b->status = ds4_fail(b->err, DS4_ERR_NO_MEMORY, "not enough memory for tensor '%s'", name);
        return;
    }
    for (uint32_t i = 0; i < n_rows; i++)
        quant_row_to_f32(t->type, t->data + i * t->row_bytes, wide + (size_t)i * n_cols, n_cols);
    for (size_t i = 0; i < n && b->status == DS4_OK; i++)
        if (!isfinite(wide[i]))
            b->status = ds4_fail(b->err, DS4_ERR_CORRUPT, "tensor '%s' contains a non-finite value", name);
    if (b->status == DS4_OK)
        adopt(b, name,
              &(backend_source){ .data = wide,
                                 .type = QUANT_F32,
                                 .n_stacked = 1,
                                 .n_rows = n_rows,
                                 .n_cols = n_cols,
                                 .row_bytes = n_cols * sizeof *wide },
              out);
    free(wide);
}

static void expert_table(binder *b, const char *suffix, backend_tensor **out)
{
    const model_config *c = &b->m->config;
    char name[96];
    const gguf_tensor *t = b->status == DS4_OK ? find(b, suffix, name) : NULL;
    if (!t || !has_shape(b, t, name, c->n_used, c->n_vocab, 1))
        return;
    if (t->type != QUANT_I32) {
        b->status =
            ds4_fail(b->err, DS4_ERR_UNSUPPORTED, "tensor '%s' is %s; expected I32", name, quant_type_name(t->type));
        return;
    }
    for (size_t i = 0; i < (size_t)c->n_vocab * c->n_used; i++) {
        int32_t id;
        memcpy(&id, t->data + i * sizeof id, sizeof id);
        if (id < 0 || (uint32_t)id >= c->n_experts) { /* (35) */
            b->status = ds4_fail(b->err, DS4_ERR_CORRUPT, "%s: expert table has id %" PRId32 ", not one of %" PRIu32,
                                 b->where, id, c->n_experts);
            return;
        }
    }
    adopt(b, name,
          &(backend_source){ .data = t->data,
                             .type = t->type,
                             .n_stacked = 1,
                             .n_rows = c->n_vocab,
                             .n_cols = c->n_used,
                             .row_bytes = (size_t)t->row_bytes,
                             .stays = true },
          out);
}

static void hyper(binder *b, const char *site, backend_hyper *out, bool head)
{
    backend_tensor *fn = NULL, *base = NULL, *scale = NULL;
    const model_config *c = &b->m->config;
    const uint32_t m = c->n_streams, n = head ? m : (2 + m) * m;
    char suffix[64];
    snprintf(suffix, sizeof suffix, "%s_fn.weight", site);
    matrix(b, suffix, &fn, n, m * c->n_embd, 1);
    snprintf(suffix, sizeof suffix, "%s_base.weight", site);
    values(b, suffix, &base, 1, n);
    snprintf(suffix, sizeof suffix, "%s_scale.weight", site);
    values(b, suffix, &scale, 1, head ? 1 : 3);
    *out = (backend_hyper){ .fn = fn, .base = base, .scale = scale, .n_sinkhorn = c->n_sinkhorn, .eps = c->hc_eps };
}

static void compressor(binder *b, const char *stem, model_compressor *out, const model_layer *l, uint32_t width)
{
    const uint32_t wide = width * (l->kind == MODEL_LAYER_CSA ? 2 : 1);
    char suffix[64];
    snprintf(suffix, sizeof suffix, "%s_kv.weight", stem);
    matrix(b, suffix, &out->kv, wide, b->m->config.n_embd, 1);
    snprintf(suffix, sizeof suffix, "%s_gate.weight", stem);
    matrix(b, suffix, &out->gate, wide, b->m->config.n_embd, 1);
    snprintf(suffix, sizeof suffix, "%s_ape.weight", stem);
    values(b, suffix, &out->bias, l->ratio, wide);
    snprintf(suffix, sizeof suffix, "%s_norm.weight", stem);
    values(b, suffix, &out->norm, 1, width);
}

/* (3) of 13.3: a tensor that this layer's kind has no use for means that file and keys disagree. */
static void refuse_others(binder *b, const model_layer *l)
{
    static const char *const of_compression[] = { "attn_compressor_kv.weight", "attn_compressor_gate.weight",
                                                  "attn_compressor_ape.weight", "attn_compressor_norm.weight" },
                             *const of_index[] = { "indexer.attn_q_b.weight",       "indexer.proj.weight",
                                                   "indexer_compressor_kv.weight",  "indexer_compressor_gate.weight",
                                                   "indexer_compressor_ape.weight", "indexer_compressor_norm.weight" };
    const struct {
        const char *const *names;
        size_t n;
    } foreign[] = { { of_compression, l->kind != MODEL_LAYER_WINDOW ? 0 : 4 },
                    { of_index, l->kind == MODEL_LAYER_CSA ? 0 : 6 } };
    char name[96];
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < foreign[k].n && b->status == DS4_OK; i++) {
            snprintf(name, sizeof name, "%s%s", b->prefix, foreign[k].names[i]);
            if (gguf_tensor_find(b->m->file, name))
                b->status =
                    ds4_fail(b->err, DS4_ERR_CORRUPT,
                             "tensor '%s' does not belong in a layer of compression ratio %" PRIu32, name, l->ratio);
        }
}

static void bind_attention(binder *b, model_layer *l)
{
    const model_config *c = &b->m->config;
    const uint32_t wide = c->n_heads * c->head_dim;
    values(b, "attn_norm.weight", &l->attn_norm, 1, c->n_embd);
    matrix(b, "attn_q_a.weight", &l->q_a, c->q_rank, c->n_embd, 1);
    values(b, "attn_q_a_norm.weight", &l->q_a_norm, 1, c->q_rank);
    matrix(b, "attn_q_b.weight", &l->q_b, wide, c->q_rank, 1);
    matrix(b, "attn_kv.weight", &l->kv, c->head_dim, c->n_embd, 1);
    values(b, "attn_kv_a_norm.weight", &l->kv_norm, 1, c->head_dim);
    values(b, "attn_sinks.weight", &l->sinks, 1, c->n_heads);
    matrix(b, "attn_output_a.weight", &l->output_a, c->n_groups * c->o_rank, wide / c->n_groups, 1);
    matrix(b, "attn_output_b.weight", &l->output_b, c->n_embd, c->n_groups * c->o_rank, 1);
    if (l->kind != MODEL_LAYER_WINDOW)
        compressor(b, "attn_compressor", &l->attention, l, c->head_dim);
    if (l->kind == MODEL_LAYER_CSA) {
        matrix(b, "indexer.attn_q_b.weight", &l->indexer_q_b, c->n_index_heads * c->index_dim, c->q_rank, 1);
        matrix(b, "indexer.proj.weight", &l->indexer_proj, c->n_index_heads, c->n_embd, 1);
        compressor(b, "indexer_compressor", &l->indexer, l, c->index_dim);
    }
    refuse_others(b, l);
}

/* Gate and up are computed together: they must be of one type. */
static void same_type(binder *b, const char *what, const char *gate, const char *up)
{
    char name[96];
    if (b->status != DS4_OK || b->n_missing > 0)
        return;
    const gguf_tensor *first = find(b, gate, name), *second = find(b, up, name);
    if (first->type != second->type)
        b->status = ds4_fail(b->err, DS4_ERR_UNSUPPORTED, "%s: gate and up %s have different types (%s and %s)",
                             b->where, what, quant_type_name(first->type), quant_type_name(second->type));
}

static void bind_experts(binder *b, model_layer *l, bool hashed)
{
    const model_config *c = &b->m->config;
    values(b, "ffn_norm.weight", &l->ffn_norm, 1, c->n_embd);
    matrix(b, "ffn_gate_inp.weight", &l->router, c->n_experts, c->n_embd, 1);
    if (hashed)
        expert_table(b, "ffn_gate_tid2eid.weight", &l->table);
    else
        values(b, "exp_probs_b.bias", &l->bias, 1, c->n_experts);
    matrix(b, "ffn_gate_exps.weight", &l->gate, c->ff_dim, c->n_embd, c->n_experts);
    matrix(b, "ffn_up_exps.weight", &l->up, c->ff_dim, c->n_embd, c->n_experts);
    matrix(b, "ffn_down_exps.weight", &l->down, c->n_embd, c->ff_dim, c->n_experts);
    matrix(b, "ffn_gate_shexp.weight", &l->shared_gate, c->ff_dim, c->n_embd, 1);
    matrix(b, "ffn_up_shexp.weight", &l->shared_up, c->ff_dim, c->n_embd, 1);
    matrix(b, "ffn_down_shexp.weight", &l->shared_down, c->n_embd, c->ff_dim, 1);
    same_type(b, "experts", "ffn_gate_exps.weight", "ffn_up_exps.weight"); /* (32) */
    same_type(b, "of the shared expert", "ffn_gate_shexp.weight", "ffn_up_shexp.weight");
}

static void bind_layer(binder *b, model_layer *l, bool hashed)
{
    hyper(b, "hc_attn", &l->hc_attn, false);
    hyper(b, "hc_ffn", &l->hc_ffn, false);
    bind_attention(b, l);
    bind_experts(b, l, hashed);
}

static void bind_draft(binder *b)
{
    model *m = b->m;
    const uint32_t d = m->config.n_embd;
    model_draft *draft = arena_alloc(&m->memory, sizeof *draft);
    if (!draft) {
        b->status = ds4_fail(b->err, DS4_ERR_NO_MEMORY, "not enough memory");
        return;
    }
    b->prefix = "mtp.0.";
    b->where = "draft block";
    draft->layer.index = m->config.n_layers;
    draft->layer.clamp = m->config.clamp[m->config.n_layers - 1];
    draft->layer.clamp_shared = m->config.clamp_shared[m->config.n_layers - 1];
    bind_layer(b, &draft->layer, false);
    matrix(b, "e_proj.weight", &draft->e_proj, d, d, 1);
    matrix(b, "h_proj.weight", &draft->h_proj, d, d, 1);
    values(b, "enorm.weight", &draft->enorm, 1, d);
    values(b, "hnorm.weight", &draft->hnorm, 1, d);
    values(b, "norm.weight", &draft->head.norm, 1, d);
    hyper(b, "hc_head", &draft->head.hc, true);
    m->draft = draft;
}

ds4_status model_bind(model *m, ds4_error *err)
{
    const model_config *c = &m->config;
    binder b = { .m = m, .prefix = "", .err = err };
    char prefix[32], where[32];
    m->layers = arena_alloc_array(&m->memory, c->n_layers, sizeof *m->layers);
    if (!m->layers)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    matrix(&b, "token_embd.weight", &m->embed, c->n_vocab, c->n_embd, 1);
    matrix(&b, "output.weight", &m->output, c->n_vocab, c->n_embd, 1);
    values(&b, "output_norm.weight", &m->head.norm, 1, c->n_embd);
    hyper(&b, "output_hc", &m->head.hc, true);
    for (uint32_t i = 0; i < c->n_layers; i++) {
        model_layer *l = &m->layers[i];
        snprintf(prefix, sizeof prefix, "blk.%" PRIu32 ".", i);
        snprintf(where, sizeof where, "layer %" PRIu32, i);
        b.prefix = prefix;
        b.where = where;
        l->index = i;
        l->kind = c->kinds[i];
        l->ratio = c->ratios[i];
        l->clamp = c->clamp[i];
        l->clamp_shared = c->clamp_shared[i];
        bind_layer(&b, l, i < c->n_hash_layers);
    }
    if (c->n_draft_layers)
        bind_draft(&b);
    if (b.status == DS4_OK && b.n_missing == 1)
        return ds4_fail(err, DS4_ERR_NOT_FOUND, "tensor '%s' is missing", b.missing);
    if (b.status == DS4_OK && b.n_missing > 1)
        return ds4_fail(err, DS4_ERR_NOT_FOUND, "tensor '%s' is missing, and %" PRIu32 " more", b.missing,
                        b.n_missing - 1);
    return b.status;
}
