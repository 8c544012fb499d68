/* Suspicion, verdicts, crashes: suites E2, E3, E4 at the store, F48, and other servers.
 * P and F numbers: docs/spec/kvstore.md. */
#include "kv/stub_model.h"
#include "support/support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Dies in the middle of a restore, or in the clean retry after a restored state has failed. */
static void die(const uint32_t *tokens, bool retrying)
{
    int how;
    const pid_t child = fork();
    if (child == 0) {
        kv_plan *plan;
        kv_store *s = stub_open();
        if (kv_plan_find(&plan, s, tokens, 60, 1, 0, NULL) == DS4_OK && kv_plan_begin(plan, NULL) == DS4_OK) {
            if (retrying) {
                kv_plan_succeed(plan, 0);
                kv_plan_suspect(plan, DS4_ERR_DEVICE_LOST, "test");
            }
            kill(getpid(), SIGKILL);
        }
        _exit(1);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

static void die_restoring(const uint32_t *tokens)
{
    die(tokens, false);
}

static void a_condemned_checkpoint_is_gone_for_good(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    kv_plan *plan = stub_begin(s, tokens, 60);
    assert_int_equal(stub_count_files("intent"), 1);
    kv_plan_suspect(plan, DS4_ERR_STATE_BAD, "test");
    assert_int_equal(stub_restored(s, tokens, 60), 0); /* suspected: not offered meanwhile */
    kv_plan_condemn(plan, DS4_ERR_STATE_BAD, 1000);
    kv_plan_release(plan);
    assert_int_equal(stub_count_files("intent"), 0);
    assert_int_equal(stub_each_object(NULL, NULL), 0);
    assert_int_equal(stub_count_files("quarantine"), 3);
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    /* The same bytes again: the objects are innocent, this way of using them is not. A longer one works. */
    stub_save(s, tokens, 40);
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    stub_save(s, tokens, 45);
    assert_int_equal(stub_restored(s, tokens, 60), 45);
    kv_store_close(s, 1000000);
    s = stub_open();
    assert_int_equal(stub_restored(s, tokens, 45), 0);
    assert_int_equal(stub_restored(s, tokens, 60), 45);
    kv_store_close(s, 0);
}

static void an_acquitted_checkpoint_stays(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    kv_plan *plan = stub_begin(s, tokens, 60);
    kv_plan_suspect(plan, DS4_ERR_STATE_BAD, "test");
    kv_plan_acquit(plan);
    kv_plan_release(plan);
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    kv_store_close(s, 0);
}

/* A process that dies between the intent and the verdict: the next one condemns without having used it. */
static void dying_on_a_restore_condemns_it(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    kv_store_close(s, 1000000);
    die_restoring(tokens);
    assert_int_equal(stub_count_files("intent"), 1);
    s = stub_open();
    assert_int_equal(stub_count_files("intent"), 0);
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    assert_int_equal(stub_count_files("quarantine"), 3);
    kv_store_close(s, 0);
}

static void three_guilty_verdicts_open_the_breaker(void **state)
{
    (void)state;
    kv_store *s = stub_open();
    kv_metrics m;
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t tokens[30];
        stub_tokens(tokens, 30, i + 1);
        stub_save(s, tokens, 20);
        stub_condemn(stub_begin(s, tokens, 30));
    }
    uint32_t tokens[30];
    stub_tokens(tokens, 30, 9);
    stub_save(s, tokens, 20);
    assert_int_equal(stub_restored(s, tokens, 30), 0);
    kv_store_metrics(s, &m);
    assert_true(m.breaker_open);
    kv_store_close(s, 1000000);
    s = stub_open(); /* a crash loop is made of restarts */
    assert_int_equal(stub_restored(s, tokens, 30), 0);
    kv_store_metrics(s, &m);
    assert_true(m.breaker_open);
    kv_store_close(s, 0);
}

/* Other bytes under the name of a condemned object are another object: they take its place. */
static void other_bytes_take_over_the_name(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    stub_condemn(stub_begin(s, tokens, 60));
    assert_int_equal(stub_count_files("poison"), 4); /* two segments, the frontier, the plan */
    stub_noise = 0.5f;
    stub_save(s, tokens, 45);
    assert_int_equal(stub_restored(s, tokens, 60), 45);
    assert_int_equal(stub_count_files("poison"), 4);
    kv_store_close(s, 0);
}

/* F48: what was saved from a state that descends from a bad restore goes with it, also what is still to be saved. */
static void descendants_of_a_bad_restore_go_too(void **state)
{
    uint32_t tokens[60];
    kv_draft *d;
    kv_metrics m;
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    kv_plan *plan = stub_begin(s, tokens, 60);
    kv_chain *chain = stub_go_on(plan);
    assert_int_equal(kv_chain_extend(chain, tokens + 40, 15, NULL), DS4_OK);
    assert_int_equal(stub_submit_segment(chain, tokens, 2), DS4_OK);
    assert_int_equal(stub_submit_frontier(chain, tokens, 55), DS4_OK);
    assert_true(kv_flush(s, 10000000));
    assert_int_equal(stub_each_object(NULL, NULL), 5);
    stub_condemn(plan);
    assert_int_equal(stub_each_object(NULL, NULL), 0);
    assert_int_equal(kv_draft_frontier(&d, chain, 55, false, NULL), DS4_ERR_STATE_BAD);
    kv_store_metrics(s, &m);
    assert_int_equal(m.write_dropped_total[KV_DROP_TAINTED], 1);
    kv_chain_reset(chain); /* a clean state is a new lineage */
    assert_int_equal(kv_chain_extend(chain, tokens, 7, NULL), DS4_OK);
    assert_int_equal(kv_draft_frontier(&d, chain, 7, false, NULL), DS4_OK);
    kv_draft_drop(d);
    kv_chain_free(chain);
    kv_store_close(s, 0);
}

/* P3 with two servers: the verdict of one counts for the other at once, even when the bytes were made anew. */
static void another_server_is_believed(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *a = stub_open_saved(tokens);
    kv_store *b = stub_open();
    assert_int_equal(stub_restored(b, tokens, 60), 40);
    kv_plan *plan = stub_begin(a, tokens, 60), *also = stub_begin(b, tokens, 60);
    assert_int_equal(stub_count_files("intent"), 2);
    kv_plan_release(also);
    stub_condemn(plan);
    stub_save(a, tokens, 40); /* the same bytes: the objects are innocent, the plan is not */
    assert_int_equal(stub_restored(b, tokens, 60), 0);
    stub_save(a, tokens, 45);
    kv_store_close(b, 0);
    b = stub_open();
    assert_int_equal(stub_restored(b, tokens, 60), 45);
    kv_store_close(a, 0);
    kv_store_close(b, 0);
}

/* Section 7: if the process does not survive the suspicion, the record carries it on. */
static void a_suspicion_outlives_the_process(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    kv_store_close(s, 1000000);
    die(tokens, true);
    s = stub_open();
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    assert_int_equal(stub_count_files("quarantine"), 3);
    kv_store_close(s, 0);
}

/* The intent of a process that is no more, over what the store would restore. */
static void put_intent_of_the_dead(kv_store *s, const uint32_t *tokens, int of_model)
{
    char path[4096];
    size_t size;
    kv_intent intent;
    kv_plan *plan = stub_begin(s, tokens, 60);
    snprintf(path, sizeof path, "%s/%s", stub_dir, plan->intent.name);
    uint8_t *bytes = (uint8_t *)test_read_file(path, &size);
    kv_plan_release(plan);
    assert_int_equal(kv_intent_decode(&intent, bytes, size, NULL), DS4_OK);
    assert_true(intent.locked); /* the copy is not: its writer is gone */
    intent.writer++;
    intent.fingerprint[0] ^= (uint8_t)of_model;
    kv_intent_encode(&intent, bytes);
    snprintf(path, sizeof path, "%s/intent/dead.1", stub_dir);
    test_write_file(path, bytes, size);
    free(intent.objects);
    free(bytes);
}

/* A server that was running all the time learns from the death of another one. */
static void the_death_of_a_peer_is_a_verdict(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    put_intent_of_the_dead(s, tokens, 0);
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    assert_int_equal(stub_count_files("intent"), 0);
    assert_int_equal(stub_count_files("quarantine"), 3);
    kv_store_close(s, 0);
}

/* Crashes of another model on this directory are no reason to stop restoring ours; what stands in between is skipped. */
static void crashes_of_others_do_not_open_our_breaker(void **state)
{
    char path[4096];
    kv_metrics m;
    (void)state;
    kv_store *s = stub_open();
    snprintf(path, sizeof path, "%s/intent/%0150d", stub_dir, 0);
    test_write_file(path, "x", 1);
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t tokens[60];
        stub_tokens(tokens, 60, i);
        stub_save(s, tokens, 40);
        if (i < 3)
            put_intent_of_the_dead(s, tokens, 1);
        assert_int_equal(stub_restored(s, tokens, 60), i < 3 ? 0 : 40);
    }
    kv_store_metrics(s, &m);
    assert_false(m.breaker_open);
    kv_store_close(s, 0);
}

