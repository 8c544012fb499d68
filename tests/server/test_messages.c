/* The conversation and the tools of a request: what is understood, and in which words the rest is refused. */
#include "server/messages.h"
#include "server/body.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static chat_request read_messages(const char *list)
{
    const server_options options = server_options_default();
    char *body = malloc(strlen(list) + 32);
    chat_request r;
    http_error e;
    sprintf(body, "{\"messages\":%s}", list);
    if (!request_read(&r, slice_of(body), &options, BODY_CTX, BODY_VOCAB, &e))
        fail_msg("%s is refused: %s", list, e.message);
    free(body);
    return r;
}

/* `list`: the messages, or the messages and more members. */
static void refuse_messages(const char *list, const char *code, const char *param, const char *words)
{
    char *body = malloc(strlen(list) + 32);
    sprintf(body, "{\"messages\":%s}", list);
    body_refuse(body, 400, code, param, words);
    free(body);
}

static void a_conversation_has_messages(void **state)
{
    (void)state;
    body_refuse("{}", 400, "missing_required_parameter", "messages", "is required");
    refuse_messages("null", "missing_required_parameter", "messages", "is required");
    refuse_messages("{}", "invalid_type", "messages", "must be an array");
    refuse_messages("[]", "invalid_value", "messages", "at least one");
    refuse_messages("[5]", "invalid_type", "messages[0]", "must be an object");
    refuse_messages("[{\"role\":\"user\",\"content\":\"a\"},null]", "invalid_type", "messages[1]", "must be an object");
}

static void roles_are_known_words(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        chat_role role;
    } roles[] = { { "system", CHAT_SYSTEM },           { "developer", CHAT_DEVELOPER }, { "user", CHAT_USER },
                  { "assistant", CHAT_ASSISTANT },     { "tool", CHAT_TOOL },           { "function", CHAT_TOOL },
                  { "latest_reminder", CHAT_REMINDER } };
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        char list[96];
        snprintf(list, sizeof list, "[{\"role\":\"%s\",\"content\":\"x\"}]", roles[i].word);
        chat_request r = read_messages(list);
        assert_int_equal(r.messages[0].role, roles[i].role);
        request_free(&r);
    }
    refuse_messages("[{\"content\":\"x\"}]", "missing_required_parameter", "messages[0].role", "must be a string");
    refuse_messages("[{\"role\":5}]", "missing_required_parameter", "messages[0].role", "must be a string");
    refuse_messages("[{\"role\":\"User\"}]", "invalid_value", "messages[0].role", "'User' is not known");
}

