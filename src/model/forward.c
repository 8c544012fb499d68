/* The forward pass: docs/spec/model.md, sections 2 to 9, in that order, as a list of backend operations. */
#include "model/network.h"

#include <inttypes.h>

/* --- one layer ---------------------------------------------------------------------------------------------------- */

/* Section 6. */
static void run_compressor(model *m, const model_layer *l, bool index)
{
    backend *b = m->backend;
    model_scratch *t = &m->scratch;
    const model_compressor *c = index ? &l->indexer : &l->attention;
    const backend_compress job = {
        .layer = l->index, .index = index, .bias = c->bias, .norm = c->norm, .kv = t->series_kv, .gate = t->series_gate
    };
    b->ops->matmul(b, t->series_kv, c->kv, t->a, m->batch.n_tokens, true);
    b->ops->matmul(b, t->series_gate, c->gate, t->a, m->batch.n_tokens, true);
    b->ops->compress(b, &job);
}

/* Section 5: a (normed) -> b. */
static void run_attention(model *m, const model_layer *l)
{
    const model_config *c = &m->config;
    backend *b = m->backend;
    const backend_ops *ops = b->ops;
    model_scratch *t = &m->scratch;
    const uint32_t T = m->batch.n_tokens;
    const backend_index index = {
        .layer = l->index, .query = l->indexer_q_b, .weight = l->indexer_proj, .qr = t->qr, .x = t->a
    };
    const backend_attend attend = { .layer = l->index, .query = t->q, .kv = t->kv, .sinks = l->sinks, .out = t->out };

    ops->matmul(b, t->qr, l->q_a, t->a, T, false);
    ops->norm(b, t->qr, t->qr, l->q_a_norm, T, c->q_rank);
    ops->matmul(b, t->q, l->q_b, t->qr, T, false);
    ops->norm_rope_round(b, t->q, l->index, c->n_heads, NULL, false);
    ops->matmul(b, t->kv, l->kv, t->a, T, false);
    ops->norm_rope_round(b, t->kv, l->index, 1, l->kv_norm, true);
    if (l->kind != MODEL_LAYER_WINDOW)
        run_compressor(m, l, false);
    if (l->kind == MODEL_LAYER_CSA) {
        run_compressor(m, l, true);
        ops->index(b, &index);
    }
    ops->attend(b, &attend);
    ops->matmul_grouped(b, t->low, l->output_a, t->out, c->n_groups);
    ops->matmul(b, t->b, l->output_b, t->low, T, false);
}

/* Section 8: a (normed) -> b. */
static void run_experts(model *m, const model_layer *l)
{
    backend *b = m->backend;
    model_scratch *t = &m->scratch;
    const backend_route route = { .logits = t->router,
                                  .bias = l->bias,
                                  .table = l->table,
                                  .scale = m->config.expert_scale,
                                  .ids = t->ids,
                                  .weights = t->weights };
    const backend_experts routed = { .gate = l->gate,
                                     .up = l->up,
                                     .down = l->down,
                                     .x = t->a,
                                     .ids = t->ids,
                                     .weights = t->weights,
                                     .n_used = m->config.n_used,
                                     .clamp = l->clamp,
                                     .out = t->b };
    const backend_experts shared = { .gate = l->shared_gate,
                                     .up = l->shared_up,
                                     .down = l->shared_down,
                                     .x = t->a,
                                     .n_used = 1,
                                     .clamp = l->clamp_shared,
                                     .accumulate = true,
                                     .out = t->b };
    b->ops->matmul(b, t->router, l->router, t->a, m->batch.n_tokens, true);
    b->ops->route(b, &route);
    b->ops->experts(b, &routed);
    b->ops->experts(b, &shared);
}

void model_run_layer(model *m, const model_layer *l)
{
    const uint32_t T = m->batch.n_tokens, d = m->config.n_embd;
    backend *b = m->backend;
    model_scratch *t = &m->scratch;
    b->ops->hc_mix(b, &l->hc_attn, t->a, t->post, t->comb, t->z, t->x);
    b->ops->norm(b, t->a, t->a, l->attn_norm, T, d);
    run_attention(m, l);
    b->ops->hc_merge(b, t->x, t->b, t->post, t->comb);

    b->ops->hc_mix(b, &l->hc_ffn, t->a, t->post, t->comb, t->z, t->x);
    b->ops->norm(b, t->a, t->a, l->ffn_norm, T, d);
    run_experts(m, l);
    b->ops->hc_merge(b, t->x, t->b, t->post, t->comb);
}

/* Section 9. Rows go through the output matrix together, so that its weights are read once for many. */
void model_run_head(model *m, const model_head *head, uint32_t n_rows)
{
    backend *b = m->backend;
    model_scratch *t = &m->scratch;
    for (uint32_t first = 0; first < n_rows; first += HEAD_ROWS) {
        const uint32_t n = n_rows - first < HEAD_ROWS ? n_rows - first : HEAD_ROWS;
        b->ops->hc_head(b, &head->hc, t->head, t->z, t->x, first, n);
        b->ops->norm(b, t->head, t->head, head->norm, n, m->config.n_embd);
        b->ops->matmul(b, t->logits, m->output, t->head, n, false);
        b->ops->logits(b, t->logits, first, n);
    }
}

/* --- a batch in steps ------------------------------------------------------------------------------------------------ */

