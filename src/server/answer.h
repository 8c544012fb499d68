/* server/answer.h - what the client sees of one completion: the chunks of a stream, or one whole body. Shapes:
 * docs/spec/protocol.md, section 4.4. Written on the engine thread into the stream; nothing here knows how tokens come
 * about. */
#ifndef SERVER_ANSWER_H
#define SERVER_ANSWER_H

#include "chat/chat.h"
#include "server/errors.h"
#include "server/stream.h"

typedef struct answer_call answer_call;

typedef struct answer {
    /* Constant once the request runs. */
    char id[40];
    int64_t created_s;
    slice model;
    const char *fingerprint;
    const text_tokenizer *tokenizer;
    bool chunks, include_usage, want_logprobs;
    stream *st; /* borrowed: the stream owns this */
    /* Engine thread. */
    bool begun;              /* the first chunk was sent */
    const char *stop_reason; /* beside finish_reason in the last chunk or the body; NULL: none */
    bool no_memory;          /* sticky; nothing half printed is ever sent */
    buffer content, reasoning;
    buffer logprobs; /* of a whole body; of the present chunk */
    answer_call *calls;
    size_t n_calls;
} answer;

/* The numbers at the end. */
typedef struct answer_usage {
    const sched_result *result;
    uint32_t n_completion, n_reasoning;
    size_t n_calls; /* complete ones; a whole body shows no others */
} answer_usage;

/* Gives it an id and the time. */
void answer_name(answer *a);
void answer_free(answer *a);

/* The first chunk of a stream, once; nothing for a whole body. */
void answer_begin(answer *a);
void answer_event(answer *a, const chat_event *event);
void answer_logprobs(answer *a, const sched_token *token);
/* The last words: the rest, finish_reason, usage. */
void answer_end(answer *a, const char *finish, const answer_usage *usage);
/* The last words of a request that failed: an error event without a finish, or an error body with its status. */
void answer_fail(answer *a, const http_error *e);

/* An empty chunk, which resets the idle timers of clients. Touches only what is constant: any thread. */
ds4_status answer_print_idle(const answer *a, buffer *out);

#endif
