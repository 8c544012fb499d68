/* The scheduler when calls fail and memory is short: requests end once, with the right tokens or an error of their own, and what
 * nobody uses is given up first. */
#include "sched/stub_client.h"
#include "support/support.h"

/* ---------------------------------------------------------------- every call fails once, and from then on */

/* A client whose ticket has been released: the scheduler alone keeps the request alive. */
static void submit_unowned(sched *s, client *c, uint32_t max_tokens, bool *refused)
{
    sched_ticket *ticket = NULL;
    const sched_request r = request_of(c, max_tokens);
    *refused = sched_submit(s, &r, &ticket, NULL) != DS4_OK;
    if (*refused)
        c->done = true;
    sched_ticket_release(ticket);
}

/* Whatever failed: the answer is right, or the request has ended with an error of its own. */
static void assert_right_or_failed(client *c, bool refused, uint32_t n, ds4_status why)
{
    wait_done(c);
    if (!refused && c->result.finish == SCHED_FINISH_LENGTH)
        assert_right(c, n);
    else if (!refused && c->result.finish == SCHED_FINISH_CANCELLED)
        assert_int_equal(why, DS4_ERR_CANCELLED);
    else if (!refused)
        assert_int_equal(c->result.status, why);
    client_free(c);
}

/* Three conversations and a second turn on two slots, with a checkpoint on disk. */
static void use_scheduler(sched *s, ds4_status why)
{
    enum { N = 4 };
    client *clients[N];
    bool refused[N];
    for (uint32_t i = 0; i < N; i++) {
        clients[i] = client_new(i < 2 ? 200 : 200 + i, i == 1 ? 304 : 300); /* the second goes on from the first */
        submit_unowned(s, clients[i], 4, &refused[i]);
        if (i == 0)
            wait_done(clients[0]);
    }
    for (uint32_t i = 0; i < N; i++)
        assert_right_or_failed(clients[i], refused[i], 4, why);
}

static bool fail_and_use(stub_call call, unsigned nth, unsigned more, ds4_status why)
{
    stub_reset();
    put_checkpoint(150);
    sched *s = open_sched(2);
    stub.fail_nth = nth;
    stub.fail_more = more;
    stub.fail_status = why;
    stub.fail_call = call;
    use_scheduler(s, why);
    const bool was_met = stub.n_calls >= nth;
    stub.fail_call = STUB_NONE;
    client *c = ask(s, 300, 300, 4); /* with an engine that works, everything does */
    assert_right(c, 4);
    client_free(c);
    sched_close(s, 0);
    assert_int_equal(stub.n_sequences, 0);
    assert_int_equal(stub.n_found, stub.n_released);
    return was_met;
}

/* P1: whatever the engine or the store refuse, and whenever, a request ends exactly once, nobody touches it afterwards (the
 * sanitizers watch), and the scheduler stays usable. */
static void any_call_may_fail_at_any_time(void **state)
{
    (void)state;
    const ds4_status reasons[] = { DS4_ERR_NO_MEMORY, DS4_ERR_STATE_BAD, DS4_ERR_IO, DS4_ERR_CANCELLED,
                                   DS4_ERR_DEVICE_LOST };
    for (stub_call call = STUB_NONE + 1; call < STUB_N_CALLS; call++) {
        unsigned n_met = 0;
        for (size_t r = 0; r < sizeof reasons / sizeof reasons[0]; r++)
            for (unsigned nth = 1; fail_and_use(call, nth, 0, reasons[r]); nth++) {
                fail_and_use(call, nth, UINT32_MAX, reasons[r]);
                n_met++;
            }
        if (n_met == 0)
            fail_msg("%s was never called", stub_call_names[call]);
    }
}

/* A device that fails in the middle of a step leaves no state that another attempt could use: every request is told what
 * happened, not that its state is bad. */
static void a_lost_device_is_reported_to_every_request_of_the_step(void **state)
{
    (void)state;
    sched *s = open_sched(2);
    client *clients[2] = { client_new(440, 50), client_new(441, 60) };
    stub.fail_step = 8;
    stub.step_status = DS4_ERR_DEVICE_LOST;
    stub.hold = true; /* until both have been submitted: they decode together */
    for (size_t i = 0; i < 2; i++)
        submit(s, clients[i], 50);
    stub.hold = false;
    for (size_t i = 0; i < 2; i++) {
        wait_done(clients[i]);
        assert_int_equal(clients[i]->result.finish, SCHED_FINISH_ERROR);
        assert_int_equal(clients[i]->result.status, DS4_ERR_DEVICE_LOST);
        assert_string_equal(clients[i]->result.error, "stub failure of step 8");
        client_free(clients[i]);
    }
    client *c = ask(s, 442, 50, 5); /* states that were reset work again */
    assert_right(c, 5);
    end(s, c);
}

