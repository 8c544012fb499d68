#include "server/exchange.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "server/framing.h"
#include "server/gate.h"
#include "server/pages.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum { BLOCK_BYTES = 32 * 1024, REFUSALS_LOGGED = 20 /* a second */, DROPPED_MAX = 1 << 30 };

struct exchange {
    exchange_context *s;
    exchange *next, *previous; /* of s->heads, until begun */
    struct MHD_Connection *connection;
    size_t target_bytes; /* of the request's first line */
    bool target_has_nul; /* escaped */
    bool begun;          /* the head is complete */
    bool last;           /* of its connection */
    endpoint where;
    slice model_id;     /* of ENDPOINT_MODEL; a part of the path */
    const char *method; /* a constant */
    http_error refusal; /* known before the body is there, which is then dropped unread */
    uint64_t n_dropped; /* bytes of such a body */
    bool with_allow;    /* a 405 */
    bool keeps_body;    /* a completion */
    upload body;
    stream *st; /* a completion; one reference */
    bool submitted, watched;
    char id[40]; /* x-request-id */
};

static const char *header(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static connection_entry *entry_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* --- refusals in the log ------------------------------------------------------------------------------------------------------ */

static void print_address(struct MHD_Connection *connection, char out[64])
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;
    const uint8_t *bytes = NULL;
    if (address && address->sa_family == AF_INET)
        bytes = (const uint8_t *)address + offsetof(struct sockaddr_in, sin_addr);
    else if (address && address->sa_family == AF_INET6)
        bytes = (const uint8_t *)address + offsetof(struct sockaddr_in6, sin6_addr);
    if (!bytes || !inet_ntop(address->sa_family, bytes, out, 64))
        snprintf(out, 64, "unknown");
}

/* May one more line be logged in this second? */
static bool may_log(refusal_log *l)
{
    const int64_t second = clock_monotonic_us() / 1000000;
    if (second != l->second) {
        if (l->n_left_out)
            log_info("requests refused without a line of their own n=%u", l->n_left_out);
        *l = (refusal_log){ .second = second };
    }
    if (l->n == REFUSALS_LOGGED) {
        l->n_left_out++;
        return false;
    }
    l->n++;
    return true;
}

/* Nothing of it is the client's text. */
static void log_refusal(exchange *x, struct MHD_Connection *connection, int status, const char *code, const char *param)
{
    char address[64];
    if (!may_log(&x->s->refusals))
        return;
    print_address(connection, address);
    log_info("request refused request=%s from=%s method=%s endpoint=%s status=%d code=%s%s%s", x->id, address,
             x->method ? x->method : "other", route_name(x->where), status, code ? code : "none",
             param[0] ? " param=" : "", param);
}

/* --- answers ------------------------------------------------------------------------------------------------------------------ */

