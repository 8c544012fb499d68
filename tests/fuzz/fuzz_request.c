/* Any bytes as the body of a chat request: refused with a status and words, or understood and rendered. */
#include "server/request.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const server_options options = server_options_default();
    chat_request r;
    http_error e;
    hash_start(NULL);
    if (request_read(&r, (slice){ (const char *)data, size }, &options, 8192, 2048, &e)) {
        text_spans spans = { 0 };
        const chat_prompt prompt = { .mode = r.mode,
                                     .messages = r.messages,
                                     .n_messages = r.n_messages,
                                     .tools = r.tools,
                                     .n_tools = r.n_tools,
                                     .response_format = r.response_format };
        chat_render(&prompt, &spans, NULL, NULL);
        text_spans_free(&spans);
        if (!request_settle(&r, &e))
            abort();
        for (size_t i = 0; i < r.n_stops; i++)
            if (memchr(r.stops[i].data, 0, r.stops[i].size + 1) == NULL) /* reads each of them to its end */
                abort();
        for (size_t i = 0; i < r.n_tools; i++)
            if (r.tools[i].name.data[r.tools[i].name.size] || r.tools[i].schema.data[r.tools[i].schema.size])
                abort();
    } else if (e.status < 400 || !e.message[0]) {
        abort();
    }
    request_free(&r);
    return 0;
}
