/* base/pool.c - the tasks of a job are handed out by a counter, and a job ends when all of its tasks are done.
 *
 * 1. `left` is the number of tasks that nobody has taken. Taking one is a decrement: whoever sees a value above 0 owns the
 *    task n_tasks - value of the job that is current at that moment. A worker that was suspended between two instructions
 *    and goes on jobs later takes a task of the later job, or none: there is no job number that could be mistaken.
 * 2. A job cannot end while somebody owns one of its tasks, so its description (task, arg, n_tasks) is stable for owners,
 *    and nobody else reads it. The caller writes it before it raises `left` (release); owners read it after their
 *    decrement (acquire).
 * 3. `done` counts finished tasks, not workers: a worker that never ran is not waited for.
 * 4. A thread that goes to sleep announces it (`sleepers`, `caller_sleeps`) before it looks a last time at what it waits
 *    for; the other side changes that first and then looks for sleepers. All four accesses are sequentially consistent:
 *    one of the two notices the other.
 * 5. On a busy machine a worker may be suspended in the middle of a task. When waiting for such tasks took longer than the
 *    caller would have needed to run all tasks of the job itself, it runs jobs alone for ALONE_PER_LOSS times what was
 *    lost: workers can never cost more than a small part of the time, and come back when the machine is free. */
#include "base/pool.h"

#include "base/clock.h"
#include "base/cores.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Longer than the pauses between the operations of a step (1 to 10 us), shorter than a sleep and a wake-up cost
     * together (some 50 us). */
    SPIN_US = 20,
    SPINS_PER_LOOK = 16, /* at the clock */
    /* A suspended thread is away for a time slice of the system, 3 ms or so; a worker that wakes up costs far less. */
    LOSS_US = 200,
    LOSS_MAX_US = 10000, /* so that a program that was stopped is soon back to normal */
    ALONE_PER_LOSS = 8,
    AUTO_MAX = 16,
    CACHE_LINE = 64
};

struct pool {
    /* Constant after pool_new(). */
    uint32_t n_threads; /* with the caller */
    pthread_t *threads; /* [n_threads - 1] */
    /* Caller only. */
    int64_t alone_until_us; /* see (5) */
    /* The present job; see (2). */
    pool_task *task;
    void *arg;
    uint32_t n_tasks;
    /* On lines of their own: workers that look for work do not disturb those that finish some. */
    _Alignas(CACHE_LINE) atomic_llong left; /* below 0 after workers that came too late: by one each */
    _Alignas(CACHE_LINE) atomic_uint done;
    _Alignas(CACHE_LINE) atomic_uint sleepers; /* workers that wait on `wake`; changed under `lock` */
    atomic_bool caller_sleeps;                 /* the caller waits on `all_done`; changed under `lock` */
    /* Guarded by `lock`. */
    pthread_mutex_t lock;
    pthread_cond_t wake, all_done;
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

static bool work_is_there(pool *p)
{
    return atomic_load(&p->left) > 0;
}

static bool all_are_done(pool *p)
{
    return atomic_load(&p->done) == p->n_tasks;
}

/* Waits SPIN_US at most; false if the condition did not come true. */
static bool spin_until(pool *p, bool (*condition)(pool *p))
{
    const int64_t end = clock_monotonic_us() + SPIN_US;
    do {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (condition(p))
                return true;
            relax();
        }
    } while (clock_monotonic_us() < end);
    return false;
}

/* Takes tasks until there are none left; returns how many it ran. */
static uint32_t take_tasks(pool *p, uint32_t worker)
{
    uint32_t n = 0;
    for (;; n++) {
        const long long left = atomic_fetch_sub_explicit(&p->left, 1, memory_order_acquire);
        if (left <= 0)
            return n;
        p->task(p->arg, p->n_tasks - (uint32_t)left, worker);
    }
}

/* Waits for tasks; false when the pool is closing. */
static bool wait_for_work(pool *p)
{
    if (spin_until(p, work_is_there))
        return true;
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (!work_is_there(p) && !p->stopping)
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
    while (wait_for_work(p)) {
        const uint32_t n = take_tasks(p, self.index);
        if (n == 0)
            continue;
        /* From here on the job may be over, and its description another one's. */
        atomic_fetch_add(&p->done, n);
        if (atomic_load(&p->caller_sleeps)) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->all_done);
            pthread_mutex_unlock(&p->lock);
        }
    }
    return NULL;
}

static void wake_sleepers(pool *p, uint32_t n_tasks)
{
    if (atomic_load(&p->sleepers) == 0)
        return;
    pthread_mutex_lock(&p->lock);
    if (n_tasks >= p->n_threads)
        pthread_cond_broadcast(&p->wake);
    else
        for (uint32_t i = 1; i < n_tasks; i++) /* the caller takes one itself */
            pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

static void wait_for_owners(pool *p)
{
    if (spin_until(p, all_are_done))
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_sleeps, true);
    while (!all_are_done(p))
        pthread_cond_wait(&p->all_done, &p->lock);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->lock);
}

/* (5) `own` of n_tasks took the caller until `worked`; the others' lasted until `ended`. */
static void judge(pool *p, uint32_t own, uint32_t n_tasks, int64_t begun, int64_t worked, int64_t ended)
{
    if (own == 0)
        return; /* the caller is the one that was suspended */
    const int64_t lost = ended - begun - (worked - begun) * n_tasks / own;
    if (lost > LOSS_US)
        p->alone_until_us = ended + (lost < LOSS_MAX_US ? lost : LOSS_MAX_US) * ALONE_PER_LOSS;
}

static void run_alone(uint32_t n_tasks, pool_task *task, void *arg)
{
    for (uint32_t i = 0; i < n_tasks; i++)
        task(arg, i, 0);
}

void pool_run(pool *p, uint32_t n_tasks, pool_task *task, void *arg)
{
    if (p->n_threads == 1 || n_tasks <= 1) {
        run_alone(n_tasks, task, arg);
        return;
    }
    const int64_t begun = clock_monotonic_us();
    if (begun < p->alone_until_us) {
        run_alone(n_tasks, task, arg);
        return;
    }
    p->task = task;
    p->arg = arg;
    p->n_tasks = n_tasks;
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    atomic_store(&p->left, n_tasks);
    wake_sleepers(p, n_tasks);
    const uint32_t own = take_tasks(p, 0);
    atomic_fetch_add(&p->done, own);
    if (all_are_done(p))
        return;
    const int64_t worked = clock_monotonic_us();
    wait_for_owners(p);
    judge(p, own, n_tasks, begun, worked, clock_monotonic_us());
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
    if (n_threads == 0) {
        const uint32_t n = cores_usable();
        n_threads = n < AUTO_MAX ? n : AUTO_MAX;
    }
    if (n_threads > POOL_THREADS_MAX)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "%u threads; at most %d are supported", n_threads, POOL_THREADS_MAX);
    pool *p = aligned_alloc(CACHE_LINE, sizeof *p); /* a multiple of CACHE_LINE, as its members ask for */
    pthread_t *threads = calloc(n_threads, sizeof *threads);
    if (!p || !threads) {
        free(p);
        free(threads);
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for kernel threads");
    }
    memset(p, 0, sizeof *p);
    p->threads = threads;
    p->n_threads = 1;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->all_done, NULL);
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
    pthread_cond_destroy(&p->all_done);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p->threads);
    free(p);
}

uint32_t pool_n_threads(const pool *p)
{
    return p->n_threads;
}
