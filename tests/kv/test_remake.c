/* What happens when a clean run computes again what the store has: damaged files are mended, the rows of other kernels are
 * replaced, and no frontier is ever used over segments that it was not computed from.
 * P and F numbers: docs/spec/kvstore.md. */
#include "kv/stub_model.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void object_path(const kv_chain *chain, size_t i, char path[512])
{
    char name[KV_NAME_BYTES];
    kv_object_name(&chain->keys[i], KV_KIND_SEGMENT, name);
    snprintf(path, 512, "%s/%s", stub_dir, name);
}

static kv_chain *chain_of(kv_store *s, const uint32_t *tokens, size_t n)
{
    kv_chain *chain;
    assert_int_equal(kv_chain_new(&chain, s, NULL), DS4_OK);
    assert_int_equal(kv_chain_extend(chain, tokens, n, NULL), DS4_OK);
    return chain;
}

static void damage(const char *path)
{
    size_t size;
    char *bytes = test_read_file(path, &size);
    bytes[2 * 4096 + 10] ^= 1; /* in the rows: the header and its digests are whole */
    unlink(path);
    test_write_file(path, bytes, size);
    free(bytes);
}

/* One prefill mends a stem, however many of its segments are damaged, missing or cut short. */
static void one_clean_run_mends_a_whole_stem(void **state)
{
    uint32_t tokens[120];
    char path[512];
    (void)state;
    stub_tokens(tokens, 120, 1);
    kv_store *s = stub_open();
    stub_save(s, tokens, 110); /* six segments */
    kv_chain *chain = chain_of(s, tokens, 110);
    for (size_t i = 0; i < 3; i++) {
        object_path(chain, i, path);
        damage(path);
    }
    object_path(chain, 3, path);
    unlink(path);
    object_path(chain, 4, path);
    assert_int_equal(truncate(path, 100), 0);
    kv_chain_free(chain);
    assert_int_equal(stub_restored(s, tokens, 120), 0);
    stub_save(s, tokens, 110);
    assert_int_equal(stub_restored(s, tokens, 120), 110);
    kv_store_close(s, 0);
}

/* Other kernels round other rows for the same tokens. A frontier over one's own rows is restored with them or not at all;
 * stub_restored() compares every byte with those of one run. */
static void rows_of_other_kernels_are_never_mixed(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *a = stub_open_saved(tokens); /* two segments, a frontier at 40 */
    stub_noise = 0.25f;                    /* from here on another variant computes */
    kv_store *b = stub_open();
    stub_save(b, tokens, 55); /* a clean run: three segments of its own, a frontier at 55 */
    assert_int_equal(stub_restored(b, tokens, 60), 55);
    assert_int_equal(stub_restored(b, tokens, 50), 0); /* the old frontier has lost its stem, and is removed */
    stub_save(b, tokens, 40);
    assert_int_equal(stub_restored(b, tokens, 50), 40);
    kv_store_close(b, 1000000);
    kv_store_close(a, 0);
}

/* A state that was restored goes on over the restored segments: it stays a checkpoint with those bytes. */
static void a_restored_state_keeps_the_segments_it_stands_on(void **state)
{
    uint32_t tokens[60];
    kv_metrics before, after;
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    kv_plan *plan = stub_begin(s, tokens, 60);
    kv_chain *chain = stub_go_on(plan);
    kv_plan_release(plan);
    stub_noise = 0.25f;
    assert_int_equal(kv_chain_extend(chain, tokens + 40, 10, NULL), DS4_OK);
    assert_true(kv_chain_has_segment(chain, 0) && kv_chain_has_segment(chain, 1));
    assert_false(kv_chain_has_segment(chain, 2));
    assert_int_equal(stub_submit_segment(chain, tokens, 2), DS4_OK);
    assert_int_equal(stub_submit_frontier(chain, tokens, 50), DS4_OK);
    assert_true(kv_flush(s, 10000000));
    assert_true(kv_chain_has_segment(chain, 2));
    kv_plan *next;
    assert_int_equal(kv_plan_find(&next, s, tokens, 60, 1, 0, NULL), DS4_OK);
    assert_int_equal(kv_plan_tokens(next), 50);
    kv_plan_release(next);
    /* What is there with the same bytes is not written again. */
    kv_store_metrics(s, &before);
    assert_int_equal(stub_submit_segment(chain, tokens, 2), DS4_OK);
    assert_true(kv_flush(s, 10000000));
    kv_store_metrics(s, &after);
    assert_int_equal(after.write_objects_total, before.write_objects_total);
    kv_chain_free(chain);
    kv_store_close(s, 0);
}

