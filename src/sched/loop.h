/* sched/loop.h - tells when an answer repeats itself without end. A model that has begun to do so does not stop: each
 * repetition makes the next one more likely.
 *
 * A loop is a tail of the generated tokens that consists of one piece of at most LOOP_PERIOD_MAX tokens, repeated without a
 * change at least LOOP_REPEATS_MIN times, and is as long as the caller says. Engine thread only. */
#ifndef SCHED_LOOP_H
#define SCHED_LOOP_H

#include <stddef.h>
#include <stdint.h>

enum { LOOP_PERIOD_MAX = 512, LOOP_REPEATS_MIN = 16 };

typedef struct loop_guard {
    uint32_t runs[LOOP_PERIOD_MAX]; /* [p - 1]: so many of the last tokens equal the token p before them */
} loop_guard;                       /* a zeroed one is valid */

/* Takes ids[n - 1], the newest of the n generated tokens. Returns the length of the piece that repeats in a tail of at least
 * n_least tokens, or 0. */
uint32_t loop_note(loop_guard *guard, const uint32_t *ids, size_t n, uint32_t n_least);

#endif
