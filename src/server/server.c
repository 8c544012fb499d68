/* server/server.c - libmicrohttpd on one side, completions and pages on the other. One thread runs all connections (epoll);
 * a connection whose answer is not there yet is suspended and costs nothing. */
#include "server/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/pages.h"
#include "server/watch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEADER_MEMORY = 80 * 1024, BLOCK_BYTES = 32 * 1024, DRAIN_TAIL_US = 2000000, BACKLOG = 511 };

struct server {
    server_options options;
    completion_context context;
    char model_name[128], fingerprint[40];
    struct MHD_Daemon *daemon;
    watch *watch;
    int socket;
    uint16_t port;
    bool loopback;
    int64_t started_us;
    atomic_bool draining;
    page_counters counters;
};

/* One request on one connection. MHD thread only. */
typedef struct exchange {
    server *s;
    buffer body;
    bool too_long;
    stream *st; /* a running completion; one reference */
    bool watched;
    char id[40]; /* x-request-id */
} exchange;

server_options server_options_default(void)
{
    return (server_options){ .host = "127.0.0.1",
                             .port = 8000,
                             .body_bytes_max = UINT64_C(64) << 20,
                             .write_timeout_s = 60,
                             .output_bytes_max = UINT64_C(64) << 20,
                             .heartbeat = SERVER_HEARTBEAT_EVENTS,
                             .comment_us = 5 * 1000000,
                             .event_us = 15 * 1000000,
                             .max_tokens = 393216,
                             .max_min_ctx = 393216,
                             .reply_reserve = 512 };
}

/* --- answers ------------------------------------------------------------------------------------------------------------------ */

static void add_headers(exchange *x, struct MHD_Response *response, const char *type)
{
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "x-request-id", x->id);
    if (x->st && completion_effort(x->st))
        MHD_add_response_header(response, "x-ds4-effort", completion_effort(x->st));
    if (x->s->options.cors) {
        MHD_add_response_header(response, "Access-Control-Allow-Origin", "*");
        MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
        MHD_add_response_header(response, "Access-Control-Allow-Headers", "*");
    }
}

static enum MHD_Result queue(exchange *x, struct MHD_Connection *connection, int status, struct MHD_Response *response)
{
    if (!response)
        return MHD_NO;
    x->s->counters.requests[status / 100 < 6 ? status / 100 : 5]++;
    const enum MHD_Result result = MHD_queue_response(connection, (unsigned)status, response);
    MHD_destroy_response(response);
    return result;
}

/* Takes the buffer. */
static enum MHD_Result answer(exchange *x, struct MHD_Connection *connection, int status, buffer *body,
                              const char *type)
{
    size_t size;
    char *bytes = buffer_take(body, &size);
    struct MHD_Response *response = MHD_create_response_from_buffer(
        bytes ? size : 0, bytes ? bytes : "", bytes ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    if (response)
        add_headers(x, response, type);
    return queue(x, connection, status, response);
}

static enum MHD_Result answer_error(exchange *x, struct MHD_Connection *connection, const http_error *e,
                                    const char *allow)
{
    buffer body = { 0 };
    char seconds[16];
    size_t size;
    if (error_print(e, &body) != DS4_OK)
        return MHD_NO;
    char *bytes = buffer_take(&body, &size);
    struct MHD_Response *response = MHD_create_response_from_buffer(size, bytes, MHD_RESPMEM_MUST_FREE);
    if (!response)
        return MHD_NO;
    add_headers(x, response, "application/json");
    if (e->retry_after_s) {
        snprintf(seconds, sizeof seconds, "%u", (unsigned)e->retry_after_s);
        MHD_add_response_header(response, "Retry-After", seconds);
    }
    if (allow)
        MHD_add_response_header(response, "Allow", allow);
    if (e->status == 413)
        MHD_add_response_header(response, "Connection", "close");
    return queue(x, connection, e->status, response);
}

static enum MHD_Result refuse_exchange(exchange *x, struct MHD_Connection *connection, int status, const char *code,
                                       const char *text)
{
    http_error e;
    refuse(&e, status, code, NULL, "%s", text);
    return answer_error(x, connection, &e, NULL);
}

/* --- who may ask ---------------------------------------------------------------------------------------------------------------- */

static bool key_matches(const server *s, const char *key)
{
    bool found = false;
    for (size_t i = 0; key && i < s->options.n_api_keys; i++) {
        /* All bytes are compared, so that the time taken says nothing about a key. */
        const char *want = s->options.api_keys[i];
        const size_t n = strlen(want);
        unsigned char differs = strlen(key) != n;
        for (size_t k = 0; k < n; k++)
            differs |= (unsigned char)(want[k] ^ (strlen(key) > k ? key[k] : 0));
        found = found || !differs;
    }
    return found;
}

static bool authorised(const server *s, struct MHD_Connection *connection)
{
    const char *bearer = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    if (s->options.n_api_keys == 0)
        return true;
    if (bearer && strncasecmp(bearer, "Bearer ", 7) == 0 && key_matches(s, bearer + 7))
        return true;
    return key_matches(s, MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "x-api-key"));
}

