/* bench/grammar.c - what the constraint of one token costs at the size of DeepSeek V4's vocabulary.
 *
 *     cmake --build build --target bench-grammar && build/bench/bench-grammar
 *
 * For places of a tool call: the set of the tokens that may come next, and beside it the same set by asking about every id. Times
 * are the median and the extremes of nine runs. That both agree is checked first. */
#include "base/clock.h"
#include "chat/chat.h"
#include "support/byte_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

#define DSML   "\uff5cDSML\uff5c"
#define INVOKE "<" DSML "tool_calls>\n<" DSML "invoke name=\""
#define KEY    INVOKE "f\">\n<" DSML "parameter name=\""

enum { RUNS = 9 };

static const chat_tool tools[] = {
    { SLICE("f"),
      SLICE("{\"name\":\"f\",\"parameters\":{\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{}}}}") },
    { SLICE("g"), SLICE("{\"name\":\"g\"}") },
};

static const struct {
    const char *name, *text;
} places[] = {
    { "content", "Well, " },
    { "a tag", "\n\n<" DSML },
    { "the name of a tool", INVOKE },
    { "a declared key", KEY },
    { "any key", INVOKE "g\">\n<" DSML "parameter name=\"pa" },
    { "JSON: a value begins", KEY "days\" string=\"false\">[1, " },
    { "JSON: inside a key", KEY "days\" string=\"false\">{\"a" },
    { "a text", KEY "city\" string=\"true\">Ro" },
};

static void ignore(void *user, const chat_event *event)
{
    (void)user, (void)event;
}

static void need(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "bench-grammar: %s\n", what);
        exit(1);
    }
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_times(int64_t *us)
{
    qsort(us, RUNS, sizeof *us, by_value);
    printf(" %9.3f (%.3f to %.3f)", (double)us[RUNS / 2] / 1e3, (double)us[0] / 1e3, (double)us[RUNS - 1] / 1e3);
}

static uint32_t count_allowed(chat_parser *p, const token_set *same)
{
    uint32_t n = 0;
    for (uint32_t id = 0; id < BIG_VOCABULARY; id++) {
        const bool allowed = chat_parser_allows(p, id);
        n += allowed;
        need(!same || token_set_has(same, id) == allowed, "the set is not that of the answers");
    }
    return n;
}

int main(void)
{
    byte_tokenizer t;
    byte_tokenizer_open_big(&t);
    printf("%-22s %8s   %-28s   %-28s\n", "place", "allowed", "set, ms", "every id, ms");
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const chat_parser_options options = { .allow_tools = true, .grammar = true, .tools = tools, .n_tools = 2 };
        token_list ids = { 0 };
        chat_parser *p;
        chat_verdict verdict;
        int64_t set_us[RUNS], all_us[RUNS];
        need(text_encode_with_specials(t.tokenizer, slice_of(places[i].text), &ids, NULL) == DS4_OK &&
                 chat_parser_new(&p, t.tokenizer, &options, ignore, NULL, NULL) == DS4_OK,
             "no memory");
        for (size_t k = 0; k < ids.n; k++)
            need(chat_parser_feed(p, ids.ids[k], &verdict, NULL) == DS4_OK && verdict == CHAT_GO_ON, "the text broke");
        const uint32_t n = count_allowed(p, chat_parser_allowed(p));
        for (int run = 0; run < RUNS; run++) {
            const int64_t begin = clock_monotonic_us();
            chat_parser_allowed(p);
            const int64_t middle = clock_monotonic_us();
            count_allowed(p, NULL);
            set_us[run] = middle - begin;
            all_us[run] = clock_monotonic_us() - middle;
        }
        printf("%-22s %8u  ", places[i].name, (unsigned)n);
        print_times(set_us);
        print_times(all_us);
        putchar('\n');
        chat_parser_free(p);
        token_list_free(&ids);
    }
    byte_tokenizer_close(&t);
    return 0;
}
