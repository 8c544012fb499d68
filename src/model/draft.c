/* The MTP block: docs/spec/model.md, section 10. */
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

/* x' = e_proj norm(embed[next]) + h_proj norm(X), per stream; scratch.x holds X and then x'. The tokens of the step are the
 * following ones. */
static void join_inputs(model *m)
{
    const model_config *c = &m->config;
    const model_draft *d = m->draft;
    backend *b = m->backend;
    model_scratch *t = &m->scratch;
    const uint32_t T = m->batch.n_tokens;
    b->ops->norm(b, d->normed, t->x, d->hnorm, (size_t)T * c->n_streams, c->n_embd);
    b->ops->matmul(b, d->projected, d->h_proj, d->normed, T * c->n_streams, false);
    b->ops->embed(b, t->a, m->embed, 1);
    b->ops->norm(b, t->a, t->a, d->enorm, T, c->n_embd);
    b->ops->matmul(b, t->b, d->e_proj, t->a, T, false);
    b->ops->add_to_streams(b, t->x, t->b, d->projected);
}

/* One step of the block: positions at .. at + n - 1, whose streams the caller has put into scratch.x. */
static ds4_status run_draft(model *m, const backend_sequence *memory, const uint32_t *tokens, uint32_t at, uint32_t n,
                            float *logits, ds4_error *err)
{
    model_batch *batch = &m->batch;
    batch->n_tokens = batch->n_rows = n;
    batch->n_spans = 1;
    batch->spans[0] = (backend_span){ .first = 0, .n = n, .position = at, .sequence = *memory };
    for (uint32_t i = 0; i < n; i++) {
        batch->tokens[i] = tokens[at + i + 1];
        batch->positions[i] = at + i;
        batch->rows[i] = (backend_row){ i, logits + (size_t)(at + i) * m->config.n_vocab };
    }
    model_begin(m);
    m->backend->ops->rope_table(m->backend);
    join_inputs(m);
    model_run_layer(m, &m->draft->layer);
    model_run_head(m, &m->draft->head, n);
    const ds4_status status = m->backend->ops->end(m->backend, batch->finite, err);
    if (status == DS4_OK && !batch->finite[0])
        return ds4_fail(err, DS4_ERR_STATE_BAD, "the draft's logits are not finite");
    return status;
}

ds4_status model_draft_logits(model *m, const uint32_t *tokens, uint32_t n_tokens, float *logits, ds4_error *err)
{
    const size_t row = (size_t)m->config.n_streams * m->config.n_embd;
    backend *b = m->backend;
    if (!m->draft)
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "the file has no draft block");
    if (n_tokens < 2)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "a draft needs two tokens at least");
    float *streams = malloc((size_t)n_tokens * row * sizeof *streams);
    const backend_sequence memory = { .rolling = b->ops->alloc(b, b->layout.rolling_bytes) };
    ds4_status status = streams && memory.rolling
                            ? trunk_streams(m, tokens, n_tokens, streams, err)
                            : ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for %" PRIu32 " tokens", n_tokens);
    for (uint32_t at = 0; status == DS4_OK && at + 1 < n_tokens; at += MODEL_CHUNK_MAX) {
        const uint32_t rest = n_tokens - 1 - at, n = rest < MODEL_CHUNK_MAX ? rest : MODEL_CHUNK_MAX;
        b->ops->write(b, m->scratch.x, streams + at * row, n * row * sizeof *streams);
        status = run_draft(m, &memory, tokens, at, n, logits, err);
    }
    b->ops->free(b, memory.rolling);
    free(streams);
    return status;
}
