/* Tool calls as the model wrote them: docs/spec/protocol.md, section 2.5. */
#include "base/json.h"
#include "chat/template.h"

#include <string.h>

/* `from` becomes `to` in what is appended. */
static ds4_status append_replacing(text_spans *out, slice text, slice from, slice to)
{
    ds4_status status = DS4_OK;
    while (status == DS4_OK && text.size > 0) {
        const char *hit = memmem(text.data, text.size, from.data, from.size);
        const size_t n = hit ? (size_t)(hit - text.data) : text.size;
        status = text_spans_text(out, (slice){ text.data, n });
        if (status == DS4_OK && hit)
            status = text_spans_text(out, to);
        const size_t used = hit ? n + from.size : n;
        text = (slice){ text.data + used, text.size - used };
    }
    return status;
}

static ds4_status append_attribute(text_spans *out, slice text)
{
    return append_replacing(out, text, SLICE("\""), SLICE("&quot;"));
}

static tag_scan begins_with(slice text, size_t at, const char *word)
{
    const size_t n = strlen(word), left = text.size - at;
    if (memcmp(text.data + at, word, left < n ? left : n) != 0)
        return TAG_NONE;
    return left < n ? TAG_MORE : TAG_FOUND;
}

tag_scan dsml_escaped_close(slice text, size_t *n_amps, size_t *size)
{
    enum { AMPS_MAX = 1000 }; /* so that a value full of them is not held back for ever */
    size_t at = 1;
    if (text.size == 0 || text.data[0] != '&')
        return TAG_NONE;
    for (*n_amps = 0; *n_amps <= AMPS_MAX; ++*n_amps, at += 4) {
        const tag_scan amp = begins_with(text, at, "amp;");
        if (amp == TAG_FOUND)
            continue;
        const tag_scan end = begins_with(text, at, "lt;" DSML_CLOSE_TEXT);
        *size = at + sizeof "lt;" DSML_CLOSE_TEXT - 1;
        return end == TAG_NONE ? amp : end;
    }
    return TAG_NONE;
}

/* The closing tag as text, and its escaped forms, step one level up, so that the parser can step down again. */
static ds4_status append_value(text_spans *out, slice text)
{
    ds4_status status = DS4_OK;
    size_t from = 0;
    for (size_t at = 0; status == DS4_OK && at < text.size; at++) {
        const slice here = { text.data + at, text.size - at };
        size_t n_amps, size;
        const bool plain = here.data[0] == '<' && begins_with(text, at + 1, DSML_CLOSE_TEXT) == TAG_FOUND;
        if (!plain && dsml_escaped_close(here, &n_amps, &size) != TAG_FOUND)
            continue;
        status = text_spans_text(out, (slice){ text.data + from, at - from });
        if (status == DS4_OK)
            status = text_spans_text(out, plain ? SLICE("&lt;") : SLICE("&amp;"));
        from = at + 1;
    }
    return status == DS4_OK ? text_spans_text(out, (slice){ text.data + from, text.size - from }) : status;
}

static ds4_status render_parameter(text_spans *out, chat_profile profile, slice key, const json_value *value, slice raw)
{
    buffer printed = { 0 };
    slice text = raw;
    const bool is_text = !value || json_string(value, &text);
    ds4_status status = template_text(out, profile, "<" T_DSML T_TAG "parameter name=\"");
    if (status == DS4_OK)
        status = append_attribute(out, key);
    if (status == DS4_OK)
        status = text_spans_text(out, is_text ? SLICE("\" string=\"true\">") : SLICE("\" string=\"false\">"));
    if (status == DS4_OK && !is_text) {
        status = json_print_python(value, &printed);
        text = buffer_slice(&printed);
    }
    if (status == DS4_OK)
        status = append_value(out, text);
    buffer_free(&printed);
    return status == DS4_OK ? template_text(out, profile, "</" T_DSML T_TAG "parameter>") : status;
}

static bool is_blank(slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (!strchr(" \t\r\n", text.data[i]) || text.data[i] == 0)
            return false;
    return true;
}

static ds4_status render_arguments(text_spans *out, chat_profile profile, slice arguments)
{
    json_value *object = NULL;
    ds4_status status = is_blank(arguments) ? DS4_OK : json_parse(&object, arguments, NULL, NULL);
    if (status == DS4_ERR_NO_MEMORY)
        return status;
    if (is_blank(arguments) || json_kind_of(object) == JSON_NULL)
        status = DS4_OK;                          /* {} */
    else if (json_kind_of(object) != JSON_OBJECT) /* whatever the model once produced */
        status = render_parameter(out, profile, SLICE("arguments"), NULL, arguments);
    else
        for (size_t i = 0; status == DS4_OK && i < json_count(object); i++) {
            if (i > 0)
                status = text_spans_text(out, SLICE("\n"));
            if (status == DS4_OK)
                status = render_parameter(out, profile, json_key_at(object, i), json_at(object, i), (slice){ 0 });
        }
    json_free(object);
    return status;
}

ds4_status chat_render_call_opening(text_spans *out, chat_profile profile, slice name)
{
    ds4_status status = template_text(out, profile, "\n\n<" T_DSML T_BLOCK ">\n");
    if (status == DS4_OK && name.size > 0)
        status = template_text(out, profile, "<" T_DSML T_TAG "invoke name=\"");
    return status == DS4_OK && name.size > 0 ? append_attribute(out, name) : status;
}

ds4_status dsml_render_calls(text_spans *out, chat_profile profile, const chat_call *calls, size_t n)
{
    ds4_status status = template_text(out, profile, "\n\n<" T_DSML T_BLOCK ">");
    for (size_t i = 0; status == DS4_OK && i < n; i++) {
        status = template_text(out, profile, "\n<" T_DSML T_TAG "invoke name=\"");
        if (status == DS4_OK)
            status = append_attribute(out, calls[i].name);
        if (status == DS4_OK)
            status = text_spans_text(out, SLICE("\">\n"));
        if (status == DS4_OK)
            status = render_arguments(out, profile, calls[i].arguments);
        if (status == DS4_OK)
            status = template_text(out, profile, "\n</" T_DSML T_TAG "invoke>");
    }
    return status == DS4_OK ? template_text(out, profile, "\n</" T_DSML T_BLOCK ">") : status;
}
