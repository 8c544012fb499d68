/* The forward pass: model specification, sections 2 to 9, in that order, as a list of backend operations. */
#include "model/network.h"

#include <inttypes.h>

/* --- one layer ---------------------------------------------------------------------------------------------------- */

/* Section 6, then what the next step will need of these projections. */
static void run_compressor(model *m, const model_compressor *c, bool index, const backend_step *s)
{
    backend *b = m->backend;
    model_scratch *t = &m->scratch;
    const backend_compress job = { .index = index,
                                   .ape = c->ape,
                                   .norm = c->norm,
                                   .rope = &m->rope[1],
                                   .rms_eps = m->config.rms_eps,
                                   .round = index ? index_round(m) : kv_round(m),
                                   .kv = t->series_kv,
                                   .gate = t->series_gate };
    b->ops->matmul(b, t->series_kv, &c->kv, t->a, s->n_tokens, true);
    b->ops->matmul(b, t->series_gate, &c->gate, t->a, s->n_tokens, true);
    b->ops->compress(b, &job, s);
    b->ops->keep_series(b, &job, s);
}

/* While every visible row is chosen anyway, the indexer's scores need not be known. */
static bool must_select(const model *m, const backend_step *s)
{
    for (uint32_t i = 0; i < s->n_spans; i++)
        if ((s->spans[i].position + s->spans[i].n) / MODEL_CSA_RATIO > m->config.index_top_k)
            return true;
    return false;
}

static void run_indexer(model *m, const model_layer *l, const backend_step *s)
{
    const model_config *c = &m->config;
    backend *b = m->backend;
    model_scratch *t = &m->scratch;
    const backend_select job = { .query = t->index_q,
                                 .head_weight = t->index_weight,
                                 .n_heads = c->n_index_heads,
                                 .dim = c->index_dim,
                                 .top_k = c->index_top_k,
                                 .chosen = t->chosen,
                                 .n_chosen = t->n_chosen };
    b->ops->matmul(b, t->index_q, &l->index_q_b, t->qr, s->n_tokens, false);
    b->ops->shape_heads(b, t->index_q, c->n_index_heads, c->index_dim, NULL, 0.0f, &m->rope[1], index_round(m),
                        s->n_tokens);
    b->ops->matmul(b, t->index_weight, &l->index_proj, t->a, s->n_tokens, true);
    b->ops->select(b, &job, s);
}

/* Section 5: a (normed) -> b. */
static void run_attention(model *m, const model_layer *l, const backend_step *s)
{
    const model_config *c = &m->config;
    backend *b = m->backend;
    const backend_ops *ops = b->ops;
    model_scratch *t = &m->scratch;
    const backend_rope *rope = &m->rope[l->ratio != 0];
    const uint32_t T = s->n_tokens;
    const bool select = is_csa(l->ratio) && must_select(m, s);

    ops->matmul(b, t->qr, &l->q_a, t->a, T, false);
    ops->rmsnorm(b, t->qr, t->qr, l->q_a_norm, T, c->q_rank, c->rms_eps);
    ops->matmul(b, t->q, &l->q_b, t->qr, T, false);
    ops->shape_heads(b, t->q, c->n_heads, c->head_dim, NULL, c->rms_eps, rope, BACKEND_ROUND_NONE, T);
    ops->matmul(b, t->kv, &l->kv, t->a, T, false);
    ops->shape_heads(b, t->kv, 1, c->head_dim, l->kv_norm, c->rms_eps, rope, kv_round(m), T);
    if (l->ratio)
        run_compressor(m, &l->attention, false, s);
    if (is_csa(l->ratio))
        run_compressor(m, &l->index, true, s);
    if (select)
        run_indexer(m, l, s);
    const backend_attend attend = { .query = t->q,
                                    .kv = t->kv,
                                    .sinks = l->sinks,
                                    .rope = rope,
                                    .n_heads = c->n_heads,
                                    .dim = c->head_dim,
                                    .window = c->window,
                                    .chosen = select ? t->chosen : NULL,
                                    .n_chosen = t->n_chosen,
                                    .top_k = c->index_top_k,
                                    .out = t->out };
    ops->attend(b, &attend, s);
    ops->keep_window(b, t->kv, c->head_dim, s);
    ops->matmul_grouped(b, t->low, &l->output_a, t->out, T, c->n_groups);
    ops->matmul(b, t->b, &l->output_b, t->low, T, false);
}

