/* server/framing.h - where a request ends must not be a matter of opinion. A proxy before this server that finds another end
 * takes the rest of a body for a request, or a request for the rest of a body (request smuggling; RFC 9112, section 11.2).
 *
 * (1) A head that gives two ends, or one that this server does not know, is refused before anything else, and its connection ends.
 * (2) A head that is not written plainly may hide a part of itself: libmicrohttpd joins folded lines, ends values at a NUL and
 *     accepts bare line feeds. Its request is served, and its connection ends with the answer: no second request follows it.
 * (3) The same holds for a body in chunks, whose lines libmicrohttpd reads with tolerance. */
#ifndef SERVER_FRAMING_H
#define SERVER_FRAMING_H

#include "server/errors.h"

/* What the lines of a head say. Zeroed, then framing_line() for each of them. */
typedef struct framing {
    unsigned n_lengths, n_codings, n_hosts;
    bool chunked, bad_name, bad_value;
    size_t n_bytes; /* of the lines so far, written plainly: "Name: value" and CR LF */
} framing;

void framing_line(framing *f, slice name, slice value);
/* Digits alone, of a number that 64 bits hold. False: *e says why (400, 413). */
bool framing_check_length(slice value, http_error *e);
/* (1). `version` as the request gives it. False: *e says why. */
bool framing_check(const framing *f, const char *version, http_error *e);
/* (2), (3). May another request follow on this connection? `head_bytes` is the size of the whole head as it came, `url_bytes`
 * that of the target in its first line. */
bool framing_is_plain(const framing *f, const char *method, size_t url_bytes, const char *version, size_t head_bytes);

#endif
