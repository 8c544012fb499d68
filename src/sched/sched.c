/* sched/sched.c - the life of the scheduler and of its engine thread; everything that other threads may call. */
#include "sched/sched_state.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS_MAX = 256 };

sched_options sched_options_default(void)
{
    return (sched_options){ .n_slots = 4,
                            .max_queue = 0,
                            .prefill_chunk = 512,
                            .prefill_quantum = 128,
                            .min_cached_tokens = 8,
                            .loop_tokens = 1024,
                            .patience_us = 2 * 1000 * 1000 };
}

/* ---------------------------------------------------------------- engine thread */

/* On the librarian's thread (or, out of memory, the engine's). */
static bool on_found(void *user, uint64_t id, kv_plan *plan)
{
    sched *s = user;
    search *waiting = NULL;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->options.n_slots && !waiting; i++)
        if (s->searches[i].id == id)
            waiting = &s->searches[i];
    if (waiting) {
        waiting->plan = plan;
        waiting->answered = true;
        s->poked = true;
        pthread_cond_signal(&s->wake);
    } else {
        s->n_late--;
    }
    pthread_mutex_unlock(&s->lock);
    return waiting != NULL;
}

/* Under the lock. The next search that is answered, or that nobody will wait for any longer. */
static bool take_answer(sched *s, search *out)
{
    const int64_t now_us = clock_monotonic_us();
    for (uint32_t i = 0; i < s->options.n_slots; i++) {
        search *q = &s->searches[i];
        if (!q->id || (!q->answered && !s->out_of_patience && now_us < q->until_us))
            continue;
        if (!q->answered) {
            s->n_late++;
            s->metrics.searches_given_up_total++;
        }
        *out = *q;
        *q = (search){ 0 };
        return true;
    }
    return false;
}

/* Moves what other threads left here to the engine thread's side. */
static void take_messages(sched *s)
{
    for (;;) {
        search done;
        pthread_mutex_lock(&s->lock);
        if (s->inbox_head) {
            if (s->queue_tail)
                s->queue_tail->next = s->inbox_head;
            else
                s->queue_head = s->inbox_head;
            s->queue_tail = s->inbox_tail;
            s->inbox_head = s->inbox_tail = NULL;
        }
        const bool any = take_answer(s, &done);
        s->poked = false;
        s->cancel_all = s->out_of_patience;
        pthread_mutex_unlock(&s->lock);
        if (!any)
            return;
        if (!done.answered && !s->cancel_all)
            log_warning("kv search given up why=deadline: the directory does not answer");
        admit_answer(s, done.job, done.plan);
    }
}

static bool is_cancelled(const sched *s, const job *j)
{
    return s->cancel_all || atomic_load_explicit(&j->cancelled, memory_order_acquire);
}

static void drop_cancelled(sched *s)
{
    for (job **at = &s->queue_head; *at;) {
        job *j = *at;
        if (!is_cancelled(s, j)) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        finish_job(s, j, SCHED_FINISH_CANCELLED, DS4_OK, "");
    }
    s->queue_tail = s->queue_head;
    while (s->queue_tail && s->queue_tail->next)
        s->queue_tail = s->queue_tail->next;
    for (uint32_t i = 0; i < s->options.n_slots; i++) {
        job *j = s->slots[i].job;
        if (j && j->state == JOB_RUNNING && is_cancelled(s, j))
            finish_job(s, j, SCHED_FINISH_CANCELLED, DS4_OK, "");
    }
}

/* Frontiers of all resident sequences, the most recently used first. */
static void save_all(sched *s)
{
    const int64_t deadline = clock_monotonic_us() + s->save_us;
    for (uint32_t done = 0; done < s->options.n_slots && clock_monotonic_us() < deadline; done++) {
        slot *newest = NULL;
        for (uint32_t i = 0; i < s->options.n_slots; i++)
            if (s->slots[i].sequence && (!newest || s->slots[i].last_use > newest->last_use))
                newest = &s->slots[i];
        if (!newest)
            return;
        if (engine_sequence_length(newest->sequence) >= s->options.min_cached_tokens)
            engine_sequence_save(newest->sequence, ENGINE_SAVE_EXIT, true);
        engine_sequence_free(newest->sequence);
        newest->sequence = NULL;
        slot_drop_plan(newest, s->librarian);
    }
}

