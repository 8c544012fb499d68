/* JSON as clients send it, and as Python prints it. */
#include "base/json.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void assert_prints(const char *text, const char *python, const char *compact)
{
    json_value *value;
    buffer a = { 0 }, b = { 0 };
    ds4_error err = { 0 };
    if (json_parse(&value, slice_of(text), NULL, &err) != DS4_OK)
        fail_msg("%s: %s", text, err.text);
    assert_int_equal(json_print_python(value, &a), DS4_OK);
    assert_int_equal(json_print_compact(value, &b), DS4_OK);
    assert_string_equal(a.data, python);
    assert_string_equal(b.data, compact);
    buffer_free(&a);
    buffer_free(&b);
    json_free(value);
}

static void prints_as_python_does(void **state)
{
    (void)state;
    assert_prints(" {\"b\":1 , \"a\":[1,2]} ", "{\"b\": 1, \"a\": [1, 2]}", "{\"b\":1,\"a\":[1,2]}");
    assert_prints("[1.0,1e-7,100000.0,1e16,1E15,0.1,-0.0,1e22]",
                  "[1.0, 1e-07, 100000.0, 1e+16, 1000000000000000.0, 0.1, -0.0, 1e+22]",
                  "[1.0,1e-07,100000.0,1e+16,1000000000000000.0,0.1,-0.0,1e+22]");
    /* below a power of two doubles lie denser, so the nearest short number is not the one that reads back */
    assert_prints("[5.684341886080801486968994140625e-14,1.0339757656912846e-25,9.903520314283042e27]",
                  "[5.684341886080802e-14, 1.0339757656912846e-25, 9.903520314283042e+27]",
                  "[5.684341886080802e-14,1.0339757656912846e-25,9.903520314283042e+27]");
    assert_prints(
        "[5e-324,2.2250738585072014e-308,1.7976931348623157e308,0.0001,9999999999999998.0,9007199254740992.0]",
        "[5e-324, 2.2250738585072014e-308, 1.7976931348623157e+308, 0.0001, 9999999999999998.0, "
        "9007199254740992.0]",
        "[5e-324,2.2250738585072014e-308,1.7976931348623157e+308,0.0001,9999999999999998.0,"
        "9007199254740992.0]");
    assert_prints("123456789012345678901234567890", "123456789012345678901234567890", "123456789012345678901234567890");
    assert_prints("\"\\u00e9\\n\\u0001\\/\\\"\"", "\"\u00e9\\n\\u0001/\\\"\"", "\"\u00e9\\n\\u0001/\\\"\"");
    assert_prints("{\"a\":1,\"b\":2,\"a\":3}", "{\"a\": 3, \"b\": 2}", "{\"a\":3,\"b\":2}");
    assert_prints("\"\\ud83d\\ude00 \\ud83d \\ude00\"", "\"\U0001f600 \ufffd \ufffd\"", "\"\U0001f600 \ufffd \ufffd\"");
    assert_prints("[true,false,null,{},[]]", "[true, false, null, {}, []]", "[true,false,null,{},[]]");
}

static void a_zero_byte_is_text(void **state)
{
    json_value *value;
    slice text;
    (void)state;
    assert_int_equal(json_parse(&value, SLICE("{\"k\\u0000\":\"a\\u0000b\"}"), NULL, NULL), DS4_OK);
    assert_true(json_string(json_get(value, (slice){ "k\0", 2 }), &text));
    assert_int_equal(text.size, 3);
    assert_memory_equal(text.data, "a\0b", 4);
    json_free(value);
}

static void what_is_not_json_is_refused_where_it_goes_wrong(void **state)
{
    static const struct {
        const char *text;
        size_t at;
    } cases[] = { { "", 0 },          { "{", 1 },        { "[1,]", 3 },  { "{\"a\":1,}", 7 }, { "[1 2]", 3 },
                  { "01", 1 },        { "1.", 2 },       { "-", 1 },     { "\"a", 0 },        { "\"\\x\"", 2 },
                  { "\"\\u12\"", 3 }, { "nul", 0 },      { "NaN", 0 },   { "{\"a\" 1}", 5 },  { "[1] x", 4 },
                  { "\"\xff\"", 1 },  { "\"a\nb\"", 2 }, { "{a:1}", 1 }, { "'a'", 0 },        { "1e", 2 } };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_value *value;
        size_t at = 99;
        ds4_error err = { 0 };
        assert_int_equal(json_parse(&value, slice_of(cases[i].text), &at, &err), DS4_ERR_ARGUMENT);
        assert_null(value);
        assert_true(err.text[0]);
        if (at != cases[i].at)
            fail_msg("'%s' is refused at %zu, not %zu", cases[i].text, at, cases[i].at);
    }
}

static void nesting_has_a_limit(void **state)
{
    char text[2 * JSON_DEPTH_MAX + 3];
    json_value *value;
    (void)state;
    for (int depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        assert_int_equal(json_parse(&value, (slice){ text, 2 * (size_t)depth }, NULL, NULL),
                         depth <= JSON_DEPTH_MAX ? DS4_OK : DS4_ERR_ARGUMENT);
        json_free(value);
    }
}

