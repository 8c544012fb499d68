/* sched/admit.c - from the queue into a slot: which resident state a prompt can go on from, and whether the store has
 * something better. What is decided here: live, exact(n) or clean (docs/spec/kvstore.md, section 6). */
#include "sched/sched_state.h"

#include "base/clock.h"
#include "base/log.h"

/* So much later than its deadline a search that does not come back is given up. */
enum { GRACE_US = 250 * 1000 };

/* A search may take half of what prefilling would. */
static int64_t search_deadline(sched *s, uint32_t n_tokens)
{
    pthread_mutex_lock(&s->lock);
    const uint64_t n = s->metrics.prefill_tokens_total;
    const int64_t us = s->metrics.prefill_us_total;
    pthread_mutex_unlock(&s->lock);
    int64_t patience = 0;
    if (n > 0)
        patience = (int64_t)(0.5 * (double)us / (double)n * n_tokens);
    if (patience < s->options.patience_us)
        patience = s->options.patience_us;
    return clock_monotonic_us() + patience;
}

static void tell_start(job *j)
{
    if (j->request.on_start)
        j->request.on_start(j->request.user, j->request.n_prompt, j->n_cached, &j->steer);
}

/* What a request needs before it can run: a sampler, and a sequence in its slot. Idle states make room for them. */
static ds4_status get_ready(sched *s, job *j, ds4_error *err)
{
    ds4_status status = DS4_OK;
    do
        status = job_ready(j, s->n_vocab, err);
    while (status == DS4_ERR_NO_MEMORY && memory_give_up(s));
    if (status != DS4_OK || j->slot->sequence)
        return status;
    do
        status = engine_sequence_new(&j->slot->sequence, s->engine, err);
    while (status == DS4_ERR_NO_MEMORY && memory_give_up(s));
    return status;
}

/* Back to the head of the queue, until one of the requests in the other slots ends. False: there are none. */
static bool wait_for_memory(sched *s, job *j)
{
    bool others = false;
    for (uint32_t i = 0; i < s->options.n_slots; i++)
        others = others || (s->slots[i].job && s->slots[i].job != j);
    if (!others)
        return false;
    j->slot->job = NULL;
    j->slot = NULL;
    j->state = JOB_WAITING;
    j->next = s->queue_head;
    s->queue_head = j;
    if (!s->queue_tail)
        s->queue_tail = j;
    s->short_of_memory = true;
    return true;
}

/* Keeps the first n tokens of the slot's state, or empties it. What nobody has saved yet is saved first. */
static void keep_live(sched *s, job *j, uint32_t n)
{
    slot *at = j->slot;
    if (n > 0 && engine_sequence_rewind(at->sequence, n, NULL) == DS4_OK) {
        j->n_cached = n;
        j->source = SCHED_SOURCE_LIVE;
    } else {
        slot_save_displaced(at, &s->options);
        restart_clean(s, j);
    }
}

/* The state of a plan replaces the slot's. Any error empties the slot: the request goes clean, or ends (false). */
static bool restore(sched *s, job *j, kv_plan *plan)
{
    slot *at = j->slot;
    ds4_error err = { 0 };
    keep_live(s, j, 0);
    const int64_t begin_us = clock_monotonic_us();
    ds4_status status = DS4_OK;
    do
        status = engine_sequence_restore(at->sequence, plan, &err);
    while (status == DS4_ERR_NO_MEMORY && memory_give_up(s));
    at->plan = plan;
    at->stage = PLAN_TRIAL;
    at->upload_us = clock_monotonic_us() - begin_us;
    if (status != DS4_OK)
        return fail_job(s, j, &err);
    j->n_cached = engine_sequence_length(at->sequence);
    j->source = SCHED_SOURCE_DISK;
    return true;
}

static void run(sched *s, job *j)
{
    j->state = JOB_RUNNING;
    j->started_us = clock_monotonic_us();
    j->slot->last_use = ++s->n_admissions;
    pthread_mutex_lock(&s->lock);
    s->metrics.n_queued--;
    s->metrics.n_running++;
    if (j->source == SCHED_SOURCE_LIVE) {
        s->metrics.live_starts_total++;
        s->metrics.reused_live_tokens_total += j->n_cached;
    }
    if (j->source == SCHED_SOURCE_DISK)
        s->metrics.reused_disk_tokens_total += j->n_cached;
    pthread_mutex_unlock(&s->lock);
    tell_start(j);
}

void admit_answer(sched *s, job *j, kv_plan *plan)
{
    ds4_error err = { 0 };
    const bool cancelled = s->cancel_all || atomic_load_explicit(&j->cancelled, memory_order_acquire);
    const ds4_status status = cancelled ? DS4_ERR_CANCELLED : get_ready(s, j, &err);
    if (status != DS4_OK) {
        if (plan)
            librarian_judge(s->librarian, plan, LIBRARIAN_ACQUIT, 0, DS4_OK, NULL);
        if (status == DS4_ERR_CANCELLED)
            finish_job(s, j, SCHED_FINISH_CANCELLED, DS4_OK, "");
        else if (status != DS4_ERR_NO_MEMORY || !wait_for_memory(s, j))
            finish_job(s, j, SCHED_FINISH_ERROR, status, err.text);
        return;
    }
    if (plan && !restore(s, j, plan))
        return;
    if (!plan)
        keep_live(s, j, j->n_live);
    run(s, j);
}

static void admit(sched *s, job *j, slot *at, uint32_t n_live)
{
    j->slot = at;
    j->state = JOB_PLANNING;
    j->n_live = n_live;
    at->job = j;
    const uint64_t min_tokens = (uint64_t)n_live + s->options.min_cached_tokens;
    /* No search when even the best hit would save less than it costs. */
    if (j->request.no_cache || !engine_store(s->engine) || j->request.n_prompt < min_tokens) {
        admit_answer(s, j, NULL);
        return;
    }
    const int64_t deadline_us = search_deadline(s, j->request.n_prompt);
    pthread_mutex_lock(&s->lock);
    const bool stuck = s->n_late > 0;
    uint32_t i = 0;
    while (s->searches[i].id)
        i++; /* there is a place for each slot */
    if (!stuck)
        s->searches[i] = (search){ .id = ++s->n_searches, .job = j, .until_us = deadline_us + GRACE_US };
    const uint64_t id = s->n_searches;
    pthread_mutex_unlock(&s->lock);
    if (stuck)
        admit_answer(s, j, NULL);
    else
        librarian_find(s->librarian, j->history.ids, j->request.n_prompt, (uint32_t)min_tokens, deadline_us, id);
}

void admit_waiting(sched *s)
{
    while (s->queue_head && !s->short_of_memory) {
        job *j = s->queue_head;
        uint32_t n_live = 0;
        slot *at = slot_choose(s->slots, s->options.n_slots, j->history.ids, j->request.n_prompt, &n_live);
        if (!at)
            return;
        s->queue_head = j->next;
        if (!s->queue_head)
            s->queue_tail = NULL;
        admit(s, j, at, j->request.no_cache ? 0 : n_live);
    }
}