static ds4_status check_batch(const model *m, const model_slice *slices, size_t n, ds4_error *err)
{
    if (n > MODEL_CHUNK_MAX)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "a batch of %zu sequences; at most %d", n, MODEL_CHUNK_MAX);
    for (size_t i = 0; i < n; i++) {
        const model_slice *s = &slices[i];
        if (s->state->m != m || s->state->bad || s->n_tokens == 0)
            return ds4_fail(err, DS4_ERR_ARGUMENT,
                            "a sequence with no tokens, or with a state that must be reset first");
        if (s->n_tokens > s->state->n_ctx - s->state->n)
            return ds4_fail(err, DS4_ERR_ARGUMENT,
                            "%" PRIu32 " tokens after %" PRIu32 " exceed the context of %" PRIu32, s->n_tokens,
                            s->state->n, s->state->n_ctx);
        for (uint32_t k = 0; k < s->n_tokens; k++)
            if (s->tokens[k] >= m->config.n_vocab)
                return ds4_fail(err, DS4_ERR_ARGUMENT, "token %" PRIu32 " is not one of %" PRIu32, s->tokens[k],
                                m->config.n_vocab);
        for (size_t j = 0; j < i; j++)
            if (slices[j].state == s->state)
                return ds4_fail(err, DS4_ERR_ARGUMENT, "two sequences of a batch share a state");
    }
    return DS4_OK;
}

/* Every state gets the pages that its tokens will need. Taken before anything is computed: a failure changes nothing. */
static ds4_status grow_states(const model_slice *slices, size_t n, ds4_error *err)
{
    ds4_status status = DS4_OK;
    for (size_t i = 0; i < n && status == DS4_OK; i++)
        status = model_state_grow(slices[i].state, slices[i].state->n + slices[i].n_tokens, err);
    return status;
}

static void want_rows(model_batch *batch, const model_config *c, const model_slice *s, uint32_t done,
                      const backend_span *span)
{
    const bool last = done + span->n == s->n_tokens;
    if (s->want == MODEL_LOGITS_LAST && last)
        batch->rows[batch->n_rows++] = (backend_row){ span->first + span->n - 1, s->logits };
    for (uint32_t k = 0; s->want == MODEL_LOGITS_ALL && k < span->n; k++)
        batch->rows[batch->n_rows++] = (backend_row){ span->first + k, s->logits + (size_t)(done + k) * c->n_vocab };
}

/* Takes tokens of each slice, in turn, until the step is full. */
static void plan_step(model *m, const model_slice *slices, size_t n, const uint32_t *done)
{
    model_batch *batch = &m->batch;
    batch->n_tokens = batch->n_spans = batch->n_rows = 0;
    for (size_t i = 0; i < n && batch->n_tokens < MODEL_CHUNK_MAX; i++) {
        const uint32_t rest = slices[i].n_tokens - done[i], free = MODEL_CHUNK_MAX - batch->n_tokens;
        const uint32_t take = rest < free ? rest : free;
        if (take == 0 || slices[i].status != DS4_OK)
            continue;
        const uint32_t position = slices[i].state->n;
        for (uint32_t k = 0; k < take; k++) {
            batch->tokens[batch->n_tokens + k] = slices[i].tokens[done[i] + k];
            batch->positions[batch->n_tokens + k] = position + k;
        }
        const backend_span span = {
            .first = batch->n_tokens, .n = take, .position = position, .sequence = model_state_memory(slices[i].state)
        };
        want_rows(batch, &m->config, &slices[i], done[i], &span);
        batch->owner[batch->n_spans] = i;
        batch->spans[batch->n_spans++] = span;
        batch->n_tokens += take;
    }
}

void model_begin(model *m)
{
    const model_batch *batch = &m->batch;
    const backend_step step = { .n_tokens = batch->n_tokens,
                                .tokens = batch->tokens,
                                .positions = batch->positions,
                                .spans = batch->spans,
                                .n_spans = batch->n_spans,
                                .rows = batch->rows,
                                .n_rows = batch->n_rows };
    m->backend->ops->begin(m->backend, &step);
}

static ds4_status run_step(model *m, ds4_error *err)
{
    backend *b = m->backend;
    model_begin(m);
    b->ops->embed(b, m->scratch.x, m->embed, m->config.n_streams);
    b->ops->rope_table(b);
    for (uint32_t l = 0; l < m->config.n_layers; l++)
        model_run_layer(m, &m->layers[l]);
    model_run_head(m, &m->head, m->batch.n_rows);
    b->ops->check(b, m->scratch.x, (size_t)m->config.n_streams * m->config.n_embd);
    return b->ops->end(b, m->batch.finite, err);
}

/* Lengths, and which states are bad. */
static void finish_step(model *m, model_slice *slices, uint32_t *done)
{
    for (uint32_t i = 0; i < m->batch.n_spans; i++) {
        const size_t owner = m->batch.owner[i];
        model_state *state = slices[owner].state;
        done[owner] += m->batch.spans[i].n;
        state->n += m->batch.spans[i].n;
        if (state->n > state->peak)
            state->peak = state->n;
        if (!m->batch.finite[i])
            state->bad = true;
        if (state->bad)
            slices[owner].status = DS4_ERR_STATE_BAD;
    }
}

/* The device failed in the middle: what the states hold is unknown. */
static void give_up(model_slice *slices, size_t n)
{
    for (size_t i = 0; i < n; i++)
        slices[i].state->bad = true;
}

ds4_status model_forward(model *m, model_slice *slices, size_t n, ds4_error *err)
{
    uint32_t done[MODEL_CHUNK_MAX] = { 0 };
    ds4_status status = check_batch(m, slices, n, err);
    if (status == DS4_OK)
        status = grow_states(slices, n, err);
    if (status != DS4_OK)
        return status;
    for (size_t i = 0; i < n; i++)
        slices[i].status = DS4_OK;
    for (;;) {
        plan_step(m, slices, n, done);
        if (m->batch.n_tokens == 0)
            return DS4_OK;
        status = run_step(m, err);
        if (status != DS4_OK) {
            give_up(slices, n);
            return status;
        }
        finish_step(m, slices, done);
    }
}