static void large_objects_are_looked_up_by_hash(void **state)
{
    enum { N = 5000 };
    buffer text = { 0 };
    json_value *value;
    (void)state;
    buffer_append_byte(&text, '{');
    for (int i = 0; i < N; i++)
        buffer_printf(&text, "%s\"key%d\":%d", i ? "," : "", i, i);
    buffer_append_byte(&text, '}');
    assert_int_equal(json_parse(&value, buffer_slice(&text), NULL, NULL), DS4_OK);
    assert_int_equal(json_count(value), N);
    for (int i = 0; i < N; i += 97) {
        char key[16];
        int64_t n;
        snprintf(key, sizeof key, "key%d", i);
        assert_true(json_int64(json_member(value, key), &n));
        assert_int_equal(n, i);
    }
    assert_null(json_member(value, "key"));
    json_free(value);
    buffer_free(&text);
}

/* Of repeated keys the last value stands in the first place, in objects with a table too. */
static void a_repeated_key_keeps_its_place(void **state)
{
    buffer text = { 0 };
    json_value *value;
    int64_t n;
    (void)state;
    buffer_append_text(&text, "{\"first\":1");
    for (int i = 0; i < 40; i++)
        buffer_printf(&text, ",\"k%d\":%d", i, i);
    buffer_append_text(&text, ",\"first\":2,\"k7\":70}");
    assert_int_equal(json_parse(&value, buffer_slice(&text), NULL, NULL), DS4_OK);
    assert_int_equal(json_count(value), 41);
    assert_true(slice_equal(json_key_at(value, 0), SLICE("first")));
    assert_true(json_int64(json_at(value, 0), &n));
    assert_int_equal(n, 2);
    assert_true(json_int64(json_member(value, "k7"), &n));
    assert_int_equal(n, 70);
    json_free(value);
    buffer_free(&text);
}

/* Keys that begin alike up to a byte 0 are different keys; json-c would take them for one. */
static void keys_are_counted_not_terminated(void **state)
{
    json_value *value;
    (void)state;
    assert_int_equal(json_parse(&value, SLICE("{\"a\\u0000b\":1,\"a\\u0000c\":2,\"a\":3}"), NULL, NULL), DS4_OK);
    assert_int_equal(json_count(value), 3);
    json_free(value);
    assert_prints("{\"a\\u0000b\":1,\"a\\u0000c\":2}", "{\"a\\u0000b\": 1, \"a\\u0000c\": 2}",
                  "{\"a\\u0000b\":1,\"a\\u0000c\":2}");
}

/* Texts are packed side by side: short ones, long ones, and those on the border of a block. */
static void texts_of_every_length_are_kept(void **state)
{
    enum { N = 700 };
    buffer text = { 0 };
    json_value *value;
    slice s;
    (void)state;
    buffer_append_byte(&text, '[');
    for (int i = 0; i < N; i++) {
        buffer_append_text(&text, i ? ",\"" : "\"");
        for (int k = 0; k < i; k++)
            buffer_append_byte(&text, (uint8_t)('a' + i % 26));
        buffer_append_byte(&text, '"');
    }
    buffer_append_byte(&text, ']');
    assert_int_equal(json_parse(&value, buffer_slice(&text), NULL, NULL), DS4_OK);
    for (size_t i = 0; i < N; i++) {
        assert_true(json_string(json_at(value, i), &s));
        assert_int_equal(s.size, i);
        assert_int_equal(s.data[i], 0);
        for (size_t k = 0; k < i; k++)
            assert_int_equal(s.data[k], 'a' + i % 26);
    }
    json_free(value);
    buffer_free(&text);
}

static void absent_values_answer_nothing(void **state)
{
    json_value *value;
    slice text;
    (void)state;
    assert_int_equal(json_kind_of(NULL), JSON_ABSENT);
    assert_true(json_is_null(NULL));
    assert_int_equal(json_count(NULL), 0);
    assert_null(json_at(NULL, 0));
    assert_null(json_member(NULL, "a"));
    assert_int_equal(json_parse(&value, SLICE("{\"a\":\"b\",\"e\":{}}"), NULL, NULL), DS4_OK);
    assert_null(json_at(value, 2));
    assert_int_equal(json_count(json_member(value, "a")), 0);
    assert_null(json_member(json_member(value, "a"), "x"));
    assert_null(json_member(json_member(value, "e"), "x"));
    assert_false(json_string(value, &text));
    assert_int_equal(json_key_at(json_member(value, "a"), 0).size, 0);
    json_free(value);
}

static void numbers_are_what_they_say(void **state)
{
    json_value *value;
    int64_t n;
    double x;
    (void)state;
    assert_int_equal(
        json_parse(&value, SLICE("[3,3.0,3e0,3.5,9223372036854775807,9223372036854775808,1e999,-1]"), NULL, NULL),
        DS4_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_true(json_int64(json_at(value, i), &n));
        assert_int_equal(n, 3);
    }
    assert_false(json_int64(json_at(value, 3), &n));
    assert_true(json_int64(json_at(value, 4), &n));
    assert_true(n == INT64_MAX);
    assert_false(json_int64(json_at(value, 5), &n));
    assert_false(json_double(json_at(value, 6), &x));
    assert_true(json_is_integer(json_at(value, 5)));
    assert_false(json_is_integer(json_at(value, 1)));
    json_free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_as_python_does),
        cmocka_unit_test(a_zero_byte_is_text),
        cmocka_unit_test(what_is_not_json_is_refused_where_it_goes_wrong),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(large_objects_are_looked_up_by_hash),
        cmocka_unit_test(a_repeated_key_keeps_its_place),
        cmocka_unit_test(keys_are_counted_not_terminated),
        cmocka_unit_test(texts_of_every_length_are_kept),
        cmocka_unit_test(absent_values_answer_nothing),
        cmocka_unit_test(numbers_are_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
