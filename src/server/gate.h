/* server/gate.h - who may ask: the Host header against DNS rebinding, and API keys. */
#ifndef SERVER_GATE_H
#define SERVER_GATE_H

#include "server/errors.h"
#include "server/server.h"

#include <microhttpd.h>

/* A page in a browser can be made to speak to loopback addresses under another name. `loopback`: we are bound to one.
 * False: *e says why. */
bool gate_host(const server_options *o, bool loopback, struct MHD_Connection *connection, http_error *e);
/* A valid key, if keys are asked for. */
bool gate_key(const server_options *o, struct MHD_Connection *connection, http_error *e);

#endif
