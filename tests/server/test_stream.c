/* The way of an answer to its connection: every byte once and in order, one resume for one suspend, an end for all who hold it.
 * The HTTP library and the scheduler are doubles that count. */
#include "server/stream.h"
#include "support/memory_fuse.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

static struct {
    unsigned n_suspended, n_resumed, n_cancelled, n_released, n_freed;
    bool is_suspended;
} world;

static struct MHD_Connection *const connection = (struct MHD_Connection *)&world;

void MHD_suspend_connection(struct MHD_Connection *c)
{
    assert_ptr_equal(c, connection);
    assert_false(world.is_suspended);
    world.is_suspended = true;
    world.n_suspended++;
}

void MHD_resume_connection(struct MHD_Connection *c)
{
    assert_ptr_equal(c, connection);
    assert_true(world.is_suspended);
    world.is_suspended = false;
    world.n_resumed++;
}

const union MHD_ConnectionInfo *MHD_get_connection_info(struct MHD_Connection *c, enum MHD_ConnectionInfoType type, ...)
{
    (void)c, (void)type;
    return NULL;
}

void sched_cancel(sched_ticket *ticket)
{
    assert_non_null(ticket);
    world.n_cancelled++;
}

void sched_ticket_release(sched_ticket *ticket)
{
    world.n_released += ticket != NULL;
}

static void free_owner(void *owner)
{
    assert_ptr_equal(owner, &world);
    world.n_freed++;
}

static sched_ticket *const ticket = (sched_ticket *)&world;

static int fresh_world(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    return 0;
}

static stream *attached(size_t output_max, bool events)
{
    stream *st = stream_new(output_max, &world, free_owner);
    assert_non_null(st);
    stream_attach(st, connection);
    stream_prepared(st, events);
    return st;
}

static void assert_reads(stream *st, const char *want)
{
    char out[64];
    const ssize_t n = stream_read(st, 0, out, sizeof out);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(out, want, (size_t)n);
}

static void bytes_come_once_and_in_order(void **state)
{
    char got[2000] = "", want[2000] = "";
    size_t n_got = 0, n_want = 0;
    test_random r = test_random_seeded(1);
    stream *st = attached(1 << 16, true);
    (void)state;
    while (n_want < 1900) {
        char piece[12];
        const size_t n = 1 + test_random_below(&r, sizeof piece);
        for (size_t i = 0; i < n; i++)
            want[n_want++] = piece[i] = (char)('a' + test_random_below(&r, 26));
        assert_true(stream_write(st, (slice){ piece, n }));
        while (n_got < n_want && test_random_below(&r, 3))
            n_got += (size_t)stream_read(st, n_got, got + n_got, 1 + test_random_below(&r, 9));
    }
    stream_end(st);
    while (n_got < n_want)
        n_got += (size_t)stream_read(st, n_got, got + n_got, 7);
    assert_int_equal(stream_read(st, n_got, got, 1), MHD_CONTENT_READER_END_OF_STREAM);
    assert_memory_equal(got, want, n_want);
    assert_false(stream_write(st, SLICE("late")) && stream_read(st, n_got, got, 1) > 0);
    stream_drop(st);
    assert_int_equal(world.n_freed, 1);
}

/* A reader that finds nothing is suspended, and resumed once by what comes next. */
static void a_write_wakes_a_reader_once(void **state)
{
    char out[8];
    stream *st = attached(1 << 16, true);
    (void)state;
    assert_int_equal(stream_read(st, 0, out, sizeof out), 0);
    assert_int_equal(world.n_suspended, 1);
    stream_write(st, SLICE("a"));
    stream_write(st, SLICE("b"));
    assert_int_equal(world.n_resumed, 1);
    assert_reads(st, "ab");
    assert_int_equal(stream_read(st, 0, out, sizeof out), 0);
    stream_end(st);
    assert_int_equal(world.n_resumed, 2);
    assert_int_equal(stream_read(st, 0, out, sizeof out), MHD_CONTENT_READER_END_OF_STREAM);
    stream_drop(st);
}

/* A body is not sent before it is whole. */
static void a_body_wakes_its_reader_at_its_end(void **state)
{
    stream *st = attached(1 << 16, false);
    (void)state;
    assert_false(stream_ended_or_suspend(st));
    assert_false(stream_ended_or_suspend(st)); /* asked again while suspended */
    assert_int_equal(world.n_suspended, 1);
    stream_write(st, SLICE("half"));
    assert_int_equal(world.n_resumed, 0);
    stream_end(st);
    assert_int_equal(world.n_resumed, 1);
    assert_true(stream_ended_or_suspend(st));
    assert_reads(st, "half");
    stream_drop(st);
}

