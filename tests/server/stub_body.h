/* tests/server/stub_body.h - request bodies for the tests of the readers: read them, and see what they are refused for. */
#ifndef TESTS_SERVER_STUB_BODY_H
#define TESTS_SERVER_STUB_BODY_H

#include "server/request.h"

enum { BODY_CTX = 8192, BODY_VOCAB = 2048 };

/* A body with one user message and these members ("\"n\":1", or ""), read with `options` (NULL: the default ones). */
bool body_read_with(const char *members, const server_options *options, chat_request *r, http_error *e);
/* The same, which must succeed. request_free() is the caller's. */
chat_request body_accept(const char *members);
/* It must be refused with this status and code; `words` (or NULL) are in the message, `param` (or NULL) is the field. */
void body_refuse(const char *body, int status, const char *code, const char *param, const char *words);
/* The same for members beside one user message. */
void body_refuse_members(const char *members, const char *code, const char *param, const char *words);

#endif
