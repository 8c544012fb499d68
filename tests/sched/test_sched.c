/* The scheduler over an engine without a network (stub_engine.h): what clients are promised whatever the engine does. */
#include "sched/stub_client.h"
#include "support/support.h"

#include "base/clock.h"

#include <string.h>

/* ---------------------------------------------------------------- tests */

static void a_request_gets_the_tokens_of_its_prompt(void **state)
{
    (void)state;
    sched *s = open_sched(2);
    client *c = ask(s, 1, 333, 40);
    assert_right(c, 40);
    assert_int_equal(c->result.finish, SCHED_FINISH_LENGTH);
    assert_int_equal(c->result.n_cached, 0);
    end(s, c);
}

/* From the first token on, the owner's wishes reach the sampler. */
static void the_owner_steers_every_token(void **state)
{
    (void)state;
    sched *s = open_sched(1);
    client *c = client_new(1, 20);
    c->only = 7;
    submit(s, c, 5);
    wait_done(c);
    assert_int_equal(c->n_out, 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(c->out[i], 7);
    end(s, c);
}

static void many_requests_share_steps_and_none_disturbs_another(void **state)
{
    (void)state;
    enum { N = 40 };
    sched *s = open_sched(4);
    client *clients[N];
    for (uint32_t i = 0; i < N; i++) {
        clients[i] = client_new(100 + i, 1 + i * 37 % 700);
        submit(s, clients[i], 1 + i * 13 % 60);
    }
    for (uint32_t i = 0; i < N; i++) {
        wait_done(clients[i]);
        assert_right(clients[i], 1 + i * 13 % 60);
    }
    assert_true(stub.n_items_max > 1);
    for (uint32_t i = 0; i < N; i++)
        client_free(clients[i]);
    sched_close(s, 0);
}

static void a_conversation_goes_on_from_its_resident_state(void **state)
{
    (void)state;
    sched *s = open_sched(1);
    client *c = ask(s, 5, 200, 20);
    client *next = client_new(6, 0);
    memcpy(next->prompt, c->prompt, 200 * sizeof *c->prompt);
    memcpy(next->prompt + 200, c->out, 20 * sizeof *c->out);
    next->prompt[220] = 3;
    next->prompt[221] = 4;
    next->n_prompt = 222;
    submit(s, next, 10);
    wait_done(next);
    assert_right(next, 10);
    assert_int_equal(next->result.n_cached, 219); /* the last token of a turn is never evaluated */
    assert_int_equal(next->result.source, SCHED_SOURCE_LIVE);
    client_free(c);
    client_free(next);
    sched_close(s, 0);
}

/* Also for the largest number: no checkpoint is ever long enough, whatever a resident state saves beside it. */
static void checkpoints_below_the_least_length_are_not_looked_for(void **state)
{
    (void)state;
    sched *s = NULL;
    sched_options o = sched_options_default();
    o.min_cached_tokens = UINT32_MAX;
    put_checkpoint(250);
    assert_int_equal(sched_open(&s, stub_engine(), &o, NULL), DS4_OK);
    client *c = ask(s, 6, 200, 5);
    client *next = ask(s, 6, 300, 5); /* goes on from the first */
    assert_right(next, 5);
    assert_int_equal(stub.n_searches, 0);
    assert_int_equal(next->result.source, SCHED_SOURCE_LIVE);
    client_free(c);
    end(s, next);
}

static void a_checkpoint_is_restored_begun_and_proven(void **state)
{
    (void)state;
    put_checkpoint(150);
    sched *s = open_sched(1);
    client *c = ask(s, 7, 300, 10);
    assert_right(c, 10);
    assert_int_equal(c->result.n_cached, 150);
    assert_int_equal(c->result.source, SCHED_SOURCE_DISK);
    end(s, c);
    assert_int_equal(stub.n_begun, 1);
    assert_int_equal(stub.n_succeeded, 1);
    assert_int_equal(stub.n_condemned, 0);
    assert_int_equal(stub.n_released, 1);
}

/* P1 and the founding case: the client sees the right tokens, the checkpoint its verdict. */
static void a_restored_state_that_fails_is_condemned_inside_the_request(void **state)
{
    (void)state;
    /* Where: the first chunk, a later chunk, the first token, a later token. */
    const uint32_t positions[] = { 151, 299, 300, 305 };
    for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++) {
        stub_reset();
        put_checkpoint(150);
        break_at(positions[i], 1, i % 2 ? DS4_ERR_DEVICE_LOST : DS4_ERR_STATE_BAD);
        sched *s = open_sched(1);
        client *c = ask(s, 8, 300, 10);
        assert_right(c, 10);
        assert_true(c->result.retried_clean);
        assert_int_equal(c->result.status, DS4_OK);
        assert_int_equal(c->result.n_cached, 0);
        assert_int_equal(c->n_starts, 2);
        end(s, c);
        assert_int_equal(stub.n_suspected, 1);
        assert_int_equal(stub.n_condemned, 1);
        assert_int_equal(stub.n_acquitted, 0);
        assert_int_equal(stub.n_released, 1);
    }
}

