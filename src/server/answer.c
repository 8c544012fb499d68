#include "server/answer.h"

#include "base/hash.h"
#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct answer_call {
    char id[40];
    buffer name, arguments;
};

static void random_hex(char *out, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[32];
    hash_random(bytes, sizeof bytes);
    for (size_t i = 0; i < n; i++)
        out[i] = digits[bytes[i] & 15];
    out[n] = 0;
}

void answer_name(answer *a)
{
    a->created_s = (int64_t)time(NULL);
    memcpy(a->id, "chatcmpl-", 9);
    random_hex(a->id + 9, 24);
}

void answer_free(answer *a)
{
    for (size_t i = 0; i < a->n_calls; i++) {
        buffer_free(&a->calls[i].name);
        buffer_free(&a->calls[i].arguments);
    }
    free(a->calls);
    buffer_free(&a->content);
    buffer_free(&a->reasoning);
    buffer_free(&a->logprobs);
}

static void need(answer *a, ds4_status status)
{
    if (status != DS4_OK)
        a->no_memory = true;
}

/* Sends what was printed, unless something of it is missing. Frees the buffer. */
static void send_bytes(answer *a, buffer *b)
{
    if (!a->no_memory)
        stream_write(a->st, buffer_slice(b));
    buffer_free(b);
}

static ds4_status print_head(const answer *a, buffer *b, const char *object)
{
    ds4_status status = buffer_printf(b, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%" PRId64 ",\"model\":", a->id,
                                      object, a->created_s);
    if (status == DS4_OK)
        status = json_write_string(b, a->model);
    return status == DS4_OK ? buffer_printf(b, ",\"system_fingerprint\":\"%s\",\"choices\":[", a->fingerprint) : status;
}

/* --- chunks of a stream --------------------------------------------------------------------------------------------------- */

static const char chunk_object[] = "chat.completion.chunk";

static void print_stop_reason(answer *a, buffer *b)
{
    if (a->stop_reason)
        need(a, buffer_printf(b, ",\"stop_reason\":\"%s\"", a->stop_reason));
}

/* Sends one chunk. `delta` is the inside of the delta object; `finish` NULL: null. */
static void send_chunk(answer *a, slice delta, const char *finish)
{
    buffer b = { 0 };
    need(a, buffer_append_text(&b, "data: "));
    need(a, print_head(a, &b, chunk_object));
    need(a, buffer_append_text(&b, "{\"index\":0,\"delta\":{"));
    need(a, buffer_append_slice(&b, delta));
    if (a->logprobs.size) {
        need(a, buffer_append_text(&b, "},\"logprobs\":{\"content\":["));
        need(a, buffer_append_slice(&b, buffer_slice(&a->logprobs)));
        need(a, buffer_append_text(&b, "]},\"finish_reason\":"));
        buffer_clear(&a->logprobs);
    } else {
        need(a, buffer_append_text(&b, "},\"logprobs\":null,\"finish_reason\":"));
    }
    need(a, finish ? buffer_printf(&b, "\"%s\"", finish) : buffer_append_text(&b, "null"));
    if (finish)
        print_stop_reason(a, &b);
    need(a, buffer_append_text(&b, "}]"));
    if (a->include_usage)
        need(a, buffer_append_text(&b, ",\"usage\":null"));
    need(a, buffer_append_text(&b, "}\n\n"));
    send_bytes(a, &b);
}

void answer_begin(answer *a)
{
    if (a->begun || !a->chunks)
        return;
    a->begun = true;
    send_chunk(a, SLICE("\"role\":\"assistant\",\"content\":\"\""), NULL);
}

ds4_status answer_print_idle(const answer *a, buffer *out)
{
    ds4_status status = buffer_append_text(out, "data: ");
    if (status == DS4_OK)
        status = print_head(a, out, chunk_object);
    return status == DS4_OK
               ? buffer_append_text(out, "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":null}]}\n\n")
               : status;
}

static void send_text(answer *a, const char *member, slice text)
{
    buffer delta = { 0 };
    need(a, buffer_printf(&delta, "\"%s\":", member));
    need(a, json_write_string(&delta, text));
    send_chunk(a, buffer_slice(&delta), NULL);
    buffer_free(&delta);
}

