/* model/network.h - what the files of the model module share: the bound network, the scratch of a step, the memory of a
 * sequence.
 *
 *   config.c   keys -> model_config          bind.c     tensors -> model_layer      model.c   opening, fingerprints
 *   state.c    a sequence's memory           parts.c    its parts, out and in       forward.c the pass     draft.c the MTP block */
#ifndef MODEL_NETWORK_H
#define MODEL_NETWORK_H

#include "backend/backend.h"
#include "base/arena.h"
#include "model/model.h"

typedef struct model_compressor {
    backend_tensor *kv, *gate; /* [cD, d] */
    backend_tensor *bias;      /* [r, cD] */
    backend_tensor *norm;      /* [D] */
} model_compressor;

typedef struct model_layer {
    uint32_t index; /* number of the layer in the backend; draft layers follow the trunk's */
    model_layer_kind kind;
    uint32_t ratio; /* 0 in window layers */
    backend_hyper hc_attn, hc_ffn;
    backend_tensor *attn_norm, *ffn_norm; /* [d] */
    backend_tensor *q_a, *q_b, *kv, *output_a, *output_b;
    backend_tensor *q_a_norm, *kv_norm, *sinks;
    model_compressor attention, indexer;
    backend_tensor *indexer_q_b, *indexer_proj;
    backend_tensor *router, *gate, *up, *down, *shared_gate, *shared_up, *shared_down;
    backend_tensor *bias;  /* [E]; NULL in hash layers */
    backend_tensor *table; /* [V, k]; hash layers */
    float clamp, clamp_shared;
} model_layer;

typedef struct model_head {
    backend_hyper hc;
    backend_tensor *norm; /* [d] */
} model_head;

typedef struct model_draft {
    model_layer layer;
    model_head head;
    backend_tensor *e_proj, *h_proj;
    backend_tensor *enorm, *hnorm;
    float *normed, *projected; /* [T, m, d] scratch of the block's inputs */
} model_draft;

/* Activations of one step, in the backend's memory; T = MODEL_CHUNK_MAX. */
typedef struct model_scratch {
    float *x;                       /* [T, m, d] streams */
    float *a, *b;                   /* [T, d] */
    float *z, *post, *comb;         /* [T, (2+m) m], [T, m], [T, m, m] */
    float *qr, *q, *out, *kv, *low; /* [T, q], [T, H, D], [T, H, D], [T, D], [T, G o] */
    float *series_kv, *series_gate; /* [T, 2 max(D, I)] */
    float *router, *weights;        /* [T, E], [T, k] */
    uint32_t *ids;                  /* [T, k] */
    float *head, *logits;           /* [HEAD_ROWS, d], [HEAD_ROWS, V] */
} model_scratch;

/* What describes a step, in ordinary memory; T = MODEL_CHUNK_MAX. */
typedef struct model_batch {
    uint32_t tokens[MODEL_CHUNK_MAX], positions[MODEL_CHUNK_MAX];
    backend_span spans[MODEL_CHUNK_MAX];
    backend_row rows[MODEL_CHUNK_MAX];
    bool finite[MODEL_CHUNK_MAX];  /* of spans */
    size_t owner[MODEL_CHUNK_MAX]; /* the slice of each span */
    uint32_t n_tokens, n_spans, n_rows;
} model_batch;

enum { HEAD_ROWS = 32 /* rows whose logits are made together */ };

struct model {
    gguf_file *file;
    model_config config;
    arena memory; /* layers and other lists */
    backend *backend;
    uint32_t n_ctx_max;
    backend_tensor *embed, *output;
    model_layer *layers; /* [L] */
    model_head head;
    model_draft *draft; /* NULL: the file has none */
    model_scratch scratch;
    model_batch batch;
};

struct model_state {
    model *m;
    void *rolling; /* in the backend's memory, like the pages */
    void **pages;  /* [n_pages] rows of page_tokens tokens each */
    uint32_t n_pages;
    uint32_t n_ctx, n;
    uint32_t peak, floor; /* rewinding: greatest length since, and position of, the last reset or commit */
    bool bad, importing;
    uint64_t rows_end[3];             /* tokens whose rows were imported, per kind of row */
    uint32_t part_end[MODEL_N_PARTS]; /* position of the imported part; UINT32_MAX: none */
};

ds4_status model_config_read(model_config *c, const gguf_file *file, arena *memory, ds4_error *err);
/* omega [R / 2]: docs/spec/model.md, section 3. */
void model_rope_frequencies(const model_config *c, bool compressed, float *omega);
ds4_status model_bind(model *m, ds4_error *err);

/* Makes room for the rows of n tokens. NO_MEMORY: nothing has changed that matters. */
ds4_status model_state_grow(model_state *state, uint32_t n, ds4_error *err);
backend_sequence model_state_memory(const model_state *state);
void model_state_clear(model_state *state); /* counters and marks as if new; keeps the memory */

/* One layer over the step that was begun; streams in scratch.x. */
void model_run_layer(model *m, const model_layer *layer);
/* Logits of all wanted rows of the step, from the streams in scratch.x. */
void model_run_head(model *m, const model_head *head, uint32_t n_rows);
void model_begin(model *m); /* begins a step with what `batch` says */

#endif
