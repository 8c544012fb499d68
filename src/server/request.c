#include "server/request.h"

#include "server/fields.h"
#include "server/messages.h"

#include <stdio.h>
#include <string.h>

enum { MEMORY_MAX_LEAST = 64 << 20 };

/* --- sampling ------------------------------------------------------------------------------------------------------------ */

static bool read_biases(chat_request *r, uint32_t n_vocab, http_error *e)
{
    const json_value *list;
    if (!field_object(r->body, "logit_bias", &list, e))
        return false;
    if (json_count(list) > BIASES_MAX)
        return refuse(e, 400, "invalid_value", "logit_bias", "logit_bias may have at most %d entries", BIASES_MAX);
    engine_bias *biases = arena_alloc_array(&r->memory, json_count(list), sizeof *biases);
    if (!biases)
        return refuse_memory(e);
    for (size_t i = 0; i < json_count(list); i++) {
        const slice key = json_key_at(list, i);
        uint64_t id = 0;
        double bias;
        bool good =
            key.size > 0 && key.size <= 10 && json_double(json_at(list, i), &bias) && bias >= -100 && bias <= 100;
        for (size_t k = 0; good && k < key.size; k++) {
            good = key.data[k] >= '0' && key.data[k] <= '9';
            id = id * 10 + (uint64_t)(key.data[k] - '0');
        }
        if (!good || id >= n_vocab)
            return refuse(e, 400, "invalid_value", "logit_bias",
                          "logit_bias maps token ids below %u to numbers between -100 and 100 ('%.20s' is not one)",
                          (unsigned)n_vocab, key.data);
        biases[i] = (engine_bias){ (uint32_t)id, (float)bias };
    }
    r->sampling.biases = biases;
    r->sampling.n_biases = (uint32_t)json_count(list);
    return true;
}

/* Any integer, modulo 2^64: clients draw seeds from signed and from unsigned ranges. */
static bool read_seed(chat_request *r, http_error *e)
{
    const json_value *value = json_member(r->body, "seed");
    uint64_t seed = 0;
    int64_t number;
    if (json_is_null(value))
        return true;
    if (json_int64(value, &number)) {
        r->sampling.seed = (uint64_t)number;
        return true;
    }
    if (!json_is_integer(value))
        return refuse(e, 400, "invalid_type", "seed", "seed must be an integer");
    const slice text = json_number_text(value);
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] != '-')
            seed = seed * 10 + (uint64_t)(text.data[i] - '0');
    r->sampling.seed = text.data[0] == '-' ? 0 - seed : seed;
    return true;
}

static bool read_sampling(chat_request *r, uint32_t n_vocab, http_error *e)
{
    engine_sampling *s = &r->sampling;
    int64_t top_k = 0;
    *s = engine_sampling_default();
    hash_random(&s->seed, sizeof s->seed);
    if (!read_seed(r, e) || !field_real(r->body, "temperature", 0, ENGINE_TEMPERATURE_MAX, &s->temperature, e) ||
        !field_real(r->body, "top_p", 0, 1, &s->top_p, e) || !field_int(r->body, "top_k", -1, INT32_MAX, &top_k, e) ||
        !field_real(r->body, "min_p", 0, 1, &s->min_p, e) ||
        !field_real(r->body, "presence_penalty", -2, 2, &s->presence_penalty, e) ||
        !field_real(r->body, "frequency_penalty", -2, 2, &s->frequency_penalty, e) ||
        !field_real(r->body, "repetition_penalty", 1e-6, 10, &s->repetition_penalty, e) ||
        !field_real(r->body, "repeat_penalty", 1e-6, 10, &s->repetition_penalty, e))
        return false;
    s->top_k = top_k < 0 ? 0 : (uint32_t)top_k;
    return read_biases(r, n_vocab, e);
}

/* Client sampling does not count while the model thinks, as with the hosted API; docs/spec/protocol.md, section 5.2.
 * But who asks for temperature 0 wants the same answer every time, and gets it. */
static void settle_sampling(chat_request *r, const server_options *o)
{
    if (r->mode == CHAT_THINK_NONE || o->honor_sampling || r->honor_sampling)
        return;
    engine_sampling fixed = engine_sampling_default();
    fixed.temperature = r->sampling.temperature == 0 ? 0 : fixed.temperature;
    fixed.seed = r->sampling.seed;
    fixed.biases = r->sampling.biases;
    fixed.n_biases = r->sampling.n_biases;
    r->sampling = fixed;
}

