/* sched/memory.h - what is given up when memory is short. Engine thread only. */
#ifndef SCHED_MEMORY_H
#define SCHED_MEMORY_H

#include <stdbool.h>

typedef struct sched sched;

/* Frees the least recently used idle sequence, after handing it to the store. False: there is none. */
bool memory_give_up(sched *s);

/* Answers other threads that have asked for room. */
void memory_answer(sched *s);

#endif
