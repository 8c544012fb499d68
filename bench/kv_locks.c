/* How long the store's locks are held, and what a save costs, with many objects in the directory.
 *
 *     cmake --build build --target bench-kv-locks && build/bench/bench-kv-locks [OBJECTS [FOLDER]]
 *
 * Every lock and unlock of the store goes through the functions below (ld --wrap). Two times are printed for the longest hold of
 * each phase: CPU time of the holding thread, which is what the code is responsible for, and wall time, which on a busy machine
 * is the scheduler's. The bound of the project is 1 ms of CPU time with 100,000 objects. */
#include "base/clock.h"
#include "base/log.h"
#include "kv/kv.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { N = 16, ROW_BYTES = 64, TURN = 40, PROBES = 300, BOUND_US = 1000 };

/* ---- locks ---- */

static _Thread_local struct {
    pthread_mutex_t *mutex;
    int64_t cpu_ns, wall_ns;
} held[8];
static _Thread_local int n_held;
static pthread_mutex_t longest_lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t longest_cpu_ns, longest_wall_ns, n_holds;

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __real_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until);

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void taken(pthread_mutex_t *mutex)
{
    if (n_held == (int)(sizeof held / sizeof held[0]))
        return;
    held[n_held].mutex = mutex;
    held[n_held].wall_ns = now_ns(CLOCK_MONOTONIC);
    held[n_held++].cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void given(const pthread_mutex_t *mutex)
{
    int i = n_held - 1;
    while (i >= 0 && held[i].mutex != mutex)
        i--;
    if (i < 0)
        return;
    const int64_t cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - held[i].cpu_ns;
    const int64_t wall_ns = now_ns(CLOCK_MONOTONIC) - held[i].wall_ns;
    held[i] = held[--n_held];
    __real_pthread_mutex_lock(&longest_lock);
    n_holds++;
    if (cpu_ns > longest_cpu_ns)
        longest_cpu_ns = cpu_ns;
    if (wall_ns > longest_wall_ns)
        longest_wall_ns = wall_ns;
    __real_pthread_mutex_unlock(&longest_lock);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    const int answer = __real_pthread_mutex_lock(mutex);
    taken(mutex);
    return answer;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    given(mutex);
    return __real_pthread_mutex_unlock(mutex);
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    given(mutex);
    const int answer = __real_pthread_cond_wait(cond, mutex);
    taken(mutex);
    return answer;
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until)
{
    given(mutex);
    const int answer = __real_pthread_cond_timedwait(cond, mutex, until);
    taken(mutex);
    return answer;
}

/* ---- phases ---- */

static int64_t phase_cpu_ns;
static bool within = true;

static void begin_phase(void)
{
    longest_cpu_ns = longest_wall_ns = n_holds = 0;
    phase_cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void end_phase(const char *name, size_t n, const char *what)
{
    const double cpu_us = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - phase_cpu_ns) / 1e3;
    printf("%-34s %8zu %-8s %9.1f us CPU each %10.1f us %10.1f us\n", name, n, what, cpu_us / (double)n,
           (double)longest_cpu_ns / 1e3, (double)longest_wall_ns / 1e3);
    within = within && longest_cpu_ns <= BOUND_US * 1000;
}

/* ---- the store ---- */

static size_t section_bytes(void *user, uint32_t type, uint64_t begin, uint64_t end)
{
    (void)user;
    if (type == KV_SECTION_CSA_ROWS)
        return (size_t)(end / 4 - begin / 4) * ROW_BYTES;
    return type == KV_SECTION_WINDOW ? ROW_BYTES : 0;
}

static kv_store *open_store(const char *dir, uint64_t budget_bytes)
{
    kv_store *s;
    ds4_error err;
    kv_options o = kv_options_default();
    o.dir = dir;
    o.layout = (kv_layout){ .n_layers = 1, .csa_ratio = 4, .window = 1, .section_bytes = section_bytes };
    o.layout.rules[KV_SECTION_CSA_ROWS] = o.layout.rules[KV_SECTION_WINDOW] =
        (kv_section_rule){ .used = true, .f32 = true, .n_groups = 1 };
    o.segment_tokens = N;
    o.budget_bytes = budget_bytes;
    o.min_free_bytes = 1;
    o.evict_min_age_us = 0;
    if (kv_store_open(&s, &o, &err) != DS4_OK) {
        fprintf(stderr, "bench-kv-locks: %s\n", err.text);
        exit(1);
    }
    return s;
}

/* Conversations share nothing, or all of them one first segment. */
static void make_tokens(uint32_t tokens[TURN + 1], uint32_t number)
{
    for (uint32_t i = 0; i <= TURN; i++)
        tokens[i] = number % 2 && i < N ? i : number * 2654435761u + i * 40503u;
}

static void fill(kv_draft *d, bool frontier, uint64_t begin, uint64_t end)
{
    const kv_save_info info = { .reason = KV_REASON_TURN, .cost_us = 1000 };
    void *out;
    kv_draft_section(d, KV_SECTION_CSA_ROWS, section_bytes(NULL, KV_SECTION_CSA_ROWS, begin, end), &out, NULL);
    if (frontier)
        kv_draft_section(d, KV_SECTION_WINDOW, ROW_BYTES, &out, NULL);
    kv_draft_submit(d, &info, NULL);
}

static void save(kv_store *s, uint32_t number)
{
    uint32_t tokens[TURN + 1];
    kv_chain *chain;
    kv_draft *d;
    make_tokens(tokens, number);
    if (kv_chain_new(&chain, s, NULL) != DS4_OK || kv_chain_extend(chain, tokens, TURN, NULL) != DS4_OK)
        exit(1);
    for (uint64_t i = 0; i < TURN / N; i++)
        if (!kv_chain_has_segment(chain, i) && kv_draft_segment(&d, chain, i, NULL) == DS4_OK)
            fill(d, false, i * N, (i + 1) * N);
    if (kv_draft_frontier(&d, chain, TURN, false, NULL) == DS4_OK)
        fill(d, true, TURN / N * N, TURN);
    kv_chain_free(chain);
    kv_flush(s, 60000000);
}

static size_t look_up(kv_store *s, uint32_t first, size_t n, bool condemn)
{
    size_t hits = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t tokens[TURN + 1];
        kv_plan *plan;
        make_tokens(tokens, first + (uint32_t)i);
        if (kv_plan_find(&plan, s, tokens, TURN + 1, 1, 0, NULL) != DS4_OK)
            continue;
        hits++;
        if (kv_plan_begin(plan, NULL) == DS4_OK && !condemn)
            kv_plan_succeed(plan, 0);
        if (condemn)
            kv_plan_condemn(plan, DS4_ERR_STATE_BAD, 0);
        kv_plan_release(plan);
    }
    return hits;
}

