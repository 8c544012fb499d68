/* The grammar of tool blocks: what it allows is canonical, what a model may choose under it is always a block that reads. */
#include "chat/chat.h"
#include "chat/json_scan.h"
#include "support/byte_tokenizer.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DSML "\uff5cDSML\uff5c"

static byte_tokenizer fixture;
static const text_tokenizer *tokenizer;

/* Tokens of one byte and a few that cross from tag to value, or from tag to tag. */
static int open_tokenizer(void **state)
{
    static const char *const merges[] = {
        "i n",  "v o", "in vo", "t o",  "to o",  "\" >",  "\"> \u010a", "> \u010a",        "] }",
        "\" ,", "< /", "t r",   "tr u", "tru e", "\"> 7", "\"> x",      "\">\u010a \u010a"
    };
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

/* `closed` knows its keys, `closer` welcomes others, `bare` says nothing of its parameters, `none` has none; `needs` requires
 * keys that it does not describe, one that a free key cannot be, and some that nobody can write. */
static const chat_tool tools[] = {
    { SLICE("closed"),
      SLICE("{\"name\":\"closed\",\"parameters\":{\"properties\":{\"s\":{\"type\":\"string\"},\"n\":{\"type\":"
            "\"integer\"},\"any\":{},\"\u00fc\":{\"type\":\"array\"}},\"required\":[\"s\"]}}") },
    { SLICE("closer"), SLICE("{\"name\":\"closer\",\"parameters\":{\"properties\":{\"k\":{\"type\":\"string\"}},"
                             "\"additionalProperties\":true}}") },
    { SLICE("bare"), SLICE("{\"name\":\"bare\"}") },
    { SLICE("none"), SLICE("{\"name\":\"none\",\"parameters\":{\"properties\":{}}}") },
    { SLICE("needs"),
      SLICE("{\"name\":\"needs\",\"parameters\":{\"properties\":{\"k\":{\"type\":\"string\"},\"b<\":{}},"
            "\"additionalProperties\":{},\"required\":[\"r\",\"b<\",\"q\\\"\",7]}}") },
};
enum { N_TOOLS = sizeof tools / sizeof tools[0] };

static const chat_parser_options canonical = {
    .allow_tools = true, .grammar = true, .tools = tools, .n_tools = N_TOOLS
};

typedef struct seen {
    buffer name, arguments, reasoning, content;
    uint32_t n_calls;
    bool bound; /* the grammar held the calls */
} seen;

static void check_call(const seen *s)
{
    json_value *value;
    bool known = false;
    for (size_t i = 0; i < N_TOOLS; i++)
        known = known || slice_equal(tools[i].name, buffer_slice(&s->name));
    assert_true(known);
    assert_int_equal(json_parse(&value, buffer_slice(&s->arguments), NULL, NULL), DS4_OK);
    assert_int_equal(json_kind_of(value), JSON_OBJECT);
    if (s->bound && slice_equal(buffer_slice(&s->name), SLICE("closed")))
        assert_non_null(json_member(value, "s")); /* required */
    if (s->bound && slice_equal(buffer_slice(&s->name), SLICE("needs")))
        assert_true(json_member(value, "r") && json_member(value, "b<"));
    for (size_t i = 0; slice_equal(buffer_slice(&s->name), SLICE("closed")) && i < json_count(value); i++) {
        const slice key = json_key_at(value, i);
        slice text;
        assert_true(slice_equal(key, SLICE("s")) || slice_equal(key, SLICE("n")) || slice_equal(key, SLICE("any")) ||
                    slice_equal(key, SLICE("\u00fc")));
        if (slice_equal(key, SLICE("s")))
            assert_true(json_string(json_at(value, i), &text));
    }
    json_free(value);
}

static void on_event(void *user, const chat_event *event)
{
    seen *s = user;
    switch (event->kind) {
    case CHAT_EVENT_REASONING: buffer_append_slice(&s->reasoning, event->text); break;
    case CHAT_EVENT_CONTENT: buffer_append_slice(&s->content, event->text); break;
    case CHAT_EVENT_CALL_BEGIN:
        buffer_clear(&s->name);
        buffer_clear(&s->arguments);
        buffer_append_slice(&s->name, event->text);
        break;
    case CHAT_EVENT_CALL_DATA: buffer_append_slice(&s->arguments, event->text); break;
    case CHAT_EVENT_CALL_END:
        check_call(s);
        s->n_calls++;
        break;
    }
}

static void free_seen(seen *s)
{
    buffer_free(&s->name);
    buffer_free(&s->arguments);
    buffer_free(&s->reasoning);
    buffer_free(&s->content);
}

static chat_verdict feed(chat_parser *p, uint32_t id)
{
    chat_verdict verdict;
    assert_int_equal(chat_parser_feed(p, id, &verdict, NULL), DS4_OK);
    return verdict;
}

static uint32_t of_byte(char c)
{
    return 9 + (uint32_t)(unsigned char)c;
}

/* A value that may hold anything, or content: a control token that is no structure may come. */
static bool in_payload(chat_parser *p)
{
    return chat_parser_allows(p, text_special_id(tokenizer, TEXT_THINK));
}

/* Feeds `text`; the place of the first token that is not allowed, or -1. */
static int first_refused(const char *text, const chat_parser_options *options)
{
    token_list ids = { 0 };
    chat_parser *p;
    seen s = { 0 };
    int refused = -1;
    assert_int_equal(text_encode_with_specials(tokenizer, slice_of(text), &ids, NULL), DS4_OK);
    assert_int_equal(chat_parser_new(&p, tokenizer, options, on_event, &s, NULL), DS4_OK);
    for (size_t i = 0; i < ids.n && refused < 0; i++) {
        if (!chat_parser_allows(p, ids.ids[i]))
            refused = (int)i;
        else if (feed(p, ids.ids[i]) != CHAT_GO_ON)
            break;
    }
    chat_parser_free(p);
    token_list_free(&ids);
    free_seen(&s);
    return refused;
}

#define END          "<\uff5cend\u2581of\u2581sentence\uff5c>"
#define OPEN         "<" DSML "tool_calls>\n"
#define INVOKE(name) "<" DSML "invoke name=\"" name "\">\n"
#define PARAMETER(key, string, value)                                                                                  \
    "<" DSML "parameter name=\"" key "\" string=\"" string "\">" value "</" DSML "parameter>\n"
#define INVOKE_END  "</" DSML "invoke>\n"
#define EMPTY(name) INVOKE(name) "\n" INVOKE_END
#define CLOSE       "</" DSML "tool_calls>"

static void what_is_canonical_is_allowed(void **state)
{
    static const char *const texts[] = {
        "Well.\n\n" OPEN INVOKE("closed") PARAMETER("s", "true", "a </div> & <b> \"c\"\n") INVOKE_END CLOSE,
        OPEN INVOKE("closed") PARAMETER("n", "false", "-12.5e+3") PARAMETER("s", "true", "") INVOKE_END EMPTY("bare")
            EMPTY("none") CLOSE,
        OPEN INVOKE("closed") PARAMETER("\u00fc", "false", "[1, {\"a\": [true, null, \"x\\u00e4<\"]}]")
            PARAMETER("s", "true", "\n\n") INVOKE_END CLOSE,
        OPEN INVOKE("closed") PARAMETER("any", "true", "1") PARAMETER("n", "false", "0") PARAMETER("s", "true", " ")
            INVOKE_END CLOSE,
        OPEN INVOKE("closer") PARAMETER("more", "false", "{}") PARAMETER("k", "true", "v") INVOKE_END CLOSE,
        OPEN INVOKE("bare") PARAMETER("path", "true", "\n\n") PARAMETER("x y", "false", " [ ] ") INVOKE_END CLOSE,
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const int refused = first_refused(texts[i], &canonical);
        if (refused >= 0)
            fail_msg("token %d of text %zu was refused", refused, i);
    }
}

static void what_is_not_canonical_is_refused(void **state)
{
    static const char *const texts[] = {
        "<" DSML "calls>\n",
        "<" DSML " tool_calls>",
        OPEN CLOSE,
        OPEN INVOKE("unknown"),
        OPEN INVOKE("close"),
        OPEN "\n" INVOKE("bare"),
        OPEN "<" DSML "invoke tool=\"bare\">",
        OPEN INVOKE("closed") PARAMETER("other", "true", ""),
        OPEN INVOKE("closed") PARAMETER("n", "true", "1"),
        OPEN INVOKE("closed") PARAMETER("s", "false", "1"),
        OPEN INVOKE("closed") PARAMETER("s", "true", "1") PARAMETER("s", "true", "2"),
        OPEN INVOKE("closed") PARAMETER("n", "false", "01"),
        OPEN INVOKE("closed") PARAMETER("n", "false", ""),
        OPEN INVOKE("closed") PARAMETER("n", "false", "[1,]"),
        OPEN INVOKE("closed") PARAMETER("n", "false", "{a:1}"),
        OPEN INVOKE("closed") PARAMETER("n", "false", "truth"),
        OPEN INVOKE("closed") CLOSE,
        OPEN INVOKE("bare") PARAMETER("a<b", "true", ""),
        OPEN INVOKE("bare") PARAMETER("", "true", ""),
        OPEN INVOKE("bare") INVOKE_END, /* an empty line stands where parameters are missing, and only there */
        OPEN INVOKE("closed") PARAMETER("s", "true", "") "\n" INVOKE_END,
        OPEN INVOKE("none") "<",
        /* required parameters */
        OPEN INVOKE("closed") PARAMETER("n", "false", "1") INVOKE_END,
        OPEN EMPTY("closed"),
        OPEN INVOKE("needs") PARAMETER("k", "true", "1") INVOKE_END,
        OPEN INVOKE("needs") PARAMETER("free", "true", "1"),
        /* the token in a value, but for the closing tag, and the end of the turn */
        OPEN INVOKE("closed") PARAMETER("s", "true", "a" DSML),
        OPEN INVOKE("closed") PARAMETER("s", "true", "a <" DSML "parameter name="),
        OPEN INVOKE("closed") PARAMETER("s", "true", "<" DSML "parameter name=\"x\" string=\"true\">"),
        OPEN INVOKE("closed") "<" DSML "parameter name=\"s\" string=\"true\">a</" DSML "invoke>",
        OPEN INVOKE("closed") "<" DSML "parameter name=\"s\" string=\"true\">\n </" DSML "invoke>",
        OPEN INVOKE("closed") "<" DSML "parameter name=\"\u00fc\" string=\"false\">[\"</" DSML "parameter>",
        OPEN INVOKE("closed") "<" DSML "parameter name=\"s\" string=\"true\">a" END,
        OPEN INVOKE("closed") "<" DSML "parameter name=\"s\" string=\"true\">a</" END,
        OPEN INVOKE("closed") "<" DSML "parameter name=\"\u00fc\" string=\"false\">[\"" END,
        OPEN INVOKE("closed") "<" DSML "parameter name=\"s\" string=\"true\">a<\uff5cUser\uff5c>",
        OPEN INVOKE("closed") "<" DSML "parameter name=\"s\" string=\"true\">a</<\uff5cAssistant\uff5c>",
        OPEN END,
        "<" DSML END,
        /* the token where it begins nothing */
        "a " DSML,
        "a </" DSML,
        "a <b" DSML,
        OPEN INVOKE("closer") PARAMETER("k", "true", "") PARAMETER("x", "false", "{} "),
    };
    const size_t n = sizeof texts / sizeof texts[0] - 1; /* the last is legal */
    chat_parser_options one = canonical;
    (void)state;
    for (size_t i = 0; i < n; i++)
        if (first_refused(texts[i], &canonical) < 0)
            fail_msg("'%s' was allowed", texts[i]);
    assert_int_equal(first_refused(texts[n], &canonical), -1);
    assert_int_equal(first_refused(OPEN EMPTY("bare") EMPTY("bare") CLOSE, &canonical), -1);
    one.one_call = true;
    assert_int_equal(first_refused(OPEN INVOKE("needs") PARAMETER("r", "false", "1") PARAMETER("b<", "true", "")
                                       PARAMETER("free", "true", "1") INVOKE_END CLOSE,
                                   &canonical),
                     -1);
    assert_true(first_refused(OPEN EMPTY("bare") EMPTY("bare") CLOSE, &one) > 0);
    assert_int_equal(first_refused(OPEN EMPTY("bare") CLOSE, &one), -1);
    one.grammar = false;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(first_refused(texts[i], &one), -1);
}

/* The other spelling of tags. */
static void profiles_have_their_own_tags(void **state)
{
    chat_parser_options spaced = canonical;
    (void)state;
    spaced.profile = CHAT_V4_1;
    assert_int_equal(first_refused("<" DSML " calls>\n<" DSML " invoke name=\"bare\">\n\n</" DSML " invoke>\n</" DSML
                                   " calls>",
                                   &spaced),
                     -1);
    assert_true(first_refused(OPEN, &spaced) > 0);
}

/* The set is built from few questions; it is that of the answers for each token alone, the slow way. */
static void assert_set_is_that_of_all_answers(chat_parser *p)
{
    const token_set *set = chat_parser_allowed(p);
    bool any = false;
    assert_int_equal(set->n_ids, text_n_tokens(tokenizer));
    for (uint32_t id = 0; id < text_n_tokens(tokenizer); id++) {
        any = any || token_set_has(set, id);
        if (token_set_has(set, id) != chat_parser_allows(p, id))
            fail_msg("token %u ('%.*s')", id, (int)text_piece(tokenizer, id).size, text_piece(tokenizer, id).data);
    }
    assert_true(any);
}

/* Of requests without tools the token is not part, whatever the other options are, and all the rest is. */
static void without_tools_the_token_is_never_allowed(void **state)
{
    static const char text[] = "why <\n<</think>\n\n<tool_calls>\n<";
    (void)state;
    for (int i = 0; i < 16; i++) {
        const chat_parser_options options = { .thinking_open = i & 1,
                                              .allow_tools = i & 2,
                                              .grammar = i & 4,
                                              .repair = i & 8 && !(i & 2),
                                              .tools = tools,
                                              .n_tools = i & 2 ? 0 : N_TOOLS };
        token_list ids = { 0 };
        chat_parser *p;
        seen s = { 0 };
        assert_int_equal(text_encode_with_specials(tokenizer, SLICE(text), &ids, NULL), DS4_OK);
        assert_int_equal(chat_parser_new(&p, tokenizer, &options, on_event, &s, NULL), DS4_OK);
        for (size_t k = 0; k < ids.n; k++) {
            for (uint32_t id = 0; id < text_n_tokens(tokenizer); id++)
                assert_int_equal(chat_parser_allows(p, id), id != text_special_id(tokenizer, TEXT_DSML));
            assert_set_is_that_of_all_answers(p);
            feed(p, ids.ids[k]);
        }
        chat_parser_free(p);
        token_list_free(&ids);
        free_seen(&s);
    }
}

/* Feeds `text` to a parser without tools. */
static chat_parser *without_tools(const char *text, bool thinking, seen *s)
{
    const chat_parser_options options = { .thinking_open = thinking };
    token_list ids = { 0 };
    chat_parser *p;
    assert_int_equal(text_encode_with_specials(tokenizer, slice_of(text), &ids, NULL), DS4_OK);
    assert_int_equal(chat_parser_new(&p, tokenizer, &options, on_event, s, NULL), DS4_OK);
    for (size_t i = 0; i < ids.n; i++)
        assert_int_equal(feed(p, ids.ids[i]), CHAT_GO_ON);
    token_list_free(&ids);
    return p;
}

/* The token is waited for behind what may begin a tag, and nowhere else. */
static void without_tools_the_token_is_watched_for_where_a_tag_may_begin(void **state)
{
    static const struct {
        const char *text;
        bool thinking, watched;
    } list[] = { { "", false, false },
                 { "a", false, false },
                 { "a <", false, true },
                 { "\n\n<", false, true },
                 { "a\n</", false, true },
                 { "a <b", false, false },
                 { "a <\n", false, false },
                 { "<\xc3", false, false },
                 { "why\n<", true, true },
                 { "why <", true, false },
                 { "why\n<b", true, false },
                 { "why\n", true, false },
                 { "why</think>a <", true, true } };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        seen s = { 0 };
        chat_parser *p = without_tools(list[i].text, list[i].thinking, &s);
        if (chat_parser_watches(p) != list[i].watched)
            fail_msg("'%s'", list[i].text);
        assert_false(chat_parser_escapes(p));
        chat_parser_free(p);
        free_seen(&s);
    }
    seen s = { 0 };
    chat_parser *p;
    assert_int_equal(chat_parser_new(&p, tokenizer, &canonical, on_event, &s, NULL), DS4_OK);
    feed(p, of_byte('<'));
    assert_false(chat_parser_watches(p)); /* with tools */
    chat_parser_free(p);
    free_seen(&s);
}

