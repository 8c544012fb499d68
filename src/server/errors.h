/* server/errors.h - what can be wrong with a request, in the words of the API (docs/spec/protocol.md, section 4.2). */
#ifndef SERVER_ERRORS_H
#define SERVER_ERRORS_H

#include "base/buffer.h"

#include <stdbool.h>

typedef struct http_error {
    int status;       /* 0: no error */
    const char *code; /* a constant, or NULL */
    char param[96];   /* the field, or "" */
    char message[400];
    uint32_t retry_after_s; /* 0: no header */
    bool no_memory;         /* set by refuse_memory(), and by refuse_status() for NO_MEMORY */
    bool has_context;       /* print n_prompt_tokens and n_ctx */
    uint32_t n_prompt_tokens, n_ctx;
} http_error;

/* Fills *e and returns false, so that a refusal is one statement. `param` may be NULL. */
bool refuse(http_error *e, int status, const char *code, const char *param, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* 400 for a prompt that the context cannot hold, in words by which agents know that they must shorten the conversation. n_tokens is
 * all of them, or `at_least` so many; a context `may_grow` that is smaller than the model allows. */
bool refuse_context(http_error *e, size_t n_tokens, bool at_least, uint32_t n_ctx, bool may_grow);

/* 500 or 503 for what the engine or the memory refused. */
bool refuse_status(http_error *e, ds4_status status, const char *text);
bool refuse_memory(http_error *e);

/* The `error` object in OpenAI's shape: {"message":...,"type":...,"param":...,"code":...}. */
ds4_status error_print_object(const http_error *e, buffer *out);
/* {"error":{...}} */
ds4_status error_print(const http_error *e, buffer *out);

#endif
