#include "server/completion.h"

#include "base/log.h"
#include "server/answer.h"
#include "server/messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct completion {
    /* Constant once submitted. */
    completion_context context;
    upload body;        /* until the request was read */
    http_error refusal; /* why it cannot run */
    chat_request request;
    token_list prompt;
    uint32_t anchors[2];
    token_list forced; /* ids that open a call, if calls are possible */
    bool in_prompt;    /* they are the end of the prompt */
    stream *st;        /* borrowed: the stream owns this */
    /* Engine thread. */
    answer answer;
    chat_parser *parser;
    chat_verdict verdict;
    size_t n_forced; /* of `forced`, done; all, while no call must begin */
    uint32_t n_generated;
    bool no_memory;
} completion;

static void free_completion(void *owner)
{
    completion *c = owner;
    answer_free(&c->answer);
    upload_free(&c->body);
    chat_parser_free(c->parser);
    token_list_free(&c->prompt);
    token_list_free(&c->forced);
    request_free(&c->request);
    free(c);
}

static void need(completion *c, ds4_status status)
{
    if (status != DS4_OK)
        c->no_memory = true;
}

const char *completion_effort(const stream *st)
{
    const completion *c = st->owner;
    return c->request.effort_lowered ? "high (requested max)" : NULL;
}

bool completion_heartbeat(stream *st, bool event)
{
    const completion *c =
        st->owner; /* only what is constant, or the stream's own, is touched: this is another thread */
    buffer b = { 0 };
    pthread_mutex_lock(&st->lock);
    const uint32_t done = st->prefill_done, total = st->prefill_total;
    const bool running = st->running;
    pthread_mutex_unlock(&st->lock);
    ds4_status status;
    if (event)
        status = answer_print_idle(&c->answer, &b);
    else if (running)
        status = buffer_printf(&b, ": prefill %u/%u\n\n", (unsigned)done, (unsigned)total);
    else
        status = buffer_append_text(&b, ": queued\n\n");
    const bool here = status == DS4_OK && stream_write(st, buffer_slice(&b));
    buffer_free(&b);
    return here;
}

/* --- the scheduler's callbacks: engine thread ------------------------------------------------------------------------------- */

static const token_set *allowed_next(void *user)
{
    return chat_parser_allowed(user);
}

static bool may_follow(void *user, uint32_t id)
{
    return chat_parser_allows(user, id);
}

static bool needs_call(const chat_request *r)
{
    return r->n_tools > 0 && (r->choice == CHOICE_REQUIRED || r->choice == CHOICE_NAMED);
}

/* Reasoning must leave room for an answer (3.7), and ends where a tool block begins (3.4) or, if a call must come, where the
 * model would end its turn; that call is then opened for the model (4.11). */
static void steer_on(completion *c, sched_steer *steer)
{
    const server_options *o = c->context.options;
    const text_tokenizer *t = engine_tokenizer(c->context.engine);
    steer->choice = (engine_choice){
        .greedy = chat_parser_wants_greedy(c->parser), .allowed = allowed_next, .allows = may_follow, .user = c->parser
    };
    const bool escape = chat_parser_escapes(c->parser);
    if (chat_parser_in_reasoning(c->parser)) {
        const uint32_t used = chat_parser_n_reasoning_tokens(c->parser), max = c->request.max_tokens;
        const uint32_t budget = c->request.think_budget;
        const bool over = budget && used >= budget, far = over && used - budget >= CHAT_BUDGET_GRACE;
        const bool reserve = o->reply_reserve && c->request.has_max_tokens && max > o->reply_reserve &&
                             c->n_generated >= max - o->reply_reserve;
        if (escape) {
            c->n_forced = 0;
            ++*c->context.n_escapes;
        }
        steer->force = far || reserve || escape;
        steer->force_id = text_special_id(t, TEXT_THINK_END);
        steer->choice.near_id = steer->force_id;
        steer->choice.n_near = over ? CHAT_BUDGET_RANK : 0;
        steer->choice.replace = needs_call(&c->request);
        steer->choice.replaced_id = text_special_id(t, TEXT_EOS);
        steer->choice.replacement_id = steer->force_id;
    } else if (c->n_forced < c->forced.n) {
        chat_parser_expect_block(c->parser);
        steer->force = true;
        steer->force_id = c->forced.ids[c->n_forced++];
    } else if (escape) {
        steer->force = true;
        steer->force_id = text_special_id(t, TEXT_THINK_END);
    }
    if (chat_parser_watches(c->parser)) {
        steer->choice.near_id = text_special_id(t, TEXT_DSML);
        steer->choice.n_near = 1;
    }
}