/* ---------------------------------------------------------------- memory */

/* States that nobody uses are given up before a request fails: the least recently used first. */
static void an_idle_state_makes_room_for_a_request(void **state)
{
    (void)state;
    sched *s = open_sched(4);
    stub.sequences_max = 2;
    for (uint32_t i = 0; i < 6; i++) {
        client *c = ask(s, 400 + i, 100 + i, 5);
        assert_int_equal(c->result.status, DS4_OK);
        assert_right(c, 5);
        client_free(c);
    }
    client *c = ask(s, 404, 105, 5); /* 404 and 405 are the newest, so they are still here */
    assert_int_equal(c->result.n_cached, 104);
    client_free(c);
    sched_metrics m;
    sched_get_metrics(s, &m);
    assert_int_equal(m.states_given_up_total, 4);
    assert_int_equal(m.failed_total, 0);
    sched_close(s, 0);
}

/* What is in use is waited for: nobody gets an error because others are being served. */
static void a_request_without_memory_waits_for_those_who_run(void **state)
{
    (void)state;
    enum { N = 6 };
    sched *s = open_sched(4);
    client *clients[N];
    stub.sequences_max = 2;
    stub.step_delay_us = 100;
    for (uint32_t i = 0; i < N; i++) {
        clients[i] = client_new(410 + i, 120);
        submit(s, clients[i], 20);
    }
    for (uint32_t i = 0; i < N; i++) {
        wait_done(clients[i]);
        assert_int_equal(clients[i]->result.status, DS4_OK);
        assert_right(clients[i], 20);
        client_free(clients[i]);
    }
    assert_int_equal(stub.n_items_max, 2);
    sched_close(s, 0);
}

/* Each allocation for a request on the engine thread: one failure costs an idle state, not the request. */
static void a_failed_allocation_costs_an_idle_state(void **state)
{
    (void)state;
    const stub_call calls[] = { STUB_SEQUENCE_NEW, STUB_SAMPLER_NEW, STUB_STEP, STUB_RESTORE };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        stub_reset();
        stub.has_store = true;
        sched *s = open_sched(3);
        client *idle = ask(s, 420, 200, 5), *other = ask(s, 421, 200, 5);
        put_checkpoint(150);
        stub.fail_status = DS4_ERR_NO_MEMORY;
        stub.fail_nth = 1;
        stub.fail_call = calls[i];
        client *c = ask(s, 422, 300, 5);
        assert_int_equal(c->result.status, DS4_OK);
        assert_int_equal(c->result.n_cached, 150); /* nor its checkpoint */
        assert_right(c, 5);
        sched_metrics m;
        sched_get_metrics(s, &m);
        assert_int_equal(m.states_given_up_total, 1);
        client_free(idle);
        client_free(other);
        end(s, c);
    }
}

/* Other threads ask for room when their own allocations fail. */
static void other_threads_may_ask_for_room(void **state)
{
    (void)state;
    sched *s = open_sched(2);
    assert_false(sched_make_room(s)); /* nothing is resident yet */
    client *c = ask(s, 430, 200, 5);
    assert_true(sched_make_room(s));
    assert_int_equal(stub.n_sequences, 0);
    assert_false(sched_make_room(s));
    end(s, c);
}

/* A state that is given up goes to the store first, unless it is there already. */
static void a_state_that_is_given_up_is_saved(void **state)
{
    (void)state;
    stub.has_store = true;
    sched *s = open_sched(2);
    client *c = ask(s, 431, 90, 5); /* below the least tokens of a turn's own save after the anchor */
    const unsigned n_before = stub.n_displaced;
    assert_true(sched_make_room(s));
    assert_int_equal(stub.n_displaced, n_before + 1);
    end(s, c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(any_call_may_fail_at_any_time, fresh_world),
        cmocka_unit_test_setup(a_lost_device_is_reported_to_every_request_of_the_step, fresh_world),
        cmocka_unit_test_setup(an_idle_state_makes_room_for_a_request, fresh_world),
        cmocka_unit_test_setup(a_request_without_memory_waits_for_those_who_run, fresh_world),
        cmocka_unit_test_setup(a_failed_allocation_costs_an_idle_state, fresh_world),
        cmocka_unit_test_setup(other_threads_may_ask_for_room, fresh_world),
        cmocka_unit_test_setup(a_state_that_is_given_up_is_saved, fresh_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
