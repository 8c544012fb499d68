/* Opening and closing, scratch memory, fingerprints. */
#include "model/network.h"

#include <stdlib.h>
#include <string.h>

model_options model_options_default(void)
{
    return (model_options){ .kv_rounding = MODEL_ROUNDING_OFFICIAL,
                            .index_rounding = MODEL_ROUNDING_OFFICIAL,
                            .act = MODEL_ACT_Q8 };
}

model_options model_options_parity(void)
{
    return (model_options){ .kv_rounding = MODEL_ROUNDING_NONE,
                            .index_rounding = MODEL_ROUNDING_NONE,
                            .act = MODEL_ACT_F32 };
}

/* --- scratch ------------------------------------------------------------------------------------------------------ */

static bool new_floats(model *m, float **out, size_t n)
{
    return (*out = m->backend->ops->alloc(m->backend, n * sizeof **out)) != NULL;
}

static bool new_ids(model *m, uint32_t **out, size_t n)
{
    return (*out = m->backend->ops->alloc(m->backend, n * sizeof **out)) != NULL;
}

static ds4_status new_scratch(model *m, ds4_error *err)
{
    const model_config *c = &m->config;
    model_scratch *s = &m->scratch;
    const size_t T = MODEL_CHUNK_MAX, d = c->n_embd, streams = c->n_streams;
    const size_t wide = 2 * (size_t)(c->head_dim > c->index_dim ? c->head_dim : c->index_dim);
    const size_t pairs = c->rope_dim / 2;
    bool good = new_floats(m, &s->x, T * streams * d) && new_floats(m, &s->a, T * d) && new_floats(m, &s->b, T * d) &&
                new_floats(m, &s->z, T * (2 + streams) * streams) && new_floats(m, &s->post, T * streams) &&
                new_floats(m, &s->comb, T * streams * streams) && new_floats(m, &s->qr, T * c->q_rank) &&
                new_floats(m, &s->q, T * c->n_heads * c->head_dim) &&
                new_floats(m, &s->out, T * c->n_heads * c->head_dim) && new_floats(m, &s->kv, T * c->head_dim) &&
                new_floats(m, &s->low, T * c->n_groups * c->o_rank) && new_floats(m, &s->series_kv, T * wide) &&
                new_floats(m, &s->series_gate, T * wide) &&
                new_floats(m, &s->index_q, T * c->n_index_heads * c->index_dim) &&
                new_floats(m, &s->index_weight, T * c->n_index_heads) && new_ids(m, &s->chosen, T * c->index_top_k) &&
                new_ids(m, &s->n_chosen, T) && new_floats(m, &s->router, T * c->n_experts) &&
                new_floats(m, &s->weights, T * c->n_used) && new_ids(m, &s->ids, T * c->n_used) &&
                new_ids(m, &s->zero_ids, T) && new_floats(m, &s->ones, T) && new_floats(m, &s->head, HEAD_ROWS * d) &&
                new_floats(m, &s->logits, (size_t)HEAD_ROWS * c->n_vocab);
    for (int i = 0; good && i < 2; i++) {
        float *omega = arena_alloc_array(&m->memory, pairs, sizeof *omega);
        good = omega && new_floats(m, &m->rope[i].cos, T * pairs) && new_floats(m, &m->rope[i].sin, T * pairs);
        if (!good)
            break;
        model_rope_frequencies(c, i == 1, omega);
        m->rope[i].omega = omega;
        m->rope[i].n_pairs = (uint32_t)pairs;
    }
    s->tokens = arena_alloc_array(&m->memory, T, sizeof *s->tokens);
    s->positions = arena_alloc_array(&m->memory, T, sizeof *s->positions);
    s->spans = arena_alloc_array(&m->memory, T, sizeof *s->spans);
    if (!good || !s->tokens || !s->positions || !s->spans)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for the activations of %d tokens", MODEL_CHUNK_MAX);
    float one[MODEL_CHUNK_MAX];
    for (size_t i = 0; i < T; i++)
        one[i] = 1.0f;
    m->backend->ops->write(m->backend, s->ones, one, sizeof one);
    return DS4_OK;
}

static void free_scratch(model *m)
{
    model_scratch *s = &m->scratch;
    void *all[] = { s->x,           s->a,           s->b,           s->z,       s->post,
                    s->comb,        s->qr,          s->q,           s->out,     s->kv,
                    s->low,         s->series_kv,   s->series_gate, s->index_q, s->index_weight,
                    s->chosen,      s->n_chosen,    s->router,      s->weights, s->ids,
                    s->zero_ids,    s->ones,        s->head,        s->logits,  m->rope[0].cos,
                    m->rope[0].sin, m->rope[1].cos, m->rope[1].sin };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i])
            m->backend->ops->free(m->backend, all[i]);
}

