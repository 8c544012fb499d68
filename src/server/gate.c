#include "server/gate.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static bool is(slice text, const char *word)
{
    return text.size == strlen(word) && strncasecmp(text.data, word, text.size) == 0;
}

/* "name:port" without the port. A colon inside brackets belongs to an IPv6 address. */
static slice without_port(slice authority)
{
    for (size_t i = authority.size; i-- > 0;) {
        if (authority.data[i] == ']')
            break;
        if (authority.data[i] == ':')
            return (slice){ authority.data, i };
    }
    return authority;
}

static bool is_loopback_name(slice name)
{
    return is(name, "localhost") || is(name, "127.0.0.1") || is(name, "[::1]");
}

static bool is_allowed_host(const server_options *o, slice name)
{
    for (size_t i = 0; i < o->n_allowed_hosts; i++)
        if (is(name, o->allowed_hosts[i]))
            return true;
    return false;
}

bool gate_host(const server_options *o, const listener *l, const char *host, http_error *e)
{
    const slice name = without_port(slice_of(host));
    return !l->loopback || !host || is_loopback_name(name) || is_allowed_host(o, name) || is(name, o->host) ||
           refuse(e, 403, "invalid_host", NULL, "this Host is not served here; --allow-host adds names");
}

static bool is_address(slice name)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr address;
    if (name.size > 0 && name.data[0] == '[')
        return true;
    if (name.size >= sizeof text)
        return false;
    memcpy(text, name.data, name.size);
    text[name.size] = 0;
    return inet_pton(AF_INET, text, &address) == 1;
}

/* The name of this machine, with or without ".local". */
static bool is_own_name(slice name)
{
    static const char local[] = ".local";
    char own[256];
    const size_t n = sizeof local - 1;
    if (gethostname(own, sizeof own) != 0)
        return false;
    own[sizeof own - 1] = 0;
    return own[0] && (is(name, own) || (name.size > n && strncasecmp(name.data + name.size - n, local, n) == 0 &&
                                        is((slice){ name.data, name.size - n }, own)));
}

static bool read_port(const char *text, unsigned long *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    *out = strtoul(text, &end, 10);
    return *end == 0;
}

/* "scheme://authority"; `port` is the scheme's where the origin gives none. False for "null" and other schemes. */
static bool split_origin(slice origin, slice *authority, slice *name, unsigned long *port)
{
    static const struct {
        const char *scheme;
        unsigned long port;
    } schemes[] = { { "http://", 80 }, { "https://", 443 } };
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        const size_t n = strlen(schemes[i].scheme);
        if (origin.size <= n || strncasecmp(origin.data, schemes[i].scheme, n) != 0)
            continue;
        *authority = (slice){ origin.data + n, origin.size - n };
        *name = without_port(*authority);
        *port = schemes[i].port;
        return name->size == authority->size || read_port(name->data + name->size + 1, port);
    }
    return false;
}

bool gate_origin(const server_options *o, const listener *l, const char *origin, const char *host, http_error *e)
{
    slice authority, name;
    unsigned long port;
    if (!origin || o->cors)
        return true;
    if (split_origin(slice_of(origin), &authority, &name, &port)) {
        if ((is_loopback_name(name) && port == l->port) || is_allowed_host(o, name))
            return true;
        if (host && is(authority, host) && (is_address(name) || is(name, o->host) || is_own_name(name)))
            return true;
    }
    return refuse(
        e, 403, "invalid_origin", NULL,
        "web pages of this origin may not ask here; --allow-host NAME lets the pages of a site ask, --cors all");
}

static bool key_matches(const server_options *o, const char *key)
{
    bool found = false;
    for (size_t i = 0; key && i < o->n_api_keys; i++) {
        /* All bytes are compared, so that the time taken says nothing about a key. */
        const char *want = o->api_keys[i];
        const size_t n = strlen(want), n_key = strlen(key);
        unsigned char differs = n_key != n;
        for (size_t k = 0; k < n; k++)
            differs |= (unsigned char)(want[k] ^ (n_key > k ? key[k] : 0));
        found = found || !differs;
    }
    return found;
}

bool gate_key(const server_options *o, const char *authorization, const char *x_api_key, http_error *e)
{
    return o->n_api_keys == 0 ||
           (authorization && strncasecmp(authorization, "Bearer ", 7) == 0 && key_matches(o, authorization + 7)) ||
           key_matches(o, x_api_key) ||
           refuse(e, 401, "invalid_api_key", NULL, "a valid API key is needed: Authorization: Bearer KEY");
}
