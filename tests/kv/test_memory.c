/* F54: memory runs out at the n-th request for it, once or from then on, for every n. Nothing crashes, no wrong byte is
 * restored, and with memory again everything works. */
#include "base/log.h"
#include "kv/stub_model.h"
#include "support/support.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

/* The allocator of the C library, with a fuse before it; the sanitizers bring their own. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static atomic_long requests; /* since the fuse was set */
static atomic_long fuse;     /* the number of the request that fails; 0: none */
static atomic_bool for_good; /* and all that follow */

static bool fails(void)
{
    const long limit = fuse, n = limit ? ++requests : 0;
    if (limit == 0 || n < limit || (n > limit && !for_good))
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    return fails() ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : __libc_memalign(alignment, size);
}

/* What an engine does, taking every refusal for an answer. */
static void use_store(const uint32_t *known, const uint32_t *fresh)
{
    const kv_options o = stub_options();
    kv_store *s;
    kv_plan *plan;
    kv_chain *chain = NULL;
    if (kv_store_open(&s, &o, NULL) != DS4_OK)
        return;
    for (int round = 0; round < 2; round++)
        if (kv_plan_find(&plan, s, known, 60, 1, 0, NULL) == DS4_OK) {
            if (kv_plan_begin(plan, NULL) == DS4_OK && round == 0)
                kv_plan_succeed(plan, 0);
            else
                kv_plan_suspect(plan, DS4_ERR_STATE_BAD, "test");
            if (round == 1)
                kv_plan_condemn(plan, DS4_ERR_STATE_BAD, 0);
            kv_plan_release(plan);
        }
    if (kv_chain_new(&chain, s, NULL) == DS4_OK && kv_chain_extend(chain, fresh, 20, NULL) == DS4_OK) {
        stub_submit_segment(chain, fresh, 0);
        stub_submit_frontier(chain, fresh, 20);
    }
    kv_chain_free(chain);
    kv_flush(s, 10000000);
    kv_store_close(s, 1000000);
}

static void memory_may_run_out_anywhere(void **state)
{
    uint32_t known[60], fresh[60];
    (void)state;
    stub_tokens(fresh, 60, 2);
    log_set_level(LOG_ERROR);
    for (int mode = 0; mode < 2; mode++)
        for (long n = 1;; n++) {
            stub_empty(NULL);
            kv_store *s = stub_open_saved(known);
            kv_store_close(s, 1000000);
            for_good = mode == 1;
            requests = 0;
            fuse = n;
            use_store(known, fresh);
            fuse = 0;
            s = stub_open();
            stub_restored(s, known, 60); /* compares every byte of what it finds */
            stub_restored(s, fresh, 60);
            stub_save(s, fresh, 50);
            assert_int_equal(stub_restored(s, fresh, 60), 50);
            kv_store_close(s, 1000000);
            if (requests < n)
                break; /* all have had their turn */
        }
    log_set_level(LOG_INFO);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test_setup(memory_may_run_out_anywhere, stub_empty) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    return TEST_SKIPPED; /* the sanitizers bring an allocator of their own */
}

#endif
