/* chat/parser.h - internal: the parser's state, shared by parser.c (reasoning, content) and block.c (calls).
 *
 *   THINKING --/THINK--> TEXT --opening tag--> BLOCK --closing tag--> AFTER
 *                          ^                     |
 *                          +--- not a block -----+   (only of ordinary text, and while nothing of it was announced)
 *
 * What begins with '<' and the DSML token is a block and never content: if it cannot be read, the answer is broken. A block
 * of ordinary text (options.repair) that cannot be read is content, and so is all that follows it: nothing after it is
 * executed.
 * Promise: however the output is cut into tokens, the concatenated events are the same. Hence every decision here is made
 * from bytes that have come, never from where a token ended; what is undecided is held. */
#ifndef CHAT_PARSER_H
#define CHAT_PARSER_H

#include "chat/json_scan.h"
#include "chat/tag.h"
#include "chat/template.h"

typedef enum parser_state { STATE_THINKING, STATE_TEXT, STATE_BLOCK, STATE_AFTER } parser_state;
typedef enum block_state { BLOCK_OPEN, BLOCK_BETWEEN, BLOCK_INVOKE, BLOCK_VALUE, BLOCK_NESTED } block_state;

/* How a parameter's value is to be read. */
typedef enum value_kind { VALUE_TEXT, VALUE_JSON, VALUE_UNSAID } value_kind;

enum { NESTING_MAX = 16, SCRAP_BYTES_MAX = 8 };

typedef struct block_parser {
    block_state state;
    buffer bytes;     /* the block so far, white space before it included; the DSML token is one byte */
    size_t separator; /* bytes of that white space */
    size_t at;        /* everything before is dealt with */
    size_t tag_end;   /* where the last tag ended */
    bool wrapped;     /* it began with tool_calls */
    bool marked_open; /* ... with the token itself: the grammar (3.2) holds */
    bool owned;       /* its first tag has the token: it is never content */
    bool announced;   /* a CALL_BEGIN was sent */
    uint32_t n_done;  /* of this block */
    /* The present call and parameter. */
    buffer call_name, key, value; /* value: decoded, of kinds that are buffered */
    buffer seen;                  /* keys of this call, each after its length (u32): a repeated one is ignored */
    buffer nested;                /* parameters inside a parameter: the object as JSON, so far */
    uint32_t n_nested;            /* how deep; 0 outside */
    value_kind kind;
    json_value *schema; /* of the declared tool, or NULL */
    bool marked;        /* the parameter's tag carried the token: so must its end */
    bool ignored;       /* a repeated key */
    bool first;         /* no parameter of this call was sent */
    bool begun;         /* `"key":"` of a text was sent */
    bool looked;        /* the value does not begin with a parameter's tag */
    json_scan json;     /* the value so far, if it is to be JSON */
} block_parser;

struct chat_parser {
    const text_tokenizer *tokenizer;
    chat_parser_options options;
    chat_event_fn *on_event;
    void *user;
    parser_state state;
    text_utf8 filter;
    buffer clean;    /* scratch */
    buffer tail;     /* TEXT: not yet known to be content */
    buffer pending;  /* content held back for stop sequences */
    bool plain;      /* a block could not be read: the rest is content */
    bool mark_held;  /* the tail holds a tag that began with the token */
    uint8_t fence;   /* back-ticks of the code fence around here; 0 outside */
    uint8_t n_ticks; /* back-ticks at the start of this line */
    bool line_start; /* only white space or back-ticks so far on this line */
    block_parser block;
    buffer next;        /* scratch of grammar.c: the structure at hand, and a token that may follow it */
    size_t n_structure; /* bytes of that structure */
    size_t free_key_at; /* where in it a key begins that may be any; 0: nowhere */
    bool ready;         /* `next` and `freedom` are up to date */
    uint8_t freedom;    /* what the next token may be */
    token_set allowed;  /* scratch of grammar.c */
    uint32_t n_calls, n_reasoning_tokens;
    bool escapes;                   /* a tool block was opened inside reasoning, or refused before any content */
    bool refused;                   /* one was opened that may not come */
    bool block_expected;            /* the caller opens a block: text before it is part of it */
    char last[SCRAP_BYTES_MAX - 1]; /* the last n_last bytes of content */
    uint8_t n_last;
    bool started, stopped, broken, no_memory;
};

void parser_event(chat_parser *p, chat_event_kind kind, slice text);
void parser_content(chat_parser *p, slice text); /* through the stop sequences */
void parser_append(chat_parser *p, buffer *to, slice text);

/* Starts a block with `bytes` (its first tag's beginning, with the token or without); `separator` of them are white space. */
void block_begin(chat_parser *p, slice bytes, size_t separator);
/* Goes as far as the bytes allow. True when the block has ended: by its closing tag, or by what follows an unwrapped call,
 * or broken. */
bool block_run(chat_parser *p);
/* Nothing more comes. `cut`: the output was cut off. */
void block_finish(chat_parser *p, bool cut);
bool block_wants_greedy(const chat_parser *p);
/* `properties` of the present call's schema, or NULL. */
const json_value *block_properties(const block_parser *b);
bool block_has_seen(const block_parser *b, slice key);
void block_free(block_parser *b);

#endif
