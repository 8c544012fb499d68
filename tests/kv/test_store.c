/* The store by itself: round trips, room, directories. P and F numbers: docs/spec/kvstore.md. */
#include "base/clock.h"
#include "kv/stub_model.h"
#include "support/support.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* P7, P8, P11: what was saved comes back, at every position, in the same process and in the next; a stem is written once. */
static void what_was_saved_comes_back(void **state)
{
    uint32_t tokens[100], other[100];
    (void)state;
    stub_tokens(tokens, 100, 1);
    memcpy(other, tokens, sizeof other);
    other[40]++; /* shares two segments */
    kv_store *s = stub_open();
    assert_int_equal(stub_restored(s, tokens, 100), 0);
    stub_save(s, tokens, 37);
    stub_save(s, tokens, 99);
    stub_save(s, other, 50);
    assert_int_equal(stub_restored(s, tokens, 100), 99);
    assert_int_equal(stub_restored(s, tokens, 99), 37); /* no logits are stored: one token is left to evaluate */
    assert_int_equal(stub_restored(s, tokens, 38), 37);
    assert_int_equal(stub_restored(s, other, 100), 50);
    /* 6 + 1 segments and 3 frontiers */
    assert_int_equal(stub_each_object(NULL, NULL), 10);
    kv_store_close(s, 1000000);
    s = stub_open();
    assert_int_equal(stub_restored(s, tokens, 100), 99);
    assert_int_equal(stub_restored(s, other, 100), 50);
    kv_store_close(s, 0);
}

/* P9: another fingerprint, or another segment length, sees nothing, and leaves everything alone. */
static void states_of_others_are_never_used(void **state)
{
    uint32_t tokens[60];
    kv_options o = stub_options();
    (void)state;
    stub_tokens(tokens, 60, 1);
    kv_store *s = stub_open();
    stub_save(s, tokens, 59);
    kv_store_close(s, 1000000);
    const int n = stub_each_object(NULL, NULL);
    for (int i = 0; i < 2; i++) {
        o = stub_options();
        if (i == 0)
            o.fingerprint[0]++;
        else
            o.segment_tokens = 2 * N;
        assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
        assert_int_equal(stub_restored(s, tokens, 60), 0);
        kv_store_close(s, 0);
        assert_int_equal(stub_each_object(NULL, NULL), n);
    }
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
    stub_tokens(tokens, 20, 1);
    kv_store *s = stub_open();
    assert_int_equal(kv_chain_new(&chain, s, NULL), DS4_OK);
    assert_int_equal(kv_chain_extend(chain, tokens, 7, NULL), DS4_OK);
    assert_int_equal(kv_draft_frontier(&d, chain, 8, false, NULL), DS4_ERR_ARGUMENT);
    assert_int_equal(kv_draft_frontier(&d, chain, 7, false, NULL), DS4_OK);
    assert_int_equal(kv_draft_section(d, KV_SECTION_CSA_ROWS, 4, &out, NULL), DS4_ERR_ARGUMENT);
    assert_int_equal(stub_fill_draft(d, true, tokens, 0, 7), DS4_OK);
    ((float *)(void *)(d->image + d->offsets[KV_SECTION_WINDOW]))[3] = NAN;
    assert_int_equal(kv_draft_submit(d, &(kv_save_info){ 0 }, NULL), DS4_OK);
    assert_true(kv_flush(s, 10000000));
    kv_store_metrics(s, &m);
    assert_int_equal(m.write_dropped_total[KV_DROP_NONFINITE], 1);
    assert_int_equal(m.write_dropped_total[KV_DROP_COUNTERS], 2);
    assert_int_equal(stub_each_object(NULL, NULL), 0);
    kv_chain_taint(chain);
    assert_int_equal(kv_draft_frontier(&d, chain, 7, false, NULL), DS4_ERR_STATE_BAD);
    kv_chain_free(chain);
    kv_store_close(s, 0);
}

