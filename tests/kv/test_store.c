/* The store by itself, over rows that are functions of their tokens: round trips, damage, verdicts, crashes, room.
 * P and F numbers: docs/reliability.md. */
#include "base/clock.h"
#include "base/fault.h"
#include "kv/store.h"
#include "support/support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 16, RATIO = 4, WIDTH = 8, LAYERS = 3, WINDOW = 4 };

static char dir[] = TEST_SCRATCH "/store";

/* --- a model of a model: every value is made from the tokens before it ------------------------------------------------------- */

static size_t section_bytes(void *user, uint32_t type, uint64_t begin, uint64_t end)
{
    (void)user;
    if (type == KV_SECTION_CSA_ROWS)
        return (size_t)(end / RATIO - begin / RATIO) * WIDTH * LAYERS * sizeof(float);
    if (type == KV_SECTION_WINDOW)
        return (size_t)(end < WINDOW ? end : WINDOW) * WIDTH * LAYERS * sizeof(float);
    return 0;
}

static kv_options options(void)
{
    kv_options o = kv_options_default();
    o.dir = dir;
    o.layout = (kv_layout){
        .n_layers = LAYERS, .row_width = WIDTH, .window = WINDOW, .csa_ratio = RATIO, .section_bytes = section_bytes
    };
    o.layout.rules[KV_SECTION_CSA_ROWS] = (kv_section_rule){ .used = true, .f32 = true, .n_groups = LAYERS };
    o.layout.rules[KV_SECTION_WINDOW] = (kv_section_rule){ .used = true, .f32 = true, .n_groups = LAYERS };
    memset(o.fingerprint, 7, sizeof o.fingerprint);
    o.segment_tokens = N;
    o.budget_bytes = 64 << 20;
    o.min_free_bytes = 1;
    o.evict_min_age_us = 0;
    o.recreate_us = 0;
    return o;
}

static kv_store *open_store(void)
{
    const kv_options o = options();
    kv_store *s;
    ds4_error err = { 0 };
    if (kv_store_open(&s, &o, &err) != DS4_OK)
        fail_msg("%s", err.text);
    return s;
}

static void tokens_of(uint32_t *tokens, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++)
        tokens[i] = seed * 1000003u + (uint32_t)i * 2654435761u;
}

static void fill(float *out, size_t size, const uint32_t *tokens, uint64_t begin, uint64_t end, uint32_t type)
{
    for (size_t i = 0; i < size / sizeof *out; i++)
        out[i] = sinf((float)(tokens[begin < end ? begin : end - 1] % 1000 + type) + (float)i) + (float)end;
}

static ds4_status fill_draft(kv_draft *d, bool frontier, const uint32_t *tokens, uint64_t begin, uint64_t end)
{
    static const uint32_t types[] = { KV_SECTION_CSA_ROWS, KV_SECTION_WINDOW };
    ds4_status status = DS4_OK;
    for (size_t i = 0; status == DS4_OK && i < (frontier ? 2 : 1); i++) {
        void *out;
        const size_t size = section_bytes(NULL, types[i], begin, end);
        status = kv_draft_section(d, types[i], size, &out, NULL);
        if (status == DS4_OK && size)
            fill(out, size, tokens, begin, end, types[i]);
    }
    return status;
}

/* Saves all segments and a frontier at n. */
static void save(kv_store *s, const uint32_t *tokens, size_t n)
{
    const kv_save_info info = { .reason = KV_REASON_TURN, .cost_us = 1000 };
    kv_chain *chain;
    kv_draft *d;
    assert_int_equal(kv_chain_new(&chain, s, NULL), DS4_OK);
    assert_int_equal(kv_chain_extend(chain, tokens, n, NULL), DS4_OK);
    for (uint64_t i = 0; i < n / N; i++)
        if (!kv_chain_has_segment(chain, i) && kv_draft_segment(&d, chain, i, NULL) == DS4_OK) {
            assert_int_equal(fill_draft(d, false, tokens, i * N, (i + 1) * N), DS4_OK);
            kv_draft_submit(d, &info, NULL);
        }
    if (kv_draft_frontier(&d, chain, n, false, NULL) == DS4_OK) {
        assert_int_equal(fill_draft(d, true, tokens, n / N * N, n), DS4_OK);
        kv_draft_submit(d, &info, NULL);
    }
    kv_chain_free(chain);
    assert_true(kv_flush(s, 10000000));
}

