#include "server/watch.h"

#include "base/clock.h"

#include <poll.h>
#include <stdlib.h>

enum { LOOK_US = 50000 };

struct watch {
    const server_options *options;
    _Atomic uint64_t *disconnected;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows; taken before a stream's own lock */
    pthread_cond_t wake;
    stream *head;
    size_t n;
    bool stopping;
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

static void *look(void *argument)
{
    watch *w = argument;
    pthread_mutex_lock(&w->lock);
    while (!w->stopping) {
        const int64_t now_us = clock_monotonic_us();
        for (stream *st = w->head; st; st = st->next) {
            if (has_left(st)) {
                *w->disconnected += stream_abandon(st);
            } else {
                beat(w, st, now_us);
            }
        }
        if (!w->head) {
            pthread_cond_wait(&w->wake, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        clock_sleep_us(LOOK_US);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

ds4_status watch_open(watch **out, const server_options *options, _Atomic uint64_t *disconnected, ds4_error *err)
{
    watch *w = calloc(1, sizeof *w);
    *out = NULL;
    if (!w)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    w->options = options;
    w->disconnected = disconnected;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
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
