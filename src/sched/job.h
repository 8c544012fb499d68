/* sched/job.h - one request from submit to its last callback: what the public header calls a ticket. */
#ifndef SCHED_JOB_H
#define SCHED_JOB_H

#include "sched/loop.h"
#include "sched/sched.h"

#include <stdatomic.h>

typedef struct slot slot;

typedef enum job_state {
    JOB_WAITING,  /* in the queue */
    JOB_PLANNING, /* has a slot; the librarian looks for a checkpoint */
    JOB_RUNNING,  /* takes part in steps */
    JOB_DONE      /* on_done() was called */
} job_state;

struct sched_ticket {
    /* Constant after job_new(). */
    sched *owner;
    sched_request request; /* .prompt is NULL: see `history`; .anchors and .sampling.biases are ours */
    uint32_t *anchors;
    engine_bias *biases;
    int64_t submitted_us;

    atomic_bool cancelled; /* set by any thread */
    atomic_int references; /* owner and scheduler */

    /* Guarded by the scheduler's lock. */
    struct sched_ticket *next; /* in the inbox */

    /* Engine thread only. */
    job_state state;
    slot *slot;
    engine_sampler *sampler;
    token_list history; /* prompt and every token given to on_token(); the last may not be evaluated yet */
    uint32_t n_generated;
    loop_guard loop;
    uint32_t loop_period; /* once one was found */
    uint32_t n_live;      /* while planning: what the slot could keep */
    uint32_t n_cached;
    sched_source source;
    bool retried;      /* the one clean retry has been used */
    sched_steer steer; /* wishes for the next token */
    int64_t started_us, first_token_us;
};

typedef struct sched_ticket job;

/* Copies the request. Errors: ARGUMENT (a bias), NO_MEMORY. Two references: the caller's and the scheduler's. */
ds4_status job_new(job **out, sched *owner, const sched_request *request, uint32_t n_vocab, ds4_error *err);
void job_unref(job *j);

/* Makes what only a running job needs: its sampler, which has room for the whole vocabulary. Engine thread. NO_MEMORY. */
ds4_status job_ready(job *j, uint32_t n_vocab, ds4_error *err);

/* Tokens of the history that the slot's sequence has not evaluated. */
uint32_t job_n_missing(const job *j);
/* The first anchor beyond position p, or UINT32_MAX. */
uint32_t job_next_anchor(const job *j, uint32_t p);
bool job_has_anchor(const job *j, uint32_t p);

#endif
