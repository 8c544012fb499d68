/* What a request may ask for, and in which words it is refused: everything but its conversation and tools (test_messages.c). */
#include "server/body.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void a_body_must_be_an_object(void **state)
{
    (void)state;
    body_refuse("", 400, "invalid_json", NULL, "not valid JSON");
    body_refuse("{\"messages\":", 400, "invalid_json", NULL, "at byte");
    body_refuse("[]", 400, "invalid_json", NULL, "must be a JSON object");
    body_refuse("7", 400, "invalid_json", NULL, "got number");
}

/* Every field that has a type refuses every other type by name, and null is the same as absent. */
static void every_field_has_one_type(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *good; /* a value of its type */
    } fields[] = {
        { "model", "\"m\"" },
        { "stream", "true" },
        { "stream_options", "{}" },
        { "n", "1" },
        { "cache_prompt", "true" },
        { "honor_sampling", "false" },
        { "max_tokens", "5" },
        { "logprobs", "true" },
        { "max_completion_tokens", "5" },
        { "top_logprobs", "0" },
        { "temperature", "0.5" },
        { "top_p", "0.5" },
        { "top_k", "3" },
        { "min_p", "0.5" },
        { "presence_penalty", "1" },
        { "frequency_penalty", "1" },
        { "repetition_penalty", "1" },
        { "repeat_penalty", "1" },
        { "logit_bias", "{}" },
        { "modalities", "[\"text\"]" },
        { "chat_template_kwargs", "{}" },
        { "response_format", "{\"type\":\"text\"}" },
        { "tools", "[]" },
        { "parallel_tool_calls", "true" },
        { "thinking_budget", "5" },
        { "thinking_token_budget", "5" },
        { "reasoning_budget", "5" },
    };
    static const char *const values[] = { "true", "\"x\"", "[3]", "{\"a\":1}", "1.5" };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        char members[128];
        snprintf(members, sizeof members, "\"%s\":%s", fields[i].name, fields[i].good);
        chat_request r = body_accept(members);
        request_free(&r);
        snprintf(members, sizeof members, "\"%s\":null", fields[i].name);
        r = body_accept(members);
        request_free(&r);
        unsigned n_refused = 0;
        for (size_t k = 0; k < sizeof values / sizeof values[0]; k++) {
            http_error e;
            snprintf(members, sizeof members, "\"%s\":%s", fields[i].name, values[k]);
            if (!body_read_with(members, NULL, &r, &e)) {
                n_refused++;
                assert_int_equal(e.status, 400);
                assert_non_null(strstr(e.message, fields[i].name));
            }
            request_free(&r);
        }
        if (n_refused < 3)
            fail_msg("%s takes values of several types", fields[i].name);
    }
}

/* Both ends of a range are inside it, and what is beyond them is refused with the range. */
static void every_number_has_a_range(void **state)
{
    (void)state;
    static const struct {
        const char *name, *least, *most, *below, *above, *words;
    } fields[] = {
        { "temperature", "0", "2", "-0.01", "2.01", "between 0 and 2" },
        { "top_p", "0", "1", "-0.01", "1.01", "between 0 and 1" },
        { "min_p", "0", "1", "-1e-9", "1.000001", "between 0 and 1" },
        { "top_k", "-1", "2147483647", "-2", "2147483648", "between -1 and" },
        { "presence_penalty", "-2", "2", "-2.1", "2.1", "between -2 and 2" },
        { "frequency_penalty", "-2", "2", "-2.1", "2.1", "between -2 and 2" },
        { "repetition_penalty", "0.000001", "10", "0", "10.1", "between" },
        { "max_tokens", "-1", "1099511627776", "-2", "1099511627777", "between -1 and" },
        { "n", "1", "1", "0", "9", "between 1 and 8" },
        { "thinking_budget", "-1", "1073741824", "-2", "1073741825", "between -1 and" },
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const char *const inside[] = { fields[i].least, fields[i].most };
        const char *const outside[] = { fields[i].below, fields[i].above };
        char members[96];
        for (int k = 0; k < 2; k++) {
            snprintf(members, sizeof members, "\"%s\":%s", fields[i].name, inside[k]);
            chat_request r = body_accept(members);
            request_free(&r);
            snprintf(members, sizeof members, "\"%s\":%s", fields[i].name, outside[k]);
            body_refuse_members(members, "invalid_value", fields[i].name, fields[i].words);
        }
    }
    body_refuse_members("\"temperature\":1e999", "invalid_value", "temperature", "1e999");
    body_refuse_members("\"n\":2", "unsupported_parameter", "n", "several requests");
    body_refuse_members("\"top_logprobs\":21", "invalid_value", "top_logprobs", "between 0 and 20");
    body_refuse_members("\"top_logprobs\":1", "invalid_value", "top_logprobs", "needs logprobs");
}

