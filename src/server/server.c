/* server/server.c - libmicrohttpd on one side, completions and pages on the other. One thread runs all connections (epoll);
 * a connection whose answer is not there yet is suspended and costs nothing. */
#include "server/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/gate.h"
#include "server/intake.h"
#include "server/listener.h"
#include "server/metrics.h"
#include "server/pages.h"
#include "server/watch.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEADER_MEMORY = 80 * 1024, BLOCK_BYTES = 32 * 1024, DRAIN_TAIL_US = 2000000 };
enum { LONG_BODY = 256 * 1024 }; /* takes a noticeable time to read: these wait for each other, not the short ones */

struct server {
    server_options options;
    completion_context context;
    char model_name[128], fingerprint[40];
    struct MHD_Daemon *daemon;
    watch *watch;
    intake *short_bodies, *long_bodies;
    listener listener;
    int64_t started_us;
    atomic_bool draining;
    metrics metrics;
};

/* One request on one connection. MHD thread only. */
typedef struct exchange {
    server *s;
    endpoint where;
    const char *rest;   /* of the path: a model's id */
    http_error refusal; /* known before the body is there, which is then dropped unread */
    const char *allow;  /* of a 405 */
    buffer body;
    stream *st; /* a completion; one reference */
    bool submitted, watched;
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
    MHD_add_response_header(response, "request-id", x->id);
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
    metrics_count(&x->s->metrics, x->where, status);
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

static enum MHD_Result answer_error(exchange *x, struct MHD_Connection *connection, const http_error *e)
{
    buffer body = { 0 };
    char seconds[16];
    size_t size;
    if (error_print(e, &body) != DS4_OK) {
        buffer_free(&body);
        return MHD_NO;
    }
    char *bytes = buffer_take(&body, &size);
    struct MHD_Response *response = MHD_create_response_from_buffer(size, bytes, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(bytes);
        return MHD_NO;
    }
    add_headers(x, response, "application/json");
    if (e->retry_after_s) {
        snprintf(seconds, sizeof seconds, "%u", (unsigned)e->retry_after_s);
        MHD_add_response_header(response, "Retry-After", seconds);
    }
    if (x->allow)
        MHD_add_response_header(response, "Allow", x->allow);
    if (e->status == 413 || x->refusal.status == 400)
        MHD_add_response_header(response, "Connection", "close");
    return queue(x, connection, e->status, response);
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
    if (!stream_ended_or_suspend(x->st))
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

static bool begin(exchange *x, struct MHD_Connection *connection, http_error *e)
{
    server *s = x->s;
    if (atomic_load(&s->draining)) {
        refuse(e, 503, "shutting_down", NULL, "the server is shutting down");
        e->retry_after_s = 5;
        return false;
    }
    const bool is_long = x->body.size > LONG_BODY;
    x->st = completion_new(&s->context, &x->body);
    if (!x->st)
        return refuse_memory(e);
    stream_attach(x->st, connection);
    watch_add(s->watch, x->st);
    x->watched = true;
    intake_add(is_long ? s->long_bodies : s->short_bodies, x->st);
    return true;
}

/* Called when the body is there, and again whenever the stream has woken the connection. */
static enum MHD_Result complete(exchange *x, struct MHD_Connection *connection)
{
    http_error e;
    if (x->submitted)
        return answer_whole(x, connection);
    if (!x->st && !begin(x, connection, &e))
        return answer_error(x, connection, &e);
    if (!stream_prepared_or_suspend(x->st))
        return MHD_YES;
    if (stream_is_gone(x->st))
        return MHD_NO;
    if (!completion_submit(x->st, &e))
        return answer_error(x, connection, &e);
    x->submitted = true;
    return x->st->events ? begin_events(x, connection) : answer_whole(x, connection);
}

/* --- routes -------------------------------------------------------------------------------------------------------------------------- */

static endpoint endpoint_of(const char *url, const char **rest)
{
    static const struct {
        const char *path;
        endpoint where;
    } paths[] = { { "/", ENDPOINT_ROOT },
                  { "/chat/completions", ENDPOINT_CHAT },
                  { "/models", ENDPOINT_MODELS },
                  { "/health", ENDPOINT_HEALTH },
                  { "/metrics", ENDPOINT_METRICS } };
    if (strncmp(url, "/v1/", 4) == 0)
        url += 3;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if (strcmp(url, paths[i].path) == 0)
            return paths[i].where;
    if (strncmp(url, "/models/", 8) == 0 && url[8]) {
        *rest = url + 8;
        return ENDPOINT_MODEL;
    }
    return ENDPOINT_NONE;
}

static enum MHD_Result serve_page(exchange *x, struct MHD_Connection *connection)
{
    server *s = x->s;
    buffer body = { 0 };
    http_error e;
    const char *type = "application/json";
    ds4_status status = DS4_OK;
    int code = 200;
    switch (x->where) {
    case ENDPOINT_MODELS: status = page_models(&s->context, &body); break;
    case ENDPOINT_MODEL: status = page_model(&s->context, slice_of(x->rest), &body); break;
    case ENDPOINT_HEALTH:
        code = atomic_load(&s->draining) ? 503 : 200;
        status = page_health(&s->context, s->started_us, code == 503, &body);
        break;
    case ENDPOINT_METRICS:
        type = "text/plain; version=0.0.4";
        status = metrics_print(&s->metrics, &s->context, intake_count(s->short_bodies) + intake_count(s->long_bodies),
                               &body);
        break;
    default:
        type = "text/plain; charset=utf-8";
        status =
            buffer_append_text(&body, "ds4-server: POST /v1/chat/completions, GET /v1/models, /health, /metrics\n");
    }
    if (status == DS4_OK)
        return answer(x, connection, code, &body, type);
    buffer_free(&body);
    if (status == DS4_ERR_NOT_FOUND)
        refuse(&e, 404, "model_not_found", NULL, "there is no such model; GET /v1/models lists them");
    else
        refuse_memory(&e);
    return answer_error(x, connection, &e);
}

static const char *header(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static bool is_get(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

static bool refuse_long(const server *s, http_error *e)
{
    return refuse(e, 413, "request_too_large", NULL, "the body is longer than %llu MiB (--max-body-mb)",
                  (unsigned long long)(s->options.body_bytes_max >> 20));
}

/* All that the head of a request can be refused for. So nobody who may not ask makes us keep a body. */
static bool check_head(exchange *x, struct MHD_Connection *connection, const char *method, http_error *e)
{
    server *s = x->s;
    const bool chat = x->where == ENDPOINT_CHAT;
    const char *encoding = header(connection, "Content-Encoding"), *length = header(connection, "Content-Length");
    if (!gate_host(&s->options, s->listener.loopback, connection, e))
        return false;
    if (strcmp(method, "OPTIONS") == 0)
        return true;
    if (x->where == ENDPOINT_NONE)
        return refuse(e, 404, "not_found", NULL, "there is nothing at this path");
    if (chat ? strcmp(method, "POST") != 0 : !is_get(method)) {
        x->allow = chat ? "POST, OPTIONS" : "GET, HEAD, OPTIONS";
        return refuse(e, 405, "method_not_allowed", NULL, "this path wants %s", chat ? "POST" : "GET");
    }
    if (x->where != ENDPOINT_HEALTH && x->where != ENDPOINT_ROOT && !gate_key(&s->options, connection, e))
        return false;
    /* Two lengths: a proxy before us may believe the other one, and take the rest for a second request. */
    if (length && header(connection, "Transfer-Encoding"))
        return refuse(e, 400, "invalid_value", NULL, "a body has Content-Length or Transfer-Encoding, not both");
    if (encoding && strcasecmp(encoding, "identity") != 0)
        return refuse(e, 415, "unsupported_encoding", NULL, "compressed bodies are not supported");
    return !length || strtoull(length, NULL, 10) <= s->options.body_bytes_max || refuse_long(s, e);
}

static enum MHD_Result dispatch(exchange *x, struct MHD_Connection *connection, const char *method)
{
    buffer empty = { 0 };
    if (x->refusal.status)
        return answer_error(x, connection, &x->refusal);
    if (strcmp(method, "OPTIONS") == 0)
        return answer(x, connection, 204, &empty, "text/plain");
    return x->where == ENDPOINT_CHAT ? complete(x, connection) : serve_page(x, connection);
}

/* --- libmicrohttpd -------------------------------------------------------------------------------------------------------------------- */

static exchange *exchange_new(server *s, const char *url)
{
    uint8_t random[12];
    exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->s = s;
    x->body = buffer_bounded((size_t)s->options.body_bytes_max);
    x->where = endpoint_of(url, &x->rest);
    hash_random(random, sizeof random);
    memcpy(x->id, "req_", 4);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(x->id + 4 + 2 * i, 3, "%02x", random[i]);
    return x;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **state)
{
    server *s = user;
    exchange *x = *state;
    (void)version;
    if (!x) {
        x = *state = exchange_new(s, url);
        if (!x)
            return MHD_NO;
        /* A client that waits for our "100 Continue" is told at once, and spares itself the body. */
        return !check_head(x, connection, method, &x->refusal) && header(connection, "Expect")
                   ? answer_error(x, connection, &x->refusal)
                   : MHD_YES;
    }
    if (*upload_size > 0) {
        /* What is refused is read to its end and dropped: a client that still sends would not see the answer. */
        if (!x->refusal.status && buffer_append(&x->body, upload, *upload_size) != DS4_OK)
            refuse_long(s, &x->refusal);
        if (x->refusal.status)
            buffer_free(&x->body);
        *upload_size = 0;
        return MHD_YES;
    }
    return dispatch(x, connection, method);
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
        if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK && stream_abandon(x->st))
            x->s->metrics.disconnected++;
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

/* --- open and close ------------------------------------------------------------------------------------------------------------- */

static size_t longest_piece(engine *e)
{
    size_t longest = 1;
    for (uint32_t id = 0; id < engine_get_about(e)->n_vocab; id++) {
        const slice piece = text_piece(engine_tokenizer(e), id);
        longest = piece.size > longest ? piece.size : longest;
    }
    return longest;
}

ds4_status server_open(server **out, engine *e, sched *sc, const server_options *options, ds4_error *err)
{
    const engine_about *about = engine_get_about(e);
    server *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    s->options = *options;
    s->listener.fd = -1;
    s->started_us = clock_monotonic_us();
    snprintf(s->model_name, sizeof s->model_name, "%.*s", (int)about->name.size, about->name.data);
    snprintf(s->fingerprint, sizeof s->fingerprint, "ds4-%s", about->fingerprint);
    s->context = (completion_context){ e,
                                       sc,
                                       &s->options,
                                       options->n_model_names ? options->model_names[0] : s->model_name,
                                       s->fingerprint,
                                       longest_piece(e),
                                       &s->metrics.escapes,
                                       &s->metrics.broken_calls };
    ds4_status status = listener_open(&s->listener, s->options.host, s->options.port, err);
    if (status == DS4_OK)
        status = watch_open(&s->watch, &s->options, &s->metrics.disconnected, err);
    if (status == DS4_OK)
        status = intake_open(&s->short_bodies, err);
    if (status == DS4_OK)
        status = intake_open(&s->long_bodies, err);
    if (status == DS4_OK) {
        s->daemon = MHD_start_daemon(
            MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL,
            on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL, MHD_OPTION_LISTEN_SOCKET, s->listener.fd,
            MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_MEMORY,
            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)s->options.write_timeout_s, MHD_OPTION_END);
        if (!s->daemon)
            status = ds4_fail(err, DS4_ERR_IO, "cannot start the HTTP server: %s", strerror(errno));
    }
    if (status != DS4_OK) {
        intake_close(s->long_bodies);
        intake_close(s->short_bodies);
        watch_close(s->watch);
        if (s->listener.fd >= 0)
            close(s->listener.fd);
        free(s);
        return status;
    }
    *out = s;
    return DS4_OK;
}

uint16_t server_port(const server *s)
{
    return s->listener.port;
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
    intake_close(s->long_bodies);
    intake_close(s->short_bodies);
    watch_close(s->watch);
    free(s);
}