static uint32_t largest(const uint32_t *list, size_t n)
{
    uint32_t top = 0;
    for (size_t i = 0; i < n; i++)
        top = list[i] > top ? list[i] : top;
    return top;
}

ds4_status model_reserve(model *m, uint32_t n_max, ds4_error *err)
{
    const model_config *c = &m->config;
    uint32_t compressed = 0, index = 0;
    for (uint32_t i = 0; i < c->n_layers; i++) {
        const uint32_t rows = c->ratios[i] ? n_max / c->ratios[i] : 0;
        const uint32_t seen = is_csa(c->ratios[i]) && rows > c->index_top_k ? c->index_top_k : rows;
        compressed = seen > compressed ? seen : compressed;
        if (is_csa(c->ratios[i]))
            index = rows > index ? rows : index;
    }
    const uint32_t inputs[] = { c->n_streams * c->n_embd, c->q_rank, c->n_heads * c->head_dim, c->n_groups * c->o_rank,
                                c->n_used * c->ff_dim };
    const backend_limits limits = {
        .n_tokens = MODEL_CHUNK_MAX,
        .n_input_max = largest(inputs, sizeof inputs / sizeof inputs[0]),
        .n_attend_max = c->window + compressed + 1,
        .n_index_max = index + 1,
        .n_heads = c->n_heads,
        .head_dim = c->head_dim,
        .n_index_heads = c->n_index_heads,
        .index_dim = c->index_dim,
        .n_embd = c->n_embd,
        .n_streams = c->n_streams,
        .ff_dim = c->ff_dim,
        .n_used = c->n_used,
        .n_experts = c->n_experts,
    };
    return m->backend->ops->reserve(m->backend, &limits, err);
}

/* --- the door ----------------------------------------------------------------------------------------------------- */

ds4_status model_open_gguf(model **out, gguf_file *file, const model_options *options, ds4_error *err)
{
    model *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m) {
        gguf_close(file);
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    }
    m->file = file;
    m->config.kv_rounding = options->kv_rounding;
    m->config.index_rounding = options->index_rounding;
    m->config.act = options->act;
    ds4_status status = model_config_read(&m->config, file, &m->memory, err);
    if (status == DS4_OK)
        status = model_bind(m, err);
    if (status == DS4_OK)
        status = backend_cpu_open(&m->backend, options->n_threads, options->kernels, options->act == MODEL_ACT_Q8, err);
    if (status == DS4_OK)
        status = new_scratch(m, err);
    if (status != DS4_OK) {
        model_close(m);
        return status;
    }
    *out = m;
    return DS4_OK;
}

ds4_status model_open(model **out, const char *path, const model_options *options, ds4_error *err)
{
    gguf_file *file;
    *out = NULL;
    const ds4_status status = gguf_open(&file, path, err);
    return status == DS4_OK ? model_open_gguf(out, file, options, err) : status;
}

void model_close(model *m)
{
    if (!m)
        return;
    if (m->backend) {
        free_scratch(m);
        m->backend->ops->close(m->backend);
    }
    arena_free(&m->memory);
    gguf_close(m->file);
    free(m);
}

const model_config *model_config_of(const model *m)
{
    return &m->config;
}

const gguf_file *model_gguf(const model *m)
{
    return m->file;
}

const char *model_kernels(const model *m)
{
    return m->backend->kernels;
}

uint32_t model_n_threads(const model *m)
{
    return m->backend->n_threads;
}

bool model_has_draft(const model *m)
{
    return m->draft != NULL;
}

uint32_t model_segment_multiple(const model *m)
{
    uint64_t multiple = 1;
    for (uint32_t i = 0; i < m->config.n_layers; i++) {
        const uint32_t ratio = m->config.ratios[i];
        if (!ratio)
            continue;
        uint64_t a = multiple, b = ratio;
        while (b) {
            const uint64_t rest = a % b;
            a = b;
            b = rest;
        }
        multiple = multiple / a * ratio;
        if (multiple > UINT32_MAX)
            return UINT32_MAX; /* no segment is that long: the engine says so */
    }
    return (uint32_t)multiple;
}

/* --- fingerprints ------------------------------------------------------------------------------------------------- */

