/* The output parser: what the model samples, and what a client sees of it; the same however the text is cut into tokens. */
#include "chat/chat.h"
#include "support/byte_tokenizer.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DSML "\uff5cDSML\uff5c"

static byte_tokenizer fixture;
static const text_tokenizer *tokenizer;

/* Tokens of one byte, and merges for pairs of letters: two ways to cut the same text. */
static int open_tokenizer(void **state)
{
    static const char *const merges[] = { "i n", "v o", "in vo", "t o", "to o", "p a", "\u0120 a", "o l", "< /" };
    (void)state;
    byte_tokenizer_open(&fixture, merges, sizeof merges / sizeof merges[0]);
    tokenizer = fixture.tokenizer;
    return 0;
}

static int close_tokenizer(void **state)
{
    (void)state;
    byte_tokenizer_close(&fixture);
    return 0;
}

/* "R:text" "C:text" "[name" fragments "]": neighbours of a kind are joined, so cuts do not show. */
typedef struct record {
    buffer out;
    char last;
} record;

static void on_event(void *user, const chat_event *event)
{
    record *r = user;
    static const char kinds[] = { 'R', 'C', '[', 'D', ']' };
    const char kind = kinds[event->kind];
    if (kind == 'R' || kind == 'C') {
        if (r->last != kind)
            buffer_printf(&r->out, "%c:", kind);
    } else if (kind == '[') {
        buffer_printf(&r->out, "[%u ", (unsigned)event->index);
    }
    buffer_append_slice(&r->out, event->text);
    if (kind == '[')
        buffer_append_text(&r->out, " ");
    if (kind == ']')
        buffer_append_text(&r->out, "]");
    r->last = kind;
}

typedef struct outcome {
    record seen;
    chat_outcome outcome;
    chat_verdict verdict;
} outcome;

/* `bytewise`: one token per byte of text; otherwise as the tokenizer merges. */
static outcome run(const char *text, const chat_parser_options *options, bool bytewise, bool cut)
{
    outcome o = { .verdict = CHAT_GO_ON };
    token_list ids = { 0 };
    chat_parser *p;
    if (bytewise) {
        token_list specials = { 0 };
        text_encode_with_specials(tokenizer, slice_of(text), &specials, NULL);
        for (size_t i = 0; i < specials.n; i++) {
            const slice piece = text_piece(tokenizer, specials.ids[i]);
            if (text_is_control(tokenizer, specials.ids[i]))
                token_list_append(&ids, specials.ids[i]);
            for (size_t k = 0; k < piece.size && !text_is_control(tokenizer, specials.ids[i]); k++)
                token_list_append(&ids, 9 + (uint32_t)(unsigned char)piece.data[k]);
        }
        token_list_free(&specials);
    } else {
        text_encode_with_specials(tokenizer, slice_of(text), &ids, NULL);
    }
    assert_int_equal(chat_parser_new(&p, tokenizer, options, on_event, &o.seen, NULL), DS4_OK);
    for (size_t i = 0; i < ids.n && o.verdict == CHAT_GO_ON; i++)
        assert_int_equal(chat_parser_feed(p, ids.ids[i], &o.verdict, NULL), DS4_OK);
    assert_int_equal(chat_parser_finish(p, cut, &o.outcome, NULL), DS4_OK);
    chat_parser_free(p);
    token_list_free(&ids);
    return o;
}

typedef struct expectation {
    const char *text, *seen;
    chat_outcome outcome;
    bool thinking, tools, cut;
} expectation;

static const chat_tool tools[] = {
    { SLICE("f"), SLICE("{\"name\": \"f\", \"parameters\": {\"properties\": {\"s\": {\"type\": \"string\"}}}}") },
    { SLICE("g"), SLICE("{\"name\": \"g\"}") },
};
enum { N_TOOLS = sizeof tools / sizeof tools[0] };

