/* Who has to go when others come: promises (1) to (4) of connections.h, on socket pairs. */
#include "base/clock.h"
#include "server/connections.h"
#include "support/support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

enum { MAX = 8, ALL = MAX + CONNECTIONS_RESERVE, SECOND = 1000000, WAIT = 60 * SECOND, PEERS = 128 };

typedef struct peer {
    int ours, theirs;
    connection_entry *entry;
} peer;

static connections *list;
static peer peers[PEERS];
static size_t n_peers;

static int set_up(void **state)
{
    (void)state;
    n_peers = 0;
    return connections_open(&list, MAX, WAIT, NULL) == DS4_OK ? 0 : -1;
}

static void leave(peer *p)
{
    if (p->ours >= 0) {
        connections_remove(list, p->entry);
        close(p->ours);
        close(p->theirs);
    }
    p->ours = -1;
}

static int tear_down(void **state)
{
    connections_counts n;
    (void)state;
    for (size_t i = 0; i < n_peers; i++)
        leave(&peers[i]);
    connections_count(list, &n);
    const bool empty = n.n_open == 0;
    connections_close(list);
    return empty ? 0 : -1;
}

static peer *come(const char *address)
{
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    int pair[2];
    assert_true(n_peers < PEERS);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    peer *p = &peers[n_peers++];
    *p = (peer){ .ours = pair[0], .theirs = pair[1] };
    if (inet_pton(AF_INET, address, &v4.sin_addr) == 1) {
        p->entry = connections_add(list, pair[0], (const struct sockaddr *)(const void *)&v4);
    } else {
        assert_int_equal(inet_pton(AF_INET6, address, &v6.sin6_addr), 1);
        p->entry = connections_add(list, pair[0], (const struct sockaddr *)(const void *)&v6);
    }
    assert_non_null(p->entry);
    return p;
}

static bool is_cut(const peer *p)
{
    char byte;
    return recv(p->theirs, &byte, 1, MSG_DONTWAIT) == 0;
}

static uint64_t n_cut(cut why)
{
    connections_counts n;
    connections_count(list, &n);
    return n.n_cut[why];
}

/* (2) Any number of clients that never finish a head, and one that does. */
static void a_client_that_asks_is_not_kept_out_by_clients_that_do_not(void **state)
{
    (void)state;
    peer *good = come("127.0.0.1");
    connections_head(list, good->entry);
    connections_busy(list, good->entry);
    for (int i = 0; i < 3 * ALL; i++)
        assert_false(is_cut(come("127.0.0.1")));
    assert_false(is_cut(good));
    assert_int_equal(n_cut(CUT_FULL), 2 * ALL + 1);
    for (size_t i = 1; i < n_peers; i++)
        assert_int_equal(is_cut(&peers[i]), i <= 2 * ALL + 1); /* the oldest first */
    assert_false(connections_full(list));
}

/* (2) */
static void idle_connections_make_room_first_then_heads_then_bodies(void **state)
{
    (void)state;
    peer *body = come("127.0.0.1"), *idle = NULL, *first_head = NULL;
    connections_head(list, body->entry);
    first_head = come("127.0.0.1");
    for (int i = 0; i < ALL - 3; i++)
        come("127.0.0.1");
    idle = come("127.0.0.1");
    connections_head(list, idle->entry);
    connections_busy(list, idle->entry);
    connections_idle(list, idle->entry);
    come("127.0.0.1");
    assert_true(is_cut(idle));
    assert_false(is_cut(first_head));
    come("127.0.0.1");
    assert_true(is_cut(first_head));
    assert_false(is_cut(body));
    for (size_t i = 0; i < n_peers; i++) /* now no head is missing */
        connections_head(list, peers[i].entry);
    peer *refused = &peers[n_peers - 1];
    assert_true(connections_busy(list, refused->entry));
    connections_head(list, come("127.0.0.1")->entry);
    assert_true(is_cut(body));
    for (int i = 0; i < 2 * ALL; i++)
        connections_head(list, come("127.0.0.1")->entry);
    assert_false(is_cut(refused));
    connections_page(list, refused->entry); /* refused after all: it may go like one that is not complete */
    for (int i = 0; i < ALL; i++)
        connections_head(list, come("127.0.0.1")->entry);
    assert_true(is_cut(refused));
}

