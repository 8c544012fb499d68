/* sched/slot.h - the resident sequences, and which of them a request gets. Engine thread only. */
#ifndef SCHED_SLOT_H
#define SCHED_SLOT_H

#include "sched/librarian.h"
#include "sched/sched.h"

typedef struct sched_ticket job;

/* What is known of the checkpoint that a sequence was restored from (docs/spec/kvstore.md, section 7). */
typedef enum plan_stage {
    PLAN_NONE,
    PLAN_TRIAL,  /* in use, nothing computed yet: the intent record is on disk */
    PLAN_PROVEN, /* finite values came out of it */
    PLAN_SUSPECT /* work on it failed; the clean retry decides */
} plan_stage;

typedef struct slot {
    engine_sequence *sequence;
    job *job;          /* NULL: idle */
    uint64_t last_use; /* counts admissions; larger is newer */
    kv_plan *plan;     /* what the present state was restored from, or the suspect; NULL at PLAN_NONE */
    plan_stage stage;
    int64_t upload_us;   /* how long copying the plan into the sequence took */
    int64_t suspect_us;  /* when the suspicion arose */
    char suspicion[240]; /* at PLAN_SUSPECT: the first error's words */
    ds4_status suspicion_status;
} slot;

/* An idle slot for a prompt, or NULL when all are busy. *n_live is how many tokens of the prompt its state can keep
 * (0: it must be reset). A state that can go on wins; then an empty slot; then the least recently used one. */
slot *slot_choose(slot *slots, size_t n_slots, const uint32_t *prompt, uint32_t n_prompt, uint32_t *n_live);

/* Hands a state that is about to be dropped to the store, if it is long enough to be worth it. */
void slot_save_displaced(slot *s, const sched_options *options);

/* Gives the plan back without a verdict beyond what its stage says (trial: acquitted) and forgets it. */
void slot_drop_plan(slot *s, librarian *l);

#endif
