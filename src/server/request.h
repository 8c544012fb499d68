/* server/request.h - the body of POST /v1/chat/completions, checked and understood: docs/spec/protocol.md, section 4.4.
 * Nothing here runs anything; every refusal names the field. */
#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

#include "server/errors.h"
#include "server/server.h"

enum {
    MODEL_BYTES_MAX = 256,
    STOPS_MAX = 16,
    STOP_BYTES_MAX = 512,
    TOOLS_MAX = 512,
    BIASES_MAX = 1024,
    LOGPROBS_MAX = 20
};

/* Tokens of reasoning: the largest number that a request may name. */
enum { BUDGET_MAX = 1 << 30 };

typedef enum tool_choice { CHOICE_AUTO, CHOICE_NONE, CHOICE_REQUIRED, CHOICE_NAMED } tool_choice;

typedef struct chat_request {
    arena memory;     /* lists below */
    json_value *body; /* slices below point into it; NULL once settled */
    slice model;      /* echoed; empty: the loaded one */
    chat_message *messages;
    size_t n_messages;
    chat_tool *tools;
    size_t n_tools;
    slice response_format; /* printed for the prompt, or empty */
    slice *stops;
    size_t n_stops;
    chat_mode mode;
    uint32_t effort;
    bool effort_lowered;   /* max was asked for, high is given */
    uint32_t think_budget; /* tokens of reasoning; 0: no limit (3.7) */
    tool_choice choice;
    slice choice_name;
    bool parallel_calls;
    bool stream, include_usage, no_cache, honor_sampling;
    bool want_logprobs;
    uint32_t n_logprobs;
    bool has_max_tokens;
    uint32_t max_tokens;
    engine_sampling sampling;
} chat_request;

/* Fills *r from the body. False: *e says why. `n_vocab` bounds the ids of logit_bias. Call request_free() in any case. */
bool request_read(chat_request *r, slice body, const server_options *options, uint32_t n_ctx, uint32_t n_vocab,
                  http_error *e);
/* Frees the JSON tree, the messages and response_format, which only rendering needs; the rest stays, in memory of its own. A
 * request may wait for long, and its tree takes up to 40 times the bytes of its body. False: no memory; the request is as before. */
bool request_settle(chat_request *r, http_error *e);
void request_free(chat_request *r);

#endif