static void content_is_text_or_parts_of_text(void **state)
{
    (void)state;
    chat_request r =
        read_messages("[{\"role\":\"user\",\"content\":[\"a\",{\"type\":\"text\",\"text\":\"b\"},{\"text\":\"c\"},"
                      "{\"type\":\"refusal\",\"refusal\":\"d\"}]},{\"role\":\"assistant\",\"content\":null},"
                      "{\"role\":\"user\",\"content\":\"e\"}]");
    assert_int_equal(r.n_messages, 3);
    assert_int_equal(r.messages[0].n_texts, 4);
    for (size_t i = 0; i < 4; i++)
        assert_memory_equal(r.messages[0].texts[i].data, &"abcd"[i], 1);
    assert_int_equal(r.messages[1].n_texts, 0);
    request_free(&r);
    static const struct {
        const char *content, *code, *words;
    } wrong[] = {
        { "5", "invalid_type", "a string or an array" },
        { "{\"type\":\"text\",\"text\":\"x\"}", "invalid_type", "got object" },
        { "[5]", "invalid_type", "content[0] must be an object or a string" },
        { "[\"a\",{\"type\":\"text\"}]", "invalid_type", "content[1].text must be a string" },
        { "[{\"type\":5,\"text\":\"x\"}]", "invalid_type", "type must be a string" },
        { "[{\"type\":\"refusal\",\"text\":\"x\"}]", "invalid_type", "refusal must be a string" },
        { "[{\"type\":\"image_url\",\"image_url\":{}}]", "unsupported_content", "image_url" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char list[160];
        snprintf(list, sizeof list, "[{\"role\":\"user\",\"content\":%s}]", wrong[i].content);
        refuse_messages(list, wrong[i].code, "messages[0].content", wrong[i].words);
    }
}

/* Clients cannot avoid pictures in what tools return. */
static void a_tool_may_return_what_is_not_text(void **state)
{
    (void)state;
    chat_request r =
        read_messages("[{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":[{\"type\":\"image_url\"}]}]");
    assert_true(slice_equal(r.messages[0].texts[0], SLICE("[Unsupported image_url]")));
    assert_true(slice_equal(r.messages[0].call_id, SLICE("c")));
    request_free(&r);
}

static void reasoning_comes_in_three_forms(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "\"reasoning_content\":\"ab\"",
        "\"reasoning\":\"ab\"",
        "\"reasoning\":[\"a\",{\"type\":\"text\",\"text\":\"b\"},{\"encrypted\":1},5]",
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        char list[160];
        snprintf(list, sizeof list, "[{\"role\":\"assistant\",\"content\":\"x\",%s}]", forms[i]);
        chat_request r = read_messages(list);
        assert_true(slice_equal(r.messages[0].reasoning, SLICE("ab")));
        request_free(&r);
    }
    refuse_messages("[{\"role\":\"assistant\",\"reasoning\":5}]", "invalid_type", "messages[0].reasoning_content",
                    "must be a string");
}

static void calls_belong_to_assistants_and_have_a_name(void **state)
{
    (void)state;
    chat_request r =
        read_messages("[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"1\",\"function\":{\"name\":\"f\","
                      "\"arguments\":\"{\\\"a\\\":1}\"}},"
                      "{\"function\":{\"name\":\"g\",\"arguments\":{\"b\":2}}},{\"function\":{\"name\":\"h\"}}]},"
                      "{\"role\":\"user\",\"content\":\"x\"}]");
    assert_int_equal(r.messages[0].n_calls, 3);
    assert_true(slice_equal(r.messages[0].calls[0].arguments, SLICE("{\"a\":1}")));
    assert_true(slice_equal(r.messages[0].calls[1].arguments, SLICE("{\"b\":2}")));
    assert_int_equal(r.messages[0].calls[2].arguments.size, 0);
    request_free(&r);
    refuse_messages("[{\"role\":\"user\",\"tool_calls\":[]}]", "invalid_type", "messages[0].tool_calls", "assistant");
    refuse_messages("[{\"role\":\"assistant\",\"tool_calls\":{}}]", "invalid_type", "messages[0].tool_calls", "array");
    static const char *const nameless[] = { "{}", "{\"function\":{}}", "{\"function\":{\"name\":5}}", "5", "null" };
    for (size_t i = 0; i < sizeof nameless / sizeof nameless[0]; i++) {
        char list[128];
        snprintf(list, sizeof list, "[{\"role\":\"assistant\",\"tool_calls\":[%s]}]", nameless[i]);
        refuse_messages(list, "missing_required_parameter", "messages[0].tool_calls", "needs function.name");
    }
}

/* --- tools ----------------------------------------------------------------------------------------------------------- */

#define TOOL(name) "{\"type\":\"function\",\"function\":{\"name\":\"" name "\"}}"

static void tools_are_functions_with_names_of_their_own(void **state)
{
    (void)state;
    chat_request r =
        body_accept("\"tools\":[" TOOL("a_B.c:d-9") ",{\"function\":{\"name\":\"b\",\"strict\":true,\"x\":1}}]");
    assert_int_equal(r.n_tools, 2);
    assert_true(
        slice_equal(r.tools[1].schema, SLICE("{\"name\": \"b\", \"x\": 1}"))); /* strict is not the model's business */
    assert_int_equal(r.choice, CHOICE_AUTO);
    assert_true(r.parallel_calls);
    request_free(&r);
    static const struct {
        const char *tools, *code, *words;
    } wrong[] = {
        { "5", "invalid_type", "must be an array" },
        { "[5]", "invalid_value", "tools[0] must be" },
        { "[{\"type\":\"web_search\",\"function\":{\"name\":\"a\"}}]", "invalid_value", "tools[0] must be" },
        { "[{\"type\":\"function\"}]", "invalid_value", "tools[0] must be" },
        { "[{\"type\":\"function\",\"function\":{}}]", "missing_required_parameter", "name is required" },
        { "[" TOOL("") "]", "invalid_value", "1 to 128 letters" },
        { "[" TOOL("a b") "]", "invalid_value", "'a b'" },
        { "[" TOOL("a\\u0000") "]", "invalid_value", "1 to 128 letters" },
        { "[" TOOL("a") "," TOOL("a") "]", "invalid_value", "two tools have the name 'a'" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char members[256];
        snprintf(members, sizeof members, "\"tools\":%s", wrong[i].tools);
        body_refuse_members(members, wrong[i].code, "tools", wrong[i].words);
    }
}

static void names_and_numbers_of_tools_have_limits(void **state)
{
    (void)state;
    char members[320];
    for (int n = 128; n <= 129; n++) {
        snprintf(members, sizeof members, "\"tools\":[{\"function\":{\"name\":\"%0*d\"}}]", n, 0);
        if (n == 129) {
            body_refuse_members(members, "invalid_value", "tools", "1 to 128 letters");
        } else {
            chat_request r = body_accept(members);
            request_free(&r);
        }
    }
    char *many = malloc((TOOLS_MAX + 1) * 40 + 32);
    for (int n = TOOLS_MAX; n <= TOOLS_MAX + 1; n++) {
        int at = sprintf(many, "\"tools\":[");
        for (int i = 0; i < n; i++)
            at += sprintf(many + at, "%s{\"function\":{\"name\":\"t%d\"}}", i ? "," : "", i);
        strcpy(many + at, "]");
        if (n > TOOLS_MAX) {
            body_refuse_members(many, "invalid_value", "tools", "at most 512 tools are possible (got 513)");
        } else {
            chat_request r = body_accept(many);
            assert_int_equal(r.n_tools, TOOLS_MAX);
            request_free(&r);
        }
    }
    free(many);
}

static void a_choice_is_one_of_the_tools(void **state)
{
    (void)state;
    static const struct {
        const char *choice;
        tool_choice want;
    } cases[] = {
        { "null", CHOICE_AUTO },        { "\"auto\"", CHOICE_AUTO },
        { "\"none\"", CHOICE_NONE },    { "\"required\"", CHOICE_REQUIRED },
        { "\"any\"", CHOICE_REQUIRED }, { "{\"type\":\"function\",\"function\":{\"name\":\"b\"}}", CHOICE_NAMED }
    };
    char members[256];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(members, sizeof members, "\"tools\":[" TOOL("a") "," TOOL("b") "],\"tool_choice\":%s",
                 cases[i].choice);
        chat_request r = body_accept(members);
        assert_int_equal(r.choice, cases[i].want);
        assert_int_equal(r.choice_name.size, cases[i].want == CHOICE_NAMED);
        request_free(&r);
    }
    body_refuse_members("\"tools\":[" TOOL("a") "],\"tool_choice\":\"maybe\"", "invalid_value", "tool_choice", "maybe");
    body_refuse_members("\"tools\":[" TOOL("a") "],\"tool_choice\":5", "invalid_type", "tool_choice", "none, auto");
    body_refuse_members("\"tools\":[" TOOL("a") "],\"tool_choice\":{\"function\":{\"name\":\"z\"}}", "invalid_value",
                        "tool_choice", "'z', which is not in tools");
    body_refuse_members("\"tool_choice\":\"required\"", "invalid_value", "tool_choice", "there are no tools");
    chat_request r = body_accept("\"tool_choice\":\"none\"");
    request_free(&r);
}

static void short_memory_refuses_and_leaks_nothing(void **state)
{
    (void)state;
    body_survives_short_memory(
        "{\"messages\":[{\"role\":\"user\",\"content\":[\"a\",{\"type\":\"text\",\"text\":\"b\"}]},"
        "{\"role\":\"assistant\",\"content\":\"x\",\"reasoning\":[\"a\",{\"text\":\"b\"}],\"tool_calls\":[{\"id\":"
        "\"1\","
        "\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[1,2]}}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":[{\"type\":\"image_url\"}]}],"
        "\"tools\":[" TOOL(
            "f") ",{\"function\":{\"name\":\"g\",\"description\":\"d\",\"parameters\":{\"type\":\"object\"}}}],"
                 "\"tool_choice\":{\"function\":{\"name\":\"g\"}}}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_conversation_has_messages),
        cmocka_unit_test(roles_are_known_words),
        cmocka_unit_test(content_is_text_or_parts_of_text),
        cmocka_unit_test(a_tool_may_return_what_is_not_text),
        cmocka_unit_test(reasoning_comes_in_three_forms),
        cmocka_unit_test(calls_belong_to_assistants_and_have_a_name),
        cmocka_unit_test(tools_are_functions_with_names_of_their_own),
        cmocka_unit_test(names_and_numbers_of_tools_have_limits),
        cmocka_unit_test(a_choice_is_one_of_the_tools),
        cmocka_unit_test(short_memory_refuses_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
