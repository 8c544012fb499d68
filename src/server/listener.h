/* server/listener.h - the listening socket. */
#ifndef SERVER_LISTENER_H
#define SERVER_LISTENER_H

#include "ds4/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct listener {
    int fd;
    uint16_t port; /* the real one, also when 0 was asked for */
    bool loopback;
} listener;

/* Binds the first address that `host` resolves to, and listens. out->fd is the caller's; -1 after any error.
 * Errors: ARGUMENT (the host cannot be resolved), IO (port in use, no permission); the text says what to do. */
ds4_status listener_open(listener *out, const char *host, uint16_t port, ds4_error *err);

#endif