/* A page in a browser can be made to speak to loopback addresses under another name (DNS rebinding). */
static bool host_allowed(const server *s, struct MHD_Connection *connection)
{
    static const char *const usual[] = { "localhost", "127.0.0.1", "[::1]" };
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
    if (!s->loopback || !host)
        return true;
    size_t n = strlen(host);
    const char *colon = strrchr(host, ':');
    if (colon && !strchr(colon, ']'))
        n = (size_t)(colon - host);
    const slice name = { host, n };
    for (size_t i = 0; i < 3; i++)
        if (slice_equal(name, slice_of(usual[i])))
            return true;
    for (size_t i = 0; i < s->options.n_allowed_hosts; i++)
        if (slice_equal(name, slice_of(s->options.allowed_hosts[i])))
            return true;
    return slice_equal(name, slice_of(s->options.host));
}

/* --- completions ------------------------------------------------------------------------------------------------------------------ */

static void free_reader(void *user)
{
    stream_drop(user);
}

static enum MHD_Result begin_events(exchange *x, struct MHD_Connection *connection)
{
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, stream_read, stream_hold(x->st), free_reader);
    if (!response) {
        stream_drop(x->st);
        return MHD_NO;
    }
    add_headers(x, response, "text/event-stream");
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    MHD_add_response_header(response, "X-Accel-Buffering", "no");
    return queue(x, connection, 200, response);
}

static enum MHD_Result answer_whole(exchange *x, struct MHD_Connection *connection)
{
    buffer body = { 0 };
    if (!stream_ready_or_suspend(x->st))
        return MHD_YES; /* called again when the answer is there */
    pthread_mutex_lock(&x->st->lock);
    const bool gone = x->st->gone;
    const int status = x->st->status ? x->st->status : 500;
    const ds4_status copied = buffer_append(&body, x->st->output.data ? x->st->output.data : "", x->st->output.size);
    pthread_mutex_unlock(&x->st->lock);
    if (gone || copied != DS4_OK) {
        buffer_free(&body);
        return MHD_NO;
    }
    return answer(x, connection, status, &body, "application/json");
}

static enum MHD_Result complete(exchange *x, struct MHD_Connection *connection)
{
    server *s = x->s;
    http_error e;
    if (x->st)
        return answer_whole(x, connection);
    if (atomic_load(&s->draining)) {
        refuse(&e, 503, "shutting_down", NULL, "the server is shutting down");
        e.retry_after_s = 5;
        return answer_error(x, connection, &e, NULL);
    }
    if (!completion_start(&x->st, &s->context, buffer_slice(&x->body), &e))
        return answer_error(x, connection, &e, NULL);
    buffer_free(&x->body);
    stream_attach(x->st, connection);
    watch_add(s->watch, x->st);
    x->watched = true;
    return x->st->events ? begin_events(x, connection) : answer_whole(x, connection);
}

/* --- routes -------------------------------------------------------------------------------------------------------------------------- */

typedef enum route { ROUTE_NONE, ROUTE_ROOT, ROUTE_CHAT, ROUTE_MODELS, ROUTE_MODEL, ROUTE_HEALTH, ROUTE_METRICS } route;

static route route_of(const char *url, const char **rest)
{
    static const struct {
        const char *path;
        route route;
    } routes[] = { { "/", ROUTE_ROOT },
                   { "/chat/completions", ROUTE_CHAT },
                   { "/models", ROUTE_MODELS },
                   { "/health", ROUTE_HEALTH },
                   { "/metrics", ROUTE_METRICS } };
    if (strncmp(url, "/v1/", 4) == 0)
        url += 3;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (strcmp(url, routes[i].path) == 0)
            return routes[i].route;
    if (strncmp(url, "/models/", 8) == 0 && url[8]) {
        *rest = url + 8;
        return ROUTE_MODEL;
    }
    return ROUTE_NONE;
}

