/* model/network.h - inside the model room: the bound network, the scratch of a step, the memory of a sequence.
 *
 *   config.c   keys -> model_config          bind.c     tensors -> model_layer      model.c   opening, fingerprints
 *   state.c    a sequence's memory           parts.c    its parts, out and in       forward.c the pass     draft.c the MTP block */
#ifndef MODEL_NETWORK_H
#define MODEL_NETWORK_H

#include "backend/backend.h"
#include "base/arena.h"
#include "model/model.h"

typedef struct model_compressor {
    backend_matrix kv, gate; /* [cD, d] */
    const float *ape;        /* [r, cD] */
    const float *norm;       /* [D] */
} model_compressor;

typedef struct model_layer {
    uint32_t ratio;
    backend_hyper hc_attn, hc_ffn;
    backend_matrix hc_attn_fn, hc_ffn_fn;
    const float *attn_norm, *ffn_norm; /* [d] */
    backend_matrix q_a, q_b, kv, output_a, output_b;
    const float *q_a_norm, *kv_norm, *sinks;
    model_compressor attention, index;
    backend_matrix index_q_b, index_proj;
    backend_matrix router, gate, up, down, shared_gate, shared_up, shared_down;
    const float *bias;    /* [E]; NULL in hash layers */
    const int32_t *table; /* [V, k]; hash layers */
    float clamp, clamp_shared;
} model_layer;

typedef struct model_head {
    backend_hyper hc;
    backend_matrix hc_fn;
    const float *norm; /* [d] */
} model_head;

typedef struct model_draft {
    model_layer layer;
    model_head head;
    backend_matrix e_proj, h_proj;
    const float *enorm, *hnorm;
} model_draft;

/* Activations of one step, in the backend's memory; T = MODEL_CHUNK_MAX. */
typedef struct model_scratch {
    float *x;                       /* [T, m, d] streams */
    float *a, *b;                   /* [T, d] */
    float *z, *post, *comb;         /* [T, (2+m) m], [T, m], [T, m, m] */
    float *qr, *q, *out, *kv, *low; /* [T, q], [T, H, D], [T, H, D], [T, D], [T, G o] */
    float *series_kv, *series_gate; /* [T, 2 max(D, I)] */
    float *index_q, *index_weight;  /* [T, HI, I], [T, HI] */
    uint32_t *chosen, *n_chosen;    /* [T, K], [T] */
    float *router, *weights;        /* [T, E], [T, k] */
    uint32_t *ids;                  /* [T, k] */
    uint32_t *zero_ids;             /* [T] zeros: the shared expert is an expert of one */
    float *ones;                    /* [T] */
    float *head, *logits;           /* [HEAD_ROWS, d], [HEAD_ROWS, V] */
    uint32_t *tokens, *positions;   /* [T] of the step, in ordinary memory */
    backend_span *spans;            /* [T] */
} model_scratch;

enum { HEAD_ROWS = 32 /* rows whose logits are made together */ };

struct model {
    gguf_file *file;
    model_config config;
    arena memory; /* widened vectors, layers */
    backend *backend;
    backend_matrix embed, output;
    model_layer *layers; /* [L] */
    model_head head;
    model_draft *draft;   /* NULL: the file has none */
    backend_rope rope[2]; /* [0] of ratio-0 layers, [1] of compressed ones */
    model_scratch scratch;
};

struct model_state {
    model *m;
    backend_memory *layers; /* [L] */
    uint32_t n_ctx, n;
    uint32_t peak, floor; /* rewinding: greatest length since, and position of, the last reset or commit */
    bool bad, importing;
    uint64_t rows_end[3];             /* tokens whose rows were imported, per kind of row */
    uint32_t part_end[MODEL_N_PARTS]; /* position of the imported part; UINT32_MAX: none */
};

ds4_status model_config_read(model_config *c, const gguf_file *file, arena *memory, ds4_error *err);
void model_rope_frequencies(const model_config *c, bool compressed, float *omega); /* section 3; omega [R / 2] */
ds4_status model_bind(model *m, ds4_error *err);

/* Layer-shaped memory: what one layer of one sequence keeps. false: no memory. */
bool model_memory_new(const model *m, backend_memory *memory, uint32_t ratio, uint32_t n_ctx);
void model_memory_free(const model *m, backend_memory *memory);

/* One layer over a step whose spans' memory is set; streams in scratch.x. */
void model_run_layer(model *m, const model_layer *layer, const backend_step *s);
/* logits [n, V] of n streams from row `row` of scratch.x on, in pieces; `out` is the caller's. Are they all finite? */
bool model_run_head(model *m, const model_head *head, uint32_t row, uint32_t n, float *out);
ds4_status model_reserve(model *m, uint32_t n_max, ds4_error *err); /* for sequences of up to n_max tokens */

static inline bool is_csa(uint32_t ratio)
{
    return ratio == MODEL_CSA_RATIO;
}

static inline backend_round kv_round(const model *m)
{
    return m->config.kv_rounding == MODEL_ROUNDING_OFFICIAL ? BACKEND_ROUND_KV : BACKEND_ROUND_NONE;
}

static inline backend_round index_round(const model *m)
{
    return m->config.index_rounding == MODEL_ROUNDING_OFFICIAL ? BACKEND_ROUND_INDEX : BACKEND_ROUND_NONE;
}

#endif