/* An answer that begins anew begins with a word, and scraps of tags do not come, however they are cut into tokens. */
static void an_answer_that_begins_anew_holds_no_scraps(void **state)
{
    static const struct {
        const char *text, *next;
        bool allowed;
    } list[] = {
        { "", "\n", false },     { "", " ", false },       { "", "<", false },          { "", ">", false },
        { "", "a", true },       { "", "\"", true },       { "a", "\n", true },         { "a", "<", true },
        { "a", ">", true },      { "tool", "_", true },    { "tool_call", "s", false }, { "a call", "s", true },
        { "calls", ">", false }, { "calls\n", ">", true }, { "string=", "\"", false },  { "name=", "\"", false },
        { "a\"", ">", false },   { "a\" ", ">", true },
    };
    (void)state;
    for (int thinking = 0; thinking < 2; thinking++)
        for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
            seen s = { 0 };
            chat_parser *p = without_tools(thinking ? "why\n<" : "\n\n<", thinking, &s);
            feed(p, text_special_id(tokenizer, TEXT_DSML));
            assert_true(chat_parser_escapes(p));
            feed(p, text_special_id(tokenizer, TEXT_THINK_END));
            assert_false(chat_parser_escapes(p) || chat_parser_watches(p) || chat_parser_in_reasoning(p));
            for (const char *c = list[i].text; *c; c++) {
                assert_true(chat_parser_allows(p, of_byte(*c)));
                feed(p, of_byte(*c));
            }
            if (chat_parser_allows(p, of_byte(list[i].next[0])) != list[i].allowed)
                fail_msg("'%s' after '%s'", list[i].next, list[i].text);
            assert_int_equal(chat_parser_allows(p, text_special_id(tokenizer, TEXT_EOS)), list[i].text[0] != 0);
            assert_false(chat_parser_allows(p, text_special_id(tokenizer, TEXT_DSML)));
            assert_set_is_that_of_all_answers(p);
            chat_parser_free(p);
            free_seen(&s);
        }
}

