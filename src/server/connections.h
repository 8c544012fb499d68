/* server/connections.h - who is connected, and whose request is still incomplete. Connections that never finish a request must not
 * keep others out.
 *
 *                  connections_add()
 *                      |
 *                    HEAD ---- connections_head() ----> BODY     or a page, or a refusal, is sent
 *                      ^                                |  ^
 *                      |                 connections_busy()  connections_page()
 *   the next request, or none                           v  |
 *                    IDLE <--- connections_idle() ----- BUSY     a completion; never cut off here
 *
 * Promises
 * (1) A head is complete within HEAD_S seconds of the connection's begin, the head of a later request within --write-timeout
 *     seconds of the answer before it; of a body come BODY_STEP bytes, or its end, in each --write-timeout seconds; a page or a
 *     refusal is read in that time. What is late is cut off.
 * (2) There are at most --max-connections connections and CONNECTIONS_RESERVE more. One more cuts off another that is not BUSY: an
 *     idle one, else the one that has waited longest for its head, else for its body. So a client that sends its request at once is
 *     not kept out by any number of clients that do not.
 * (3) Of one address there are at most a quarter of them; one more cuts off another of the same address in the same way. Loopback
 *     addresses are exempt: a proxy and all local programs share them.
 * (4) At most --max-connections are BUSY: the reserve is for /health and /metrics. connections_full() says so before a body is
 *     received, connections_busy() after that, when others may have become BUSY meanwhile.
 * (5) A connection is cut off by shutdown() of its socket, under `lock`; libmicrohttpd then ends it and calls
 *     connections_remove() before it closes the socket. So no descriptor is touched that may belong to another connection. */
#ifndef SERVER_CONNECTIONS_H
#define SERVER_CONNECTIONS_H

#include "ds4/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { CONNECTIONS_RESERVE = 16 };

typedef struct connections connections;
typedef struct connection_entry connection_entry; /* one connection, from add to remove */

/* Why a connection was cut off. */
typedef enum cut { CUT_HEAD, CUT_BODY, CUT_IDLE, CUT_FULL, CUT_ADDRESS, CUTS } cut;

/* n_max: --max-connections; wait_us: --write-timeout. */
ds4_status connections_open(connections **out, uint32_t n_max, int64_t wait_us, ds4_error *err);
void connections_close(connections *c); /* NULL is fine; all must have been removed */

/* HTTP thread. `fd` stays open until connections_remove(). NULL: no memory, the connection is cut off. */
connection_entry *connections_add(connections *c, int fd, const struct sockaddr *address);
void connections_remove(connections *c, connection_entry *e); /* NULL is fine */
/* HTTP thread; `e` may be NULL. The head of a request is complete; so many bytes of its body came; it is a completion, and complete
 * (false: too many are BUSY, refuse it); it is refused after all; it was answered. */
void connections_head(connections *c, connection_entry *e);
void connections_body(connections *c, connection_entry *e, size_t n_bytes);
bool connections_busy(connections *c, connection_entry *e);
void connections_page(connections *c, connection_entry *e);
void connections_idle(connections *c, connection_entry *e);
bool connections_full(connections *c);

/* Any thread, about once a second: cuts off what is late. */
void connections_expire(connections *c, int64_t now_us);

typedef struct connections_counts {
    size_t n_open;
    uint64_t n_cut[CUTS];
} connections_counts;

void connections_count(connections *c, connections_counts *out);
const char *cut_word(cut why);

#endif