static void check(const expectation *e, bool repair, const slice *stops, size_t n_stops)
{
    const chat_parser_options options = { .thinking_open = e->thinking,
                                          .allow_tools = e->tools,
                                          .repair = repair,
                                          .tools = tools,
                                          .n_tools = N_TOOLS,
                                          .stops = stops,
                                          .n_stops = n_stops };
    for (int bytewise = 0; bytewise < 2; bytewise++) {
        outcome o = run(e->text, &options, bytewise, e->cut);
        if (strcmp(o.seen.out.data ? o.seen.out.data : "", e->seen) != 0 || o.outcome != e->outcome)
            fail_msg("'%s'%s\n gave '%s' (%d)\n want '%s' (%d)", e->text, repair ? " with repair" : "",
                     o.seen.out.data ? o.seen.out.data : "", o.outcome, e->seen, e->outcome);
        buffer_free(&o.seen.out);
    }
}

#define CALL(inside)         "<" DSML "tool_calls>\n" inside "\n</" DSML "tool_calls>"
#define INVOKE(name, inside) "<" DSML "invoke name=\"" name "\">\n" inside "\n</" DSML "invoke>"
#define PARAMETER(key, string, value)                                                                                  \
    "<" DSML "parameter name=\"" key "\" string=\"" string "\">" value "</" DSML "parameter>"
#define END "<\uff5cend\u2581of\u2581sentence\uff5c>"

