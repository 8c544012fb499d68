/* One request from its body to its answer, through the real scheduler and a tiny model of random weights: what tool choices
 * promise whatever the model would like to write. The connection is a double. */
#include "server/completion.h"
#include "support/support.h"
#include "support/tiny_model.h"

#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static engine *the_engine;
static sched *the_sched;
static server_options options;
static _Atomic uint64_t n_escapes, n_broken_calls;

/* The connection: whoever waits is told when it is resumed. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t resumed = PTHREAD_COND_INITIALIZER;
static bool is_suspended;

void MHD_suspend_connection(struct MHD_Connection *c)
{
    (void)c;
    pthread_mutex_lock(&lock);
    is_suspended = true;
    pthread_mutex_unlock(&lock);
}

void MHD_resume_connection(struct MHD_Connection *c)
{
    (void)c;
    pthread_mutex_lock(&lock);
    is_suspended = false;
    pthread_cond_signal(&resumed);
    pthread_mutex_unlock(&lock);
}

const union MHD_ConnectionInfo *MHD_get_connection_info(struct MHD_Connection *c, enum MHD_ConnectionInfoType type, ...)
{
    (void)c, (void)type;
    return NULL;
}

/* The CPU backend takes the memory of sequences from here. */
static atomic_bool memory_is_short;

void *aligned_alloc(size_t alignment, size_t size)
{
    void *memory = NULL;
    const int failed = memory_is_short ? ENOMEM : posix_memalign(&memory, alignment, size);
    if (failed)
        errno = failed;
    return failed ? NULL : memory;
}

static int open_model(void **state)
{
    char path[512];
    engine_options e = engine_options_default();
    const sched_options s = sched_options_default();
    (void)state;
    log_set_level(LOG_ERROR);
    test_empty_folder(TEST_SCRATCH);
    snprintf(path, sizeof path, "%s/tiny.gguf", TEST_SCRATCH);
    tiny_model_write(path, 1);
    e.model_path = path;
    e.n_ctx = TINY_CTX;
    e.n_threads = 1;
    assert_int_equal(engine_open(&the_engine, &e, NULL), DS4_OK);
    assert_int_equal(sched_open(&the_sched, the_engine, &s, NULL), DS4_OK);
    options = server_options_default();
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    sched_drain(the_sched, 0);
    sched_close(the_sched, 0);
    engine_close(the_engine);
    return 0;
}

static uint32_t special(text_special which)
{
    return text_special_id(engine_tokenizer(the_engine), which);
}

/* The members of a request beside its messages. */
typedef struct wish {
    const char *more;   /* JSON members, each with a comma before it */
    text_special liked; /* a bias of +100 */
    uint32_t max_tokens;
    const uint32_t *next; /* two ids with biases of +90 and +80, or NULL */
} wish;

#define TOOLS                                                                                                          \
    ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"now\",\"parameters\":{\"type\":\"object\","           \
    "\"properties\":{}}}}]"
#define NO_REASONING ",\"thinking\":{\"type\":\"disabled\"}"
#define GREEDY       ",\"temperature\":0,\"honor_sampling\":true"
#define HOT          ",\"temperature\":2,\"min_p\":0,\"honor_sampling\":true,\"seed\":9"
#define REQUIRED     TOOLS ",\"tool_choice\":\"required\",\"parallel_tool_calls\":false"

static uint32_t retry_after_s; /* of the last answer */

/* The answer as it goes to the client; free() it. */
static char *ask(const wish *w, bool streamed, int *status)
{
    const completion_context context = { .engine = the_engine,
                                         .sched = the_sched,
                                         .options = &options,
                                         .model_name = "tiny",
                                         .fingerprint = "fp",
                                         .piece_bytes_max = 64,
                                         .n_escapes = &n_escapes,
                                         .n_broken_calls = &n_broken_calls };
    upload body = { 0 };
    http_error e = { 0 };
    char *out = calloc(1, 1 << 20);
    assert_int_equal(buffer_printf(&body.bytes,
                                   "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":%u,"
                                   "\"logit_bias\":{\"%u\":%d,\"%u\":%d,\"%u\":100},\"stream\":%s%s}",
                                   (unsigned)w->max_tokens, w->next ? (unsigned)w->next[0] : 0, w->next ? 90 : 0,
                                   w->next ? (unsigned)w->next[1] : 1, w->next ? 80 : 0, (unsigned)special(w->liked),
                                   streamed ? "true" : "false", w->more),
                     DS4_OK);
    stream *st = completion_new(&context, &body, "chatcmpl-test");
    assert_non_null(st);
    stream_attach(st, (struct MHD_Connection *)&lock);
    completion_prepare(st);
    if (!completion_submit(st, &e))
        fail_msg("%s", e.message);
    while (!stream_ended_or_suspend(st)) {
        pthread_mutex_lock(&lock);
        while (is_suspended)
            pthread_cond_wait(&resumed, &lock);
        pthread_mutex_unlock(&lock);
    }
    for (size_t n = 0;;) {
        const ssize_t more = stream_read(st, n, out + n, (1 << 20) - 1 - n);
        if (more < 0)
            break;
        n += (size_t)more;
    }
    *status = st->status;
    retry_after_s = st->retry_after_s;
    stream_detach(st);
    stream_drop(st);
    return out;
}