/* The trial is over with the first chunk, and its intent record gone (docs/spec/kvstore.md, section 6); what fails
 * later is condemned too. */
static void a_trial_ends_with_the_first_chunk(void **state)
{
    (void)state;
    put_checkpoint(150);
    break_at(299, 1, DS4_ERR_STATE_BAD); /* chunks: 150..249, 250..299 */
    sched *s = open_sched(1);
    client *c = ask(s, 8, 300, 10);
    assert_right(c, 10);
    end(s, c);
    assert_int_equal(stub.n_succeeded, 1);
    assert_int_equal(stub.n_condemned, 1);
}

/* F42: neither does the end of the program wait for it. What the disk keeps ends by itself, should it ever answer. */
static void closing_does_not_wait_for_the_disk(void **state)
{
    (void)state;
    put_checkpoint(150);
    stub.search_hangs = true;
    sched *s = open_sched(1);
    client *c = client_new(60, 300);
    submit(s, c, 10);
    while (stub.n_searches == 0)
        clock_sleep_us(1000);
    sched_drain(s, 0);
    assert_int_equal(c->result.finish, SCHED_FINISH_CANCELLED);
    sched_close(s, 0);
    assert_int_equal(stub.n_holders, 1); /* the thread that the disk keeps */
    client_free(c);
    stub.search_hangs = false;
    while (stub.n_holders > 0)
        clock_sleep_us(1000);
    assert_int_equal(stub.n_found, stub.n_released);
    assert_int_equal(stub.n_restored, 0);
}

/* F17: a disk that does not answer costs a request its checkpoint and a moment, nothing else. */
static void a_search_that_hangs_is_given_up(void **state)
{
    (void)state;
    put_checkpoint(150);
    stub.search_hangs = true;
    sched *s = NULL;
    sched_options o = sched_options_default();
    o.n_slots = 2;
    o.min_cached_tokens = 64;
    o.patience_us = 1000;
    assert_int_equal(sched_open(&s, stub_engine(), &o, NULL), DS4_OK);
    client *clients[3];
    for (size_t i = 0; i < 3; i++) {
        clients[i] = client_new(60 + i, 300);
        submit(s, clients[i], 10);
    }
    for (size_t i = 0; i < 3; i++) {
        wait_done(clients[i]);
        assert_right(clients[i], 10);
        assert_int_equal(clients[i]->result.n_cached, 0);
        client_free(clients[i]);
    }
    assert_int_equal(stub.n_found, 0);
    stub.search_hangs = false;
    uint32_t n_cached = 0;
    for (int i = 0; i < 1000 && n_cached == 0; i++) { /* once the late answer is back, searches are made again */
        client *c = ask(s, 70 + (uint64_t)i, 300, 1);
        n_cached = c->result.n_cached;
        client_free(c);
    }
    assert_int_equal(n_cached, 150);
    client *last = ask(s, 2000, 300, 1);
    assert_int_equal(last->result.n_cached, 150);
    end(s, last);
    assert_int_equal(stub.n_found, stub.n_released); /* the late answer belongs to nobody, and is not lost */
    assert_int_equal(stub.n_restored, 2);
}

/* E3: if the clean state fails alike, the checkpoint was not the reason. */
static void a_failure_of_the_retry_too_acquits_and_is_reported(void **state)
{
    (void)state;
    put_checkpoint(150);
    break_at(200, 2, DS4_ERR_STATE_BAD);
    sched *s = open_sched(1);
    client *c = ask(s, 9, 300, 10);
    assert_int_equal(c->result.finish, SCHED_FINISH_ERROR);
    assert_int_equal(c->result.status, DS4_ERR_STATE_BAD);
    client_free(c);
    c = ask(s, 9, 300, 10); /* the slot is usable afterwards */
    assert_right(c, 10);
    end(s, c);
    assert_int_equal(stub.n_condemned, 0);
    assert_int_equal(stub.n_acquitted, 1);
}

