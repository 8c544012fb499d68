/* The pool: every task once, whoever comes late, never comes, or is suspended in the middle.
 *
 * The linker sends the pool's calls of pthread_create() and clock_monotonic_us() here (cmake/Ds4Rooms.cmake): threads can be
 * held back at their start for as long as a test likes, and time moves when a test says so. No result depends on the
 * speed of the machine; a lost wake-up shows as a test that does not end, or ends by its limit of processor time. */
#include "base/clock.h"
#include "base/pool.h"
#include "support/support.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>

/* --- threads that start late ------------------------------------------------------------------------------------------ */

static struct gate {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    unsigned n_held;   /* threads that are created from now on and have to wait; guarded by `lock` */
    unsigned n_refuse; /* creations that succeed before one fails; UINT_MAX: none fails */
} gate = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, UINT32_MAX };

typedef struct late_start {
    void *(*run)(void *);
    void *arg;
} late_start;

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static void *run_late(void *arg)
{
    const late_start start = *(late_start *)arg;
    free(arg);
    pthread_mutex_lock(&gate.lock);
    while (gate.n_held)
        pthread_cond_wait(&gate.opened, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
    return start.run(start.arg);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    if (gate.n_refuse != UINT32_MAX && gate.n_refuse-- == 0)
        return EAGAIN;
    pthread_mutex_lock(&gate.lock);
    const bool held = gate.n_held > 0;
    pthread_mutex_unlock(&gate.lock);
    if (!held)
        return __real_pthread_create(thread, attributes, run, arg);
    late_start *start = malloc(sizeof *start);
    assert_non_null(start);
    *start = (late_start){ run, arg };
    return __real_pthread_create(thread, attributes, run_late, start);
}

static void hold_new_threads(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.n_held = 1;
    pthread_mutex_unlock(&gate.lock);
}

static void let_threads_go(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.n_held = 0;
    pthread_cond_broadcast(&gate.opened);
    pthread_mutex_unlock(&gate.lock);
}

/* --- time that moves by one microsecond a look -------------------------------------------------------------------------- */

static atomic_bool stepped; /* else the real clock */
static atomic_llong now_us;
static atomic_uint caller_looks;
static _Thread_local bool is_caller;

int64_t __real_clock_monotonic_us(void);
int64_t __wrap_clock_monotonic_us(void);

int64_t __wrap_clock_monotonic_us(void)
{
    if (!atomic_load(&stepped))
        return __real_clock_monotonic_us();
    if (is_caller)
        atomic_fetch_add(&caller_looks, 1);
    return atomic_fetch_add(&now_us, 1);
}

/* --- jobs --------------------------------------------------------------------------------------------------------------- */

static pool *new_pool(uint32_t n_threads)
{
    pool *p = NULL;
    assert_int_equal(pool_new(&p, n_threads, NULL), DS4_OK);
    assert_int_equal(pool_n_threads(p), n_threads);
    return p;
}

enum { TASKS_MAX = 300 };

typedef struct marks {
    unsigned n[TASKS_MAX]; /* plain memory: that the caller may read it is part of the promise */
    uint32_t worker[TASKS_MAX];
    uint32_t n_threads;
    atomic_uint in_use[POOL_THREADS_MAX]; /* a worker runs one task at a time */
    atomic_uint n_wrong;
    uint32_t open_at; /* the task that lets the threads go */
    bool pause;       /* the first task gives others time to take one: a mistake shows, and nothing waits for it */
} marks;

static void mark_task(void *arg, uint32_t i, uint32_t worker)
{
    marks *m = arg;
    if (worker >= m->n_threads || atomic_fetch_add(&m->in_use[worker], 1) != 0)
        atomic_fetch_add(&m->n_wrong, 1);
    m->n[i]++;
    m->worker[i] = worker;
    if (m->pause && i == 0)
        clock_sleep_us(1000);
    if (i == m->open_at)
        let_threads_go();
    atomic_fetch_sub(&m->in_use[worker % POOL_THREADS_MAX], 1);
}

/* Runs a job of n tasks and checks that each ran once. */
static void run_marked(pool *p, marks *m, uint32_t n)
{
    *m = (marks){ .n_threads = pool_n_threads(p), .open_at = m->open_at, .pause = m->pause };
    pool_run(p, n, mark_task, m);
    assert_int_equal(atomic_load(&m->n_wrong), 0);
    for (uint32_t i = 0; i < TASKS_MAX; i++)
        assert_int_equal(m->n[i], i < n);
}

static void every_task_of_many_jobs_runs_once(void **state)
{
    (void)state;
    test_random dice = test_random_seeded(11);
    for (uint32_t n_threads = 1; n_threads <= 5; n_threads++) {
        pool *p = new_pool(n_threads);
        marks m = { .open_at = UINT32_MAX };
        for (int job = 0; job < 3000; job++) {
            const uint32_t pause = test_random_below(&dice, 64);
            run_marked(p, &m, test_random_below(&dice, job % 16 ? 8 : TASKS_MAX));
            if (pause < 2)
                clock_sleep_us(30 * pause); /* some jobs find sleepers, some find workers about to sleep */
        }
        pool_free(p);
    }
}

static void a_worker_that_never_runs_is_not_waited_for(void **state)
{
    (void)state;
    hold_new_threads();
    pool *p = new_pool(4);
    marks m = { .open_at = UINT32_MAX };
    for (uint32_t n = 0; n < 100; n++) {
        run_marked(p, &m, n);
        for (uint32_t i = 0; i < n; i++)
            assert_int_equal(m.worker[i], 0);
    }
    let_threads_go();
    pool_free(p); /* without a job after they were let go */
}

/* Threads that come in the middle of any job, or between two, take tasks of that moment's job or none. */
static void a_worker_may_come_at_any_moment(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 300; round++) {
        hold_new_threads();
        pool *p = new_pool(3);
        marks m = { .open_at = UINT32_MAX };
        for (uint32_t job = 0; job < 12; job++) {
            m.open_at = job == 4 ? round % 20 : UINT32_MAX;
            run_marked(p, &m, 5 + round % 7 + job);
        }
        let_threads_go();
        pool_free(p);
    }
}

