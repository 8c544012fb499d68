/* chat/chat.h - the public header of the chat module: messages to prompt spans, sampled tokens to reasoning, content and calls.
 * Source of every rule: docs/spec/protocol.md, sections 2 (rendering) and 3 (output parsing).
 * Knows nothing of HTTP and nothing of tensors. Threads: each object belongs to one thread at a time. */
#ifndef CHAT_CHAT_H
#define CHAT_CHAT_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/json.h"
#include "text/text.h"

/* ---------------------------------------------------------------- input: section 2.2 */

typedef enum chat_role { CHAT_SYSTEM, CHAT_DEVELOPER, CHAT_USER, CHAT_ASSISTANT, CHAT_TOOL, CHAT_REMINDER } chat_role;

typedef enum chat_profile { CHAT_V4, CHAT_V4_0731, CHAT_V4_1 } chat_profile;

/* Thinking modes of section 2.6. */
typedef enum chat_mode { CHAT_THINK_NONE, CHAT_THINK_LOW, CHAT_THINK_HIGH, CHAT_THINK_MAX } chat_mode;

typedef struct chat_call {
    slice id; /* may be empty */
    slice name;
    slice arguments; /* the raw JSON text as the client sent it (or compact JSON if it sent an object) */
} chat_call;

typedef struct chat_message {
    chat_role role;
    const slice *texts; /* [n_texts] text blocks; for CHAT_TOOL the parts of the result */
    size_t n_texts;
    slice reasoning;        /* assistant only; empty or white space counts as none */
    const chat_call *calls; /* [n_calls], assistant only */
    size_t n_calls;
    slice call_id; /* CHAT_TOOL: which call this answers; may be empty */
} chat_message;

typedef struct chat_tool {
    slice name;
    slice schema; /* the `function` object printed by json_print_python(): one line of the tools block */
} chat_tool;

/* All slices are borrowed from the caller for the call in which they are passed. */
typedef struct chat_prompt {
    chat_profile profile;
    chat_mode mode;
    uint32_t effort; /* CHAT_V4_1 only: 1..100, 0 means 50 */
    const chat_message *messages;
    size_t n_messages;
    const chat_tool *tools;
    size_t n_tools;
    slice response_format;       /* the response format object printed by json_print_python(), or empty */
    bool omit_generation_header; /* for histories that end with an assistant turn with calls (vector V9), tests only */
} chat_prompt;

typedef struct chat_rendered {
    bool thinking_open; /* the text ends inside reasoning: the parser starts in THINKING */
    bool prefill;       /* the last message is an assistant prefill that generation continues */
} chat_rendered;

/* Appends the prompt to `out` (not sealed). `about` may be NULL.
 * Errors: ARGUMENT with a text fit for the client (a trailing assistant message with calls, ...), NO_MEMORY, NO_SPACE. */
ds4_status chat_render(const chat_prompt *prompt, text_spans *out, chat_rendered *about, ds4_error *err);

/* Appends the beginning of a tool block, for a call that must come: its first line, and of the first call's tag what is
 * before the name's closing quote, if `name` is not empty. More would cut where the tokenizer does not: after a quote come
 * one line end or two, in one token. Errors: NO_MEMORY, NO_SPACE. */
ds4_status chat_render_call_opening(text_spans *out, chat_profile profile, slice name);

/* The value of a client's effort word or number for a profile (table of 2.6); false if it is not in the table. */
bool chat_mode_of_effort(chat_profile profile, slice effort, chat_mode *mode, uint32_t *number);

/* Profile from general.name, general.version, general.finetune and the file name (2.1). Each may be empty. */
chat_profile chat_profile_detect(slice name, slice version, slice finetune, slice file_name);
const char *chat_profile_name(chat_profile profile);

/* ---------------------------------------------------------------- output: section 3 */

typedef enum chat_event_kind {
    CHAT_EVENT_REASONING,  /* text */
    CHAT_EVENT_CONTENT,    /* text */
    CHAT_EVENT_CALL_BEGIN, /* text = name; index */
    CHAT_EVENT_CALL_DATA, /* text = a fragment of the arguments; fragments of one index concatenate to one JSON object */
    CHAT_EVENT_CALL_END   /* index */
} chat_event_kind;

typedef struct chat_event {
    chat_event_kind kind;
    uint32_t index; /* of the call, 0-based */
    slice text;     /* valid UTF-8, never empty except for CALL_BEGIN..END; borrowed for the call */
} chat_event;

/* Called synchronously from chat_parser_feed() and _finish(). */
typedef void chat_event_fn(void *user, const chat_event *event);