/* A frontier whose segments were dropped or replaced meanwhile is not written: it could not be restored. */
static void a_frontier_without_its_stem_is_not_written(void **state)
{
    uint32_t tokens[60];
    kv_metrics m;
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    kv_chain *chain = chain_of(s, tokens, 45); /* nobody has told what its segments hold */
    assert_int_equal(stub_submit_frontier(chain, tokens, 45), DS4_OK);
    assert_true(kv_flush(s, 10000000));
    kv_store_metrics(s, &m);
    assert_int_equal(m.write_dropped_total[KV_DROP_NO_STEM], 1);
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    kv_chain_free(chain);
    kv_store_close(s, 0);
}

/* The same when another run replaced its segments meanwhile. */
static void a_frontier_over_replaced_segments_is_not_written(void **state)
{
    uint32_t tokens[60];
    kv_metrics m;
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    kv_plan *plan = stub_begin(s, tokens, 60);
    kv_chain *chain = stub_go_on(plan); /* stands on what is there now */
    kv_plan_release(plan);
    stub_noise = 0.25f;
    stub_save(s, tokens, 50); /* a clean run with other kernels */
    stub_noise = 0;
    assert_int_equal(kv_chain_extend(chain, tokens + 40, 2, NULL), DS4_OK);
    assert_int_equal(stub_submit_frontier(chain, tokens, 42), DS4_OK);
    assert_true(kv_flush(s, 10000000));
    kv_store_metrics(s, &m);
    assert_int_equal(m.write_dropped_total[KV_DROP_NO_STEM], 1);
    kv_chain_free(chain);
    kv_store_close(s, 0);
}

/* After a rewind the rows are computed again: what the stem said about them is no longer known. Drafts that were submitted
 * before keep the stem that they were made from. */
static void a_rewind_forgets_what_is_computed_again(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    kv_plan *plan = stub_begin(s, tokens, 60);
    kv_chain *chain = stub_go_on(plan);
    kv_plan_release(plan);
    assert_int_equal(kv_chain_extend(chain, tokens + 40, 1, NULL), DS4_OK);
    assert_int_equal(stub_submit_frontier(chain, tokens, 41), DS4_OK);
    kv_chain_truncate(chain, 20);
    assert_true(kv_flush(s, 10000000));
    assert_int_equal(stub_restored(s, tokens, 60), 41);
    assert_int_equal(kv_chain_extend(chain, tokens + 20, 21, NULL), DS4_OK);
    assert_true(kv_chain_has_segment(chain, 0));
    assert_false(kv_chain_has_segment(chain, 1));
    kv_chain_free(chain);
    kv_store_close(s, 0);
}

/* A full queue is said before the rows are copied. */
static void a_full_queue_refuses_before_the_copy(void **state)
{
    uint32_t tokens[60];
    kv_options o = stub_options();
    kv_store *s;
    kv_draft *d;
    kv_metrics m;
    (void)state;
    o.queue_bytes_max = 1; /* nothing fits */
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
    stub_tokens(tokens, 60, 1);
    kv_chain *chain = chain_of(s, tokens, 40);
    assert_int_equal(kv_draft_segment(&d, chain, 0, NULL), DS4_ERR_NO_SPACE);
    kv_store_metrics(s, &m);
    assert_int_equal(m.write_dropped_total[KV_DROP_QUEUE], 1);
    kv_chain_free(chain);
    kv_store_close(s, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, stub_empty)
    const struct CMUnitTest tests[] = {
        TEST(one_clean_run_mends_a_whole_stem),
        TEST(rows_of_other_kernels_are_never_mixed),
        TEST(a_restored_state_keeps_the_segments_it_stands_on),
        TEST(a_frontier_without_its_stem_is_not_written),
        TEST(a_frontier_over_replaced_segments_is_not_written),
        TEST(a_rewind_forgets_what_is_computed_again),
        TEST(a_full_queue_refuses_before_the_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
