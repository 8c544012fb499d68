/* base/pool.h - a few threads that run the pieces of one job together; for kernels.
 * Threads: a pool is used by one caller at a time; the caller takes part in the work. Idle workers spin for a few
 * microseconds and then sleep, so an idle program uses no processor. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "ds4/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct pool pool;

enum { POOL_THREADS_MAX = 64 };

/* `n_threads` counts the caller: 1 makes a pool without threads of its own; 0 means one per physical core that this process
 * may use (cores_usable()), at most 16. Errors: ARGUMENT, NO_MEMORY, IO (no thread can be started). */
ds4_status pool_new(pool **out, uint32_t n_threads, ds4_error *err);
void pool_free(pool *p); /* NULL is fine */
uint32_t pool_n_threads(const pool *p);

/* Runs task(arg, i, worker) once for every i < n_tasks and returns when all are done; what the tasks wrote is then visible
 * to the caller. `worker` < n_threads tells concurrent tasks apart (scratch memory). Which worker runs which task is
 * not fixed: results must not depend on it. Only workers that have taken a task are waited for. */
typedef void pool_task(void *arg, uint32_t i_task, uint32_t worker);
void pool_run(pool *p, uint32_t n_tasks, pool_task *task, void *arg);

#endif
