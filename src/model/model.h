/* model/model.h - public header of the model module: hyper-parameters, weights, the forward pass, states of sequences.
 * Source of every formula, and of the section numbers below: docs/spec/model.md.
 *
 * Threads: a model is constant after model_open() except for the scratch memory of model_forward(), which exactly one
 * thread may call. Functions marked "any thread" touch only what is constant. A model_state belongs to one thread.
 * Lifetime: states must be freed before their model is closed. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "base/hash.h"
#include "ds4/error.h"
#include "gguf/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MODEL_NUMERICS_VERSION = 2, /* grows when the same weights and tokens begin to give other rows, beyond rounding */
    MODEL_CSA_RATIO = 4,  /* this ratio means two overlapping series and an indexer; other non-zero ones mean HCA */
    MODEL_REWIND_MAX = 8, /* tokens that model_state_rewind() can always take back */
    MODEL_CHUNK_MAX = 512 /* model_forward() works through longer batches in steps of so many tokens */
};

/* ---- options ---- */
typedef enum model_rounding { MODEL_ROUNDING_OFFICIAL, MODEL_ROUNDING_NONE } model_rounding;
typedef enum model_activation { MODEL_ACT_Q8, MODEL_ACT_F32 } model_activation;
/* How a sequence keeps its rows. Packed ones (quant/pack.c) are 3.5 times smaller and hold the same values: they need both
 * official roundings. AUTO: packed where they can be. */
typedef enum model_row_format { MODEL_ROWS_AUTO, MODEL_ROWS_F32, MODEL_ROWS_PACKED } model_row_format;

typedef struct model_options {
    uint32_t n_threads; /* kernels' threads, the caller's included; 0: one per physical core, at most 16 */
    model_rounding kv_rounding, index_rounding;
    model_activation act;
    model_row_format rows;
    const char *kernels;  /* force a kernel variant ("scalar", "avx2", ...); NULL: the best this machine runs */
    const char *backend;  /* NULL: "cpu" */
    uint32_t n_ctx;       /* longest sequence; 0: what the model was trained for, 32,768 at least */
    uint32_t page_tokens; /* tokens of one page of rows; 0: 1024, or the next multiple of the compression ratios */
} model_options;

model_options model_options_default(void); /* official roundings, q8 activations */
model_options model_options_parity(void);  /* no roundings, f32 activations: against references */

/* ---- hyper-parameters: section 1, all checked at load ---- */
typedef enum model_layer_kind {
    MODEL_LAYER_WINDOW, /* sliding window only */
    MODEL_LAYER_CSA,    /* compressed rows of two overlapping series, chosen by an indexer */
    MODEL_LAYER_HCA     /* compressed rows of one series, all visible */
} model_layer_kind;

typedef struct model_config {
    uint32_t n_layers;
    uint32_t n_embd;        /* d */
    uint32_t n_vocab;       /* V */
    uint32_t n_heads;       /* H */
    uint32_t head_dim;      /* D */
    uint32_t rope_dim;      /* R */
    uint32_t q_rank;        /* q */
    uint32_t n_groups;      /* G */
    uint32_t o_rank;        /* o, per group */
    uint32_t window;        /* W */
    uint32_t n_index_heads; /* HI */
    uint32_t index_dim;     /* I */
    uint32_t index_top_k;   /* K */
    uint32_t n_experts;     /* E */
    uint32_t n_used;        /* k */
    uint32_t ff_dim;        /* f */
    uint32_t n_hash_layers; /* Lh */
    uint32_t n_streams;     /* m */
    uint32_t n_sinkhorn;    /* S */
    uint32_t n_ctx_trained; /* 0 if the file does not say */
    uint32_t n_draft_layers;
    float expert_scale; /* s_e */
    float hc_eps, rms_eps;
    float rope_base, compress_rope_base;
    float yarn_factor; /* 1: no YaRN */
    uint32_t yarn_original;
    float yarn_beta_fast, yarn_beta_slow;
    model_layer_kind *kinds; /* [n_layers] */
    uint32_t *ratios;        /* [n_layers] tokens per compressed row; 0 in window layers */
    float *clamp;            /* [n_layers], of routed experts; <= 0: off */
    float *clamp_shared;     /* [n_layers] */
    model_rounding kv_rounding, index_rounding;
    model_activation act;
    model_row_format row_format;
} model_config;

