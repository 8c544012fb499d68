/* server/server.c - libmicrohttpd on one side, completions and pages on the other. One thread runs all connections (epoll);
 * a connection whose answer is not there yet is suspended and costs nothing. */
#include "server/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { HEADER_MEMORY = 80 * 1024, DRAIN_TAIL_US = 2000000 };
enum {
    CLOSING_CONNECTIONS = 256, /* cut off, and not yet closed by libmicrohttpd */
    OTHER_FILES = 128,         /* descriptors for the store, the model and the log */
    CONNECTIONS_MIN = 16,
    LONG_BODIES = 4 /* of the longest size at once */
};

struct server {
    server_options options;
    completion_context completions;
    char model_name[128], fingerprint[40];
    struct MHD_Daemon *daemon;
    exchange_context exchanges;
};

server_options server_options_default(void)
{
    return (server_options){ .host = "127.0.0.1",
                             .port = 8000,
                             .connections_max = 1024,
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

/* The line with which libmicrohttpd 0.9.75 announces that it will refuse a request; its first argument is the status. */
static const char library_refusal[] = "Error processing request (HTTP response code is %u";

static void on_library_log(void *user, const char *format, va_list args)
{
    char text[256];
    if (strncmp(format, library_refusal, sizeof library_refusal - 1) == 0) {
        exchange_on_library_refusal(user, va_arg(args, unsigned));
        return;
    }
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = 0;
    log_debug("http %s", text);
}

static size_t longest_piece(engine *e)
{
    size_t longest = 1;
    for (uint32_t id = 0; id < engine_get_about(e)->n_vocab; id++) {
        const slice piece = text_piece(engine_tokenizer(e), id);
        longest = piece.size > longest ? piece.size : longest;
    }
    return longest;
}

/* Raises the soft limit of open files as far as all connections need; if that is not possible, there will be fewer. */
static uint32_t connections_possible(uint32_t wanted)
{
    const rlim_t others = CONNECTIONS_RESERVE + CLOSING_CONNECTIONS + OTHER_FILES, needed = wanted + others;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY || files.rlim_cur >= needed)
        return wanted;
    files.rlim_cur = files.rlim_max == RLIM_INFINITY || files.rlim_max >= needed ? needed : files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur >= needed)
        return wanted;
    const uint32_t possible =
        files.rlim_cur > others + CONNECTIONS_MIN ? (uint32_t)(files.rlim_cur - others) : CONNECTIONS_MIN;
    log_warning("connections max=%u wanted=%u why=\"limit of open files (ulimit -n)\"", possible, wanted);
    return possible < wanted ? possible : wanted;
}

static void describe(server *s, engine *e, sched *sc, const server_options *options)
{
    const engine_about *about = engine_get_about(e);
    snprintf(s->model_name, sizeof s->model_name, "%.*s", (int)about->name.size, about->name.data);
    snprintf(s->fingerprint, sizeof s->fingerprint, "ds4-%s", about->fingerprint);
    s->options = *options;
    s->options.connections_max = connections_possible(options->connections_max);
    s->completions = (completion_context){ e,
                                           sc,
                                           &s->options,
                                           options->n_model_names ? options->model_names[0] : s->model_name,
                                           s->fingerprint,
                                           longest_piece(e),
                                           &s->exchanges.metrics.escapes,
                                           &s->exchanges.metrics.broken_calls };
    s->exchanges.options = &s->options;
    s->exchanges.completions = &s->completions;
    s->exchanges.started_us = clock_monotonic_us();
    s->exchanges.long_sum.bytes_max = LONG_BODIES * (size_t)options->body_bytes_max;
}

static ds4_status start_daemon(server *s, ds4_error *err)
{
    exchange_context *x = &s->exchanges;
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        exchange_on_request, x, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, x, MHD_OPTION_LISTEN_SOCKET, x->listener.fd,
        MHD_OPTION_URI_LOG_CALLBACK, exchange_on_target, x, MHD_OPTION_NOTIFY_COMPLETED, exchange_on_completed, x,
        MHD_OPTION_NOTIFY_CONNECTION, exchange_on_connection, x, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HEADER_MEMORY, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)(s->options.connections_max + CONNECTIONS_RESERVE + CLOSING_CONNECTIONS),
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)s->options.write_timeout_s, MHD_OPTION_END);
    return s->daemon ? DS4_OK : ds4_fail(err, DS4_ERR_IO, "cannot start the HTTP server: %s", strerror(errno));
}

static void close_parts(server *s)
{
    exchange_context *x = &s->exchanges;
    intake_close(x->long_bodies);
    intake_close(x->short_bodies);
    watch_close(x->watch);
    connections_close(x->connections);
}

ds4_status server_open(server **out, engine *e, sched *sc, const server_options *options, ds4_error *err)
{
    server *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    describe(s, e, sc, options);
    exchange_context *x = &s->exchanges;
    ds4_status status = listener_open(&x->listener, s->options.host, s->options.port, err);
    if (status == DS4_OK)
        status = connections_open(&x->connections, s->options.connections_max,
                                  (int64_t)s->options.write_timeout_s * 1000000, err);
    if (status == DS4_OK)
        status = watch_open(&x->watch, &s->options, x->connections, &x->metrics.disconnected, err);
    if (status == DS4_OK)
        status = intake_open(&x->short_bodies, false, err);
    if (status == DS4_OK)
        status = intake_open(&x->long_bodies, true, err);
    if (status == DS4_OK)
        status = start_daemon(s, err);
    if (status != DS4_OK) {
        close_parts(s);
        if (x->listener.fd >= 0)
            close(x->listener.fd);
        free(s);
        return status;
    }
    *out = s;
    return DS4_OK;
}

uint16_t server_port(const server *s)
{
    return s->exchanges.listener.port;
}

void server_url(const server *s, char *out, size_t size)
{
    listener_url(&s->exchanges.listener, s->options.host, out, size);
}

void server_drain(server *s, int64_t grace_us)
{
    watch *w = s->exchanges.watch;
    atomic_store(&s->exchanges.draining, true);
    const MHD_socket listening = MHD_quiesce_daemon(s->daemon);
    if (listening != MHD_INVALID_SOCKET)
        close(listening);
    sched_drain(s->completions.sched, grace_us);
    /* What was written still has to leave. */
    const int64_t end_us = clock_monotonic_us() + DRAIN_TAIL_US;
    while (watch_count(w) > 0 && clock_monotonic_us() < end_us)
        clock_sleep_us(10000);
    watch_abandon_all(w);
}

void server_close(server *s)
{
    if (!s)
        return;
    watch_abandon_all(s->exchanges.watch);
    MHD_stop_daemon(s->daemon);
    close_parts(s);
    free(s);
}