static void answers_are_understood(void **state)
{
    static const expectation list[] = {
        { "Hello" END, "C:Hello", CHAT_OUTCOME_STOP, false, false, false },
        { "why</think>because" END, "R:whyC:because", CHAT_OUTCOME_STOP, true, false, false },
        { "<think>why</think>\n\nx" END, "R:whyC:\n\nx", CHAT_OUTCOME_STOP, true, false, false },
        { "cut of", "C:cut of", CHAT_OUTCOME_LENGTH, false, true, true },
        { "a < b\n\n" END, "C:a < b\n\n", CHAT_OUTCOME_STOP, false, true, false },
        /* calls */
        { "ok\n\n" CALL(INVOKE("f", PARAMETER("s", "true", "x \"y\"") "\n" PARAMETER("n", "false", "[1, 2]"))),
          "C:ok[0 f {\"s\":\"x \\\"y\\\"\",\"n\":[1,2]}]", CHAT_OUTCOME_TOOL_CALLS, false, true, false },
        { CALL(INVOKE("f", "") "\n" INVOKE("g", PARAMETER("a", "true", ""))), "[0 f {}][1 g {\"a\":\"\"}]",
          CHAT_OUTCOME_TOOL_CALLS, false, true, false },
        { "r</think>\n\n" CALL(INVOKE("f", PARAMETER("s", "true", "1"))), "R:r[0 f {\"s\":\"1\"}]",
          CHAT_OUTCOME_TOOL_CALLS, true, true, false },
        /* a value may hold anything, even its own closing tag in the escaped form, and tags without the token */
        { CALL(INVOKE("f", PARAMETER("s", "true",
                                     "a</b>&lt;/"
                                     "\uff5c"
                                     "DSML\uff5cparameter> <x> &amp;"))),
          "[0 f {\"s\":\"a</b>&lt;/\uff5c"
          "DSML\uff5cparameter> <x> &amp;\"}]",
          CHAT_OUTCOME_TOOL_CALLS, false, true, false },
        { CALL(INVOKE("f", PARAMETER("s", "true", "a</parameter>b"))), "[0 f {\"s\":\"a</parameter>b\"}]",
          CHAT_OUTCOME_TOOL_CALLS, false, true, false },
        { CALL(INVOKE("f", PARAMETER("s", "true", "1") "\n" PARAMETER("s", "true", "2"))), "[0 f {\"s\":\"1\"}]",
          CHAT_OUTCOME_TOOL_CALLS, false, true, false },
        { CALL(INVOKE("f", PARAMETER("n", "false", "not json"))), "[0 f {\"n\":\"not json\"}]", CHAT_OUTCOME_TOOL_CALLS,
          false, true, false },
        /* repaired: no `string`, missing closing tag of the block, plain names */
        { CALL(INVOKE("f", "<" DSML "parameter name=\"s\">12</" DSML "parameter>")), "[0 f {\"s\":\"12\"}]",
          CHAT_OUTCOME_TOOL_CALLS, false, true, false },
        { CALL(INVOKE("f", "<" DSML "parameter name=\"n\">12</" DSML "parameter>")), "[0 f {\"n\":12}]",
          CHAT_OUTCOME_TOOL_CALLS, false, true, false },
        { "<" DSML "tool_calls>\n" INVOKE("f", "") END, "[0 f {}]", CHAT_OUTCOME_TOOL_CALLS, false, true, false },
        /* repaired: parameters inside a parameter are an object */
        { CALL(INVOKE("f",
                      "<" DSML "parameter name=\"o\" string=\"false\">\n" PARAMETER("a", "true", "1") "\n" PARAMETER(
                          "b", "false", "[2]") "\n</" DSML "parameter>\n" PARAMETER("s", "true", "z"))),
          "[0 f {\"o\":{\"a\":\"1\",\"b\":[2]},\"s\":\"z\"}]", CHAT_OUTCOME_TOOL_CALLS, false, true, false },
        { CALL(INVOKE("f", "<" DSML "parameter name=\"o\">" PARAMETER(
                               "a", "true", PARAMETER("b", "true", "c")) "</" DSML "parameter>")),
          "[0 f {\"o\":{\"a\":{\"b\":\"c\"}}}]", CHAT_OUTCOME_TOOL_CALLS, false, true, false },
        /* what a parameter holds is kept: there a control token is what it looks like */
        { CALL(INVOKE("f", PARAMETER("s", "true", "a<think>b</think>\uff5c<\uff5cUser\uff5c>"))),
          "[0 f {\"s\":\"a<think>b</think>\uff5c<\uff5cUser\uff5c>\"}]", CHAT_OUTCOME_TOOL_CALLS, false, true, false },
        /* calls without a wrapper, and what ends them */
        { "ok\n" INVOKE("f", "") "\n" INVOKE("g", "") "\nx", "C:ok[0 f {}][1 g {}]", CHAT_OUTCOME_TOOL_CALLS, false,
          true, false },
        { INVOKE("f", "") "\n" PARAMETER("s", "true", "x"), "[0 f {}]", CHAT_OUTCOME_TOOL_CALLS, false, true, false },
        { INVOKE("f", "") "</" DSML "tool_calls>", "[0 f {}]", CHAT_OUTCOME_TOOL_CALLS, false, true, false },
        /* nothing after a block that cannot be read is executed */
        { "<" DSML "tool_calls>\nhm\n" CALL(INVOKE("f", "")) END, "", CHAT_OUTCOME_BROKEN, false, true, false },
        /* not repaired */
        { "<" DSML "tool_calls>\nhm" END, "", CHAT_OUTCOME_BROKEN, false, true, false },
        { "<" DSML "tool_calls>\n<" DSML "invoke name=\"f\">\n" END, "[0 f ", CHAT_OUTCOME_BROKEN, false, true, false },
        { "<" DSML "tool_calls>\n<" DSML "invoke name=\"f\">\n", "[0 f ", CHAT_OUTCOME_LENGTH, false, true, true },
        /* without tools, and where it begins no tag, the token means nothing */
        { "x " DSML " y" END, "C:x  y", CHAT_OUTCOME_STOP, false, false, false },
        { "x " DSML " y" END, "C:x  y", CHAT_OUTCOME_STOP, false, true, false },
        { "```\n<tool_calls>\n```" END, "C:```\n<tool_calls>\n```", CHAT_OUTCOME_STOP, false, true, false },
        /* fences: closed by as many back-ticks, alone on their line */
        { "```xml\n<tool_calls>\n" END, "C:```xml\n<tool_calls>\n", CHAT_OUTCOME_STOP, false, true, false },
        { "````\n```\n<tool_calls>\n<invoke name=\"f\">" END, "C:````\n```\n<tool_calls>\n<invoke name=\"f\">",
          CHAT_OUTCOME_STOP, false, true, false },
        { "```\n```x\n<tool_calls>\n<invoke name=\"f\">" END, "C:```\n```x\n<tool_calls>\n<invoke name=\"f\">",
          CHAT_OUTCOME_STOP, false, true, false },
    };
    (void)state;
    for (size_t i = 0; i < 2 * (sizeof list / sizeof list[0]); i++)
        check(&list[i / 2], i % 2, NULL, 0);
}

