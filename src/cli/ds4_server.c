/* ds4-server: the OpenAI-compatible server. */
#include "base/clock.h"
#include "base/log.h"
#include "cli/common.h"
#include "cli/options.h"
#include "cli/startup.h"
#include "cli/text_file.h"
#include "server/server.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char program[] = "ds4-server";
static const char usage[] =
    "usage: ds4-server [options]\n"
    "Serves a DeepSeek V4 model over HTTP: POST /v1/chat/completions, GET /v1/models, /health, /metrics.\n"
    "Without -m it serves ds4-mini, a small model that comes with ds4.\n";

typedef struct settings {
    common_options common;
    sched_options sched;
    server_options server;
    uint32_t port, body_mb, grace_s;
    int heartbeat; /* which word */
    const char *key_file;
    option_list api_keys, hosts, names;
    char *key_text; /* of the key file */
} settings;

static int read_options(settings *s, int argc, char **argv)
{
    common_options *c = &s->common;
    sched_options *sc = &s->sched;
    server_options *o = &s->server;
    const option_spec specs[] = {
        { OPTION_HEADING, "Model", NULL, NULL, NULL, NULL, 0, 0 },
        COMMON_MODEL_OPTIONS(c),
        COMMON_TEXT_OPTIONS(c),
        { OPTION_HEADING, "HTTP", NULL, NULL, NULL, NULL, 0, 0 },
        { OPTION_TEXT, "--host", NULL, "HOST", "address to listen on (127.0.0.1)", &o->host, 0, 0 },
        { OPTION_U32, "--port", NULL, "PORT", "port; 0 takes any free one (8000)", &s->port, 0, 65535 },
        { OPTION_FLAG, "--cors", NULL, NULL, "let web pages of all sites send requests", &o->cors, 0, 0 },
        { OPTION_LIST, "--api-key", NULL, "KEY", "ask for this key (repeatable)", &s->api_keys, 0, 0 },
        { OPTION_TEXT, "--api-key-file", NULL, "FILE", "the same, from the first line of a file", &s->key_file, 0, 0 },
        { OPTION_LIST, "--allow-host", NULL, "NAME", "one more name of this server, for Host and Origin (repeatable)",
          &s->hosts, 0, 0 },
        { OPTION_LIST, "--model-name", NULL, "NAME", "a name of the model (repeatable)", &s->names, 0, 0 },
        { OPTION_FLAG, "--strict-model", NULL, NULL, "refuse requests for other models", &o->strict_model, 0, 0 },
        { OPTION_U32, "--max-connections", NULL, "N", "open connections; later ones replace idle ones (1024)",
          &o->connections_max, 1, 1 << 20 },
        { OPTION_U32, "--max-body-mb", NULL, "N", "longest request body (64)", &s->body_mb, 1, 65536 },
        { OPTION_U32, "--write-timeout", NULL, "S", "close connections that are silent for S seconds (60)",
          &o->write_timeout_s, 1, 86400 },
        { OPTION_WORD, "--heartbeat", NULL, "events|comments|off", "while a prompt is read (events)", &s->heartbeat, 0,
          0 },
        { OPTION_U32, "--shutdown-grace", NULL, "S", "how long running answers may take after SIGTERM (5)", &s->grace_s,
          0, 86400 },
        { OPTION_HEADING, "Requests", NULL, NULL, NULL, NULL, 0, 0 },
        { OPTION_U32, "--tokens", "-n", "N", "default limit of an answer (393216)", &o->max_tokens, 1, 1 << 30 },
        { OPTION_U32, "--batched-session", NULL, "N", "conversations held and decoded together (4)", &sc->n_slots, 1,
          256 },
        { OPTION_U32, "--max-queue", NULL, "N", "waiting requests; more are refused with 503 (no limit)",
          &sc->max_queue, 0, 1 << 20 },
        { OPTION_U32, "--mixed-prefill-quantum", NULL, "N", "tokens of a prompt per step while others decode (128)",
          &sc->prefill_quantum, 1, 65536 },
        { OPTION_FLAG, "--nothink", NULL, NULL, "no reasoning unless a request asks for it", &o->nothink, 0, 0 },
        { OPTION_UNFLAG, "--think", NULL, NULL, "reasoning unless a request says no (default)", &o->nothink, 0, 0 },
        { OPTION_TEXT, "--default-effort", NULL, "LEVEL", "reasoning effort of requests that name none", &o->effort, 0,
          0 },
        { OPTION_U32, "--think-max-min-ctx", NULL, "N", "effort max needs this context; 0: never lowered (393216)",
          &o->max_min_ctx, 0, 1 << 30 },
        { OPTION_LIMIT, "--think-budget", NULL, "N|none",
          "reasoning ends after N tokens, where it can (half of the context; 32768 below effort max)", &o->think_budget,
          1, 1 << 30 },
        { OPTION_U32, "--hard-limit-reply-budget", NULL, "N", "tokens of max_tokens kept for the answer (512)",
          &o->reply_reserve, 0, 1 << 30 },
        { OPTION_FLAG, "--honor-sampling", NULL, NULL, "client sampling counts while the model reasons, too",
          &o->honor_sampling, 0, 0 },
        { OPTION_FLAG, "--no-dsml-grammar", NULL, NULL, "do not hold tool calls to their grammar", &o->no_grammar, 0,
          0 },
        { OPTION_FLAG, "--tool-repair", NULL, NULL, "also read tool calls of ordinary text and of undeclared tools",
          &o->tool_repair, 0, 0 },
        COMMON_STORE_OPTIONS(c),
        { OPTION_HEADING, "Other", NULL, NULL, NULL, NULL, 0, 0 },
        COMMON_LOG_OPTIONS(c, "what the log says (info)"),
        { 0 },
    };
    const option_rule rules[] = { COMMON_STORE_RULES, { 0 } };
    const int code = options_parse(program, usage, specs, argc, argv);
    return code ? code : options_check(program, specs, rules, argc, argv);
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
    chat_mode mode;
    uint32_t number;
    s->server.profile = common_profile(&s->common, e);
    if (s->server.effort && !chat_mode_of_effort(s->server.profile, slice_of(s->server.effort), &mode, &number))
        return options_wrong(program, "--default-effort %s: use none, low, medium, high, xhigh, max or 1 to 100",
                             s->server.effort);
    return 0;
}

