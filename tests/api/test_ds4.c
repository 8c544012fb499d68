/* libds4 as a program uses it, with ds4-mini: what is asked for happens, and what nobody asked for does not. */
#include "ds4/ds4.h"
#include "support/support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL TEST_MODELS "/ds4-mini.gguf"
#define LONG_TEXT                                                                                                      \
    "The harbour is quiet and the lantern is lit. A copper meadow lies under violet thunder. "                         \
    "Paper windows open to the orchard, and silver compasses point over the river garden. "

static ds4_options small_options(void)
{
    ds4_options o = ds4_options_default();
    o.model_path = MODEL;
    o.n_ctx = 2048;
    o.n_threads = 1;
    o.prefill_chunk = 16;
    return o;
}

static ds4_generation greedy(void)
{
    ds4_generation g = ds4_generation_default();
    g.think = false;
    g.temperature = 0;
    g.max_tokens = 24;
    return g;
}

/* Shared by the tests that need no store. */
static ds4 *shared;

static int open_shared(void **state)
{
    ds4_error err = { 0 };
    const ds4_options o = small_options();
    (void)state;
    if (ds4_open(&shared, &o, &err) == DS4_OK)
        return 0;
    print_error("%s\n", err.text);
    return -1;
}

static int close_shared(void **state)
{
    (void)state;
    ds4_close(shared);
    return 0;
}

static void wrong_options_are_refused_with_words(void **state)
{
    ds4 *d = (ds4 *)&d;
    ds4_error err = { 0 };
    ds4_options o = ds4_options_default();
    (void)state;
    assert_int_equal(ds4_open(&d, &o, &err), DS4_ERR_ARGUMENT);
    assert_null(d);
    o = small_options();
    o.model_path = "/nonexistent.gguf";
    assert_int_equal(ds4_open(&d, &o, &err), DS4_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent.gguf"));
    o = small_options();
    o.prompt_profile = "v5";
    assert_int_equal(ds4_open(&d, &o, &err), DS4_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "v4, v4-0731 and v4.1"));
    o = small_options();
    o.kernels = "mmx";
    assert_int_equal(ds4_open(&d, &o, &err), DS4_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "mmx"));
    assert_null(d);
    ds4_close(NULL);
}

static void a_context_beyond_the_trained_one_is_told(void **state)
{
    ds4_about about;
    (void)state;
    ds4_get_about(shared, &about);
    assert_int_equal(about.n_ctx, 2048);
    assert_int_equal(about.n_ctx_trained, 8192);
    assert_false(about.kv_in_use);
    ds4 *d;
    ds4_options o = small_options();
    o.n_ctx = 9000;
    assert_int_equal(ds4_open(&d, &o, NULL), DS4_OK);
    ds4_get_about(d, &about);
    assert_int_equal(about.n_ctx, 8192);
    ds4_close(d);
}

static void questions_are_answered_and_counted(void **state)
{
    const ds4_message messages[] = { { DS4_SYSTEM, "You are a helpful assistant", NULL },
                                     { DS4_USER, "What is 12 + 30?", NULL } };
    ds4_generation g = greedy();
    ds4_result result;
    (void)state;
    assert_int_equal(ds4_chat(shared, messages, 2, &g, &result, NULL), DS4_OK);
    assert_non_null(strstr(result.content, "42"));
    assert_string_equal(result.reasoning, "");
    assert_true(result.complete);
    assert_in_range(result.n_prompt, 10, 40);
    assert_in_range(result.n_generated, 2, 24);
    ds4_result_free(&result);
    assert_null(result.content);
    g.max_tokens = 2;
    assert_int_equal(ds4_chat(shared, messages, 2, &g, &result, NULL), DS4_OK);
    assert_false(result.complete);
    assert_int_equal(result.n_generated, 2);
    ds4_result_free(&result);
    g.think = true;
    g.max_tokens = 6;
    assert_int_equal(ds4_chat(shared, messages, 2, &g, &result, NULL), DS4_OK);
    assert_true(strlen(result.reasoning) > 0);
    assert_string_equal(result.content, "");
    ds4_result_free(&result);
}

