/* base/pool.c - jobs are numbered; a worker that sees a new number takes tasks until there are none left.
 *
 * The number, the next task and the count of workers still busy are atomics; mutex and conditions serve only those that
 * have stopped spinning. A worker counts itself out when it finds no more tasks, and the caller returns when all have:
 * therefore no worker can still be looking at a job when the next one is set up. */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

enum {
    SPINS =
        4000, /* about 20 us: longer than the pause between two kernels of a step, shorter than anyone would notice */
    AUTO_MAX = 16
};

struct pool {
    /* Constant after pool_new(). */
    uint32_t n_threads; /* with the caller */
    pthread_t *threads; /* [n_threads - 1] */
    /* Written by the caller before `job` is raised; read by workers after they have seen it. */
    pool_task *task;
    void *arg;
    uint32_t n_tasks;
    atomic_uint next;     /* the next task that nobody has taken */
    atomic_uint job;      /* number of the present job */
    atomic_uint busy;     /* workers that have not finished the present job */
    atomic_uint sleepers; /* workers waiting on `wake`, changed under `lock` */
    /* Guarded by `lock`. */
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    bool stopping;
};

typedef struct pool_worker {
    pool *pool;
    uint32_t index;
} pool_worker;

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static void take_tasks(pool *p, uint32_t worker)
{
    for (;;) {
        const uint32_t i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (i >= p->n_tasks)
            return;
        p->task(p->arg, i, worker);
    }
}

/* Waits for a job other than `seen`; false when the pool is closing. */
static bool wait_for_job(pool *p, uint32_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&p->job, memory_order_acquire) != seen)
            return true;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->job) == seen && !p->stopping)
        pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    const bool go = !p->stopping;
    pthread_mutex_unlock(&p->lock);
    return go;
}

static void *worker_main(void *arg)
{
    const pool_worker self = *(pool_worker *)arg;
    free(arg);
    pool *p = self.pool;
    uint32_t seen = 0;
    while (wait_for_job(p, seen)) {
        seen = atomic_load_explicit(&p->job, memory_order_acquire);
        take_tasks(p, self.index);
        if (atomic_fetch_sub_explicit(&p->busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
    return NULL;
}

void pool_run(pool *p, uint32_t n_tasks, pool_task *task, void *arg)
{
    if (p->n_threads == 1 || n_tasks <= 1) {
        for (uint32_t i = 0; i < n_tasks; i++)
            task(arg, i, 0);
        return;
    }
    p->task = task;
    p->arg = arg;
    p->n_tasks = n_tasks;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_store_explicit(&p->busy, p->n_threads - 1, memory_order_relaxed);
    atomic_fetch_add(&p->job, 1); /* sequentially consistent, as is the load below: a sleeper is never overlooked */
    if (atomic_load(&p->sleepers) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
    take_tasks(p, 0);
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&p->busy, memory_order_acquire) == 0)
            return;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->busy) > 0)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

static uint32_t usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    const int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > AUTO_MAX ? AUTO_MAX : (uint32_t)n;
}

static ds4_status start_workers(pool *p, uint32_t n_threads, ds4_error *err)
{
    for (uint32_t i = 1; i < n_threads; i++) {
        pool_worker *self = malloc(sizeof *self);
        if (!self)
            return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for a kernel thread");
        *self = (pool_worker){ p, i };
        if (pthread_create(&p->threads[i - 1], NULL, worker_main, self) != 0) {
            free(self);
            return ds4_fail(err, DS4_ERR_IO, "cannot start kernel thread %u of %u", i, n_threads);
        }
        p->n_threads = i + 1;
    }
    return DS4_OK;
}

ds4_status pool_new(pool **out, uint32_t n_threads, ds4_error *err)
{
    *out = NULL;
    if (n_threads == 0)
        n_threads = usable_cores();
    if (n_threads > POOL_THREADS_MAX)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "%u threads; at most %d are supported", n_threads, POOL_THREADS_MAX);
    pool *p = calloc(1, sizeof *p);
    pthread_t *threads = calloc(n_threads, sizeof *threads);
    if (!p || !threads) {
        free(p);
        free(threads);
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for kernel threads");
    }
    p->threads = threads;
    p->n_threads = 1;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    const ds4_status status = start_workers(p, n_threads, err);
    if (status != DS4_OK) {
        pool_free(p);
        return status;
    }
    *out = p;
    return DS4_OK;
}

void pool_free(pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 1; i < p->n_threads; i++)
        pthread_join(p->threads[i - 1], NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p->threads);
    free(p);
}

uint32_t pool_n_threads(const pool *p)
{
    return p->n_threads;
}