/* Section 8: a (normed) -> b. */
static void run_experts(model *m, const model_layer *l, const backend_step *s)
{
    const model_config *c = &m->config;
    backend *b = m->backend;
    model_scratch *t = &m->scratch;
    const backend_route route = { .logits = t->router,
                                  .bias = l->bias,
                                  .table = l->table,
                                  .n_experts = c->n_experts,
                                  .n_used = c->n_used,
                                  .scale = c->expert_scale,
                                  .ids = t->ids,
                                  .weights = t->weights };
    const backend_experts routed = { .gate = &l->gate,
                                     .up = &l->up,
                                     .down = &l->down,
                                     .x = t->a,
                                     .ids = t->ids,
                                     .weights = t->weights,
                                     .n_used = c->n_used,
                                     .clamp = l->clamp,
                                     .out = t->b };
    const backend_experts shared = { .gate = &l->shared_gate,
                                     .up = &l->shared_up,
                                     .down = &l->shared_down,
                                     .x = t->a,
                                     .ids = t->zero_ids,
                                     .weights = t->ones,
                                     .n_used = 1,
                                     .clamp = l->clamp_shared,
                                     .accumulate = true,
                                     .out = t->b };
    b->ops->matmul(b, t->router, &l->router, t->a, s->n_tokens, true);
    b->ops->route(b, &route, s);
    b->ops->experts(b, &routed, s->n_tokens);
    b->ops->experts(b, &shared, s->n_tokens);
}

void model_run_layer(model *m, const model_layer *l, const backend_step *s)
{
    const model_config *c = &m->config;
    backend *b = m->backend;
    model_scratch *t = &m->scratch;
    b->ops->hc_mix(b, &l->hc_attn, t->a, t->post, t->comb, t->z, t->x, s->n_tokens);
    b->ops->rmsnorm(b, t->a, t->a, l->attn_norm, s->n_tokens, c->n_embd, c->rms_eps);
    run_attention(m, l, s);
    b->ops->hc_merge(b, &l->hc_attn, t->x, t->b, t->post, t->comb, s->n_tokens);

    b->ops->hc_mix(b, &l->hc_ffn, t->a, t->post, t->comb, t->z, t->x, s->n_tokens);
    b->ops->rmsnorm(b, t->a, t->a, l->ffn_norm, s->n_tokens, c->n_embd, c->rms_eps);
    run_experts(m, l, s);
    b->ops->hc_merge(b, &l->hc_ffn, t->x, t->b, t->post, t->comb, s->n_tokens);
}

/* --- the head ----------------------------------------------------------------------------------------------------- */

/* Rows collect in scratch.head and go through the output matrix together, so that its weights are read once for them. */
typedef struct head_rows {
    uint32_t n;
    float *out[HEAD_ROWS];
    bool *bad[HEAD_ROWS]; /* set when the row's logits are not finite */
} head_rows;

static void flush_rows(model *m, const model_head *head, head_rows *rows)
{
    const model_config *c = &m->config;
    backend *b = m->backend;
    model_scratch *t = &m->scratch;
    if (rows->n == 0)
        return;
    b->ops->rmsnorm(b, t->head, t->head, head->norm, rows->n, c->n_embd, c->rms_eps);
    b->ops->matmul(b, t->logits, &m->output, t->head, rows->n, false);
    for (uint32_t i = 0; i < rows->n; i++) {
        const float *row = t->logits + (size_t)i * c->n_vocab;
        b->ops->read(b, rows->out[i], row, c->n_vocab * sizeof(float));
        if (!b->ops->finite(b, row, c->n_vocab))
            *rows->bad[i] = true;
    }
    rows->n = 0;
}

static void add_row(model *m, const model_head *head, head_rows *rows, uint32_t row, float *out, bool *bad)
{
    const model_config *c = &m->config;
    model_scratch *t = &m->scratch;
    m->backend->ops->hc_head(m->backend, &head->hc, t->head + (size_t)rows->n * c->n_embd, t->z,
                             t->x + (size_t)row * c->n_streams * c->n_embd, 1);
    rows->out[rows->n] = out;
    rows->bad[rows->n++] = bad;
    if (rows->n == HEAD_ROWS)
        flush_rows(m, head, rows);
}

bool model_run_head(model *m, const model_head *head, uint32_t row, uint32_t n, float *out)
{
    head_rows rows = { 0 };
    bool bad = false;
    for (uint32_t i = 0; i < n; i++)
        add_row(m, head, &rows, row + i, out + (size_t)i * m->config.n_vocab, &bad);
    flush_rows(m, head, &rows);
    return !bad;
}

/* --- a batch in steps ------------------------------------------------------------------------------------------------ */