static void check_part(const kv_part *part, const uint32_t *tokens)
{
    for (uint32_t i = 0; i < part->n_sections; i++) {
        const kv_section *section = &part->sections[i];
        if (section->type != KV_SECTION_CSA_ROWS && section->type != KV_SECTION_WINDOW)
            continue;
        float *want = malloc(section->size);
        fill(want, section->size, tokens, part->token_begin, part->token_end, section->type);
        assert_memory_equal(section->bytes, want, section->size);
        free(want);
    }
}

/* The position that a prompt is restored at, every byte of it checked; 0: a miss. */
static uint64_t restored(kv_store *s, const uint32_t *tokens, size_t n)
{
    kv_plan *plan;
    if (kv_plan_find(&plan, s, tokens, n, 1, 0, NULL) != DS4_OK)
        return 0;
    const uint64_t at = kv_plan_tokens(plan);
    assert_true(at < n);
    assert_memory_equal(kv_plan_token_ids(plan), tokens, at * sizeof *tokens);
    for (uint64_t i = 0; i < kv_plan_segments(plan); i++)
        check_part(kv_plan_segment(plan, i), tokens);
    check_part(kv_plan_frontier(plan), tokens);
    const bool begun =
        kv_plan_begin(plan, NULL) == DS4_OK; /* false only where a test breaks it: then nothing is used */
    if (begun)
        kv_plan_succeed(plan, 0);
    kv_plan_release(plan);
    return begun ? at : 0;
}

/* Calls `visit` with each object file; returns how many. */
static int each_object(void (*visit)(const char *path, void *user), void *user)
{
    char path[4096];
    int n = 0;
    for (int i = 0; i < 256; i++) {
        snprintf(path, sizeof path, "%s/o/%02x", dir, (unsigned)i);
        DIR *d = opendir(path);
        for (const struct dirent *e; d && (e = readdir(d));)
            if (e->d_name[0] != '.') {
                snprintf(path, sizeof path, "%s/o/%02x/%s", dir, (unsigned)i, e->d_name);
                n++;
                if (visit)
                    visit(path, user);
            }
        if (d)
            closedir(d);
    }
    return n;
}