/* Under the lock: until another thread has something, or a search has taken too long. */
static void wait_for_messages(sched *s)
{
    int64_t until_us = INT64_MAX;
    for (uint32_t i = 0; i < s->options.n_slots; i++)
        if (s->searches[i].id && s->searches[i].until_us < until_us)
            until_us = s->searches[i].until_us;
    while (!s->poked && !s->inbox_head && s->n_room_answered == s->n_room_asked && !(s->stopping && s->n_open == 0)) {
        if (until_us == INT64_MAX)
            pthread_cond_wait(&s->wake, &s->lock);
        else if (!clock_cond_wait(&s->wake, &s->lock, until_us))
            return;
    }
}

static void *engine_thread(void *argument)
{
    sched *s = argument;
    for (;;) {
        take_messages(s);
        memory_answer(s);
        drop_cancelled(s);
        admit_waiting(s);
        if (step_once(s))
            continue;
        pthread_mutex_lock(&s->lock);
        wait_for_messages(s);
        const bool stop = s->stopping && s->n_open == 0;
        pthread_mutex_unlock(&s->lock);
        if (stop)
            break;
    }
    save_all(s);
    return NULL;
}

/* ---------------------------------------------------------------- other threads */

static void free_fields(sched *s, int64_t until_us)
{
    for (uint32_t i = 0; s->slots && i < s->options.n_slots; i++) {
        engine_sequence_free(s->slots[i].sequence);
        if (s->librarian)
            slot_drop_plan(&s->slots[i], s->librarian);
    }
    librarian_close(s->librarian, until_us);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->idle);
    pthread_cond_destroy(&s->room_answered);
    pthread_mutex_destroy(&s->lock);
    free(s->slots);
    free(s->work);
    free(s->work_jobs);
    free(s->searches);
    free(s);
}

ds4_status sched_open(sched **out, engine *e, const sched_options *options, ds4_error *err)
{
    *out = NULL;
    if (options->n_slots < 1 || options->n_slots > SLOTS_MAX)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "%u resident sequences; supported are 1..%d", options->n_slots,
                        SLOTS_MAX);
    if (options->prefill_chunk < 1 || options->prefill_quantum < 1)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "a prefill chunk must have at least one token");
    sched *s = calloc(1, sizeof *s);
    if (!s)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for the scheduler");
    const uint32_t n = options->n_slots;
    s->engine = e;
    s->options = *options;
    s->n_ctx = engine_get_about(e)->n_ctx;
    s->n_vocab = engine_get_about(e)->n_vocab;
    pthread_mutex_init(&s->lock, NULL);
    clock_cond_init(&s->wake);
    clock_cond_init(&s->idle);
    clock_cond_init(&s->room_answered);
    s->slots = calloc(n, sizeof *s->slots);
    s->work = calloc(n, sizeof *s->work);
    s->work_jobs = calloc(n, sizeof *s->work_jobs);
    s->searches = calloc(n, sizeof *s->searches);
    ds4_status status = DS4_OK;
    if (!s->slots || !s->work || !s->work_jobs || !s->searches)
        status = ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for the scheduler");
    if (status == DS4_OK)
        status = librarian_open(&s->librarian, engine_store(e), on_found, s, err);
    if (status == DS4_OK && pthread_create(&s->thread, NULL, engine_thread, s) != 0)
        status = ds4_fail(err, DS4_ERR_NO_MEMORY, "cannot start the engine thread");
    if (status != DS4_OK) {
        free_fields(s, INT64_MAX);
        return status;
    }
    *out = s;
    return DS4_OK;
}