/* Every object that the index knows stands on segments that it knows, and on the disk there is nothing else. */
static void assert_ancestors_are_there(kv_store *s)
{
    size_t n = 0;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < KV_SHARDS; i++)
        for (size_t k = 0; k < s->index.shards[i].n_slots; k++)
            for (const kv_object *o = s->index.shards[i].slots[k]; o; o = o->next) {
                n += o->known;
                assert_true(!o->known || o->begin == 0 || o->parent->known);
            }
    pthread_mutex_unlock(&s->lock);
    assert_int_equal(stub_each_object(NULL, NULL), n);
}

/* P12, P13: the budget holds, and nobody loses an ancestor before its descendants. */
static void the_budget_holds(void **state)
{
    kv_options o = stub_options();
    kv_store *s;
    kv_metrics m;
    (void)state;
    o.budget_bytes = 400000;
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t tokens[60];
        stub_tokens(tokens, 60, i);
        stub_tokens(tokens, (i % 4) * N, 100); /* some share a beginning */
        stub_save(s, tokens, 59);
        kv_store_metrics(s, &m);
        assert_true(m.store_bytes <= o.budget_bytes);
        assert_ancestors_are_there(s);
    }
    assert_true(m.evicted_total[KV_EVICT_BUDGET] > 0);
    assert_true(m.store_objects > 10);
    kv_store_close(s, 0);
}

/* P13: what is worth less than everything that is there is not written, and takes nobody's place. */
static void a_newcomer_of_little_value_is_refused(void **state)
{
    kv_options o = stub_options();
    uint32_t tokens[60], others[60];
    kv_store *s;
    kv_metrics m;
    (void)state;
    stub_tokens(tokens, 60, 1);
    stub_tokens(others, 60, 2);
    o.budget_bytes = 80000; /* one checkpoint of four objects, and a little */
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
    stub_cost_us = 60000000;
    stub_save(s, tokens, 59);
    assert_int_equal(stub_restored(s, tokens, 60), 59);
    const int n = stub_each_object(NULL, NULL);
    stub_cost_us = 10;
    stub_save(s, others, 59);
    kv_store_metrics(s, &m);
    assert_true(m.write_dropped_total[KV_DROP_BUDGET] > 0);
    assert_int_equal(m.evicted_total[KV_EVICT_BUDGET], 0);
    assert_int_equal(stub_each_object(NULL, NULL), n);
    assert_int_equal(stub_restored(s, tokens, 60), 59);
    stub_cost_us = UINT64_C(6000000000); /* and what is worth more does */
    stub_save(s, others, 59);
    assert_int_equal(stub_restored(s, others, 60), 59);
    kv_store_close(s, 0);
}

/* P13: a segment whose parent was refused is not written either, nor the frontier above both. */
static void what_stands_on_a_refused_segment_is_not_written(void **state)
{
    uint32_t tokens[3 * N];
    kv_chain *chain;
    kv_metrics m;
    (void)state;
    kv_store *s = stub_open();
    stub_tokens(tokens, 3 * N, 1);
    assert_int_equal(kv_chain_new(&chain, s, NULL), DS4_OK);
    assert_int_equal(kv_chain_extend(chain, tokens, 2 * N + 3, NULL), DS4_OK);
    stub_noise = NAN;
    assert_int_equal(stub_submit_segment(chain, tokens, 0), DS4_OK);
    stub_noise = 0;
    assert_int_equal(stub_submit_segment(chain, tokens, 1), DS4_OK);
    assert_int_equal(stub_submit_frontier(chain, tokens, 2 * N + 3), DS4_OK);
    assert_true(kv_flush(s, 10000000));
    kv_store_metrics(s, &m);
    assert_int_equal(m.write_dropped_total[KV_DROP_NONFINITE], 1);
    assert_int_equal(m.write_dropped_total[KV_DROP_NO_STEM], 2);
    assert_int_equal(stub_each_object(NULL, NULL), 0);
    kv_chain_free(chain);
    kv_store_close(s, 0);
}

