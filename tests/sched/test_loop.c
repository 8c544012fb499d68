/* Answers that repeat themselves are told from those that only seem to. */
#include "sched/loop.h"
#include "sched/stub_client.h"
#include "support/support.h"

#include <stdlib.h>

enum { LEAST = 1024 };

/* Feeds n tokens one by one; the number of tokens after which a loop is found, or 0. */
static size_t fed(const uint32_t *ids, size_t n, uint32_t n_least, uint32_t *period)
{
    loop_guard *g = calloc(1, sizeof *g);
    size_t found = 0;
    for (size_t i = 1; i <= n && !found; i++) {
        *period = loop_note(g, ids, i, n_least);
        found = *period ? i : 0;
    }
    free(g);
    return found;
}

/* Whatever was said before, a piece of p tokens is found after 16 times and 1,024 tokens, not one token earlier. */
static void a_repeating_tail_is_found(void **state)
{
    (void)state;
    enum { N = 20000, BEFORE = 700 };
    const uint32_t periods[] = { 1, 2, 3, 63, 64, 65, 511, LOOP_PERIOD_MAX };
    uint32_t *ids = malloc(N * sizeof *ids);
    for (size_t i = 0; i < sizeof periods / sizeof periods[0]; i++) {
        const uint32_t p = periods[i];
        uint32_t period = 0;
        for (uint32_t k = 0; k < N; k++)
            ids[k] = k < BEFORE ? 1000000 + k : 5 + (k - BEFORE) % p;
        const size_t want = BEFORE + (p * 16 > LEAST ? p * 16 : LEAST);
        assert_int_equal(fed(ids, N, LEAST, &period), want);
        assert_int_equal(period, p);
        assert_int_equal(fed(ids, N, UINT32_MAX, &period), 0); /* turned off */
    }
    free(ids);
}

static void what_changes_is_no_loop(void **state)
{
    (void)state;
    enum { N = 40000 };
    uint32_t *ids = malloc(N * sizeof *ids), period = 0;
    test_random r = test_random_seeded(9);
    for (uint32_t k = 0; k < N; k++)
        ids[k] = test_random_below(&r, 2); /* many repetitions, none for long */
    assert_int_equal(fed(ids, N, LEAST, &period), 0);
    for (uint32_t k = 0; k < N; k++)
        ids[k] = k % 10 == 9 ? k / 10 : k % 10; /* numbered lines */
    assert_int_equal(fed(ids, N, LEAST, &period), 0);
    for (uint32_t k = 0; k < N; k++)
        ids[k] = k % 1000 == 999 ? k : 7; /* long runs, each with an end */
    assert_int_equal(fed(ids, N, LEAST, &period), 0);
    for (uint32_t k = 0; k < N; k++)
        ids[k] = k % (LOOP_PERIOD_MAX + 1); /* a piece that is too long to be looked for */
    assert_int_equal(fed(ids, N, LEAST, &period), 0);
    free(ids);
}

static sched *open_guarded(uint32_t n_tokens)
{
    sched *s = NULL;
    sched_options o = sched_options_default();
    o.loop_tokens = n_tokens;
    assert_int_equal(sched_open(&s, stub_engine(), &o, NULL), DS4_OK);
    return s;
}

/* The request ends with the reason and the length of the piece. The prompt does not count: a user may repeat himself. */
static void the_scheduler_ends_a_loop(void **state)
{
    (void)state;
    sched *s = open_guarded(100);
    client *c = client_new(1, 300);
    c->only = 7;
    for (uint32_t i = 0; i < c->n_prompt; i++)
        c->prompt[i] = 7;
    submit(s, c, OUT_MAX);
    wait_done(c);
    assert_int_equal(c->result.finish, SCHED_FINISH_LOOP);
    assert_int_equal(c->result.loop_period, 1);
    assert_int_equal(c->n_out, 100);
    sched_metrics m;
    sched_get_metrics(s, &m);
    assert_int_equal(m.loops_total, 1);
    assert_int_equal(m.finished_total, 1);
    end(s, c);
}

/* The token that completes a loop may also be the last one that was asked for. Then that is the reason, and the only one. */
static void a_request_that_ends_otherwise_reports_no_loop(void **state)
{
    (void)state;
    sched *s = open_guarded(100);
    client *c = client_new(1, 30);
    c->only = 7;
    submit(s, c, 100);
    wait_done(c);
    assert_int_equal(c->result.finish, SCHED_FINISH_LENGTH);
    assert_int_equal(c->n_out, 100);
    assert_int_equal(c->result.loop_period, 0);
    end(s, c);
}

static void the_guard_can_be_turned_off(void **state)
{
    (void)state;
    sched *s = open_guarded(UINT32_MAX);
    client *c = client_new(1, 30);
    c->only = 7;
    submit(s, c, 400);
    wait_done(c);
    assert_int_equal(c->result.finish, SCHED_FINISH_LENGTH);
    assert_int_equal(c->result.loop_period, 0);
    end(s, c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_repeating_tail_is_found, fresh_world),
        cmocka_unit_test_setup(what_changes_is_no_loop, fresh_world),
        cmocka_unit_test_setup(the_scheduler_ends_a_loop, fresh_world),
        cmocka_unit_test_setup(a_request_that_ends_otherwise_reports_no_loop, fresh_world),
        cmocka_unit_test_setup(the_guard_can_be_turned_off, fresh_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
