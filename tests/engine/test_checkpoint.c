/* Suite E1 (docs/spec/kvstore.md, section 16): a sequence that is saved, closed, opened again and restored is the
 * sequence that was never interrupted, bit for bit. P7, P8. The real engine over a tiny network of every layer kind. */
#include "base/fault.h"
#include "engine/tiny_engine.h"

#include <string.h>
#include <unistd.h>

/* Saves at `position`, kills the engine (no close of the sequence's state), restores in a new one, goes on. */
static void check_restore(uint32_t position, uint32_t chunk, uint64_t seed)
{
    uint32_t tokens[N_TOKENS], want[N_GREEDY], got[N_GREEDY];
    uint64_t want_bits, got_bits;
    make_tokens(tokens, N_TOKENS, seed);
    test_empty_folder(store_path);
    rmdir(store_path);

    engine *e = open_engine(false);
    engine_sequence *s = new_sequence(e);
    feed(e, s, tokens, N_TOKENS, N_TOKENS);
    go_on(e, s, N_GREEDY, want, &want_bits);
    engine_sequence_free(s);
    engine_close(e);

    e = open_engine(true);
    s = new_sequence(e);
    feed(e, s, tokens, position, chunk);
    engine_sequence_save(s, ENGINE_SAVE_TURN, true);
    assert_true(kv_flush(engine_store(e), 20 * 1000 * 1000));
    engine_sequence_free(s);
    engine_close(e);

    e = open_engine(true);
    assert_true(kv_flush(engine_store(e), 20 * 1000 * 1000));
    kv_plan *plan = find(e, tokens, N_TOKENS);
    assert_non_null(plan);
    assert_int_equal(kv_plan_tokens(plan), position);
    s = new_sequence(e);
    feed(e, s, tokens + 7, 50, 50); /* a used slot must not shine through */
    assert_int_equal(engine_sequence_restore(s, plan, NULL), DS4_OK);
    assert_int_equal(engine_sequence_length(s), position);
    feed(e, s, tokens + position, N_TOKENS - position, chunk);
    kv_plan_succeed(plan, 0);
    kv_plan_release(plan);
    go_on(e, s, N_GREEDY, got, &got_bits);
    assert_memory_equal(got, want, sizeof want);
    assert_true(got_bits == want_bits);
    engine_sequence_free(s);
    engine_close(e);
}

/* Every residue of every ratio and of the window, both sides of segment borders, several chunkings. */
static void a_restored_sequence_is_the_one_that_was_saved(void **state)
{
    (void)state;
    const uint32_t positions[] = { 1,  2,  3,  4,  5,  7,  8,  9,  23,  24,  25,  47,
                                   48, 49, 71, 95, 96, 97, 98, 99, 100, 131, 299, 300 };
    for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++)
        check_restore(positions[i], 1 + (uint32_t)(i * 5 % 40), 1000 + i);
}

/* Two conversations with a common stem share its segments on disk (P11). */
static void a_branch_shares_its_stem(void **state)
{
    (void)state;
    uint32_t a[N_TOKENS], b[N_TOKENS];
    kv_metrics before, after;
    make_tokens(a, N_TOKENS, 5);
    memcpy(b, a, sizeof a);
    make_tokens(b + 200, N_TOKENS - 200, 6);
    test_empty_folder(store_path);
    engine *e = open_engine(true);
    engine_sequence *s = new_sequence(e);
    feed(e, s, a, N_TOKENS, 64);
    engine_sequence_save(s, ENGINE_SAVE_TURN, true);
    assert_true(kv_flush(engine_store(e), 20 * 1000 * 1000));
    kv_store_metrics(engine_store(e), &before);
    engine_sequence_reset(s);
    feed(e, s, b, N_TOKENS, 64);
    engine_sequence_save(s, ENGINE_SAVE_TURN, true);
    assert_true(kv_flush(engine_store(e), 20 * 1000 * 1000));
    kv_store_metrics(engine_store(e), &after);
    /* 200 / 24 = 8 segments are shared, 12 - 8 are new, and one frontier. */
    assert_int_equal(before.store_objects, 13);
    assert_int_equal(after.store_objects, 13 + 4 + 1);
    engine_sequence_free(s);
    engine_close(e);
}

#ifdef DS4_KV_FAULTS
/* What the store had to drop is offered again with the next frontier: one full queue does not end the saving of a session. */
static void a_segment_that_was_dropped_is_offered_again(void **state)
{
    (void)state;
    uint32_t tokens[N_TOKENS];
    make_tokens(tokens, N_TOKENS, 9);
    test_empty_folder(store_path);
    engine *e = open_engine(true);
    engine_sequence *s = new_sequence(e);
    assert_int_equal(fault_configure("writer.queue_full:force@1", 1, NULL, NULL), DS4_OK);
    feed(e, s, tokens, 100, 100);
    engine_sequence_save(s, ENGINE_SAVE_TURN, true);
    assert_true(kv_flush(engine_store(e), 20 * 1000 * 1000));
    assert_true(fault_disarm());
    assert_null(find(e, tokens, N_TOKENS));
    feed(e, s, tokens + 100, 20, 20);
    engine_sequence_save(s, ENGINE_SAVE_TURN, true);
    assert_true(kv_flush(engine_store(e), 20 * 1000 * 1000));
    kv_plan *plan = find(e, tokens, N_TOKENS);
    assert_non_null(plan);
    assert_int_equal(kv_plan_tokens(plan), 120);
    kv_plan_release(plan);
    engine_sequence_free(s);
    engine_close(e);
}
#endif

/* P9: the state of other weights is never used, though every shape is the same (F33). */
static void another_model_of_the_same_shape_finds_nothing(void **state)
{
    (void)state;
    uint32_t tokens[N_TOKENS];
    make_tokens(tokens, N_TOKENS, 7);
    test_empty_folder(store_path);
    engine *e = open_engine(true);
    engine_sequence *s = new_sequence(e);
    feed(e, s, tokens, 200, 64);
    engine_sequence_save(s, ENGINE_SAVE_TURN, true);
    assert_true(kv_flush(engine_store(e), 20 * 1000 * 1000));
    engine_sequence_free(s);
    engine_close(e);
    tiny_model_write(model_path, 2);
    e = open_engine(true);
    assert_true(kv_flush(engine_store(e), 20 * 1000 * 1000));
    assert_null(find(e, tokens, N_TOKENS));
    engine_close(e);
    tiny_model_write(model_path, 1);
    e = open_engine(true);
    assert_true(kv_flush(engine_store(e), 20 * 1000 * 1000));
    kv_plan *plan = find(e, tokens, N_TOKENS);
    assert_non_null(plan);
    kv_plan_release(plan);
    engine_close(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restored_sequence_is_the_one_that_was_saved),
        cmocka_unit_test(a_branch_shares_its_stem),
#ifdef DS4_KV_FAULTS
        cmocka_unit_test(a_segment_that_was_dropped_is_offered_again),
#endif
        cmocka_unit_test(another_model_of_the_same_shape_finds_nothing),
    };
    return cmocka_run_group_tests(tests, make_world, NULL);
}
