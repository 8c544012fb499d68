#include "server/metrics.h"

#include <inttypes.h>
#include <stdio.h>

/* The last stands for all others. */
static const int statuses[STATUSES] = { 200, 204, 400, 401, 403, 404, 405, 413, 415, 429, 500, 503, 0 };

void metrics_count(metrics *m, endpoint where, int status)
{
    size_t i = 0;
    while (i + 1 < STATUSES && statuses[i] != status)
        i++;
    m->requests[where][i]++;
}

typedef struct printer {
    buffer *out;
    ds4_status status;
} printer;

/* Every metric begins with its head; its samples follow. Names come without the prefix. */
static void head(printer *p, const char *name, const char *type, const char *help)
{
    if (p->status == DS4_OK)
        p->status = buffer_printf(p->out, "# HELP ds4_%s %s\n# TYPE ds4_%s %s\n", name, help, name, type);
}

static void sample(printer *p, const char *name, const char *labels, double value)
{
    if (p->status != DS4_OK)
        return;
    if (value < 9e15 && value == (double)(int64_t)value)
        p->status = buffer_printf(p->out, "ds4_%s%s %" PRId64 "\n", name, labels, (int64_t)value);
    else
        p->status = buffer_printf(p->out, "ds4_%s%s %.9g\n", name, labels, value);
}

static void count(printer *p, const char *name, const char *help, double value)
{
    head(p, name, "counter", help);
    sample(p, name, "", value);
}

static void gauge(printer *p, const char *name, const char *help, double value)
{
    head(p, name, "gauge", help);
    sample(p, name, "", value);
}

static void print_requests(printer *p, metrics *m)
{
    char labels[96];
    head(p, "requests_total", "counter", "Answers by path and status.");
    for (int e = 0; e < ENDPOINTS; e++)
        for (int i = 0; i < STATUSES; i++) {
            const uint64_t n = m->requests[e][i];
            if (!n)
                continue;
            if (statuses[i])
                snprintf(labels, sizeof labels, "{endpoint=\"%s\",status=\"%d\"}", route_name((endpoint)e),
                         statuses[i]);
            else
                snprintf(labels, sizeof labels, "{endpoint=\"%s\",status=\"other\"}", route_name((endpoint)e));
            sample(p, "requests_total", labels, (double)n);
        }
    count(p, "disconnected_total", "Clients that went away, or stopped reading, before their answer was complete.",
          (double)m->disconnected);
    count(p, "reasoning_escapes_total", "Reasoning that was closed because a tool call was opened inside it.",
          (double)m->escapes);
}

/* The scheduler counts an answer whose tool call broke as done. */
static void print_work(printer *p, const sched_metrics *m, uint64_t n_broken_calls)
{
    gauge(p, "active_requests", "Requests that are computed now.", (double)m->n_running);
    gauge(p, "queued_requests", "Requests that wait for a sequence.", (double)m->n_queued);
    head(p, "requests_finished_total", "counter", "Requests by how they ended.");
    sample(p, "requests_finished_total", "{reason=\"done\"}", (double)(m->finished_total - n_broken_calls));
    sample(p, "requests_finished_total", "{reason=\"broken_tool_call\"}", (double)n_broken_calls);
    sample(p, "requests_finished_total", "{reason=\"cancelled\"}", (double)m->cancelled_total);
    sample(p, "requests_finished_total", "{reason=\"failed\"}", (double)m->failed_total);
    sample(p, "requests_finished_total", "{reason=\"refused\"}", (double)m->refused_total);
    head(p, "tokens_total", "counter", "Tokens computed, or reused without computing.");
    sample(p, "tokens_total", "{phase=\"prefill\"}", (double)m->prefill_tokens_total);
    sample(p, "tokens_total", "{phase=\"decode\"}", (double)m->decode_tokens_total);
    sample(p, "tokens_total", "{phase=\"reused\"}",
           (double)(m->reused_live_tokens_total + m->reused_disk_tokens_total));
    head(p, "reused_tokens_total", "counter", "Prompt tokens reused, by where their state was.");
    sample(p, "reused_tokens_total", "{source=\"live\"}", (double)m->reused_live_tokens_total);
    sample(p, "reused_tokens_total", "{source=\"disk\"}", (double)m->reused_disk_tokens_total);
    count(p, "prefill_seconds_total", "Time of the engine spent on prompts.", (double)m->prefill_us_total / 1e6);
    count(p, "decode_seconds_total", "Time of the engine spent on answers.", (double)m->decode_us_total / 1e6);
    count(p, "retries_clean_total", "Requests begun again from a clean state after an error on a reused one.",
          (double)m->retries_clean_total);
    count(p, "loops_ended_total", "Answers that were ended because they repeated themselves.", (double)m->loops_total);
    count(p, "idle_states_given_up_total", "Resident conversations freed because memory was short.",
          (double)m->states_given_up_total);
    count(p, "kv_search_given_up_total", "Searches of the store that took longer than a prefill may wait.",
          (double)m->searches_given_up_total);
}

