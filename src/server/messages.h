/* server/messages.h - the conversation and the tools of a request: docs/spec/protocol.md, sections 2.2, 2.4, 4.4. */
#ifndef SERVER_MESSAGES_H
#define SERVER_MESSAGES_H

#include "server/request.h"

bool messages_read(chat_request *r, http_error *e);
bool tools_read(chat_request *r, http_error *e);
/* A copy of what was printed, in the request's memory; .data NULL: no memory. Frees the buffer. */
slice request_keep(chat_request *r, buffer *printed);

#endif
