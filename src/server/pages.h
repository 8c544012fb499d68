/* server/pages.h - the answers that need no engine: models and health. Each appends a body. Any thread. */
#ifndef SERVER_PAGES_H
#define SERVER_PAGES_H

#include "server/completion.h"

ds4_status page_models(const completion_context *c, buffer *out);
/* One model by id; NOT_FOUND if it is not one of ours. */
ds4_status page_model(const completion_context *c, slice id, buffer *out);
ds4_status page_health(const completion_context *c, int64_t started_us, bool draining, buffer *out);

#endif
