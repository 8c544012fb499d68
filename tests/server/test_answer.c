/* What a client sees of a completion: one body or the chunks of a stream, whole even where memory runs out. */
#include "server/answer.h"
#include "support/byte_tokenizer.h"
#include "support/memory_fuse.h"
#include "support/support.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static byte_tokenizer fixture;

static int open_tokenizer(void **state)
{
    (void)state;
    byte_tokenizer_open(&fixture, NULL, 0);
    return 0;
}

static int close_tokenizer(void **state)
{
    (void)state;
    byte_tokenizer_close(&fixture);
    return 0;
}

static void free_nothing(void *owner)
{
    (void)owner;
}

static void begin(answer *a, bool chunks)
{
    *a = (answer){ .model = SLICE("a \"model\""),
                   .fingerprint = "fp_1",
                   .tokenizer = fixture.tokenizer,
                   .chunks = chunks,
                   .include_usage = chunks };
    answer_name(a);
    a->st = stream_new(1 << 20, NULL, free_nothing);
    assert_non_null(a->st);
    a->st->events = chunks;
}

/* Everything that was written; free() it. NULL: the client is gone. */
static char *finish(answer *a)
{
    char *out = calloc(1, (1 << 20) + 1);
    stream_end(a->st);
    const ssize_t n = stream_read(a->st, 0, out, 1 << 20);
    if (n == MHD_CONTENT_READER_END_WITH_ERROR) {
        free(out);
        out = NULL;
    } else {
        assert_int_equal(stream_read(a->st, 0, out + (n > 0 ? n : 0), 1), MHD_CONTENT_READER_END_OF_STREAM);
    }
    stream_drop(a->st);
    answer_free(a);
    return out;
}

static void say(answer *a, chat_event_kind kind, uint32_t index, const char *text)
{
    answer_event(a, &(chat_event){ kind, index, slice_of(text) });
}

static const sched_result result = { .finish = SCHED_FINISH_STEERED,
                                     .n_prompt = 10,
                                     .n_cached = 4,
                                     .n_generated = 7,
                                     .prefill_us = 2000,
                                     .decode_us = 3500 };

/* Reasoning, content, one whole call and one that is cut off. */
static void say_all(answer *a, bool broken)
{
    answer_begin(a);
    say(a, CHAT_EVENT_REASONING, 0, "hm ");
    say(a, CHAT_EVENT_REASONING, 0, "\"so\"");
    say(a, CHAT_EVENT_CONTENT, 0, "\u00e4\n");
    say(a, CHAT_EVENT_CALL_BEGIN, 0, "f");
    say(a, CHAT_EVENT_CALL_DATA, 0, "{\"s\":");
    say(a, CHAT_EVENT_CALL_DATA, 0, "\"x\"}");
    say(a, CHAT_EVENT_CALL_END, 0, "");
    say(a, CHAT_EVENT_CALL_BEGIN, 1, "g");
    say(a, CHAT_EVENT_CALL_DATA, 1, "{\"t\":\"hal");
    if (broken) {
        http_error e;
        refuse(&e, 500, "broken_tool_call", NULL, "it cannot be read");
        answer_fail(a, &e);
    } else {
        answer_end(a, "length",
                   &(answer_usage){ .result = &result, .n_completion = 7, .n_reasoning = 2, .n_calls = 1 });
    }
}

static json_value *parse(const char *text, size_t size)
{
    json_value *value;
    ds4_error err = { 0 };
    if (json_parse(&value, (slice){ text, size }, NULL, &err) != DS4_OK)
        fail_msg("'%.*s': %s", (int)size, text, err.text);
    return value;
}

static slice text_at(const json_value *object, const char *name)
{
    slice text = { 0 };
    json_string(json_member(object, name), &text);
    return text;
}

static int64_t number_at(const json_value *object, const char *name)
{
    int64_t number = -1;
    json_int64(json_member(object, name), &number);
    return number;
}

static void assert_usage(const json_value *body)
{
    const json_value *usage = json_member(body, "usage"), *timings = json_member(body, "timings");
    assert_int_equal(number_at(usage, "prompt_tokens"), 10);
    assert_int_equal(number_at(usage, "completion_tokens"), 7);
    assert_int_equal(number_at(usage, "total_tokens"), 17);
    assert_int_equal(number_at(json_member(usage, "prompt_tokens_details"), "cached_tokens"), 4);
    assert_int_equal(number_at(json_member(usage, "completion_tokens_details"), "reasoning_tokens"), 2);
    assert_int_equal(number_at(timings, "prompt_n"), 6);
}

