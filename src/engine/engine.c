/* engine/engine.c - opening and closing: model, tokenizer, store, and the identity that ties the three together. */
#include "engine/engine_state.h"

#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENT_TOKENS_DEFAULT = 1024, SHUTDOWN_DEFAULT_MS = 3000, N_CTX_DEFAULT = 32768 };
enum { HASH_AT_ONCE_DEFAULT = 256 << 20, IDENTITY_STOP_US = 1000000 };

engine_options engine_options_default(void)
{
    return (engine_options){ .kv_shutdown_ms = SHUTDOWN_DEFAULT_MS, .hash_at_once_bytes = HASH_AT_ONCE_DEFAULT };
}

/* A metadata string, or empty. */
static slice string_of(const gguf_file *file, const char *key)
{
    slice value = { 0 };
    if (gguf_get_string(file, key, &value, NULL) != DS4_OK)
        value = (slice){ "", 0 };
    return value;
}

static const char *name_of_path(const char *path)
{
    const char *name = strrchr(path, '/');
    return name ? name + 1 : path;
}

static uint64_t count_params(const gguf_file *file)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < gguf_n_tensors(file); i++)
        n += gguf_tensor_at(file, i)->n_values;
    return n;
}

static ds4_status describe(engine *e, const engine_options *options, ds4_error *err)
{
    const gguf_file *file = model_gguf(e->model);
    const model_config *config = model_config_of(e->model);
    engine_about *about = &e->about;
    const slice file_name = arena_copy(&e->strings, slice_of(name_of_path(options->model_path)));
    if (!file_name.data)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory");
    about->file_name = file_name.data;
    about->name = string_of(file, "general.name");
    about->version = string_of(file, "general.version");
    about->finetune = string_of(file, "general.finetune");
    if (about->name.size == 0) {
        const char *dot = strrchr(file_name.data, '.');
        about->name = (slice){ file_name.data, dot ? (size_t)(dot - file_name.data) : file_name.size };
    }
    about->n_vocab = config->n_vocab;
    about->n_ctx_trained = config->n_ctx_trained;
    about->n_ctx = options->n_ctx ? options->n_ctx : N_CTX_DEFAULT;
    if (about->n_ctx_trained && about->n_ctx > about->n_ctx_trained) {
        if (options->n_ctx) /* somebody asked for it */
            log_warning("context clamped from=%u to=%u why=trained-context", about->n_ctx, about->n_ctx_trained);
        about->n_ctx = about->n_ctx_trained;
    }
    about->n_params = count_params(file);
    about->n_bytes = gguf_file_bytes(file);
    about->backend = "cpu";
    about->kernels = model_kernels(e->model);
    return DS4_OK;
}

/* Everything that decides about a state, given what stands for the weights: docs/spec/kvstore.md, section 10. */
static void fingerprint(const engine *e, const hash_key *weights, hash_key *out)
{
    hash_stream stream;
    hash_stream_begin(&stream, NULL);
    hash_stream_add(&stream, "ds4 state 1", 11);
    hash_stream_add(&stream, weights->bytes, sizeof weights->bytes);
    text_fingerprint(e->tokenizer, &stream);
    model_fingerprint(e->model, &stream);
    hash_stream_end(&stream, out);
}

/* For clients and people; that of a store's states takes reading the weights. */
static void describe_fingerprint(engine *e)
{
    char hex[HASH_KEY_HEX];
    hash_key outline, whole;
    model_outline_hash(e->model, &outline);
    fingerprint(e, &outline, &whole);
    hash_key_hex(&whole, hex);
    snprintf(e->about.fingerprint, sizeof e->about.fingerprint, "%.12s", hex);
}

static ds4_status identify(void *user, kv_store *store, uint8_t out[32], ds4_error *err)
{
    engine *e = user;
    hash_key weights, whole;
    const ds4_status status = identity_find(&weights, &e->identity, e->model, store, e->hash_at_once_bytes, err);
    if (status != DS4_OK)
        return status;
    fingerprint(e, &weights, &whole);
    memcpy(out, whole.bytes, sizeof whole.bytes);
    return DS4_OK;
}

