/* server/metrics.h - GET /metrics: Prometheus text 0.0.4. Names are stable: people build dashboards on them. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include "server/completion.h"

typedef enum endpoint {
    ENDPOINT_NONE, /* a path that we do not have */
    ENDPOINT_ROOT,
    ENDPOINT_CHAT,
    ENDPOINT_MODELS,
    ENDPOINT_MODEL,
    ENDPOINT_HEALTH,
    ENDPOINT_METRICS,
    ENDPOINTS
} endpoint;

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
/* Appends the page. `n_reading`: requests that are not tokenised yet. Any thread. */
ds4_status metrics_print(metrics *m, const completion_context *c, size_t n_reading, buffer *out);

#endif
