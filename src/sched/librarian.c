#include "sched/librarian.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/tokens.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct errand {
    struct errand *next;
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
} errand;

struct librarian {
    /* Constant. */
    kv_store *store;
    librarian_found_fn *on_found;
    void *user;
    pthread_t thread;
    /* Guarded by `lock`; `wake` is signalled when they change. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    errand *head, *tail;
    bool stopping;
};

static kv_plan *search(librarian *l, const errand *e)
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
    return plan;
}

static void judge(kv_plan *plan, const errand *e)
{
    switch (e->verdict) {
    case LIBRARIAN_SUCCEED: kv_plan_succeed(plan, e->us); return;
    case LIBRARIAN_SUSPECT: kv_plan_suspect(plan, e->why, e->detail); return;
    case LIBRARIAN_CONDEMN: kv_plan_condemn(plan, e->why, e->us); break;
    case LIBRARIAN_ACQUIT: kv_plan_acquit(plan); break;
    case LIBRARIAN_RELEASE: break;
    }
    kv_plan_release(plan);
}

static void *work(void *argument)
{
    librarian *l = argument;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->head && !l->stopping)
            pthread_cond_wait(&l->wake, &l->lock);
        errand *e = l->head;
        if (!e)
            break; /* stopping, and everything is done */
        l->head = e->next;
        if (!l->head)
            l->tail = NULL;
        pthread_mutex_unlock(&l->lock);
        if (e->plan) {
            judge(e->plan, e);
        } else {
            kv_plan *plan = search(l, e);
            if (!l->on_found(l->user, e->id, plan))
                kv_plan_release(plan); /* too late */
        }
        token_list_free(&e->tokens);
        free(e);
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

ds4_status librarian_open(librarian **out, kv_store *store, librarian_found_fn *on_found, void *user, ds4_error *err)
{
    *out = NULL;
    librarian *l = calloc(1, sizeof *l);
    if (!l)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for the librarian");
    l->store = store;
    l->on_found = on_found;
    l->user = user;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->wake, NULL);
    if (pthread_create(&l->thread, NULL, work, l) != 0) {
        pthread_cond_destroy(&l->wake);
        pthread_mutex_destroy(&l->lock);
        free(l);
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "cannot start the librarian thread");
    }
    *out = l;
    return DS4_OK;
}

void librarian_close(librarian *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static void hand_over(librarian *l, errand *e)
{
    pthread_mutex_lock(&l->lock);
    if (l->tail)
        l->tail->next = e;
    else
        l->head = e;
    l->tail = e;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

void librarian_find(librarian *l, const uint32_t *tokens, uint32_t n, uint32_t min_tokens, int64_t deadline_us,
                    uint64_t id)
{
    errand *e = calloc(1, sizeof *e);
    if (!e || token_list_append_all(&e->tokens, tokens, n) != DS4_OK) {
        free(e);
        l->on_found(l->user, id, NULL);
        return;
    }
    e->min_tokens = min_tokens;
    e->deadline_us = deadline_us;
    e->id = id;
    hand_over(l, e);
}

void librarian_judge(librarian *l, kv_plan *plan, librarian_verdict verdict, int64_t us, ds4_status why,
                     const char *detail)
{
    errand *e = calloc(1, sizeof *e);
    if (!e) {
        /* A verdict must not be lost for want of memory; better that the engine thread waits for the disk once. */
        errand here = { .verdict = verdict, .us = us, .why = why };
        snprintf(here.detail, sizeof here.detail, "%s", detail ? detail : "");
        judge(plan, &here);
        return;
    }
    e->plan = plan;
    e->verdict = verdict;
    e->us = us;
    e->why = why;
    snprintf(e->detail, sizeof e->detail, "%s", detail ? detail : "");
    hand_over(l, e);
}
