#include "server/errors.h"

#include "base/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool refuse(http_error *e, int status, const char *code, const char *param, const char *format, ...)
{
    va_list args;
    *e = (http_error){ .status = status, .code = code };
    if (param)
        snprintf(e->param, sizeof e->param, "%s", param);
    va_start(args, format);
    vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
    return false;
}

/* No field of the answer says "shorten and try again" to every client: they search the message for the phrases of the servers
 * that they know. tests/server/test_errors.c holds the phrases. */
bool refuse_context(http_error *e, size_t n_tokens, bool at_least, uint32_t n_ctx, bool may_grow)
{
    refuse(e, 400, "context_length_exceeded", "messages",
           "prompt is too long: %zu tokens > %u maximum%s. This model's maximum context length is %u tokens, and the "
           "request exceeds the context window. Please reduce the length of the messages%s",
           n_tokens, (unsigned)n_ctx, at_least ? " (at least; it was not counted to its end)" : "", (unsigned)n_ctx,
           may_grow ? ", or start the server with a larger --ctx" : "");
    e->has_context = true;
    e->n_prompt_tokens = n_tokens < UINT32_MAX ? (uint32_t)n_tokens : UINT32_MAX;
    e->n_ctx = n_ctx;
    return false;
}

bool refuse_status(http_error *e, ds4_status status, const char *text)
{
    switch (status) {
    case DS4_ERR_NO_SPACE:
        refuse(e, 503, "queue_full", NULL, "the queue is full: %s", text);
        e->retry_after_s = 1;
        return false;
    case DS4_ERR_CANCELLED:
        refuse(e, 503, "shutting_down", NULL, "%s", text);
        e->retry_after_s = 5;
        return false;
    case DS4_ERR_NO_MEMORY: return refuse_memory(e);
    case DS4_ERR_ARGUMENT: return refuse(e, 400, "invalid_value", "messages", "%s", text);
    default: return refuse(e, 500, "internal_error", NULL, "%s (%s)", text, ds4_status_word(status));
    }
}

bool refuse_memory(http_error *e)
{
    refuse(
        e, 503, "overloaded", NULL,
        "not enough memory for this request now; try again later, or send a shorter prompt. A server that is started "
        "with a smaller --ctx or a smaller --batched-session needs less");
    e->retry_after_s = 5;
    e->no_memory = true;
    return false;
}

static const char *type_of(const http_error *e)
{
    return e->status >= 500 ? "server_error" : "invalid_request_error";
}

ds4_status error_print_object(const http_error *e, buffer *out)
{
    ds4_status status = buffer_append_text(out, "{\"message\":");
    if (status == DS4_OK)
        status = json_write_string(out, slice_of(e->message));
    if (status == DS4_OK)
        status = buffer_printf(out, ",\"type\":\"%s\",\"param\":", type_of(e));
    if (status == DS4_OK)
        status = e->param[0] ? json_write_string(out, slice_of(e->param)) : buffer_append_text(out, "null");
    if (status == DS4_OK)
        status = e->code ? buffer_printf(out, ",\"code\":\"%s\"", e->code) : buffer_append_text(out, ",\"code\":null");
    if (status == DS4_OK && e->has_context)
        status = buffer_printf(out, ",\"n_prompt_tokens\":%u,\"n_ctx\":%u", e->n_prompt_tokens, e->n_ctx);
    return status == DS4_OK ? buffer_append_byte(out, '}') : status;
}

ds4_status error_print(const http_error *e, buffer *out)
{
    ds4_status status = buffer_append_text(out, "{\"error\":");
    if (status == DS4_OK)
        status = error_print_object(e, out);
    return status == DS4_OK ? buffer_append_text(out, "}\n") : status;
}