static enum MHD_Result serve_page(exchange *x, struct MHD_Connection *connection, route where, const char *rest)
{
    server *s = x->s;
    buffer body = { 0 };
    const char *type = "application/json";
    ds4_status status = DS4_OK;
    int code = 200;
    switch (where) {
    case ROUTE_MODELS: status = page_models(&s->context, &body); break;
    case ROUTE_MODEL: status = page_model(&s->context, slice_of(rest), &body); break;
    case ROUTE_HEALTH:
        code = atomic_load(&s->draining) ? 503 : 200;
        status = page_health(&s->context, s->started_us, code == 503, &body);
        break;
    case ROUTE_METRICS:
        type = "text/plain; version=0.0.4";
        status = page_metrics(&s->context, &s->counters, &body);
        break;
    default:
        type = "text/plain; charset=utf-8";
        status =
            buffer_append_text(&body, "ds4-server: POST /v1/chat/completions, GET /v1/models, /health, /metrics\n");
    }
    if (status == DS4_ERR_NOT_FOUND)
        return refuse_exchange(x, connection, 404, "model_not_found",
                               "there is no such model; GET /v1/models lists them");
    if (status != DS4_OK) {
        buffer_free(&body);
        return refuse_exchange(x, connection, 500, "internal_error", "not enough memory");
    }
    return answer(x, connection, code, &body, type);
}

static enum MHD_Result dispatch(exchange *x, struct MHD_Connection *connection, const char *url, const char *method)
{
    const char *rest = "";
    const route where = route_of(url, &rest);
    const bool get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0, post = strcmp(method, "POST") == 0;
    const char *encoding = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Encoding");
    http_error e;
    if (!host_allowed(x->s, connection))
        return refuse_exchange(x, connection, 403, "invalid_host",
                               "this Host is not served here; --allow-host adds names");
    if (strcmp(method, "OPTIONS") == 0) {
        buffer empty = { 0 };
        return answer(x, connection, 204, &empty, "text/plain");
    }
    if (where == ROUTE_NONE)
        return refuse_exchange(x, connection, 404, "not_found", "there is nothing at this path");
    if (where == ROUTE_CHAT ? !post : !get) {
        refuse(&e, 405, "method_not_allowed", NULL, "this path wants %s", where == ROUTE_CHAT ? "POST" : "GET");
        return answer_error(x, connection, &e, where == ROUTE_CHAT ? "POST, OPTIONS" : "GET, HEAD, OPTIONS");
    }
    if (where != ROUTE_HEALTH && where != ROUTE_ROOT && !authorised(x->s, connection))
        return refuse_exchange(x, connection, 401, "invalid_api_key",
                               "a valid API key is needed: Authorization: Bearer KEY");
    if (get)
        return serve_page(x, connection, where, rest);
    if (x->too_long) {
        refuse(&e, 413, "request_too_large", NULL, "the body is longer than %llu MiB (--max-body-mb)",
               (unsigned long long)(x->s->options.body_bytes_max >> 20));
        return answer_error(x, connection, &e, NULL);
    }
    if (encoding && strcasecmp(encoding, "identity") != 0)
        return refuse_exchange(x, connection, 415, "unsupported_encoding", "compressed bodies are not supported");
    return complete(x, connection);
}

/* --- libmicrohttpd -------------------------------------------------------------------------------------------------------------------- */

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **state)
{
    server *s = user;
    exchange *x = *state;
    (void)version;
    if (!x) {
        uint8_t random[12];
        x = calloc(1, sizeof *x);
        if (!x)
            return MHD_NO;
        x->s = s;
        x->body = buffer_bounded((size_t)s->options.body_bytes_max);
        hash_random(random, sizeof random);
        memcpy(x->id, "req_", 4);
        for (size_t i = 0; i < sizeof random; i++)
            snprintf(x->id + 4 + 2 * i, 3, "%02x", random[i]);
        *state = x;
        return MHD_YES;
    }
    if (*upload_size > 0) {
        /* What is too long is read to its end and dropped: a client that still sends would not see the answer. */
        if (!x->too_long && buffer_append(&x->body, upload, *upload_size) != DS4_OK) {
            x->too_long = true;
            buffer_free(&x->body);
        }
        *upload_size = 0;
        return MHD_YES;
    }
    return dispatch(x, connection, url, method);
}

