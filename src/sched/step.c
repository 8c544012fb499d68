/* sched/step.c - one batch: a token for everybody who decodes, a slice of prompt for one who prefills, and what follows
 * from the results. */
#include "sched/sched_state.h"

#include "base/clock.h"
#include "base/log.h"

#include <string.h>

enum { LOGPROBS_MAX = 20 };

/* ---------------------------------------------------------------- after a step */

static void take_token(sched *s, job *j, uint32_t id, const sched_token *token)
{
    ds4_status status = DS4_OK;
    do
        status = token_list_append(&j->history, id);
    while (status != DS4_OK && memory_give_up(s));
    if (status != DS4_OK) {
        finish_job(s, j, SCHED_FINISH_ERROR, DS4_ERR_NO_MEMORY, "no memory for one more token");
        return;
    }
    engine_sampler_note(j->sampler, &id, 1, true);
    j->n_generated++;
    j->loop_period = loop_note(&j->loop, j->history.ids + j->request.n_prompt, j->n_generated, s->options.loop_tokens);
    if (!j->first_token_us)
        j->first_token_us = clock_monotonic_us();
    j->steer = (sched_steer){ 0 };
    if (j->request.on_token)
        j->request.on_token(j->request.user, token, &j->steer);
    if (j->steer.finish)
        finish_job(s, j, SCHED_FINISH_STEERED, DS4_OK, "");
    else if (j->n_generated >= j->request.max_tokens)
        finish_job(s, j, SCHED_FINISH_LENGTH, DS4_OK, "");
    else if (j->history.n >= s->n_ctx)
        finish_job(s, j, SCHED_FINISH_CONTEXT, DS4_OK, "");
    else if (j->loop_period)
        finish_job(s, j, SCHED_FINISH_LOOP, DS4_OK, "");
}

/* The whole history is evaluated: choose the next token. */
static void sample(sched *s, job *j)
{
    ds4_error err = { 0 };
    const float *logits = engine_sequence_logits(j->slot->sequence);
    uint32_t id = j->steer.force_id;
    engine_logprob top[LOGPROBS_MAX];
    sched_alternative alternatives[LOGPROBS_MAX];
    sched_token token = { .top = alternatives };
    if (j->request.max_tokens == 0) {
        finish_job(s, j, SCHED_FINISH_LENGTH, DS4_OK, "");
        return;
    }
    if (!j->steer.force && engine_sampler_pick(j->sampler, logits, &j->steer.choice, &id, &err) != DS4_OK) {
        fail_job(s, j, &err);
        return;
    }
    token.id = id;
    if (j->request.want_logprobs) {
        token.n_top = j->request.n_logprobs < LOGPROBS_MAX ? j->request.n_logprobs : LOGPROBS_MAX;
        token.logprob = engine_logprobs(logits, s->n_vocab, id, top, token.n_top);
        for (uint32_t i = 0; i < token.n_top; i++)
            alternatives[i] = (sched_alternative){ top[i].id, top[i].logprob };
    }
    take_token(s, j, id, &token);
}

static void save_progress(sched *s, job *j)
{
    const uint32_t p = engine_sequence_length(j->slot->sequence);
    if (j->request.no_cache || !engine_store(s->engine))
        return;
    const bool anchor = p >= s->options.min_cached_tokens && job_has_anchor(j, p);
    engine_sequence_save(j->slot->sequence, anchor ? ENGINE_SAVE_ANCHOR : ENGINE_SAVE_SEGMENT, anchor);
}

static void take_result(sched *s, job *j, const engine_work *item)
{
    if (item->status != DS4_OK) {
        ds4_error why = item->error;
        why.status = item->status;
        fail_job(s, j, &why);
        return;
    }
    if (j->slot->stage == PLAN_TRIAL)
        prove_job(s, j); /* before anything is saved: nothing on disk descends from an unproven restore */
    save_progress(s, j);
    if (job_n_missing(j) > 0) {
        if (j->request.on_prefill)
            j->request.on_prefill(j->request.user, engine_sequence_length(j->slot->sequence), j->request.n_prompt);
        return;
    }
    prove_job(s, j);
    sample(s, j);
}