/* Seeds come from signed and from unsigned ranges, and 0 is one like any other. Only without one it is drawn. */
static void seeds_are_integers_modulo_2_to_64(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t seed;
    } seeds[] = { { "0", 0 },
                  { "1", 1 },
                  { "-1", UINT64_MAX },
                  { "18446744073709551615", UINT64_MAX },
                  { "18446744073709551616", 0 },
                  { "-18446744073709551615", 1 } };
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
        char members[64];
        snprintf(members, sizeof members, "\"seed\":%s", seeds[i].text);
        chat_request r = body_accept(members);
        assert_true(r.sampling.seed == seeds[i].seed);
        request_free(&r);
    }
    body_refuse_members("\"seed\":1.5", "invalid_type", "seed", "integer");
    body_refuse_members("\"seed\":\"1\"", "invalid_type", "seed", "integer");
    chat_request a = body_accept(""), b = body_accept("");
    assert_true(a.sampling.seed != b.sampling.seed);
    request_free(&a);
    request_free(&b);
}

/* Temperature 0 is greedy, with and without reasoning; other sampling counts beside reasoning only when that was asked for. */
static void temperature_0_is_greedy_everywhere(void **state)
{
    (void)state;
    static const struct {
        const char *members;
        float temperature, top_p;
    } cases[] = {
        { "", 1, 1 },
        { "\"temperature\":0,\"top_p\":0.5", 0, 1 },
        { "\"temperature\":0.5,\"top_p\":0.5", 1, 1 },
        { "\"temperature\":0.5,\"top_p\":0.5,\"honor_sampling\":true", 0.5f, 0.5f },
        { "\"temperature\":0.5,\"top_p\":0.5,\"think\":false", 0.5f, 0.5f },
        { "\"temperature\":0,\"think\":false", 0, 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        chat_request r = body_accept(cases[i].members);
        assert_float_equal(r.sampling.temperature, cases[i].temperature, 0);
        assert_float_equal(r.sampling.top_p, cases[i].top_p, 0);
        request_free(&r);
    }
}

static void biases_name_tokens_of_the_vocabulary(void **state)
{
    (void)state;
    chat_request r = body_accept("\"logit_bias\":{\"0\":-100,\"2047\":100}");
    assert_int_equal(r.sampling.n_biases, 2);
    assert_int_equal(r.sampling.biases[1].id, 2047);
    assert_float_equal(r.sampling.biases[0].bias, -100, 0);
    request_free(&r);
    static const char *const wrong[] = { "{\"2048\":1}",        "{\"-1\":1}",  "{\"\":1}",     "{\"1x\":1}",
                                         "{\"99999999999\":1}", "{\"1\":101}", "{\"1\":null}", "{\"1\":\"2\"}" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char members[96];
        snprintf(members, sizeof members, "\"logit_bias\":%s", wrong[i]);
        body_refuse_members(members, "invalid_value", "logit_bias", "below 2048");
    }
    char *many = malloc(BIASES_MAX * 12 + 64);
    for (int n = BIASES_MAX; n <= BIASES_MAX + 1; n++) {
        int at = sprintf(many, "\"logit_bias\":{");
        for (int i = 0; i < n; i++)
            at += sprintf(many + at, "%s\"%d\":1", i ? "," : "", i);
        strcpy(many + at, "}");
        if (n == BIASES_MAX) {
            r = body_accept(many);
            request_free(&r);
        } else {
            body_refuse_members(many, "invalid_value", "logit_bias", "at most 1024");
        }
    }
    free(many);
}

static void stop_sequences_are_few_and_short(void **state)
{
    (void)state;
    chat_request r = body_accept("\"stop\":\"one\"");
    assert_int_equal(r.n_stops, 1);
    request_free(&r);
    r = body_accept("\"stop\":[\"a\",\"\",\"b\"]"); /* an empty one would match everywhere */
    assert_int_equal(r.n_stops, 2);
    request_free(&r);
    body_refuse_members("\"stop\":5", "invalid_type", "stop", "array of strings");
    body_refuse_members("\"stop\":[5]", "invalid_type", "stop", "strings only");
    body_refuse_members("\"stop\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", "invalid_value", "stop", "at most 16");
    char members[STOP_BYTES_MAX + 32];
    for (int n = STOP_BYTES_MAX; n <= STOP_BYTES_MAX + 1; n++) {
        sprintf(members, "\"stop\":\"%0*d\"", n, 0);
        if (n == STOP_BYTES_MAX) {
            r = body_accept(members);
            request_free(&r);
        } else {
            body_refuse_members(members, "invalid_value", "stop", "512 bytes (got 513)");
        }
    }
}

/* --- reasoning ------------------------------------------------------------------------------------------------------ */

/* All spellings of the limit mean the same, the smallest counts, 0 turns reasoning off, -1 takes the limit away. */
static void a_budget_of_reasoning_is_understood_in_every_spelling(void **state)
{
    (void)state;
    static const char *const spellings[] = {
        "\"thinking_budget\":%d",
        "\"thinking_token_budget\":%d",
        "\"reasoning_budget\":%d",
        "\"reasoning\":{\"max_tokens\":%d}",
        "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":%d}",
        "\"chat_template_kwargs\":{\"thinking_budget\":%d}",
    };
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
        const int budgets[] = { 1, 77, 1 << 30, 0, -1 };
        for (size_t k = 0; k < sizeof budgets / sizeof budgets[0]; k++) {
            char members[128];
            snprintf(members, sizeof members, spellings[i], budgets[k]);
            chat_request r = body_accept(members);
            assert_int_equal(r.mode == CHAT_THINK_NONE, budgets[k] == 0);
            assert_int_equal(r.think_budget, budgets[k] < 0 ? 0 : budgets[k]);
            request_free(&r);
        }
    }
    chat_request r = body_accept("\"thinking_budget\":50,\"reasoning\":{\"max_tokens\":20},\"reasoning_budget\":-1");
    assert_int_equal(r.think_budget, 20);
    request_free(&r);
    body_refuse_members("\"reasoning\":{\"max_tokens\":\"x\"}", "invalid_type", "reasoning.max_tokens", "an integer");
    body_refuse_members("\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":-5}", "invalid_value",
                        "thinking.budget_tokens", "between -1 and");
}