static ds4_status open_store(engine *e, const engine_options *options, ds4_error *err)
{
    const uint32_t multiple = model_segment_multiple(e->model);
    uint32_t n = options->kv_segment_tokens;
    if (n == 0) /* the default, or for unusual ratios the next multiple of them */
        n = (SEGMENT_TOKENS_DEFAULT + multiple - 1) / multiple * multiple;
    if (n % multiple != 0)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "segments of %u tokens do not hold whole groups of this model (%u)", n,
                        multiple);
    kv_options kv = kv_options_default();
    kv.dir = options->kv_dir;
    kv.segment_tokens = n;
    kv.budget_bytes = options->kv_budget_bytes;
    kv.min_free_bytes = options->kv_min_free_bytes;
    kv.crash_strikes = options->kv_crash_strikes;
    kv.read_only = options->kv_read_only;
    kv.identify = identify;
    kv.identify_user = e;
    engine_fill_layout(e->model, &kv.layout);
    const ds4_status status = kv_store_open(&e->store, &kv, err);
    if (status == DS4_ERR_ARGUMENT)
        return status; /* the operator named something that is not a directory: say so at once */
    if (status != DS4_OK) {
        log_warning("kv off dir=\"%s\" why=\"%s\"", options->kv_dir, err ? err->text : ds4_status_word(status));
        e->store = NULL;
    }
    if (e->store && e->identity)
        identity_start(e->identity);
    e->segment_tokens = n;
    return DS4_OK;
}

ds4_status engine_open(engine **out, const engine_options *options, ds4_error *err)
{
    *out = NULL;
    ds4_error why = { 0 };
    engine *e = calloc(1, sizeof *e);
    if (!e)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for an engine");
    e->drain_us = (int64_t)options->kv_shutdown_ms * 1000;
    e->hash_at_once_bytes = options->hash_at_once_bytes;
    const model_options model_opts = {
        .n_threads = options->n_threads,
        .kv_rounding = options->kv_unrounded ? MODEL_ROUNDING_NONE : MODEL_ROUNDING_OFFICIAL,
        .index_rounding = options->index_unrounded ? MODEL_ROUNDING_NONE : MODEL_ROUNDING_OFFICIAL,
        .act = options->act_f32 ? MODEL_ACT_F32 : MODEL_ACT_Q8,
        .rows = options->kv_rows_f32 ? MODEL_ROWS_F32 : MODEL_ROWS_AUTO,
        .kernels = options->kernels,
        .n_ctx = options->n_ctx ? options->n_ctx : N_CTX_DEFAULT,
        .page_tokens = options->kv_segment_tokens, /* one unit in memory and on disk */
    };
    ds4_status status = hash_start(&why);
    if (status == DS4_OK)
        status = model_open(&e->model, options->model_path, &model_opts, &why);
    if (status == DS4_OK)
        status = text_tokenizer_open(&e->tokenizer, model_gguf(e->model), options->tokenizer_pre, &why);
    if (status != DS4_OK) {
        ds4_fail(err, status, "%s: %s", options->model_path, why.text);
        goto out;
    }
    if (gguf_warning(model_gguf(e->model)))
        log_warning("model file=\"%s\" note=\"%s\"", options->model_path, gguf_warning(model_gguf(e->model)));
    status = describe(e, options, err);
    if (status == DS4_OK)
        describe_fingerprint(e);
    if (status == DS4_OK && options->kv_dir) {
        status = open_store(e, options, &why);
        if (status != DS4_OK)
            ds4_fail(err, status, "%s: %s", options->kv_dir, why.text);
    }
out:
    if (status != DS4_OK) {
        engine_close(e);
        return status;
    }
    *out = e;
    return DS4_OK;
}

void engine_close(engine *e)
{
    if (!e)
        return;
    const bool found = identity_stop(e->identity, clock_monotonic_us() + IDENTITY_STOP_US);
    const bool closed = kv_store_close(e->store, e->drain_us);
    text_tokenizer_close(e->tokenizer);
    if (found && closed) /* a thread that a disk keeps may still read the model, or ask about its layout */
        model_close(e->model);
    arena_free(&e->strings);
    free(e->slices);
    free(e);
}

const engine_about *engine_get_about(const engine *e)
{
    return &e->about;
}

const text_tokenizer *engine_tokenizer(const engine *e)
{
    return e->tokenizer;
}

kv_store *engine_store(const engine *e)
{
    return e->store;
}
