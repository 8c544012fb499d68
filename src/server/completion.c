#include "server/completion.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/messages.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Reasoning over its budget ends where </think> is among the likely tokens, and after so many more in any case (3.7). */
enum { NEAR_RANK = 3, BUDGET_GRACE = 512 };

/* A finished or running tool call of a whole (not streamed) answer. */
typedef struct answer_call {
    char id[40];
    buffer name, arguments;
} answer_call;

typedef struct completion {
    /* Constant once submitted. */
    completion_context context;
    chat_request request;
    char id[40];
    int64_t created_s;
    token_list prompt;
    uint32_t anchors[2];
    token_list forced; /* ids that open a call, if calls are possible */
    bool in_prompt;    /* they are the end of the prompt */
    stream *st;        /* borrowed: the stream owns this */
    /* Engine thread. */
    chat_parser *parser;
    chat_verdict verdict;
    size_t n_forced; /* of `forced`, done; all, while no call must begin */
    uint32_t n_generated;
    bool begun; /* the first chunk was sent */
    bool no_memory;
    buffer content, reasoning, logprobs; /* of a whole answer; logprobs also of the present chunk */
    answer_call *calls;
    size_t n_calls;
} completion;

static void random_hex(char *out, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[32];
    hash_random(bytes, sizeof bytes);
    for (size_t i = 0; i < n; i++)
        out[i] = digits[bytes[i] & 15];
    out[n] = 0;
}

static void free_completion(void *owner)
{
    completion *c = owner;
    for (size_t i = 0; i < c->n_calls; i++) {
        buffer_free(&c->calls[i].name);
        buffer_free(&c->calls[i].arguments);
    }
    free(c->calls);
    buffer_free(&c->content);
    buffer_free(&c->reasoning);
    buffer_free(&c->logprobs);
    chat_parser_free(c->parser);
    token_list_free(&c->prompt);
    token_list_free(&c->forced);
    request_free(&c->request);
    free(c);
}

/* --- chunks of a stream --------------------------------------------------------------------------------------------------- */

static slice model_of(const completion *c)
{
    return c->request.model.size ? c->request.model : slice_of(c->context.model_name);
}

static void need(completion *c, ds4_status status)
{
    if (status != DS4_OK)
        c->no_memory = true;
}

static void print_head(completion *c, buffer *b, const char *object)
{
    need(c, buffer_printf(b, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%" PRId64 ",\"model\":", c->id, object,
                          c->created_s));
    need(c, json_write_string(b, model_of(c)));
    need(c, buffer_printf(b, ",\"system_fingerprint\":\"%s\",\"choices\":[", c->context.fingerprint));
}

/* Sends one chunk. `delta` is the inside of the delta object; `finish` NULL: null. */
static void send_chunk(completion *c, slice delta, const char *finish)
{
    buffer b = { 0 };
    need(c, buffer_append_text(&b, "data: "));
    print_head(c, &b, "chat.completion.chunk");
    need(c, buffer_append_text(&b, "{\"index\":0,\"delta\":{"));
    need(c, buffer_append_slice(&b, delta));
    if (c->logprobs.size) {
        need(c, buffer_printf(&b, "},\"logprobs\":{\"content\":[%s]},\"finish_reason\":", c->logprobs.data));
        buffer_clear(&c->logprobs);
    } else {
        need(c, buffer_append_text(&b, "},\"logprobs\":null,\"finish_reason\":"));
    }
    need(c, finish ? buffer_printf(&b, "\"%s\"}]", finish) : buffer_append_text(&b, "null}]"));
    if (c->request.include_usage)
        need(c, buffer_append_text(&b, ",\"usage\":null"));
    need(c, buffer_append_text(&b, "}\n\n"));
    stream_write(c->st, buffer_slice(&b));
    buffer_free(&b);
}

