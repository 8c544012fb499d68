#include "server/messages.h"

#include "server/fields.h"

#include <stdio.h>
#include <string.h>

slice request_keep(chat_request *r, buffer *printed)
{
    const slice kept = arena_copy(&r->memory, (slice){ printed->data ? printed->data : "", printed->size });
    buffer_free(printed);
    return kept;
}

/* --- messages -------------------------------------------------------------------------------------------------------------- */

/* "messages[3].content", for refusals. */
static const char *path_of(char out[64], size_t i, const char *name)
{
    snprintf(out, 64, "messages[%zu]%s%s", i, name[0] ? "." : "", name);
    return out;
}

static bool read_role(const json_value *message, size_t i, chat_role *out, http_error *e)
{
    static const struct {
        const char *word;
        chat_role role;
    } roles[] = { { "system", CHAT_SYSTEM },           { "developer", CHAT_DEVELOPER }, { "user", CHAT_USER },
                  { "assistant", CHAT_ASSISTANT },     { "tool", CHAT_TOOL },           { "function", CHAT_TOOL },
                  { "latest_reminder", CHAT_REMINDER } };
    char path[64];
    slice word;
    if (!json_string(json_member(message, "role"), &word))
        return refuse(e, 400, "missing_required_parameter", path_of(path, i, "role"),
                      "messages[%zu].role must be a string", i);
    for (size_t k = 0; k < sizeof roles / sizeof roles[0]; k++)
        if (slice_equal(word, slice_of(roles[k].word))) {
            *out = roles[k].role;
            return true;
        }
    return refuse(e, 400, "invalid_value", path_of(path, i, "role"),
                  "messages[%zu].role '%.40s' is not known; use system, developer, user, assistant or tool", i,
                  word.data);
}

/* One part of a content list as text. */
static bool read_part(chat_request *r, const json_value *part, size_t i, size_t k, bool is_result, slice *out,
                      http_error *e)
{
    char path[64];
    slice type = SLICE("text");
    buffer printed = { 0 };
    if (json_string(part, out))
        return true;
    if (json_kind_of(part) != JSON_OBJECT)
        return refuse(e, 400, "invalid_type", path_of(path, i, "content"),
                      "messages[%zu].content[%zu] must be an object or a string (got %s)", i, k,
                      json_kind_name(json_kind_of(part)));
    if (!json_is_null(json_member(part, "type")) && !json_string(json_member(part, "type"), &type))
        return refuse(e, 400, "invalid_type", path_of(path, i, "content"),
                      "messages[%zu].content[%zu].type must be a string", i, k);
    const bool refusal = slice_equal(type, SLICE("refusal"));
    if (refusal || slice_equal(type, SLICE("text"))) {
        const char *member = refusal ? "refusal" : "text";
        return json_string(json_member(part, member), out) ||
               refuse(e, 400, "invalid_type", path_of(path, i, "content"),
                      "messages[%zu].content[%zu].%s must be a string", i, k, member);
    }
    if (!is_result)
        return refuse(e, 400, "unsupported_content", path_of(path, i, "content"),
                      "messages[%zu].content[%zu]: parts of type '%.40s' are not supported by this model", i, k,
                      type.data);
    /* Clients cannot avoid pictures in what tools return. */
    if (buffer_printf(&printed, "[Unsupported %.40s]", type.data) != DS4_OK)
        return refuse_memory(e);
    *out = request_keep(r, &printed);
    return out->data || refuse_memory(e);
}

static bool read_content(chat_request *r, const json_value *value, size_t i, chat_message *m, http_error *e)
{
    char path[64];
    const json_kind kind = json_kind_of(value);
    if (json_is_null(value))
        return true;
    if (kind != JSON_STRING && kind != JSON_ARRAY)
        return refuse(e, 400, "invalid_type", path_of(path, i, "content"),
                      "messages[%zu].content must be a string or an array of parts (got %s)", i, json_kind_name(kind));
    const size_t n = kind == JSON_ARRAY ? json_count(value) : 1;
    slice *texts = arena_alloc_array(&r->memory, n, sizeof *texts);
    if (!texts)
        return refuse_memory(e);
    if (kind == JSON_STRING)
        json_string(value, &texts[0]);
    for (size_t k = 0; kind == JSON_ARRAY && k < n; k++)
        if (!read_part(r, json_at(value, k), i, k, m->role == CHAT_TOOL, &texts[k], e))
            return false;
    m->texts = texts;
    m->n_texts = n;
    return true;
}

