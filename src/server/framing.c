#include "server/framing.h"

#include <string.h>
#include <strings.h>

static bool is_named(slice name, const char *word)
{
    return name.size == strlen(word) && strncasecmp(name.data, word, name.size) == 0;
}

/* RFC 9110, section 5.6.2. */
static bool is_token(slice name)
{
    for (size_t i = 0; i < name.size; i++) {
        const unsigned char c = (unsigned char)name.data[i];
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (c == 0 || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return name.size > 0;
}

static bool has_control(slice value)
{
    for (size_t i = 0; i < value.size; i++) {
        const unsigned char c = (unsigned char)value.data[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

void framing_line(framing *f, slice name, slice value)
{
    f->n_bytes += name.size + value.size + sizeof ": \r\n" - 1;
    f->bad_name = f->bad_name || !is_token(name);
    f->bad_value = f->bad_value || has_control(value);
    f->n_lengths += is_named(name, "Content-Length");
    f->n_hosts += is_named(name, "Host");
    if (is_named(name, "Transfer-Encoding")) {
        f->n_codings++;
        f->chunked = is_named(value, "chunked");
    }
}

static bool refuse_framing(http_error *e, const char *why)
{
    return refuse(e, 400, "invalid_request", NULL, "%s", why);
}

bool framing_check_length(slice value, http_error *e)
{
    uint64_t number = 0;
    bool fits = true;
    for (size_t i = 0; i < value.size; i++) {
        const unsigned digit = (unsigned)(unsigned char)value.data[i] - '0';
        if (digit > 9)
            return refuse_framing(e, "Content-Length is not a number");
        fits = fits && number <= (UINT64_MAX - digit) / 10;
        number = number * 10 + digit;
    }
    if (value.size == 0)
        return refuse_framing(e, "Content-Length is empty");
    return fits || refuse(e, 413, "request_too_large", NULL, "Content-Length is larger than any body");
}

bool framing_check(const framing *f, const char *version, http_error *e)
{
    if (f->bad_name)
        return refuse_framing(e, "a header name holds a character that is not allowed there");
    if (f->bad_value)
        return refuse_framing(e, "a header value holds a control character");
    if (f->n_lengths > 1)
        return refuse_framing(e, "Content-Length is given more than once");
    if (f->n_hosts > 1)
        return refuse_framing(e, "Host is given more than once");
    if (f->n_codings > 1 || (f->n_codings == 1 && !f->chunked))
        return refuse_framing(e, "the only Transfer-Encoding is: chunked");
    if (f->n_codings && f->n_lengths)
        return refuse_framing(e, "a body has Content-Length or Transfer-Encoding, not both");
    if (f->n_codings && strcmp(version, "HTTP/1.1") != 0)
        return refuse_framing(e, "Transfer-Encoding needs HTTP/1.1");
    return f->n_hosts == 1 || strcmp(version, "HTTP/1.1") != 0 || refuse_framing(e, "HTTP/1.1 needs a Host header");
}

bool framing_is_plain(const framing *f, const char *method, size_t url_bytes, const char *version, size_t head_bytes)
{
    const size_t first_line = strlen(method) + url_bytes + strlen(version) + sizeof "  \r\n" - 1;
    return f->n_codings == 0 && head_bytes == first_line + f->n_bytes + sizeof "\r\n" - 1;
}