static bool read_stops(chat_request *r, http_error *e)
{
    const json_value *value = json_member(r->body, "stop");
    const bool one = json_kind_of(value) == JSON_STRING;
    const size_t n = one ? 1 : json_count(value);
    if (json_is_null(value))
        return true;
    if (!one && json_kind_of(value) != JSON_ARRAY)
        return refuse(e, 400, "invalid_type", "stop", "stop must be a string or an array of strings");
    if (n > STOPS_MAX)
        return refuse(e, 400, "invalid_value", "stop", "stop may hold at most %d strings (got %zu)", STOPS_MAX, n);
    r->stops = arena_alloc_array(&r->memory, n, sizeof *r->stops);
    if (!r->stops)
        return refuse_memory(e);
    for (size_t i = 0; i < n; i++) {
        slice stop;
        if (!json_string(one ? value : json_at(value, i), &stop))
            return refuse(e, 400, "invalid_type", "stop", "stop must hold strings only");
        if (stop.size > STOP_BYTES_MAX)
            return refuse(e, 400, "invalid_value", "stop", "a stop string may have at most %d bytes (got %zu)",
                          STOP_BYTES_MAX, stop.size);
        if (stop.size > 0)
            r->stops[r->n_stops++] = stop;
    }
    return true;
}

static bool read_limits(chat_request *r, const server_options *o, http_error *e)
{
    int64_t old = -1, now = -1, top = 0;
    if (!field_int(r->body, "max_tokens", -1, INT64_C(1) << 40, &old, e) ||
        !field_int(r->body, "max_completion_tokens", -1, INT64_C(1) << 40, &now, e))
        return false;
    const int64_t n = now >= 0 ? now : old;
    r->has_max_tokens = n >= 0;
    r->max_tokens = n < 0 ? o->max_tokens : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
    if (!field_bool(r->body, "logprobs", &r->want_logprobs, e) ||
        !field_int(r->body, "top_logprobs", 0, LOGPROBS_MAX, &top, e))
        return false;
    if (top > 0 && !r->want_logprobs)
        return refuse(e, 400, "invalid_value", "top_logprobs", "top_logprobs needs logprobs: true");
    r->n_logprobs = (uint32_t)top;
    return true;
}

/* --- thinking: 2.6 ---------------------------------------------------------------------------------------------------------- */

/* A switch that is a boolean, or an object with a type. 1 on, 0 off, -1 not said. */
static bool read_switch(const json_value *value, const char *name, int *out, http_error *e)
{
    bool on;
    slice type;
    if (json_is_null(value))
        return true;
    if (json_bool(value, &on)) {
        *out = on;
        return true;
    }
    if (!json_string(json_member(value, "type"), &type))
        return refuse(e, 400, "invalid_type", name, "%s must be true, false or {\"type\":\"enabled\"|\"disabled\"}",
                      name);
    if (slice_equal(type, SLICE("enabled")) || slice_equal(type, SLICE("adaptive")))
        *out = 1;
    else if (slice_equal(type, SLICE("disabled")))
        *out = 0;
    else
        return refuse(e, 400, "invalid_value", name, "%s.type '%.40s' is not enabled, adaptive or disabled", name,
                      type.data);
    return true;
}

static bool read_effort(chat_request *r, slice *effort, http_error *e)
{
    const json_value *value = json_member(r->body, "reasoning_effort");
    if (json_is_null(value))
        value = json_member(json_member(r->body, "reasoning"), "effort");
    if (json_is_null(value) || json_string(value, effort))
        return true;
    *effort = json_number_text(value);
    return effort->size > 0 ||
           refuse(e, 400, "invalid_type", "reasoning_effort", "reasoning_effort must be a word or a number");
}

/* The limit of reasoning in all the ways in which clients write it: tokens; 0: no reasoning; -1: no limit. The smallest counts.
 * UINT32_MAX means that the request leaves it open. */
