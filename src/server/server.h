/* server/server.h - the public header of the HTTP module: a listening socket, a chat dialect behind it, and an orderly end.
 * What clients see: docs/http-api.md.
 *
 * Threads: libmicrohttpd runs one thread for all connections; a second thread watches for clients that went away.
 * Callbacks of the scheduler fill output queues on the engine thread and never wait. The calls below may be made from
 * any one thread. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "chat/chat.h"
#include "engine/engine.h"
#include "sched/sched.h"

typedef struct server server;

typedef enum server_heartbeat {
    SERVER_HEARTBEAT_OFF,
    SERVER_HEARTBEAT_COMMENTS,
    SERVER_HEARTBEAT_EVENTS
} server_heartbeat;

/* As think_budget: reasoning has no limit. */
#define SERVER_NO_BUDGET UINT32_MAX

/* All strings and lists are borrowed until server_close(). */
typedef struct server_options {
    const char *host; /* address or name to bind; the first address it resolves to */
    uint16_t port;    /* 0: any free one; server_port() tells which */
    bool cors;
    const char *const *api_keys; /* [n_api_keys]; none: no authentication */
    size_t n_api_keys;
    const char *const *allowed_hosts; /* [n_allowed_hosts] more names for the Host header when bound to loopback */
    size_t n_allowed_hosts;
    const char *const *model_names; /* [n_model_names] aliases of the model */
    size_t n_model_names;
    bool strict_model;        /* unknown model names are 404 */
    uint32_t connections_max; /* limits: server/connections.h */
    uint64_t body_bytes_max;  /* of a request; longer is 413 */
    uint32_t
        write_timeout_s; /* a client that reads nothing for so long is gone; also the limit for sending a request */
    uint64_t output_bytes_max; /* unread output of one stream; more means the reader is gone */
    server_heartbeat heartbeat;
    int64_t comment_us, event_us; /* silence before a comment, an empty event (docs/spec/protocol.md, section 4.12) */
    /* What requests leave open. */
    chat_profile profile;
    bool nothink;         /* thinking is off unless a request asks for it */
    const char *effort;   /* default effort word, or NULL */
    uint32_t max_tokens;  /* -n */
    uint32_t max_min_ctx; /* effort max needs a context of this size; 0: no gate (--think-max-min-ctx) */
    bool honor_sampling;  /* client sampling also in thinking mode (docs/spec/protocol.md, section 5.2) */
    bool no_grammar;      /* structure of tool blocks is not bound to their grammar (protocol.md, section 3.2) */
    bool tool_repair; /* tool blocks of ordinary text are read, too, and calls of undeclared tools passed on (3.4) */
    uint32_t think_budget;  /* of requests that name none; 0: automatic (docs/http-api.md) */
    uint32_t reply_reserve; /* --hard-limit-reply-budget: reasoning is closed when this much of max_tokens is left */
} server_options;

server_options server_options_default(void);

/* Binds, listens, and answers from now on. `e` and `s` must outlive it.
 * Errors: ARGUMENT (host cannot be resolved), IO (port in use, no permission), NO_MEMORY; the text says what to do. */
ds4_status server_open(server **out, engine *e, sched *s, const server_options *options, ds4_error *err);

uint16_t server_port(const server *s);
/* Where it is reached: "http://127.0.0.1:8000", "http://[::1]:8000". */
void server_url(const server *s, char *out, size_t size);

/* Stops accepting, answers new requests on open connections with 503, lets running ones end by themselves, cuts them
 * after grace_us with an error event, and waits until what was written has been sent (at most two seconds more). The
 * scheduler is drained when it returns. */
void server_drain(server *s, int64_t grace_us);

/* Closes every connection and frees. Call server_drain() first; the scheduler must still be open. NULL is fine. */
void server_close(server *s);

#endif