/* The next token of a model that knows nothing: any allowed one, with a liking for those that end something. */
static uint32_t any_allowed(chat_parser *p, test_random *random)
{
    static const char ends[] = "\"]}>\n";
    uint32_t all[512], ending[512], n = 0, n_ending = 0;
    for (uint32_t id = 0; id < text_n_tokens(tokenizer) && n < 512; id++) {
        const slice piece = text_piece(tokenizer, id);
        if (!chat_parser_allows(p, id))
            continue;
        all[n++] = id;
        if (piece.size == 1 && strchr(ends, piece.data[0]) && piece.data[0])
            ending[n_ending++] = id;
    }
    assert_true(n > 0);
    return n_ending && test_random_below(random, 2) ? ending[test_random_below(random, n_ending)]
                                                    : all[test_random_below(random, n)];
}

/* For every profile, and for blocks of one call, too. */
static void nothing_that_is_allowed_breaks_a_block(void **state)
{
    static const char payload[] = "a<</&\" \n\xc3\xa4>";
    uint32_t n_whole = 0, n_calls = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        chat_parser_options options = canonical;
        options.one_call = seed % 3 == 0;
        options.profile = seed % 2 ? CHAT_V4 : CHAT_V4_1;

        test_random random = test_random_seeded(seed);
        const uint32_t mark = text_special_id(tokenizer, TEXT_DSML);
        chat_verdict verdict = CHAT_GO_ON;
        chat_outcome outcome;
        chat_parser *p;
        seen s = { .bound = true };
        assert_int_equal(chat_parser_new(&p, tokenizer, &options, on_event, &s, NULL), DS4_OK);
        feed(p, of_byte('<'));
        feed(p, mark);
        for (int i = 0; i < 2000 && verdict == CHAT_GO_ON; i++) {
            assert_false(chat_parser_allows(p, text_special_id(tokenizer, TEXT_EOS)));
            if (seed % 10 == 0)
                assert_set_is_that_of_all_answers(p);
            /* In payload the closing tag begins now and then. */
            if (!in_payload(p))
                verdict = feed(p, any_allowed(p, &random));
            else if (chat_parser_allows(p, mark))
                verdict = feed(p, mark);
            else if (test_random_below(&random, 4))
                verdict = feed(p, of_byte(payload[test_random_below(&random, sizeof payload - 1)]));
            else if (feed(p, of_byte('<')) == CHAT_GO_ON)
                verdict = feed(p, of_byte('/'));
        }
        assert_int_equal(chat_parser_finish(p, verdict == CHAT_GO_ON, &outcome, NULL), DS4_OK);
        assert_int_equal(outcome, verdict == CHAT_GO_ON ? CHAT_OUTCOME_LENGTH : CHAT_OUTCOME_TOOL_CALLS);
        assert_int_equal(s.content.size, 0);
        assert_int_equal(s.n_calls, chat_parser_n_calls(p));
        assert_true(s.n_calls <= 1 || !options.one_call);
        n_whole += outcome == CHAT_OUTCOME_TOOL_CALLS;
        n_calls += s.n_calls;
        chat_parser_free(p);
        free_seen(&s);
    }
    printf("%u of 300 blocks ended by themselves, with %u calls\n", n_whole, n_calls);
    assert_true(n_whole > 150);
}