static bool read_budget(chat_request *r, const json_value *kwargs, int64_t *budget, http_error *e)
{
    const json_value *thinking = json_member(r->body, "thinking"), *reasoning = json_member(r->body, "reasoning");
    const struct {
        const json_value *object;
        const char *name, *path;
    } fields[] = { { r->body, "thinking_budget", "thinking_budget" },
                   { r->body, "thinking_token_budget", "thinking_token_budget" },
                   { r->body, "reasoning_budget", "reasoning_budget" },
                   { thinking, "budget_tokens", "thinking.budget_tokens" },
                   { reasoning, "max_tokens", "reasoning.max_tokens" },
                   { kwargs, "thinking_budget", "chat_template_kwargs.thinking_budget" } };
    *budget = UINT32_MAX;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        int64_t n = INT64_MAX;
        if (!field_int(fields[i].object, fields[i].name, -1, BUDGET_MAX, &n, e)) {
            snprintf(e->param, sizeof e->param, "%s", fields[i].path);
            return false;
        }
        if (n == -1 && *budget == UINT32_MAX)
            *budget = -1;
        else if (n >= 0 && n <= BUDGET_MAX && (*budget < 0 || n < *budget))
            *budget = n;
    }
    return true;
}

/* Without a word from the request or the operator: half of the context at most, so that an answer fits, too; and below effort
 * max no more than somebody would want to wait for. */
static uint32_t default_budget(const chat_request *r, uint32_t n_ctx)
{
    const uint32_t half = n_ctx / 2 ? n_ctx / 2 : 1;
    return r->mode != CHAT_THINK_MAX && half > CHAT_BUDGET_DEFAULT ? CHAT_BUDGET_DEFAULT : half;
}

static bool read_thinking(chat_request *r, const server_options *o, uint32_t n_ctx, http_error *e)
{
    const json_value *kwargs;
    int on = -1;
    int64_t budget;
    slice effort = { "", 0 };
    if (!field_object(r->body, "chat_template_kwargs", &kwargs, e) ||
        !read_switch(json_member(kwargs, "enable_thinking"), "chat_template_kwargs.enable_thinking", &on, e) ||
        !read_switch(json_member(kwargs, "thinking"), "chat_template_kwargs.thinking", &on, e) ||
        !read_switch(json_member(r->body, "enable_thinking"), "enable_thinking", &on, e) ||
        !read_switch(json_member(r->body, "think"), "think", &on, e) ||
        !read_switch(json_member(r->body, "thinking"), "thinking", &on, e) || !read_effort(r, &effort, e) ||
        !read_budget(r, kwargs, &budget, e))
        return false;
    if (budget == 0)
        on = 0;
    const bool said = effort.size > 0;
    if (!said && o->effort)
        effort = slice_of(o->effort);
    if (!chat_mode_of_effort(o->profile, effort, &r->mode, &r->effort))
        return refuse(e, 400, "invalid_value", "reasoning_effort",
                      "reasoning_effort '%.40s' is not none, low, medium, high, xhigh, max or a number from 1 to 100",
                      effort.data);
    if (on < 0 && slice_equal(r->model, SLICE("deepseek-reasoner")))
        on = 1;
    if (on < 0 && !said && (slice_equal(r->model, SLICE("deepseek-chat")) || o->nothink))
        on = 0;
    if (on == 0)
        r->mode = CHAT_THINK_NONE;
    else if (on == 1 && r->mode == CHAT_THINK_NONE && !chat_mode_of_effort(o->profile, SLICE(""), &r->mode, &r->effort))
        return false;
    if (r->mode == CHAT_THINK_MAX && o->max_min_ctx && n_ctx < o->max_min_ctx) {
        r->mode = CHAT_THINK_HIGH;
        r->effort_lowered = true;
    }
    if (budget != UINT32_MAX)
        r->think_budget = budget > 0 ? (uint32_t)budget : 0;
    else if (o->think_budget)
        r->think_budget = o->think_budget == SERVER_NO_BUDGET ? 0 : o->think_budget;
    else
        r->think_budget = default_budget(r, n_ctx);
    return true;
}

/* --- the rest ---------------------------------------------------------------------------------------------------------------- */

