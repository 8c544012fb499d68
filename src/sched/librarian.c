/* sched/librarian.c - tasks for the disk, one at a time.
 * (1) Nothing here makes the engine thread wait for the disk: tasks for verdicts are set aside before a plan is handed out,
 *     so that no verdict is lost or late for want of memory.
 * (2) Closing is bounded. A thread whose disk does not answer is left behind; it owns the librarian then, calls nobody
 *     back, and frees everything if the disk ever answers. It holds the store until then. */
#include "sched/librarian.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/tokens.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* Of one plan at most so many verdicts wait at a time: SUCCEED, SUSPECT, and one that consumes it. */
enum { VERDICTS_PER_PLAN = 3 };

typedef struct task {
    struct task *next;
    /* A search when `plan` is NULL, else a verdict on it. */
    token_list tokens;
    uint32_t min_tokens;
    int64_t deadline_us;
    uint64_t id;
    kv_plan *plan;
    int64_t us;
    librarian_verdict verdict;
    ds4_status why;
    char detail[240];
} task;

struct librarian {
    /* Constant. */
    kv_store *store;
    librarian_found_fn *on_found;
    void *user;
    pthread_t thread;
    /* Guarded by `lock`; `wake` is signalled when they change. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    task *head, *tail;
    task *spare; /* for verdicts, n_spare of them */
    size_t n_spare, n_plans;
    bool stopping, ended, calling;
    bool abandoned; /* nobody waits for the thread any more (2) */
};

/* ---- tasks for verdicts (1) ---- */

/* Room for the verdicts on one more plan. False: no memory. */
static bool reserve_verdicts(librarian *l)
{
    task *fresh[VERDICTS_PER_PLAN];
    for (size_t i = 0; i < VERDICTS_PER_PLAN; i++) {
        fresh[i] = calloc(1, sizeof *fresh[i]);
        if (fresh[i])
            continue;
        while (i > 0)
            free(fresh[--i]);
        return false;
    }
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < VERDICTS_PER_PLAN; i++) {
        fresh[i]->next = l->spare;
        l->spare = fresh[i];
    }
    l->n_spare += VERDICTS_PER_PLAN;
    l->n_plans++;
    pthread_mutex_unlock(&l->lock);
    return true;
}

/* Under the lock: takes a spare task off the list. */
static task *take_spare(librarian *l)
{
    task *e = l->spare;
    l->spare = e->next;
    l->n_spare--;
    *e = (task){ 0 };
    return e;
}

/* A task is done: kept as long as the plans that are out may need it. */
static void put_back(librarian *l, task *e)
{
    token_list_free(&e->tokens);
    pthread_mutex_lock(&l->lock);
    const bool needed = l->n_spare < VERDICTS_PER_PLAN * l->n_plans;
    if (needed) {
        *e = (task){ .next = l->spare };
        l->spare = e;
        l->n_spare++;
    }
    pthread_mutex_unlock(&l->lock);
    if (!needed)
        free(e);
}

/* ---- the thread ---- */

static kv_plan *search(librarian *l, const task *e)
{
    kv_plan *plan = NULL;
    ds4_error err = { 0 };
    if (!l->store || clock_monotonic_us() > e->deadline_us)
        return NULL;
    if (kv_plan_find(&plan, l->store, e->tokens.ids, e->tokens.n, e->min_tokens, e->deadline_us, &err) != DS4_OK)
        return NULL;
    /* Without the record a plan that kills the process would be met again after the restart. */
    if (kv_plan_begin(plan, &err) != DS4_OK) {
        log_warning("kv intent failed, restoring nothing: %s", err.text);
        kv_plan_release(plan);
        return NULL;
    }
    if (!reserve_verdicts(l)) {
        log_warning("kv restore given up why=no_memory");
        kv_plan_release(plan);
        return NULL;
    }
    return plan;
}

static void judge(const task *e)
{
    switch (e->verdict) {
    case LIBRARIAN_SUCCEED: kv_plan_succeed(e->plan, e->us); return;
    case LIBRARIAN_SUSPECT: kv_plan_suspect(e->plan, e->why, e->detail); return;
    case LIBRARIAN_CONDEMN: kv_plan_condemn(e->plan, e->why, e->us); break;
    case LIBRARIAN_ACQUIT: kv_plan_acquit(e->plan); break;
    case LIBRARIAN_RELEASE: break;
    }
    kv_plan_release(e->plan);
}