/* Without tools the token behind a '<' ends the answer; where there is none yet, it begins anew. */
static void a_block_without_tools_ends_the_answer(void **state)
{
    static const expectation list[] = {
        { "ok\n\n<" DSML "tool_calls>" END, "C:ok", CHAT_OUTCOME_STOP, false, false, false },
        { "ok: <" DSML "tool_calls>" END, "C:ok:", CHAT_OUTCOME_STOP, false, false, false },
        { "a <b> </" DSML "x" END, "C:a <b>", CHAT_OUTCOME_STOP, false, false, false },
        { "r</think>ok <" DSML "x" END, "R:rC:ok", CHAT_OUTCOME_STOP, true, false, false },
        { "\n\n<" DSML "</think>ok" END, "C:ok", CHAT_OUTCOME_STOP, false, false, false },
        { "\n\n<" DSML "</think>ok <" DSML "x", "C:ok", CHAT_OUTCOME_STOP, false, false, false },
        { "r\n<" DSML "</think>ok" END, "R:r\nC:ok", CHAT_OUTCOME_STOP, true, false, false },
        /* the token elsewhere means nothing, and a '<' without it is text */
        { "a <b" DSML " <\n</" END, "C:a <b <\n</", CHAT_OUTCOME_STOP, false, false, false },
        { "\n\n<" END, "C:\n\n<", CHAT_OUTCOME_STOP, false, false, false },
        { "a\n\n<", "C:a\n\n<", CHAT_OUTCOME_LENGTH, false, false, true },
        { "<\n<b\n<</think>x" END, "R:<\n<b\n<C:x", CHAT_OUTCOME_STOP, true, false, false },
    };
    const slice stops[] = { SLICE("STOP") };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        check(&list[i], false, NULL, 0);
    check(&(expectation){ "a ST<" DSML "x", "C:a ST", CHAT_OUTCOME_STOP, false, false, false }, false, stops, 1);
}

