/* ds4-server: the OpenAI-compatible server. */
#include "base/clock.h"
#include "base/log.h"
#include "cli/options.h"
#include "cli/startup.h"
#include "cli/text_file.h"
#include "server/server.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char program[] = "ds4-server";
static const char usage[] =
    "usage: ds4-server [options]\n"
    "Serves a DeepSeek V4 model over HTTP: POST /v1/chat/completions, GET /v1/models, /health, /metrics.\n"
    "Without -m it serves ds4-mini, a small model that comes with ds4.\n";

typedef struct settings {
    engine_options engine;
    sched_options sched;
    server_options server;
    uint32_t port, space_mb, body_mb, grace_s, comment_s;
    uint64_t min_free;
    const char *kv_rounding, *index_rounding, *act;
    bool parity;
    const char *model, *change_dir, *profile, *log_level, *heartbeat, *key_file, *backend;
    option_list api_keys, hosts, names;
    char *key_text; /* of the key file */
    bool cpu;
} settings;

static int read_options(settings *s, int argc, char **argv)
{
    engine_options *e = &s->engine;
    sched_options *sc = &s->sched;
    server_options *o = &s->server;
    const option_spec specs[] = {
        { OPTION_HEADING, "Model", NULL, NULL, NULL, NULL, 0, 0 },
        { OPTION_TEXT, "--model", "-m", "FILE", "GGUF file (default: ds4-mini)", &s->model, 0, 0 },
        { OPTION_U32, "--ctx", "-c", "N", "context in tokens (32768, or the trained context)", &e->n_ctx, 16, 1 << 30 },
        { OPTION_U32, "--tokens", "-n", "N", "default limit of an answer (393216)", &o->max_tokens, 1, 1 << 30 },
        { OPTION_U32, "--threads", "-t", "N", "kernel threads (one per physical core)", &e->n_threads, 1, 64 },
        { OPTION_TEXT, "--backend", NULL, "NAME", "cpu (the only one of this build)", &s->backend, 0, 0 },
        { OPTION_FLAG, "--cpu", NULL, NULL, NULL, &s->cpu, 0, 0 },
        { OPTION_TEXT, "--tokenizer-pre", NULL, "NAME", "overrides tokenizer.ggml.pre", &e->tokenizer_pre, 0, 0 },
        { OPTION_TEXT, "--kv-rounding", NULL, "KIND", "official or none: FP8 rounding of cached rows (official)",
          &s->kv_rounding, 0, 0 },
        { OPTION_TEXT, "--index-rounding", NULL, "KIND", "official or none: FP4 rounding of the indexer (official)",
          &s->index_rounding, 0, 0 },
        { OPTION_TEXT, "--act", NULL, "KIND", "q8 or f32: activations against 8-bit weights (q8)", &s->act, 0, 0 },
        { OPTION_FLAG, "--parity", NULL, NULL, "none, none and f32 of these three: for comparing with references",
          &s->parity, 0, 0 },
        { OPTION_TEXT, "--kernels", NULL, "NAME", "scalar, avx2, avx512 or neon (the best that runs here)", &e->kernels,
          0, 0 },
        { OPTION_TEXT, "--chdir", NULL, "DIR", "change to DIR before loading", &s->change_dir, 0, 0 },
        { OPTION_HEADING, "HTTP", NULL, NULL, NULL, NULL, 0, 0 },
        { OPTION_TEXT, "--host", NULL, "HOST", "address to listen on (127.0.0.1)", &o->host, 0, 0 },
        { OPTION_U32, "--port", NULL, "PORT", "port; 0 takes any free one (8000)", &s->port, 0, 65535 },
        { OPTION_FLAG, "--cors", NULL, NULL, "let web pages of any origin ask", &o->cors, 0, 0 },
        { OPTION_LIST, "--api-key", NULL, "KEY", "ask for this key (repeatable)", &s->api_keys, 0, 0 },
        { OPTION_TEXT, "--api-key-file", NULL, "FILE", "the same, from the first line of a file", &s->key_file, 0, 0 },
        { OPTION_LIST, "--allow-host", NULL, "NAME", "another Host name to answer to (repeatable)", &s->hosts, 0, 0 },
        { OPTION_LIST, "--model-name", NULL, "NAME", "a name of the model (repeatable)", &s->names, 0, 0 },
        { OPTION_FLAG, "--strict-model", NULL, NULL, "refuse requests for other models", &o->strict_model, 0, 0 },
        { OPTION_U32, "--max-connections", NULL, "N", "open connections; later ones replace idle ones (1024)",
          &o->connections_max, 1, 1 << 20 },
        { OPTION_U32, "--max-body-mb", NULL, "N", "longest request body (64)", &s->body_mb, 1, 65536 },
        { OPTION_U32, "--write-timeout", NULL, "S", "a client that is silent for S seconds is gone (60)",
          &o->write_timeout_s, 1, 86400 },
        { OPTION_TEXT, "--heartbeat", NULL, "KIND", "events, comments or off, while a prompt is read (events)",
          &s->heartbeat, 0, 0 },
        { OPTION_U32, "--shutdown-grace", NULL, "S", "how long running answers may take after SIGTERM (5)", &s->grace_s,
          0, 86400 },
        { OPTION_HEADING, "Requests", NULL, NULL, NULL, NULL, 0, 0 },
        { OPTION_U32, "--batched-session", NULL, "N", "conversations held and decoded together (4)", &sc->n_slots, 1,
          256 },
        { OPTION_U32, "--max-queue", NULL, "N", "waiting requests; more are refused with 503 (no limit)",
          &sc->max_queue, 0, 1 << 20 },
        { OPTION_U32, "--prefill-chunk", NULL, "N", "tokens of a prompt per step (512)", &sc->prefill_chunk, 1, 65536 },
        { OPTION_U32, "--mixed-prefill-quantum", NULL, "N", "the same while others decode (128)", &sc->prefill_quantum,
          1, 65536 },
        { OPTION_FLAG, "--nothink", NULL, NULL, "no reasoning unless a request asks for it", &o->nothink, 0, 0 },
        { OPTION_UNFLAG, "--think", NULL, NULL, "reasoning unless a request says no (default)", &o->nothink, 0, 0 },
        { OPTION_TEXT, "--default-effort", NULL, "LEVEL", "reasoning effort of requests that name none", &o->effort, 0,
          0 },
        { OPTION_U32, "--think-max-min-ctx", NULL, "N", "effort max needs this context; 0: never lowered (393216)",
          &o->max_min_ctx, 0, 1 << 30 },
        { OPTION_U32, "--think-budget", NULL, "N", "after N tokens reasoning ends where it can (no limit)",
          &o->think_budget, 0, 1 << 30 },
        { OPTION_U32, "--hard-limit-reply-budget", NULL, "N", "tokens of max_tokens kept for the answer (512)",
          &o->reply_reserve, 0, 1 << 30 },
        { OPTION_FLAG, "--honor-sampling", NULL, NULL, "client sampling counts while the model reasons, too",
          &o->honor_sampling, 0, 0 },
        { OPTION_FLAG, "--no-dsml-grammar", NULL, NULL, "do not hold tool calls to their grammar", &o->no_grammar, 0,
          0 },
        { OPTION_TEXT, "--prompt-profile", NULL, "NAME", "auto, v4, v4-0731 or v4.1 (auto)", &s->profile, 0, 0 },
        { OPTION_HEADING, "Checkpoints on disk", NULL, NULL, NULL, NULL, 0, 0 },
        { OPTION_TEXT, "--kv-disk-dir", "--kv-dir", "DIR", "where checkpoints live; made if it is missing (off)",
          &e->kv_dir, 0, 0 },
        { OPTION_U32, "--kv-disk-space-mb", NULL, "N", "budget in MiB (32 GiB, or a tenth of the disk)", &s->space_mb,
          1, 1 << 30 },
        { OPTION_U64, "--kv-min-free", NULL, "BYTES", "left free on the disk (5 GiB, or 5 %)", &s->min_free, 0, 0 },
        { OPTION_U32, "--kv-segment", NULL, "N", "tokens per segment (1024)", &e->kv_segment_tokens, 1, 1 << 20 },
        { OPTION_U32, "--kv-cache-min-tokens", NULL, "N", "smallest checkpoint (512)", &sc->min_cached_tokens, 1,
          1 << 30 },
        { OPTION_U32, "--kv-crash-strikes", NULL, "N", "crashes while restoring that make a checkpoint guilty (1)",
          &e->kv_crash_strikes, 1, 100 },
        { OPTION_U32, "--kv-shutdown-ms", NULL, "N", "how long saving may take at the end (3000)", &e->kv_shutdown_ms,
          0, 3600000 },
        { OPTION_FLAG, "--kv-read-only", NULL, NULL, "use checkpoints, write none", &e->kv_read_only, 0, 0 },
        { OPTION_HEADING, "Other", NULL, NULL, NULL, NULL, 0, 0 },
        { OPTION_TEXT, "--log-level", NULL, "LEVEL", "error, warning, info or debug (info)", &s->log_level, 0, 0 },
        { 0 },
    };
    return options_parse(program, usage, specs, argc, argv);
}