/* (4) All heads come before any body is complete, so none of them is refused at its head. */
static void busy_connections_are_never_cut_and_leave_a_reserve(void **state)
{
    (void)state;
    for (int i = 0; i < ALL; i++) {
        connections_head(list, come("127.0.0.1")->entry);
        assert_false(connections_full(list));
    }
    for (int i = 0; i < ALL; i++) {
        assert_int_equal(connections_busy(list, peers[i].entry), i < MAX);
        assert_int_equal(connections_full(list), i + 1 >= MAX);
    }
    assert_true(connections_busy(list, peers[0].entry)); /* it is one of them */
    assert_false(is_cut(come("127.0.0.1")));
    assert_true(is_cut(&peers[MAX])); /* which was refused */
    connections_expire(list, clock_monotonic_us() + 10 * (int64_t)WAIT);
    for (size_t i = 0; i < n_peers; i++)
        assert_int_equal(is_cut(&peers[i]), i >= MAX);
    leave(&peers[0]);
    assert_false(connections_full(list));
}

/* (3) */
static void an_address_has_a_quarter_unless_it_is_loopback(void **state)
{
    (void)state;
    peer *a = come("192.168.1.1"), *b = come("::ffff:192.168.1.1"), *other = come("192.168.1.2");
    assert_false(is_cut(a) || is_cut(b));
    peer *c = come("192.168.1.1");
    assert_true(is_cut(a));
    assert_false(is_cut(b) || is_cut(c) || is_cut(other));
    connections_head(list, b->entry), connections_busy(list, b->entry);
    connections_head(list, c->entry), connections_busy(list, c->entry);
    assert_true(is_cut(come("192.168.1.1")));
    assert_int_equal(n_cut(CUT_ADDRESS), 2);
    /* One network of IPv6 is one client. */
    peer *v6 = come("2001:db8::1"), *same = come("2001:db8::2"), *far = come("2001:db8:0:1::1");
    come("2001:db8::3");
    assert_true(is_cut(v6));
    assert_false(is_cut(same) || is_cut(far));
    for (int i = 0; i < 2; i++)
        come(i ? "::1" : "127.9.9.9");
    assert_int_equal(n_cut(CUT_ADDRESS), 3);
}

/* (1) */
static void what_is_late_is_cut_off(void **state)
{
    (void)state;
    const int64_t begin_us = clock_monotonic_us();
    peer *head = come("127.0.0.1"), *body = come("127.0.0.1"), *fast = come("127.0.0.1"), *idle = come("127.0.0.1");
    connections_head(list, body->entry);
    connections_head(list, fast->entry);
    connections_idle(list, idle->entry);
    connections_expire(list, begin_us + 9 * SECOND);
    assert_false(is_cut(head));
    connections_expire(list, clock_monotonic_us() + 10 * SECOND + 1);
    assert_true(is_cut(head));
    assert_false(is_cut(body) || is_cut(fast) || is_cut(idle));
    /* Bytes alone do not buy time; enough of them do. */
    while (clock_monotonic_us() < begin_us + 2000)
        clock_sleep_us(1000);
    const int64_t later_us = clock_monotonic_us();
    connections_body(list, body->entry, 1000);
    connections_body(list, fast->entry, 200000);
    connections_body(list, fast->entry, 200000);
    connections_expire(list, later_us + WAIT - 1);
    assert_true(is_cut(body) && is_cut(idle));
    assert_false(is_cut(fast));
    connections_expire(list, clock_monotonic_us() + WAIT + 1);
    assert_true(is_cut(fast));
    assert_int_equal(n_cut(CUT_HEAD), 1);
    assert_int_equal(n_cut(CUT_IDLE), 1);
    assert_int_equal(n_cut(CUT_BODY), 2);
    /* What was cut off stays so, whatever libmicrohttpd still says of it. */
    connections_busy(list, fast->entry);
    connections_body(list, fast->entry, 1 << 20);
    connections_counts n;
    connections_count(list, &n);
    assert_int_equal(n.n_open, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_client_that_asks_is_not_kept_out_by_clients_that_do_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(idle_connections_make_room_first_then_heads_then_bodies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(busy_connections_are_never_cut_and_leave_a_reserve, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_address_has_a_quarter_unless_it_is_loopback, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_late_is_cut_off, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