static void send_text(completion *c, const char *member, slice text)
{
    buffer delta = { 0 };
    need(c, buffer_printf(&delta, "\"%s\":", member));
    need(c, json_write_string(&delta, text));
    send_chunk(c, buffer_slice(&delta), NULL);
    buffer_free(&delta);
}

static void begin_stream(completion *c)
{
    if (c->begun || !c->request.stream)
        return;
    c->begun = true;
    send_chunk(c, SLICE("\"role\":\"assistant\",\"content\":\"\""), NULL);
}

const char *completion_effort(const stream *st)
{
    const completion *c = st->owner;
    return c->request.effort_lowered ? "high (requested max)" : NULL;
}

bool completion_heartbeat(stream *st, bool event)
{
    completion *c = st->owner; /* only what is constant, or the stream's own, is touched: this is another thread */
    buffer b = { 0 };
    pthread_mutex_lock(&st->lock);
    const uint32_t done = st->prefill_done, total = st->prefill_total;
    const bool running = st->running;
    pthread_mutex_unlock(&st->lock);
    ds4_status status;
    if (event) {
        status = buffer_printf(
            &b, "data: {\"id\":\"%s\",\"object\":\"chat.completion.chunk\",\"created\":%" PRId64 ",\"model\":", c->id,
            c->created_s);
        if (status == DS4_OK)
            status = json_write_string(&b, model_of(c));
        if (status == DS4_OK)
            status = buffer_append_text(&b, ",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":null}]}\n\n");
    } else if (running) {
        status = buffer_printf(&b, ": prefill %u/%u\n\n", (unsigned)done, (unsigned)total);
    } else {
        status = buffer_append_text(&b, ": queued\n\n");
    }
    const bool here = status == DS4_OK && stream_write(st, buffer_slice(&b));
    buffer_free(&b);
    return here;
}

/* --- what the parser finds -------------------------------------------------------------------------------------------------- */

static answer_call *new_call(completion *c)
{
    answer_call *grown = realloc(c->calls, (c->n_calls + 1) * sizeof *grown);
    if (!grown) {
        c->no_memory = true;
        return NULL;
    }
    c->calls = grown;
    grown[c->n_calls] = (answer_call){ .id = "call_" };
    random_hex(grown[c->n_calls].id + 5, 32);
    return &grown[c->n_calls++];
}

static void send_call(completion *c, const chat_event *event, const answer_call *call)
{
    buffer delta = { 0 };
    need(c, buffer_printf(&delta, "\"tool_calls\":[{\"index\":%u,", (unsigned)event->index));
    if (event->kind == CHAT_EVENT_CALL_BEGIN) {
        need(c, buffer_printf(&delta, "\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", call->id));
        need(c, json_write_string(&delta, event->text));
        need(c, buffer_append_text(&delta, ",\"arguments\":\"\"}}]"));
    } else {
        need(c, buffer_append_text(&delta, "\"function\":{\"arguments\":"));
        need(c, json_write_string(&delta, event->text));
        need(c, buffer_append_text(&delta, "}}]"));
    }
    send_chunk(c, buffer_slice(&delta), NULL);
    buffer_free(&delta);
}

static void on_event(void *user, const chat_event *event)
{
    completion *c = user;
    const bool streaming = c->request.stream;
    answer_call *call = c->n_calls ? &c->calls[c->n_calls - 1] : NULL;
    switch (event->kind) {
    case CHAT_EVENT_REASONING:
        if (streaming)
            send_text(c, "reasoning_content", event->text);
        else
            need(c, buffer_append_slice(&c->reasoning, event->text));
        break;
    case CHAT_EVENT_CONTENT:
        if (streaming)
            send_text(c, "content", event->text);
        else
            need(c, buffer_append_slice(&c->content, event->text));
        break;
    case CHAT_EVENT_CALL_BEGIN:
        call = new_call(c);
        if (call)
            need(c, buffer_append_slice(&call->name, event->text));
        if (call && streaming)
            send_call(c, event, call);
        break;
    case CHAT_EVENT_CALL_DATA:
        if (streaming)
            send_call(c, event, call);
        else if (call)
            need(c, buffer_append_slice(&call->arguments, event->text));
        break;
    case CHAT_EVENT_CALL_END: break;
    }
}