/* Reasoning is never without an end unless somebody said so: half of the context, and below effort max 32,768 tokens. */
static void reasoning_has_a_limit_by_default(void **state)
{
    (void)state;
    static const struct {
        uint32_t option, n_ctx;
        const char *effort;
        uint32_t budget;
    } cases[] = {
        { 0, 8192, "high", 4096 },
        { 0, 65536, "high", 32768 },
        { 0, 1048576, "high", 32768 },
        { 0, 1048576, "max", 524288 },
        { 0, 1, "high", 1 },
        { 100, 8192, "high", 100 },
        { SERVER_NO_BUDGET, 8192, "high", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        server_options o = server_options_default();
        chat_request r;
        http_error e;
        o.think_budget = cases[i].option;
        o.effort = cases[i].effort;
        const char *body = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
        assert_true(request_read(&r, slice_of(body), &o, cases[i].n_ctx, BODY_VOCAB, &e));
        assert_int_equal(r.think_budget, cases[i].budget);
        request_free(&r);
        body =
            "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"thinking_budget\":7}"; /* the request has the last word */
        assert_true(request_read(&r, slice_of(body), &o, cases[i].n_ctx, BODY_VOCAB, &e));
        assert_int_equal(r.think_budget, 7);
        request_free(&r);
    }
}

static void thinking_is_switched_in_every_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *members;
        bool on;
    } cases[] = {
        { "\"think\":true", true },
        { "\"think\":false", false },
        { "\"enable_thinking\":false", false },
        { "\"thinking\":{\"type\":\"disabled\"}", false },
        { "\"thinking\":{\"type\":\"enabled\"}", true },
        { "\"thinking\":{\"type\":\"adaptive\"}", true },
        { "\"chat_template_kwargs\":{\"enable_thinking\":false}", false },
        { "\"chat_template_kwargs\":{\"thinking\":false}", false },
        { "\"reasoning_effort\":\"none\"", false },
        { "\"reasoning\":{\"effort\":\"none\"}", false },
        { "\"model\":\"deepseek-chat\"", false },
        { "\"model\":\"deepseek-reasoner\"", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        chat_request r = body_accept(cases[i].members);
        if ((r.mode != CHAT_THINK_NONE) != cases[i].on)
            fail_msg("%s turns thinking %s", cases[i].members, cases[i].on ? "off" : "on");
        request_free(&r);
    }
    body_refuse_members("\"thinking\":{\"type\":\"maybe\"}", "invalid_value", "thinking", "maybe");
    body_refuse_members("\"think\":\"yes\"", "invalid_type", "think", "true, false");
    body_refuse_members("\"reasoning_effort\":\"huge\"", "invalid_value", "reasoning_effort", "huge");
    body_refuse_members("\"reasoning_effort\":[]", "invalid_type", "reasoning_effort", "word or a number");
}