static void on_start(void *user, uint32_t n_prompt, uint32_t n_cached, sched_steer *steer)
{
    completion *c = user;
    pthread_mutex_lock(&c->st->lock);
    c->st->running = true;
    c->st->prefill_done = n_cached;
    c->st->prefill_total = n_prompt;
    pthread_mutex_unlock(&c->st->lock);
    answer_begin(&c->answer);
    /* Without reasoning a required call opens the answer: its tokens stand at the end of the prompt. */
    for (; c->in_prompt && c->n_forced < c->forced.n; c->n_forced++)
        need(c, chat_parser_feed(c->parser, c->forced.ids[c->n_forced], &c->verdict, NULL));
    if (c->n_generated == 0)
        steer_on(c, steer);
}

static void on_prefill(void *user, uint32_t n_done, uint32_t n_prompt)
{
    completion *c = user;
    pthread_mutex_lock(&c->st->lock);
    c->st->prefill_done = n_done;
    c->st->prefill_total = n_prompt;
    pthread_mutex_unlock(&c->st->lock);
}

static bool one_call(const chat_request *r)
{
    return !r->parallel_calls || r->choice == CHOICE_NAMED;
}

static void on_token(void *user, const sched_token *token, sched_steer *steer)
{
    completion *c = user;
    answer_begin(&c->answer);
    pthread_mutex_lock(&c->st->lock);
    c->st->decoding = true;
    pthread_mutex_unlock(&c->st->lock);
    const bool content = !chat_parser_in_reasoning(c->parser);
    c->n_generated++;
    if (c->request.want_logprobs && content && !text_is_control(engine_tokenizer(c->context.engine), token->id))
        answer_logprobs(&c->answer, token);
    need(c, chat_parser_feed(c->parser, token->id, &c->verdict, NULL));
    /* Where the grammar binds, it closes the block after one call; elsewhere that call ends the answer. */
    if (one_call(&c->request) && c->verdict == CHAT_GO_ON && chat_parser_n_calls(c->parser) > 0 &&
        chat_parser_allows(c->parser, text_special_id(engine_tokenizer(c->context.engine), TEXT_EOS)))
        c->verdict = CHAT_STOP_TOOLS;
    if (c->verdict != CHAT_GO_ON || c->no_memory || c->answer.no_memory)
        steer->finish = true;
    else
        steer_on(c, steer);
}

/* --- the end --------------------------------------------------------------------------------------------------------------------- */

static void log_end(const completion *c, const sched_result *r, const char *finish, uint32_t n_completion)
{
    static const char *const sources[] = { "none", "live", "disk" };
    char loop[40] = "";
    if (r->loop_period)
        snprintf(loop, sizeof loop, " why=loop period=%u", (unsigned)r->loop_period);
    log_info("request done request=%s id=%s finish=%s prompt=%u cached=%u source=%s gen=%u queue=%.3fs prefill=%.3fs "
             "decode=%.3fs%s%s%s",
             c->st->request_id, c->answer.id + 9, finish, (unsigned)r->n_prompt, (unsigned)r->n_cached,
             sources[r->source], (unsigned)n_completion, (double)r->queue_us / 1e6, (double)r->prefill_us / 1e6,
             (double)r->decode_us / 1e6, loop, r->retried_clean ? " retried=clean" : "",
             c->request.effort_lowered ? " effort=high requested=max" : "");
}

static const char *finish_word(completion *c, const sched_result *r, http_error *e)
{
    chat_outcome outcome = CHAT_OUTCOME_STOP;
    if (r->finish == SCHED_FINISH_ERROR) {
        if (r->status == DS4_ERR_NO_MEMORY) /* all that was idle has been given up */
            refuse_memory(e);
        else
            refuse(e, 500, "internal_error", NULL, "%s", r->error);
        return "error";
    }
    if (r->finish == SCHED_FINISH_CANCELLED) {
        refuse_status(e, DS4_ERR_CANCELLED, "the request was cut off: the server is shutting down");
        return "cancelled";
    }
    need(c, chat_parser_finish(c->parser, r->finish != SCHED_FINISH_STEERED, &outcome, NULL));
    if (c->no_memory || c->answer.no_memory) {
        refuse_memory(e);
        return "error";
    }
    switch (outcome) {
    case CHAT_OUTCOME_TOOL_CALLS: return "tool_calls";
    case CHAT_OUTCOME_LENGTH: return "length";
    case CHAT_OUTCOME_BROKEN:
        ++*c->context.n_broken_calls;
        refuse(e, 500, "broken_tool_call", NULL,
               "the model wrote a tool call that cannot be read; nothing of this answer may be executed");
        return "broken_tool_call";
    default: return "stop";
    }
}