static void assert_whole(char *out)
{
    json_value *body = parse(out, strlen(out));
    const json_value *choice = json_at(json_member(body, "choices"), 0), *message = json_member(choice, "message");
    const json_value *calls = json_member(message, "tool_calls"),
                     *function = json_member(json_at(calls, 0), "function");
    assert_true(slice_equal(text_at(body, "model"), SLICE("a \"model\"")));
    assert_true(slice_equal(text_at(message, "reasoning_content"), SLICE("hm \"so\"")));
    assert_true(slice_equal(text_at(message, "content"), SLICE("\u00e4\n")));
    assert_int_equal(json_count(calls), 1); /* what was cut off is not there */
    assert_true(slice_equal(text_at(function, "name"), SLICE("f")));
    assert_true(slice_equal(text_at(function, "arguments"), SLICE("{\"s\":\"x\"}")));
    assert_true(slice_equal(text_at(choice, "finish_reason"), SLICE("length")));
    assert_usage(body);
    json_free(body);
    free(out);
}

static void a_whole_answer_holds_what_was_said(void **state)
{
    answer a;
    (void)state;
    begin(&a, false);
    say_all(&a, false);
    assert_int_equal(a.st->status, 200);
    assert_whole(finish(&a));
}

/* With calls and no content, content is null; without either it is an empty text. */
static void no_content_is_null_only_beside_calls(void **state)
{
    (void)state;
    for (size_t n_calls = 0; n_calls < 2; n_calls++) {
        answer a;
        begin(&a, false);
        if (n_calls) {
            say(&a, CHAT_EVENT_CALL_BEGIN, 0, "f");
            say(&a, CHAT_EVENT_CALL_DATA, 0, "{}");
        }
        answer_end(&a, n_calls ? "tool_calls" : "stop", &(answer_usage){ .result = &result, .n_calls = n_calls });
        char *out = finish(&a);
        json_value *body = parse(out, strlen(out));
        const json_value *message = json_member(json_at(json_member(body, "choices"), 0), "message");
        assert_int_equal(json_kind_of(json_member(message, "content")), n_calls ? JSON_NULL : JSON_STRING);
        assert_int_equal(json_kind_of(json_member(message, "tool_calls")) == JSON_ARRAY, n_calls > 0);
        json_free(body);
        free(out);
    }
}

/* The parts of a stream, put together. */
typedef struct seen {
    buffer content, reasoning, arguments[2], names;
    size_t n_chunks;
    bool role, usage, done, error;
    char finish[16];
} seen;

static void free_seen(seen *s)
{
    buffer_free(&s->content);
    buffer_free(&s->reasoning);
    buffer_free(&s->arguments[0]);
    buffer_free(&s->arguments[1]);
    buffer_free(&s->names);
}

static void take_calls(seen *s, const json_value *calls)
{
    for (size_t i = 0; i < json_count(calls); i++) {
        const json_value *call = json_at(calls, i), *function = json_member(call, "function");
        const int64_t index = number_at(call, "index");
        assert_in_range(index, 0, 1);
        if (json_member(call, "id"))
            buffer_append_slice(&s->names, text_at(function, "name"));
        buffer_append_slice(&s->arguments[index], text_at(function, "arguments"));
    }
}

static void take_chunk(seen *s, const json_value *chunk)
{
    const json_value *choice = json_at(json_member(chunk, "choices"), 0), *delta = json_member(choice, "delta");
    const slice finish = text_at(choice, "finish_reason");
    assert_false(s->error || s->done); /* nothing follows the end */
    s->n_chunks++;
    if (json_member(chunk, "error")) {
        s->error = true;
        return;
    }
    if (s->n_chunks == 1)
        s->role = slice_equal(text_at(delta, "role"), SLICE("assistant"));
    buffer_append_slice(&s->content, text_at(delta, "content"));
    buffer_append_slice(&s->reasoning, text_at(delta, "reasoning_content"));
    take_calls(s, json_member(delta, "tool_calls"));
    if (finish.size)
        snprintf(s->finish, sizeof s->finish, "%.*s", (int)finish.size, finish.data);
    if (json_kind_of(json_member(chunk, "usage")) == JSON_OBJECT) {
        s->usage = true;
        assert_usage(chunk);
    }
}

/* Every event is whole. */
static seen read_events(const char *out)
{
    seen s = { 0 };
    for (const char *end; *out; out = end + 2) {
        end = strstr(out, "\n\n");
        assert_non_null(end);
        assert_memory_equal(out, "data: ", 6);
        if (strncmp(out, "data: [DONE]", 12) == 0) {
            s.done = true;
            continue;
        }
        json_value *chunk = parse(out + 6, (size_t)(end - out) - 6);
        take_chunk(&s, chunk);
        json_free(chunk);
    }
    return s;
}