static void add_f32(hash_stream *stream, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    hash_stream_add_u64(stream, bits);
}

void model_fingerprint(const model *m, hash_stream *stream)
{
    const model_config *c = &m->config;
    const uint64_t shape[] = { MODEL_NUMERICS_VERSION,
                               c->n_layers,
                               c->n_embd,
                               c->n_vocab,
                               c->n_heads,
                               c->head_dim,
                               c->rope_dim,
                               c->q_rank,
                               c->n_groups,
                               c->o_rank,
                               c->window,
                               c->n_index_heads,
                               c->index_dim,
                               c->index_top_k,
                               c->n_experts,
                               c->n_used,
                               c->ff_dim,
                               c->n_hash_layers,
                               c->n_streams,
                               c->n_sinkhorn,
                               c->yarn_original,
                               c->kv_rounding,
                               c->index_rounding,
                               c->act,
                               c->row_format };
    const float reals[] = { c->expert_scale,       c->hc_eps,      c->rms_eps,        c->rope_base,
                            c->compress_rope_base, c->yarn_factor, c->yarn_beta_fast, c->yarn_beta_slow };
    for (size_t i = 0; i < sizeof shape / sizeof shape[0]; i++)
        hash_stream_add_u64(stream, shape[i]);
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++)
        add_f32(stream, reals[i]);
    for (uint32_t i = 0; i < c->n_layers; i++) {
        hash_stream_add_u64(stream, c->ratios[i]);
        add_f32(stream, c->clamp[i]);
        add_f32(stream, c->clamp_shared[i]);
    }
    hash_stream_add(stream, m->backend->family, strlen(m->backend->family) + 1);
}

static void add_entry(hash_stream *stream, const gguf_tensor *t)
{
    hash_stream_add_u64(stream, t->name.size);
    hash_stream_add(stream, t->name.data, t->name.size);
    hash_stream_add_u64(stream, t->type);
    for (int k = 0; k < 4; k++)
        hash_stream_add_u64(stream, t->dims[k]);
}

/* (38) */
static ds4_status check_whole(const model *m, ds4_error *err)
{
    return gguf_still_whole(m->file) ? DS4_OK : ds4_fail(err, DS4_ERR_IO, "the model file was changed while in use");
}

ds4_status model_weights_hash(const model *m, hash_key *out, model_go_on_fn *go_on, void *user, ds4_error *err)
{
    enum { PIECE = 4 << 20 };
    hash_stream stream;
    uint64_t n_done = 0;
    hash_stream_begin(&stream, NULL);
    for (uint64_t i = 0; i < gguf_n_tensors(m->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(m->file, i);
        add_entry(&stream, t);
        for (uint64_t at = 0; at < t->n_bytes; at += PIECE) {
            const size_t n = (size_t)(t->n_bytes - at < PIECE ? t->n_bytes - at : PIECE);
            hash_stream_add(&stream, t->data + at, n);
            n_done += n;
            if (go_on && !go_on(user, n_done))
                return ds4_fail(err, DS4_ERR_CANCELLED, "hashing was stopped");
        }
    }
    hash_stream_end(&stream, out);
    return check_whole(m, err);
}

ds4_status model_sampled_hash(const model *m, hash_key *out, ds4_error *err)
{
    enum { SAMPLE = 64 << 10 };
    hash_stream stream;
    hash_stream_begin(&stream, NULL);
    for (uint64_t i = 0; i < gguf_n_tensors(m->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(m->file, i);
        const uint64_t n = t->n_bytes < SAMPLE ? t->n_bytes : SAMPLE;
        add_entry(&stream, t);
        hash_stream_add(&stream, t->data + (t->n_bytes - n) / 2, (size_t)n);
    }
    hash_stream_end(&stream, out);
    return check_whole(m, err);
}

void model_outline_hash(const model *m, hash_key *out)
{
    hash_stream stream;
    hash_stream_begin(&stream, NULL);
    for (uint64_t i = 0; i < gguf_n_values(m->file); i++) {
        const gguf_value *v = gguf_value_at(m->file, i);
        hash_stream_add_u64(&stream, v->key.size);
        hash_stream_add(&stream, v->key.data, v->key.size);
        hash_stream_add_u64(&stream, v->n_bytes);
        hash_stream_add(&stream, v->bytes, v->n_bytes);
    }
    for (uint64_t i = 0; i < gguf_n_tensors(m->file); i++)
        add_entry(&stream, gguf_tensor_at(m->file, i));
    hash_stream_end(&stream, out);
}
