/* engine/sequence.c - sequences and steps. */
#include "engine/engine_state.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

ds4_status engine_sequence_new(engine_sequence **out, engine *e, ds4_error *err)
{
    *out = NULL;
    engine_sequence *s = calloc(1, sizeof *s);
    if (!s)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for a sequence");
    s->engine = e;
    s->logits = malloc(e->about.n_vocab * sizeof *s->logits);
    ds4_status status = s->logits ? DS4_OK : ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for the logits of a sequence");
    if (status == DS4_OK)
        status = model_state_new(&s->state, e->model, e->about.n_ctx, err);
    if (status == DS4_OK && e->store && kv_chain_new(&s->chain, e->store, NULL) != DS4_OK)
        log_warning("kv sequence not saved why=no-memory");
    if (status != DS4_OK) {
        engine_sequence_free(s);
        return status;
    }
    *out = s;
    return DS4_OK;
}

void engine_sequence_free(engine_sequence *s)
{
    if (!s)
        return;
    kv_chain_free(s->chain);
    model_state_free(s->state);
    token_list_free(&s->tokens);
    free(s->logits);
    free(s);
}

void engine_sequence_reset(engine_sequence *s)
{
    model_state_reset(s->state);
    if (s->chain)
        kv_chain_reset(s->chain);
    s->tokens.n = 0;
    s->has_logits = s->fresh = false;
    s->frontier_at = s->saved_to = 0;
    s->n_offered = 0;
    s->spent_us = 0;
    s->n_spent = 0;
}

const uint32_t *engine_sequence_tokens(const engine_sequence *s)
{
    return s->tokens.ids;
}

uint32_t engine_sequence_length(const engine_sequence *s)
{
    return (uint32_t)s->tokens.n;
}

const float *engine_sequence_logits(const engine_sequence *s)
{
    return s->has_logits ? s->logits : NULL;
}

ds4_status engine_sequence_rewind(engine_sequence *s, uint32_t n, ds4_error *err)
{
    if (n == s->tokens.n)
        return DS4_OK;
    const ds4_status status = model_state_rewind(s->state, n, err);
    if (status != DS4_OK)
        return status;
    s->tokens.n = n;
    s->has_logits = false;
    if (s->chain)
        kv_chain_truncate(s->chain, n);
    if (s->frontier_at > n)
        s->frontier_at = 0;
    if (s->saved_to > n)
        s->saved_to = n;
    /* All are offered again: the chain has a new stem, which does not know of segments below that are still in the queue, and the
     * writer drops a segment whose stem it does not know. */
    if (s->chain && s->n_offered > kv_chain_segments(s->chain))
        s->n_offered = 0;
    return DS4_OK;
}

/* ---------------------------------------------------------------- steps */

/* Test builds may fail an item here, as a kernel would. */
static ds4_status provoke(engine_work *w)
{
    fault f = fault_at(w->prefill ? "engine.prefill" : "engine.decode");
    if (f.kind == FAULT_NONE && w->sequence->fresh)
        f = fault_at("restore.first_chunk");
    if (f.kind == FAULT_STATUS)
        return ds4_fail(&w->error, f.status, "injected failure");
    if (f.kind != FAULT_NONE)
        return ds4_fail(&w->error, DS4_ERR_STATE_BAD, "injected: non-finite logits");
    return DS4_OK;
}

static ds4_status reserve_slices(engine *e, size_t n, ds4_error *err)
{
    if (n <= e->slices_capacity)
        return DS4_OK;
    model_slice *slices = realloc(e->slices, n * sizeof *slices);
    if (!slices)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for a batch of %zu", n);
    e->slices = slices;
    e->slices_capacity = n;
    return DS4_OK;
}

/* The item's tokens are in the state now. The list has room: see engine_step(). */
static void advance(engine_work *w, int64_t us)
{
    engine_sequence *s = w->sequence;
    token_list_append_all(&s->tokens, w->tokens, w->n_tokens);
    s->has_logits = w->want_logits;
    s->fresh = false;
    s->spent_us += us;
    s->n_spent += w->n_tokens;
    if (s->chain && kv_chain_extend(s->chain, w->tokens, w->n_tokens, NULL) != DS4_OK) {
        log_warning("kv sequence not saved why=no-memory");
        kv_chain_free(s->chain);
        s->chain = NULL;
    }
}

ds4_status engine_step(engine *e, engine_work *work, size_t n, ds4_error *err)
{
    ds4_status status = reserve_slices(e, n, err);
    for (size_t i = 0; i < n && status == DS4_OK; i++)
        if (token_list_reserve(&work[i].sequence->tokens, work[i].n_tokens) != DS4_OK)
            status = ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for a longer sequence");
    if (status != DS4_OK)
        return status;
    size_t n_slices = 0, n_tokens = 0;
    for (size_t i = 0; i < n; i++) {
        engine_work *w = &work[i];
        w->error = (ds4_error){ 0 };
        w->status = provoke(w);
        if (w->status != DS4_OK)
            continue;
        e->slices[n_slices++] = (model_slice){ .state = w->sequence->state,
                                               .tokens = w->tokens,
                                               .n_tokens = w->n_tokens,
                                               .want = w->want_logits ? MODEL_LOGITS_LAST : MODEL_LOGITS_NONE,
                                               .logits = w->sequence->logits };
        n_tokens += w->n_tokens;
    }
    if (n_slices == 0)
        return DS4_OK;
    const int64_t begin_us = clock_monotonic_us();
    status = model_forward(e->model, e->slices, n_slices, err);
    if (status != DS4_OK)
        return status;
    const int64_t us = clock_monotonic_us() - begin_us;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        engine_work *w = &work[i];
        if (w->status != DS4_OK)
            continue;
        const model_slice *done = &e->slices[at++];
        w->status = done->status;
        if (done->status == DS4_OK) {
            advance(w, (int64_t)((double)us * w->n_tokens / (double)n_tokens));
        } else {
            ds4_fail(&w->error, done->status, "position %u: the state gives no finite logits",
                     engine_sequence_length(w->sequence));
            if (w->sequence->chain)
                kv_chain_taint(w->sequence->chain);
        }
    }
    return DS4_OK;
}