/* Questions that ds4-mini would call a tool for. */
static void no_answer_holds_scraps_of_tool_calls(void **state)
{
    static const char *const list[] = { "Get the current price of gold.", "Give me a list of four vegetables." };
    (void)state;
    for (int i = 0; i < 4; i++) {
        const ds4_message question = { DS4_USER, list[i / 2], NULL };
        ds4_generation g = greedy();
        ds4_result result;
        g.think = i % 2;
        g.max_tokens = 64;
        assert_int_equal(ds4_chat(shared, &question, 1, &g, &result, NULL), DS4_OK);
        if (!result.content[0] || strchr(result.content, '<') || strstr(result.content, "calls>"))
            fail_msg("'%s' '%s'", result.reasoning, result.content);
        if (i >= 2) /* begun anew, it is no rest of the call's tag */
            assert_true(memcmp(result.content, "tool", 4) != 0);
        assert_true(result.complete);
        ds4_result_free(&result);
    }
}

/* A text that ds4-mini reasons about for ever. */
static void reasoning_ends_with_its_budget(void **state)
{
    char text[601];
    const ds4_message question = { DS4_USER, text, NULL };
    ds4_generation g = greedy();
    ds4_result result;
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* 1,200 tokens: minutes */
#endif
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    g.think = true;
    g.max_tokens = 700;
    assert_int_equal(ds4_chat(shared, &question, 1, &g, &result, NULL), DS4_OK);
    assert_string_equal(result.content, "");
    assert_int_equal(result.n_generated, 700);
    ds4_result_free(&result);
    g.think_budget = 1;
    assert_int_equal(ds4_chat(shared, &question, 1, &g, &result, NULL), DS4_OK);
    assert_true(strlen(result.content) > 0);
    ds4_result_free(&result);
}

static void wrong_conversations_are_refused_with_words(void **state)
{
    const ds4_message no_text = { DS4_USER, NULL, NULL }, no_role = { (ds4_role)9, "x", NULL };
    static char longer[40000];
    const ds4_message too_long = { DS4_USER, longer, NULL };
    const ds4_generation g = greedy();
    ds4_result result;
    ds4_error err = { 0 };
    (void)state;
    assert_int_equal(ds4_chat(shared, NULL, 0, &g, &result, &err), DS4_ERR_ARGUMENT);
    ds4_result_free(&result);
    assert_int_equal(ds4_chat(shared, &no_text, 1, &g, &result, &err), DS4_ERR_ARGUMENT);
    ds4_result_free(&result);
    assert_int_equal(ds4_chat(shared, &no_role, 1, &g, &result, &err), DS4_ERR_ARGUMENT);
    ds4_result_free(&result);
    for (size_t i = 0; i + 6 < sizeof longer; i += 5)
        memcpy(longer + i, "word ", 5);
    assert_int_equal(ds4_chat(shared, &too_long, 1, &g, &result, &err), DS4_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "2048"));
    ds4_result_free(&result);
}

typedef struct listener {
    char text[1024];
    size_t n;
    int pieces, stop_after;
    uint32_t n_done, n_prompt;
    bool stop_in_prompt;
} listener;

static bool hear(void *user, ds4_text_kind kind, const char *text, size_t size)
{
    listener *l = user;
    assert_int_equal(kind, DS4_TEXT_CONTENT);
    assert_true(l->n + size < sizeof l->text);
    memcpy(l->text + l->n, text, size);
    l->n += size;
    return ++l->pieces != l->stop_after;
}

static bool watch(void *user, uint32_t n_done, uint32_t n_prompt)
{
    listener *l = user;
    l->n_done = n_done;
    l->n_prompt = n_prompt;
    return !l->stop_in_prompt;
}

static void pieces_are_the_answer_and_can_stop_it(void **state)
{
    const ds4_message question = { DS4_USER, "What is 12 + 30?", NULL };
    listener all = { .stop_after = -1 }, some = { .stop_after = 2 }, none = { .stop_in_prompt = true };
    ds4_generation g = greedy();
    ds4_result result;
    (void)state;
    g.on_text = hear;
    g.on_prompt = watch;
    g.user = &all;
    assert_int_equal(ds4_chat(shared, &question, 1, &g, &result, NULL), DS4_OK);
    assert_string_equal(all.text, result.content);
    assert_int_equal(all.n_prompt, result.n_prompt);
    assert_in_range(all.n_done, 1, result.n_prompt);
    ds4_result_free(&result);
    g.user = &some;
    assert_int_equal(ds4_chat(shared, &question, 1, &g, &result, NULL), DS4_ERR_CANCELLED);
    assert_int_equal(some.pieces, 2);
    assert_string_equal(some.text, result.content); /* what was said stays */
    assert_true(strlen(result.content) < strlen(all.text));
    ds4_result_free(&result);
    const ds4_message other = { DS4_USER, LONG_TEXT LONG_TEXT LONG_TEXT LONG_TEXT "Who are you?", NULL };
    g.user = &none;
    assert_int_equal(ds4_chat(shared, &other, 1, &g, &result, NULL), DS4_ERR_CANCELLED);
    assert_int_equal(none.pieces, 0);
    assert_true(none.n_done < none.n_prompt);
    assert_int_equal(result.n_generated, 0); /* the rest was not read */
    ds4_result_free(&result);
}

