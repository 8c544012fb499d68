/* Who gets a share of each step, and who gets a place at all. Steps are counted, not timed: the stub engine holds the first one
 * until everybody is there. Slices are 100 tokens of a prompt, or 30 beside somebody who decodes (open_sched()). */
#include "sched/stub_client.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 100, QUANTUM = 30 };

/* The scheduler is in its first step, with this request in it, until stub.hold is false. */
static sched *open_held(uint32_t n_slots, client *first, uint32_t max_tokens)
{
    sched *s = open_sched(n_slots);
    stub.hold = true;
    submit(s, first, max_tokens);
    wait_entered(1);
    return s;
}

static void release_all(sched *s, client **clients, size_t n)
{
    for (size_t i = 0; i < n; i++)
        client_free(clients[i]);
    sched_close(s, 0);
}

/* Whoever decodes gets a token from every step, and the slice of a prompt beside it is the small one. */
static void a_prompt_that_is_read_stops_nobody_who_decodes(void **state)
{
    (void)state;
    client *talker = client_new(1, 10), *other = client_new(2, 10), *reader = client_new(3, 3000);
    sched *s = open_held(3, talker, 150);
    submit(s, other, 150);
    submit(s, reader, 1);
    stub.hold = false;
    client *all[] = { talker, other, reader };
    for (size_t i = 0; i < 3; i++)
        wait_done(all[i]);
    assert_right(talker, 150);
    assert_right(other, 150);
    assert_right(reader, 1);
    for (uint32_t i = 1; i < 150; i++) {
        assert_int_equal(talker->steps[i], talker->steps[i - 1] + 1);
        assert_int_equal(other->steps[i], other->steps[i - 1] + 1);
    }
    assert_int_equal(stub.n_mixed_max, QUANTUM);
    release_all(s, all, 3);
}

/* Nor do they stop it: while somebody decodes, each step reads a piece of a prompt. */
static void those_who_decode_do_not_stop_a_prompt(void **state)
{
    (void)state;
    client *talker = client_new(1, 10), *reader = client_new(2, 600);
    sched *s = open_held(2, talker, 200);
    submit(s, reader, 1);
    stub.hold = false;
    wait_done(reader);
    wait_done(talker);
    assert_int_equal(reader->steps[0] - reader->started_at, 600 / QUANTUM);
    assert_int_equal(stub.n_mixed, 600 / QUANTUM);
    client *all[] = { talker, reader };
    release_all(s, all, 2);
}

/* Alone, a prompt is read in large slices. */
static void a_prompt_alone_is_read_in_large_slices(void **state)
{
    (void)state;
    sched *s = open_sched(2);
    client *c = ask(s, 1, 1000, 1);
    assert_int_equal(stub.n_prefill_max, CHUNK);
    assert_int_equal(c->steps[0] - c->started_at, 1000 / CHUNK);
    end(s, c);
}

/* Prompts take turns: a short one waits for as many slices of each long one as it has itself. */
static void a_short_prompt_does_not_wait_for_long_ones(void **state)
{
    (void)state;
    client *a = client_new(1, 4000), *b = client_new(2, 4000), *short_one = client_new(3, 200);
    sched *s = open_held(3, a, 1);
    submit(s, b, 1);
    submit(s, short_one, 1);
    stub.hold = false;
    client *all[] = { short_one, a, b };
    for (size_t i = 0; i < 3; i++) {
        wait_done(all[i]);
        assert_right(all[i], 1);
    }
    assert_in_range(short_one->steps[0] - short_one->started_at, 200 / CHUNK, 3 * (200 / CHUNK));
    /* The long ones take turns, too: neither is done before the other has read nearly all. */
    const unsigned apart = a->steps[0] > b->steps[0] ? a->steps[0] - b->steps[0] : b->steps[0] - a->steps[0];
    assert_in_range(apart, 1, 3);
    assert_int_equal(stub.n_prefills_max, 1); /* one slice a step: decoding never waits for more */
    release_all(s, all, 3);
}