/* Delivers the answer, unless the librarian was closed meanwhile. */
static void answer(librarian *l, uint64_t id, kv_plan *plan)
{
    pthread_mutex_lock(&l->lock);
    const bool heard = l->calling = !l->abandoned;
    pthread_mutex_unlock(&l->lock);
    const bool taken = heard && l->on_found(l->user, id, plan);
    pthread_mutex_lock(&l->lock);
    l->calling = false;
    pthread_cond_broadcast(&l->wake);
    if (plan && !taken)
        l->n_plans--;
    pthread_mutex_unlock(&l->lock);
    if (!taken)
        kv_plan_release(plan); /* too late */
}

static bool is_abandoned(librarian *l)
{
    pthread_mutex_lock(&l->lock);
    const bool abandoned = l->abandoned;
    pthread_mutex_unlock(&l->lock);
    return abandoned;
}

static void run_task(librarian *l, task *e)
{
    if (e->plan)
        judge(e);
    else if (!is_abandoned(l))
        answer(l, e->id, search(l, e));
    put_back(l, e);
}

static void free_librarian(librarian *l)
{
    for (task *e; (e = l->spare);) {
        l->spare = e->next;
        free(e);
    }
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->lock);
    kv_store_let_go(l->store);
    free(l);
}

static void *work(void *argument)
{
    librarian *l = argument;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->head && !l->stopping)
            pthread_cond_wait(&l->wake, &l->lock);
        task *e = l->head;
        if (!e)
            break; /* stopping, and everything is done */
        l->head = e->next;
        if (!l->head)
            l->tail = NULL;
        pthread_mutex_unlock(&l->lock);
        run_task(l, e);
        pthread_mutex_lock(&l->lock);
    }
    l->ended = true;
    const bool abandoned = l->abandoned;
    pthread_cond_broadcast(&l->wake);
    pthread_mutex_unlock(&l->lock);
    if (abandoned)
        free_librarian(l);
    return NULL;
}

/* ---- the other threads ---- */

ds4_status librarian_open(librarian **out, kv_store *store, librarian_found_fn *on_found, void *user, ds4_error *err)
{
    *out = NULL;
    librarian *l = calloc(1, sizeof *l);
    if (!l)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for the librarian");
    l->store = kv_store_hold(store);
    l->on_found = on_found;
    l->user = user;
    pthread_mutex_init(&l->lock, NULL);
    clock_cond_init(&l->wake);
    if (pthread_create(&l->thread, NULL, work, l) != 0) {
        free_librarian(l);
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "cannot start the librarian thread");
    }
    *out = l;
    return DS4_OK;
}

void librarian_close(librarian *l, int64_t until_us)
{
    if (!l)
        return;
    const pthread_t thread = l->thread;
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    pthread_cond_broadcast(&l->wake);
    while (!l->ended && clock_cond_wait(&l->wake, &l->lock, until_us))
        continue;
    while (l->calling) /* a callback does not wait for the disk */
        pthread_cond_wait(&l->wake, &l->lock);
    const bool ended = l->ended;
    l->abandoned = !ended;
    pthread_mutex_unlock(&l->lock);
    if (ended) {
        pthread_join(thread, NULL);
        free_librarian(l);
    } else {
        pthread_detach(thread);
    }
}

static void hand_over(librarian *l, task *e)
{
    if (l->tail)
        l->tail->next = e;
    else
        l->head = e;
    l->tail = e;
    pthread_cond_broadcast(&l->wake);
}

void librarian_find(librarian *l, const uint32_t *tokens, uint32_t n, uint32_t min_tokens, int64_t deadline_us,
                    uint64_t id)
{
    task *e = calloc(1, sizeof *e);
    if (!e || token_list_append_all(&e->tokens, tokens, n) != DS4_OK) {
        free(e);
        l->on_found(l->user, id, NULL);
        return;
    }
    e->min_tokens = min_tokens;
    e->deadline_us = deadline_us;
    e->id = id;
    pthread_mutex_lock(&l->lock);
    hand_over(l, e);
    pthread_mutex_unlock(&l->lock);
}

void librarian_judge(librarian *l, kv_plan *plan, librarian_verdict verdict, int64_t us, ds4_status why,
                     const char *detail)
{
    pthread_mutex_lock(&l->lock);
    task *e = take_spare(l); /* set aside when the plan was handed out (1) */
    e->plan = plan;
    e->verdict = verdict;
    e->us = us;
    e->why = why;
    snprintf(e->detail, sizeof e->detail, "%s", detail ? detail : "");
    if (verdict != LIBRARIAN_SUCCEED && verdict != LIBRARIAN_SUSPECT)
        l->n_plans--; /* consumed */
    hand_over(l, e);
    pthread_mutex_unlock(&l->lock);
}
