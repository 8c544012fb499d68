#include "sched/loop.h"

uint32_t loop_note(loop_guard *guard, const uint32_t *ids, size_t n, uint32_t n_least)
{
    const uint32_t *last = ids + n - 1;
    const uint32_t n_periods = n - 1 < LOOP_PERIOD_MAX ? (uint32_t)(n - 1) : LOOP_PERIOD_MAX;
    uint32_t found = 0;
    for (uint32_t p = 1; p <= n_periods; p++) {
        uint32_t *run = &guard->runs[p - 1];
        *run = *last == *(last - p) ? *run + 1 : 0;
        const uint64_t tail = (uint64_t)*run + p; /* the first piece has nothing before it to be compared with */
        if (!found && *run && tail >= n_least && tail >= (uint64_t)p * LOOP_REPEATS_MIN)
            found = p;
    }
    return found;
}