/* --- what is not there is refused, not ignored ------------------------------------------------------------------------ */

static void grammars_of_other_servers_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const names[] = { "grammar",        "guided_json",        "guided_regex", "guided_choice",
                                         "guided_grammar", "structured_outputs", "ebnf",         "regex",
                                         "json_schema",    "structural_tag",     "format",       "guided_decoding" };
    static const char *const values[] = { "\"root ::= [0-9]\"", "{\"type\":\"object\"}", "[\"a\",\"b\"]", "true" };
    static const char *const blank[] = { "null", "\"\"", "{}", "[]", "false" };
    char members[128];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (size_t k = 0; k < sizeof values / sizeof values[0]; k++) {
            snprintf(members, sizeof members, "\"%s\":%s", names[i], values[k]);
            body_refuse_members(members, "unsupported_parameter", names[i], names[i]);
        }
        for (size_t k = 0; k < sizeof blank / sizeof blank[0]; k++) {
            snprintf(members, sizeof members, "\"%s\":%s", names[i], blank[k]);
            chat_request r = body_accept(members);
            request_free(&r);
        }
    }
}

/* A schema is told to the model; a strict one would be a promise that nobody keeps. */
static void a_strict_schema_is_refused(void **state)
{
    (void)state;
    chat_request r =
        body_accept("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":{}}}");
    assert_true(r.response_format.size > 0);
    request_free(&r);
    r = body_accept("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"strict\":false}}");
    request_free(&r);
    r = body_accept("\"response_format\":{\"type\":\"json_object\"}");
    assert_true(r.response_format.size > 0);
    request_free(&r);
    r = body_accept("\"response_format\":{\"type\":\"text\"}");
    assert_int_equal(r.response_format.size, 0);
    request_free(&r);
    body_refuse_members("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"strict\":true}}",
                        "unsupported_parameter", "response_format", "strict: true is not supported");
    body_refuse_members("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"strict\":1}}", "invalid_type",
                        NULL, "strict must be true or false");
    body_refuse_members("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":5}", "invalid_type", NULL,
                        "json_schema must be an object");
    body_refuse_members("\"response_format\":{\"type\":\"yaml\"}", "invalid_value", "response_format", "yaml");
    body_refuse_members("\"response_format\":{}", "missing_required_parameter", "response_format", "type is required");
    body_refuse_members("\"functions\":[]", "unsupported_parameter", "functions", "use tools");
    body_refuse_members("\"modalities\":[\"audio\"]", "unsupported_parameter", "modalities", "text");
}

