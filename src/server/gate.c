#include "server/gate.h"

#include <string.h>
#include <strings.h>

static bool names(slice host, const char *name)
{
    return host.size == strlen(name) && strncasecmp(host.data, name, host.size) == 0;
}

static bool host_allowed(const server_options *o, const char *host)
{
    static const char *const usual[] = { "localhost", "127.0.0.1", "[::1]" };
    const char *colon = strrchr(host, ':');
    const slice name = { host, colon && !strchr(colon, ']') ? (size_t)(colon - host) : strlen(host) };
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++)
        if (names(name, usual[i]))
            return true;
    for (size_t i = 0; i < o->n_allowed_hosts; i++)
        if (names(name, o->allowed_hosts[i]))
            return true;
    return names(name, o->host);
}

bool gate_host(const server_options *o, bool loopback, struct MHD_Connection *connection, http_error *e)
{
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
    return !loopback || !host || host_allowed(o, host) ||
           refuse(e, 403, "invalid_host", NULL, "this Host is not served here; --allow-host adds names");
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

bool gate_key(const server_options *o, struct MHD_Connection *connection, http_error *e)
{
    const char *bearer = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    return o->n_api_keys == 0 || (bearer && strncasecmp(bearer, "Bearer ", 7) == 0 && key_matches(o, bearer + 7)) ||
           key_matches(o, MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "x-api-key")) ||
           refuse(e, 401, "invalid_api_key", NULL, "a valid API key is needed: Authorization: Bearer KEY");
}
