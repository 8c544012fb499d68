/* server/exchange.h - one request on one connection, from its first line to the end of its answer. All on the HTTP thread. */
#ifndef SERVER_EXCHANGE_H
#define SERVER_EXCHANGE_H

#include "server/upload.h"
#include "server/connections.h"
#include "server/intake.h"
#include "server/listener.h"
#include "server/metrics.h"
#include "server/watch.h"

/* Of the log lines about refused requests, so that they cannot fill a disk. HTTP thread only. */
typedef struct refusal_log {
    int64_t second; /* which one these are of */
    unsigned n, n_left_out;
} refusal_log;

typedef struct exchange exchange; /* one request */

/* What all exchanges share. */
typedef struct exchange_context {
    /* Constant. */
    const server_options *options;
    const completion_context *completions;
    listener listener;
    watch *watch;
    intake *short_bodies, *long_bodies;
    connections *connections;
    int64_t started_us;
    /* Any thread. */
    atomic_bool draining;
    metrics metrics;
    upload_sum long_sum;
    refusal_log refusals;
    exchange *heads; /* those that are not complete, the youngest first; HTTP thread only */
} exchange_context;

/* libmicrohttpd is about to refuse a request by itself, with this status. */
void exchange_on_library_refusal(exchange_context *s, unsigned status);

/* Callbacks for libmicrohttpd; `user` is the exchange_context. */
void *exchange_on_target(void *user, const char *target, struct MHD_Connection *connection);
enum MHD_Result exchange_on_request(void *user, struct MHD_Connection *connection, const char *path, const char *method,
                                    const char *version, const char *bytes, size_t *size, void **state);
void exchange_on_completed(void *user, struct MHD_Connection *connection, void **state,
                           enum MHD_RequestTerminationCode code);
void exchange_on_connection(void *user, struct MHD_Connection *connection, void **place,
                            enum MHD_ConnectionNotificationCode code);

#endif
