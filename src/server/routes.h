/* server/routes.h - which endpoint a path names. Paths work with and without /v1; an empty path segment does not count, so a
 * base URL that ends in a slash works, too. */
#ifndef SERVER_ROUTES_H
#define SERVER_ROUTES_H

#include "base/buffer.h"

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

/* `path`: without the query, unescaped. *id is the id of ENDPOINT_MODEL, a part of `path`, without trailing slashes. */
endpoint route(slice path, slice *id);
const char *route_name(endpoint where);    /* for logs and metrics: "/v1/models/{id}"; "other" for ENDPOINT_NONE */
const char *route_methods(endpoint where); /* for Allow */

#define ROUTES_ALL "POST /v1/chat/completions, GET /v1/models, /v1/models/{id}, /health, /metrics"

#endif
