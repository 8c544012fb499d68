/* Opening and closing, scratch memory, fingerprints. */
#include "model/network.h"
#include "quant/quant.h"

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

/* --- the backend and its memory ------------------------------------------------------------------------------------------ */

/* One list of the activations: where its address goes, and how many values it has. */
typedef struct scratch_list {
    void *pointer; /* of a float * or uint32_t * */
    size_t n;
} scratch_list;

enum { N_LISTS = 20 };

static void lists_of(model *m, scratch_list out[N_LISTS])
{
    const model_config *c = &m->config;
    model_scratch *s = &m->scratch;
    const size_t T = MODEL_CHUNK_MAX, d = c->n_embd, streams = c->n_streams;
    const size_t wide = 2 * (size_t)(c->head_dim > c->index_dim ? c->head_dim : c->index_dim);
    const size_t heads = (size_t)c->n_heads * c->head_dim;
    const scratch_list lists[N_LISTS] = { { &s->x, T * streams * d },
                                          { &s->a, T * d },
                                          { &s->b, T * d },
                                          { &s->z, T * (2 + streams) * streams },
                                          { &s->post, T * streams },
                                          { &s->comb, T * streams * streams },
                                          { &s->qr, T * c->q_rank },
                                          { &s->q, T * heads },
                                          { &s->out, T * heads },
                                          { &s->kv, T * c->head_dim },
                                          { &s->low, T * c->n_groups * c->o_rank },
                                          { &s->series_kv, T * wide },
                                          { &s->series_gate, T * wide },
                                          { &s->router, T * c->n_experts },
                                          { &s->weights, T * c->n_used },
                                          { &s->ids, T * c->n_used },
                                          { &s->head, HEAD_ROWS * d },
                                          { &s->logits, (size_t)HEAD_ROWS * c->n_vocab },
                                          { m->draft ? (void *)&m->draft->normed : NULL, T * streams * d },
                                          { m->draft ? (void *)&m->draft->projected : NULL, T * streams * d } };
    memcpy(out, lists, sizeof lists);
}

static ds4_status new_scratch(model *m, ds4_error *err)
{
    scratch_list lists[N_LISTS];
    lists_of(m, lists);
    for (size_t i = 0; i < N_LISTS; i++) {
        if (!lists[i].pointer)
            continue;
        void *memory = m->backend->ops->alloc(m->backend, lists[i].n * sizeof(float));
        memcpy(lists[i].pointer, &memory, sizeof memory);
        if (!memory)
            return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for the activations of %d tokens",
                            MODEL_CHUNK_MAX);
    }
    return DS4_OK;
}

static void free_scratch(model *m)
{
    scratch_list lists[N_LISTS];
    lists_of(m, lists);
    for (size_t i = 0; i < N_LISTS; i++) {
        void *memory = NULL;
        if (lists[i].pointer)
            memcpy(&memory, lists[i].pointer, sizeof memory);
        m->backend->ops->free(m->backend, memory);
    }
}

static uint32_t largest(const uint32_t *list, size_t n)
{
    uint32_t top = 0;
    for (size_t i = 0; i < n; i++)
        top = list[i] > top ? list[i] : top;
    return top;
}

/* Tokens of a page when nobody asked for a number: some 1,024 that hold whole groups. 0: there is no such number. */
static uint32_t default_page(const model *m)
{
    enum { PAGE_TOKENS = 1024, PAGE_TOKENS_MAX = 1 << 20 };
    const uint32_t multiple = model_segment_multiple(m);
    return multiple > PAGE_TOKENS_MAX ? 0 : (PAGE_TOKENS + multiple - 1) / multiple * multiple;
}

/* AUTO becomes what this model and these roundings allow. */
static ds4_status choose_rows(model_config *c, ds4_error *err)
{
    const bool rounded = c->kv_rounding == MODEL_ROUNDING_OFFICIAL && c->index_rounding == MODEL_ROUNDING_OFFICIAL;
    const bool packable =
        rounded && quant_packed_kv_bytes(c->head_dim, c->rope_dim) > 0 && quant_packed_index_bytes(c->index_dim) > 0;
    if (c->row_format == MODEL_ROWS_PACKED && !packable)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "packed rows need both official roundings, and heads that they divide");
    if (c->row_format == MODEL_ROWS_AUTO)
        c->row_format = packable ? MODEL_ROWS_PACKED : MODEL_ROWS_F32;
    return DS4_OK;
}

