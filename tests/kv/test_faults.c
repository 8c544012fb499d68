/* Suite C2 in the small. P and F numbers: docs/spec/kvstore.md. */
#include "base/clock.h"
#include "base/fault.h"
#include "kv/stub_model.h"
#include "support/support.h"

#include <errno.h>
#include <string.h>

#ifdef DS4_KV_FAULTS
/* C2 in the small: the n-th call that can fail does, for every n and several errors. What was there before is still there. */
static void a_failure_anywhere_changes_nothing(void **state)
{
    static const int codes[] = { EIO, ENOSPC, EACCES, EMFILE, ENOENT };
    uint32_t tokens[60], others[60];
    (void)state;
    stub_tokens(others, 60, 2);
    for (size_t c = 0; c < sizeof codes / sizeof codes[0]; c++)
        for (unsigned nth = 1;; nth++) {
            test_empty_folder(TEST_SCRATCH);
            kv_store *s = stub_open_saved(tokens);
            kv_store_close(s, 1000000);
            fault_arm("*", codes[c], nth);
            const kv_options o = stub_options();
            if (kv_store_open(&s, &o, NULL) == DS4_OK) {
                stub_save(s, others, 40);
                stub_restored(s, tokens, 60);
                stub_restored(s, others, 60);
                kv_store_close(s, 1000000);
            }
            const bool fired = fault_disarm();
            s = stub_open();
            /* stub_restored() compares every byte, too. */
            if (stub_restored(s, tokens, 60) != 40)
                fail_msg("what was there is lost: call %u with %s", nth, strerror(codes[c]));
            stub_save(s, tokens, 50);
            assert_int_equal(stub_restored(s, tokens, 60), 50);
            kv_store_close(s, 1000000);
            if (!fired)
                break;
        }
}

/* F18, and what the writer does with jobs that were queued before the disk was full: the pause is one, not one for each. */
static void a_full_disk_is_one_pause(void **state)
{
    uint32_t tokens[90];
    kv_metrics m;
    (void)state;
    stub_tokens(tokens, 90, 1);
    kv_store *s = stub_open();
    assert_int_equal(fault_configure("write.seg:short:5000@*", 1, NULL, NULL), DS4_OK);
    stub_save(s, tokens, 85); /* five segments and a frontier */
    fault_disarm();
    kv_store_metrics(s, &m);
    assert_int_equal(m.write_dropped_total[KV_DROP_ERROR], 1);
    assert_true(m.write_dropped_total[KV_DROP_BACKOFF] >= 1);
    assert_int_equal(s->backoff_us, 1000000);
    assert_int_equal(stub_each_object(NULL, NULL), 0);
    kv_store_close(s, 0);
}

/* F53: a file whose sync failed is given up, and never synced again. */
static void a_failed_sync_ends_the_object(void **state)
{
    uint32_t tokens[30];
    kv_options o = stub_options();
    kv_store *s;
    (void)state;
    stub_tokens(tokens, 30, 1);
    o.durability = KV_DURABILITY_FULL;
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
    fault_arm("publish.fsync", EIO, 1);
    stub_save(s, tokens, 10);
    assert_true(fault_disarm());
    assert_int_equal(stub_each_object(NULL, NULL), 0);
    assert_int_equal(stub_count_files("tmp"), 0);
    kv_store_close(s, 0);
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK); /* without the pause */
    stub_save(s, tokens, 10);
    assert_int_equal(stub_restored(s, tokens, 30), 10);
    kv_store_close(s, 0);
}

/* F51: ages are clamped, nothing is thrown away and nothing stops, wherever the wall clock jumps. */
static void the_clock_may_jump(void **state)
{
    static const char *const jumps[] = { "clock:skew:-315360000@*", "clock:skew:315360000@*" };
    uint32_t tokens[60], others[60];
    (void)state;
    stub_tokens(others, 60, 2);
    for (size_t i = 0; i < 2; i++) {
        stub_empty(NULL);
        kv_store *s = stub_open_saved(tokens);
        assert_int_equal(fault_configure(jumps[i], 1, NULL, NULL), DS4_OK);
        assert_int_equal(stub_restored(s, tokens, 60), 40);
        stub_save(s, others, 40);
        kv_store_close(s, 1000000);
        s = stub_open();
        assert_int_equal(stub_restored(s, tokens, 60), 40);
        assert_int_equal(stub_restored(s, others, 60), 40);
        fault_disarm();
        kv_store_close(s, 0);
        s = stub_open();
        assert_int_equal(stub_restored(s, others, 60), 40);
        kv_store_close(s, 0);
    }
}

/* No descriptors now is no reason to forget what is there. */
static void what_could_not_be_opened_is_tried_again(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    fault_arm("open.frn", EMFILE, 1);
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    assert_true(fault_disarm());
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    kv_store_close(s, 0);
}

/* What is on its way to the disk when its lineage is condemned is not there afterwards (F48), wherever the writer is with it. */
static void a_draft_on_its_way_does_not_escape_its_verdict(void **state)
{
    static const char *const points[] = { "writer.before_copy",  "publish.before_alloc", "publish.mid_write",
                                          "publish.before_link", "publish.after_link",   NULL };
    (void)state;
    for (size_t i = 0; points[i]; i++) {
        uint32_t tokens[60];
        stub_empty(NULL);
        kv_store *s = stub_open_saved(tokens);
        kv_plan *plan = stub_begin(s, tokens, 60);
        kv_chain *chain = stub_go_on(plan);
        assert_int_equal(kv_chain_extend(chain, tokens + 40, 3, NULL), DS4_OK);
        fault_hold(points[i], 1);
        assert_int_equal(stub_submit_frontier(chain, tokens, 43), DS4_OK);
        fault_wait_held();
        stub_condemn(plan);
        fault_release();
        assert_true(kv_flush(s, 10000000));
        assert_true(fault_disarm());
        if (stub_each_object(NULL, NULL) != 0)
            fail_msg("it escaped at %s", points[i]);
        kv_chain_free(chain);
        kv_store_close(s, 0);
    }
}