static ds4_status check_batch(const model *m, const model_slice *slices, size_t n, uint32_t *n_max, ds4_error *err)
{
    *n_max = 0;
    if (n > MODEL_CHUNK_MAX)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "a batch of %zu sequences; at most %d", n, MODEL_CHUNK_MAX);
    for (size_t i = 0; i < n; i++) {
        const model_slice *s = &slices[i];
        if (s->state->m != m || s->state->bad || s->n_tokens == 0)
            return ds4_fail(err, DS4_ERR_ARGUMENT, "slice %zu: no tokens, or a state that must be reset first", i);
        if (s->n_tokens > s->state->n_ctx - s->state->n)
            return ds4_fail(err, DS4_ERR_ARGUMENT,
                            "slice %zu: %" PRIu32 " tokens after %" PRIu32 " exceed the context of %" PRIu32, i,
                            s->n_tokens, s->state->n, s->state->n_ctx);
        for (uint32_t k = 0; k < s->n_tokens; k++)
            if (s->tokens[k] >= m->config.n_vocab)
                return ds4_fail(err, DS4_ERR_ARGUMENT, "slice %zu: token %" PRIu32 " is not one of %" PRIu32, i,
                                s->tokens[k], m->config.n_vocab);
        for (size_t j = 0; j < i; j++)
            if (slices[j].state == s->state)
                return ds4_fail(err, DS4_ERR_ARGUMENT, "slices %zu and %zu share a state", j, i);
        if (s->state->n + s->n_tokens > *n_max)
            *n_max = s->state->n + s->n_tokens;
    }
    return DS4_OK;
}

/* Takes tokens of each slice, in turn, until the step is full. owner[i] is the slice of span i. */
static void plan_step(model *m, const model_slice *slices, size_t n, const uint32_t *done, backend_step *step,
                      size_t *owner)
{
    model_scratch *t = &m->scratch;
    *step = (backend_step){ .tokens = t->tokens, .positions = t->positions, .spans = t->spans };
    for (size_t i = 0; i < n && step->n_tokens < MODEL_CHUNK_MAX; i++) {
        const uint32_t left = slices[i].n_tokens - done[i], room = MODEL_CHUNK_MAX - step->n_tokens;
        const uint32_t take = left < room ? left : room;
        if (take == 0 || slices[i].status != DS4_OK)
            continue;
        const uint32_t position = slices[i].state->n;
        for (uint32_t k = 0; k < take; k++) {
            t->tokens[step->n_tokens + k] = slices[i].tokens[done[i] + k];
            t->positions[step->n_tokens + k] = position + k;
        }
        t->spans[step->n_spans] = (backend_span){ .first = step->n_tokens, .n = take, .position = position };
        owner[step->n_spans++] = i;
        step->n_tokens += take;
    }
}

static void run_trunk(model *m, const model_slice *slices, const size_t *owner, backend_step *step)
{
    backend *b = m->backend;
    b->ops->embed(b, m->scratch.x, &m->embed, step, m->config.n_streams);
    b->ops->turn(b, &m->rope[0], step);
    b->ops->turn(b, &m->rope[1], step);
    for (uint32_t l = 0; l < m->config.n_layers; l++) {
        for (uint32_t i = 0; i < step->n_spans; i++)
            step->spans[i].memory = &slices[owner[i]].state->layers[l];
        model_run_layer(m, &m->layers[l], step);
    }
}

/* Logits of the wanted rows, then lengths and verdicts. */
static void finish_step(model *m, model_slice *slices, const size_t *owner, uint32_t *done, const backend_step *step)
{
    const size_t row = (size_t)m->config.n_streams * m->config.n_embd;
    head_rows rows = { 0 };
    for (uint32_t i = 0; i < step->n_spans; i++) {
        model_slice *s = &slices[owner[i]];
        const backend_span *span = &step->spans[i];
        const bool last = done[owner[i]] + span->n == s->n_tokens;
        if (s->want == MODEL_LOGITS_LAST && last)
            add_row(m, &m->head, &rows, span->first + span->n - 1, s->logits, &s->state->bad);
        for (uint32_t k = 0; s->want == MODEL_LOGITS_ALL && k < span->n; k++)
            add_row(m, &m->head, &rows, span->first + k, s->logits + (size_t)(done[owner[i]] + k) * m->config.n_vocab,
                    &s->state->bad);
    }
    flush_rows(m, &m->head, &rows);
    for (uint32_t i = 0; i < step->n_spans; i++) {
        model_slice *s = &slices[owner[i]];
        const backend_span *span = &step->spans[i];
        done[owner[i]] += span->n;
        s->state->n += span->n;
        if (s->state->n > s->state->peak)
            s->state->peak = s->state->n;
        if (!m->backend->ops->finite(m->backend, m->scratch.x + span->first * row, span->n * row))
            s->state->bad = true;
        if (s->state->bad)
            s->status = DS4_ERR_STATE_BAD;
    }
}

ds4_status model_forward(model *m, model_slice *slices, size_t n, ds4_error *err)
{
    size_t owner[MODEL_CHUNK_MAX];
    uint32_t done[MODEL_CHUNK_MAX] = { 0 }, n_max;
    ds4_status status = check_batch(m, slices, n, &n_max, err);
    if (status == DS4_OK)
        status = model_reserve(m, n_max, err);
    if (status != DS4_OK)
        return status;
    for (size_t i = 0; i < n; i++)
        slices[i].status = DS4_OK;
    for (;;) {
        backend_step step;
        plan_step(m, slices, n, done, &step, owner);
        if (step.n_tokens == 0)
            return DS4_OK;
        run_trunk(m, slices, owner, &step);
        finish_step(m, slices, owner, done, &step);
    }
}