typedef struct chat_parser_options {
    bool thinking_open; /* from chat_rendered */
    bool
        allow_tools; /* the request declared tools and tool_choice is not "none"; else the DSML token is never allowed */
    bool grammar;    /* what is structure is allowed only as the grammar has it (3.2); else everything is */
    bool repair;     /* tags of ordinary text open a block, too (3.4), and calls of undeclared tools are passed on */
    bool one_call;   /* the grammar ends a block after its first call */
    chat_profile profile;   /* whose tags the grammar writes */
    const chat_tool *tools; /* that may be called; borrowed until the parser is freed */
    size_t n_tools;
    const slice *stops; /* stop sequences for content (3.5), [n_stops <= 16], borrowed until freed */
    size_t n_stops;
} chat_parser_options;

typedef enum chat_verdict {
    CHAT_GO_ON,
    CHAT_STOP_EOS,   /* EOS was fed */
    CHAT_STOP_TOOLS, /* a tool block was closed */
    CHAT_STOP_TEXT   /* a stop sequence matched, or a tool block began that may not come */
} chat_verdict;

typedef enum chat_outcome {
    CHAT_OUTCOME_STOP,
    CHAT_OUTCOME_TOOL_CALLS,
    CHAT_OUTCOME_LENGTH,
    CHAT_OUTCOME_BROKEN /* a tool block was begun that cannot be read: no call of this answer may be executed (3.4) */
} chat_outcome;

typedef struct chat_parser chat_parser;

ds4_status chat_parser_new(chat_parser **out, const text_tokenizer *tokenizer, const chat_parser_options *options,
                           chat_event_fn *on_event, void *user, ds4_error *err);
void chat_parser_free(chat_parser *parser); /* NULL is fine */

/* Takes one sampled token. After a verdict other than GO_ON nothing more may be fed. NO_MEMORY leaves it unusable. */
ds4_status chat_parser_feed(chat_parser *parser, uint32_t id, chat_verdict *verdict, ds4_error *err);

/* True when the next token is structure of a tool block and must be the argmax (3.2). */
bool chat_parser_wants_greedy(const chat_parser *parser);
/* The ids that may come next; valid until the next call with this parser. There is always one. Without tools: all but the
 * DSML token, and once a block was refused (chat_parser_watches) no scraps of its tags either. With the grammar: that token only
 * where it begins or continues a tag of a tool block; inside a block that it opened no end of the turn; and where
 * chat_parser_wants_greedy() holds in such a block, only tokens that continue a legal one: known tags, declared names, parameters
 * not given yet, the end of a call once its required ones are there, JSON. */
const token_set *chat_parser_allowed(chat_parser *parser);
/* Is `id` in that set? Cheaper, for a few ids. */
bool chat_parser_allows(chat_parser *parser, uint32_t id);
/* What comes next is the opening of a tool block, token by token, of the caller's choice: if the output is cut off in it,
 * nothing of it is content. */
void chat_parser_expect_block(chat_parser *parser);
/* A budget of reasoning, in tokens. Without a word from anybody: half of the context at most, so that an answer fits, too; and no
 * more than somebody would want to wait for (half an hour at twenty tokens a second). Over it, reasoning ends where </think> is
 * among the likeliest tokens, and so many tokens later in any case (3.7). */
enum { CHAT_BUDGET_DEFAULT = 32768, CHAT_BUDGET_RANK = 3, CHAT_BUDGET_GRACE = 512 };
bool chat_parser_in_reasoning(const chat_parser *parser);
/* The token just fed tried to open a tool block inside reasoning, where it would not be executed (3.4), or without tools before
 * any content. Its beginning was dropped: feed </think> next, and let the block, or the answer, begin anew. */
bool chat_parser_escapes(const chat_parser *parser);
/* Without tools: a '<' or "</" is held back. If the DSML token is the likeliest of all now, feed it, although it is not allowed:
 * what is held back is dropped, and the answer ends (STOP_TEXT), or chat_parser_escapes() says what to do. Any other token would
 * go on with the tag in ordinary letters. */
bool chat_parser_watches(const chat_parser *parser);

/* End of the output. `cut` = ended by max_tokens or a full context, not by a verdict. Releases what was held back. */
ds4_status chat_parser_finish(chat_parser *parser, bool cut, chat_outcome *outcome, ds4_error *err);

uint32_t chat_parser_n_calls(const chat_parser *parser);            /* completed calls */
uint32_t chat_parser_n_reasoning_tokens(const chat_parser *parser); /* tokens fed while in THINKING */

#endif