/* The same for what waits behind another job in the queue: it is refused before anything is written. */
static void a_draft_in_the_queue_does_not_escape_its_verdict(void **state)
{
    uint32_t tokens[60], others[60];
    kv_metrics before, after;
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    kv_plan *plan = stub_begin(s, tokens, 60);
    kv_chain *chain = stub_go_on(plan), *other;
    stub_tokens(others, 60, 2);
    assert_int_equal(kv_chain_new(&other, s, NULL), DS4_OK);
    assert_int_equal(kv_chain_extend(other, others, 7, NULL), DS4_OK);
    assert_int_equal(kv_chain_extend(chain, tokens + 40, 3, NULL), DS4_OK);
    kv_store_metrics(s, &before);
    fault_hold("writer.before_copy", 1);
    assert_int_equal(stub_submit_frontier(other, others, 7), DS4_OK);
    fault_wait_held();
    assert_int_equal(stub_submit_frontier(chain, tokens, 43), DS4_OK);
    stub_condemn(plan);
    fault_release();
    assert_true(kv_flush(s, 10000000));
    assert_true(fault_disarm());
    kv_store_metrics(s, &after);
    assert_int_equal(after.write_objects_total, before.write_objects_total + 1); /* the other one */
    assert_int_equal(after.write_dropped_total[KV_DROP_TAINTED], 1);
    assert_int_equal(stub_restored(s, others, 60), 7);
    assert_int_equal(stub_each_object(NULL, NULL), 1);
    kv_chain_free(other);
    kv_chain_free(chain);
    kv_store_close(s, 0);
}

/* The second crash is what condemns here. The record of the first one is on the disk, and does not take the second one back. */
static void a_verdict_that_cannot_be_written_counts(void **state)
{
    static const hash_digest none;
    kv_options o = stub_options();
    kv_intent_object object = { .key = { { 1 } }, .digest = { { 2 } }, .kind = KV_KIND_FRONTIER };
    const kv_intent intent = { .plan = { { 3 } }, .n_objects = 1, .objects = &object };
    kv_store *s;
    (void)state;
    o.crash_strikes = 2;
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
    kv_condemn_objects(s, &intent, KV_VERDICT_CRASH, "test", 0.0);
    assert_false(kv_was_condemned(s, &intent.plan, &none));
    assert_int_equal(fault_configure("write.poison:EIO@*", 1, NULL, NULL), DS4_OK);
    kv_condemn_objects(s, &intent, KV_VERDICT_CRASH, "test", 0.0);
    fault_configure(NULL, 1, NULL, NULL);
    assert_true(kv_was_condemned(s, &intent.plan, &none));
    kv_store_close(s, 0);
}

/* Closing takes frontiers that a newer one replaces out of the queue, and frees them: no draft keeps the chain's stem. */
static void closing_frees_what_it_takes_out_of_the_queue(void **state)
{
    uint32_t tokens[60];
    kv_chain *chain;
    kv_metrics m;
    (void)state;
    kv_store *s = kv_store_hold(stub_open());
    stub_tokens(tokens, 60, 1);
    assert_int_equal(kv_chain_new(&chain, s, NULL), DS4_OK);
    fault_hold("writer.before_copy", 1);
    for (uint64_t n = 5; n < 8; n++) {
        assert_int_equal(kv_chain_extend(chain, tokens + chain->n, n - chain->n, NULL), DS4_OK);
        assert_int_equal(stub_submit_frontier(chain, tokens, n), DS4_OK);
        if (n == 5)
            fault_wait_held();
    }
    kv_store_hurry(s, clock_monotonic_us());
    assert_false(kv_store_close(s, 0)); /* the writer is held */
    fault_release();
    pthread_mutex_lock(&s->lock);
    while (s->n_holders > 1) /* this one stays */
        pthread_cond_wait(&s->changed, &s->lock);
    const unsigned n_references = chain->stem->references;
    pthread_mutex_unlock(&s->lock);
    assert_true(fault_disarm());
    kv_store_metrics(s, &m);
    assert_int_equal(m.queue_jobs, 0);
    assert_int_equal(m.write_dropped_total[KV_DROP_SHUTDOWN], 2);
    assert_int_equal(n_references, 1);
    kv_chain_free(chain);
    kv_store_let_go(s);
}
#endif

int main(void)
{
#ifdef DS4_KV_FAULTS
#define TEST(name) cmocka_unit_test_setup(name, stub_empty)
    const struct CMUnitTest tests[] = {
        TEST(a_failure_anywhere_changes_nothing),
        TEST(a_full_disk_is_one_pause),
        TEST(a_failed_sync_ends_the_object),
        TEST(the_clock_may_jump),
        TEST(what_could_not_be_opened_is_tried_again),
        TEST(a_draft_on_its_way_does_not_escape_its_verdict),
        TEST(a_draft_in_the_queue_does_not_escape_its_verdict),
        TEST(a_verdict_that_cannot_be_written_counts),
        TEST(closing_frees_what_it_takes_out_of_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
#else
    return TEST_SKIPPED; /* without fault points there is nothing to provoke */
#endif
}