static bool read_reasoning(chat_request *r, const json_value *message, size_t i, chat_message *m, http_error *e)
{
    char path[64];
    const json_value *value = json_member(message, "reasoning_content");
    buffer joined = { 0 };
    if (json_is_null(value))
        value = json_member(message, "reasoning");
    if (json_is_null(value) || json_string(value, &m->reasoning))
        return true;
    if (json_kind_of(value) != JSON_ARRAY)
        return refuse(e, 400, "invalid_type", path_of(path, i, "reasoning_content"),
                      "messages[%zu].reasoning_content must be a string", i);
    for (size_t k = 0; k < json_count(value); k++) {
        slice text = { "", 0 };
        if (json_string(json_at(value, k), &text) || json_string(json_member(json_at(value, k), "text"), &text))
            if (buffer_append_slice(&joined, text) != DS4_OK) {
                buffer_free(&joined);
                return refuse_memory(e);
            }
    }
    m->reasoning = request_keep(r, &joined);
    return m->reasoning.data || refuse_memory(e);
}

static bool read_call(chat_request *r, const json_value *value, size_t i, chat_call *call, http_error *e)
{
    char path[64];
    const json_value *function = json_member(value, "function");
    const json_value *arguments = json_member(function, "arguments");
    buffer printed = { 0 };
    json_string(json_member(value, "id"), &call->id);
    if (!json_string(json_member(function, "name"), &call->name))
        return refuse(e, 400, "missing_required_parameter", path_of(path, i, "tool_calls"),
                      "messages[%zu].tool_calls: every call needs function.name", i);
    if (json_is_null(arguments) || json_string(arguments, &call->arguments))
        return true;
    if (json_print_compact(arguments, &printed) != DS4_OK) {
        buffer_free(&printed);
        return refuse_memory(e);
    }
    call->arguments = request_keep(r, &printed);
    return call->arguments.data || refuse_memory(e);
}

static bool read_calls(chat_request *r, const json_value *message, size_t i, chat_message *m, http_error *e)
{
    char path[64];
    const json_value *list = json_member(message, "tool_calls");
    if (json_is_null(list))
        return true;
    if (json_kind_of(list) != JSON_ARRAY || m->role != CHAT_ASSISTANT)
        return refuse(e, 400, "invalid_type", path_of(path, i, "tool_calls"),
                      "messages[%zu].tool_calls must be an array in an assistant message", i);
    chat_call *calls = arena_alloc_array(&r->memory, json_count(list), sizeof *calls);
    if (!calls)
        return refuse_memory(e);
    for (size_t k = 0; k < json_count(list); k++)
        if (!read_call(r, json_at(list, k), i, &calls[k], e))
            return false;
    m->calls = calls;
    m->n_calls = json_count(list);
    return true;
}

bool messages_read(chat_request *r, http_error *e)
{
    const json_value *list;
    if (!field_array(r->body, "messages", &list, e))
        return false;
    if (!list)
        return refuse(e, 400, "missing_required_parameter", "messages", "messages is required");
    if (json_count(list) == 0)
        return refuse(e, 400, "invalid_value", "messages", "messages must hold at least one message");
    r->messages = arena_alloc_array(&r->memory, json_count(list), sizeof *r->messages);
    if (!r->messages)
        return refuse_memory(e);
    for (size_t i = 0; i < json_count(list); i++) {
        const json_value *message = json_at(list, i);
        chat_message *m = &r->messages[i];
        char path[64];
        if (json_kind_of(message) != JSON_OBJECT)
            return refuse(e, 400, "invalid_type", path_of(path, i, ""), "messages[%zu] must be an object", i);
        if (!read_role(message, i, &m->role, e) || !read_content(r, json_member(message, "content"), i, m, e) ||
            !read_reasoning(r, message, i, m, e) || !read_calls(r, message, i, m, e))
            return false;
        json_string(json_member(message, "tool_call_id"), &m->call_id);
    }
    r->n_messages = json_count(list);
    return true;
}

/* --- tools ------------------------------------------------------------------------------------------------------------------- */

static bool good_name(slice name)
{
    if (name.size == 0 || name.size > 128)
        return false;
    for (size_t i = 0; i < name.size; i++) {
        const char c = name.data[i];
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (c == 0 || !strchr("_.:-", c)))
            return false;
    }
    return true;
}