/* ---- the model ---- */
typedef struct model model;

/* Opens a GGUF file, checks it (docs/spec/weights.md, checks 1 to 36) and binds every tensor. The weights stay in the
 * mapped file. hash_start() must have been called.
 * Error texts are what follows "ds4: <file>: ". Errors: those of gguf_open(); NOT_FOUND, UNSUPPORTED, CORRUPT for keys and
 * tensors; ARGUMENT for a kernel variant that does not exist or does not run here; NO_MEMORY. */
ds4_status model_open(model **out, const char *path, const model_options *options, ds4_error *err);
/* The same for an open file. Keeps `file` and closes it in model_close(), and on failure as well. */
ds4_status model_open_gguf(model **out, gguf_file *file, const model_options *options, ds4_error *err);
void model_close(model *m); /* NULL is fine */

const model_config *model_config_of(const model *m); /* any thread */
const gguf_file *model_gguf(const model *m);         /* any thread */
const char *model_kernels(const model *m);           /* "avx512", "avx2", "scalar"; any thread */
uint32_t model_n_threads(const model *m);
bool model_has_draft(const model *m); /* the file holds an MTP block */
/* The least common multiple of the compression ratios: segments must hold a multiple of so many tokens. */
uint32_t model_segment_multiple(const model *m);

/* Adds what, beside weights and tokenizer, decides about rows: shapes, constants, numerics version, switches, row format,
 * backend family. Any thread. */
void model_fingerprint(const model *m, hash_stream *stream);
/* Called between pieces of 256 KiB; false: enough, CANCELLED. */
typedef bool model_go_on_fn(void *user, uint64_t n_done);
/* BLAKE2b-256 of every tensor's name, type, shape and bytes, in directory order. Reads the whole file: about a second per
 * GB. `go_on` may be NULL. Any thread. Errors: IO (the file was changed while in use), CANCELLED. */
ds4_status model_weights_hash(const model *m, hash_key *out, model_go_on_fn *go_on, void *user, ds4_error *err);
/* The same over 64 KiB from the middle of every tensor. Any thread. */
ds4_status model_sampled_hash(const model *m, hash_key *out, ds4_error *err);
/* And over all metadata and no byte of a tensor: milliseconds. Any thread. */
void model_outline_hash(const model *m, hash_key *out);

/* ---- states: section 11 ---- */
typedef struct model_state model_state;

/* For up to n_ctx tokens, at most what the model was opened for; rows take memory page by page. Errors: ARGUMENT, NO_MEMORY. */
ds4_status model_state_new(model_state **out, model *m, uint32_t n_ctx, ds4_error *err);
void model_state_free(model_state *state);  /* NULL is fine */
void model_state_reset(model_state *state); /* to position 0, as if new; also the way out of "bad" */
uint32_t model_state_length(const model_state *state);
/* Back to n tokens, as if the later ones had never been seen. At most MODEL_REWIND_MAX below the greatest length since the
 * last reset or commit, and never below a commit: otherwise UNSUPPORTED and nothing changes. */
ds4_status model_state_rewind(model_state *state, uint32_t n, ds4_error *err);

