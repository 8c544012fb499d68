/* server/stream.h - the way of one answer from the engine thread to one connection, without a thread of its own.
 *
 *                 stream_new()
 *                     |
 *                  READING        the request is parsed and tokenised elsewhere, the connection is suspended
 *                     |
 *             stream_prepared()
 *                     |
 *                     v           no bytes: reader suspends the connection
 *        +------> FLOWING <----------------------------+
 *        |            |                                |
 *        |            v                                |
 *        |        SUSPENDED --- stream_write() --------+   resumes the connection
 *        |            |
 *   stream_write()    | stream_end()
 *                     v
 *                  ENDED      the reader hands out what is left, then the end of the stream
 *
 *   and from any of them: GONE   the client went away, or does not read: output is thrown away
 *
 * Promises
 * (1) Suspending and resuming happen under `lock`, so a resume never overtakes the suspend that it answers.
 * (2) `connection` is set while libmicrohttpd knows the connection, and only then; all uses are under `lock`. So
 *     nothing touches a connection (or its descriptor) after its end.
 * (3) A stream lives as long as somebody holds a reference: the connection, the scheduler's callbacks, the watcher's
 *     list. The last one to leave frees it.
 * (4) Nobody waits for the network while holding `lock`: the engine thread is never slower than a copy.
 * (5) Unread output is bounded; beyond the bound the reader counts as gone. */
#ifndef SERVER_STREAM_H
#define SERVER_STREAM_H

#include "base/buffer.h"
#include "sched/sched.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct stream {
    /* Constant after stream_new(). */
    void (*free_owner)(void *owner);
    void *owner; /* freed with the stream */
    int64_t born_us;
    char request_id[40]; /* x-request-id, for the log */
    atomic_uint references;

    pthread_mutex_t lock; /* guards all that follows */
    struct MHD_Connection *connection;
    int fd;
    sched_ticket *ticket; /* released with the stream */
    buffer output;
    size_t output_sent; /* of `output`, already handed out */
    bool prepared;      /* the request was read, and `events` is known */
    bool events;        /* server-sent events; otherwise one whole body */
    bool suspended, ended, gone, cancelled;
    bool decoding; /* the first token came: no more heartbeats */
    bool running;  /* left the queue */
    uint32_t prefill_done, prefill_total;
    int64_t last_comment_us, last_event_us;
    int status;             /* of a whole body */
    uint32_t retry_after_s; /* with it; 0: no such header */
    /* Guarded by the list's lock (watch.h). */
    struct stream *next, *previous;
    int64_t last_progress_us;
    struct stream *next_read; /* guarded by the intake's lock */
} stream;

/* One reference, the caller's. NULL: no memory. `owner` is freed with the stream, also when NULL is returned. */
stream *stream_new(size_t output_bytes_max, void *owner, void (*free_owner)(void *owner));
stream *stream_hold(stream *st);
void stream_drop(stream *st);

/* MHD thread. The connection is there / has ended. */
void stream_attach(stream *st, struct MHD_Connection *connection);
void stream_detach(stream *st);

/* The request was read: whoever waits for that goes on. Once. */
void stream_prepared(stream *st, bool events);
/* Of a whole body. */
void stream_set_status(stream *st, int status, uint32_t retry_after_s);
/* Any thread. Appends whole events, or a body; false when the client is gone (the bytes are dropped). */
bool stream_write(stream *st, slice bytes);
/* Nothing more will be written. Once. */
void stream_end(stream *st);
/* The client is gone, or has to go: cancels the request, drops the output, wakes the connection so that it can
 * end. False if that was known. */
bool stream_abandon(stream *st);
/* The ticket of the request; cancelled at once if the client has already gone. */
void stream_set_ticket(stream *st, sched_ticket *ticket);
bool stream_is_gone(stream *st);

/* MHD thread. True when the request was read / the answer is complete, or the client gone; false after suspending the
 * connection. */
bool stream_prepared_or_suspend(stream *st);
bool stream_ended_or_suspend(stream *st);

/* For MHD_create_response_from_callback(); `user` is the stream. */
ssize_t stream_read(void *user, uint64_t position, char *out, size_t size);

#endif
