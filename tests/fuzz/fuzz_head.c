/* Any bytes as the head of a request: lines, of which the first four are Host, Origin, path and key, the rest "name:value". */
#include "server/framing.h"
#include "server/gate.h"
#include "server/routes.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIRST_LINES = 4 };

/* The line as a C string of its own, so that a read beyond its end is seen; *in goes on behind it. */
static char *take_line(slice *in, size_t *size)
{
    const char *end = in->size ? memchr(in->data, '\n', in->size) : NULL;
    const size_t n = end ? (size_t)(end - in->data) : in->size;
    char *line = malloc(n + 1);
    if (!line)
        abort();
    if (n)
        memcpy(line, in->data, n);
    line[n] = 0;
    *size = n;
    in->data += end ? n + 1 : n;
    in->size -= end ? n + 1 : n;
    return line;
}

static void check(bool good, const http_error *e)
{
    if (!good && (e->status < 400 || !e->message[0]))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const hosts[] = { "chat.example.com" }, *const keys[] = { "secret" };
    const listener l = { .fd = -1, .port = 8000, .loopback = size & 1 };
    server_options o = server_options_default();
    slice in = { (const char *)data, size }, id = { 0 };
    char *first[FIRST_LINES];
    size_t n_first[FIRST_LINES];
    framing f = { 0 };
    http_error e = { 0 };
    o.allowed_hosts = hosts;
    o.n_allowed_hosts = o.n_api_keys = 1;
    o.api_keys = keys;
    for (int i = 0; i < FIRST_LINES; i++)
        first[i] = take_line(&in, &n_first[i]);
    check(gate_host(&o, &l, first[0], &e), &e);
    check(gate_origin(&o, &l, first[1], first[0], &e), &e);
    check(gate_key(&o, first[3], first[3], &e), &e);
    const slice path = { first[2], n_first[2] };
    if (route(path, &id) == ENDPOINT_MODEL &&
        (id.size == 0 || id.data < path.data || id.data + id.size > path.data + path.size))
        abort();
    while (in.size > 0) {
        size_t n;
        char *line = take_line(&in, &n);
        const char *colon = memchr(line, ':', n);
        const size_t n_name = colon ? (size_t)(colon - line) : n;
        framing_line(&f, (slice){ line, n_name }, colon ? (slice){ colon + 1, n - n_name - 1 } : (slice){ "", 0 });
        free(line);
    }
    const bool good = framing_check(&f, "HTTP/1.1", &e);
    check(good, &e);
    if (good && (f.n_lengths + f.n_codings > 1 || f.n_hosts != 1))
        abort();
    framing_is_plain(&f, "GET", n_first[2], "HTTP/1.1", size);
    for (int i = 0; i < FIRST_LINES; i++)
        free(first[i]);
    return 0;
}
