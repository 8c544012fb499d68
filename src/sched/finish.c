/* sched/finish.c - how requests end, and what a failure means: the table of docs/spec/kvstore.md, section 7.
 *
 *     work failed on            first error          action                                  verdict
 *     its own, clean state      any                  report                                  -
 *     a state it did not make   CANCELLED            stop                                    none
 *                               NO_MEMORY            reset, once more from clean             none
 *                               any other            reset, once more from clean             if that succeeds: guilty;
 *                                                                                            if it fails alike: innocent
 *
 * "A state it did not make" is a checkpoint from disk, or what an earlier request left in the slot. */
#include "sched/sched_state.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

/* A frontier at the end of a turn is worth this many new tokens, or, in a short conversation, a quarter of it. */
enum { TURN_MIN_TOKENS = 64, TURN_MIN_SHARE = 4 };

void restart_clean(sched *s, job *j)
{
    slot *at = j->slot;
    engine_sequence_reset(at->sequence);
    if (at->stage != PLAN_SUSPECT)
        slot_drop_plan(at, s->librarian);
    j->n_cached = 0;
    j->source = SCHED_SOURCE_NONE;
}

void prove_job(sched *s, job *j)
{
    slot *at = j->slot;
    if (at->stage == PLAN_TRIAL) {
        librarian_judge(s->librarian, at->plan, LIBRARIAN_SUCCEED, at->upload_us, DS4_OK, NULL);
        at->stage = PLAN_PROVEN;
    } else if (at->stage == PLAN_SUSPECT) {
        librarian_judge(s->librarian, at->plan, LIBRARIAN_CONDEMN, clock_monotonic_us() - at->suspect_us,
                        at->suspicion_status, at->suspicion);
        at->plan = NULL;
        at->stage = PLAN_NONE;
    }
}

bool fail_job(sched *s, job *j, const ds4_error *why)
{
    slot *at = j->slot;
    const bool own_state = j->retried || (j->n_cached == 0 && at->stage == PLAN_NONE);
    if (why->status == DS4_ERR_CANCELLED) {
        finish_job(s, j, SCHED_FINISH_CANCELLED, DS4_OK, "");
        return false;
    }
    if (own_state) {
        /* At PLAN_SUSPECT the retry failed alike: finish_job() lifts the suspicion with the plan. */
        engine_sequence_reset(at->sequence);
        finish_job(s, j, SCHED_FINISH_ERROR, why->status, why->text);
        return false;
    }
    log_warning("request suspect class=%s detail=\"%s\" action=retry-clean cached=%u", ds4_status_word(why->status),
                why->text, j->n_cached);
    j->retried = true;
    if (at->plan && why->status != DS4_ERR_NO_MEMORY) {
        at->stage = PLAN_SUSPECT;
        at->suspicion_status = why->status;
        at->suspect_us = clock_monotonic_us();
        snprintf(at->suspicion, sizeof at->suspicion, "%s", why->text);
        librarian_judge(s->librarian, at->plan, LIBRARIAN_SUSPECT, 0, why->status, at->suspicion);
    }
    restart_clean(s, j);
    pthread_mutex_lock(&s->lock);
    s->metrics.retries_clean_total++;
    pthread_mutex_unlock(&s->lock);
    if (j->state == JOB_RUNNING && j->request.on_start)
        j->request.on_start(j->request.user, j->request.n_prompt, 0, &j->steer);
    return true;
}

/* What the slot keeps for the next request, and what the store gets. */
static void settle_slot(sched *s, job *j, sched_finish how)
{
    slot *at = j->slot;
    if (at->stage == PLAN_TRIAL || at->stage == PLAN_SUSPECT)
        slot_drop_plan(at, s->librarian);
    at->job = NULL;
    j->slot = NULL;
    s->short_of_memory = false; /* this state is idle now, and may be given up */
    if (!at->sequence)
        return;
    if (how == SCHED_FINISH_ERROR || j->request.no_cache) {
        engine_sequence_reset(at->sequence);
        slot_drop_plan(at, s->librarian);
        return;
    }
    const uint32_t length = engine_sequence_length(at->sequence);
    const uint32_t unsaved = engine_sequence_unsaved(at->sequence);
    if (length >= s->options.min_cached_tokens && (unsaved >= TURN_MIN_TOKENS || unsaved >= length / TURN_MIN_SHARE))
        engine_sequence_save(at->sequence, ENGINE_SAVE_TURN, true);
}

/* How many tokens of the prompt this request has added to the store. */
static uint32_t count_written(const engine_sequence *sequence, const job *j)
{
    uint32_t n = sequence ? engine_sequence_saved(sequence) : 0;
    if (n > j->request.n_prompt)
        n = j->request.n_prompt;
    return n > j->n_cached ? n - j->n_cached : 0;
}

void finish_job(sched *s, job *j, sched_finish how, ds4_status status, const char *text)
{
    const int64_t now_us = clock_monotonic_us();
    sched_result result = { .finish = how,
                            .status = status,
                            .n_prompt = j->request.n_prompt,
                            .n_cached = j->n_cached,
                            .n_generated = j->n_generated,
                            .loop_period = how == SCHED_FINISH_LOOP ? j->loop_period : 0,
                            .source = j->source,
                            .retried_clean = j->retried };
    const bool was_running = j->state == JOB_RUNNING;
    snprintf(result.error, sizeof result.error, "%s", text);
    const int64_t started_us = was_running ? j->started_us : now_us;
    const int64_t first_us = j->first_token_us ? j->first_token_us : now_us;
    result.queue_us = started_us - j->submitted_us;
    result.prefill_us = was_running ? first_us - started_us : 0;
    result.decode_us = now_us - first_us;
    if (j->slot) {
        const slot *at = j->slot;
        settle_slot(s, j, how);
        result.n_written = count_written(at->sequence, j);
    }
    j->state = JOB_DONE;
    pthread_mutex_lock(&s->lock);
    if (was_running)
        s->metrics.n_running--;
    else
        s->metrics.n_queued--;
    if (how == SCHED_FINISH_CANCELLED)
        s->metrics.cancelled_total++;
    else if (how == SCHED_FINISH_ERROR)
        s->metrics.failed_total++;
    else
        s->metrics.finished_total++;
    s->metrics.loops_total += how == SCHED_FINISH_LOOP;
    pthread_mutex_unlock(&s->lock);
    j->request.on_done(j->request.user, &result);
    pthread_mutex_lock(&s->lock);
    if (--s->n_open == 0)
        pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
    job_unref(j);
}
