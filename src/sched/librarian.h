/* sched/librarian.h - the thread that talks to the store's directory for the engine thread: it looks for checkpoints,
 * writes intents before they are used, and carries out verdicts. So decoding never waits for the disk.
 * The engine thread is the only caller; answers come back through the callback, on the librarian's thread. */
#ifndef SCHED_LIBRARIAN_H
#define SCHED_LIBRARIAN_H

#include "kv/kv.h"

typedef struct librarian librarian;

/* The answer to search `id`. `plan` is NULL for a miss; otherwise its intent record is written and the plan is the
 * receiver's, unless it answers false: nobody waits for it any more. */
typedef bool librarian_found_fn(void *user, uint64_t id, kv_plan *plan);

/* `store` NULL: every search is a miss, answered all the same. */
ds4_status librarian_open(librarian **out, kv_store *store, librarian_found_fn *on_found, void *user, ds4_error *err);
/* Finishes what was asked, then ends the thread. A disk that does not answer until clock_monotonic_us() is `until_us` keeps
 * its thread, which calls nobody back any more; see kv_store_close() for the store. NULL is fine. */
void librarian_close(librarian *l, int64_t until_us);

/* Searches a checkpoint of tokens[0..n) that saves at least min_tokens; copies the tokens. `id` comes back with the
 * answer. Out of memory is a miss. deadline_us as in kv_plan_find(): the answer to a disk that hangs comes when it comes. */
void librarian_find(librarian *l, const uint32_t *tokens, uint32_t n, uint32_t min_tokens, int64_t deadline_us,
                    uint64_t id);

typedef enum librarian_verdict {
    LIBRARIAN_SUCCEED, /* finite values: the intent goes, the use is noted; the plan stays the caller's */
    LIBRARIAN_SUSPECT, /* work on it failed, a clean retry begins; the plan stays the caller's */
    LIBRARIAN_CONDEMN, /* guilty: the plan is consumed */
    LIBRARIAN_ACQUIT,  /* no verdict or innocent: the intent goes; the plan is consumed */
    LIBRARIAN_RELEASE  /* the plan is consumed */
} librarian_verdict;

/* Tasks are run in the order given: of one plan SUCCEED at most once, SUSPECT at most once, then one that consumes it. Needs
 * no memory. `us`: SUCCEED, how long the upload took; CONDEMN, the clean retry. */
void librarian_judge(librarian *l, kv_plan *plan, librarian_verdict verdict, int64_t us, ds4_status why,
                     const char *detail);

#endif
