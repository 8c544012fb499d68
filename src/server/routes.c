#include "server/routes.h"

#include <string.h>

static void skip_slashes(slice *path)
{
    while (path->size && path->data[0] == '/') {
        path->data++;
        path->size--;
    }
}

/* If `word` is the first segment of the path, goes behind it and its slashes. */
static bool take(slice *path, const char *word)
{
    const size_t n = strlen(word);
    if (path->size < n || memcmp(path->data, word, n) != 0 || (path->size > n && path->data[n] != '/'))
        return false;
    *path = (slice){ path->data + n, path->size - n };
    skip_slashes(path);
    return true;
}

endpoint route(slice path, slice *id)
{
    if (path.size == 0 || path.data[0] != '/')
        return ENDPOINT_NONE;
    while (path.size > 1 && path.data[path.size - 1] == '/')
        path.size--;
    skip_slashes(&path);
    if (path.size == 0)
        return ENDPOINT_ROOT;
    if (take(&path, "v1") && path.size == 0)
        return ENDPOINT_NONE;
    if (take(&path, "models")) {
        *id = path;
        return path.size ? ENDPOINT_MODEL : ENDPOINT_MODELS;
    }
    const endpoint where = take(&path, "chat")      ? (take(&path, "completions") ? ENDPOINT_CHAT : ENDPOINT_NONE)
                           : take(&path, "health")  ? ENDPOINT_HEALTH
                           : take(&path, "metrics") ? ENDPOINT_METRICS
                                                    : ENDPOINT_NONE;
    return path.size ? ENDPOINT_NONE : where;
}

const char *route_name(endpoint where)
{
    static const char *const names[ENDPOINTS] = {
        [ENDPOINT_NONE] = "other",
        [ENDPOINT_ROOT] = "/",
        [ENDPOINT_CHAT] = "/v1/chat/completions",
        [ENDPOINT_MODELS] = "/v1/models",
        [ENDPOINT_MODEL] = "/v1/models/{id}",
        [ENDPOINT_HEALTH] = "/health",
        [ENDPOINT_METRICS] = "/metrics",
    };
    return names[where];
}

const char *route_methods(endpoint where)
{
    return where == ENDPOINT_CHAT ? "POST, OPTIONS" : "GET, HEAD, OPTIONS";
}
