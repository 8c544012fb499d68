/* server/gate.h - who may ask: the Host and Origin headers against pages of other sites, and API keys.
 *
 * A browser on the user's machine runs pages of strangers. Such a page can
 * (1) send a request to this server by its address: the browser adds the page's Origin, and hides only the answer from the page;
 * (2) make its own name resolve to this server's address (DNS rebinding): then it counts as the same site, and Host is its name.
 * Header values may be NULL where the request has none. Every function: false after *e says why. */
#ifndef SERVER_GATE_H
#define SERVER_GATE_H

#include "server/errors.h"
#include "server/listener.h"
#include "server/server.h"

/* (2), for a server on a loopback address: Host must be localhost, a loopback address, --host or an --allow-host. On other
 * addresses it may be any name: their machines have names that this server does not know. */
bool gate_host(const server_options *o, const listener *l, const char *host, http_error *e);
/* (1), unless --cors: Origin must be a loopback name with this server's port, a page of an --allow-host, or the same as Host.
 * In the last case (2) has to be ruled out on every address: Host must be an IP address, --host, or this machine's name. */
bool gate_origin(const server_options *o, const listener *l, const char *origin, const char *host, http_error *e);
/* A valid key, if keys are asked for. */
bool gate_key(const server_options *o, const char *authorization, const char *x_api_key, http_error *e);

#endif