static bool read_format(chat_request *r, http_error *e)
{
    const json_value *format;
    slice type;
    buffer printed = { 0 };
    if (!field_object(r->body, "response_format", &format, e) || !format)
        return !format && e->status == 0;
    if (!json_string(json_member(format, "type"), &type))
        return refuse(e, 400, "missing_required_parameter", "response_format", "response_format.type is required");
    if (slice_equal(type, SLICE("text")))
        return true;
    if (!slice_equal(type, SLICE("json_object")) && !slice_equal(type, SLICE("json_schema")))
        return refuse(e, 400, "invalid_value", "response_format",
                      "response_format.type '%.40s' is not text, json_object or json_schema", type.data);
    const json_value *schema;
    bool strict = false;
    if (!field_object(format, "json_schema", &schema, e) || !field_bool(schema, "strict", &strict, e))
        return false;
    if (strict)
        return refuse(
            e, 400, "unsupported_parameter", "response_format",
            "response_format.json_schema.strict: true is not supported: the schema is told to the model, but its "
            "answer is not held to it; leave strict out, and check the answer");
    if (json_print_python(format, &printed) != DS4_OK) {
        buffer_free(&printed);
        return refuse_memory(e);
    }
    r->response_format = request_keep(r, &printed);
    return r->response_format.data || refuse_memory(e);
}

static bool read_model(chat_request *r, const server_options *o, http_error *e)
{
    if (!field_string(r->body, "model", &r->model, e))
        return false;
    if (r->model.size > MODEL_BYTES_MAX) /* it is echoed in every chunk */
        return refuse(e, 400, "invalid_value", "model", "model may have at most %d bytes (got %zu)", MODEL_BYTES_MAX,
                      r->model.size);
    if (!o->strict_model || r->model.size == 0)
        return true;
    bool known = slice_equal(r->model, SLICE("deepseek-chat")) || slice_equal(r->model, SLICE("deepseek-reasoner"));
    for (size_t i = 0; i < o->n_model_names; i++)
        known = known || slice_equal(r->model, slice_of(o->model_names[i]));
    return known || refuse(e, 404, "model_not_found", "model", "the model '%.100s' is not served here", r->model.data);
}

/* Is nothing asked for? Some clients send every field that they know, empty. */
static bool is_blank(const json_value *value)
{
    slice text;
    bool on;
    if (json_string(value, &text))
        return text.size == 0;
    if (json_bool(value, &on))
        return !on;
    return json_is_null(value) ||
           ((json_kind_of(value) == JSON_ARRAY || json_kind_of(value) == JSON_OBJECT) && json_count(value) == 0);
}

/* The fields with which other servers hold an answer to a grammar. Who sends one relies on it. */
static bool read_grammars(const chat_request *r, http_error *e)
{
    static const char *const names[] = { "grammar",
                                         "guided_json",
                                         "guided_regex",
                                         "guided_choice",
                                         "guided_grammar",
                                         "structured_outputs",
                                         "ebnf",
                                         "regex",
                                         "json_schema",
                                         "structural_tag",
                                         "guided_decoding",
                                         "format",
                                         "guided_whitespace_pattern" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!is_blank(json_member(r->body, names[i])))
            return refuse(
                e, 400, "unsupported_parameter", names[i],
                "%s is not supported: this server cannot hold an answer to a grammar; describe the form in the "
                "prompt, or use response_format, which does that",
                names[i]);
    return true;
}

/* What would change the answer and is not there is refused, never ignored. */
static bool read_unsupported(const chat_request *r, http_error *e)
{
    static const char *const old[] = { "functions", "function_call" };
    const json_value *modalities;
    slice word;
    for (size_t i = 0; i < sizeof old / sizeof old[0]; i++)
        if (!json_is_null(json_member(r->body, old[i])))
            return refuse(e, 400, "unsupported_parameter", old[i], "%s is not supported; use tools and tool_choice",
                          old[i]);
    if (!field_array(r->body, "modalities", &modalities, e))
        return false;
    for (size_t i = 0; i < json_count(modalities); i++)
        if (!json_string(json_at(modalities, i), &word) || !slice_equal(word, SLICE("text")))
            return refuse(e, 400, "unsupported_parameter", "modalities", "modalities may hold only \"text\"");
    return true;
}