/* --- the scheduler's callbacks: engine thread ------------------------------------------------------------------------------- */

/* May `id` come next? Of the grammar of tool blocks. */
static bool may_follow(void *user, uint32_t id)
{
    return chat_parser_allows(user, id);
}

/* Reasoning must leave room for an answer (3.7), and ends where a tool block begins (3.4); a call that must come is opened for
 * the model (4.11). */
static void steer_on(completion *c, sched_steer *steer)
{
    const server_options *o = c->context.options;
    if (chat_parser_in_reasoning(c->parser)) {
        const uint32_t used = chat_parser_n_reasoning_tokens(c->parser), max = c->request.max_tokens;
        const uint32_t budget = c->request.think_budget;
        const bool over = budget && used >= budget, far = over && used - budget >= BUDGET_GRACE;
        const bool reserve = o->reply_reserve && c->request.has_max_tokens && max > o->reply_reserve &&
                             c->n_generated >= max - o->reply_reserve;
        const bool escape = chat_parser_escapes(c->parser);
        if (escape) {
            c->n_forced = 0;
            ++*c->context.n_escapes;
        }
        steer->force = far || reserve || escape;
        steer->force_id = text_special_id(engine_tokenizer(c->context.engine), TEXT_THINK_END);
        if (over)
            steer->choice = (engine_choice){ .near_id = steer->force_id, .n_near = NEAR_RANK };
    } else if (c->n_forced < c->forced.n) {
        steer->force = true;
        steer->force_id = c->forced.ids[c->n_forced++];
    } else {
        steer->choice =
            (engine_choice){ .greedy = chat_parser_wants_greedy(c->parser), .allows = may_follow, .user = c->parser };
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
    begin_stream(c);
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

static void print_alternative(completion *c, buffer *b, uint32_t id, float logprob)
{
    const slice piece = text_piece(engine_tokenizer(c->context.engine), id);
    need(c, buffer_append_text(b, "{\"token\":"));
    need(c, json_write_string(b, piece));
    need(c, buffer_append_text(b, ",\"logprob\":"));
    need(c, json_write_double(b, logprob));
    need(c, buffer_append_text(b, ",\"bytes\":["));
    for (size_t i = 0; i < piece.size; i++)
        need(c, buffer_printf(b, i ? ",%u" : "%u", (unsigned)(unsigned char)piece.data[i]));
    need(c, buffer_append_byte(b, ']'));
}

static void note_logprobs(completion *c, const sched_token *token)
{
    buffer *b = &c->logprobs;
    if (b->size)
        need(c, buffer_append_byte(b, ','));
    print_alternative(c, b, token->id, token->logprob);
    need(c, buffer_append_text(b, ",\"top_logprobs\":["));
    for (uint32_t i = 0; i < token->n_top; i++) {
        if (i)
            need(c, buffer_append_byte(b, ','));
        print_alternative(c, b, token->top[i].id, token->top[i].logprob);
        need(c, buffer_append_byte(b, '}'));
    }
    need(c, buffer_append_text(b, "]}"));
}

static bool one_call(const chat_request *r)
{
    return !r->parallel_calls || r->choice == CHOICE_NAMED;
}

static void on_token(void *user, const sched_token *token, sched_steer *steer)
{
    completion *c = user;
    begin_stream(c);
    pthread_mutex_lock(&c->st->lock);
    c->st->decoding = true;
    pthread_mutex_unlock(&c->st->lock);
    const bool content = !chat_parser_in_reasoning(c->parser);
    c->n_generated++;
    if (c->request.want_logprobs && content && !text_is_control(engine_tokenizer(c->context.engine), token->id))
        note_logprobs(c, token);
    need(c, chat_parser_feed(c->parser, token->id, &c->verdict, NULL));
    /* Where the grammar binds, it closes the block after one call; elsewhere that call ends the answer. */
    if (one_call(&c->request) && c->verdict == CHAT_GO_ON && chat_parser_n_calls(c->parser) > 0 &&
        chat_parser_allows(c->parser, text_special_id(engine_tokenizer(c->context.engine), TEXT_EOS)))
        c->verdict = CHAT_STOP_TOOLS;
    if (c->verdict != CHAT_GO_ON || c->no_memory)
        steer->finish = true;
    else
        steer_on(c, steer);
}

/* --- the end --------------------------------------------------------------------------------------------------------------------- */

static void print_usage(completion *c, buffer *b, const sched_result *r)
{
    const uint32_t completion_tokens = r->n_generated - (c->verdict == CHAT_STOP_EOS && r->n_generated > 0);
    const uint32_t fresh = r->n_prompt - r->n_cached;
    const double prompt_ms = (double)r->prefill_us / 1e3, decode_ms = (double)r->decode_us / 1e3;
    need(c, buffer_printf(b,
                          "\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u,"
                          "\"prompt_tokens_details\":{\"cached_tokens\":%u,\"cache_write_tokens\":%u},"
                          "\"completion_tokens_details\":{\"reasoning_tokens\":%u},"
                          "\"prompt_cache_hit_tokens\":%u,\"prompt_cache_miss_tokens\":%u}",
                          (unsigned)r->n_prompt, (unsigned)completion_tokens,
                          (unsigned)(r->n_prompt + completion_tokens), (unsigned)r->n_cached, (unsigned)fresh,
                          (unsigned)chat_parser_n_reasoning_tokens(c->parser), (unsigned)r->n_cached, (unsigned)fresh));
    need(c,
         buffer_printf(b,
                       ",\"timings\":{\"cache_n\":%u,\"prompt_n\":%u,\"prompt_ms\":%.3f,\"prompt_per_second\":%.3f,"
                       "\"predicted_n\":%u,\"predicted_ms\":%.3f,\"predicted_per_second\":%.3f}",
                       (unsigned)r->n_cached, (unsigned)fresh, prompt_ms, prompt_ms > 0 ? fresh / prompt_ms * 1e3 : 0.0,
                       (unsigned)r->n_generated, decode_ms, decode_ms > 0 ? r->n_generated / decode_ms * 1e3 : 0.0));
}

static void end_stream(completion *c, const sched_result *r, const char *finish)
{
    buffer b = { 0 };
    begin_stream(c);
    send_chunk(c, SLICE(""), finish);
    if (c->request.include_usage) {
        need(c, buffer_append_text(&b, "data: "));
        print_head(c, &b, "chat.completion.chunk");
        need(c, buffer_append_text(&b, "],"));
        print_usage(c, &b, r);
        need(c, buffer_append_text(&b, "}\n\n"));
    }
    need(c, buffer_append_text(&b, "data: [DONE]\n\n"));
    stream_write(c->st, buffer_slice(&b));
    buffer_free(&b);
}

static void print_calls(completion *c, buffer *b, size_t n)
{
    need(c, buffer_append_text(b, ",\"tool_calls\":["));
    for (size_t i = 0; i < n; i++) {
        need(c, buffer_printf(b, "%s{\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", i ? "," : "",
                              c->calls[i].id));
        need(c, json_write_string(b, buffer_slice(&c->calls[i].name)));
        need(c, buffer_append_text(b, ",\"arguments\":"));
        need(c, json_write_string(b, buffer_slice(&c->calls[i].arguments)));
        need(c, buffer_append_text(b, "}}"));
    }
    need(c, buffer_append_byte(b, ']'));
}

static void end_whole(completion *c, const sched_result *r, const char *finish)
{
    buffer b = { 0 };
    const size_t n_calls = chat_parser_n_calls(c->parser); /* an unfinished one is not shown */
    print_head(c, &b, "chat.completion");
    need(c, buffer_append_text(&b, "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"));
    need(c, n_calls && !c->content.size ? buffer_append_text(&b, "null")
                                        : json_write_string(&b, buffer_slice(&c->content)));
    if (c->reasoning.size) {
        need(c, buffer_append_text(&b, ",\"reasoning_content\":"));
        need(c, json_write_string(&b, buffer_slice(&c->reasoning)));
    }
    if (n_calls)
        print_calls(c, &b, n_calls);
    need(c, buffer_append_text(&b, ",\"refusal\":null},\"logprobs\":"));
    need(c, c->request.want_logprobs ? buffer_printf(&b, "{\"content\":[%s]}", c->logprobs.size ? c->logprobs.data : "")
                                     : buffer_append_text(&b, "null"));
    need(c, buffer_printf(&b, ",\"finish_reason\":\"%s\"}],", finish));
    print_usage(c, &b, r);
    need(c, buffer_append_text(&b, "}\n"));
    c->st->status = 200;
    stream_write(c->st, buffer_slice(&b));
    buffer_free(&b);
}

static void end_badly(completion *c, const http_error *e)
{
    buffer b = { 0 };
    if (c->request.stream) {
        begin_stream(c);
        need(c, buffer_append_text(&b, "data: "));
        need(c, error_print(e, &b));
        need(c, buffer_append_byte(&b, '\n'));
    } else {
        need(c, error_print(e, &b));
    }
    pthread_mutex_lock(&c->st->lock);
    c->st->status = e->status;
    pthread_mutex_unlock(&c->st->lock);
    stream_write(c->st, buffer_slice(&b));
    buffer_free(&b);
}

static void log_end(const completion *c, const sched_result *r, const char *finish)
{
    static const char *const sources[] = { "none", "live", "disk" };
    log_info(
        "request done id=%s finish=%s prompt=%u cached=%u source=%s gen=%u queue=%.3fs prefill=%.3fs decode=%.3fs%s%s",
        c->id + 9, finish, (unsigned)r->n_prompt, (unsigned)r->n_cached, sources[r->source], (unsigned)r->n_generated,
        (double)r->queue_us / 1e6, (double)r->prefill_us / 1e6, (double)r->decode_us / 1e6,
        r->retried_clean ? " retried=clean" : "", c->request.effort_lowered ? " effort=high requested=max" : "");
}

static const char *finish_word(completion *c, const sched_result *r, http_error *e)
{
    chat_outcome outcome = CHAT_OUTCOME_STOP;
    if (r->finish == SCHED_FINISH_ERROR) {
        refuse(e, 500, "internal_error", NULL, "%s", r->error);
        return "error";
    }
    if (r->finish == SCHED_FINISH_CANCELLED) {
        refuse(e, 503, "shutting_down", NULL, "the request was cut off: the server is shutting down");
        return "cancelled";
    }
    need(c, chat_parser_finish(c->parser, r->finish != SCHED_FINISH_STEERED, &outcome, NULL));
    if (c->no_memory) {
        refuse_memory(e);
        return "error";
    }
    switch (outcome) {
    case CHAT_OUTCOME_TOOL_CALLS: return "tool_calls";
    case CHAT_OUTCOME_LENGTH: return "length";
    case CHAT_OUTCOME_BROKEN:
        if (!c->request.stream)
            return "stop"; /* the calls that were completed are in the answer */
        refuse(e, 500, "internal_error", NULL, "the model wrote a tool call that cannot be understood");
        return "error";
    default: return "stop";
    }
}

static void on_done(void *user, const sched_result *r)
{
    completion *c = user;
    http_error e = { 0 };
    const char *finish = finish_word(c, r, &e);
    if (e.status)
        end_badly(c, &e);
    else if (c->request.stream)
        end_stream(c, r, finish);
    else
        end_whole(c, r, finish);
    log_end(c, r, finish);
    stream_end(c->st);
    stream_drop(c->st); /* the scheduler's reference */
}

/* --- the beginning ---------------------------------------------------------------------------------------------------------------- */

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
    if (status == DS4_OK)
        status = text_encode_spans(engine_tokenizer(c->context.engine), &spans, &c->prompt, &err);
    text_spans_free(&spans);
    return status == DS4_OK || refuse_status(e, status, err.text);
}

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
    c->n_forced = r->choice == CHOICE_REQUIRED || r->choice == CHOICE_NAMED ? 0 : c->forced.n;
    return status == DS4_OK || refuse_memory(e);
}

