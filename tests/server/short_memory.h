/* tests/server/short_memory.h - reading a request while memory runs out. One file of a test includes it: see memory_fuse.h. */
#ifndef TESTS_SERVER_SHORT_MEMORY_H
#define TESTS_SERVER_SHORT_MEMORY_H

#include "server/stub_body.h"
#include "support/memory_fuse.h"
#include "support/support.h"

/* Each allocation fails in turn, alone and with all that follow: the request is refused for memory, and nothing leaks. */
static void body_survives_short_memory(const char *body)
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