static void send_call(answer *a, const chat_event *event, const answer_call *call)
{
    buffer delta = { 0 };
    need(a, buffer_printf(&delta, "\"tool_calls\":[{\"index\":%u,", (unsigned)event->index));
    if (event->kind == CHAT_EVENT_CALL_BEGIN) {
        need(a, buffer_printf(&delta, "\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", call->id));
        need(a, json_write_string(&delta, event->text));
        need(a, buffer_append_text(&delta, ",\"arguments\":\"\"}}]"));
    } else {
        need(a, buffer_append_text(&delta, "\"function\":{\"arguments\":"));
        need(a, json_write_string(&delta, event->text));
        need(a, buffer_append_text(&delta, "}}]"));
    }
    send_chunk(a, buffer_slice(&delta), NULL);
    buffer_free(&delta);
}

/* --- what comes ------------------------------------------------------------------------------------------------------------- */

static answer_call *new_call(answer *a)
{
    answer_call *grown = realloc(a->calls, (a->n_calls + 1) * sizeof *grown);
    if (!grown) {
        a->no_memory = true;
        return NULL;
    }
    a->calls = grown;
    grown[a->n_calls] = (answer_call){ .id = "call_" };
    random_hex(grown[a->n_calls].id + 5, 32);
    return &grown[a->n_calls++];
}

static void take_text(answer *a, const char *member, buffer *whole, slice text)
{
    if (a->chunks)
        send_text(a, member, text);
    else
        need(a, buffer_append_slice(whole, text));
}

void answer_event(answer *a, const chat_event *event)
{
    answer_call *call = a->n_calls ? &a->calls[a->n_calls - 1] : NULL;
    switch (event->kind) {
    case CHAT_EVENT_REASONING: take_text(a, "reasoning_content", &a->reasoning, event->text); break;
    case CHAT_EVENT_CONTENT: take_text(a, "content", &a->content, event->text); break;
    case CHAT_EVENT_CALL_BEGIN:
        call = new_call(a);
        if (call && a->chunks)
            send_call(a, event, call);
        else if (call)
            need(a, buffer_append_slice(&call->name, event->text));
        break;
    case CHAT_EVENT_CALL_DATA:
        if (call && a->chunks)
            send_call(a, event, call);
        else if (call)
            need(a, buffer_append_slice(&call->arguments, event->text));
        break;
    case CHAT_EVENT_CALL_END: break;
    }
}

static void print_alternative(answer *a, uint32_t id, float logprob)
{
    buffer *b = &a->logprobs;
    const slice piece = text_piece(a->tokenizer, id);
    need(a, buffer_append_text(b, "{\"token\":"));
    need(a, json_write_string(b, piece));
    need(a, buffer_append_text(b, ",\"logprob\":"));
    need(a, json_write_double(b, logprob));
    need(a, buffer_append_text(b, ",\"bytes\":["));
    for (size_t i = 0; i < piece.size; i++)
        need(a, buffer_printf(b, i ? ",%u" : "%u", (unsigned)(unsigned char)piece.data[i]));
    need(a, buffer_append_byte(b, ']'));
}

void answer_logprobs(answer *a, const sched_token *token)
{
    buffer *b = &a->logprobs;
    if (b->size)
        need(a, buffer_append_byte(b, ','));
    print_alternative(a, token->id, token->logprob);
    need(a, buffer_append_text(b, ",\"top_logprobs\":["));
    for (uint32_t i = 0; i < token->n_top; i++) {
        if (i)
            need(a, buffer_append_byte(b, ','));
        print_alternative(a, token->top[i].id, token->top[i].logprob);
        need(a, buffer_append_byte(b, '}'));
    }
    need(a, buffer_append_text(b, "]}"));
}

/* --- the end ------------------------------------------------------------------------------------------------------------------ */

static void print_usage(answer *a, buffer *b, const answer_usage *u)
{
    const sched_result *r = u->result;
    const uint32_t fresh = r->n_prompt - r->n_cached;
    const double prompt_ms = (double)r->prefill_us / 1e3, decode_ms = (double)r->decode_us / 1e3;
    need(a, buffer_printf(b,
                          "\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u,"
                          "\"prompt_tokens_details\":{\"cached_tokens\":%u,\"cache_write_tokens\":%u},"
                          "\"completion_tokens_details\":{\"reasoning_tokens\":%u},"
                          "\"prompt_cache_hit_tokens\":%u,\"prompt_cache_miss_tokens\":%u}",
                          (unsigned)r->n_prompt, (unsigned)u->n_completion, (unsigned)(r->n_prompt + u->n_completion),
                          (unsigned)r->n_cached, (unsigned)r->n_written, (unsigned)u->n_reasoning,
                          (unsigned)r->n_cached, (unsigned)fresh));
    need(a,
         buffer_printf(b,
                       ",\"timings\":{\"cache_n\":%u,\"prompt_n\":%u,\"prompt_ms\":%.3f,\"prompt_per_second\":%.3f,"
                       "\"predicted_n\":%u,\"predicted_ms\":%.3f,\"predicted_per_second\":%.3f}",
                       (unsigned)r->n_cached, (unsigned)fresh, prompt_ms, prompt_ms > 0 ? fresh / prompt_ms * 1e3 : 0.0,
                       (unsigned)u->n_completion, decode_ms, decode_ms > 0 ? u->n_completion / decode_ms * 1e3 : 0.0));
}

