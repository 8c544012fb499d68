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
    refuse(e, 503, "overloaded", NULL, "not enough memory for this request now; try again later");
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
