/* api/ds4.c - the public C API over the modules. One request is one blocking call here. */
#include "ds4/ds4.h"

#include "base/hash.h"
#include "chat/chat.h"
#include "sched/sched.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct ds4 {
    engine *engine;
    sched *sched;
    chat_profile profile;
    int64_t shutdown_us; /* how long closing may save */
};

const char *ds4_version(void)
{
    return DS4_VERSION;
}

ds4_options ds4_options_default(void)
{
    return (ds4_options){ .n_sequences = 4, .kv_shutdown_ms = engine_options_default().kv_shutdown_ms };
}

ds4_generation ds4_generation_default(void)
{
    ds4_generation g = { .think = true, .max_tokens = UINT32_MAX, .temperature = 1, .top_p = 1, .min_p = 0.05f };
    if (hash_start(NULL) == DS4_OK)
        hash_random(&g.seed, sizeof g.seed);
    return g;
}

static engine_options engine_options_of(const ds4_options *o)
{
    engine_options e = engine_options_default();
    e.model_path = o->model_path;
    e.tokenizer_pre = o->tokenizer_pre;
    e.n_ctx = o->n_ctx;
    e.n_threads = o->n_threads;
    e.kernels = o->kernels;
    e.kv_unrounded = o->kv_unrounded;
    e.index_unrounded = o->index_unrounded;
    e.act_f32 = o->act_f32;
    e.kv_rows_f32 = o->kv_rows_f32;
    e.kv_dir = o->kv_disk_dir;
    e.kv_budget_bytes = o->kv_disk_bytes;
    e.kv_min_free_bytes = o->kv_min_free_bytes;
    e.kv_segment_tokens = o->kv_segment_tokens;
    e.kv_crash_strikes = o->kv_crash_strikes;
    e.kv_shutdown_ms = o->kv_shutdown_ms;
    e.kv_read_only = o->kv_read_only;
    return e;
}

/* The profile called `name`; of the model's own words if that is NULL. */
static ds4_status find_profile(chat_profile *out, const char *name, const engine *e, ds4_error *err)
{
    const engine_about *about = engine_get_about(e);
    if (!name) {
        *out = chat_profile_detect(about->name, about->version, about->finetune, slice_of(about->file_name));
        return DS4_OK;
    }
    for (int i = CHAT_V4; i <= CHAT_V4_1; i++)
        if (strcmp(name, chat_profile_name((chat_profile)i)) == 0) {
            *out = (chat_profile)i;
            return DS4_OK;
        }
    return ds4_fail(err, DS4_ERR_ARGUMENT, "prompt profile '%.40s': there are v4, v4-0731 and v4.1", name);
}

ds4_status ds4_open(ds4 **out, const ds4_options *options, ds4_error *err)
{
    *out = NULL;
    if (!options->model_path)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "no model file was named");
    ds4 *d = calloc(1, sizeof *d);
    if (!d)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory");
    const engine_options e = engine_options_of(options);
    sched_options s = sched_options_default();
    s.n_slots = options->n_sequences;
    if (options->prefill_chunk)
        s.prefill_chunk = options->prefill_chunk;
    if (options->loop_tokens)
        s.loop_tokens = options->loop_tokens;
    if (options->kv_min_tokens)
        s.min_cached_tokens = options->kv_min_tokens;
    d->shutdown_us = (int64_t)options->kv_shutdown_ms * 1000;
    ds4_status status = engine_open(&d->engine, &e, err);
    if (status == DS4_OK)
        status = find_profile(&d->profile, options->prompt_profile, d->engine, err);
    if (status == DS4_OK)
        status = sched_open(&d->sched, d->engine, &s, err);
    if (status != DS4_OK) {
        ds4_close(d);
        return status;
    }
    *out = d;
    return DS4_OK;
}

void ds4_get_about(const ds4 *d, ds4_about *out)
{
    const engine_about *about = engine_get_about(d->engine);
    kv_store *store = engine_store(d->engine);
    *out = (ds4_about){ .n_ctx = about->n_ctx,
                        .n_ctx_trained = about->n_ctx_trained,
                        .kv_in_use = store != NULL,
                        .kv_read_only = store && kv_store_is_read_only(store) };
}

void ds4_close(ds4 *d)
{
    if (!d)
        return;
    sched_close(d->sched, d->shutdown_us);
    engine_close(d->engine);
    free(d);
}

/* ---------------------------------------------------------------- one request */

typedef struct talk {
    const ds4_generation *generation;
    chat_parser *parser;
    uint32_t think_budget, think_end, dsml; /* 0: none; the ids of </think> and of the DSML token */
    /* Engine thread until `done`, then the caller's. */
    buffer content, reasoning;
    bool stopped, complete, no_memory;
    chat_verdict verdict;
    sched_result result;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* `done` */
    /* Guarded by `lock`, which is held until the ticket is known. */
    sched_ticket *ticket;
    bool done;
} talk;