static void on_completed(void *user, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    exchange *x = *state;
    (void)user;
    (void)connection;
    if (!x)
        return;
    if (x->st) {
        if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK)
            stream_abandon(x->st);
        stream_detach(x->st);
        if (x->watched)
            watch_remove(x->s->watch, x->st);
        stream_drop(x->st);
    }
    buffer_free(&x->body);
    free(x);
    *state = NULL;
}

static void on_library_log(void *user, const char *format, va_list args)
{
    char text[256];
    (void)user;
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = 0;
    log_debug("http %s", text);
}

/* --- the socket -------------------------------------------------------------------------------------------------------------------------- */

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24) == 127;
    if (address->sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
    return false;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&address)->sin6_port
                                               : ((struct sockaddr_in *)(void *)&address)->sin_port);
}

static ds4_status bind_socket(server *s, ds4_error *err)
{
    const struct addrinfo hints = { .ai_family = AF_UNSPEC,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    char port[8];
    const int on = 1;
    snprintf(port, sizeof port, "%u", (unsigned)s->options.port);
    const int failed = getaddrinfo(s->options.host, port, &hints, &found);
    if (failed)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "--host %s: %s", s->options.host, gai_strerror(failed));
    ds4_status status = DS4_OK;
    s->loopback = is_loopback(found->ai_addr);
    s->socket = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->socket >= 0)
        setsockopt(s->socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (s->socket < 0 || bind(s->socket, found->ai_addr, found->ai_addrlen) != 0 || listen(s->socket, BACKLOG) != 0)
        status = ds4_fail(err, DS4_ERR_IO, "cannot listen on %s port %u: %s%s", s->options.host,
                          (unsigned)s->options.port, strerror(errno),
                          errno == EADDRINUSE ? "; another program uses it: choose another --port, or stop it"
                          : errno == EACCES   ? "; ports below 1024 need privileges: choose another --port"
                                              : "");
    freeaddrinfo(found);
    if (status == DS4_OK)
        s->port = bound_port(s->socket);
    return status;
}

ds4_status server_open(server **out, engine *e, sched *sc, const server_options *options, ds4_error *err)
{
    const engine_about *about = engine_get_about(e);
    server *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    s->options = *options;
    s->socket = -1;
    s->started_us = clock_monotonic_us();
    snprintf(s->model_name, sizeof s->model_name, "%.*s", (int)about->name.size, about->name.data);
    snprintf(s->fingerprint, sizeof s->fingerprint, "ds4-%s", about->fingerprint);
    s->context = (completion_context){ e,
                                       sc,
                                       &s->options,
                                       options->n_model_names ? options->model_names[0] : s->model_name,
                                       s->fingerprint,
                                       &s->counters.escapes };
    ds4_status status = bind_socket(s, err);
    if (status == DS4_OK)
        status = watch_open(&s->watch, &s->options, &s->counters.disconnected, err);
    if (status == DS4_OK) {
        s->daemon = MHD_start_daemon(
            MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL,
            on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL, MHD_OPTION_LISTEN_SOCKET, s->socket,
            MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_MEMORY,
            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)s->options.write_timeout_s, MHD_OPTION_END);
        if (!s->daemon)
            status = ds4_fail(err, DS4_ERR_IO, "cannot start the HTTP server: %s", strerror(errno));
    }
    if (status != DS4_OK) {
        watch_close(s->watch);
        if (s->socket >= 0)
            close(s->socket);
        free(s);
        return status;
    }
    *out = s;
    return DS4_OK;
}

uint16_t server_port(const server *s)
{
    return s->port;
}

void server_drain(server *s, int64_t grace_us)
{
    atomic_store(&s->draining, true);
    const MHD_socket listening = MHD_quiesce_daemon(s->daemon);
    if (listening != MHD_INVALID_SOCKET)
        close(listening);
    sched_drain(s->context.sched, grace_us);
    /* What was written still has to leave. */
    const int64_t end_us = clock_monotonic_us() + DRAIN_TAIL_US;
    while (watch_count(s->watch) > 0 && clock_monotonic_us() < end_us)
        clock_sleep_us(10000);
    watch_abandon_all(s->watch);
}

void server_close(server *s)
{
    if (!s)
        return;
    watch_abandon_all(s->watch);
    MHD_stop_daemon(s->daemon);
    watch_close(s->watch);
    free(s);
}