/* Two tasks that wait for each other: they end only if two threads run them. */
typedef struct meeting {
    atomic_uint n_arrived;
    uint32_t caller_task; /* which of the two the caller has */
    bool suspend;   /* the other one lasts until the caller has noticed that it waits, and 5 ms of stepped time more */
    unsigned after; /* plain memory, written at the very end */
} meeting;

static void meet_task(void *arg, uint32_t i, uint32_t worker)
{
    meeting *m = arg;
    if (worker == 0)
        m->caller_task = i;
    atomic_fetch_add(&m->n_arrived, 1);
    while (atomic_load(&m->n_arrived) < 2)
        sched_yield();
    if (worker == 0)
        return;
    if (m->suspend) {
        const unsigned looks = atomic_load(&caller_looks);
        while (atomic_load(&caller_looks) <
               looks + 2) /* one may be under way: the second is after the caller's last task */
            sched_yield();
        atomic_fetch_add(&now_us, 5000);
    }
    for (int k = 0; k < 100; k++)
        sched_yield();
    m->after = 1;
}

static void sleeping_workers_are_woken_and_owners_waited_for(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 200; round++) {
        pool *p = new_pool(2); /* a new one: nothing is known yet that could make the caller work alone */
        meeting m = { 0 };
        clock_sleep_us(round % 4 * 20);
        pool_run(p, 2, meet_task, &m);
        assert_int_equal(m.after, 1);
        pool_free(p);
    }
}

/* A task that ends only when every thread of the pool is in one. */
typedef struct gathering {
    uint32_t n_threads;
    atomic_uint n_inside, n_of[POOL_THREADS_MAX];
} gathering;

static void gather_task(void *arg, uint32_t i, uint32_t worker)
{
    gathering *g = arg;
    (void)i;
    atomic_fetch_add(&g->n_of[worker % POOL_THREADS_MAX], 1);
    atomic_fetch_add(&g->n_inside, 1);
    while (atomic_load(&g->n_inside) < g->n_threads)
        clock_sleep_us(50);
}

/* Scratch memory goes by the number of the worker: two threads with one number would share it. */
static void every_thread_has_a_number_of_its_own(void **state)
{
    enum { N = 4 };
    (void)state;
    pool *p;
    gathering g = { .n_threads = N };
    assert_int_equal(pool_new(&p, N, NULL), DS4_OK);
    pool_run(p, N, gather_task, &g);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(atomic_load(&g.n_of[i]), 1);
    pool_free(p);
}

/* After a worker was suspended in a task, the caller works alone for eight times what was lost, and no longer. */
static void a_suspended_worker_is_left_out_for_a_while(void **state)
{
    (void)state;
    atomic_store(&stepped, true);
    is_caller = true;
    pool *p = new_pool(2);
    meeting m = { .suspend = true };
    marks alone = { .open_at = UINT32_MAX, .pause = true };
    pool_run(p, 2, meet_task, &m);
    assert_int_equal(m.after, 1);
    for (int job = 0; job < 20; job++) {
        run_marked(p, &alone, TASKS_MAX);
        for (uint32_t i = 0; i < TASKS_MAX; i++)
            assert_int_equal(alone.worker[i], 0);
    }
    atomic_fetch_add(&now_us, 5000 * 8 + 1000);
    m = (meeting){ 0 };
    pool_run(p, 2, meet_task, &m); /* ends: there are two again */
    assert_int_equal(m.after, 1);
    pool_free(p);
    is_caller = false;
    atomic_store(&stepped, false);
}

static void a_pool_that_cannot_be_made_says_so_and_leaves_no_thread(void **state)
{
    (void)state;
    pool *p = (pool *)&gate;
    ds4_error err;
    assert_int_equal(pool_new(&p, POOL_THREADS_MAX + 1, &err), DS4_ERR_ARGUMENT);
    assert_null(p);
    for (unsigned n = 0; n < 3; n++) {
        gate.n_refuse = n;
        assert_int_equal(pool_new(&p, 4, &err), DS4_ERR_IO);
        assert_null(p);
        gate.n_refuse = UINT32_MAX;
    }
    pool_free(NULL);
    p = NULL;
    assert_int_equal(pool_new(&p, 0, NULL), DS4_OK);
    assert_in_range(pool_n_threads(p), 1, 16);
    pool_free(p);
}

int main(void)
{
    const struct rlimit cpu = { 15, RLIM_INFINITY }; /* many times what it needs */
    setrlimit(RLIMIT_CPU, &cpu);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_of_many_jobs_runs_once),
        cmocka_unit_test(a_worker_that_never_runs_is_not_waited_for),
        cmocka_unit_test(a_worker_may_come_at_any_moment),
        cmocka_unit_test(sleeping_workers_are_woken_and_owners_waited_for),
        cmocka_unit_test(every_thread_has_a_number_of_its_own),
        cmocka_unit_test(a_suspended_worker_is_left_out_for_a_while),
        cmocka_unit_test(a_pool_that_cannot_be_made_says_so_and_leaves_no_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
