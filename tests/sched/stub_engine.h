/* tests/sched/stub_engine.h - an engine without a network: the next token is a hash of all tokens before it, so every
 * mistake in what was evaluated changes the output. Also a store with one checkpoint that tests place by hand.
 * It replaces the real modules at link time; failures are ordered through `stub`. */
#ifndef TESTS_SCHED_STUB_ENGINE_H
#define TESTS_SCHED_STUB_ENGINE_H

#include "sched/sched.h"

#include <stdatomic.h>

enum { STUB_VOCAB = 97, STUB_CTX = 4096 };

/* Every call of the engine and of the store that can fail, by name; STUB_ANY is each of them. */
typedef enum stub_call {
    STUB_NONE,
    STUB_SEQUENCE_NEW,
    STUB_REWIND,
    STUB_STEP,    /* as a whole: no item advances */
    STUB_PREFILL, /* an item of a step, whose state is garbage afterwards */
    STUB_DECODE,
    STUB_SAMPLING_CHECK,
    STUB_SAMPLER_NEW,
    STUB_PICK,
    STUB_RESTORE,
    STUB_FIND,
    STUB_BEGIN,
    STUB_ANY,
    STUB_N_CALLS
} stub_call;

extern const char *const stub_call_names[STUB_N_CALLS];

/* Settings may be changed while the scheduler is idle; counters may be read any time. */
typedef struct stub_world {
    /* The passages fail_nth .. fail_nth + fail_more (1-based) of fail_call answer fail_status. */
    _Atomic(stub_call) fail_call;
    atomic_uint fail_nth, fail_more;
    ds4_status fail_status;
    atomic_uint n_calls; /* passages of fail_call so far */
    /* Memory: so many sequences fit; more are NO_MEMORY. 0: no limit. */
    atomic_uint sequences_max;
    /* The step with this number (1-based, counted over all steps) fails with step_status as a whole. DEVICE_LOST makes its
     * states bad: they must be reset before they are used again. */
    atomic_uint fail_step;
    ds4_status step_status;
    /* An item whose range of positions holds fail_position fails with item_status, fail_times times. */
    atomic_uint fail_position, fail_times;
    ds4_status item_status;
    ds4_status restore_status; /* what engine_sequence_restore() answers */
    atomic_uint step_delay_us;
    atomic_bool hold; /* steps do not end before this is false again */
    /* The store: a checkpoint of `checkpoint` tokens of any prompt that is longer; 0: none. */
    atomic_uint checkpoint;
    bool has_store;
    atomic_bool search_hangs; /* a search does not come back before this is false again */
    /* What happened. */
    atomic_uint n_holders;            /* of the store */
    atomic_uint n_entered;            /* steps that have begun */
    atomic_uint n_mixed, n_mixed_max; /* steps that decode and read a prompt; the most prompt tokens of one */
    atomic_uint n_prefills_max;       /* prompts in one step */
    atomic_uint displaced_at;         /* length of the last state that was saved because another took its place */
    atomic_uint n_searches, n_steps, n_items_max, n_prefill_max, n_found, n_begun, n_succeeded, n_suspected,
        n_condemned, n_acquitted, n_released, n_restored, n_saved, n_frontiers, n_displaced, n_exits, n_resets,
        n_sequences;
} stub_world;

extern stub_world stub;

void stub_reset(void);
engine *stub_engine(void);

/* The token that follows tokens[0..n) when the engine is right. */
uint32_t stub_next(const uint32_t *tokens, size_t n);

#endif