static void add_headers(exchange *x, struct MHD_Response *response, const char *type)
{
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "x-request-id", x->id);
    MHD_add_response_header(response, "request-id", x->id);
    if (x->last)
        MHD_add_response_header(response, "Connection", "close");
    if (x->st && completion_effort(x->st))
        MHD_add_response_header(response, "x-ds4-effort", completion_effort(x->st));
    if (x->s->options->cors) {
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

static void add_retry_after(struct MHD_Response *response, uint32_t seconds)
{
    char text[16];
    if (seconds == 0)
        return;
    snprintf(text, sizeof text, "%u", (unsigned)seconds);
    MHD_add_response_header(response, "Retry-After", text);
}

/* Takes the buffer. */
static enum MHD_Result answer(exchange *x, struct MHD_Connection *connection, int status, uint32_t retry_after_s,
                              buffer *body, const char *type)
{
    size_t size;
    char *bytes = buffer_take(body, &size);
    struct MHD_Response *response = MHD_create_response_from_buffer(
        bytes ? size : 0, bytes ? bytes : "", bytes ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    if (response) {
        add_headers(x, response, type);
        add_retry_after(response, retry_after_s);
    } else {
        free(bytes);
    }
    return queue(x, connection, status, response);
}

static enum MHD_Result answer_error(exchange *x, struct MHD_Connection *connection, const http_error *e)
{
    buffer body = { 0 };
    size_t size;
    log_refusal(x, connection, e->status, e->code, e->param);
    connections_page(x->s->connections, entry_of(connection));
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
    x->last = x->last || e->status == 413;
    add_headers(x, response, "application/json");
    add_retry_after(response, e->retry_after_s);
    if (x->with_allow)
        MHD_add_response_header(response, "Allow", route_methods(x->where));
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
    const uint32_t retry_after_s = x->st->retry_after_s;
    const ds4_status copied = buffer_append(&body, x->st->output.data ? x->st->output.data : "", x->st->output.size);
    pthread_mutex_unlock(&x->st->lock);
    if (gone || copied != DS4_OK) {
        buffer_free(&body);
        return MHD_NO;
    }
    return answer(x, connection, status, retry_after_s, &body, "application/json");
}

static bool refuse_for_now(http_error *e, const char *why)
{
    refuse(e, 503, "overloaded", NULL, "%s", why);
    e->retry_after_s = 2;
    return false;
}

static bool refuse_full(http_error *e)
{
    return refuse_for_now(e, "the server has too many connections (--max-connections); try again");
}

static bool begin(exchange *x, struct MHD_Connection *connection, http_error *e)
{
    exchange_context *s = x->s;
    if (atomic_load(&s->draining)) {
        refuse(e, 503, "shutting_down", NULL, "the server is shutting down");
        e->retry_after_s = 5;
        return false;
    }
    const bool is_long = x->body.bytes.size > UPLOAD_LONG;
    x->st = completion_new(s->completions, &x->body, x->id);
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
    if (!connections_busy(x->s->connections, entry_of(connection))) {
        refuse_full(&e);
        return answer_error(x, connection, &e);
    }
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

/* --- pages -------------------------------------------------------------------------------------------------------------------------- */

static enum MHD_Result serve_page(exchange *x, struct MHD_Connection *connection)
{
    exchange_context *s = x->s;
    buffer body = { 0 };
    http_error e;
    const char *type = "application/json";
    ds4_status status = DS4_OK;
    int code = 200;
    switch (x->where) {
    case ENDPOINT_MODELS: status = page_models(s->completions, &body); break;
    case ENDPOINT_MODEL: status = page_model(s->completions, x->model_id, &body); break;
    case ENDPOINT_HEALTH:
        code = atomic_load(&s->draining) ? 503 : 200;
        status = page_health(s->completions, s->started_us, code == 503, &body);
        break;
    case ENDPOINT_METRICS: {
        metrics_now now = { .n_reading = intake_count(s->short_bodies) + intake_count(s->long_bodies),
                            .long_body_bytes = atomic_load_explicit(&s->long_sum.bytes, memory_order_relaxed) };
        connections_count(s->connections, &now.connections);
        type = "text/plain; version=0.0.4";
        status = metrics_print(&s->metrics, s->completions, &now, &body);
        break;
    }
    default: type = "text/plain; charset=utf-8"; status = buffer_append_text(&body, "ds4-server: " ROUTES_ALL "\n");
    }
    if (status == DS4_OK)
        return answer(x, connection, code, 0, &body, type);
    buffer_free(&body);
    if (status == DS4_ERR_NOT_FOUND)
        refuse(&e, 404, "model_not_found", NULL, "there is no such model; GET /v1/models lists them");
    else
        refuse_memory(&e);
    return answer_error(x, connection, &e);
}

/* --- the head ------------------------------------------------------------------------------------------------------------------------ */

static enum MHD_Result take_line(void *user, enum MHD_ValueKind kind, const char *name, size_t name_size,
                                 const char *value, size_t value_size)
{
    (void)kind;
    framing_line(user, (slice){ name, name_size }, (slice){ value ? value : "", value_size });
    return MHD_YES;
}

/* Before anything else is believed of the request. */
static bool check_framing(exchange *x, struct MHD_Connection *connection, const char *method, const char *version,
                          http_error *e)
{
    framing f = { 0 };
    MHD_get_connection_values_n(connection, MHD_HEADER_KIND, take_line, &f);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    x->last = !info || !framing_is_plain(&f, method, x->target_bytes, version, info->header_size);
    if (x->target_has_nul)
        return refuse(e, 400, "invalid_request", NULL, "a path cannot hold %%00");
    return framing_check(&f, version, e);
}

static bool is_get(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

static bool refuse_long(const exchange *x, http_error *e)
{
    return refuse(e, 413, "request_too_large", NULL, "the body is longer than %llu MiB (--max-body-mb)",
                  (unsigned long long)(x->s->options->body_bytes_max >> 20));
}

/* All that the head of a request can be refused for. So nobody who may not ask makes us keep a body. */
static bool check_head(exchange *x, struct MHD_Connection *connection, const char *method, http_error *e)
{
    const exchange_context *s = x->s;
    const bool chat = x->where == ENDPOINT_CHAT;
    const char *encoding = header(connection, "Content-Encoding"), *length = header(connection, "Content-Length"),
               *host = header(connection, "Host");
    if (!gate_host(s->options, &s->listener, host, e) ||
        !gate_origin(s->options, &s->listener, header(connection, "Origin"), host, e))
        return false;
    if (strcmp(method, "OPTIONS") == 0)
        return true;
    if (x->where == ENDPOINT_NONE)
        return refuse(e, 404, "not_found", NULL, "there is no such endpoint; there are " ROUTES_ALL);
    if (chat ? strcmp(method, "POST") != 0 : !is_get(method)) {
        x->with_allow = true;
        return refuse(e, 405, "method_not_allowed", NULL, "this path takes %s", chat ? "POST" : "GET");
    }
    if (x->where != ENDPOINT_HEALTH && x->where != ENDPOINT_ROOT &&
        !gate_key(s->options, header(connection, "Authorization"), header(connection, "x-api-key"), e))
        return false;
    if (!chat)
        return true;
    if (encoding && strcasecmp(encoding, "identity") != 0)
        return refuse(e, 415, "unsupported_encoding", NULL, "compressed bodies are not supported");
    if (length && strtoull(length, NULL, 10) > s->options->body_bytes_max)
        return refuse_long(x, e);
    return !connections_full(s->connections) || refuse_full(e);
}

static const char *known_method(const char *method)
{
    static const char *const known[] = {
        "GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE"
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(method, known[i]) == 0)
            return known[i];
    return NULL;
}

static enum MHD_Result begin_exchange(exchange *x, struct MHD_Connection *connection, const char *path,
                                      const char *method, const char *version)
{
    x->method = known_method(method);
    x->where = route(slice_of(path), &x->model_id);
    connections_head(x->s->connections, entry_of(connection));
    if (!check_framing(x, connection, method, version, &x->refusal))
        return answer_error(x, connection, &x->refusal); /* queued before the body, so libmicrohttpd reads no more */
    const char *length = header(connection, "Content-Length");
    const uint64_t announced = length ? strtoull(length, NULL, 10) : UINT64_MAX, most = x->s->options->body_bytes_max;
    x->body = upload_new(&x->s->long_sum, (size_t)(announced < most ? announced : most));
    x->keeps_body = x->where == ENDPOINT_CHAT && strcmp(method, "POST") == 0;
    /* A client that waits for our "100 Continue" is told at once, and spares itself the body. */
    return !check_head(x, connection, method, &x->refusal) && header(connection, "Expect")
               ? answer_error(x, connection, &x->refusal)
               : MHD_YES;
}

/* What is refused is read to its end and dropped: a client that still sends would not see the answer. False: it has no end. */
static bool drop(exchange *x, size_t size)
{
    upload_free(&x->body);
    x->n_dropped += size;
    return x->n_dropped <= DROPPED_MAX;
}

static bool take_body(exchange *x, const char *bytes, size_t size)
{
    if (!x->keeps_body || x->refusal.status)
        return drop(x, size);
    switch (upload_append(&x->body, bytes, size)) {
    case UPLOAD_TAKEN: return true;
    case UPLOAD_TOO_LONG: refuse_long(x, &x->refusal); break;
    case UPLOAD_SUM_FULL: refuse_for_now(&x->refusal, "too many long requests are being read; try again"); break;
    case UPLOAD_NO_MEMORY: refuse_memory(&x->refusal); break;
    }
    return drop(x, size);
}

static enum MHD_Result dispatch(exchange *x, struct MHD_Connection *connection, const char *method)
{
    buffer empty = { 0 };
    if (x->refusal.status)
        return answer_error(x, connection, &x->refusal);
    if (strcmp(method, "OPTIONS") == 0)
        return answer(x, connection, 204, 0, &empty, "text/plain");
    return x->where == ENDPOINT_CHAT ? complete(x, connection) : serve_page(x, connection);
}

/* --- heads that libmicrohttpd refuses ------------------------------------------------------------------------------------------------- */

static void enter_heads(exchange *x)
{
    x->next = x->s->heads;
    if (x->next)
        x->next->previous = x;
    x->s->heads = x;
}

/* The head is complete, or will never be. */
static void leave_heads(exchange *x)
{
    if (x->begun)
        return;
    x->begun = true;
    *(x->previous ? &x->previous->next : &x->s->heads) = x->next;
    if (x->next)
        x->next->previous = x->previous;
}

/* The one whose complete head libmicrohttpd reads now; NULL: it refuses something else. */
static exchange *head_at_hand(const exchange_context *s)
{
    for (exchange *x = s->heads; x; x = x->next)
        if (MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE) &&
            !MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_HTTP_STATUS)) /* it has no answer yet */
            return x;
    return NULL;
}

static void refuse_head(const exchange *x, int status, http_error *e)
{
    const char *length = header(x->connection, "Content-Length");
    if (length && !framing_check_length(slice_of(length), e))
        return;
    refuse(e, status, status == 431 ? "request_too_large" : "invalid_request", NULL,
           "the head of the request cannot be read");
}

/* Past libmicrohttpd: one answer, after which the socket takes no more. */
static void answer_on_socket(exchange *x, const http_error *e)
{
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    buffer body = { 0 }, out = { 0 };
    if (error_print(e, &body) == DS4_OK &&
        buffer_printf(&out,
                      "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                      "x-request-id: %s\r\nrequest-id: %s\r\n\r\n",
                      e->status, MHD_get_reason_phrase_for((unsigned)e->status), body.size, x->id, x->id) == DS4_OK &&
        buffer_append_slice(&out, buffer_slice(&body)) == DS4_OK && fd) {
        if (send(fd->connect_fd, out.data, out.size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) { /* it is closed all the same */
        }
    }
    if (fd)
        shutdown(fd->connect_fd, SHUT_WR);
    buffer_free(&body);
    buffer_free(&out);
}

/* Version 0.9.75 refuses a complete head for its Content-Length (or for the memory of its cookies), forgets that it has done so, and
 * writes the head of its answer twice. It says so before it does: so the answer is ours, and what it then writes goes nowhere. */
void exchange_on_library_refusal(exchange_context *s, unsigned status)
{
    exchange *x = head_at_hand(s);
    if (x) {
        http_error e = { 0 };
        refuse_head(x, (int)status, &e);
        leave_heads(x);
        metrics_count(&s->metrics, x->where, e.status);
        log_refusal(x, x->connection, e.status, e.code, e.param);
        answer_on_socket(x, &e);
    } else if (may_log(&s->refusals)) {
        log_info("request refused request=none status=%u code=not_http", status);
    }
}

/* --- libmicrohttpd -------------------------------------------------------------------------------------------------------------------- */

void *exchange_on_target(void *user, const char *target, struct MHD_Connection *connection)
{
    uint8_t random[12];
    exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->s = user;
    x->connection = connection;
    enter_heads(x);
    x->target_bytes = target ? strlen(target) : 0;
    const char *nul = target ? strstr(target, "%00") : NULL;
    x->target_has_nul = nul && nul < target + strcspn(target, "?");
    hash_random(random, sizeof random);
    memcpy(x->id, "req_", 4);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(x->id + 4 + 2 * i, 3, "%02x", random[i]);
    return x;
}

enum MHD_Result exchange_on_request(void *user, struct MHD_Connection *connection, const char *path, const char *method,
                                    const char *version, const char *bytes, size_t *size, void **state)
{
    exchange *x = *state;
    (void)user;
    if (!x)
        return MHD_NO;
    if (!x->begun) {
        leave_heads(x);
        return begin_exchange(x, connection, path, method, version);
    }
    if (*size == 0)
        return dispatch(x, connection, method);
    connections_body(x->s->connections, entry_of(connection), *size);
    const bool go_on = take_body(x, bytes, *size);
    *size = 0;
    return go_on ? MHD_YES : MHD_NO;
}

void exchange_on_completed(void *user, struct MHD_Connection *connection, void **state,
                           enum MHD_RequestTerminationCode code)
{
    exchange_context *s = user;
    exchange *x = *state;
    if (!x)
        return;
    connections_idle(s->connections, entry_of(connection));
    leave_heads(x);
    if (x->st) {
        if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK && stream_abandon(x->st))
            s->metrics.disconnected++;
        stream_detach(x->st);
        if (x->watched)
            watch_remove(s->watch, x->st);
        stream_drop(x->st);
    }
    upload_free(&x->body);
    free(x);
    *state = NULL;
}

void exchange_on_connection(void *user, struct MHD_Connection *connection, void **place,
                            enum MHD_ConnectionNotificationCode code)
{
    exchange_context *s = user;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        connections_remove(s->connections, *place);
        return;
    }
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD),
                                   *address = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (fd)
        *place = connections_add(s->connections, fd->connect_fd, address ? address->client_addr : NULL);
}