static void a_request_is_waited_for(void **state)
{
    stream *st = stream_new(10, &world, free_owner);
    (void)state;
    stream_attach(st, connection);
    assert_false(stream_prepared_or_suspend(st));
    stream_prepared(st, true);
    assert_int_equal(world.n_resumed, 1);
    assert_true(stream_prepared_or_suspend(st) && st->events);
    stream_drop(st);
}

/* (5) Unread output beyond the bound: the reader counts as gone and its request is cancelled, once. */
static void a_reader_that_does_not_read_is_gone(void **state)
{
    char out[8];
    stream *st = attached(10, true);
    (void)state;
    stream_set_ticket(st, ticket);
    assert_int_equal(stream_read(st, 0, out, sizeof out), 0);
    assert_true(stream_write(st, SLICE("0123456789")));
    assert_reads(st, "0123456789");
    assert_true(stream_write(st, SLICE("0123456789"))); /* what was read leaves room */
    assert_false(stream_write(st, SLICE("x")));
    assert_true(stream_is_gone(st));
    assert_false(stream_write(st, SLICE("x")));
    assert_int_equal(stream_read(st, 0, out, sizeof out), MHD_CONTENT_READER_END_WITH_ERROR);
    assert_false(stream_abandon(st)); /* known */
    assert_int_equal(world.n_cancelled, 1);
    stream_end(st);
    stream_drop(st);
    assert_int_equal(world.n_released, 1);
}

/* Who goes before the request has its ticket is cancelled as soon as it has; who goes after the end cancels nothing. */
static void a_client_that_goes_cancels_its_request(void **state)
{
    stream *st = attached(10, true);
    (void)state;
    assert_true(stream_abandon(st));
    assert_int_equal(world.n_cancelled, 0);
    stream_set_ticket(st, ticket);
    assert_int_equal(world.n_cancelled, 1);
    stream_drop(st);
    st = attached(10, true);
    stream_set_ticket(st, ticket);
    stream_end(st);
    stream_abandon(st);
    assert_int_equal(world.n_cancelled, 1);
    stream_drop(st);
}

/* (2) Nothing touches a connection after its end; going wakes one that waits. */
static void an_ended_connection_is_left_alone(void **state)
{
    char out[8];
    stream *st = attached(10, true);
    (void)state;
    assert_int_equal(stream_read(st, 0, out, sizeof out), 0);
    stream_detach(st);
    stream_write(st, SLICE("x"));
    stream_end(st);
    stream_abandon(st);
    assert_int_equal(world.n_resumed, 0);
    stream_drop(st);
    fresh_world(NULL);
    st = attached(10, true);
    assert_int_equal(stream_read(st, 0, out, sizeof out), 0);
    stream_abandon(st);
    assert_int_equal(world.n_resumed, 1);
    stream_drop(st);
}

/* (3) The last one who leaves frees it, with the owner and the ticket. */
static void the_last_reference_frees(void **state)
{
    stream *st = attached(10, true);
    (void)state;
    stream_set_ticket(st, ticket);
    assert_ptr_equal(stream_hold(st), st);
    stream_drop(st);
    assert_int_equal(world.n_freed + world.n_released, 0);
    stream_drop(st);
    assert_int_equal(world.n_freed, 1);
    assert_int_equal(world.n_released, 1);
    stream_drop(NULL);
}

/* Without memory there is no stream, and the owner goes; what cannot be kept cuts the client off. */
static void memory_may_run_out(void **state)
{
    (void)state;
    if (!MEMORY_FUSE)
        skip();
    memory_fuse_set(1, false);
    stream *st = stream_new(10, &world, free_owner);
    assert_true(memory_fuse_clear());
    assert_null(st);
    assert_int_equal(world.n_freed, 1);
    st = attached(1 << 16, true);
    memory_fuse_set(1, false);
    const bool here = stream_write(st, SLICE("x"));
    assert_true(memory_fuse_clear());
    assert_false(here);
    assert_true(stream_is_gone(st));
    stream_drop(st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(bytes_come_once_and_in_order, fresh_world),
        cmocka_unit_test_setup(a_write_wakes_a_reader_once, fresh_world),
        cmocka_unit_test_setup(a_body_wakes_its_reader_at_its_end, fresh_world),
        cmocka_unit_test_setup(a_request_is_waited_for, fresh_world),
        cmocka_unit_test_setup(a_reader_that_does_not_read_is_gone, fresh_world),
        cmocka_unit_test_setup(a_client_that_goes_cancels_its_request, fresh_world),
        cmocka_unit_test_setup(an_ended_connection_is_left_alone, fresh_world),
        cmocka_unit_test_setup(the_last_reference_frees, fresh_world),
        cmocka_unit_test_setup(memory_may_run_out, fresh_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
