/* engine/engine.h - public header of the engine: a loaded model, its tokenizer, sequences, sampling, checkpoints.
 *
 * Threads: an engine is stepped by exactly one thread (the scheduler's). What is marked "constant" may be called from
 * any thread once engine_open() has returned. No locks inside. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/tokens.h"
#include "ds4/error.h"
#include "kv/kv.h"
#include "text/text.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct engine engine;

typedef struct engine_options {
    const char *model_path;
    const char *tokenizer_pre; /* or NULL */
    uint32_t n_ctx;     /* longest sequence, at most the trained context (said once in the log); 0: 32768, if trained */
    uint32_t n_threads; /* 0: automatic */
    /* Numerics (docs/spec/model.md, section 12.3). False: as the official model computes. They are part of the
     * identity of states. */
    bool kv_unrounded, index_unrounded, act_f32;
    bool kv_rows_f32;    /* not packed, although both roundings would allow it */
    const char *kernels; /* a variant by name ("scalar", "avx2", ...); NULL: the best that runs here */
    /* The store; kv_dir NULL means none. A directory that cannot be used is an error here only if it is not a
     * directory or cannot be made: everything later degrades to "no cache" with one log line. */
    const char *kv_dir;
    uint64_t kv_budget_bytes;   /* 0: default */
    uint64_t kv_min_free_bytes; /* 0: default */
    uint32_t kv_segment_tokens; /* 0: default (1024); a multiple of every compression ratio */
    uint32_t kv_crash_strikes;  /* 0: default (1) */
    uint32_t kv_shutdown_ms;    /* how long closing may write what is still queued (--kv-shutdown-ms) */
    /* With a store, models of up to so many bytes are hashed before engine_open() returns, if the directory has no note of
     * them; longer ones in the background (src/engine/identity.c). */
    uint64_t hash_at_once_bytes; /* default: 256 MiB, a third of a second */
    bool kv_read_only;
} engine_options;

engine_options engine_options_default(void);

/* Opens model, tokenizer and store. Errors: those of gguf_open(), model_open(), text_tokenizer_open(),
 * kv_store_open(); the text names the file or directory. */
ds4_status engine_open(engine **out, const engine_options *options, ds4_error *err);
void engine_close(engine *e); /* NULL is fine */

/* ---- constant facts ---- */
typedef struct engine_about {
    slice name;              /* general.name, or the file name without its ending */
    slice version, finetune; /* may be empty */
    const char *file_name;   /* without folders */
    uint32_t n_ctx, n_ctx_trained, n_vocab;
    uint64_t n_params, n_bytes;
    const char *backend;  /* "cpu" */
    const char *kernels;  /* "avx512", "scalar", ... */
    char fingerprint[13]; /* 12 digits: model's metadata and shapes, tokenizer, numerics; not the weights themselves */
} engine_about;

const engine_about *engine_get_about(const engine *e);
const text_tokenizer *engine_tokenizer(const engine *e);
kv_store *engine_store(const engine *e); /* NULL if there is none; usable from any thread */

/* ---- sampling: docs/spec/protocol.md, section 5 ---- */
enum { ENGINE_TEMPERATURE_MAX = 2 }; /* as the hosted API; the same for the server, the program and the library */

typedef struct engine_bias {
    uint32_t id;
    float bias;
} engine_bias;

typedef struct engine_sampling {
    float temperature; /* 0: argmax, lowest id on ties */
    float top_p, min_p;
    uint32_t top_k; /* 0: all */
    float presence_penalty, frequency_penalty, repetition_penalty;
    const engine_bias *biases; /* [n_biases] */
    uint32_t n_biases;
    uint64_t seed;
} engine_sampling;

engine_sampling engine_sampling_default(void); /* temperature 1, top_p 1, min_p 0.05, nothing else */

typedef struct engine_sampler engine_sampler;

/* ARGUMENT when a number is outside its range, or a bias id outside the vocabulary. */
ds4_status engine_sampling_check(const engine_sampling *options, uint32_t n_vocab, ds4_error *err);
/* Copies everything. Errors: those of engine_sampling_check(), NO_MEMORY. */
ds4_status engine_sampler_new(engine_sampler **out, const engine_sampling *options, uint32_t n_vocab, ds4_error *err);
void engine_sampler_free(engine_sampler *sampler);
/* Tells the sampler about tokens for its penalties: of the prompt, or generated. */
void engine_sampler_note(engine_sampler *sampler, const uint32_t *ids, size_t n, bool generated);