static void assert_stream(const seen *s)
{
    assert_true(s->role && s->done && s->usage && !s->error);
    assert_true(slice_equal(buffer_slice(&s->reasoning), SLICE("hm \"so\"")));
    assert_true(slice_equal(buffer_slice(&s->content), SLICE("\u00e4\n")));
    assert_true(slice_equal(buffer_slice(&s->names), SLICE("fg")));
    assert_true(slice_equal(buffer_slice(&s->arguments[0]), SLICE("{\"s\":\"x\"}")));
    assert_true(slice_equal(buffer_slice(&s->arguments[1]), SLICE("{\"t\":\"hal")));
    assert_string_equal(s->finish, "length");
}

static void a_stream_says_the_same_in_chunks(void **state)
{
    answer a;
    (void)state;
    begin(&a, true);
    say_all(&a, false);
    char *out = finish(&a);
    seen s = read_events(out);
    assert_stream(&s);
    free_seen(&s);
    free(out);
}

/* An answer that fails has no end of its own: an error with its status, or as the last event. */
static void a_failed_answer_ends_with_the_error(void **state)
{
    answer a;
    (void)state;
    begin(&a, false);
    say_all(&a, true);
    assert_int_equal(a.st->status, 500);
    char *out = finish(&a);
    json_value *body = parse(out, strlen(out));
    assert_true(slice_equal(text_at(json_member(body, "error"), "code"), SLICE("broken_tool_call")));
    assert_null(json_member(body, "choices"));
    json_free(body);
    free(out);
    begin(&a, true);
    say_all(&a, true);
    out = finish(&a);
    seen s = read_events(out);
    assert_true(s.error && !s.done && !s.usage);
    assert_string_equal(s.finish, "");
    free_seen(&s);
    free(out);
}

static void log_probabilities_go_with_their_text(void **state)
{
    const sched_alternative top[] = { { 9 + 'a', -0.5f }, { 9 + 0xe4, -1.5f } };
    const sched_token token = { .id = 9 + 'a', .logprob = -0.5f, .top = top, .n_top = 2 };
    (void)state;
    for (int chunks = 0; chunks < 2; chunks++) {
        answer a;
        begin(&a, chunks);
        a.want_logprobs = true;
        answer_begin(&a);
        for (int i = 0; i < 2; i++) {
            answer_logprobs(&a, &token);
            say(&a, CHAT_EVENT_CONTENT, 0, "a");
        }
        answer_end(&a, "stop", &(answer_usage){ .result = &result });
        char *out = finish(&a);
        size_t n = 0;
        for (const char *at = out; (at = strstr(at, "{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97],\"top_")); at++)
            n++;
        assert_int_equal(n, 2);
        assert_non_null(strstr(out, "\"bytes\":[228]"));
        if (!chunks) {
            json_value *body = parse(out, strlen(out));
            const json_value *choice = json_at(json_member(body, "choices"), 0);
            assert_int_equal(json_count(json_member(json_member(choice, "logprobs"), "content")), 2);
            json_free(body);
        }
        free(out);
    }
}

/* The n-th request for memory fails, alone or with all that follow, for every n: a body is whole or an error, an event is
 * whole, a stream ends with [DONE] only if nothing of it is missing, and a client that cannot even be told is cut off. */
static void nothing_half_said_is_sent_when_memory_runs_out(void **state)
{
    size_t n_whole = 0, n_errors = 0, n_cut = 0;
    (void)state;
    if (!MEMORY_FUSE)
        skip();
    for (int mode = 0; mode < 4; mode++)
        for (long n = 1;; n++) {
            const bool chunks = mode & 1;
            answer a;
            begin(&a, chunks);
            memory_fuse_set(n, mode & 2);
            say_all(&a, false);
            const bool blown = memory_fuse_clear();
            const int status = a.st->status;
            char *out = finish(&a);
            if (!out) {
                n_cut++;
            } else if (chunks) {
                seen s = read_events(out);
                assert_true(s.done != s.error);
                if (s.done)
                    assert_stream(&s);
                n_whole += s.done;
                n_errors += s.error;
                free_seen(&s);
                free(out);
            } else if (status == 200) {
                assert_whole(out);
                n_whole++;
            } else {
                json_value *body = parse(out, strlen(out));
                assert_int_equal(status, 503);
                assert_non_null(json_member(body, "error"));
                n_errors++;
                json_free(body);
                free(out);
            }
            if (!blown)
                break;
        }
    printf("%zu whole, %zu errors, %zu cut off\n", n_whole, n_errors, n_cut);
    assert_true(n_whole >= 4 && n_errors > 0 && n_cut > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_answer_holds_what_was_said),
        cmocka_unit_test(no_content_is_null_only_beside_calls),
        cmocka_unit_test(a_stream_says_the_same_in_chunks),
        cmocka_unit_test(a_failed_answer_ends_with_the_error),
        cmocka_unit_test(log_probabilities_go_with_their_text),
        cmocka_unit_test(nothing_half_said_is_sent_when_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