static void end_chunks(answer *a, const char *finish, const answer_usage *usage)
{
    buffer b = { 0 };
    answer_begin(a);
    send_chunk(a, SLICE(""), finish);
    if (a->include_usage) {
        need(a, buffer_append_text(&b, "data: "));
        need(a, print_head(a, &b, chunk_object));
        need(a, buffer_append_text(&b, "],"));
        print_usage(a, &b, usage);
        need(a, buffer_append_text(&b, "}\n\n"));
    }
    need(a, buffer_append_text(&b, "data: [DONE]\n\n"));
    send_bytes(a, &b);
}

static void print_calls(answer *a, buffer *b, size_t n)
{
    need(a, buffer_append_text(b, ",\"tool_calls\":["));
    for (size_t i = 0; i < n; i++) {
        need(a, buffer_printf(b, "%s{\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", i ? "," : "",
                              a->calls[i].id));
        need(a, json_write_string(b, buffer_slice(&a->calls[i].name)));
        need(a, buffer_append_text(b, ",\"arguments\":"));
        need(a, json_write_string(b, buffer_slice(&a->calls[i].arguments)));
        need(a, buffer_append_text(b, "}}"));
    }
    need(a, buffer_append_byte(b, ']'));
}

static void end_whole(answer *a, const char *finish, const answer_usage *usage)
{
    buffer b = { 0 };
    need(a, print_head(a, &b, "chat.completion"));
    need(a, buffer_append_text(&b, "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"));
    need(a, usage->n_calls && !a->content.size ? buffer_append_text(&b, "null")
                                               : json_write_string(&b, buffer_slice(&a->content)));
    if (a->reasoning.size) {
        need(a, buffer_append_text(&b, ",\"reasoning_content\":"));
        need(a, json_write_string(&b, buffer_slice(&a->reasoning)));
    }
    if (usage->n_calls)
        print_calls(a, &b, usage->n_calls);
    need(a, buffer_append_text(&b, ",\"refusal\":null},\"logprobs\":"));
    if (a->want_logprobs) {
        need(a, buffer_append_text(&b, "{\"content\":["));
        need(a, buffer_append_slice(&b, buffer_slice(&a->logprobs)));
        need(a, buffer_append_text(&b, "]}"));
    } else {
        need(a, buffer_append_text(&b, "null"));
    }
    need(a, buffer_printf(&b, ",\"finish_reason\":\"%s\"", finish));
    print_stop_reason(a, &b);
    need(a, buffer_append_text(&b, "}],"));
    print_usage(a, &b, usage);
    need(a, buffer_append_text(&b, "}\n"));
    if (!a->no_memory)
        stream_set_status(a->st, 200, 0);
    send_bytes(a, &b);
}

void answer_end(answer *a, const char *finish, const answer_usage *usage)
{
    http_error e;
    if (!a->no_memory && a->chunks)
        end_chunks(a, finish, usage);
    else if (!a->no_memory) /* else calls may be missing that `usage` counts */
        end_whole(a, finish, usage);
    if (a->no_memory) {
        refuse_memory(&e);
        answer_fail(a, &e);
    }
}

void answer_fail(answer *a, const http_error *e)
{
    buffer b = { 0 };
    ds4_status status = a->chunks ? buffer_append_text(&b, "data: ") : DS4_OK;
    if (status == DS4_OK)
        status = error_print(e, &b);
    if (status == DS4_OK && a->chunks)
        status = buffer_append_byte(&b, '\n');
    stream_set_status(a->st, e->status, e->retry_after_s);
    if (status == DS4_OK)
        stream_write(a->st, buffer_slice(&b));
    else
        stream_abandon(a->st); /* not even for that: the connection is cut */
    buffer_free(&b);
}