static void on_done(void *user, const sched_result *r)
{
    completion *c = user;
    http_error e = { 0 };
    const char *finish = finish_word(c, r, &e);
    const answer_usage usage = { .result = r,
                                 /* EOS is not counted */
                                 .n_completion = r->n_generated - (c->verdict == CHAT_STOP_EOS && r->n_generated > 0),
                                 .n_reasoning = chat_parser_n_reasoning_tokens(c->parser),
                                 .n_calls = chat_parser_n_calls(c->parser) };
    if (r->finish == SCHED_FINISH_LOOP)
        c->answer.stop_reason = "loop";
    if (e.status)
        answer_fail(&c->answer, &e);
    else
        answer_end(&c->answer, finish, &usage);
    log_end(c, r, finish, usage.n_completion);
    stream_end(c->st);
    stream_drop(c->st); /* the scheduler's reference */
}

/* --- the beginning ---------------------------------------------------------------------------------------------------------------- */

static bool refuse_length(const completion *c, bool at_least, size_t n_tokens, http_error *e)
{
    const engine_about *about = engine_get_about(c->context.engine);
    const uint32_t n_ctx = about->n_ctx;
    return refuse_context(e, n_tokens, at_least, n_ctx, !about->n_ctx_trained || n_ctx < about->n_ctx_trained);
}

/* No token is longer than the longest. So what is far too long is known without a tokenisation, which takes a second
 * for every megabyte or two. */
static size_t least_tokens(const completion *c, const text_spans *spans)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < spans->n; i++)
        n_bytes += spans->items[i].text.size;
    return n_bytes / c->context.piece_bytes_max;
}

static bool render(completion *c, chat_rendered *about, http_error *e)
{
    const chat_request *r = &c->request;
    const chat_prompt prompt = { .profile = c->context.options->profile,
                                 .mode = r->mode,
                                 .effort = r->effort,
                                 .messages = r->messages,
                                 .n_messages = r->n_messages,
                                 .tools = r->tools,
                                 .n_tools = r->n_tools,
                                 .response_format = r->response_format };
    text_spans spans = { 0 };
    ds4_error err = { 0 };
    ds4_status status = chat_render(&prompt, &spans, about, &err);
    if (status == DS4_OK)
        status = text_spans_seal(&spans);
    const size_t n_least = status == DS4_OK ? least_tokens(c, &spans) : 0;
    const bool hopeless = n_least > engine_get_about(c->context.engine)->n_ctx;
    if (status == DS4_OK && !hopeless)
        status = text_encode_spans(engine_tokenizer(c->context.engine), &spans, &c->prompt, &err);
    text_spans_free(&spans);
    if (hopeless)
        return refuse_length(c, true, n_least, e);
    return status == DS4_OK || refuse_status(e, status, err.text);
}

/* tool_choice "none" leaves the tools in the prompt, whose beginning stays the same, and forbids their blocks (2.4). */
static bool allows_calls(const chat_request *r)
{
    return r->n_tools > 0 && r->choice != CHOICE_NONE;
}

/* The only tool that may be called, or NULL: any. */
static const chat_tool *named_tool(const chat_request *r)
{
    for (size_t i = 0; r->choice == CHOICE_NAMED && i < r->n_tools; i++)
        if (slice_equal(r->tools[i].name, r->choice_name))
            return &r->tools[i];
    return NULL;
}

/* The tokens with which a call begins: for tool_choice required or a name, and after reasoning that a call broke into. */
static bool prepare_opening(completion *c, http_error *e)
{
    const chat_request *r = &c->request;
    text_spans spans = { 0 };
    if (!allows_calls(r))
        return true;
    ds4_status status = chat_render_call_opening(&spans, c->context.options->profile, r->choice_name);
    if (status == DS4_OK)
        status = text_spans_seal(&spans);
    if (status == DS4_OK)
        status = text_encode_spans(engine_tokenizer(c->context.engine), &spans, &c->forced, NULL);
    text_spans_free(&spans);
    c->n_forced = needs_call(r) ? 0 : c->forced.n;
    return status == DS4_OK || refuse_memory(e);
}

/* Where a later request will probably leave this prompt: before the last user turn, and before the last token, which
 * another thinking mode, or reasoning that is not sent back, replaces. */
static uint32_t find_anchors(completion *c)
{
    const uint32_t user = text_special_id(engine_tokenizer(c->context.engine), TEXT_USER), n = (uint32_t)c->prompt.n;
    uint32_t n_anchors = 0, last = n - 1;
    for (uint32_t i = n; i-- > 1 && n_anchors == 0;)
        if (c->prompt.ids[i] == user && i < last)
            c->anchors[n_anchors++] = i;
    if (last > 0)
        c->anchors[n_anchors++] = last;
    return n_anchors;
}

