/* engine/engine_state.h - what the files of this module share. Engine thread only, except what is constant. */
#ifndef ENGINE_ENGINE_STATE_H
#define ENGINE_ENGINE_STATE_H

#include "engine/engine.h"
#include "engine/identity.h"
#include "model/model.h"

struct engine {
    /* Constant after engine_open(). */
    model *model;
    text_tokenizer *tokenizer;
    kv_store *store; /* NULL: none, or it could not be used */
    engine_about about;
    arena strings; /* what `about` points to */
    uint32_t segment_tokens;
    int64_t drain_us; /* how long closing the store may take */
    uint64_t hash_at_once_bytes;
    identity *identity; /* NULL: known, or no store */
    /* Scratch of engine_step(). */
    model_slice *slices;
    size_t slices_capacity;
};

struct engine_sequence {
    engine *engine;
    model_state *state;
    token_list tokens;
    float *logits; /* [n_vocab] */
    bool has_logits;
    bool fresh;           /* restored, and nothing was evaluated since */
    kv_chain *chain;      /* NULL: no store, or no memory for it: this sequence is then not saved */
    uint32_t frontier_at; /* position of the last frontier given to the store or taken from it; 0: none */
    uint32_t saved_to;    /* engine_sequence_saved() */
    uint64_t n_offered;   /* whole segments already offered to the store */
    int64_t spent_us;     /* time of the steps that this sequence took part in, its share */
    uint64_t n_spent;     /* tokens of these steps */
};

/* checkpoint.c: the layout of this model's states, for kv_options. `m` must outlive the store. */
void engine_fill_layout(const model *m, kv_layout *layout);

#endif
