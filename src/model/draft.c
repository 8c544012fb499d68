/* The MTP block: model specification, section 10. */
#include "model/network.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Streams of every position, as the trunk's last layer leaves them: [n, m, d]. */
static ds4_status trunk_streams(model *m, const uint32_t *tokens, uint32_t n, float *streams, ds4_error *err)
{
    const size_t row = (size_t)m->config.n_streams * m->config.n_embd;
    model_state *state;
    ds4_status status = model_state_new(&state, m, n, err);
    for (uint32_t at = 0; status == DS4_OK && at < n; at += MODEL_CHUNK_MAX) {
        model_slice chunk = { .state = state,
                              .tokens = tokens + at,
                              .n_tokens = n - at < MODEL_CHUNK_MAX ? n - at : MODEL_CHUNK_MAX };
        status = model_forward(m, &chunk, 1, err);
        if (status == DS4_OK && chunk.status != DS4_OK)
            status = ds4_fail(err, chunk.status, "the streams are not finite");
        if (status == DS4_OK)
            m->backend->ops->read(m->backend, streams + at * row, m->scratch.x, chunk.n_tokens * row * sizeof(float));
    }
    model_state_free(state);
    return status;
}

/* x' = e_proj norm(embed[next]) + h_proj norm(X), per stream; scratch.x holds X and then x'. The projections of the
 * streams need room for T m rows: they go through scratch.q, stream by stream would read h_proj m times. */
static void join_inputs(model *m, const backend_step *next, float *normed, float *projected)
{
    const model_config *c = &m->config;
    const model_draft *d = m->draft;
    backend *b = m->backend;
    model_scratch *t = &m->scratch;
    const uint32_t T = next->n_tokens;
    b->ops->rmsnorm(b, normed, t->x, d->hnorm, (size_t)T * c->n_streams, c->n_embd, c->rms_eps);
    b->ops->matmul(b, projected, &d->h_proj, normed, T * c->n_streams, false);
    b->ops->embed(b, t->a, &m->embed, next, 1);
    b->ops->rmsnorm(b, t->a, t->a, d->enorm, T, c->n_embd, c->rms_eps);
    b->ops->matmul(b, t->b, &d->e_proj, t->a, T, false);
    b->ops->join(b, t->x, t->b, projected, T, c->n_streams, c->n_embd);
}

ds4_status model_draft_logits(model *m, const uint32_t *tokens, uint32_t n_tokens, float *logits, ds4_error *err)
{
    const size_t row = (size_t)m->config.n_streams * m->config.n_embd;
    backend *b = m->backend;
    backend_memory memory = { 0 };
    float *streams = NULL, *normed = NULL, *projected = NULL;
    if (!m->draft)
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "the file has no draft block");
    if (n_tokens < 2)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "a draft needs two tokens at least");
    ds4_status status = DS4_OK;
    streams = malloc((size_t)n_tokens * row * sizeof *streams);
    normed = b->ops->alloc(b, MODEL_CHUNK_MAX * row * sizeof *normed);
    projected = b->ops->alloc(b, MODEL_CHUNK_MAX * row * sizeof *projected);
    if (!streams || !normed || !projected || !model_memory_new(m, &memory, 0, n_tokens)) {
        status = ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for %" PRIu32 " tokens", n_tokens);
        goto out;
    }
    status = trunk_streams(m, tokens, n_tokens, streams, err);
    for (uint32_t at = 0; status == DS4_OK && at + 1 < n_tokens; at += MODEL_CHUNK_MAX) {
        const uint32_t left = n_tokens - 1 - at, n = left < MODEL_CHUNK_MAX ? left : MODEL_CHUNK_MAX;
        backend_span span = { .first = 0, .n = n, .position = at, .memory = &memory };
        backend_step step = {
            .n_tokens = n, .tokens = m->scratch.tokens, .positions = m->scratch.positions, .spans = &span, .n_spans = 1
        };
        for (uint32_t i = 0; i < n; i++) {
            m->scratch.tokens[i] = tokens[at + i + 1];
            m->scratch.positions[i] = at + i;
        }
        b->ops->write(b, m->scratch.x, streams + at * row, n * row * sizeof *streams);
        join_inputs(m, &step, normed, projected);
        b->ops->turn(b, &m->rope[0], &step);
        model_run_layer(m, &m->draft->layer, &step);
        if (!model_run_head(m, &m->draft->head, 0, n, logits + (size_t)at * m->config.n_vocab))
            status = ds4_fail(err, DS4_ERR_STATE_BAD, "the draft's logits are not finite");
    }
out:
    model_memory_free(m, &memory);
    if (normed)
        b->ops->free(b, normed);
    if (projected)
        b->ops->free(b, projected);
    free(streams);
    return status;
}