/* The parts of a state that a store keeps; docs/spec/kvstore.md, section 4. Little-endian, layer-major; rows and window
 * are as the sequence keeps them, f32 or packed (docs/formats/kv-store.md), everything else is f32:
 * rows       per layer of the kind: the rows that tokens [begin, end) complete, floor(end/r) - floor(begin/r) of them
 * WINDOW     per layer: min(end, W) rows, oldest first
 * *_PENDING  per layer of the kind: end mod r tokens, each kv then gate (bias added)
 * *_OVERLAP  per CSA layer, once end >= 4: the 4 tokens of the last closed group, each kv then gate of the first series
 * For all but the rows `begin` is ignored. */
typedef enum model_part {
    MODEL_CSA_ROWS,
    MODEL_INDEX_ROWS,
    MODEL_HCA_ROWS,
    MODEL_WINDOW,
    MODEL_CSA_PENDING,
    MODEL_INDEX_PENDING,
    MODEL_HCA_PENDING,
    MODEL_CSA_OVERLAP,
    MODEL_INDEX_OVERLAP,
    MODEL_N_PARTS
} model_part;

size_t model_part_bytes(const model *m, model_part part, uint64_t begin, uint64_t end); /* any thread */
/* Whether bytes of a part hold values that can be computed with: finite, and codes that packing gives. Any thread. */
bool model_part_valid(const model *m, model_part part, const void *bytes, size_t size);
bool model_part_is_f32(const model *m, model_part part); /* or packed rows; any thread */
/* Rows: any range up to the length. Other parts: `end` must be the length. ARGUMENT otherwise, or when `size` is not
 * model_part_bytes(). */
ds4_status model_state_export(const model_state *state, model_part part, uint64_t begin, uint64_t end, void *out,
                              size_t size, ds4_error *err);
/* Fills a state that was just reset, rows in ascending order without gaps. Parts of 0 bytes may be left out. Between the
 * first import and the commit the state is bad. Errors: ARGUMENT (order, size); STATE_BAD (a value is not finite);
 * NO_MEMORY. */
ds4_status model_state_import(model_state *state, model_part part, uint64_t begin, uint64_t end, const void *bytes,
                              size_t size, ds4_error *err);
/* Declares the imported parts to be the state after n tokens; continuing is then bit for bit as if it had never been
 * saved. When a part is missing or of another position: ARGUMENT, and the state is reset. */
ds4_status model_state_commit(model_state *state, uint32_t n, ds4_error *err);

/* ---- the forward pass ---- */
typedef enum model_logits_wanted { MODEL_LOGITS_NONE, MODEL_LOGITS_LAST, MODEL_LOGITS_ALL } model_logits_wanted;

typedef struct model_slice {
    model_state *state;     /* each state at most once per batch */
    const uint32_t *tokens; /* [n_tokens] */
    uint32_t n_tokens;
    model_logits_wanted want;
    float *logits;     /* [1 or n_tokens, n_vocab], the caller's; unused for NONE */
    ds4_status status; /* out: OK; STATE_BAD: logits or streams are not finite, the state must be reset */
} model_slice;

/* Appends every slice's tokens to its state, all slices in one ragged batch. What comes out for a slice, logits and state,
 * is the same to the bit whatever shares the batch, however its tokens are split into calls, and with any n_threads.
 * The returned status is that of the whole batch. ARGUMENT (token out of range, context full, a bad state, a state
 * twice), NO_MEMORY: no state has changed. DEVICE_LOST: every state of the batch is bad and must be reset. After an error
 * no slice's status is meaningful. */
ds4_status model_forward(model *m, model_slice *slices, size_t n, ds4_error *err);

/* The MTP block over a whole sequence from position 0 (section 10): row t of `logits` [n_tokens - 1, n_vocab] is the
 * draft of token t+2 made from tokens 0..t+1. For tests and measurements; drafting in a running sequence comes later.
 * Errors: UNSUPPORTED (no draft block), ARGUMENT, NO_MEMORY, STATE_BAD. */
ds4_status model_draft_logits(model *m, const uint32_t *tokens, uint32_t n_tokens, float *logits, ds4_error *err);

#endif