/* The function object without what is the API's business and not the model's. */
static ds4_status print_schema(const json_value *function, buffer *out)
{
    static const char *const hidden[] = { "strict", "cache_control", "eager_input_streaming", "defer_loading" };
    ds4_status status = buffer_append_byte(out, '{');
    bool first = true;
    for (size_t i = 0; status == DS4_OK && i < json_count(function); i++) {
        bool skip = false;
        for (size_t k = 0; k < sizeof hidden / sizeof hidden[0]; k++)
            skip = skip || slice_equal(json_key_at(function, i), slice_of(hidden[k]));
        if (skip)
            continue;
        if (!first)
            status = buffer_append_text(out, ", ");
        first = false;
        if (status == DS4_OK)
            status = json_write_string(out, json_key_at(function, i));
        if (status == DS4_OK)
            status = buffer_append_text(out, ": ");
        if (status == DS4_OK)
            status = json_print_python(json_at(function, i), out);
    }
    return status == DS4_OK ? buffer_append_byte(out, '}') : status;
}

static bool read_tool(chat_request *r, const json_value *value, size_t i, http_error *e)
{
    chat_tool *tool = &r->tools[i];
    slice type = SLICE("function");
    buffer printed = { 0 };
    json_string(json_member(value, "type"), &type);
    const json_value *function = json_member(value, "function");
    if (!slice_equal(type, SLICE("function")) || json_kind_of(function) != JSON_OBJECT)
        return refuse(e, 400, "invalid_value", "tools", "tools[%zu] must be {\"type\":\"function\",\"function\":{...}}",
                      i);
    if (!json_string(json_member(function, "name"), &tool->name))
        return refuse(e, 400, "missing_required_parameter", "tools", "tools[%zu].function.name is required", i);
    if (!good_name(tool->name))
        return refuse(e, 400, "invalid_value", "tools",
                      "tools[%zu].function.name must be 1 to 128 letters, digits or _ . : - (got '%.40s')", i,
                      tool->name.data);
    for (size_t k = 0; k < i; k++)
        if (slice_equal(r->tools[k].name, tool->name))
            return refuse(e, 400, "invalid_value", "tools", "two tools have the name '%.128s'", tool->name.data);
    if (print_schema(function, &printed) != DS4_OK) {
        buffer_free(&printed);
        return refuse_memory(e);
    }
    tool->schema = request_keep(r, &printed);
    return tool->schema.data || refuse_memory(e);
}

static bool read_choice(chat_request *r, http_error *e)
{
    const json_value *choice = json_member(r->body, "tool_choice");
    slice word;
    if (json_is_null(choice))
        return true;
    if (json_string(choice, &word)) {
        if (slice_equal(word, SLICE("none")))
            r->choice = CHOICE_NONE;
        else if (slice_equal(word, SLICE("required")) || slice_equal(word, SLICE("any")))
            r->choice = CHOICE_REQUIRED;
        else if (!slice_equal(word, SLICE("auto")))
            return refuse(e, 400, "invalid_value", "tool_choice", "tool_choice '%.40s' is not none, auto or required",
                          word.data);
    } else if (json_string(json_member(json_member(choice, "function"), "name"), &r->choice_name)) {
        r->choice = CHOICE_NAMED;
        bool known = false;
        for (size_t i = 0; i < r->n_tools; i++)
            known = known || slice_equal(r->tools[i].name, r->choice_name);
        if (!known)
            return refuse(e, 400, "invalid_value", "tool_choice", "tool_choice names '%.128s', which is not in tools",
                          r->choice_name.data);
    } else {
        return refuse(e, 400, "invalid_type", "tool_choice", "tool_choice must be none, auto, required or a function");
    }
    if (r->n_tools == 0 && r->choice != CHOICE_NONE && r->choice != CHOICE_AUTO)
        return refuse(e, 400, "invalid_value", "tool_choice", "tool_choice asks for a call, but there are no tools");
    return true;
}

bool tools_read(chat_request *r, http_error *e)
{
    const json_value *list;
    if (!field_array(r->body, "tools", &list, e))
        return false;
    if (json_count(list) > TOOLS_MAX)
        return refuse(e, 400, "invalid_value", "tools", "at most %d tools are possible (got %zu)", TOOLS_MAX,
                      json_count(list));
    r->tools = arena_alloc_array(&r->memory, json_count(list), sizeof *r->tools);
    if (!r->tools)
        return refuse_memory(e);
    for (size_t i = 0; i < json_count(list); i++)
        if (!read_tool(r, json_at(list, i), i, e))
            return false;
    r->n_tools = json_count(list);
    r->parallel_calls = true;
    return read_choice(r, e) && field_bool(r->body, "parallel_tool_calls", &r->parallel_calls, e);
}
