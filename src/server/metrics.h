/* server/metrics.h - GET /metrics: Prometheus text 0.0.4. Names are stable: people build dashboards on them. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include "server/completion.h"
#include "server/connections.h"
#include "server/routes.h"

enum { STATUSES = 13 };

/* What the server counts; atomic. */
typedef struct metrics {
    _Atomic uint64_t requests[ENDPOINTS][STATUSES];
    _Atomic uint64_t disconnected;
    _Atomic uint64_t escapes;      /* completion_context.n_escapes */
    _Atomic uint64_t broken_calls; /* completion_context.n_broken_calls */
} metrics;

/* One answer. Any thread. */
void metrics_count(metrics *m, endpoint where, int status);
/* What the HTTP side is doing. */
typedef struct metrics_now {
    size_t n_reading; /* requests that are not tokenised yet */
    size_t long_body_bytes;
    connections_counts connections;
} metrics_now;

/* Appends the page. Any thread. */
ds4_status metrics_print(metrics *m, const completion_context *c, const metrics_now *now, buffer *out);

#endif