static void unknown_models_are_refused_when_that_was_asked_for(void **state)
{
    (void)state;
    static const char *const names[] = { "mine" };
    server_options o = server_options_default();
    chat_request r;
    http_error e;
    o.model_names = names;
    o.n_model_names = 1;
    assert_true(body_read_with("\"model\":\"other\"", &o, &r, &e));
    request_free(&r);
    o.strict_model = true;
    static const struct {
        const char *members;
        bool good;
    } cases[] = { { "\"model\":\"mine\"", true },
                  { "\"model\":\"deepseek-chat\"", true },
                  { "", true },
                  { "\"model\":\"other\"", false } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(body_read_with(cases[i].members, &o, &r, &e), cases[i].good);
        assert_int_equal(e.status, cases[i].good ? 0 : 404);
        request_free(&r);
    }
}

static void limits_of_the_answer(void **state)
{
    (void)state;
    static const struct {
        const char *members;
        bool said;
        uint32_t n;
    } cases[] = {
        { "\"max_tokens\":0", true, 0 },
        { "\"max_tokens\":7", true, 7 },
        { "\"max_tokens\":7,\"max_completion_tokens\":5", true, 5 },
        { "\"max_tokens\":1099511627776", true, UINT32_MAX },
        { "\"max_tokens\":-1", false, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        chat_request r = body_accept(cases[i].members);
        assert_int_equal(r.has_max_tokens, cases[i].said);
        assert_int_equal(r.max_tokens, cases[i].said ? cases[i].n : server_options_default().max_tokens);
        request_free(&r);
    }
}

static void short_memory_refuses_and_leaks_nothing(void **state)
{
    (void)state;
    body_survives_short_memory(
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stop\":[\"a\",\"b\"],\"logit_bias\":{\"5\":1,\"6\":2}"
        ","
        "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":\"object\"}}},"
        "\"thinking_budget\":100,\"seed\":3,\"model\":\"m\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_must_be_an_object),
        cmocka_unit_test(every_field_has_one_type),
        cmocka_unit_test(every_number_has_a_range),
        cmocka_unit_test(seeds_are_integers_modulo_2_to_64),
        cmocka_unit_test(temperature_0_is_greedy_everywhere),
        cmocka_unit_test(biases_name_tokens_of_the_vocabulary),
        cmocka_unit_test(stop_sequences_are_few_and_short),
        cmocka_unit_test(a_budget_of_reasoning_is_understood_in_every_spelling),
        cmocka_unit_test(reasoning_has_a_limit_by_default),
        cmocka_unit_test(thinking_is_switched_in_every_spelling),
        cmocka_unit_test(grammars_of_other_servers_are_refused_by_name),
        cmocka_unit_test(a_strict_schema_is_refused),
        cmocka_unit_test(unknown_models_are_refused_when_that_was_asked_for),
        cmocka_unit_test(limits_of_the_answer),
        cmocka_unit_test(short_memory_refuses_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