/* As many wait as the limit says, the next one is told so, and a place that becomes free is given again. */
static void a_queue_holds_as_many_as_it_may(void **state)
{
    (void)state;
    enum { SLOTS = 2, WAITING = 3, N = 8 };
    sched *s = NULL;
    sched_options o = sched_options_default();
    o.n_slots = SLOTS;
    o.max_queue = WAITING;
    assert_int_equal(sched_open(&s, stub_engine(), &o, NULL), DS4_OK);
    client *clients[N];
    stub.hold = true;
    for (size_t i = 0; i < N; i++) {
        clients[i] = client_new(20 + i, 50);
        const sched_request r = request_of(clients[i], 3);
        ds4_error err;
        const ds4_status status = sched_submit(s, &r, &clients[i]->ticket, &err);
        assert_int_equal(status, i < SLOTS + WAITING ? DS4_OK : DS4_ERR_NO_SPACE);
        if (status != DS4_OK) {
            assert_null(clients[i]->ticket);
            assert_non_null(strstr(err.text, "3 requests are waiting"));
        }
    }
    sched_metrics m;
    sched_get_metrics(s, &m);
    assert_int_equal(m.refused_total, N - SLOTS - WAITING);
    assert_int_equal(m.n_queued + m.n_running, SLOTS + WAITING);
    stub.hold = false;
    for (size_t i = 0; i < SLOTS + WAITING; i++) {
        wait_done(clients[i]);
        assert_right(clients[i], 3);
    }
    submit(s, clients[N - 1], 3);
    wait_done(clients[N - 1]);
    release_all(s, clients, N);
}

/* First come, first served. */
static void the_queue_keeps_its_order(void **state)
{
    (void)state;
    enum { N = 5 };
    client *clients[N];
    clients[0] = client_new(30, 50);
    sched *s = open_held(1, clients[0], 2);
    for (size_t i = 1; i < N; i++) {
        clients[i] = client_new(30 + i, 50);
        submit(s, clients[i], 2);
    }
    stub.hold = false;
    for (size_t i = 0; i < N; i++) {
        wait_done(clients[i]);
        assert_true(i == 0 || clients[i]->started_at >= clients[i - 1]->steps[1]);
    }
    release_all(s, clients, N);
}

/* What an earlier request left goes to the store before another conversation takes its slot, if it is long enough. */
static void a_displaced_state_is_saved(void **state)
{
    (void)state;
    const struct {
        uint32_t n_prompt;
        unsigned n_saved;
    } cases[] = { { 90, 1 }, { 64, 1 }, { 40, 0 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        stub_reset();
        stub.has_store = true;
        sched *s = open_sched(1);
        client *first = ask(s, 40, cases[i].n_prompt, 3), *second = ask(s, 41, 200, 3);
        assert_int_equal(stub.n_displaced, cases[i].n_saved);
        assert_int_equal(stub.displaced_at, cases[i].n_saved ? cases[i].n_prompt + 2 : 0);
        client_free(first);
        end(s, second);
    }
}

/* A conversation that goes on finds its own state, not the first free slot; a new one takes the state that was used least recently. */
static void the_right_state_is_displaced(void **state)
{
    (void)state;
    stub.has_store = true;
    sched *s = open_sched(3);
    for (uint32_t i = 0; i < 3; i++)
        client_free(ask(s, 50 + i, 80 + i, 3)); /* 50 is the oldest */
    client *again = ask(s, 50, 81, 3);          /* the prompt of 50, and one more token */
    assert_int_equal(again->result.source, SCHED_SOURCE_LIVE);
    assert_int_equal(again->result.n_cached, 80);
    client *fresh = ask(s, 60, 100, 3); /* displaces 51: 50 was just used */
    assert_int_equal(stub.displaced_at, 81 + 2);
    client_free(again);
    end(s, fresh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_prompt_that_is_read_stops_nobody_who_decodes, fresh_world),
        cmocka_unit_test_setup(those_who_decode_do_not_stop_a_prompt, fresh_world),
        cmocka_unit_test_setup(a_prompt_alone_is_read_in_large_slices, fresh_world),
        cmocka_unit_test_setup(a_short_prompt_does_not_wait_for_long_ones, fresh_world),
        cmocka_unit_test_setup(a_queue_holds_as_many_as_it_may, fresh_world),
        cmocka_unit_test_setup(the_queue_keeps_its_order, fresh_world),
        cmocka_unit_test_setup(a_displaced_state_is_saved, fresh_world),
        cmocka_unit_test_setup(the_right_state_is_displaced, fresh_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
