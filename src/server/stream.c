#include "server/stream.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

stream *stream_new(size_t output_bytes_max, void *owner, void (*free_owner)(void *owner))
{
    stream *st = calloc(1, sizeof *st);
    if (!st) {
        free_owner(owner);
        return NULL;
    }
    st->owner = owner;
    st->free_owner = free_owner;
    st->fd = -1;
    st->output = buffer_bounded(output_bytes_max);
    st->born_us = st->last_event_us = st->last_comment_us = clock_monotonic_us();
    atomic_init(&st->references, 1);
    pthread_mutex_init(&st->lock, NULL);
    return st;
}

stream *stream_hold(stream *st)
{
    atomic_fetch_add_explicit(&st->references, 1, memory_order_relaxed);
    return st;
}

void stream_drop(stream *st)
{
    if (!st || atomic_fetch_sub_explicit(&st->references, 1, memory_order_acq_rel) != 1)
        return;
    if (st->ticket)
        sched_ticket_release(st->ticket);
    st->free_owner(st->owner);
    buffer_free(&st->output);
    pthread_mutex_destroy(&st->lock);
    free(st);
}

void stream_attach(stream *st, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    pthread_mutex_lock(&st->lock);
    st->connection = connection;
    st->fd = info ? info->connect_fd : -1;
    pthread_mutex_unlock(&st->lock);
}

void stream_detach(stream *st)
{
    pthread_mutex_lock(&st->lock);
    st->connection = NULL;
    st->fd = -1;
    st->suspended = false;
    pthread_mutex_unlock(&st->lock);
}

/* With the lock held. */
static void wake(stream *st)
{
    if (!st->suspended || !st->connection)
        return;
    st->suspended = false;
    MHD_resume_connection(st->connection); /* (1) */
}

static void cancel(stream *st)
{
    if (!st->ticket || st->cancelled || st->ended)
        return;
    st->cancelled = true;
    sched_cancel(st->ticket);
}

static void abandon(stream *st)
{
    st->gone = true;
    st->output.size = st->output_sent = 0;
    cancel(st);
    wake(st);
}

void stream_prepared(stream *st, bool events)
{
    pthread_mutex_lock(&st->lock);
    st->prepared = true;
    st->events = events;
    wake(st);
    pthread_mutex_unlock(&st->lock);
}

void stream_set_status(stream *st, int status, uint32_t retry_after_s)
{
    pthread_mutex_lock(&st->lock);
    st->status = status;
    st->retry_after_s = retry_after_s;
    pthread_mutex_unlock(&st->lock);
}

bool stream_write(stream *st, slice bytes)
{
    pthread_mutex_lock(&st->lock);
    if (!st->gone && !st->ended) {
        if (st->output_sent > 0 && st->output_sent == st->output.size)
            st->output.size = st->output_sent = 0;
        if (st->output_sent > st->output.size / 2) {
            buffer_consume(&st->output, st->output_sent);
            st->output_sent = 0;
        }
        if (buffer_append_slice(&st->output, bytes) != DS4_OK)
            abandon(st); /* (5) */
        else if (st->events)
            wake(st);
        st->last_event_us = st->last_comment_us = clock_monotonic_us();
    }
    const bool here = !st->gone;
    pthread_mutex_unlock(&st->lock);
    return here;
}

void stream_end(stream *st)
{
    pthread_mutex_lock(&st->lock);
    st->ended = true;
    wake(st);
    pthread_mutex_unlock(&st->lock);
}

bool stream_abandon(stream *st)
{
    pthread_mutex_lock(&st->lock);
    const bool news = !st->gone;
    abandon(st);
    pthread_mutex_unlock(&st->lock);
    return news;
}

void stream_set_ticket(stream *st, sched_ticket *ticket)
{
    pthread_mutex_lock(&st->lock);
    st->ticket = ticket;
    if (st->gone)
        cancel(st);
    pthread_mutex_unlock(&st->lock);
}

bool stream_is_gone(stream *st)
{
    pthread_mutex_lock(&st->lock);
    const bool gone = st->gone;
    pthread_mutex_unlock(&st->lock);
    return gone;
}

/* With the lock held. */
static void suspend(stream *st)
{
    st->suspended = true;
    MHD_suspend_connection(st->connection); /* (1) */
}

static bool wait_for(stream *st, const bool *what)
{
    pthread_mutex_lock(&st->lock);
    const bool ready = *what || st->gone;
    if (!ready && !st->suspended)
        suspend(st);
    pthread_mutex_unlock(&st->lock);
    return ready;
}

bool stream_prepared_or_suspend(stream *st)
{
    return wait_for(st, &st->prepared);
}

bool stream_ended_or_suspend(stream *st)
{
    return wait_for(st, &st->ended);
}

ssize_t stream_read(void *user, uint64_t position, char *out, size_t size)
{
    stream *st = user;
    (void)position;
    ssize_t answer;
    pthread_mutex_lock(&st->lock);
    const size_t left = st->output.size - st->output_sent;
    if (st->gone) {
        answer = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (left > 0) {
        const size_t n = left < size ? left : size;
        memcpy(out, st->output.data + st->output_sent, n);
        st->output_sent += n;
        answer = (ssize_t)n;
    } else if (st->ended) {
        answer = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        suspend(st);
        answer = 0;
    }
    pthread_mutex_unlock(&st->lock);
    return answer;
}