static void print_lookups(printer *p, const kv_metrics *m, uint64_t n_live)
{
    head(p, "kv_lookup_total", "counter", "Where the state of a request came from.");
    sample(p, "kv_lookup_total", "{result=\"live\"}", (double)n_live);
    sample(p, "kv_lookup_total", "{result=\"exact\"}", (double)m->lookup_exact_total);
    sample(p, "kv_lookup_total", "{result=\"clean\"}", (double)m->lookup_clean_total);
    head(p, "kv_restore_seconds", "summary", "Reading and checking checkpoints that were restored.");
    sample(p, "kv_restore_seconds_sum", "", (double)m->restore_us_total / 1e6);
    sample(p, "kv_restore_seconds_count", "", (double)m->restores_total);
    count(p, "kv_restore_bytes_total", "Bytes of restored checkpoints.", (double)m->restore_bytes_total);
    count(p, "kv_restored_tokens_total", "Tokens of restored checkpoints.", (double)m->restored_tokens_total);
    count(p, "kv_saved_prefill_seconds_total", "Prefill that restores made unnecessary, estimated.",
          (double)m->saved_prefill_us_total / 1e6);
}

static void print_trust(printer *p, const kv_metrics *m)
{
    char labels[64];
    head(p, "kv_object_rejected_total", "counter", "Stored objects that failed a check while read, by step.");
    for (int i = 1; i < KV_STEPS; i++) {
        snprintf(labels, sizeof labels, "{step=\"V%d\"}", i);
        sample(p, "kv_object_rejected_total", labels, (double)m->object_rejected_total[i]);
    }
    head(p, "kv_retry_clean_total", "counter", "Clean retries after a restore, by verdict on the checkpoint.");
    sample(p, "kv_retry_clean_total", "{outcome=\"guilty\"}", (double)m->retry_clean_guilty_total);
    sample(p, "kv_retry_clean_total", "{outcome=\"acquitted\"}", (double)m->retry_clean_acquitted_total);
    count(p, "kv_poisoned_total", "Verdicts on objects.", (double)m->poisoned_total);
    gauge(p, "kv_intents", "Checkpoints on trial: being read, or used and not yet proven.", (double)m->intents);
    gauge(p, "kv_poison_records", "Verdicts on file.", (double)m->poison_records);
    gauge(p, "kv_breaker_open", "1: too many verdicts, nothing is restored for a while.", m->breaker_open);
}