/* ---------------------------------------------------------------- before a step */

static void add_work(sched *s, size_t *n, job *j, uint32_t n_tokens)
{
    engine_sequence *sequence = j->slot->sequence;
    const uint32_t p = engine_sequence_length(sequence);
    s->work[*n] = (engine_work){ .sequence = sequence,
                                 .tokens = j->history.ids + p,
                                 .n_tokens = n_tokens,
                                 .want_logits = p + n_tokens == j->history.n,
                                 .prefill = p < j->request.n_prompt };
    s->work_jobs[(*n)++] = j;
}

static bool is_decoding(const job *j)
{
    return j && j->state == JOB_RUNNING && j->n_generated > 0 && job_n_missing(j) == 1;
}

static bool is_prefilling(const job *j)
{
    return j && j->state == JOB_RUNNING && !is_decoding(j);
}

/* Everybody who decodes, and one slice of prompt; whose, goes round, so that a short prompt never waits for a long. */
static size_t build_step(sched *s)
{
    size_t n = 0;
    const uint32_t n_slots = s->options.n_slots;
    for (uint32_t i = 0; i < n_slots; i++)
        if (is_decoding(s->slots[i].job))
            add_work(s, &n, s->slots[i].job, 1);
    for (uint32_t i = 0; i < n_slots; i++) {
        const uint32_t at = (s->turn + 1 + i) % n_slots;
        job *j = s->slots[at].job;
        if (!is_prefilling(j))
            continue;
        const uint32_t p = engine_sequence_length(j->slot->sequence);
        uint32_t n_tokens = n > 0 ? s->options.prefill_quantum : s->options.prefill_chunk;
        if (n_tokens > job_n_missing(j))
            n_tokens = job_n_missing(j);
        const uint32_t anchor = job_next_anchor(j, p);
        if (anchor < p + n_tokens)
            n_tokens = anchor - p; /* the state has to stop there to be saved */
        add_work(s, &n, j, n_tokens);
        s->turn = at;
        break;
    }
    return n;
}

static void count_step(sched *s, size_t n, int64_t us)
{
    uint64_t n_decode = 0, n_prefill = 0;
    for (size_t i = 0; i < n; i++)
        *(s->work[i].prefill ? &n_prefill : &n_decode) += s->work[i].n_tokens;
    const int64_t prefill_us = (int64_t)((double)us * (double)n_prefill / (double)(n_prefill + n_decode));
    pthread_mutex_lock(&s->lock);
    s->metrics.prefill_tokens_total += n_prefill;
    s->metrics.decode_tokens_total += n_decode;
    s->metrics.prefill_us_total += prefill_us;
    s->metrics.decode_us_total += us - prefill_us;
    pthread_mutex_unlock(&s->lock);
}

/* The step as a whole failed. If its sequences are as they were, one item at a time shows whose fault it was. */
static void take_step_apart(sched *s, size_t n, const ds4_error *why)
{
    const bool again = n > 1 && (why->status == DS4_ERR_ARGUMENT || why->status == DS4_ERR_NO_MEMORY);
    for (size_t i = 0; i < n; i++) {
        ds4_error err = *why;
        if (again && engine_step(s->engine, &s->work[i], 1, &err) == DS4_OK)
            continue;
        s->work[i].status = err.status;
        s->work[i].error = err;
    }
}

bool step_once(sched *s)
{
    const size_t n = build_step(s);
    if (n == 0)
        return false;
    ds4_error err = { 0 };
    const int64_t begin_us = clock_monotonic_us();
    ds4_status status = DS4_OK;
    do
        status = engine_step(s->engine, s->work, n, &err);
    while (status == DS4_ERR_NO_MEMORY && memory_give_up(s));
    if (status != DS4_OK) {
        log_warning("step failed class=%s items=%zu detail=\"%s\"", ds4_status_word(status), n, err.text);
        take_step_apart(s, n, &err);
    }
    count_step(s, n, clock_monotonic_us() - begin_us);
    for (size_t i = 0; i < n; i++)
        take_result(s, s->work_jobs[i], &s->work[i]);
    return true;
}
