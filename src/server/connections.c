#include "server/connections.h"

#include "base/clock.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_S = 10, BODY_STEP = 256 * 1024, ADDRESS_SHARE = 4 };

/* In the order in which they make room for others; then BUSY, which never does. */
typedef enum stage { STAGE_IDLE, STAGE_HEAD, STAGE_BODY, STAGE_BUSY, STAGE_CUT, STAGES } stage;

struct connection_entry {
    connection_entry *next, *previous; /* of the list of its stage */
    stage stage;
    int fd;
    struct in6_addr address; /* IPv4 as ::ffff:a.b.c.d; zero: a loopback address */
    int64_t due_us;          /* unless BUSY or CUT */
    size_t n_body;           /* since due_us was set */
};

typedef struct list {
    connection_entry *head, *tail; /* by due_us */
    size_t n;
} list;

struct connections {
    /* Constant. */
    uint32_t n_max;
    int64_t head_us, wait_us;
    pthread_mutex_t lock; /* guards what follows; taken alone */
    list lists[STAGES];
    uint64_t n_cut[CUTS];
};

ds4_status connections_open(connections **out, uint32_t n_max, int64_t wait_us, ds4_error *err)
{
    connections *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    c->n_max = n_max;
    c->wait_us = wait_us;
    c->head_us = wait_us < HEAD_S * INT64_C(1000000) ? wait_us : HEAD_S * INT64_C(1000000);
    pthread_mutex_init(&c->lock, NULL);
    *out = c;
    return DS4_OK;
}

void connections_close(connections *c)
{
    if (!c)
        return;
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* --- lists: all with the lock held ----------------------------------------------------------------------------------------- */

static void leave(connections *c, connection_entry *e)
{
    list *l = &c->lists[e->stage];
    *(e->previous ? &e->previous->next : &l->head) = e->next;
    *(e->next ? &e->next->previous : &l->tail) = e->previous;
    l->n--;
}

static void enter(connections *c, connection_entry *e, stage to, int64_t due_us)
{
    list *l = &c->lists[to];
    e->stage = to;
    e->due_us = due_us;
    e->n_body = 0;
    e->next = NULL;
    e->previous = l->tail;
    *(l->tail ? &l->tail->next : &l->head) = e;
    l->tail = e;
    l->n++;
}

static void cut_off(connections *c, connection_entry *e, cut why)
{
    leave(c, e);
    enter(c, e, STAGE_CUT, 0);
    shutdown(e->fd, SHUT_RDWR); /* does not wait; (5) */
    c->n_cut[why]++;
}

static size_t n_open(const connections *c)
{
    size_t n = 0;
    for (stage s = STAGE_IDLE; s < STAGE_CUT; s++)
        n += c->lists[s].n;
    return n;
}

/* The connection that makes room for another, of `address` if that is not NULL. NULL: all are BUSY. */
static connection_entry *first_to_go(const connections *c, const struct in6_addr *address)
{
    for (stage s = STAGE_IDLE; s < STAGE_BUSY; s++)
        for (connection_entry *e = c->lists[s].head; e; e = e->next)
            if (!address || memcmp(&e->address, address, sizeof *address) == 0)
                return e;
    return NULL;
}

static size_t n_of_address(const connections *c, const struct in6_addr *address)
{
    size_t n = 0;
    for (stage s = STAGE_IDLE; s < STAGE_CUT; s++)
        for (const connection_entry *e = c->lists[s].head; e; e = e->next)
            n += memcmp(&e->address, address, sizeof *address) == 0;
    return n;
}

/* --- connections come and go ----------------------------------------------------------------------------------------------- */

/* Zero for loopback and for what is no internet address. Of IPv6 the first 64 bits: a client may use all addresses of its network. */
static struct in6_addr address_of(const struct sockaddr *address)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    struct in6_addr out = { 0 };
    uint8_t bytes[16] = { 0 };
    if (address && address->sa_family == AF_INET) {
        memcpy(bytes, mapped, sizeof mapped);
        memcpy(bytes + 12, (const uint8_t *)address + offsetof(struct sockaddr_in, sin_addr), 4);
    } else if (address && address->sa_family == AF_INET6) {
        memcpy(bytes, (const uint8_t *)address + offsetof(struct sockaddr_in6, sin6_addr), 16);
    }
    const bool is_v4 = memcmp(bytes, mapped, sizeof mapped) == 0;
    const bool loopback = is_v4 ? bytes[12] == 127 : memcmp(bytes, &in6addr_loopback, sizeof bytes) == 0;
    if (!loopback)
        memcpy(&out, bytes, is_v4 ? 16 : 8);
    return out;
}