static bool submit(completion *c, http_error *e)
{
    const uint32_t n_ctx = engine_get_about(c->context.engine)->n_ctx;
    sched_ticket *ticket = NULL;
    ds4_error err = { 0 };
    if (c->prompt.n >= n_ctx)
        return refuse_length(c, false, c->prompt.n, e);
    sched_request request = { .prompt = c->prompt.ids,
                              .n_prompt = (uint32_t)c->prompt.n,
                              .anchors = c->anchors,
                              .n_anchors = find_anchors(c),
                              .max_tokens = c->request.max_tokens,
                              .sampling = c->request.sampling,
                              .n_logprobs = c->request.n_logprobs,
                              .want_logprobs = c->request.want_logprobs,
                              .no_cache = c->request.no_cache,
                              .user = c,
                              .on_start = on_start,
                              .on_prefill = on_prefill,
                              .on_token = on_token,
                              .on_done = on_done };
    stream_hold(c->st); /* the scheduler's reference */
    const ds4_status status = sched_submit(c->context.sched, &request, &ticket, &err);
    if (status != DS4_OK) {
        stream_drop(c->st);
        return refuse_status(e, status, err.text);
    }
    stream_set_ticket(c->st, ticket);
    return true;
}

static void on_event(void *user, const chat_event *event)
{
    completion *c = user;
    answer_event(&c->answer, event);
}

static bool read_request(completion *c, http_error *e)
{
    const completion_context *context = &c->context;
    const engine_about *about = engine_get_about(context->engine);
    chat_rendered rendered = { 0 };
    bool good =
        request_read(&c->request, buffer_slice(&c->body.bytes), context->options, about->n_ctx, about->n_vocab, e) &&
        render(c, &rendered, e) && request_settle(&c->request, e) && prepare_opening(c, e);
    if (good && c->n_forced < c->forced.n && !rendered.thinking_open) {
        c->in_prompt = true;
        good = token_list_append_all(&c->prompt, c->forced.ids, c->forced.n) == DS4_OK || refuse_memory(e);
    }
    if (good) {
        const chat_tool *named = named_tool(&c->request);
        const chat_parser_options options = { .thinking_open = rendered.thinking_open,
                                              .allow_tools = allows_calls(&c->request),
                                              .grammar = !context->options->no_grammar,
                                              .repair = context->options->tool_repair,
                                              .one_call = one_call(&c->request),
                                              .profile = context->options->profile,
                                              .tools = named ? named : c->request.tools,
                                              .n_tools = named ? 1 : c->request.n_tools,
                                              .stops = c->request.stops,
                                              .n_stops = c->request.n_stops };
        good = chat_parser_new(&c->parser, engine_tokenizer(context->engine), &options, on_event, c, NULL) == DS4_OK ||
               refuse_memory(e);
    }
    return good;
}

/* Undoes read_request(), but for the body. */
static void forget_request(completion *c)
{
    chat_parser_free(c->parser);
    c->parser = NULL;
    token_list_free(&c->prompt);
    token_list_free(&c->forced);
    request_free(&c->request);
    c->in_prompt = false;
    c->refusal = (http_error){ 0 };
}

void completion_prepare(stream *st)
{
    completion *c = st->owner;
    answer *a = &c->answer;
    bool good = read_request(c, &c->refusal);
    /* Idle conversations are given up before a request fails for want of memory. */
    while (!good && c->refusal.no_memory && sched_make_room(c->context.sched)) {
        forget_request(c);
        good = read_request(c, &c->refusal);
    }
    upload_free(&c->body);
    if (!good)
        request_free(&c->request);
    a->model = c->request.model.size ? c->request.model : slice_of(c->context.model_name);
    a->chunks = c->request.stream;
    a->include_usage = c->request.include_usage;
    a->want_logprobs = c->request.want_logprobs;
    stream_prepared(st, a->chunks);
}

bool completion_submit(stream *st, http_error *e)
{
    completion *c = st->owner;
    if (c->refusal.status) {
        *e = c->refusal;
        return false;
    }
    return submit(c, e);
}

stream *completion_new(const completion_context *context, upload *taken, const char *request_id)
{
    completion *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->context = *context;
    c->body = *taken;
    *taken = (upload){ 0 };
    answer_name(&c->answer);
    c->answer.fingerprint = context->fingerprint;
    c->answer.tokenizer = engine_tokenizer(context->engine);
    stream *st = stream_new((size_t)context->options->output_bytes_max, c, free_completion);
    if (st) {
        c->answer.st = c->st = st;
        snprintf(st->request_id, sizeof st->request_id, "%s", request_id);
    }
    return st;
}
