/* server/listener.h - the listening socket. */
#ifndef SERVER_LISTENER_H
#define SERVER_LISTENER_H

#include "ds4/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct listener {
    int fd;
    uint16_t port; /* the real one, also when 0 was asked for */
    bool loopback;
} listener;

/* Binds the first address that `host` resolves to (an IPv6 address may stand in brackets), and listens. out->fd is the caller's; -1 after any error.
 * Errors: ARGUMENT (the host cannot be resolved), IO (port in use, no permission); the text says what to do. */
ds4_status listener_open(listener *out, const char *host, uint16_t port, ds4_error *err);

/* "http://host:port", with an IPv6 address in brackets. */
void listener_url(const listener *l, const char *host, char *out, size_t size);

#endif