static uint64_t ask_for_room(sched *s)
{
    pthread_mutex_lock(&s->lock);
    const uint64_t number = ++s->n_room_asked;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    return number;
}

bool sched_make_room(sched *s)
{
    const uint64_t number = ask_for_room(s);
    pthread_mutex_lock(&s->lock);
    while (s->n_room_answered < number)
        pthread_cond_wait(&s->room_answered, &s->lock);
    const bool found = s->room_found;
    pthread_mutex_unlock(&s->lock);
    return found;
}

ds4_status sched_submit(sched *s, const sched_request *request, sched_ticket **out, ds4_error *err)
{
    *out = NULL;
    if (request->n_prompt == 0)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "the prompt is empty");
    if (request->n_prompt >= s->n_ctx)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "the prompt has %u tokens; the context holds %u and one must be free",
                        request->n_prompt, s->n_ctx);
    job *j = NULL;
    ds4_status status = job_new(&j, s, request, s->n_vocab, err);
    if (status == DS4_ERR_NO_MEMORY)
        ask_for_room(s); /* too late for this request, which must not wait here, but not for the next */
    if (status != DS4_OK)
        return status;
    pthread_mutex_lock(&s->lock);
    /* What waits beyond the slots: a request that arrived a moment ago may only not have been given its free slot yet. */
    const uint64_t n_open = s->metrics.n_queued + s->metrics.n_running;
    const uint64_t n_waiting = n_open > s->options.n_slots ? n_open - s->options.n_slots : 0;
    if (s->draining)
        status = ds4_fail(err, DS4_ERR_CANCELLED, "the server is shutting down");
    else if (s->options.max_queue && n_waiting >= s->options.max_queue)
        status = ds4_fail(err, DS4_ERR_NO_SPACE, "%llu requests are waiting already", (unsigned long long)n_waiting);
    if (status == DS4_OK) {
        if (s->inbox_tail)
            s->inbox_tail->next = j;
        else
            s->inbox_head = j;
        s->inbox_tail = j;
        s->n_open++;
        s->metrics.n_queued++;
        pthread_cond_signal(&s->wake);
    } else {
        s->metrics.refused_total++;
    }
    pthread_mutex_unlock(&s->lock);
    if (status != DS4_OK) {
        job_unref(j);
        job_unref(j);
        return status;
    }
    *out = j;
    return DS4_OK;
}

void sched_cancel(sched_ticket *ticket)
{
    sched *s = ticket->owner;
    if (atomic_exchange_explicit(&ticket->cancelled, true, memory_order_acq_rel))
        return;
    pthread_mutex_lock(&s->lock);
    s->poked = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void sched_ticket_release(sched_ticket *ticket)
{
    if (ticket)
        job_unref(ticket);
}

void sched_drain(sched *s, int64_t grace_us)
{
    const int64_t until_us = clock_monotonic_us() + grace_us;
    pthread_mutex_lock(&s->lock);
    s->draining = true;
    while (s->n_open > 0 && clock_cond_wait(&s->idle, &s->lock, until_us))
        continue;
    if (s->n_open > 0) {
        s->out_of_patience = true;
        s->poked = true;
        pthread_cond_signal(&s->wake);
        while (s->n_open > 0)
            pthread_cond_wait(&s->idle, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
}

void sched_close(sched *s, int64_t save_us)
{
    enum { CLOSE_US = 2000000 };
    if (!s)
        return;
    const int64_t until_us = clock_monotonic_us() + (save_us > CLOSE_US ? save_us : CLOSE_US);
    kv_store_hurry(engine_store(s->engine), until_us);
    sched_drain(s, 0);
    pthread_mutex_lock(&s->lock);
    s->save_us = save_us;
    s->stopping = true;
    s->poked = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    free_fields(s, until_us);
}

void sched_get_metrics(sched *s, sched_metrics *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->metrics;
    pthread_mutex_unlock(&s->lock);
}