/* The same set at the size of a real vocabulary, at every fifth token of a block: in tags, names, keys, JSON and values. */
static void a_large_vocabulary_is_asked_for_the_same_set(void **state)
{
    static const char text[] = OPEN INVOKE("closed") PARAMETER("\u00fc", "false", "[1, {\"a key\": [-12, \"x\"]}]")
        PARAMETER("s", "true", "a </b>") INVOKE_END INVOKE("bare") PARAMETER("free", "true", "x") INVOKE_END CLOSE;
    const text_tokenizer *small = tokenizer;
    byte_tokenizer big;
    token_list ids = { 0 };
    seen s = { .bound = true };
    chat_parser *p;
    (void)state;
    byte_tokenizer_open_big(&big);
    tokenizer = big.tokenizer;
    assert_int_equal(text_n_tokens(tokenizer), BIG_VOCABULARY);
    assert_int_equal(text_encode_with_specials(tokenizer, SLICE(text), &ids, NULL), DS4_OK);
    assert_int_equal(chat_parser_new(&p, tokenizer, &canonical, on_event, &s, NULL), DS4_OK);
    for (size_t i = 0; i < ids.n; i++) {
        if (i % 5 == 0)
            assert_set_is_that_of_all_answers(p);
        if (!chat_parser_allows(p, ids.ids[i]))
            fail_msg("token %zu of %zu", i, ids.n);
        feed(p, ids.ids[i]);
    }
    assert_int_equal(s.n_calls, 2);
    chat_parser_free(p);
    token_list_free(&ids);
    free_seen(&s);
    byte_tokenizer_close(&big);
    tokenizer = small;
}