/* The signals that end the server: it saves what is resident. A SIGHUP that was ignored when we were started (nohup) stays so. */
static void choose_signals(sigset_t *signals)
{
    struct sigaction hangup;
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(signals, SIGHUP);
}

/* While the server starts, nothing is to be saved, and a disk that hangs may keep the main thread: a signal ends the process at
 * once. One thread does not block them until then, so they are delivered to it. */
typedef struct start {
    const sigset_t *signals;
    pthread_t thread;
    bool has_thread, over;
    pthread_mutex_t lock;
    pthread_cond_t ended;
} start;

static void *die_of_signals(void *argument)
{
    start *st = argument;
    pthread_sigmask(SIG_UNBLOCK, st->signals, NULL);
    pthread_mutex_lock(&st->lock);
    while (!st->over)
        pthread_cond_wait(&st->ended, &st->lock);
    pthread_mutex_unlock(&st->lock);
    pthread_sigmask(SIG_BLOCK, st->signals, NULL); /* from here on they wait for sigwait() */
    return NULL;
}

static void start_begins(start *st, const sigset_t *signals)
{
    *st = (start){ .signals = signals };
    pthread_mutex_init(&st->lock, NULL);
    pthread_cond_init(&st->ended, NULL);
    st->has_thread = pthread_create(&st->thread, NULL, die_of_signals, st) == 0;
}

static void start_is_over(start *st)
{
    pthread_mutex_lock(&st->lock);
    st->over = true;
    pthread_cond_signal(&st->ended);
    pthread_mutex_unlock(&st->lock);
    if (st->has_thread)
        pthread_join(st->thread, NULL);
    st->has_thread = false;
}

/* Waits for the first signal, drains, and lets a second one end the process at once. */
static void serve(const settings *s, server *http, const sigset_t *signals)
{
    int number;
    sigwait(signals, &number);
    log_info("shutdown signal=SIG%s grace=%us", sigabbrev_np(number), s->grace_s);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGHUP, SIG_IGN); /* a terminal that closes sends it twice: from the kernel and from the shell */
    pthread_sigmask(SIG_UNBLOCK, signals, NULL);
    server_drain(http, (int64_t)s->grace_s * 1000000);
}