/* What is asked of one token beyond the sampling options. Zeroed: nothing. */
typedef struct engine_choice {
    bool greedy; /* the argmax, whatever the temperature */
    /* The constraint, called with `user`; NULL: every id may come next. An id outside the set gets no probability before
     * anything is chosen or drawn, so what is left is renormalised. Of a set without a finite logit the lowest id is taken;
     * an empty set is a fault of the caller and binds nothing. The set stays valid until the choice is made. */
    const token_set *(*allowed)(void *user);
    /* Is one id in that set? Asked of the likeliest ids of a greedy choice, so that the set is seldom built; needs `allowed`.
     * NULL: the set is always built. */
    bool (*allows)(void *user, uint32_t id);
    void *user;
    /* n_near > 0: near_id, in the set or not, if no n_near others are more likely. */
    uint32_t near_id, n_near;
    /* replace: where replaced_id would be chosen, replacement_id is. */
    bool replace;
    uint32_t replaced_id, replacement_id;
} engine_choice;

/* Picks from logits [n_vocab]. STATE_BAD when no logit is finite. */
ds4_status engine_sampler_pick(engine_sampler *sampler, const float *logits, const engine_choice *choice, uint32_t *id,
                               ds4_error *err);

typedef struct engine_logprob {
    uint32_t id;
    float logprob;
} engine_logprob;
/* Log-softmax of raw logits: of `id`, and the n_top most likely (ties: lower id first). Returns the value for id. */
float engine_logprobs(const float *logits, uint32_t n_vocab, uint32_t id, engine_logprob *top, uint32_t n_top);

/* ---- sequences ---- */
typedef struct engine_sequence engine_sequence;

ds4_status engine_sequence_new(engine_sequence **out, engine *e, ds4_error *err);
void engine_sequence_free(engine_sequence *sequence);
void engine_sequence_reset(engine_sequence *sequence); /* to position 0, as if new */

const uint32_t *engine_sequence_tokens(const engine_sequence *sequence); /* [length] */
uint32_t engine_sequence_length(const engine_sequence *sequence);
/* The logits after the last token, [n_vocab]; NULL if there are none (empty, or the step asked for none). */
const float *engine_sequence_logits(const engine_sequence *sequence);
/* Back to position n. UNSUPPORTED when the state cannot go that far back without a checkpoint. */
ds4_status engine_sequence_rewind(engine_sequence *sequence, uint32_t n, ds4_error *err);

/* One item of a ragged step: tokens to append. */
typedef struct engine_work {
    engine_sequence *sequence;
    const uint32_t *tokens;
    uint32_t n_tokens;
    bool want_logits;  /* of the last token */
    bool prefill;      /* tokens of a prompt; tells fault points and figures apart, the computation is the same */
    ds4_status status; /* out: OK; STATE_BAD: this sequence must be reset or dropped; other items are unaffected */
    ds4_error error;   /* out */
} engine_work;

/* Runs all items as one batch. The returned status is that of the step as a whole: unless it is OK no item has advanced.
 * ARGUMENT, NO_MEMORY: the sequences are as they were. DEVICE_LOST: each of them must be reset or dropped. */
ds4_status engine_step(engine *e, engine_work *work, size_t n, ds4_error *err);

/* ---- checkpoints ---- */
/* Hands what is new since the last save to the store's writer: whole segments and, with `frontier`, the state at the
 * present position. Costs a copy of the mutable rows; never touches the disk. Degradations are counted by the store. */
typedef enum engine_save_reason {
    ENGINE_SAVE_SEGMENT,
    ENGINE_SAVE_ANCHOR,
    ENGINE_SAVE_PROMPT,
    ENGINE_SAVE_TURN,
    ENGINE_SAVE_DISPLACED,
    ENGINE_SAVE_EXIT
} engine_save_reason;

void engine_sequence_save(engine_sequence *sequence, engine_save_reason reason, bool frontier);
/* Tokens since the last frontier that was handed to the store (or restored from it); the length if there was none. */
uint32_t engine_sequence_unsaved(const engine_sequence *sequence);

/* Tokens from the start on that the store has, or was handed for writing. */
uint32_t engine_sequence_saved(const engine_sequence *sequence);

/* All or nothing: after DS4_OK the sequence is exactly at kv_plan_tokens(plan) with every row and counter of that
 * position; after any error it is empty. Call kv_plan_begin() first, and judge the plan afterwards. */
ds4_status engine_sequence_restore(engine_sequence *sequence, kv_plan *plan, ds4_error *err);

#endif