static void on_event(void *user, const chat_event *event)
{
    talk *t = user;
    ds4_text_kind kind = DS4_TEXT_CONTENT;
    if (event->kind == CHAT_EVENT_REASONING)
        kind = DS4_TEXT_REASONING;
    else if (event->kind != CHAT_EVENT_CONTENT)
        return; /* this API declares no tools */
    if (buffer_append_slice(kind == DS4_TEXT_CONTENT ? &t->content : &t->reasoning, event->text) != DS4_OK)
        t->no_memory = true;
    if (t->generation->on_text && !t->stopped)
        t->stopped = !t->generation->on_text(t->generation->user, kind, event->text.data, event->text.size);
}

static const token_set *allowed_next(void *user)
{
    return chat_parser_allowed(user);
}

static bool may_follow(void *user, uint32_t id)
{
    return chat_parser_allows(user, id);
}

/* This API declares no tools, so the token of their blocks must not come; and reasoning has its budget. */
static void steer_on(talk *t, sched_steer *steer)
{
    steer->choice = (engine_choice){ .allowed = allowed_next, .allows = may_follow, .user = t->parser };
    const uint32_t used = chat_parser_n_reasoning_tokens(t->parser);
    steer->force_id = t->think_end;
    steer->force = chat_parser_escapes(t->parser);
    if (chat_parser_watches(t->parser)) {
        steer->choice.near_id = t->dsml;
        steer->choice.n_near = 1;
        return;
    }
    if (!chat_parser_in_reasoning(t->parser) || !t->think_budget || used < t->think_budget)
        return;
    steer->choice.near_id = t->think_end;
    steer->choice.n_near = CHAT_BUDGET_RANK;
    steer->force = steer->force || used - t->think_budget >= CHAT_BUDGET_GRACE;
}

static uint32_t budget_of(const ds4_generation *g, uint32_t n_ctx)
{
    const uint32_t half = n_ctx / 2;
    if (g->think_budget)
        return g->think_budget == UINT32_MAX ? 0 : g->think_budget;
    return half > CHAT_BUDGET_DEFAULT ? CHAT_BUDGET_DEFAULT : half;
}

static void on_start(void *user, uint32_t n_prompt, uint32_t n_cached, sched_steer *steer)
{
    (void)n_prompt, (void)n_cached;
    steer_on(user, steer);
}

static void on_token(void *user, const sched_token *token, sched_steer *steer)
{
    talk *t = user;
    if (chat_parser_feed(t->parser, token->id, &t->verdict, NULL) != DS4_OK)
        t->no_memory = true;
    t->complete = t->verdict != CHAT_GO_ON;
    steer->finish = t->complete || t->stopped || t->no_memory;
    steer_on(t, steer);
}

static void on_prefill(void *user, uint32_t n_done, uint32_t n_prompt)
{
    talk *t = user;
    if (t->generation->on_prompt && !t->stopped)
        t->stopped = !t->generation->on_prompt(t->generation->user, n_done, n_prompt);
    if (!t->stopped)
        return;
    pthread_mutex_lock(&t->lock);
    sched_ticket *ticket = t->ticket;
    pthread_mutex_unlock(&t->lock);
    sched_cancel(ticket);
}