/* A model that always prefers one more parameter, or one more byte of a name: the grammar ends both. */
static void parameters_and_names_come_to_an_end(void **state)
{
    /* In `wanted`, the first byte that is allowed comes next; 0xFF is the DSML token. */
    static const struct {
        const char *start, *wanted;
    } cases[] = { { OPEN INVOKE("closed"), "\n<\xff/pas>" },
                  { OPEN INVOKE("none"), "\n<\xff/pas>" },
                  { OPEN INVOKE("needs"), "\n<\"/\xffpas>" },
                  { OPEN INVOKE("bare") "<" DSML "parameter name=\"", "\n</\xffp>" } };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *wanted = cases[i].wanted;
        chat_parser_options options = canonical;
        options.one_call = true;
        const uint32_t mark = text_special_id(tokenizer, TEXT_DSML);
        token_list ids = { 0 };
        chat_verdict verdict = CHAT_GO_ON;
        chat_outcome outcome;
        chat_parser *p;
        seen s = { 0 };
        assert_int_equal(text_encode_with_specials(tokenizer, slice_of(cases[i].start), &ids, NULL), DS4_OK);
        assert_int_equal(chat_parser_new(&p, tokenizer, &options, on_event, &s, NULL), DS4_OK);
        for (size_t k = 0; k < ids.n; k++)
            feed(p, ids.ids[k]);
        for (int n = 0; verdict == CHAT_GO_ON; n++) {
            uint32_t id = TEXT_NO_TOKEN;
            assert_true(n < 4000);
            if (in_payload(p)) {
                feed(p, of_byte('<'));
                feed(p, of_byte('/'));
                verdict = feed(p, chat_parser_allows(p, mark) ? mark : of_byte('"'));
                continue;
            }
            for (size_t w = 0; id == TEXT_NO_TOKEN && wanted[w]; w++) {
                const uint32_t one = wanted[w] == '\xff' ? mark : of_byte(wanted[w]);
                id = chat_parser_allows(p, one) ? one : id;
            }
            for (uint32_t any = 0; id == TEXT_NO_TOKEN && any < text_n_tokens(tokenizer); any++)
                id = chat_parser_allows(p, any) ? any : id;
            assert_int_not_equal(id, TEXT_NO_TOKEN);
            verdict = feed(p, id);
        }
        assert_int_equal(chat_parser_finish(p, false, &outcome, NULL), DS4_OK);
        assert_int_equal(outcome, CHAT_OUTCOME_TOOL_CALLS);
        chat_parser_free(p);
        token_list_free(&ids);
        free_seen(&s);
    }
}