static bool read_switches(chat_request *r, http_error *e)
{
    const json_value *stream_options;
    int64_t n = 1;
    bool cache = true;
    if (!field_bool(r->body, "stream", &r->stream, e) || !field_object(r->body, "stream_options", &stream_options, e) ||
        !field_bool(stream_options, "include_usage", &r->include_usage, e) || !field_int(r->body, "n", 1, 8, &n, e) ||
        !field_bool(r->body, "cache_prompt", &cache, e) ||
        !field_bool(r->body, "honor_sampling", &r->honor_sampling, e))
        return false;
    if (n != 1)
        return refuse(e, 400, "unsupported_parameter", "n", "n above 1 is not supported; send several requests");
    r->no_cache = !cache;
    return true;
}

/* What the tree, and the lists beside it, may take: a few times the longest body. Ordinary requests stay under twice theirs. */
static size_t memory_max(const server_options *o)
{
    const uint64_t most = 4 * o->body_bytes_max;
    return most > MEMORY_MAX_LEAST ? (size_t)most : MEMORY_MAX_LEAST;
}

static bool refuse_values(const server_options *o, http_error *e)
{
    return refuse(e, 413, "request_too_large", NULL, "the body holds too many values: they take more than %zu MiB",
                  memory_max(o) >> 20);
}

bool request_read(chat_request *r, slice body, const server_options *o, uint32_t n_ctx, uint32_t n_vocab, http_error *e)
{
    ds4_error err = { 0 };
    *r = (chat_request){ .memory.size_max = memory_max(o) };
    *e = (http_error){ 0 };
    const ds4_status status = json_parse_bounded(&r->body, body, memory_max(o), NULL, &err);
    if (status == DS4_ERR_NO_MEMORY)
        return refuse_memory(e);
    if (status == DS4_ERR_NO_SPACE)
        return refuse_values(o, e);
    if (status != DS4_OK)
        return refuse(e, 400, "invalid_json", NULL, "the body is not valid JSON: %s", err.text);
    if (json_kind_of(r->body) != JSON_OBJECT)
        return refuse(e, 400, "invalid_json", NULL, "the body must be a JSON object (got %s)",
                      json_kind_name(json_kind_of(r->body)));
    if (!read_model(r, o, e) || !messages_read(r, e) || !tools_read(r, e) || !read_format(r, e) ||
        !read_unsupported(r, e) || !read_grammars(r, e) || !read_switches(r, e) || !read_limits(r, o, e) ||
        !read_stops(r, e) || !read_thinking(r, o, n_ctx, e) || !read_sampling(r, n_vocab, e))
        return r->memory.over ? refuse_values(o, e) : false;
    settle_sampling(r, o);
    return true;
}

/* --- what stays -------------------------------------------------------------------------------------------------------- */

static bool keep(arena *to, slice *text)
{
    if (text->size)
        *text = arena_copy(to, *text);
    return text->data || text->size == 0;
}

/* Copies of what the fields of *r point to, in *to. */
static bool keep_rest(chat_request *r, arena *to)
{
    const engine_sampling *s = &r->sampling;
    chat_tool *tools = arena_alloc_array(to, r->n_tools, sizeof *tools);
    slice *stops = arena_alloc_array(to, r->n_stops, sizeof *stops);
    engine_bias *biases = arena_alloc_array(to, s->n_biases, sizeof *biases);
    bool good = tools && stops && biases && keep(to, &r->model) && keep(to, &r->choice_name);
    for (size_t i = 0; good && i < r->n_tools; i++) {
        tools[i] = r->tools[i];
        good = keep(to, &tools[i].name) && keep(to, &tools[i].schema);
    }
    for (size_t i = 0; good && i < r->n_stops; i++) {
        stops[i] = r->stops[i];
        good = keep(to, &stops[i]);
    }
    if (good && s->n_biases)
        memcpy(biases, s->biases, s->n_biases * sizeof *biases);
    r->tools = tools;
    r->stops = stops;
    r->sampling.biases = biases;
    return good;
}

bool request_settle(chat_request *r, http_error *e)
{
    chat_request settled = *r;
    arena kept = { 0 };
    if (!keep_rest(&settled, &kept)) {
        arena_free(&kept);
        return refuse_memory(e);
    }
    json_free(r->body);
    arena_free(&r->memory);
    *r = settled;
    r->memory = kept;
    r->body = NULL;
    r->messages = NULL;
    r->n_messages = 0;
    r->response_format = (slice){ 0 };
    return true;
}

void request_free(chat_request *r)
{
    json_free(r->body);
    arena_free(&r->memory);
    *r = (chat_request){ 0 };
}