/* Of ordinary text are blocks with `repair` only, and so are calls of tools that nobody declared. */
static void ordinary_text_is_a_call_only_with_repair(void **state)
{
    static const struct {
        expectation plain, repaired;
    } list[] = {
#define PLAIN(text, seen) { text, seen, CHAT_OUTCOME_STOP, false, true, false }
#define REPAIRED(text, seen)                                                                                           \
    {                                                                                                                  \
        text, seen, CHAT_OUTCOME_TOOL_CALLS, false, true, false                                                        \
    }
#define BOTH(text, repaired)                                                                                           \
    {                                                                                                                  \
        PLAIN(text END, "C:" text), REPAIRED(text, repaired)                                                           \
    }
        BOTH("<invoke name=\"rm_rf\">\n</invoke>\n<", "[0 rm_rf {}]"),
        BOTH("ok\n<invoke name=\"f\">\n</invoke>\n<", "C:ok[0 f {}]"),
        BOTH("<tool_calls>\n<invoke name=\"f\">\n<parameter name=\"s\" string=\"true\">x</parameter>\n</invoke>\n"
             "</tool_calls>",
             "[0 f {\"s\":\"x\"}]"),
        BOTH("<DSML\uff5ctool_calls>\n<DSML\uff5cinvoke name=\"f\">\n</DSML\uff5cinvoke>\n</DSML\uff5ctool_calls>",
             "[0 f {}]"),
        BOTH("```\n``` \n<tool_calls>\n<invoke name=\"f\">\n</invoke>\n</tool_calls>", "C:```\n```[0 f {}]"),
        BOTH("`` \n<tool_calls>\n<invoke name=\"f\">\n</invoke>\n</tool_calls>", "C:``[0 f {}]"),
        { { CALL(INVOKE("rm_rf", "")), "", CHAT_OUTCOME_BROKEN, false, true, false },
          REPAIRED(CALL(INVOKE("rm_rf", "")), "[0 rm_rf {}]") },
        { { CALL(INVOKE("f", "") "\n" INVOKE("rm_rf", "")), "[0 f {}]", CHAT_OUTCOME_BROKEN, false, true, false },
          REPAIRED(CALL(INVOKE("f", "") "\n" INVOKE("rm_rf", "")), "[0 f {}][1 rm_rf {}]") },
    };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        check(&list[i].plain, false, NULL, 0);
        check(&list[i].repaired, true, NULL, 0);
    }
    /* A value ends with a tag like the one that opened it. */
    check(&(expectation)REPAIRED("<invoke name=\"f\">\n<parameter name=\"s\">x</" DSML
                                 "parameter>y</parameter>\n</invoke>\n<",
                                 "[0 f {\"s\":\"x</" DSML "parameter>y\"}]"),
          true, NULL, 0);
}

/* 3.4: what models write instead of the canonical form, and means the same call. */
static void near_misses_are_repaired(void **state)
{
    static const char *const forms[] = {
        /* bars missing or doubled, in plain text and around the token */
        "<DSML\uff5ctool_calls>\n<DSML\uff5cinvoke name=\"f\">\n<DSML\uff5cparameter name=\"s\" string=\"true\">x"
        "</DSML\uff5cparameter>\n</DSML\uff5cinvoke>\n</DSML\uff5ctool_calls>",
        "<\uff5c\uff5c"
        "DSML\uff5c\uff5ctool_calls>\n<\uff5c\uff5c"
        "DSML\uff5c\uff5cinvoke name=\"f\">\n"
        "<parameter name=\"s\" string=\"true\">x</parameter>\n</invoke>\n</tool_calls>",
        "<" DSML "\uff5ctool_calls>\n<" DSML
        "\uff5cinvoke name=\"f\">\n" PARAMETER("s", "true", "x") "\n</" DSML "\uff5cinvoke>\n</" DSML "tool_calls>",
        /* names of the other profile */
        "<" DSML " calls>\n<" DSML " invoke name=\"f\">\n<" DSML " parameter name=\"s\" string=\"true\">x</" DSML
        " parameter>\n</" DSML " invoke>\n</" DSML " calls>",
        /* attributes in another order, other quotes, none where the schema knows, more white space or none */
        CALL(INVOKE("f", "<" DSML "parameter string=\"true\" name=\"s\">x</" DSML "parameter>")),
        CALL("<" DSML "invoke name=\u201cf\u201d>\n<" DSML "parameter name='s' string=\u201dtrue\u201d>x</" DSML
             "parameter>\n</" DSML "invoke>"),
        CALL(INVOKE("f", "<" DSML "parameter name=\"s\">x</" DSML "parameter>")),
        "<" DSML "tool_calls>\n\n  <" DSML "invoke  name = \"f\" >\t<" DSML
        "parameter\nname=\"s\" string=\"true\">x</" DSML "parameter></" DSML "invoke></" DSML "tool_calls >",
        "<" DSML "tool_calls><" DSML "invoke name=\"f\">" PARAMETER("s", "true", "x") "</" DSML "invoke></" DSML
                                                                                      "tool_calls>",
        /* the block's end, or all of its wrapper, is missing */
        "<" DSML "tool_calls>\n" INVOKE("f", PARAMETER("s", "true", "x")) END,
        "<" DSML "tool_calls>\n" INVOKE("f", PARAMETER("s", "true", "x")) "\n" END,
        INVOKE("f", PARAMETER("s", "true", "x")) END,
        "<invoke name=\"f\">\n<parameter name=\"s\">x</parameter>\n</invoke>" END,
    };
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        check(&(expectation){ forms[i], "[0 f {\"s\":\"x\"}]", CHAT_OUTCOME_TOOL_CALLS, false, true, false }, true,
              NULL, 0);
}

