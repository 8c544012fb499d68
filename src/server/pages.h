/* server/pages.h - the answers that need no engine: models, health, metrics. Each appends a body. Any thread. */
#ifndef SERVER_PAGES_H
#define SERVER_PAGES_H

#include "server/completion.h"

ds4_status page_models(const completion_context *c, buffer *out);
/* One model by id; NOT_FOUND if it is not one of ours. */
ds4_status page_model(const completion_context *c, slice id, buffer *out);
ds4_status page_health(const completion_context *c, int64_t started_us, bool draining, buffer *out);

/* Counted by the server; atomic. */
typedef struct page_counters {
    _Atomic uint64_t requests[6]; /* by hundreds of the status: [2] is 2xx */
    _Atomic uint64_t disconnected;
    _Atomic uint64_t escapes; /* completion_context.n_escapes */
} page_counters;

ds4_status page_metrics(const completion_context *c, page_counters *counters, buffer *out);

#endif