/* A store that may not write cannot move anything, but it does not use it either. */
static void a_read_only_store_heeds_intents(void **state)
{
    uint32_t tokens[60];
    kv_options o = stub_options();
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    kv_store_close(s, 1000000);
    o.read_only = true;
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    kv_store_close(s, 0);
    die_restoring(tokens);
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    kv_store_close(s, 0);
    assert_int_equal(stub_count_files("intent"), 1);
    assert_int_equal(stub_each_object(NULL, NULL), 3);
}

/* Strikes: an operator may decide that one crash is no proof. */
static void crashes_are_counted(void **state)
{
    uint32_t tokens[60];
    kv_options o = stub_options();
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    kv_store_close(s, 1000000);
    o.crash_strikes = 2;
    die_restoring(tokens);
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
    kv_plan *plan;
    assert_int_equal(kv_plan_find(&plan, s, tokens, 60, 1, 0, NULL), DS4_OK);
    kv_plan_release(plan);
    kv_store_close(s, 0);
}

/* V8: a verdict that another server wrote counts, though the object is still in its place and this server knows it. */
static void a_verdict_on_the_disk_counts_at_once(void **state)
{
    uint32_t tokens[60];
    kv_metrics m;
    (void)state;
    for (int i = 0; i < 3; i++) { /* a segment, the other one, the frontier */
        stub_empty(NULL);
        kv_store *s = stub_open_saved(tokens);
        kv_plan *plan = stub_begin(s, tokens, 60);
        const kv_part *part = i < 2 ? kv_plan_segment(plan, (uint64_t)i) : kv_plan_frontier(plan);
        kv_verdict v = { .key = part->key, .digest = part->digest, .time_ns = kv_now_ns(), .writer = 1, .strikes = 1 };
        const kv_key name = kv_key_verdict(&v.key, &v.digest);
        char path[512], hex[HASH_KEY_HEX];
        uint8_t bytes[KV_VERDICT_BYTES];
        v.reason = DS4_ERR_STATE_BAD;
        memcpy(v.fingerprint, s->options.fingerprint, sizeof v.fingerprint);
        kv_plan_release(plan);
        kv_verdict_encode(&v, bytes);
        hash_key_hex(&name, hex);
        snprintf(path, sizeof path, "%s/poison/%s", stub_dir, hex);
        test_write_file(path, bytes, sizeof bytes);
        assert_int_equal(stub_restored(s, tokens, 60), 0);
        kv_store_metrics(s, &m);
        assert_int_equal(m.object_rejected_total[8], 1);
        assert_int_equal(stub_count_files("quarantine"), 1);
        kv_store_close(s, 0);
    }
}