typedef struct answer_text {
    buffer content, reasoning, calls;
    char finish[32], error[32];
    double n_tokens; /* of the completion; of a whole answer only */
} answer_text;

static void free_text(answer_text *t)
{
    buffer_free(&t->content);
    buffer_free(&t->reasoning);
    buffer_free(&t->calls);
}

static void take(buffer *out, const json_value *object, const char *name)
{
    slice text;
    if (json_string(json_member(object, name), &text))
        assert_int_equal(buffer_append_slice(out, text), DS4_OK);
}

static void copy(char *out, size_t size, const json_value *object, const char *name)
{
    slice text;
    if (json_string(json_member(object, name), &text))
        snprintf(out, size, "%.*s", (int)text.size, text.data);
}

/* Of a whole body or of one chunk: `message` is the name of what it holds. */
static void read_object(answer_text *t, slice text, const char *message)
{
    json_value *object;
    assert_int_equal(json_parse(&object, text, NULL, NULL), DS4_OK);
    const json_value *choice = json_at(json_member(object, "choices"), 0), *said = json_member(choice, message);
    const json_value *calls = json_member(said, "tool_calls");
    copy(t->error, sizeof t->error, json_member(object, "error"), "code");
    copy(t->finish, sizeof t->finish, choice, "finish_reason");
    take(&t->content, said, "content");
    take(&t->reasoning, said, "reasoning_content");
    for (size_t i = 0; i < json_count(calls); i++) {
        take(&t->calls, json_member(json_at(calls, i), "function"), "name");
        take(&t->calls, json_member(json_at(calls, i), "function"), "arguments");
    }
    json_double(json_member(json_member(object, "usage"), "completion_tokens"), &t->n_tokens);
    json_free(object);
}

static answer_text read_whole(const char *out)
{
    answer_text t = { 0 };
    read_object(&t, slice_of(out), "message");
    return t;
}

static answer_text read_stream(const char *out)
{
    answer_text t = { 0 };
    for (const char *at = out; (at = strstr(at, "data: {")) != NULL;) {
        const char *end = strchr(at, '\n');
        read_object(&t, (slice){ at + 6, (size_t)(end - at) - 6 }, "delta");
        at = end;
    }
    assert_int_equal(strstr(out, "data: [DONE]") != NULL, t.error[0] == 0);
    return t;
}

/* Asks in both ways, which must say the same, and returns it. */
static answer_text ask_both(const wish *w)
{
    int status;
    char *out = ask(w, false, &status);
    answer_text whole = read_whole(out);
    assert_int_equal(status, whole.error[0] ? 500 : 200);
    free(out);
    out = ask(w, true, &status);
    answer_text streamed = read_stream(out);
    free(out);
    assert_string_equal(whole.finish, streamed.finish);
    assert_string_equal(whole.error, streamed.error);
    if (!whole.error[0]) {
        assert_true(slice_equal(buffer_slice(&whole.content), buffer_slice(&streamed.content)));
        assert_true(slice_equal(buffer_slice(&whole.reasoning), buffer_slice(&streamed.reasoning)));
        if (strcmp(whole.finish, "length") != 0)
            assert_true(slice_equal(buffer_slice(&whole.calls), buffer_slice(&streamed.calls)));
    }
    free_text(&streamed);
    return whole;
}

static bool holds_markup(const buffer *b)
{
    return b->size && memmem(b->data, b->size, "DSML", 4);
}

/* A model that wants nothing but the token of tool calls. */
static void without_tools_the_token_is_not_sampled(void **state)
{
    static const char *const list[] = { GREEDY NO_REASONING,
                                        HOT NO_REASONING,
                                        GREEDY,
                                        HOT,
                                        GREEDY NO_REASONING TOOLS ",\"tool_choice\":\"none\"",
                                        HOT TOOLS ",\"tool_choice\":\"none\"" };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        answer_text t = ask_both(&(wish){ .more = list[i], .liked = TEXT_DSML, .max_tokens = 24 });
        assert_false(holds_markup(&t.content) || holds_markup(&t.reasoning));
        assert_true(t.content.size + t.reasoning.size > 0);
        assert_int_equal(t.calls.size, 0);
        free_text(&t);
    }
}