/* A token may hold the end of a tag and the beginning of the value. */
static void a_token_that_crosses_into_a_value_is_looked_at_whole(void **state)
{
    const struct {
        const char *before, *token;
        bool allowed;
    } list[] = {
        { OPEN INVOKE("closed") "<" DSML "parameter name=\"n\" string=\"false", "\">7", true },
        { OPEN INVOKE("closed") "<" DSML "parameter name=\"n\" string=\"false", "\">x", false },
        { OPEN INVOKE("closed") "<" DSML "parameter name=\"s\" string=\"true", "\">x", true },
        { OPEN "<" DSML "invoke name=\"none", "\">\n\n", true },
        { OPEN "<" DSML "invoke name=\"none", "\">x", false },
        { OPEN "<" DSML "invoke name=\"closed", "\">\n\n",
          false },                /* an empty line: no parameters, and one is required */
        { "</" DSML, "x", true }, /* a closing tag of nothing is not bound */
    };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        token_list ids = { 0 };
        chat_parser *p;
        seen s = { 0 };
        assert_int_equal(text_encode_with_specials(tokenizer, slice_of(list[i].before), &ids, NULL), DS4_OK);
        assert_int_equal(chat_parser_new(&p, tokenizer, &canonical, on_event, &s, NULL), DS4_OK);
        for (size_t k = 0; k < ids.n; k++)
            feed(p, ids.ids[k]);
        uint32_t whole = TEXT_NO_TOKEN;
        for (uint32_t id = 0; id < text_n_tokens(tokenizer); id++)
            if (slice_equal(text_piece(tokenizer, id), slice_of(list[i].token)))
                whole = id;
        assert_int_not_equal(whole, TEXT_NO_TOKEN);
        if (chat_parser_allows(p, whole) != list[i].allowed)
            fail_msg("'%s' after '%s'", list[i].token, list[i].before);
        chat_parser_free(p);
        token_list_free(&ids);
        free_seen(&s);
    }
}

