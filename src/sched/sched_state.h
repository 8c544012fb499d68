/* sched/sched_state.h - what the files of this module share: the scheduler's fields, grouped by who may touch them. */
#ifndef SCHED_SCHED_STATE_H
#define SCHED_SCHED_STATE_H

#include "sched/job.h"
#include "sched/librarian.h"
#include "sched/memory.h"
#include "sched/sched.h"
#include "sched/slot.h"

#include <pthread.h>

/* A search that the librarian was sent on. */
typedef struct search {
    uint64_t id; /* 0: none; never used twice, so that a late answer cannot be taken for another */
    job *job;
    int64_t until_us; /* then it counts as a miss, whatever the disk is doing (F17) */
    bool answered;
    kv_plan *plan;
} search;

struct sched {
    /* Constant after sched_open(). */
    engine *engine;
    sched_options options;
    librarian *librarian;
    uint32_t n_ctx, n_vocab;
    pthread_t thread;

    /* Guarded by `lock`; `wake` is signalled when any of them changes, `idle` when n_open reaches 0. */
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    job *inbox_head, *inbox_tail; /* submitted, not yet seen by the engine thread */
    search *searches;             /* [n_slots] one for each slot at most */
    uint64_t n_searches;          /* ever: the last id */
    uint32_t n_late;              /* given up, and the librarian is not back yet: nobody else is sent after them */
    uint32_t n_open;              /* submitted and not yet done */
    bool draining;                /* nothing new is accepted */
    bool out_of_patience;         /* what still runs is cancelled */
    bool stopping;                /* the thread ends when nothing is open */
    bool poked;
    int64_t save_us; /* set with `stopping` */
    sched_metrics metrics;
    /* sched_make_room(): how often it was asked for and answered, and the last answer. */
    pthread_cond_t room_answered;
    uint64_t n_room_asked, n_room_answered;
    bool room_found;

    /* Engine thread only. */
    slot *slots;                  /* [options.n_slots] */
    job *queue_head, *queue_tail; /* waiting for a slot, oldest first (linked by job.next) */
    bool cancel_all;              /* as out_of_patience */
    bool short_of_memory;         /* the head of the queue waits for memory that a running request holds */
    uint64_t n_admissions;
    uint32_t turn;     /* whose prefill comes next, round robin over the slots */
    engine_work *work; /* [n_slots] the step being built */
    job **work_jobs;   /* [n_slots] parallel to `work` */
};

/* ---- admit.c: from the queue into a slot ---- */
void admit_waiting(sched *s);                       /* starts as many as there are idle slots */
void admit_answer(sched *s, job *j, kv_plan *plan); /* the librarian has looked */

/* ---- step.c: one batch ---- */
bool step_once(sched *s); /* false: there was nothing to run */

/* ---- finish.c: how requests end, and what failure means ---- */
/* Calls on_done() and lets go of the job: nobody may touch it afterwards. */
void finish_job(sched *s, job *j, sched_finish how, ds4_status status, const char *text);
/* Work of a job failed: retries clean once if the state was not this request's own (true), else ends it as finish_job()
 * does (false). */
bool fail_job(sched *s, job *j, const ds4_error *why);
/* Finite values came out of the job's state: a restored one has passed its trial, and a clean run that has come to the end
 * of the history shows that the suspected checkpoint was at fault. */
void prove_job(sched *s, job *j);
/* Empties the job's slot; the request will be evaluated from position 0. */
void restart_clean(sched *s, job *j);

#endif