/* A model that wants to open a block, and else to write an 'a': it generates "<", the token, </think>, "a", "<" and the token. */
static void without_tools_an_opening_ends_the_answer(void **state)
{
    static const char *const list[] = { GREEDY NO_REASONING, HOT NO_REASONING, GREEDY, HOT,
                                        HOT TOOLS ",\"tool_choice\":\"none\"" };
    token_list ids = { 0 };
    (void)state;
    assert_int_equal(text_encode(engine_tokenizer(the_engine), SLICE("<"), &ids, NULL), DS4_OK);
    assert_int_equal(text_encode(engine_tokenizer(the_engine), SLICE("a"), &ids, NULL), DS4_OK);
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        answer_text t = ask_both(&(wish){ .more = list[i], .liked = TEXT_DSML, .next = ids.ids, .max_tokens = 24 });
        if (!slice_equal(buffer_slice(&t.content), SLICE("a")) || t.reasoning.size || t.calls.size ||
            strcmp(t.finish, "stop") != 0 || t.n_tokens != 6)
            fail_msg("%zu: %g '%.*s' '%.*s' %s", i, t.n_tokens, (int)t.reasoning.size, t.reasoning.data,
                     (int)t.content.size, t.content.data, t.finish);
        free_text(&t);
    }
    token_list_free(&ids);
}

/* Wherever the limit falls in the opening of a required call: no content. */
static void an_opening_that_is_cut_off_is_no_content(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 40; n += n < 10 ? 1 : 7)
        for (int reasons = 0; reasons < 2; reasons++) {
            answer_text t = ask_both(&(wish){ .more = reasons ? GREEDY REQUIRED : GREEDY NO_REASONING REQUIRED,
                                              .liked = TEXT_THINK_END,
                                              .max_tokens = n });
            assert_int_equal(t.content.size, 0);
            assert_string_equal(t.finish, "length");
            free_text(&t);
        }
}

/* A model that would end its turn at once, in its reasoning or in the call. */
static void a_required_call_comes_whatever_the_model_wants(void **state)
{
    static const char *const list[] = { GREEDY REQUIRED, HOT REQUIRED, GREEDY NO_REASONING REQUIRED,
                                        GREEDY TOOLS
                                        ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"now\"}}" };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        answer_text t = ask_both(&(wish){ .more = list[i], .liked = TEXT_EOS, .max_tokens = 400 });
        if (!slice_equal(buffer_slice(&t.calls), SLICE("now{}")))
            fail_msg("%zu: calls %.*s, %s %s", i, (int)t.calls.size, t.calls.data, t.finish, t.error);
        assert_string_equal(t.finish, "tool_calls");
        assert_int_equal(t.content.size + t.reasoning.size, 0);
        free_text(&t);
    }
}

/* Without the grammar the same model breaks its call: one error for both ways, counted. */
static void a_broken_call_ends_in_one_way(void **state)
{
    (void)state;
    const uint64_t before = n_broken_calls;
    options.no_grammar = true;
    answer_text t = ask_both(&(wish){ .more = GREEDY NO_REASONING REQUIRED, .liked = TEXT_EOS, .max_tokens = 40 });
    options.no_grammar = false;
    assert_string_equal(t.error, "broken_tool_call");
    assert_string_equal(t.finish, "");
    assert_int_equal(n_broken_calls, before + 2);
    free_text(&t);
}

/* Idle conversations were given up, and still it does not fit. The server is as good as before when there is memory again. */
static void short_memory_is_an_overload(void **state)
{
    const wish w = { .more = GREEDY NO_REASONING ",\"cache_prompt\":false", .liked = TEXT_DSML, .max_tokens = 4 };
    int status;
    (void)state;
    for (int streamed = 0; streamed < 2; streamed++) {
        memory_is_short = true;
        char *out = ask(&w, streamed, &status);
        memory_is_short = false;
        answer_text t = streamed ? read_stream(out) : read_whole(out);
        assert_string_equal(t.error, "overloaded");
        assert_int_equal(status, 503);
        assert_int_equal(retry_after_s, 5);
        assert_non_null(strstr(out, "--ctx"));
        assert_non_null(strstr(out, "--batched-session"));
        free_text(&t);
        free(out);
        t = ask_both(&w);
        assert_string_equal(t.finish, "length");
        assert_int_equal(retry_after_s, 0);
        free_text(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_tools_the_token_is_not_sampled),
        cmocka_unit_test(without_tools_an_opening_ends_the_answer),
        cmocka_unit_test(an_opening_that_is_cut_off_is_no_content),
        cmocka_unit_test(a_required_call_comes_whatever_the_model_wants),
        cmocka_unit_test(a_broken_call_ends_in_one_way),
        cmocka_unit_test(short_memory_is_an_overload),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