static ds4_status configure(model *m, const model_options *options, ds4_error *err)
{
    enum { N_CTX_MIN = 32768 };
    const model_config *c = &m->config;
    const uint32_t inputs[] = { c->n_streams * c->n_embd, c->q_rank, c->n_heads * c->head_dim, c->n_groups * c->o_rank,
                                c->n_used * c->ff_dim };
    const uint32_t page = options->page_tokens ? options->page_tokens : default_page(m);
    if (page == 0)
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "attention.compress_ratios have no common multiple below %u",
                        1u << 20);
    const uint32_t n_trained = c->n_ctx_trained > N_CTX_MIN ? c->n_ctx_trained : N_CTX_MIN;
    m->n_ctx_max = options->n_ctx ? options->n_ctx : n_trained;
    backend_layer *layers = arena_alloc_array(&m->memory, c->n_layers + c->n_draft_layers, sizeof *layers);
    float *omega[2] = { arena_alloc_array(&m->memory, c->rope_dim / 2, sizeof(float)),
                        arena_alloc_array(&m->memory, c->rope_dim / 2, sizeof(float)) };
    if (!layers || !omega[0] || !omega[1])
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    static const backend_layer_kind kinds[] = { [MODEL_LAYER_WINDOW] = BACKEND_LAYER_WINDOW,
                                                [MODEL_LAYER_CSA] = BACKEND_LAYER_CSA,
                                                [MODEL_LAYER_HCA] = BACKEND_LAYER_HCA };
    for (uint32_t i = 0; i < c->n_layers; i++)
        layers[i] = (backend_layer){ kinds[c->kinds[i]], c->ratios[i] };
    for (uint32_t i = c->n_layers; i < c->n_layers + c->n_draft_layers; i++)
        layers[i] = (backend_layer){ BACKEND_LAYER_WINDOW, 0 };
    model_rope_frequencies(c, false, omega[0]);
    model_rope_frequencies(c, true, omega[1]);
    const backend_shape shape = {
        .n_layers = c->n_layers,
        .n_draft_layers = c->n_draft_layers,
        .layers = layers,
        .n_embd = c->n_embd,
        .n_streams = c->n_streams,
        .n_heads = c->n_heads,
        .head_dim = c->head_dim,
        .rope_dim = c->rope_dim,
        .window = c->window,
        .n_index_heads = c->n_index_heads,
        .index_dim = c->index_dim,
        .index_top_k = c->index_top_k,
        .n_experts = c->n_experts,
        .n_used = c->n_used,
        .ff_dim = c->ff_dim,
        .n_vocab = c->n_vocab,
        .n_input_max = largest(inputs, sizeof inputs / sizeof inputs[0]),
        .omega_window = omega[0],
        .omega_compressed = omega[1],
        .rms_eps = c->rms_eps,
        .kv_round = c->kv_rounding == MODEL_ROUNDING_OFFICIAL ? BACKEND_ROUND_KV : BACKEND_ROUND_NONE,
        .index_round = c->index_rounding == MODEL_ROUNDING_OFFICIAL ? BACKEND_ROUND_INDEX : BACKEND_ROUND_NONE,
        .n_tokens_max = MODEL_CHUNK_MAX,
        .n_rows_max = MODEL_CHUNK_MAX,
        .n_ctx_max = m->n_ctx_max,
        .packed = c->row_format == MODEL_ROWS_PACKED,
        .page_tokens = page,
        .rewind_tokens = MODEL_REWIND_MAX,
    };
    return m->backend->ops->configure(m->backend, &shape, err);
}

/* --- opening and closing ------------------------------------------------------------------------------------------ */

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
    m->config.row_format = options->rows;
    const backend_options how = { .n_threads = options->n_threads,
                                  .kernels = options->kernels,
                                  .quantise = options->act == MODEL_ACT_Q8 };
    ds4_status status = model_config_read(&m->config, file, &m->memory, err);
    if (status == DS4_OK)
        status = choose_rows(&m->config, err);
    if (status == DS4_OK)
        status = backend_open(&m->backend, options->backend ? options->backend : "cpu", &how, err);
    if (status == DS4_OK)
        status = configure(m, options, err);
    if (status == DS4_OK)
        status = model_bind(m, err);
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
    enum { PIECE = 256 << 10 }; /* whoever wants to stop does not wait long, also at idle priority */
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