/* 3.4: a block that is opened while the model thinks. */
static void a_block_in_reasoning_is_noticed(void **state)
{
    static const struct {
        const char *text, *reasoning;
        bool escapes, tools;
    } list[] = {
        { "hm\n<" DSML, "hm\n", true, true },
        { "<" DSML, "", true, true },
        { "hm\n  <" DSML, "hm\n  ", true, true },
        { "hm <" DSML, "hm <", false, true },
        { "hm\n<b\n<" DSML, "hm\n<b\n", true, true },
        { "hm\n<<" DSML, "hm\n<<", false, true },
        { "hm\n</" DSML, "hm\n</", false, true },
        { "```\n<" DSML, "```\n<", false, true },
        { "```\nx\n```\n<" DSML, "```\nx\n```\n", true, true },
        { "hm\n<" DSML, "hm\n", true, false }, /* without tools: refused */
        { "hm <" DSML, "hm <", false, false },
        { "a\n<", "a\n<", false, true },
    };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        const chat_parser_options options = {
            .thinking_open = true, .allow_tools = list[i].tools, .grammar = true, .tools = tools, .n_tools = N_TOOLS
        };
        token_list ids = { 0 };
        chat_outcome outcome;
        chat_parser *p;
        seen s = { 0 };
        assert_int_equal(text_encode_with_specials(tokenizer, slice_of(list[i].text), &ids, NULL), DS4_OK);
        assert_int_equal(chat_parser_new(&p, tokenizer, &options, on_event, &s, NULL), DS4_OK);
        for (size_t k = 0; k < ids.n; k++) {
            assert_false(chat_parser_escapes(p));
            /* With the grammar the token comes only where it leads to a block. */
            if (k + 1 == ids.n && ids.ids[k] == text_special_id(tokenizer, TEXT_DSML))
                assert_int_equal(chat_parser_allows(p, ids.ids[k]), list[i].escapes && list[i].tools);
            assert_int_equal(feed(p, ids.ids[k]), CHAT_GO_ON);
        }
        assert_int_equal(chat_parser_escapes(p), list[i].escapes);
        feed(p, text_special_id(tokenizer, TEXT_THINK_END));
        assert_false(chat_parser_escapes(p) || chat_parser_in_reasoning(p));
        feed(p, of_byte('x'));
        assert_int_equal(chat_parser_finish(p, false, &outcome, NULL), DS4_OK);
        if (!slice_equal(buffer_slice(&s.reasoning), slice_of(list[i].reasoning)))
            fail_msg("'%s' gave '%.*s'", list[i].text, (int)s.reasoning.size, s.reasoning.data);
        assert_true(slice_equal(buffer_slice(&s.content), SLICE("x")));
        chat_parser_free(p);
        token_list_free(&ids);
        free_seen(&s);
    }
}

