#include "server/pages.h"

#include "base/clock.h"

#include <inttypes.h>

/* --- models ---------------------------------------------------------------------------------------------------------------- */

static const char *const fixed_names[] = { "deepseek-chat", "deepseek-reasoner" };

static ds4_status print_model(const completion_context *c, slice id, buffer *out)
{
    const engine_about *a = engine_get_about(c->engine);
    ds4_status status = buffer_append_text(out, "{\"id\":");
    if (status == DS4_OK)
        status = json_write_string(out, id);
    if (status == DS4_OK)
        status = buffer_append_text(out, ",\"object\":\"model\",\"type\":\"model\",\"created\":0,"
                                         "\"created_at\":\"1970-01-01T00:00:00Z\",\"owned_by\":\"ds4\",\"name\":");
    if (status == DS4_OK)
        status = json_write_string(out, a->name);
    if (status == DS4_OK)
        status = buffer_append_text(out, ",\"display_name\":");
    if (status == DS4_OK)
        status = json_write_string(out, a->name);
    if (status == DS4_OK)
        status = buffer_printf(
            out,
            ",\"context_length\":%u,\"max_model_len\":%u,\"top_provider\":{\"context_length\":%u,"
            "\"max_completion_tokens\":%u,\"is_moderated\":false},\"meta\":{\"n_ctx\":%u,\"n_ctx_train\":%u,"
            "\"n_vocab\":%u,\"n_params\":%" PRIu64 ",\"size\":%" PRIu64 "},\"prompt_profile\":\"%s\","
            "\"supported_parameters\":[\"max_tokens\",\"temperature\",\"top_p\",\"top_k\",\"min_p\",\"seed\","
            "\"stop\",\"tools\",\"tool_choice\",\"reasoning_effort\",\"logprobs\",\"top_logprobs\","
            "\"logit_bias\"]}",
            a->n_ctx, a->n_ctx, a->n_ctx, c->options->max_tokens < a->n_ctx ? c->options->max_tokens : a->n_ctx,
            a->n_ctx, a->n_ctx_trained, a->n_vocab, a->n_params, a->n_bytes, chat_profile_name(c->options->profile));
    return status;
}

ds4_status page_models(const completion_context *c, buffer *out)
{
    ds4_status status = buffer_append_text(out, "{\"object\":\"list\",\"data\":[");
    if (status == DS4_OK)
        status = print_model(c, slice_of(c->model_name), out);
    for (size_t i = 0; status == DS4_OK && i < c->options->n_model_names; i++) {
        if (slice_equal(slice_of(c->options->model_names[i]), slice_of(c->model_name)))
            continue;
        status = buffer_append_byte(out, ',');
        if (status == DS4_OK)
            status = print_model(c, slice_of(c->options->model_names[i]), out);
    }
    for (size_t i = 0; status == DS4_OK && i < 2; i++) {
        status = buffer_append_byte(out, ',');
        if (status == DS4_OK)
            status = print_model(c, slice_of(fixed_names[i]), out);
    }
    if (status == DS4_OK)
        status = buffer_append_text(out, "],\"has_more\":false,\"first_id\":");
    if (status == DS4_OK)
        status = json_write_string(out, slice_of(c->model_name));
    return status == DS4_OK ? buffer_printf(out, ",\"last_id\":\"%s\"}\n", fixed_names[1]) : status;
}

ds4_status page_model(const completion_context *c, slice id, buffer *out)
{
    bool known = slice_equal(id, slice_of(c->model_name)) || slice_equal(id, slice_of(fixed_names[0])) ||
                 slice_equal(id, slice_of(fixed_names[1]));
    for (size_t i = 0; i < c->options->n_model_names; i++)
        known = known || slice_equal(id, slice_of(c->options->model_names[i]));
    if (!known)
        return DS4_ERR_NOT_FOUND;
    const ds4_status status = print_model(c, id, out);
    return status == DS4_OK ? buffer_append_byte(out, '\n') : status;
}

/* --- health ---------------------------------------------------------------------------------------------------------------- */

ds4_status page_health(const completion_context *c, int64_t started_us, bool draining, buffer *out)
{
    sched_metrics m;
    sched_get_metrics(c->sched, &m);
    ds4_status status = buffer_printf(out, "{\"status\":\"%s\",\"model\":", draining ? "shutting_down" : "ok");
    if (status == DS4_OK)
        status = json_write_string(out, slice_of(c->model_name));
    if (status == DS4_OK)
        status = buffer_printf(out, ",\"n_ctx\":%u,\"uptime_s\":%.3f,\"running\":%" PRIu64 ",\"queued\":%" PRIu64 "}\n",
                               engine_get_about(c->engine)->n_ctx, (double)(clock_monotonic_us() - started_us) / 1e6,
                               m.n_running, m.n_queued);
    return status;
}