/* tool_choice "none" leaves the tools in the prompt, whose beginning stays the same, and forbids the token of their blocks
 * (2.4). */
static bool forbid_calls(chat_request *r, uint32_t mark, http_error *e)
{
    const uint32_t n = r->sampling.n_biases;
    if (r->n_tools == 0 || r->choice != CHOICE_NONE)
        return true;
    engine_bias *biases = arena_alloc_array(&r->memory, n + 1, sizeof *biases);
    if (!biases)
        return refuse_memory(e);
    if (n)
        memcpy(biases, r->sampling.biases, n * sizeof *biases);
    biases[n] = (engine_bias){ mark, -INFINITY };
    r->sampling.biases = biases;
    r->sampling.n_biases = n + 1;
    return true;
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
    if (c->prompt.n >= n_ctx) {
        refuse(e, 400, "context_length_exceeded", "messages",
               "this conversation has %zu tokens, and the context holds %u: shorten it, or start the server with a "
               "larger --ctx",
               c->prompt.n, (unsigned)n_ctx);
        e->has_context = true;
        e->n_prompt_tokens = (uint32_t)c->prompt.n;
        e->n_ctx = n_ctx;
        return false;
    }
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

bool completion_start(stream **out, const completion_context *context, slice body, http_error *e)
{
    const engine_about *about = engine_get_about(context->engine);
    completion *c = calloc(1, sizeof *c);
    chat_rendered rendered = { 0 };
    *out = NULL;
    if (!c)
        return refuse_memory(e);
    c->context = *context;
    c->created_s = (int64_t)time(NULL);
    memcpy(c->id, "chatcmpl-", 9);
    random_hex(c->id + 9, 24);
    bool good = request_read(&c->request, body, context->options, about->n_ctx, about->n_vocab, e) &&
                forbid_calls(&c->request, text_special_id(engine_tokenizer(context->engine), TEXT_DSML), e) &&
                render(c, &rendered, e) && prepare_opening(c, e);
    if (good && c->n_forced < c->forced.n && !rendered.thinking_open) {
        c->in_prompt = true;
        good = token_list_append_all(&c->prompt, c->forced.ids, c->forced.n) == DS4_OK || refuse_memory(e);
    }
    if (good) {
        const chat_tool *named = named_tool(&c->request);
        const chat_parser_options options = { .thinking_open = rendered.thinking_open,
                                              .allow_tools = allows_calls(&c->request),
                                              .grammar = !context->options->no_grammar,
                                              .one_call = one_call(&c->request),
                                              .profile = context->options->profile,
                                              .tools = named ? named : c->request.tools,
                                              .n_tools = named ? 1 : c->request.n_tools,
                                              .stops = c->request.stops,
                                              .n_stops = c->request.n_stops };
        good = chat_parser_new(&c->parser, engine_tokenizer(context->engine), &options, on_event, c, NULL) == DS4_OK ||
               refuse_memory(e);
    }
    if (!good) {
        free_completion(c);
        return false;
    }
    stream *st = stream_new(c->request.stream, (size_t)context->options->output_bytes_max, c, free_completion);
    if (!st)
        return refuse_memory(e);
    c->st = st;
    if (!submit(c, e)) {
        stream_drop(st);
        return false;
    }
    *out = st;
    return true;
}