/* The scan agrees with the parser on what is JSON, over texts made of its own bytes. */
static void the_scan_knows_json(void **state)
{
    static const char *const atoms[] = { "{",  "}", "[",  "]",  ",",    ":",     "\"a\"", "\"", "\\\"",    "0",
                                         "12", "-", ".5", "e1", "true", "false", "null",  " ",  "\\u00e4", "\"\n\"" };
    uint32_t n_good = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 200000; seed++) {
        test_random random = test_random_seeded(seed);
        char text[64] = "";
        json_scan scan = { 0 };
        bool alive = true;
        json_value *value = NULL;
        for (uint32_t n = 1 + test_random_below(&random, 6); n > 0; n--)
            strcat(text, atoms[test_random_below(&random, sizeof atoms / sizeof atoms[0])]);
        for (const char *c = text; *c; c++)
            alive = json_scan_feed(&scan, *c) && alive;
        const bool good = json_parse(&value, slice_of(text), NULL, NULL) == DS4_OK;
        if (good != (alive && json_scan_complete(&scan)))
            fail_msg("'%s' is %sJSON", text, good ? "" : "not ");
        n_good += good;
        json_free(value);
    }
    printf("%u of 200000 texts were JSON\n", n_good);
    assert_true(n_good > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_canonical_is_allowed),
        cmocka_unit_test(what_is_not_canonical_is_refused),
        cmocka_unit_test(without_tools_the_token_is_never_allowed),
        cmocka_unit_test(without_tools_the_token_is_watched_for_where_a_tag_may_begin),
        cmocka_unit_test(an_answer_that_begins_anew_holds_no_scraps),
        cmocka_unit_test(profiles_have_their_own_tags),
        cmocka_unit_test(nothing_that_is_allowed_breaks_a_block),
        cmocka_unit_test(a_large_vocabulary_is_asked_for_the_same_set),
        cmocka_unit_test(parameters_and_names_come_to_an_end),
        cmocka_unit_test(a_token_that_crosses_into_a_value_is_looked_at_whole),
        cmocka_unit_test(a_block_in_reasoning_is_noticed),
        cmocka_unit_test(the_scan_knows_json),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