/* What is kept for diagnosis does not eat the budget. */
static void quarantine_is_bounded(void **state)
{
    uint32_t tokens[60];
    kv_options o = stub_options();
    kv_store *s;
    (void)state;
    stub_tokens(tokens, 60, 1);
    o.budget_bytes = 2000000; /* one part of a hundred: two of the three objects at most */
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
    stub_save(s, tokens, 40);
    stub_condemn(stub_begin(s, tokens, 60));
    assert_int_equal(stub_each_object(NULL, NULL), 0);
    assert_true(stub_count_files("quarantine") < 3);
    kv_store_close(s, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, stub_empty)
    const struct CMUnitTest tests[] = {
        TEST(a_condemned_checkpoint_is_gone_for_good),
        TEST(other_bytes_take_over_the_name),
        TEST(an_acquitted_checkpoint_stays),
        TEST(descendants_of_a_bad_restore_go_too),
        TEST(dying_on_a_restore_condemns_it),
        TEST(a_suspicion_outlives_the_process),
        TEST(crashes_are_counted),
        TEST(three_guilty_verdicts_open_the_breaker),
        TEST(another_server_is_believed),
        TEST(the_death_of_a_peer_is_a_verdict),
        TEST(crashes_of_others_do_not_open_our_breaker),
        TEST(a_read_only_store_heeds_intents),
        TEST(a_verdict_on_the_disk_counts_at_once),
        TEST(quarantine_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