/* Is there room for `e`, which is not in a list yet? Makes it, if it can. */
static bool make_room(connections *c, const connection_entry *e, cut *why)
{
    static const struct in6_addr loopback = { 0 };
    const size_t share = c->n_max / ADDRESS_SHARE ? c->n_max / ADDRESS_SHARE : 1;
    connection_entry *other = NULL;
    *why = CUT_ADDRESS;
    if (memcmp(&e->address, &loopback, sizeof loopback) != 0 && n_of_address(c, &e->address) >= share) { /* (3) */
        other = first_to_go(c, &e->address);
        if (!other)
            return false;
        cut_off(c, other, *why);
    }
    *why = CUT_FULL;
    if (n_open(c) >= c->n_max + CONNECTIONS_RESERVE) { /* (2) */
        other = first_to_go(c, NULL);
        if (!other)
            return false;
        cut_off(c, other, *why);
    }
    return true;
}

connection_entry *connections_add(connections *c, int fd, const struct sockaddr *address)
{
    cut why;
    connection_entry *e = calloc(1, sizeof *e);
    if (!e) {
        shutdown(fd, SHUT_RDWR);
        return NULL;
    }
    e->fd = fd;
    e->address = address_of(address);
    pthread_mutex_lock(&c->lock);
    const bool room = make_room(c, e, &why);
    enter(c, e, STAGE_HEAD, clock_monotonic_us() + c->head_us);
    if (!room)
        cut_off(c, e, why);
    pthread_mutex_unlock(&c->lock);
    return e;
}

void connections_remove(connections *c, connection_entry *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&c->lock);
    leave(c, e);
    pthread_mutex_unlock(&c->lock);
    free(e);
}

/* With the lock held. */
static void move_now(connections *c, connection_entry *e, stage to)
{
    if (e->stage == STAGE_CUT)
        return;
    leave(c, e);
    enter(c, e, to, clock_monotonic_us() + c->wait_us);
}

static void move(connections *c, connection_entry *e, stage to)
{
    if (!e)
        return;
    pthread_mutex_lock(&c->lock);
    move_now(c, e, to);
    pthread_mutex_unlock(&c->lock);
}

void connections_head(connections *c, connection_entry *e)
{
    move(c, e, STAGE_BODY);
}

bool connections_busy(connections *c, connection_entry *e)
{
    if (!e)
        return true;
    pthread_mutex_lock(&c->lock);
    const bool may = e->stage >= STAGE_BUSY || c->lists[STAGE_BUSY].n < c->n_max; /* (4) */
    if (may)
        move_now(c, e, STAGE_BUSY);
    pthread_mutex_unlock(&c->lock);
    return may;
}

void connections_page(connections *c, connection_entry *e)
{
    move(c, e, STAGE_BODY);
}

void connections_idle(connections *c, connection_entry *e)
{
    move(c, e, STAGE_IDLE);
}

void connections_body(connections *c, connection_entry *e, size_t n_bytes)
{
    if (!e)
        return;
    pthread_mutex_lock(&c->lock);
    e->n_body += n_bytes;
    if (e->n_body >= BODY_STEP)
        move_now(c, e, STAGE_BODY);
    pthread_mutex_unlock(&c->lock);
}

bool connections_full(connections *c)
{
    pthread_mutex_lock(&c->lock);
    const bool full = c->lists[STAGE_BUSY].n >= c->n_max;
    pthread_mutex_unlock(&c->lock);
    return full;
}

void connections_expire(connections *c, int64_t now_us)
{
    static const cut why[] = { [STAGE_IDLE] = CUT_IDLE, [STAGE_HEAD] = CUT_HEAD, [STAGE_BODY] = CUT_BODY };
    pthread_mutex_lock(&c->lock);
    for (stage s = STAGE_IDLE; s < STAGE_BUSY; s++)
        while (c->lists[s].head && c->lists[s].head->due_us <= now_us)
            cut_off(c, c->lists[s].head, why[s]);
    pthread_mutex_unlock(&c->lock);
}

void connections_count(connections *c, connections_counts *out)
{
    pthread_mutex_lock(&c->lock);
    out->n_open = n_open(c);
    memcpy(out->n_cut, c->n_cut, sizeof out->n_cut);
    pthread_mutex_unlock(&c->lock);
}

const char *cut_word(cut why)
{
    static const char *const words[CUTS] = {
        [CUT_HEAD] = "head", [CUT_BODY] = "body", [CUT_IDLE] = "idle", [CUT_FULL] = "full", [CUT_ADDRESS] = "address"
    };
    return words[why];
}
