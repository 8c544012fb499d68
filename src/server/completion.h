/* server/completion.h - one chat completion: from the request to the scheduler, and from its tokens to the answer. */
#ifndef SERVER_COMPLETION_H
#define SERVER_COMPLETION_H

#include "server/upload.h"
#include "server/request.h"
#include "server/stream.h"

typedef struct completion_context {
    engine *engine;
    sched *sched;
    const server_options *options;
    const char *model_name;           /* echoed when a request names none */
    const char *fingerprint;          /* system_fingerprint */
    size_t piece_bytes_max;           /* of the longest token */
    _Atomic uint64_t *n_escapes;      /* counts reasoning that was closed because a tool block was opened inside it */
    _Atomic uint64_t *n_broken_calls; /* counts answers that failed because a tool block cannot be read */
} completion_context;

/* A stream that answers `taken`, which is taken over. One reference, the caller's. NULL: no memory. */
stream *completion_new(const completion_context *c, upload *taken, const char *request_id);
/* Checks, renders and tokenises, then wakes the connection. May take seconds. Once, on a thread of the intake. */
void completion_prepare(stream *st);
/* Gives a prepared request to the scheduler. False: *e says why, and nothing runs. MHD thread, once. */
bool completion_submit(stream *st, http_error *e);
/* What a silent stream says while it waits: a comment, or an event that resets idle timers. `owner` of the stream. */
bool completion_heartbeat(stream *st, bool event);

/* What x-ds4-effort says of this answer, or NULL: the effort given, where it is not the one requested (2.6). */
const char *completion_effort(const stream *st);

#endif