/* Where conversations are kept, or what is off without it and which flag turns it on. */
static void announce_store(const common_options *c, const engine *e)
{
    char store[128];
    if (engine_store(e)) {
        kv_store_describe(engine_store(e), store, sizeof store);
        log_info("kv store dir=\"%s\" %s note=\"conversations are kept here: private data; --no-kv-disk keeps none\"",
                 c->engine.kv_dir, store);
    } else {
        log_info(
            "kv store off note=\"a conversation is read again from its start after a restart, when it had no slot, and "
            "often at each turn; --kv-disk-dir DIR keeps conversations\"");
    }
}

static void announce(const settings *s, const engine *e, const server *http, int64_t begun_us)
{
    const engine_about *a = engine_get_about(e);
    char url[300];
    log_info("model name=\"%.*s\" params=%.1fM bytes=%.1fM ctx=%u trained=%u backend=%s kernels=%s profile=%s "
             "fingerprint=%s",
             (int)a->name.size, a->name.data, (double)a->n_params / 1e6, (double)a->n_bytes / 1e6, a->n_ctx,
             a->n_ctx_trained, a->backend, a->kernels, chat_profile_name(s->server.profile), a->fingerprint);
    announce_store(&s->common, e);
    server_url(http, url, sizeof url);
    log_info("listening %s ready=%.2fs", url, (double)(clock_monotonic_us() - begun_us) / 1e6);
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
    start starting;
    const int64_t begun_us = clock_monotonic_us();
    int code = 1;
    /* Before any thread starts: all of them inherit the mask, and sigwait() alone gets the signals. */
    choose_signals(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    start_begins(&starting, &signals);
    if (engine_open(&e, &s->common.engine, &err) != DS4_OK) {
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
    start_is_over(&starting);
    announce(s, e, http, begun_us);
    serve(s, http, &signals);
    code = 0;
out:
    start_is_over(&starting);
    server_close(http);
    if (sc) {
        if (!http)
            sched_drain(sc, 0);
        sched_close(sc, (int64_t)s->common.engine.kv_shutdown_ms * 1000);
    }
    engine_close(e);
    if (code == 0)
        log_info("bye");
    return code;
}

/* The rest of what was given, once the table has been read. */
static int settle(settings *s)
{
    ds4_error err = { 0 };
    int code = common_settle(program, &s->common);
    if (code == 0)
        code = settle_keys(s);
    if (code == 0 && startup(&err) != DS4_OK) {
        startup_complain(program, NULL, err.text);
        code = 2;
    }
    if (code == 0)
        code = common_settle_store(program, &s->common);
    if (s->common.min_cached_tokens)
        s->sched.min_cached_tokens = s->common.min_cached_tokens;
    if (s->common.prefill_chunk)
        s->sched.prefill_chunk = s->common.prefill_chunk;
    if (s->common.loop_tokens)
        s->sched.loop_tokens = s->common.loop_tokens;
    s->server.heartbeat = (server_heartbeat)(SERVER_HEARTBEAT_EVENTS - s->heartbeat);
    s->server.port = (uint16_t)s->port;
    s->server.body_bytes_max = (uint64_t)s->body_mb << 20;
    s->server.api_keys = s->api_keys.items;
    s->server.n_api_keys = s->api_keys.n;
    s->server.allowed_hosts = s->hosts.items;
    s->server.n_allowed_hosts = s->hosts.n;
    s->server.model_names = s->names.items;
    s->server.n_model_names = s->names.n;
    return code;
}

int main(int argc, char **argv)
{
    startup_process();
    settings *s = calloc(1, sizeof *s);
    if (!s)
        return 1;
    s->common = common_options_default();
    s->sched = sched_options_default();
    s->server = server_options_default();
    s->port = s->server.port;
    s->body_mb = (uint32_t)(s->server.body_bytes_max >> 20);
    s->grace_s = 5;
    int code = read_options(s, argc, argv);
    if (code == 0)
        code = settle(s);
    code = code ? code - 1 : run(s);
    free(s->key_text);
    free(s);
    return code;
}
