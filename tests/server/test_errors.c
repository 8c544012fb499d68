/* Refusals that programs read. */
#include "server/errors.h"
#include "base/json.h"
#include "support/support.h"

#include <regex.h>
#include <stdio.h>
#include <string.h>

/* Agents and proxies shorten a conversation and try again when they recognise the message of a prompt that is too long. What they
 * look for, as POSIX expressions; case does not count. */
static const struct {
    const char *client, *pattern;
} overflow_patterns[] = {
    { "Pi, after Anthropic", "prompt is too long" },
    { "Pi, after OpenAI", "exceeds the context window" },
    { "Pi, after Groq", "reduce the length of the messages" },
    { "Pi, after OpenRouter", "maximum context length is [0-9]+ tokens" },
    { "LiteLLM", "this model's maximum context length is" },
    { "openclaw and its ports", "maximum context length" },
    { "openclaw, from any server", "(prompt|request|input).*(too (large|long)|exceed|over|limit|max)" },
    { "crewAI", "maximum context length" },
    { "clients that read both numbers, after Anthropic", "prompt is too long: [0-9]+ tokens > [0-9]+ maximum" },
    { "clients that read both numbers, after OpenAI", "max.*[0-9]+ tokens" },
};

static bool is_found(const char *expression, const char *text)
{
    regex_t pattern;
    assert_int_equal(regcomp(&pattern, expression, REG_EXTENDED | REG_ICASE | REG_NOSUB), 0);
    const bool found = regexec(&pattern, text, 0, NULL, 0) == 0;
    regfree(&pattern);
    return found;
}

/* Another refusal, after which a conversation must not be shortened without asking. */
static void assert_not_recognised(const char *text)
{
    for (size_t i = 0; i < sizeof overflow_patterns / sizeof overflow_patterns[0]; i++)
        if (is_found(overflow_patterns[i].pattern, text))
            fail_msg("%s recognises: %s", overflow_patterns[i].client, text);
}

static void assert_recognised(const char *text)
{
    for (size_t i = 0; i < sizeof overflow_patterns / sizeof overflow_patterns[0]; i++) {
        if (!is_found(overflow_patterns[i].pattern, text))
            fail_msg("%s does not recognise: %s", overflow_patterns[i].client, text);
    }
    /* By these words they recognise other troubles: a limit of requests per minute, a model that is too small for an agent. */
    static const char *const others[] = { "rate limit", "too many requests", "too small", "minimum is",
                                          "string too long" };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_null(strcasestr(text, others[i]));
}

static void a_prompt_that_is_too_long_is_recognised(void **state)
{
    (void)state;
    for (int may_grow = 0; may_grow <= 1; may_grow++)
        for (int at_least = 0; at_least <= 1; at_least++) {
            http_error e;
            buffer out = { 0 };
            assert_false(refuse_context(&e, 9012, at_least, 8192, may_grow));
            assert_recognised(e.message);
            assert_int_equal(e.status, 400);
            assert_string_equal(e.code, "context_length_exceeded");
            assert_int_equal(strstr(e.message, "--ctx") != NULL, may_grow);
            assert_int_equal(strstr(e.message, "at least") != NULL, at_least);
            assert_int_equal(error_print(&e, &out), DS4_OK);
            json_value *printed;
            int64_t n = 0;
            assert_int_equal(json_parse(&printed, buffer_slice(&out), NULL, NULL), DS4_OK);
            const json_value *error = json_member(printed, "error");
            assert_true(json_int64(json_member(error, "n_prompt_tokens"), &n) && n == 9012);
            assert_true(json_int64(json_member(error, "n_ctx"), &n) && n == 8192);
            json_free(printed);
            buffer_free(&out);
        }
}

/* The largest numbers fit: nothing is cut off. */
static void its_message_has_room_for_the_largest_numbers(void **state)
{
    (void)state;
    http_error e;
    refuse_context(&e, SIZE_MAX, true, UINT32_MAX, true);
    assert_non_null(strstr(e.message, "--ctx"));
    assert_int_equal(e.n_prompt_tokens, UINT32_MAX);
}

static void short_memory_is_told_apart(void **state)
{
    (void)state;
    http_error e;
    refuse_memory(&e);
    assert_true(e.no_memory);
    assert_not_recognised(e.message);
    refuse_status(&e, DS4_ERR_NO_MEMORY, "x");
    assert_true(e.no_memory);
    refuse_status(&e, DS4_ERR_STATE_BAD, "x");
    assert_false(e.no_memory);
    refuse(&e, 400, "invalid_value", NULL, "x");
    assert_false(e.no_memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_that_is_too_long_is_recognised),
        cmocka_unit_test(its_message_has_room_for_the_largest_numbers),
        cmocka_unit_test(short_memory_is_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
