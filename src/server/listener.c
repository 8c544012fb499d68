#include "server/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 511 };

/* An address of either family; reading another member than the one that was written is defined for a union. */
typedef union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage room;
} address;

static bool is_loopback(const struct sockaddr *bytes, socklen_t size)
{
    address a = { .any.sa_family = AF_UNSPEC };
    memcpy(&a, bytes, size < sizeof a ? size : sizeof a);
    return a.any.sa_family == AF_INET    ? ntohl(a.v4.sin_addr.s_addr) >> 24 == 127
           : a.any.sa_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&a.v6.sin6_addr)
                                         : false;
}

static uint16_t bound_port(int fd)
{
    address a;
    socklen_t size = sizeof a;
    if (getsockname(fd, &a.any, &size) != 0)
        return 0;
    return ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

static const char *advice(int code)
{
    return code == EADDRINUSE      ? "; another program uses it: choose another --port, or stop it"
           : code == EACCES        ? "; ports below 1024 need privileges: choose another --port"
           : code == EADDRNOTAVAIL ? "; this machine has no such address: choose another --host"
                                   : "";
}

/* "[::1]" as "::1"; anything else as it is. `room` is where the shorter text goes. */
static const char *without_brackets(const char *host, char room[INET6_ADDRSTRLEN + 16])
{
    const size_t n = strlen(host);
    if (n < 3 || n - 2 >= INET6_ADDRSTRLEN + 16 || host[0] != '[' || host[n - 1] != ']')
        return host;
    memcpy(room, host + 1, n - 2);
    room[n - 2] = 0;
    return room;
}

void listener_url(const listener *l, const char *host, char *out, size_t size)
{
    const bool brackets = strchr(host, ':') && host[0] != '[';
    snprintf(out, size, brackets ? "http://[%s]:%u" : "http://%s:%u", host, (unsigned)l->port);
}

ds4_status listener_open(listener *out, const char *host, uint16_t port, ds4_error *err)
{
    const struct addrinfo hints = { .ai_family = AF_UNSPEC,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    char service[8], bare[INET6_ADDRSTRLEN + 16];
    const int on = 1;
    *out = (listener){ .fd = -1 };
    snprintf(service, sizeof service, "%u", (unsigned)port);
    const int failed = getaddrinfo(without_brackets(host, bare), service, &hints, &found);
    if (failed)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "--host %s: %s", host, gai_strerror(failed));
    ds4_status status = DS4_OK;
    const int fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        const int code = errno;
        status = ds4_fail(err, DS4_ERR_IO, "cannot listen on %s port %u: %s%s", host, (unsigned)port, strerror(code),
                          advice(code));
        if (fd >= 0)
            close(fd);
    } else {
        *out =
            (listener){ .fd = fd, .port = bound_port(fd), .loopback = is_loopback(found->ai_addr, found->ai_addrlen) };
    }
    freeaddrinfo(found);
    return status;
}
