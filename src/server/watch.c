#include "server/watch.h"

#include "base/clock.h"
#include "base/log.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOOK_US = 50000,
    EXPIRE_US = 1000000,   /* how often connections are looked at */
    PROGRESS_US = 5000000, /* how often a prompt that is read gets a line in the log */
    PROGRESS_LINES = 16    /* of one look */
};

typedef struct progress {
    char request_id[40];
    uint32_t done, total;
} progress;

struct watch {
    const server_options *options;
    connections *connections;
    _Atomic uint64_t *disconnected;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows; taken before a stream's own lock */
    pthread_cond_t wake;
    stream *head;
    size_t n;
    bool stopping;
    /* Watcher thread only. */
    int64_t next_expire_us;
    uint64_t n_cut[CUTS]; /* already in the log */
};

/* With the list's lock held. The descriptor is good while `connection` is set: libmicrohttpd closes it later. */
static bool has_left(stream *st)
{
    pthread_mutex_lock(&st->lock);
    struct pollfd p = { .fd = st->fd, .events = POLLRDHUP };
    const bool left = st->fd >= 0 && !st->gone && !st->ended && poll(&p, 1, 0) > 0 &&
                      (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
    pthread_mutex_unlock(&st->lock);
    return left;
}

static void beat(const watch *w, stream *st, int64_t now_us)
{
    pthread_mutex_lock(&st->lock);
    const bool quiet = st->events && !st->ended && !st->gone && !st->decoding;
    const bool event =
        quiet && w->options->heartbeat == SERVER_HEARTBEAT_EVENTS && now_us - st->last_event_us >= w->options->event_us;
    const bool comment = quiet && !event && w->options->heartbeat != SERVER_HEARTBEAT_OFF &&
                         now_us - st->last_comment_us >= w->options->comment_us;
    const int64_t last_event_us = st->last_event_us;
    pthread_mutex_unlock(&st->lock);
    if (!event && !comment)
        return;
    completion_heartbeat(st, event);
    pthread_mutex_lock(&st->lock);
    if (!event)
        st->last_event_us = last_event_us; /* a comment resets only its own clock */
    pthread_mutex_unlock(&st->lock);
}

/* True if it is time for a line about this prompt. With the list's lock held. */
static bool take_progress(stream *st, int64_t now_us, progress *out)
{
    if (now_us - st->last_progress_us < PROGRESS_US)
        return false;
    st->last_progress_us = now_us;
    pthread_mutex_lock(&st->lock);
    const bool reading = st->running && !st->decoding && !st->ended && !st->gone;
    *out = (progress){ .done = st->prefill_done, .total = st->prefill_total };
    pthread_mutex_unlock(&st->lock);
    memcpy(out->request_id, st->request_id, sizeof out->request_id);
    return reading;
}

/* Cuts off what is late; a line for the log if anything was. */
static void expire(watch *w, int64_t now_us)
{
    connections_counts now;
    if (now_us < w->next_expire_us)
        return;
    w->next_expire_us = now_us + EXPIRE_US;
    connections_expire(w->connections, now_us);
    connections_count(w->connections, &now);
    if (memcmp(now.n_cut, w->n_cut, sizeof now.n_cut) != 0)
        log_info("connections cut head=%llu body=%llu idle=%llu full=%llu address=%llu open=%zu",
                 (unsigned long long)(now.n_cut[CUT_HEAD] - w->n_cut[CUT_HEAD]),
                 (unsigned long long)(now.n_cut[CUT_BODY] - w->n_cut[CUT_BODY]),
                 (unsigned long long)(now.n_cut[CUT_IDLE] - w->n_cut[CUT_IDLE]),
                 (unsigned long long)(now.n_cut[CUT_FULL] - w->n_cut[CUT_FULL]),
                 (unsigned long long)(now.n_cut[CUT_ADDRESS] - w->n_cut[CUT_ADDRESS]), now.n_open);
    memcpy(w->n_cut, now.n_cut, sizeof now.n_cut);
}

static void *look(void *argument)
{
    watch *w = argument;
    progress lines[PROGRESS_LINES];
    pthread_mutex_lock(&w->lock);
    while (!w->stopping) {
        const int64_t now_us = clock_monotonic_us();
        size_t n_lines = 0;
        for (stream *st = w->head; st; st = st->next) {
            if (has_left(st)) {
                *w->disconnected += stream_abandon(st);
            } else {
                beat(w, st, now_us);
                if (n_lines < PROGRESS_LINES)
                    n_lines += take_progress(st, now_us, &lines[n_lines]);
            }
        }
        const bool idle = !w->head;
        if (idle)
            clock_cond_wait(&w->wake, &w->lock, now_us + EXPIRE_US);
        pthread_mutex_unlock(&w->lock);
        for (size_t i = 0; i < n_lines; i++)
            log_info("request prefill request=%s done=%u prompt=%u", lines[i].request_id, (unsigned)lines[i].done,
                     (unsigned)lines[i].total);
        expire(w, clock_monotonic_us());
        if (!idle)
            clock_sleep_us(LOOK_US);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

ds4_status watch_open(watch **out, const server_options *options, connections *c, _Atomic uint64_t *disconnected,
                      ds4_error *err)
{
    watch *w = calloc(1, sizeof *w);
    *out = NULL;
    if (!w)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    w->options = options;
    w->connections = c;
    w->disconnected = disconnected;
    pthread_mutex_init(&w->lock, NULL);
    clock_cond_init(&w->wake);
    if (pthread_create(&w->thread, NULL, look, w) != 0) {
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->lock);
        free(w);
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "cannot start the thread that watches clients");
    }
    *out = w;
    return DS4_OK;
}

void watch_close(watch *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

void watch_add(watch *w, stream *st)
{
    stream_hold(st);
    st->last_progress_us = st->born_us;
    pthread_mutex_lock(&w->lock);
    st->next = w->head;
    st->previous = NULL;
    if (w->head)
        w->head->previous = st;
    w->head = st;
    w->n++;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

void watch_remove(watch *w, stream *st)
{
    pthread_mutex_lock(&w->lock);
    if (st->previous)
        st->previous->next = st->next;
    else
        w->head = st->next;
    if (st->next)
        st->next->previous = st->previous;
    w->n--;
    pthread_mutex_unlock(&w->lock);
    stream_drop(st);
}

void watch_abandon_all(watch *w)
{
    pthread_mutex_lock(&w->lock);
    for (stream *st = w->head; st; st = st->next)
        stream_abandon(st);
    pthread_mutex_unlock(&w->lock);
}

size_t watch_count(watch *w)
{
    pthread_mutex_lock(&w->lock);
    const size_t n = w->n;
    pthread_mutex_unlock(&w->lock);
    return n;
}