static int word_of(const char *text, const char *const *words, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(text, words[i]) == 0)
            return i;
    return -1;
}

static int settle_numerics(settings *s)
{
    static const char *const roundings[] = { "official", "none" }, *const acts[] = { "q8", "f32" };
    const int kv = word_of(s->kv_rounding, roundings, 2), index = word_of(s->index_rounding, roundings, 2),
              act = word_of(s->act, acts, 2);
    if (kv < 0 || index < 0)
        return options_wrong(
            program, kv < 0 ? "--kv-rounding %s: use official or none" : "--index-rounding %s: use official or none",
            kv < 0 ? s->kv_rounding : s->index_rounding);
    if (act < 0)
        return options_wrong(program, "--act %s: use q8 or f32", s->act);
    s->engine.kv_unrounded = kv || s->parity;
    s->engine.index_unrounded = index || s->parity;
    s->engine.act_f32 = act || s->parity;
    return 0;
}

static int settle_words(settings *s)
{
    static const char *const levels[] = { "error", "warning", "info", "debug" },
                             *const beats[] = { "off", "comments", "events" },
                             *const profiles[] = { "v4", "v4-0731", "v4.1", "auto" };
    const int level = word_of(s->log_level, levels, 4), beat = word_of(s->heartbeat, beats, 3);
    if (level < 0)
        return options_wrong(program, "--log-level %s: use error, warning, info or debug", s->log_level);
    if (beat < 0)
        return options_wrong(program, "--heartbeat %s: use events, comments or off", s->heartbeat);
    if (word_of(s->profile, profiles, 4) < 0)
        return options_wrong(program, "--prompt-profile %s: use auto, v4, v4-0731 or v4.1", s->profile);
    if (s->backend && strcmp(s->backend, "cpu") != 0)
        return options_wrong(program, "--backend %s: this build has only cpu", s->backend);
    log_set_level((log_level)level);
    s->server.heartbeat = (server_heartbeat)beat;
    if (s->change_dir && chdir(s->change_dir) != 0) {
        startup_complain(program, s->change_dir, strerror(errno));
        return 3;
    }
    return 0;
}

