/* server/completion.h - one chat completion: from the request to the scheduler, and from its tokens to the client.
 * Shapes of the answers: protocol specification 4.4. */
#ifndef SERVER_COMPLETION_H
#define SERVER_COMPLETION_H

#include "server/request.h"
#include "server/stream.h"

typedef struct completion_context {
    engine *engine;
    sched *sched;
    const server_options *options;
    const char *model_name;      /* echoed when a request names none */
    const char *fingerprint;     /* system_fingerprint */
    _Atomic uint64_t *n_escapes; /* counts reasoning that was closed because a tool block was opened inside it */
} completion_context;

/* Checks, renders, tokenises and submits. On success *out is the answer's way to the client; the caller holds a reference.
 * False: *e says why, and nothing runs. MHD thread. */
bool completion_start(stream **out, const completion_context *c, slice body, http_error *e);
/* What a silent stream says while it waits: a comment, or an event that resets idle timers. `owner` of the stream. */
bool completion_heartbeat(stream *st, bool event);

/* What x-ds4-effort says of this answer, or NULL: the effort given, where it is not the one requested (2.6). */
const char *completion_effort(const stream *st);

#endif
