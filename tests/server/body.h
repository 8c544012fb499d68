/* tests/server/body.h - request bodies for the tests of the readers: read them, see what they are refused for, and what happens
 * when memory runs out. One file of a test includes it: see memory_fuse.h. */
#ifndef TESTS_SERVER_BODY_H
#define TESTS_SERVER_BODY_H

#include "server/request.h"
#include "support/memory_fuse.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BODY_CTX = 8192, BODY_VOCAB = 2048 };

static inline char *body_with(const char *members)
{
    const char *head = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]";
    const size_t size = strlen(head) + strlen(members) + 3;
    char *body = malloc(size);
    snprintf(body, size, "%s%s%s}", head, members[0] ? "," : "", members);
    return body;
}

/* A body with one user message and these members ("\"n\":1", or ""), read with `options` (NULL: the default ones). */
static inline bool body_read_with(const char *members, const server_options *options, chat_request *r, http_error *e)
{
    const server_options usual = server_options_default();
    char *body = body_with(members);
    const bool good = request_read(r, slice_of(body), options ? options : &usual, BODY_CTX, BODY_VOCAB, e);
    free(body);
    return good;
}

/* The same, which must succeed. request_free() is the caller's. */
static inline chat_request body_accept(const char *members)
{
    chat_request r;
    http_error e;
    if (!body_read_with(members, NULL, &r, &e))
        fail_msg("%s is refused: %s", members, e.message);
    return r;
}

/* It must be refused with this status and code; `words` (or NULL) are in the message, `param` (or NULL) is the field. */
static inline void body_refuse(const char *body, int status, const char *code, const char *param, const char *words)
{
    const server_options options = server_options_default();
    chat_request r;
    http_error e;
    if (request_read(&r, slice_of(body), &options, BODY_CTX, BODY_VOCAB, &e))
        fail_msg("%s is accepted", body);
    if (e.status != status || strcmp(e.code, code) != 0)
        fail_msg("%s is refused as %d %s: %s", body, e.status, e.code, e.message);
    if (param && strcmp(e.param, param) != 0)
        fail_msg("%s is refused because of '%s', not of '%s'", body, e.param, param);
    if (words && !strstr(e.message, words))
        fail_msg("%s is refused in other words: %s", body, e.message);
    request_free(&r);
}

/* The same for members beside one user message. */
static inline void body_refuse_members(const char *members, const char *code, const char *param, const char *words)
{
    char *body = body_with(members);
    body_refuse(body, 400, code, param, words);
    free(body);
}

/* Each allocation fails in turn, alone and with all that follow: the request is refused for memory, and nothing leaks. */
static inline void body_survives_short_memory(const char *body)
{
    const server_options options = server_options_default();
    if (!MEMORY_FUSE)
        skip();
    for (int for_good = 0; for_good <= 1; for_good++)
        for (long n = 1;; n++) {
            chat_request r;
            http_error e;
            const long n_live = memory_n_live;
            memory_fuse_set(n, for_good);
            const bool good = request_read(&r, slice_of(body), &options, BODY_CTX, BODY_VOCAB, &e);
            const bool blown = memory_fuse_clear();
            request_free(&r);
            assert_int_equal(memory_n_live, n_live);
            assert_int_equal(good, !blown);
            if (!blown)
                break;
            if (!e.no_memory)
                fail_msg("allocation %ld fails, and the request is refused with: %s", n, e.message);
        }
}

#endif