/* An empty key would let everybody in who sends an empty one. */
static int settle_keys(settings *s)
{
    option_list *keys = &s->api_keys;
    if (s->key_file) {
        s->key_text = text_file_read(program, s->key_file);
        if (!s->key_text)
            return 3;
        s->key_text[strcspn(s->key_text, "\r\n")] = 0;
        if (keys->n == sizeof keys->items / sizeof keys->items[0])
            return options_wrong(program, "%s is repeated too often", "--api-key");
        keys->items[keys->n++] = s->key_text;
    }
    for (size_t i = 0; i < keys->n; i++)
        if (!keys->items[i][0])
            return options_wrong(program, "%s is empty", s->key_text == keys->items[i] ? s->key_file : "--api-key");
    return 0;
}

/* What depends on the model. */
static int settle_profile(settings *s, const engine *e)
{
    static const char *const profiles[] = { "v4", "v4-0731", "v4.1" };
    const int said = word_of(s->profile, profiles, 3);
    chat_mode mode;
    uint32_t number;
    s->server.profile = said >= 0 ? (chat_profile)said : startup_profile(e);
    if (s->server.effort && !chat_mode_of_effort(s->server.profile, slice_of(s->server.effort), &mode, &number))
        return options_wrong(program, "--default-effort %s: use none, low, medium, high, xhigh, max or 1 to 100",
                             s->server.effort);
    return 0;
}

/* Waits for the first signal, drains, and lets a second one end the process at once. */
static void serve(const settings *s, server *http, const sigset_t *signals)
{
    int number;
    sigwait(signals, &number);
    log_info("shutdown signal=%s grace=%us", number == SIGTERM ? "SIGTERM" : "SIGINT", s->grace_s);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, signals, NULL);
    server_drain(http, (int64_t)s->grace_s * 1000000);
}

