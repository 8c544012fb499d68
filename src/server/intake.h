/* server/intake.h - a thread that reads requests: JSON, rendering, tokens. A body of megabytes takes seconds, and the HTTP
 * thread has every other client to serve meanwhile. What came first is read first; the server keeps two of these, so that
 * a short request never waits for a long one. */
#ifndef SERVER_INTAKE_H
#define SERVER_INTAKE_H

#include "server/completion.h"

typedef struct intake intake;

/* `long_bodies`: memory goes back to the system after each of them. */
ds4_status intake_open(intake **out, bool long_bodies, ds4_error *err);
/* Ends the thread after the request that it reads; those that still wait are dropped. NULL is fine. */
void intake_close(intake *in);
/* MHD thread. Holds a reference until the request was read (completion_prepare()). */
void intake_add(intake *in, stream *st);
/* Requests that wait or are being read. Any thread. */
size_t intake_count(intake *in);

#endif