/* P13: nothing is evicted to make room for what stands on it. */
static void a_save_does_not_evict_what_it_stands_on(void **state)
{
    kv_options o = stub_options();
    uint32_t tokens[60], others[60];
    kv_store *s;
    kv_chain *chain;
    (void)state;
    stub_tokens(tokens, 60, 1);
    stub_tokens(others, 60, 2);
    o.budget_bytes = 120000; /* six objects, not seven */
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
    stub_cost_us = 1000000;
    stub_save(s, others, 59); /* four objects */
    assert_int_equal(kv_chain_new(&chain, s, NULL), DS4_OK);
    assert_int_equal(kv_chain_extend(chain, tokens, 40, NULL), DS4_OK);
    stub_cost_us = 0; /* the two segments are the least valuable things there are */
    stub_submit_segment(chain, tokens, 0);
    stub_submit_segment(chain, tokens, 1);
    stub_cost_us = 100000000;
    stub_submit_frontier(chain, tokens, 40);
    assert_true(kv_flush(s, 10000000));
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    assert_ancestors_are_there(s);
    kv_chain_free(chain);
    kv_store_close(s, 0);
}

/* P5: the directory may go away at any time. */
static void the_directory_may_vanish(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    test_remove_tree(stub_dir);
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    stub_save(s, tokens, 40);
    stub_save(s, tokens, 40);
    kv_store_close(s, 1000000);
}

static void directories_that_cannot_be_used(void **state)
{
    kv_options o = stub_options();
    kv_store *s;
    ds4_error err;
    (void)state;
    test_write_file(stub_dir, "x", 1);
    assert_int_equal(kv_store_open(&s, &o, &err), DS4_ERR_ARGUMENT);
    unlink(stub_dir);
    mkdir(stub_dir, 0777);
    chmod(stub_dir, 0777);
    assert_int_equal(kv_store_open(&s, &o, &err), DS4_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "chmod 700"));
    chmod(stub_dir, 0700);
    o.segment_tokens = 0;
    assert_int_equal(kv_store_open(&s, &o, &err), DS4_ERR_ARGUMENT);
}

/* The same when somebody empties it: it is usable again, and still after the next start. */
static void an_emptied_directory_is_mended(void **state)
{
    uint32_t tokens[60];
    char path[512];
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    static const char *const inside[] = { "o", "use", "poison", "intent", "quarantine", "pin", "tmp" };
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", stub_dir, inside[i]);
        test_remove_tree(path);
    }
    snprintf(path, sizeof path, "%s/STORE", stub_dir);
    unlink(path);
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    stub_save(s, tokens,
              40); /* the writer notices at its first job; segments that were known are offered at the next */
    stub_save(s, tokens, 40);
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    kv_store_close(s, 1000000);
    s = stub_open();
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    kv_store_close(s, 0);
}

/* Somebody removes one folder while the server runs: the next save makes it again, the one after it is restored. */
static void a_removed_folder_is_made_again(void **state)
{
    static const char *const inside[] = { "o", "tmp", "intent", "use", "poison", "quarantine" };
    char path[512];
    (void)state;
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        uint32_t tokens[60], others[60];
        stub_empty(NULL);
        kv_store *s = stub_open_saved(tokens);
        snprintf(path, sizeof path, "%s/%s", stub_dir, inside[i]);
        test_remove_tree(path);
        stub_tokens(others, 60, 2);
        stub_save(s, others, 40);
        stub_save(s, tokens, 40);
        if (stub_restored(s, others, 60) != 40 || stub_restored(s, tokens, 60) != 40)
            fail_msg("not restored after %s/ was removed", inside[i]);
        kv_store_close(s, 0);
    }
}