int main(int argc, char **argv)
{
    const size_t n_objects = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
    char dir[4096];
    kv_metrics m;
    snprintf(dir, sizeof dir, "%s/ds4-kv-locks.%ld", argc > 2 ? argv[2] : "/tmp", (long)getpid());
    if (hash_start(NULL) != DS4_OK)
        return 1;
    log_set_level(LOG_ERROR);
    printf("%-34s %8s %-8s %21s %13s %13s\n", "phase", "n", "", "", "longest hold", "(wall)");
    kv_store *s = open_store(dir, UINT64_C(1) << 40);
    uint32_t next = 1;
    begin_phase();
    do {
        save(s, next++);
        kv_store_metrics(s, &m);
    } while (m.store_objects < n_objects);
    end_phase("save, room enough", next - 1, "saves");
    kv_store_close(s, 10000000);

    begin_phase();
    s = open_store(dir, m.store_bytes);
    kv_flush(s, 600000000);
    kv_store_metrics(s, &m);
    end_phase("open and scan", m.store_objects, "objects");

    begin_phase();
    const size_t hits = look_up(s, 1, PROBES, false);
    end_phase("look up and use", hits, "hits");
    begin_phase();
    look_up(s, UINT32_MAX / 2, PROBES, false);
    end_phase("look up in vain", PROBES, "misses");

    begin_phase();
    for (int i = 0; i < PROBES; i++)
        save(s, next++);
    end_phase("save, full: others are evicted", PROBES, "saves");
    begin_phase();
    look_up(s, 1, 2, true);
    end_phase("condemn", 2, "plans");
    begin_phase();
    for (int i = 0; i < PROBES; i++)
        kv_store_metrics(s, &m);
    end_phase("figures", PROBES, "calls");
    begin_phase();
    kv_store_close(s, 10000000);
    end_phase("close", 1, "store");

    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0)
        fprintf(stderr, "bench-kv-locks: left behind: %s\n", dir);
    printf("longest hold within %d us of CPU time: %s\n", BOUND_US, within ? "yes" : "NO");
    return within ? 0 : 1;
}
