#include "server/stub_body.h"

#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *body_with(const char *members)
{
    const char *head = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]";
    const size_t size = strlen(head) + strlen(members) + 3;
    char *body = malloc(size);
    snprintf(body, size, "%s%s%s}", head, members[0] ? "," : "", members);
    return body;
}

bool body_read_with(const char *members, const server_options *options, chat_request *r, http_error *e)
{
    const server_options usual = server_options_default();
    char *body = body_with(members);
    const bool good = request_read(r, slice_of(body), options ? options : &usual, BODY_CTX, BODY_VOCAB, e);
    free(body);
    return good;
}

chat_request body_accept(const char *members)
{
    chat_request r;
    http_error e;
    if (!body_read_with(members, NULL, &r, &e))
        fail_msg("%s is refused: %s", members, e.message);
    return r;
}

void body_refuse(const char *body, int status, const char *code, const char *param, const char *words)
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

void body_refuse_members(const char *members, const char *code, const char *param, const char *words)
{
    char *body = body_with(members);
    body_refuse(body, 400, code, param, words);
    free(body);
}
