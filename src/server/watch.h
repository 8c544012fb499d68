/* server/watch.h - looks after what waits: notices clients that went away (docs/spec/protocol.md, section 4.12), sends
 * heartbeats, says in the log how far long prompts are, and has connections cut off that are late with their request.
 * libmicrohttpd does not read from suspended connections, so without this a client that hangs up would hold its
 * sequence until the next token. One thread, a list, a look every 50 ms, every second while the list is empty. */
#ifndef SERVER_WATCH_H
#define SERVER_WATCH_H

#include "server/completion.h"
#include "server/connections.h"

typedef struct watch watch;

ds4_status watch_open(watch **out, const server_options *options, connections *c, _Atomic uint64_t *disconnected,
                      ds4_error *err);
void watch_close(watch *w); /* NULL is fine; streams must have been removed */
/* MHD thread. The list holds a reference. */
void watch_add(watch *w, stream *st);
void watch_remove(watch *w, stream *st);
/* Cuts every stream that is still there. */
void watch_abandon_all(watch *w);
size_t watch_count(watch *w);

#endif