static void on_done(void *user, const sched_result *result)
{
    talk *t = user;
    pthread_mutex_lock(&t->lock);
    t->result = *result;
    t->done = true;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static ds4_status render(ds4 *d, const ds4_message *messages, size_t n, bool think, token_list *ids,
                         chat_rendered *about, ds4_error *err)
{
    arena memory = { 0 };
    text_spans spans = { 0 };
    ds4_status status = DS4_OK;
    chat_message *list = arena_alloc_array(&memory, n, sizeof *list);
    slice *texts = arena_alloc_array(&memory, n, sizeof *texts);
    if (!list || !texts)
        status = ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for %zu messages", n);
    static const chat_role roles[] = { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT };
    for (size_t i = 0; i < n && status == DS4_OK; i++) {
        if ((unsigned)messages[i].role > DS4_ASSISTANT || !messages[i].text) {
            status = ds4_fail(err, DS4_ERR_ARGUMENT, "message %zu has no text or an unknown role", i);
            break;
        }
        texts[i] = slice_of(messages[i].text);
        list[i] = (chat_message){ .role = roles[messages[i].role],
                                  .texts = &texts[i],
                                  .n_texts = 1,
                                  .reasoning = slice_of(messages[i].reasoning) };
    }
    const chat_prompt prompt = {
        .profile = d->profile, .mode = think ? CHAT_THINK_HIGH : CHAT_THINK_NONE, .messages = list, .n_messages = n
    };
    if (status == DS4_OK)
        status = chat_render(&prompt, &spans, about, err);
    if (status == DS4_OK)
        status = text_spans_seal(&spans);
    if (status == DS4_OK)
        status = text_encode_spans(engine_tokenizer(d->engine), &spans, ids, err);
    text_spans_free(&spans);
    arena_free(&memory);
    return status;
}

/* Hands over what was collected, and says how it ended. */
static ds4_status conclude(talk *t, ds4_result *result, ds4_error *err)
{
    chat_outcome outcome;
    if (t->result.finish != SCHED_FINISH_ERROR &&
        chat_parser_finish(t->parser, t->verdict == CHAT_GO_ON, &outcome, NULL) != DS4_OK)
        t->no_memory = true;
    if (buffer_append(&t->content, "", 0) != DS4_OK || buffer_append(&t->reasoning, "", 0) != DS4_OK)
        t->no_memory = true;
    result->content = buffer_take(&t->content, NULL);
    result->reasoning = buffer_take(&t->reasoning, NULL);
    result->n_prompt = t->result.n_prompt;
    result->n_cached = t->result.n_cached;
    result->n_generated = t->result.n_generated - (t->verdict == CHAT_STOP_EOS && t->result.n_generated > 0);
    result->complete = t->complete;
    result->looped = t->result.finish == SCHED_FINISH_LOOP;
    if (t->result.finish == SCHED_FINISH_ERROR)
        return ds4_fail(err, t->result.status, "%s", t->result.error);
    if (t->no_memory)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for the answer");
    if (t->stopped || t->result.finish == SCHED_FINISH_CANCELLED)
        return ds4_fail(err, DS4_ERR_CANCELLED, "stopped");
    return DS4_OK;
}

ds4_status ds4_chat(ds4 *d, const ds4_message *messages, size_t n_messages, const ds4_generation *generation,
                    ds4_result *result, ds4_error *err)
{
    *result = (ds4_result){ 0 };
    if (n_messages == 0)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "the conversation is empty");
    talk t = { .generation = generation,
               .think_budget = budget_of(generation, engine_get_about(d->engine)->n_ctx),
               .think_end = text_special_id(engine_tokenizer(d->engine), TEXT_THINK_END),
               .dsml = text_special_id(engine_tokenizer(d->engine), TEXT_DSML) };
    token_list prompt = { 0 };
    chat_rendered about = { 0 };
    sched_ticket *ticket = NULL;
    pthread_mutex_init(&t.lock, NULL);
    pthread_cond_init(&t.changed, NULL);
    ds4_status status = DS4_OK;
    do { /* idle conversations are given up before this one fails for want of memory */
        token_list_free(&prompt);
        status = render(d, messages, n_messages, generation->think, &prompt, &about, err);
    } while (status == DS4_ERR_NO_MEMORY && sched_make_room(d->sched));
    const chat_parser_options parser = { .thinking_open = about.thinking_open };
    if (status == DS4_OK)
        status = chat_parser_new(&t.parser, engine_tokenizer(d->engine), &parser, on_event, &t, err);
    if (status == DS4_OK) {
        /* A later turn leaves this prompt before its last token: thinking may be rendered away. */
        const uint32_t anchor = (uint32_t)prompt.n - 1;
        sched_request request = { .prompt = prompt.ids,
                                  .n_prompt = (uint32_t)prompt.n,
                                  .anchors = &anchor,
                                  .n_anchors = 1,
                                  .max_tokens = generation->max_tokens,
                                  .sampling = engine_sampling_default(),
                                  .user = &t,
                                  .on_start = on_start,
                                  .on_prefill = on_prefill,
                                  .on_token = on_token,
                                  .on_done = on_done };
        request.sampling.temperature = generation->temperature;
        request.sampling.top_p = generation->top_p;
        request.sampling.min_p = generation->min_p;
        request.sampling.seed = generation->seed;
        pthread_mutex_lock(&t.lock);
        status = sched_submit(d->sched, &request, &ticket, err);
        t.ticket = ticket;
        pthread_mutex_unlock(&t.lock);
    }
    if (status == DS4_OK) {
        pthread_mutex_lock(&t.lock);
        while (!t.done)
            pthread_cond_wait(&t.changed, &t.lock);
        pthread_mutex_unlock(&t.lock);
        status = conclude(&t, result, err);
    }
    sched_ticket_release(ticket);
    chat_parser_free(t.parser);
    buffer_free(&t.content);
    buffer_free(&t.reasoning);
    token_list_free(&prompt);
    pthread_mutex_destroy(&t.lock);
    pthread_cond_destroy(&t.changed);
    return status;
}

void ds4_result_free(ds4_result *result)
{
    free(result->content);
    free(result->reasoning);
    *result = (ds4_result){ 0 };
}

ds4_status ds4_tokenize(ds4 *d, const char *text, size_t size, uint32_t *ids, size_t room, size_t *n, ds4_error *err)
{
    token_list list = { 0 };
    const ds4_status status = text_encode(engine_tokenizer(d->engine), (slice){ text, size }, &list, err);
    if (status == DS4_OK) {
        *n = list.n;
        if (list.n && room)
            memcpy(ids, list.ids, (list.n < room ? list.n : room) * sizeof *ids);
    }
    token_list_free(&list);
    return status;
}
