/* Any output of a model: the events do not depend on how it was cut into tokens, the arguments of every completed call are
 * one JSON object, and as long as a model keeps to the grammar, the grammar has a next token for it and no call breaks. */
#include "base/json.h"
#include "chat/chat.h"
#include "support/byte_tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIRST_BYTE = 9 };

static const text_tokenizer *the_tokenizer(void)
{
    static const char *const merges[] = { "i n",  "v o", "in vo", "p a", "r a",  "pa ra",
                                          "\" >", "< /", "n a",   "m e", "na me" };
    static byte_tokenizer t;
    if (!t.tokenizer)
        byte_tokenizer_open(&t, merges, sizeof merges / sizeof merges[0]);
    return t.tokenizer;
}

typedef struct record {
    buffer log, arguments;
    int last;
} record;

static void on_event(void *user, const chat_event *event)
{
    record *r = user;
    if (r->last != (int)event->kind || event->kind == CHAT_EVENT_CALL_BEGIN)
        buffer_printf(&r->log, "<%d:%u>", (int)event->kind, (unsigned)event->index);
    r->last = (int)event->kind;
    buffer_append_slice(&r->log, event->text);
    if (event->kind == CHAT_EVENT_CALL_BEGIN)
        buffer_clear(&r->arguments);
    if (event->kind == CHAT_EVENT_CALL_DATA)
        buffer_append_slice(&r->arguments, event->text);
    if (event->kind == CHAT_EVENT_CALL_END) {
        json_value *value;
        if (json_parse(&value, buffer_slice(&r->arguments), NULL, NULL) != DS4_OK || json_kind_of(value) != JSON_OBJECT)
            abort();
        json_free(value);
    }
}

/* A token that is bound to the grammar has a legal one to be. EOS is never structure. */
static void check_way_out(chat_parser *p)
{
    const text_tokenizer *t = the_tokenizer();
    bool any =
        chat_parser_allows(p, text_special_id(t, TEXT_THINK)) || chat_parser_allows(p, text_special_id(t, TEXT_DSML));
    for (uint32_t byte = 0; !any && byte < 256; byte++)
        any = chat_parser_allows(p, FIRST_BYTE + byte);
    if (!any)
        abort();
}

/* Bytes 0x01..0x05 of the input are the control tokens. */
static void run(const uint8_t *data, size_t size, bool merged, record *r)
{
    static const uint32_t controls[] = { 6, 4, 5, 1, 6 };
    const text_tokenizer *t = the_tokenizer();
    const chat_tool tool = {
        SLICE("f"), SLICE("{\"name\": \"f\", \"parameters\": {\"properties\": {\"s\": {\"type\": \"string\"}}}}")
    };
    const slice stop = SLICE("STOP");
    const chat_parser_options options = { .thinking_open = size > 0 && data[0] == 'R',
                                          .allow_tools = true,
                                          .grammar = true,
                                          .repair = size > 1 && data[1] == 'R',
                                          .tools = &tool,
                                          .n_tools = 1,
                                          .stops = &stop,
                                          .n_stops = 1 };
    token_list ids = { 0 };
    chat_verdict verdict = CHAT_GO_ON;
    chat_outcome outcome;
    chat_parser *p;
    for (size_t i = 0, from = 0; i <= size; i++) {
        if (i < size && (data[i] == 0 || data[i] > 5))
            continue;
        if (merged)
            text_encode(t, (slice){ (const char *)data + from, i - from }, &ids, NULL);
        else
            for (size_t k = from; k < i; k++)
                token_list_append(&ids, FIRST_BYTE + data[k]);
        if (i < size)
            token_list_append(&ids, controls[data[i] - 1]);
        from = i + 1;
    }
    if (chat_parser_new(&p, t, &options, on_event, r, NULL) != DS4_OK)
        abort();
    bool legal = true;
    for (size_t i = 0; i < ids.n && verdict == CHAT_GO_ON; i++) {
        if (legal)
            check_way_out(p);
        legal = legal && chat_parser_allows(p, ids.ids[i]);
        chat_parser_feed(p, ids.ids[i], &verdict, NULL);
    }
    chat_parser_finish(p, false, &outcome, NULL);
    if (legal && verdict != CHAT_GO_ON && outcome == CHAT_OUTCOME_BROKEN)
        abort(); /* what ends by itself under the grammar is no broken call */
    buffer_printf(&r->log, "=%d", (int)outcome);
    chat_parser_free(p);
    token_list_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    record a = { .last = -1 }, b = { .last = -1 };
    run(data, size, false, &a);
    run(data, size, true, &b);
    if (a.log.size != b.log.size || memcmp(a.log.data, b.log.data, a.log.size) != 0)
        abort();
    buffer_free(&a.log);
    buffer_free(&a.arguments);
    buffer_free(&b.log);
    buffer_free(&b.arguments);
    return 0;
}