/* And when it comes back (remounted): what is in it is known again. */
static void a_directory_that_comes_back_is_known_again(void **state)
{
    uint32_t tokens[60], others[60];
    char away[512];
    (void)state;
    stub_tokens(others, 60, 2);
    snprintf(away, sizeof away, "%s.away", stub_dir);
    kv_store *s = stub_open_saved(tokens);
    assert_int_equal(rename(stub_dir, away), 0);
    stub_save(s, others, 20); /* into a new one */
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    test_remove_tree(stub_dir);
    assert_int_equal(rename(away, stub_dir), 0);
    stub_save(s, others, 30);
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    kv_store_close(s, 0);
}

static void put_folder(const char *path, void *user)
{
    (void)user;
    unlink(path);
    mkdir(path, 0700);
}

/* What is in the way and cannot be removed is met once, not at every lookup. */
static void what_cannot_be_removed_is_met_once(void **state)
{
    uint32_t tokens[60];
    kv_metrics before, after;
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    stub_each_object(put_folder, NULL);
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    kv_store_metrics(s, &before);
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    kv_store_metrics(s, &after);
    assert_true(before.object_rejected_total[1] > 0);
    assert_int_equal(after.object_rejected_total[1], before.object_rejected_total[1]);
    kv_store_close(s, 0);
}

/* Where unnamed files do not exist (O_TMPFILE), named ones do the same and are gone afterwards. */
static void named_temporaries_do_too(void **state)
{
    uint32_t tokens[60];
    (void)state;
    stub_tokens(tokens, 60, 1);
    kv_store *s = stub_open();
    s->disk.no_tmpfile = true;
    stub_save(s, tokens, 40);
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    assert_int_equal(stub_count_files("tmp"), 0);
    kv_store_close(s, 0);
}

static void temporaries_of_the_dead_are_swept(void **state)
{
    char path[512];
    (void)state;
    kv_store_close(stub_open(), 0);
    snprintf(path, sizeof path, "%s/tmp/2147483646.0123456789abcdef", stub_dir); /* beyond any process id */
    test_write_file(path, "x", 1);
    snprintf(path, sizeof path, "%s/tmp/%ld.0123456789abcdef", stub_dir, (long)getpid()); /* a number comes again */
    test_write_file(path, "x", 1);
    kv_store_close(stub_open(), 0);
    assert_int_equal(stub_count_files("tmp"), 0);
}

/* After a restore only the headers of its objects are needed. */
static void a_plan_that_succeeded_holds_no_bytes(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    kv_plan *plan = stub_begin(s, tokens, 60);
    kv_plan_succeed(plan, 0);
    assert_null(plan->frontier.payload);
    assert_null(plan->segments[0].payload);
    stub_condemn(plan); /* a later verdict still finds them all */
    assert_int_equal(stub_each_object(NULL, NULL), 0);
    kv_store_close(s, 0);
}

/* Two running servers on one directory: each finds what the other saved, also what goes further than its own. */
static void servers_find_what_others_save(void **state)
{
    uint32_t tokens[100], others[60];
    (void)state;
    stub_tokens(tokens, 100, 1);
    stub_tokens(others, 60, 2);
    kv_store *a = stub_open(), *b = stub_open();
    assert_int_equal(stub_restored(b, tokens, 100), 0);
    stub_save(a, tokens, 40);
    assert_int_equal(stub_restored(b, tokens, 100), 40);
    stub_save(a, tokens, 90);
    assert_int_equal(stub_restored(b, tokens, 100), 90);
    stub_save(b, others, 50);
    assert_int_equal(stub_restored(a, others, 60), 50);
    kv_store_close(a, 1000000);
    kv_store_close(b, 1000000);
}

/* All folders of objects exist and have one time of change, in the future: no later change of theirs has a later time. */
static void stop_the_clock_of_folders(void)
{
    for (unsigned i = 0; i < 256; i++) {
        char path[512];
        const struct timespec times[2] = { { .tv_sec = 4000000000 }, { .tv_sec = 4000000000, .tv_nsec = 1 } };
        snprintf(path, sizeof path, "%s/o/%02x", stub_dir, i);
        mkdir(path, 0700);
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    }
}