/* F3: running out of memory says nothing about the checkpoint. */
static void out_of_memory_retries_without_a_verdict(void **state)
{
    (void)state;
    put_checkpoint(150);
    stub.fail_step = 1;
    stub.step_status = DS4_ERR_NO_MEMORY;
    sched *s = open_sched(1);
    client *c = ask(s, 10, 300, 10);
    assert_right(c, 10);
    end(s, c);
    assert_int_equal(stub.n_condemned, 0);
    assert_int_equal(stub.n_suspected, 0);
    assert_int_equal(stub.n_acquitted, 1);
}

static void a_failed_restore_goes_clean(void **state)
{
    (void)state;
    const ds4_status why[] = { DS4_ERR_STATE_BAD, DS4_ERR_IO, DS4_ERR_NO_MEMORY };
    for (size_t i = 0; i < 3; i++) {
        stub_reset();
        put_checkpoint(150);
        stub.restore_status = why[i];
        sched *s = open_sched(1);
        client *c = ask(s, 11, 300, 10);
        assert_right(c, 10);
        assert_int_equal(c->result.n_cached, 0);
        end(s, c);
        assert_int_equal(stub.n_condemned, why[i] == DS4_ERR_NO_MEMORY ? 0 : 1);
    }
}

/* What another request left in a slot is a cached state too (P1). */
static void a_resident_state_that_fails_is_retried_clean(void **state)
{
    (void)state;
    sched *s = open_sched(1);
    client *c = ask(s, 12, 200, 1);
    client *next = client_new(12, 200);
    next->prompt[next->n_prompt++] = 1;
    break_at(200, 1, DS4_ERR_STATE_BAD);
    submit(s, next, 10);
    wait_done(next);
    assert_right(next, 10);
    assert_true(next->result.retried_clean);
    client_free(c);
    client_free(next);
    sched_close(s, 0);
}

static void one_failing_item_leaves_the_others_of_its_step_alone(void **state)
{
    (void)state;
    sched *s = open_sched(2);
    client *a = client_new(13, 50), *b = client_new(14, 60);
    stub.fail_step = 8;
    stub.step_status = DS4_ERR_NO_MEMORY; /* as a batch; alone each goes through */
    submit(s, a, 50);
    submit(s, b, 50);
    wait_done(a);
    wait_done(b);
    assert_right(a, 50);
    assert_right(b, 50);
    client_free(a);
    client_free(b);
    sched_close(s, 0);
}

static void cancelling_ends_a_request_wherever_it_is(void **state)
{
    (void)state;
    stub.step_delay_us = 300;
    stub.has_store = true;
    sched *s = open_sched(1);
    client *running = client_new(15, 3000), *queued = client_new(16, 100), *last = client_new(17, 100);
    submit(s, running, 100);
    submit(s, queued, 100);
    submit(s, last, 5);
    sched_cancel(queued->ticket);
    wait_done(queued);
    assert_int_equal(queued->result.finish, SCHED_FINISH_CANCELLED);
    clock_sleep_us(3000);
    sched_cancel(running->ticket);
    wait_done(running);
    assert_int_equal(running->result.finish, SCHED_FINISH_CANCELLED);
    wait_done(last);
    assert_right(last, 5);
    client_free(running);
    client_free(queued);
    client_free(last);
    sched_close(s, 0);
}

static void impossible_requests_are_refused_at_once(void **state)
{
    (void)state;
    sched *s = open_sched(1);
    client *c = client_new(30, STUB_CTX);
    ds4_error err;
    sched_request r = request_of(c, 1);
    assert_int_equal(sched_submit(s, &r, &c->ticket, &err), DS4_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "4096"));
    r.n_prompt = 0;
    assert_int_equal(sched_submit(s, &r, &c->ticket, &err), DS4_ERR_ARGUMENT);
    end(s, c);
}

static void the_context_ends_a_request(void **state)
{
    (void)state;
    sched *s = open_sched(1);
    client *c = ask(s, 31, STUB_CTX - 5, 100);
    assert_int_equal(c->result.finish, SCHED_FINISH_CONTEXT);
    assert_right(c, 5);
    end(s, c);
}

static void frontiers_are_saved_at_the_anchors_and_at_the_end(void **state)
{
    (void)state;
    stub.has_store = true;
    sched *s = open_sched(1);
    client *c = client_new(32, 400);
    const uint32_t anchors[] = { 20, 133, 399 }; /* the first is below the smallest checkpoint */
    sched_request r = request_of(c, 100);
    r.anchors = anchors;
    r.n_anchors = 3;
    assert_int_equal(sched_submit(s, &r, &c->ticket, NULL), DS4_OK);
    wait_done(c);
    assert_right(c, 100);
    end(s, c);
    assert_int_equal(stub.n_frontiers, 3); /* 133, 399, and the end of the turn */
}