static void announce(const settings *s, const engine *e, const server *http, int64_t begun_us)
{
    const engine_about *a = engine_get_about(e);
    char store[128] = "off";
    if (engine_store(e))
        kv_store_describe(engine_store(e), store, sizeof store);
    log_info("model name=\"%.*s\" params=%.1fM bytes=%.1fM ctx=%u trained=%u backend=%s kernels=%s profile=%s "
             "fingerprint=%s",
             (int)a->name.size, a->name.data, (double)a->n_params / 1e6, (double)a->n_bytes / 1e6, a->n_ctx,
             a->n_ctx_trained, a->backend, a->kernels, chat_profile_name(s->server.profile), a->fingerprint);
    log_info("kv store %s", store);
    log_info("listening http://%s:%u ready=%.2fs", s->server.host, (unsigned)server_port(http),
             (double)(clock_monotonic_us() - begun_us) / 1e6);
}

/* 2: what was given is wrong; 1: it failed. */
static int code_of(ds4_status status)
{
    return status == DS4_ERR_ARGUMENT || status == DS4_ERR_CORRUPT || status == DS4_ERR_UNSUPPORTED ||
                   status == DS4_ERR_NOT_FOUND
               ? 2
               : 1;
}

static int run(settings *s)
{
    engine *e = NULL;
    sched *sc = NULL;
    server *http = NULL;
    ds4_error err = { 0 };
    sigset_t signals;
    const int64_t begun_us = clock_monotonic_us();
    int code = 1;
    /* Before any thread starts: all of them inherit the mask, and sigwait() alone gets the signals. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (engine_open(&e, &s->engine, &err) != DS4_OK) {
        startup_complain(program, NULL, err.text);
        code = code_of(err.status);
        goto out;
    }
    if (settle_profile(s, e) != 0) {
        code = 2;
        goto out;
    }
    if (sched_open(&sc, e, &s->sched, &err) != DS4_OK || server_open(&http, e, sc, &s->server, &err) != DS4_OK) {
        startup_complain(program, NULL, err.text);
        code = code_of(err.status);
        goto out;
    }
    announce(s, e, http, begun_us);
    serve(s, http, &signals);
    code = 0;
out:
    server_close(http);
    if (sc) {
        if (!http)
            sched_drain(sc, 0);
        sched_close(sc, (int64_t)s->engine.kv_shutdown_ms * 1000);
    }
    engine_close(e);
    if (code == 0)
        log_info("bye");
    return code;
}

int main(int argc, char **argv)
{
    char model[4096];
    ds4_error err = { 0 };
    settings *s = calloc(1, sizeof *s);
    if (!s)
        return 1;
    s->engine = engine_options_default();
    s->sched = sched_options_default();
    s->server = server_options_default();
    s->port = s->server.port;
    s->body_mb = (uint32_t)(s->server.body_bytes_max >> 20);
    s->grace_s = 5;
    s->profile = "auto";
    s->log_level = "info";
    s->heartbeat = "events";
    s->kv_rounding = s->index_rounding = "official";
    s->act = "q8";
    int code = read_options(s, argc, argv);
    if (code == 0)
        code = settle_words(s);
    if (code == 0)
        code = settle_numerics(s);
    if (code == 0)
        code = settle_keys(s);
    if (code == 0 && startup(&err) != DS4_OK) {
        startup_complain(program, NULL, err.text);
        code = 2;
    }
    if (code != 0) {
        free(s->key_text);
        free(s);
        return code - 1;
    }
    s->engine.model_path = s->model ? s->model : startup_default_model(model, sizeof model);
    s->engine.kv_budget_bytes = (uint64_t)s->space_mb << 20;
    s->engine.kv_min_free_bytes = s->min_free;
    s->server.port = (uint16_t)s->port;
    s->server.body_bytes_max = (uint64_t)s->body_mb << 20;
    s->server.api_keys = s->api_keys.items;
    s->server.n_api_keys = s->api_keys.n;
    s->server.allowed_hosts = s->hosts.items;
    s->server.n_allowed_hosts = s->hosts.n;
    s->server.model_names = s->names.items;
    s->server.n_model_names = s->names.n;
    code = run(s);
    free(s->key_text);
    free(s);
    return code;
}
