#include "server/pages.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>

/* --- models ---------------------------------------------------------------------------------------------------------------- */

static const char *const fixed_names[] = { "deepseek-chat", "deepseek-reasoner" };

static ds4_status print_model(const completion_context *c, const char *id, buffer *out)
{
    const engine_about *a = engine_get_about(c->engine);
    ds4_status status = buffer_append_text(out, "{\"id\":");
    if (status == DS4_OK)
        status = json_write_string(out, slice_of(id));
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
            "\"logit_bias\",\"response_format\"]}",
            a->n_ctx, a->n_ctx, a->n_ctx, c->options->max_tokens, a->n_ctx, a->n_ctx_trained, a->n_vocab, a->n_params,
            a->n_bytes, chat_profile_name(c->options->profile));
    return status;
}

ds4_status page_models(const completion_context *c, buffer *out)
{
    ds4_status status = buffer_append_text(out, "{\"object\":\"list\",\"data\":[");
    if (status == DS4_OK)
        status = print_model(c, c->model_name, out);
    for (size_t i = 0; status == DS4_OK && i < c->options->n_model_names; i++) {
        if (slice_equal(slice_of(c->options->model_names[i]), slice_of(c->model_name)))
            continue;
        status = buffer_append_byte(out, ',');
        if (status == DS4_OK)
            status = print_model(c, c->options->model_names[i], out);
    }
    for (size_t i = 0; status == DS4_OK && i < 2; i++) {
        status = buffer_append_byte(out, ',');
        if (status == DS4_OK)
            status = print_model(c, fixed_names[i], out);
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
    const ds4_status status = print_model(c, id.data, out); /* a 0 follows: it is the end of the URL */
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

/* --- metrics --------------------------------------------------------------------------------------------------------------- */

typedef struct printer {
    buffer *out;
    ds4_status status;
} printer;

/* `type` NULL: a further line of the same metric. */
static void print(printer *p, const char *name, const char *type, const char *labels, double value)
{
    if (p->status == DS4_OK && type)
        p->status = buffer_printf(p->out, "# TYPE ds4_%s %s\n", name, type);
    if (p->status == DS4_OK)
        p->status = value < 9e15 && value == (double)(int64_t)value
                        ? buffer_printf(p->out, "ds4_%s%s %" PRId64 "\n", name, labels, (int64_t)value)
                        : buffer_printf(p->out, "ds4_%s%s %.9g\n", name, labels, value);
}

static void count(printer *p, const char *name, uint64_t value)
{
    print(p, name, "counter", "", (double)value);
}

static void gauge(printer *p, const char *name, double value)
{
    print(p, name, "gauge", "", value);
}

static void print_server(printer *p, page_counters *counters, const sched_metrics *m)
{
    static const char *const labels[] = { "", "", "{status=\"2xx\"}", "", "{status=\"4xx\"}", "{status=\"5xx\"}" };
    print(p, "requests_total", "counter", labels[2], (double)counters->requests[2]);
    print(p, "requests_total", NULL, labels[4], (double)counters->requests[4]);
    print(p, "requests_total", NULL, labels[5], (double)counters->requests[5]);
    count(p, "disconnected_total", counters->disconnected);
    gauge(p, "active_requests", (double)m->n_running);
    gauge(p, "queued_requests", (double)m->n_queued);
    print(p, "requests_finished_total", "counter", "{reason=\"done\"}", (double)m->finished_total);
    print(p, "requests_finished_total", NULL, "{reason=\"cancelled\"}", (double)m->cancelled_total);
    print(p, "requests_finished_total", NULL, "{reason=\"failed\"}", (double)m->failed_total);
    print(p, "requests_finished_total", NULL, "{reason=\"refused\"}", (double)m->refused_total);
    print(p, "tokens_total", "counter", "{phase=\"prefill\"}", (double)m->prefill_tokens_total);
    print(p, "tokens_total", NULL, "{phase=\"decode\"}", (double)m->decode_tokens_total);
    print(p, "tokens_total", NULL, "{phase=\"reused\"}",
          (double)(m->reused_live_tokens_total + m->reused_disk_tokens_total));
    print(p, "reused_tokens_total", "counter", "{source=\"live\"}", (double)m->reused_live_tokens_total);
    print(p, "reused_tokens_total", NULL, "{source=\"disk\"}", (double)m->reused_disk_tokens_total);
    print(p, "prefill_seconds_total", "counter", "", (double)m->prefill_us_total / 1e6);
    print(p, "decode_seconds_total", "counter", "", (double)m->decode_us_total / 1e6);
    count(p, "restores_total", m->restores_total);
    count(p, "kv_retry_clean_total", m->retries_clean_total);
    count(p, "kv_search_given_up_total", m->searches_given_up_total);
}

static void print_store(printer *p, const kv_metrics *m)
{
    char labels[64];
    print(p, "kv_lookup_total", "counter", "{result=\"exact\"}", (double)m->lookup_exact_total);
    print(p, "kv_lookup_total", NULL, "{result=\"clean\"}", (double)m->lookup_clean_total);
    count(p, "kv_restores_total", m->restores_total);
    print(p, "kv_restore_seconds_total", "counter", "", (double)m->restore_us_total / 1e6);
    count(p, "kv_restore_bytes_total", m->restore_bytes_total);
    count(p, "kv_restored_tokens_total", m->restored_tokens_total);
    print(p, "kv_saved_prefill_seconds_total", "counter", "", (double)m->saved_prefill_us_total / 1e6);
    for (int i = 1; i < KV_STEPS; i++) {
        snprintf(labels, sizeof labels, "{step=\"V%d\"}", i);
        print(p, "kv_object_rejected_total", i == 1 ? "counter" : NULL, labels, (double)m->object_rejected_total[i]);
    }
    print(p, "kv_verdicts_total", "counter", "{outcome=\"guilty\"}", (double)m->retry_clean_guilty_total);
    print(p, "kv_verdicts_total", NULL, "{outcome=\"acquitted\"}", (double)m->retry_clean_acquitted_total);
    count(p, "kv_poisoned_total", m->poisoned_total);
    gauge(p, "kv_poison_records", (double)m->poison_records);
    print(p, "kv_write_bytes_total", "counter", "{kind=\"segment\"}", (double)m->write_bytes_segment_total);
    print(p, "kv_write_bytes_total", NULL, "{kind=\"frontier\"}", (double)m->write_bytes_frontier_total);
    count(p, "kv_write_objects_total", m->write_objects_total);
    for (int i = 0; i < KV_DROPS; i++) {
        snprintf(labels, sizeof labels, "{why=\"%s\"}", kv_drop_word((kv_drop)i));
        print(p, "kv_write_dropped_total", i == 0 ? "counter" : NULL, labels, (double)m->write_dropped_total[i]);
    }
    print(p, "kv_save_stall_seconds_total", "counter", "", (double)m->save_stall_us_total / 1e6);
    for (int i = 0; i < KV_EVICTS; i++) {
        snprintf(labels, sizeof labels, "{why=\"%s\"}", kv_evict_word((kv_evict)i));
        print(p, "kv_evicted_total", i == 0 ? "counter" : NULL, labels, (double)m->evicted_total[i]);
    }
    gauge(p, "kv_queue_bytes", (double)m->queue_bytes);
    gauge(p, "kv_queue_jobs", (double)m->queue_jobs);
    gauge(p, "kv_store_bytes", (double)m->store_bytes);
    gauge(p, "kv_store_objects", (double)m->store_objects);
    gauge(p, "kv_foreign_bytes", (double)m->foreign_bytes);
    gauge(p, "kv_free_bytes", (double)m->free_bytes);
    gauge(p, "kv_budget_bytes", (double)m->budget_bytes);
    gauge(p, "kv_breaker_open", m->breaker_open);
    gauge(p, "kv_read_only", m->read_only);
    gauge(p, "kv_available", m->available);
}

ds4_status page_metrics(const completion_context *c, page_counters *counters, buffer *out)
{
    printer p = { out, DS4_OK };
    sched_metrics m;
    sched_get_metrics(c->sched, &m);
    print_server(&p, counters, &m);
    if (engine_store(c->engine)) {
        kv_metrics kv;
        kv_store_metrics(engine_store(c->engine), &kv);
        print_store(&p, &kv);
    }
    gauge(&p, "context_limit_tokens", engine_get_about(c->engine)->n_ctx);
    if (p.status == DS4_OK)
        p.status = buffer_printf(out, "# TYPE ds4_build_info gauge\nds4_build_info{version=\"%s\",profile=\"%s\"} 1\n",
                                 DS4_VERSION, chat_profile_name(c->options->profile));
    return p.status;
}
