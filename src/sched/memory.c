#include "sched/memory.h"

#include "base/log.h"
#include "sched/sched_state.h"

bool memory_give_up(sched *s)
{
    slot *oldest = NULL;
    for (uint32_t i = 0; i < s->options.n_slots; i++) {
        slot *at = &s->slots[i];
        if (at->sequence && !at->job && (!oldest || at->last_use < oldest->last_use))
            oldest = at;
    }
    if (!oldest)
        return false;
    const uint32_t n_tokens = engine_sequence_length(oldest->sequence);
    slot_save_displaced(oldest, &s->options);
    slot_drop_plan(oldest, s->librarian);
    engine_sequence_free(oldest->sequence);
    oldest->sequence = NULL;
    log_warning("idle state given up why=no-memory tokens=%u", (unsigned)n_tokens);
    pthread_mutex_lock(&s->lock);
    s->metrics.states_given_up_total++;
    pthread_mutex_unlock(&s->lock);
    return true;
}

void memory_answer(sched *s)
{
    pthread_mutex_lock(&s->lock);
    const uint64_t asked = s->n_room_asked;
    const bool waiting = s->n_room_answered != asked;
    pthread_mutex_unlock(&s->lock);
    if (!waiting)
        return;
    const bool found = memory_give_up(s);
    pthread_mutex_lock(&s->lock);
    s->n_room_answered = asked;
    s->room_found = found;
    pthread_cond_broadcast(&s->room_answered);
    pthread_mutex_unlock(&s->lock);
}