static int count_files(const char *folder)
{
    char path[4096];
    int n = 0;
    snprintf(path, sizeof path, "%s/%s", dir, folder);
    DIR *d = opendir(path);
    for (const struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static int empty_store(void **state)
{
    (void)state;
    assert_int_equal(hash_start(NULL), DS4_OK);
    test_empty_folder(TEST_SCRATCH);
    return 0;
}

/* --- round trips ----------------------------------------------------------------------------------------------------------------- */

/* P7, P8, P11: what was saved comes back, at every position, in the same process and in the next; a stem is written once. */
static void what_was_saved_comes_back(void **state)
{
    uint32_t tokens[100], other[100];
    (void)state;
    tokens_of(tokens, 100, 1);
    memcpy(other, tokens, sizeof other);
    other[40]++; /* shares two segments */
    kv_store *s = open_store();
    assert_int_equal(restored(s, tokens, 100), 0);
    save(s, tokens, 37);
    save(s, tokens, 99);
    save(s, other, 50);
    assert_int_equal(restored(s, tokens, 100), 99);
    assert_int_equal(restored(s, tokens, 99), 37); /* no logits are stored: one token is left to evaluate */
    assert_int_equal(restored(s, tokens, 38), 37);
    assert_int_equal(restored(s, other, 100), 50);
    /* 6 + 1 segments and 3 frontiers */
    assert_int_equal(each_object(NULL, NULL), 10);
    kv_store_close(s, 1000000);
    s = open_store();
    assert_int_equal(restored(s, tokens, 100), 99);
    assert_int_equal(restored(s, other, 100), 50);
    kv_store_close(s, 0);
}

/* P9: another fingerprint, or another segment length, sees nothing, and leaves everything alone. */
static void states_of_others_are_never_used(void **state)
{
    uint32_t tokens[60];
    kv_options o = options();
    (void)state;
    tokens_of(tokens, 60, 1);
    kv_store *s = open_store();
    save(s, tokens, 59);
    kv_store_close(s, 1000000);
    const int n = each_object(NULL, NULL);
    for (int i = 0; i < 2; i++) {
        o = options();
        if (i == 0)
            o.fingerprint[0]++;
        else
            o.segment_tokens = 2 * N;
        assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
        assert_int_equal(restored(s, tokens, 60), 0);
        kv_store_close(s, 0);
        assert_int_equal(each_object(NULL, NULL), n);
    }
}

/* --- damage: C5 ------------------------------------------------------------------------------------------------------------------ */

typedef struct damage {
    test_random r;
    int kind;
} damage;

static void hurt(const char *path, void *user)
{
    damage *d = user;
    size_t size;
    char *bytes = test_read_file(path, &size);
    switch (d->kind) {
    case 0: bytes[test_random_below(&d->r, (uint32_t)size)] ^= (char)(1 << test_random_below(&d->r, 8)); break;
    case 1: bytes[test_random_below(&d->r, 4096)] ^= (char)(1 << test_random_below(&d->r, 8)); break;
    case 2: size = test_random_below(&d->r, (uint32_t)size); break;
    case 3: memset(bytes, 0, size); break;
    default: size = 0;
    }
    test_write_file(path, bytes, size);
    free(bytes);
}

/* Every object damaged in some way: never a hit on anything damaged, never a crash, and the next save repairs it. */
static void damage_is_a_miss(void **state)
{
    uint32_t tokens[60];
    damage d = { .r = test_random_seeded(20261124) };
    (void)state;
    tokens_of(tokens, 60, 1);
    for (int round = 0; round < 200; round++) {
        test_empty_folder(TEST_SCRATCH);
        kv_store *s = open_store();
        save(s, tokens, 59);
        if (round % 2) { /* found by a lookup, or by the index of the next start */
            kv_store_close(s, 1000000);
            s = NULL;
        }
        d.kind = round % 5;
        each_object(hurt, &d);
        if (!s)
            s = open_store();
        const uint64_t at = restored(s, tokens, 60); /* it checks the bytes of what it finds */
        if (d.kind >= 3)
            assert_int_equal(at, 0);
        save(s, tokens, 59);
        kv_store_close(s, 1000000);
    }
}

/* --- verdicts: E2, E3, E4 at the store --------------------------------------------------------------------------------------------- */

static void a_condemned_checkpoint_is_gone_for_good(void **state)
{
    uint32_t tokens[60];
    kv_plan *plan;
    (void)state;
    tokens_of(tokens, 60, 1);
    kv_store *s = open_store();
    save(s, tokens, 40);
    assert_int_equal(kv_plan_find(&plan, s, tokens, 60, 1, 0, NULL), DS4_OK);
    assert_int_equal(kv_plan_begin(plan, NULL), DS4_OK);
    assert_int_equal(count_files("intent"), 1);
    kv_plan_suspect(plan, DS4_ERR_STATE_BAD, "test");
    assert_int_equal(restored(s, tokens, 60), 0); /* suspected: not offered meanwhile */
    kv_plan_condemn(plan, DS4_ERR_STATE_BAD, "test", 1000);
    kv_plan_release(plan);
    assert_int_equal(count_files("intent"), 0);
    assert_int_equal(each_object(NULL, NULL), 0);
    assert_int_equal(count_files("quarantine"), 3);
    assert_int_equal(restored(s, tokens, 60), 0);
    /* The same bytes again: the objects are innocent, this way of using them is not. A longer one works. */
    save(s, tokens, 40);
    assert_int_equal(restored(s, tokens, 60), 0);
    save(s, tokens, 45);
    assert_int_equal(restored(s, tokens, 60), 45);
    kv_store_close(s, 1000000);
    s = open_store();
    assert_int_equal(restored(s, tokens, 45), 0);
    assert_int_equal(restored(s, tokens, 60), 45);
    kv_store_close(s, 0);
}

static void an_acquitted_checkpoint_stays(void **state)
{
    uint32_t tokens[60];
    kv_plan *plan;
    (void)state;
    tokens_of(tokens, 60, 1);
    kv_store *s = open_store();
    save(s, tokens, 40);
    assert_int_equal(kv_plan_find(&plan, s, tokens, 60, 1, 0, NULL), DS4_OK);
    assert_int_equal(kv_plan_begin(plan, NULL), DS4_OK);
    kv_plan_suspect(plan, DS4_ERR_STATE_BAD, "test");
    kv_plan_acquit(plan);
    kv_plan_release(plan);
    assert_int_equal(restored(s, tokens, 60), 40);
    kv_store_close(s, 0);
}

/* A process that dies between the intent and the verdict: the next one condemns without having used it. */
static void dying_on_a_restore_condemns_it(void **state)
{
    uint32_t tokens[60];
    (void)state;
    tokens_of(tokens, 60, 1);
    kv_store *s = open_store();
    save(s, tokens, 40);
    kv_store_close(s, 1000000);
    const pid_t child = fork();
    if (child == 0) {
        kv_plan *plan;
        s = open_store();
        if (kv_plan_find(&plan, s, tokens, 60, 1, 0, NULL) == DS4_OK && kv_plan_begin(plan, NULL) == DS4_OK)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    assert_int_equal(count_files("intent"), 1);
    s = open_store();
    assert_int_equal(count_files("intent"), 0);
    assert_int_equal(restored(s, tokens, 60), 0);
    assert_int_equal(count_files("quarantine"), 3);
    kv_store_close(s, 0);
}

static void three_guilty_verdicts_open_the_breaker(void **state)
{
    (void)state;
    kv_store *s = open_store();
    kv_metrics m;
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t tokens[30];
        kv_plan *plan;
        tokens_of(tokens, 30, i + 1);
        save(s, tokens, 20);
        assert_int_equal(kv_plan_find(&plan, s, tokens, 30, 1, 0, NULL), DS4_OK);
        assert_int_equal(kv_plan_begin(plan, NULL), DS4_OK);
        kv_plan_condemn(plan, DS4_ERR_STATE_BAD, "test", 0);
        kv_plan_release(plan);
    }
    uint32_t tokens[30];
    tokens_of(tokens, 30, 9);
    save(s, tokens, 20);
    assert_int_equal(restored(s, tokens, 30), 0);
    kv_store_metrics(s, &m);
    assert_true(m.breaker_open);
    kv_store_close(s, 0);
}

/* F47: what is not a number is not saved. F8: nor what disagrees with its position. */
static void bad_states_are_not_saved(void **state)
{
    uint32_t tokens[20];
    kv_chain *chain;
    kv_draft *d;
    kv_metrics m;
    void *out;
    (void)state;
    tokens_of(tokens, 20, 1);
    kv_store *s = open_store();
    assert_int_equal(kv_chain_new(&chain, s, NULL), DS4_OK);
    assert_int_equal(kv_chain_extend(chain, tokens, 7, NULL), DS4_OK);
    assert_int_equal(kv_draft_frontier(&d, chain, 8, false, NULL), DS4_ERR_ARGUMENT);
    assert_int_equal(kv_draft_frontier(&d, chain, 7, false, NULL), DS4_OK);
    assert_int_equal(kv_draft_section(d, KV_SECTION_CSA_ROWS, 4, &out, NULL), DS4_ERR_ARGUMENT);
    assert_int_equal(fill_draft(d, true, tokens, 0, 7), DS4_OK);
    ((float *)(void *)(d->image + d->offsets[KV_SECTION_WINDOW]))[3] = NAN;
    assert_int_equal(kv_draft_submit(d, &(kv_save_info){ 0 }, NULL), DS4_OK);
    assert_true(kv_flush(s, 10000000));
    kv_store_metrics(s, &m);
    assert_int_equal(m.write_dropped_total[KV_DROP_NONFINITE], 1);
    assert_int_equal(m.write_dropped_total[KV_DROP_COUNTERS], 2);
    assert_int_equal(each_object(NULL, NULL), 0);
    kv_chain_taint(chain);
    assert_int_equal(kv_draft_frontier(&d, chain, 7, false, NULL), DS4_ERR_STATE_BAD);
    kv_chain_free(chain);
    kv_store_close(s, 0);
}

/* P12, P13: the budget holds, and nobody loses an ancestor before its descendants. */
static void the_budget_holds(void **state)
{
    kv_options o = options();
    kv_store *s;
    kv_metrics m;
    (void)state;
    o.budget_bytes = 400000;
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t tokens[60];
        tokens_of(tokens, 60, i);
        save(s, tokens, 59);
        kv_store_metrics(s, &m);
        assert_true(m.store_bytes <= o.budget_bytes);
    }
    assert_true(m.evicted_total[KV_EVICT_BUDGET] > 0);
    assert_true(m.store_objects > 10);
    kv_store_close(s, 0);
}

/* P5: the directory may go away at any time. */
static void the_directory_may_vanish(void **state)
{
    uint32_t tokens[60];
    (void)state;
    tokens_of(tokens, 60, 1);
    kv_store *s = open_store();
    save(s, tokens, 40);
    test_remove_tree(dir);
    assert_int_equal(restored(s, tokens, 60), 0);
    save(s, tokens, 40);
    save(s, tokens, 40);
    kv_store_close(s, 1000000);
}

static void directories_that_cannot_be_used(void **state)
{
    kv_options o = options();
    kv_store *s;
    ds4_error err;
    (void)state;
    test_write_file(dir, "x", 1);
    assert_int_equal(kv_store_open(&s, &o, &err), DS4_ERR_ARGUMENT);
    unlink(dir);
    mkdir(dir, 0777);
    chmod(dir, 0777);
    assert_int_equal(kv_store_open(&s, &o, &err), DS4_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "chmod 700"));
    chmod(dir, 0700);
    o.segment_tokens = 0;
    assert_int_equal(kv_store_open(&s, &o, &err), DS4_ERR_ARGUMENT);
}