static void print_writes(printer *p, const kv_metrics *m)
{
    char labels[64];
    head(p, "kv_write_bytes_total", "counter", "Bytes published, by kind.");
    sample(p, "kv_write_bytes_total", "{kind=\"segment\"}", (double)m->write_bytes_segment_total);
    sample(p, "kv_write_bytes_total", "{kind=\"frontier\"}", (double)m->write_bytes_frontier_total);
    count(p, "kv_write_objects_total", "Objects published.", (double)m->write_objects_total);
    head(p, "kv_write_dropped_total", "counter", "Saves given up, by reason.");
    for (int i = 0; i < KV_DROPS; i++) {
        snprintf(labels, sizeof labels, "{why=\"%s\"}", kv_drop_word((kv_drop)i));
        sample(p, "kv_write_dropped_total", labels, (double)m->write_dropped_total[i]);
    }
    count(p, "kv_save_stall_seconds_total", "Time the engine thread spent on handing saves over.",
          (double)m->save_stall_us_total / 1e6);
    head(p, "kv_evicted_total", "counter", "Objects removed, by reason.");
    for (int i = 0; i < KV_EVICTS; i++) {
        snprintf(labels, sizeof labels, "{why=\"%s\"}", kv_evict_word((kv_evict)i));
        sample(p, "kv_evicted_total", labels, (double)m->evicted_total[i]);
    }
    gauge(p, "kv_queue_bytes", "Bytes that wait for the writer.", (double)m->queue_bytes);
    gauge(p, "kv_queue_jobs", "Saves that wait for the writer.", (double)m->queue_jobs);
    gauge(p, "kv_store_bytes", "Bytes of our objects in the directory.", (double)m->store_bytes);
    gauge(p, "kv_store_objects", "Our objects in the directory.", (double)m->store_objects);
    gauge(p, "kv_foreign_bytes", "Bytes of other models' objects in the directory.", (double)m->foreign_bytes);
    gauge(p, "kv_free_bytes", "Free on the disk.", (double)m->free_bytes);
    gauge(p, "kv_budget_bytes", "What the store may take.", (double)m->budget_bytes);
    gauge(p, "kv_read_only", "1: nothing is written.", m->read_only);
    gauge(p, "kv_available", "1: the directory is there.", m->available);
}

static void print_connections(printer *p, const metrics_now *now)
{
    char labels[64];
    gauge(p, "connections", "Open connections.", (double)now->connections.n_open);
    head(p, "connections_cut_total", "counter", "Connections cut off before their request was complete, by reason.");
    for (int i = 0; i < CUTS; i++) {
        snprintf(labels, sizeof labels, "{why=\"%s\"}", cut_word((cut)i));
        sample(p, "connections_cut_total", labels, (double)now->connections.n_cut[i]);
    }
    gauge(p, "reading_requests", "Requests that are being parsed and tokenised, or wait for it.",
          (double)now->n_reading);
    gauge(p, "long_body_bytes", "Bytes of long request bodies that are received or wait to be read.",
          (double)now->long_body_bytes);
}

ds4_status metrics_print(metrics *m, const completion_context *c, const metrics_now *now, buffer *out)
{
    printer p = { out, DS4_OK };
    char labels[64];
    sched_metrics work;
    const uint64_t n_broken_calls = m->broken_calls; /* read first: never more than the scheduler knows */
    sched_get_metrics(c->sched, &work);
    print_requests(&p, m);
    print_connections(&p, now);
    print_work(&p, &work, n_broken_calls);
    if (engine_store(c->engine)) {
        kv_metrics kv;
        kv_store_metrics(engine_store(c->engine), &kv);
        print_lookups(&p, &kv, work.live_starts_total);
        print_trust(&p, &kv);
        print_writes(&p, &kv);
    }
    gauge(&p, "context_limit_tokens", "The longest conversation.", engine_get_about(c->engine)->n_ctx);
    head(&p, "build_info", "gauge", "Always 1; version and prompt profile are in the labels.");
    snprintf(labels, sizeof labels, "{version=\"%s\",profile=\"%s\"}", DS4_VERSION,
             chat_profile_name(c->options->profile));
    sample(&p, "build_info", labels, 1);
    return p.status;
}