/* What a result calls written is in the store: all of the prompt that was not there before, or nothing without a store, without
 * the cache, or below the smallest checkpoint. */
static void written_tokens_are_those_that_the_store_got(void **state)
{
    (void)state;
    const struct {
        bool has_store, no_cache;
        uint32_t checkpoint, n_prompt, n_written;
    } cases[] = { { true, false, 0, 400, 400 },
                  { true, false, 150, 400, 250 },
                  { false, false, 0, 400, 0 },
                  { true, true, 0, 400, 0 },
                  { true, false, 0, 40, 0 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        stub_reset();
        stub.has_store = cases[i].has_store;
        stub.checkpoint = cases[i].checkpoint;
        sched *s = open_sched(1);
        client *c = client_new(40, cases[i].n_prompt);
        sched_request r = request_of(c, 10);
        r.no_cache = cases[i].no_cache;
        assert_int_equal(sched_submit(s, &r, &c->ticket, NULL), DS4_OK);
        wait_done(c);
        assert_int_equal(c->result.n_written, cases[i].n_written);
        assert_int_equal(c->result.n_cached, cases[i].checkpoint);
        end(s, c);
    }
}

static void a_request_without_cache_neither_reads_nor_writes_it(void **state)
{
    (void)state;
    put_checkpoint(100);
    sched *s = open_sched(1);
    client *c = client_new(33, 400);
    sched_request r = request_of(c, 100);
    r.no_cache = true;
    assert_int_equal(sched_submit(s, &r, &c->ticket, NULL), DS4_OK);
    wait_done(c);
    assert_right(c, 100);
    end(s, c);
    assert_int_equal(stub.n_found, 0);
    assert_int_equal(stub.n_saved, 0);
}

/* Nor does it use, or leave, a state in memory. */
static void a_request_without_cache_is_alone_in_memory_too(void **state)
{
    (void)state;
    sched *s = open_sched(1);
    for (int i = 0; i < 3; i++) {
        client *c = client_new(34, 100 + (uint32_t)i); /* each goes on from the one before */
        sched_request r = request_of(c, 2);
        r.no_cache = i == 1;
        assert_int_equal(sched_submit(s, &r, &c->ticket, NULL), DS4_OK);
        wait_done(c);
        assert_right(c, 2);
        assert_int_equal(c->result.n_cached, 0);
        client_free(c);
    }
    sched_close(s, 0);
}

static void no_tokens_were_asked_for(void **state)
{
    (void)state;
    sched *s = open_sched(1);
    client *c = ask(s, 35, 100, 0);
    assert_int_equal(c->result.finish, SCHED_FINISH_LENGTH);
    assert_int_equal(c->n_out, 0);
    end(s, c);
}

/* What is resident when the program ends is saved, if it is long enough and there is time. */
static void closing_saves_what_is_resident(void **state)
{
    (void)state;
    for (int has_time = 0; has_time <= 1; has_time++) {
        stub_reset();
        stub.has_store = true;
        sched *s = open_sched(4);
        for (uint32_t i = 0; i < 3; i++)
            client_free(ask(s, 70 + i, i == 2 ? 30 : 100, 2)); /* the last is too short */
        sched_close(s, has_time ? 60 * 1000 * 1000 : 0);
        assert_int_equal(stub.n_exits, has_time ? 2 : 0);
        assert_int_equal(stub.n_sequences, 0);
    }
}

static void draining_finishes_what_runs_and_refuses_what_comes(void **state)
{
    (void)state;
    stub.step_delay_us = 200;
    sched *s = open_sched(1);
    client *runs = client_new(34, 100), *late = client_new(35, 100);
    submit(s, runs, 50);
    sched_drain(s, 10 * 1000 * 1000);
    assert_true(runs->done);
    assert_right(runs, 50);
    const sched_request r = request_of(late, 1);
    assert_int_equal(sched_submit(s, &r, &late->ticket, NULL), DS4_ERR_CANCELLED);
    client_free(runs);
    client_free(late);
    sched_close(s, 0);
}

static void draining_without_patience_cancels(void **state)
{
    (void)state;
    stub.step_delay_us = 1000;
    stub.has_store = true;
    sched *s = open_sched(1);
    client *runs = client_new(36, 4000), *waits = client_new(37, 4000);
    submit(s, runs, 50);
    submit(s, waits, 50);
    sched_drain(s, 1000);
    assert_true(runs->done && waits->done);
    assert_int_equal(runs->result.finish, SCHED_FINISH_CANCELLED);
    assert_int_equal(waits->result.finish, SCHED_FINISH_CANCELLED);
    client_free(runs);
    client_free(waits);
    sched_close(s, 1000);
}

/* Random clients that come, cancel and fail at random, with restores: every surviving output is right. */
static void a_storm_of_requests_leaves_only_right_answers(void **state)
{
    (void)state;
    enum { N = 150 };
    test_random r = test_random_seeded(4242);
    put_checkpoint(90);
    stub.item_status = DS4_ERR_STATE_BAD;
    sched *s = open_sched(3);
    client *clients[N];
    bool cancelled[N];
    for (uint32_t i = 0; i < N; i++) {
        clients[i] = client_new(test_random_below(&r, 12), 1 + test_random_below(&r, 400));
        submit(s, clients[i], 1 + test_random_below(&r, 30));
        cancelled[i] = test_random_below(&r, 4) == 0;
        if (cancelled[i])
            sched_cancel(clients[i]->ticket);
        if (test_random_below(&r, 10) == 0) {
            stub.fail_position = 90 + test_random_below(&r, 200);
            stub.fail_times = 1;
        }
    }
    for (uint32_t i = 0; i < N; i++) {
        wait_done(clients[i]);
        if (clients[i]->result.finish == SCHED_FINISH_LENGTH)
            assert_right(clients[i], clients[i]->n_out);
        else if (clients[i]->result.finish == SCHED_FINISH_CANCELLED)
            assert_true(cancelled[i]);
        else /* only a request on its own clean state may fail */
            assert_int_equal(clients[i]->result.n_cached, 0);
        client_free(clients[i]);
    }
    sched_close(s, 0);
    assert_int_equal(stub.n_found, stub.n_released);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_request_gets_the_tokens_of_its_prompt, fresh_world),
        cmocka_unit_test_setup(the_owner_steers_every_token, fresh_world),
        cmocka_unit_test_setup(many_requests_share_steps_and_none_disturbs_another, fresh_world),
        cmocka_unit_test_setup(a_conversation_goes_on_from_its_resident_state, fresh_world),
        cmocka_unit_test_setup(checkpoints_below_the_least_length_are_not_looked_for, fresh_world),
        cmocka_unit_test_setup(a_checkpoint_is_restored_begun_and_proven, fresh_world),
        cmocka_unit_test_setup(a_restored_state_that_fails_is_condemned_inside_the_request, fresh_world),
        cmocka_unit_test_setup(a_trial_ends_with_the_first_chunk, fresh_world),
        cmocka_unit_test_setup(a_search_that_hangs_is_given_up, fresh_world),
        cmocka_unit_test_setup(closing_does_not_wait_for_the_disk, fresh_world),
        cmocka_unit_test_setup(a_failure_of_the_retry_too_acquits_and_is_reported, fresh_world),
        cmocka_unit_test_setup(out_of_memory_retries_without_a_verdict, fresh_world),
        cmocka_unit_test_setup(a_failed_restore_goes_clean, fresh_world),
        cmocka_unit_test_setup(a_resident_state_that_fails_is_retried_clean, fresh_world),
        cmocka_unit_test_setup(one_failing_item_leaves_the_others_of_its_step_alone, fresh_world),
        cmocka_unit_test_setup(cancelling_ends_a_request_wherever_it_is, fresh_world),
        cmocka_unit_test_setup(impossible_requests_are_refused_at_once, fresh_world),
        cmocka_unit_test_setup(the_context_ends_a_request, fresh_world),
        cmocka_unit_test_setup(frontiers_are_saved_at_the_anchors_and_at_the_end, fresh_world),
        cmocka_unit_test_setup(written_tokens_are_those_that_the_store_got, fresh_world),
        cmocka_unit_test_setup(a_request_without_cache_neither_reads_nor_writes_it, fresh_world),
        cmocka_unit_test_setup(a_request_without_cache_is_alone_in_memory_too, fresh_world),
        cmocka_unit_test_setup(no_tokens_were_asked_for, fresh_world),
        cmocka_unit_test_setup(closing_saves_what_is_resident, fresh_world),
        cmocka_unit_test_setup(draining_finishes_what_runs_and_refuses_what_comes, fresh_world),
        cmocka_unit_test_setup(draining_without_patience_cancels, fresh_world),
        cmocka_unit_test_setup(a_storm_of_requests_leaves_only_right_answers, fresh_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