/* Two saves within one tick of the file system's clock: the second one is found although its folder looks unchanged. */
static void a_change_within_a_tick_is_seen(void **state)
{
    uint32_t tokens[100];
    (void)state;
    stub_tokens(tokens, 100, 1);
    kv_store *a = stub_open(), *b = stub_open();
    assert_true(kv_flush(b, 10000000));
    stop_the_clock_of_folders();
    assert_int_equal(stub_restored(b, tokens, 100), 0);
    stub_save(a, tokens, 40);
    stop_the_clock_of_folders();
    assert_int_equal(stub_restored(b, tokens, 100), 40);
    kv_store_close(a, 1000000);
    kv_store_close(b, 1000000);
}

/* What other models keep here is counted once, however often the folders are listed. */
static void foreign_objects_are_counted_once(void **state)
{
    uint32_t tokens[60], others[60];
    kv_options o = stub_options();
    kv_store *s;
    kv_metrics m;
    (void)state;
    s = stub_open_saved(tokens);
    kv_store_metrics(s, &m);
    const uint64_t bytes = m.store_bytes;
    kv_store_close(s, 1000000);
    o.fingerprint[0]++;
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
    stub_tokens(others, 60, 2);
    for (size_t n = 20; n < 40; n++) {
        stub_save(s, others, n);
        assert_int_equal(stub_restored(s, others, n + 1), n);
        kv_store_metrics(s, &m);
        assert_int_equal(m.foreign_bytes, bytes);
    }
    kv_store_close(s, 0);
}

/* F42: what is in a call when the store is closed, and does not come back, keeps the memory and nobody else. */
static void closing_does_not_wait_for_a_holder(void **state)
{
    uint32_t tokens[60];
    kv_plan *plan;
    (void)state;
    kv_store *s = kv_store_hold(stub_open_saved(tokens));
    kv_store_hurry(s, clock_monotonic_us());
    assert_int_equal(kv_plan_find(&plan, s, tokens, 60, 1, 0, NULL), DS4_ERR_CANCELLED); /* nothing is begun any more */
    assert_false(kv_store_close(s, 10000000));
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    kv_store_let_go(s); /* the last one frees it: the sanitizers see that */
    s = stub_open();
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    assert_true(kv_store_close(s, 0));
}

/* A header whose parent is itself (F49). */
static void uses_do_not_go_in_circles(void **state)
{
    kv_index index = { 0 };
    kv_header h = { .kind = KV_KIND_SEGMENT, .begin = N, .end = 2 * N, .n = N };
    (void)state;
    memset(h.key.bytes, 1, sizeof h.key.bytes);
    h.parent = h.key;
    assert_true(kv_index_add(&index, &h));
    kv_index_hit(&index, &h.key, 1);
    assert_true(kv_index_find(&index, &h.key)->hits_short == 1.0);
    kv_index_free(&index);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, stub_empty)
    const struct CMUnitTest tests[] = {
        TEST(what_was_saved_comes_back),
        TEST(states_of_others_are_never_used),
        TEST(bad_states_are_not_saved),
        TEST(the_budget_holds),
        TEST(a_newcomer_of_little_value_is_refused),
        TEST(what_stands_on_a_refused_segment_is_not_written),
        TEST(a_save_does_not_evict_what_it_stands_on),
        TEST(the_directory_may_vanish),
        TEST(an_emptied_directory_is_mended),
        TEST(a_removed_folder_is_made_again),
        TEST(a_directory_that_comes_back_is_known_again),
        TEST(directories_that_cannot_be_used),
        TEST(what_cannot_be_removed_is_met_once),
        TEST(named_temporaries_do_too),
        TEST(temporaries_of_the_dead_are_swept),
        TEST(a_plan_that_succeeded_holds_no_bytes),
        TEST(servers_find_what_others_save),
        TEST(a_change_within_a_tick_is_seen),
        TEST(foreign_objects_are_counted_once),
        TEST(closing_does_not_wait_for_a_holder),
        TEST(uses_do_not_go_in_circles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