#ifdef DS4_KV_FAULTS
/* C2 in the small: the n-th call that can fail does, for every n and several errors. What was there before is still there. */
static void a_failure_anywhere_changes_nothing(void **state)
{
    static const int codes[] = { EIO, ENOSPC, EACCES, EMFILE, ENOENT };
    uint32_t tokens[60], others[60];
    (void)state;
    tokens_of(tokens, 60, 1);
    tokens_of(others, 60, 2);
    for (size_t c = 0; c < sizeof codes / sizeof codes[0]; c++)
        for (unsigned nth = 1;; nth++) {
            test_empty_folder(TEST_SCRATCH);
            kv_store *s = open_store();
            save(s, tokens, 40);
            kv_store_close(s, 1000000);
            fault_arm("*", codes[c], nth);
            const kv_options o = options();
            if (kv_store_open(&s, &o, NULL) == DS4_OK) {
                save(s, others, 40);
                restored(s, tokens, 60);
                restored(s, others, 60);
                kv_store_close(s, 1000000);
            }
            const bool fired = fault_disarm();
            s = open_store();
            restored(s, tokens, 60); /* a hit, or a miss, but never wrong bytes: restored() compares them */
            save(s, tokens, 50);
            assert_int_equal(restored(s, tokens, 60), 50);
            kv_store_close(s, 1000000);
            if (!fired)
                break;
        }
}
#endif

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, empty_store)
    const struct CMUnitTest tests[] = {
        TEST(what_was_saved_comes_back),
        TEST(states_of_others_are_never_used),
        TEST(damage_is_a_miss),
        TEST(a_condemned_checkpoint_is_gone_for_good),
        TEST(an_acquitted_checkpoint_stays),
        TEST(dying_on_a_restore_condemns_it),
        TEST(three_guilty_verdicts_open_the_breaker),
        TEST(bad_states_are_not_saved),
        TEST(the_budget_holds),
        TEST(the_directory_may_vanish),
        TEST(directories_that_cannot_be_used),
#ifdef DS4_KV_FAULTS
        TEST(a_failure_anywhere_changes_nothing),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