/* 3.4, the rows of the fallback table, and what is never repaired. */
static void what_cannot_be_repaired_is_text_or_an_error(void **state)
{
    static const expectation list[] = {
        /* a closing tag without an opening one is ignored */
        { "a</" DSML "tool_calls>b" END, "C:ab", CHAT_OUTCOME_STOP, false, true, false },
        /* cut off in a block: completed calls stay, the partial one's arguments stay open */
        { "<" DSML "tool_calls>\n" INVOKE("f", PARAMETER("s", "true", "x")) "\n<" DSML "invoke name=\"g\">\n<" DSML
                                                                            "parameter name=\"a\" string=\"true\">hal",
          "[0 f {\"s\":\"x\"}][1 g {\"a\":\"hal", CHAT_OUTCOME_LENGTH, false, true, true },
        { "ok\n\n<" DSML "tool_calls>\n<" DSML "inv", "C:ok", CHAT_OUTCOME_LENGTH, false, true, true },
        { "ok\n\n<" DSML "tool_calls>\n<" DSML "inv" END, "C:ok", CHAT_OUTCOME_BROKEN, false, true, false },
        { "ok\n\n<" DSML END, "C:ok", CHAT_OUTCOME_BROKEN, false, true, false },
        { "ok\n\n<" DSML "parameter name=\"s\">" END, "C:ok", CHAT_OUTCOME_BROKEN, false, true, false },
        { "ok\n\n<" DSML "div>" END, "C:ok", CHAT_OUTCOME_BROKEN, false, true, false },
        /* an unclosed value, an unclosed call, text between tags, a call without a name, an empty block */
        { "<" DSML "tool_calls>\n<" DSML "invoke name=\"f\">\n<" DSML "parameter name=\"s\" string=\"true\">x</" DSML
          "invoke>\n</" DSML "tool_calls>" END,
          "[0 f {\"s\":\"x</" DSML "invoke>\\n</" DSML "tool_calls>", CHAT_OUTCOME_BROKEN, false, true, false },
        { CALL("<" DSML "invoke name=\"f\">\n"), "[0 f ", CHAT_OUTCOME_BROKEN, false, true, false },
        { CALL(INVOKE("f", "text")), "[0 f ", CHAT_OUTCOME_BROKEN, false, true, false },
        { CALL(INVOKE("f", "") "and"), "[0 f {}]", CHAT_OUTCOME_BROKEN, false, true, false },
        { CALL("<" DSML "invoke>\n</" DSML "invoke>"), "", CHAT_OUTCOME_BROKEN, false, true, false },
        { CALL("") END, "", CHAT_OUTCOME_BROKEN, false, true, false },
        { "a</" DSML "tool" END, "C:a", CHAT_OUTCOME_STOP, false, true, false },
        /* plain names count only at the start of a line */
        { "see <tool_calls> and <invoke name=\"f\">" END, "C:see <tool_calls> and <invoke name=\"f\">",
          CHAT_OUTCOME_STOP, false, true, false },
        /* a character that is cut off, and bytes that are none */
        { "a\xe2\x82" END, "C:a\ufffd", CHAT_OUTCOME_STOP, false, true, false },
        { "a\xff</think>b" END, "R:a\ufffdC:b", CHAT_OUTCOME_STOP, true, true, false },
    };
    (void)state;
    for (size_t i = 0; i < 2 * (sizeof list / sizeof list[0]); i++)
        check(&list[i / 2], i % 2, NULL, 0);
}