static void tokens_are_counted_beyond_the_room(void **state)
{
    uint32_t ids[64], few[2] = { 7, 7 };
    size_t n = 0, n_again = 0;
    (void)state;
    assert_int_equal(ds4_tokenize(shared, "The harbour is quiet", 20, ids, 64, &n, NULL), DS4_OK);
    assert_in_range(n, 3, 20);
    assert_int_equal(ds4_tokenize(shared, "The harbour is quiet", 20, few, 1, &n_again, NULL), DS4_OK);
    assert_int_equal(n_again, n);
    assert_int_equal(few[0], ids[0]);
    assert_int_equal(few[1], 7); /* beyond the room nothing is written */
    assert_int_equal(ds4_tokenize(shared, "", 0, NULL, 0, &n, NULL), DS4_OK);
    assert_int_equal(n, 0);
    /* What looks like a control token is text. */
    assert_int_equal(ds4_tokenize(shared, "<think>", 7, ids, 64, &n, NULL), DS4_OK);
    assert_true(n > 1);
}

static uint32_t cached_after_opening(const char *dir, const ds4_message *messages, size_t n)
{
    ds4 *d;
    ds4_about about;
    ds4_result result;
    const ds4_generation g = greedy();
    ds4_options o = small_options();
    o.kv_disk_dir = dir;
    o.kv_min_free_bytes = 1;
    o.kv_min_tokens = 16;
    assert_int_equal(ds4_open(&d, &o, NULL), DS4_OK);
    ds4_get_about(d, &about);
    assert_int_equal(about.kv_in_use, dir != NULL);
    assert_int_equal(ds4_chat(d, messages, n, &g, &result, NULL), DS4_OK);
    const uint32_t n_cached = result.n_cached;
    ds4_result_free(&result);
    ds4_close(d);
    return n_cached;
}

static void conversations_are_kept_where_and_only_where_it_is_told(void **state)
{
    const ds4_message messages[] = { { DS4_SYSTEM, LONG_TEXT LONG_TEXT LONG_TEXT, NULL }, { DS4_USER, "Hello", NULL } };
    (void)state;
    const char *home = test_empty_folder(TEST_SCRATCH "/home");
    test_empty_folder(TEST_SCRATCH "/store");
    setenv("HOME", home, 1);
    setenv("XDG_CACHE_HOME", home, 1);
    assert_int_equal(cached_after_opening(NULL, messages, 2), 0);
    assert_int_equal(cached_after_opening(NULL, messages, 2), 0);
    assert_int_equal(cached_after_opening(TEST_SCRATCH "/store/kv", messages, 2), 0);
    assert_true(cached_after_opening(TEST_SCRATCH "/store/kv", messages, 2) > 100);
    DIR *folder = opendir(home);
    int n_entries = 0;
    while (readdir(folder))
        n_entries++;
    closedir(folder);
    assert_int_equal(n_entries, 2); /* "." and ".." */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_options_are_refused_with_words),
        cmocka_unit_test(a_context_beyond_the_trained_one_is_told),
        cmocka_unit_test(questions_are_answered_and_counted),
        cmocka_unit_test(no_answer_holds_scraps_of_tool_calls),
        cmocka_unit_test(reasoning_ends_with_its_budget),
        cmocka_unit_test(wrong_conversations_are_refused_with_words),
        cmocka_unit_test(pieces_are_the_answer_and_can_stop_it),
        cmocka_unit_test(tokens_are_counted_beyond_the_room),
        cmocka_unit_test(conversations_are_kept_where_and_only_where_it_is_told),
    };
    return cmocka_run_group_tests(tests, open_shared, close_shared);
}