static void stop_strings_end_content_and_only_content(void **state)
{
    const slice stops[] = { SLICE("STOP"), SLICE("\n\n"), SLICE("abcX"), SLICE("bc") };
    static const expectation list[] = {
        { "oneSTOPtwo" END, "C:one", CHAT_OUTCOME_STOP, false, false, false },
        { "-abcX-" END, "C:-", CHAT_OUTCOME_STOP, false, false, false },
        { "-abcY-" END, "C:-a", CHAT_OUTCOME_STOP, false, false, false },
        { "-abc" END, "C:-a", CHAT_OUTCOME_STOP, false, false, false },
        { "a STO b" END, "C:a STO b", CHAT_OUTCOME_STOP, false, false, false },
        { "STOP</think>x\n\ny" END, "R:STOPC:x", CHAT_OUTCOME_STOP, true, false, false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        check(&list[i], false, stops, sizeof stops / sizeof stops[0]);
}

/* Whatever a block holds and wherever it is cut, by a limit or by the end of the turn: nothing of it is content or reasoning,
 * and what came before it is. */
static void markup_is_never_content(void **state)
{
    static const char *const blocks[] = {
        CALL(INVOKE("f",
                    PARAMETER("s", "true", "a </b> " DSML " \n") "\n" PARAMETER("n", "false", "[1, {\"k\": null}]"))),
        CALL(INVOKE("f", "") "\n" INVOKE("g", PARAMETER("a", "true", ""))),
        "<" DSML " calls>\n<" DSML " invoke name='g'>\n</" DSML " invoke>\n</" DSML " calls>",
        INVOKE("f", PARAMETER("s", "true", "x")),
        "<" DSML "tool_calls>\nhm <b> x",
        "<" DSML "tool_calls>\n" INVOKE("rm_rf", ""),
        "<" DSML "tool_cal x",
        "<" DSML "<" DSML DSML "</" DSML "tool_calls>",
    };
    const size_t n_blocks = sizeof blocks / sizeof blocks[0];
    size_t n_cuts = 0;
    (void)state;
    /* Bits: the answer reasons first; repair; the grammar's parser; cut off, or ended by the model. */
    for (size_t i = 0; i < n_blocks * 16; i++) {
        const bool thinking = i & 1, repair = i & 2, grammar = i & 4, cut = i & 8;
        const chat_parser_options options = { .thinking_open = thinking,
                                              .allow_tools = true,
                                              .grammar = grammar,
                                              .repair = repair,
                                              .tools = tools,
                                              .n_tools = N_TOOLS };
        const char *want = thinking ? "R:rC:ok" : "C:ok";
        token_list ids = { 0 };
        buffer text = { 0 };
        assert_int_equal(buffer_printf(&text, "%sok\n\n%s", thinking ? "r</think>" : "", blocks[i / 16]), DS4_OK);
        text_encode_with_specials(tokenizer, buffer_slice(&text), &ids, NULL);
        size_t begin = 0;
        while (ids.ids[begin] != text_special_id(tokenizer, TEXT_DSML))
            begin++;
        for (size_t n = begin + 1; n <= ids.n; n++, n_cuts++) {
            outcome o = { .verdict = CHAT_GO_ON };
            chat_parser *p;
            assert_int_equal(chat_parser_new(&p, tokenizer, &options, on_event, &o.seen, NULL), DS4_OK);
            for (size_t k = 0; k < n && o.verdict == CHAT_GO_ON; k++)
                assert_int_equal(chat_parser_feed(p, ids.ids[k], &o.verdict, NULL), DS4_OK);
            const bool went_on = o.verdict == CHAT_GO_ON;
            assert_int_equal(chat_parser_finish(p, went_on && cut, &o.outcome, NULL), DS4_OK);
            const char *seen = o.seen.out.data ? o.seen.out.data : "", *call = strchr(seen, '[');
            const size_t n_seen = call ? (size_t)(call - seen) : strlen(seen);
            if (n_seen != strlen(want) || memcmp(seen, want, n_seen) != 0 || strstr(call ? call : "", "C:"))
                fail_msg("%zu tokens of '%s' gave '%s'", n, text.data, seen);
            if (went_on && cut)
                assert_int_equal(o.outcome, CHAT_OUTCOME_LENGTH);
            else
                assert_true(o.outcome == CHAT_OUTCOME_TOOL_CALLS || o.outcome == CHAT_OUTCOME_BROKEN);
            chat_parser_free(p);
            buffer_free(&o.seen.out);
        }
        token_list_free(&ids);
        buffer_free(&text);
    }
    printf("%zu cuts\n", n_cuts);
}

/* An opening that the caller writes is no content either, before its token has come. */
static void an_expected_block_is_no_content(void **state)
{
    static const struct {
        const char *text, *seen;
        bool expected, cut;
    } list[] = { { "\n\n<", "", true, true },
                 { "\n\n", "", true, true },
                 { "\n\n<", "C:\n\n<", false, true },
                 { "ok <", "C:ok <", false, true } };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        const chat_parser_options options = { .allow_tools = true, .tools = tools, .n_tools = N_TOOLS };
        outcome o = { .verdict = CHAT_GO_ON };
        token_list ids = { 0 };
        chat_parser *p;
        text_encode(tokenizer, slice_of(list[i].text), &ids, NULL);
        assert_int_equal(chat_parser_new(&p, tokenizer, &options, on_event, &o.seen, NULL), DS4_OK);
        if (list[i].expected)
            chat_parser_expect_block(p);
        for (size_t k = 0; k < ids.n; k++)
            assert_int_equal(chat_parser_feed(p, ids.ids[k], &o.verdict, NULL), DS4_OK);
        assert_int_equal(chat_parser_finish(p, list[i].cut, &o.outcome, NULL), DS4_OK);
        assert_string_equal(o.seen.out.data ? o.seen.out.data : "", list[i].seen);
        chat_parser_free(p);
        token_list_free(&ids);
        buffer_free(&o.seen.out);
    }
}

/* 3.2: structure is greedy, payload is not. */
static void only_payload_is_sampled(void **state)
{
    static const char text[] =
        "a" CALL(INVOKE("f", PARAMETER("s", "true", "QQ") "\n" PARAMETER("n", "false", "[\"QQ\", 7]")));
    const chat_parser_options options = { .allow_tools = true, .tools = tools, .n_tools = N_TOOLS };
    token_list ids = { 0 };
    chat_parser *p;
    record seen = { 0 };
    (void)state;
    text_encode_with_specials(tokenizer, SLICE(text), &ids, NULL);
    assert_int_equal(chat_parser_new(&p, tokenizer, &options, on_event, &seen, NULL), DS4_OK);
    for (size_t i = 0; i < ids.n; i++) {
        chat_verdict verdict;
        const slice piece = text_piece(tokenizer, ids.ids[i]);
        if (piece.data[0] == 'Q')
            assert_false(chat_parser_wants_greedy(p));
        if (piece.data[0] == '7' || piece.data[0] == '[')
            assert_true(chat_parser_wants_greedy(p));
        chat_parser_feed(p, ids.ids[i], &verdict, NULL);
    }
    chat_parser_free(p);
    token_list_free(&ids);
    buffer_free(&seen.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_understood),
        cmocka_unit_test(a_block_without_tools_ends_the_answer),
        cmocka_unit_test(ordinary_text_is_a_call_only_with_repair),
        cmocka_unit_test(near_misses_are_repaired),
        cmocka_unit_test(what_cannot_be_repaired_is_text_or_an_error),
        cmocka_unit_test(markup_is_never_content),
        cmocka_unit_test(an_expected_block_is_no_content),
        cmocka_unit_test(stop_strings_end_content_and_only_content),
        cmocka_unit_test(only_payload_is_sampled),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
