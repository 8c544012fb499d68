/* Sequences and steps: going back, failing, and what the store has of them. The real engine over a tiny network. */
#include "base/fault.h"
#include "engine/tiny_engine.h"

enum { N_MORE = 20, N_OUT = 40 };

/* The greedy continuation of tokens[0..n) by a sequence that was never anything else. */
static uint64_t plain_bits(const uint32_t *tokens, uint32_t n)
{
    uint32_t out[N_OUT];
    uint64_t bits;
    engine *e = open_engine(false);
    engine_sequence *s = new_sequence(e);
    feed(e, s, tokens, n, n);
    go_on(e, s, N_OUT, out, &bits);
    engine_sequence_free(s);
    engine_close(e);
    return bits;
}

static void flush(engine *e)
{
    assert_true(kv_flush(engine_store(e), 20 * 1000 * 1000));
}

/* Back over a segment border, on with other tokens: in memory and on disk it is as if the first ones had never been. */
static void a_rewound_sequence_has_forgotten(void **state)
{
    (void)state;
    uint32_t first[N_TOKENS], tokens[N_TOKENS], out[N_OUT];
    uint64_t bits;
    const uint32_t border = 2 * TINY_SEGMENT, back = border - 2, n = back + N_MORE;
    make_tokens(first, N_TOKENS, 21);
    memcpy(tokens, first, sizeof first);
    make_tokens(tokens + back, N_TOKENS - back, 22);
    test_empty_folder(store_path);
    engine *e = open_engine(true);
    engine_sequence *s = new_sequence(e);
    feed(e, s, first, border + 3, 16);
    engine_sequence_save(s, ENGINE_SAVE_TURN, true);
    assert_int_equal(engine_sequence_unsaved(s), 0);
    assert_int_equal(engine_sequence_rewind(s, 1, NULL), DS4_ERR_UNSUPPORTED); /* too far: nothing has changed */
    assert_int_equal(engine_sequence_length(s), border + 3);
    assert_non_null(engine_sequence_logits(s));
    assert_int_equal(engine_sequence_rewind(s, back, NULL), DS4_OK);
    assert_int_equal(engine_sequence_length(s), back);
    assert_null(engine_sequence_logits(s)); /* those were of another position */
    assert_int_equal(engine_sequence_unsaved(s), back);
    feed(e, s, tokens + back, N_MORE, 7);
    engine_sequence_save(s, ENGINE_SAVE_SEGMENT, false);
    assert_int_equal(engine_sequence_saved(s), border); /* the segment that was computed anew is a new one */
    engine_sequence_save(s, ENGINE_SAVE_TURN, true);
    flush(e);
    go_on(e, s, N_OUT, out, &bits);
    assert_true(bits == plain_bits(tokens, n));
    engine_sequence_free(s);
    engine_close(e);

    e = open_engine(true);
    flush(e);
    kv_plan *plan = find(e, tokens, N_TOKENS);
    assert_non_null(plan);
    assert_int_equal(kv_plan_tokens(plan), n);
    s = new_sequence(e);
    assert_int_equal(engine_sequence_restore(s, plan, NULL), DS4_OK);
    assert_int_equal(engine_sequence_unsaved(s), 0);
    kv_plan_release(plan);
    feed(e, s, tokens + n, 1, 1);
    go_on(e, s, N_OUT, out, &bits);
    assert_true(bits == plain_bits(tokens, n + 1));
    engine_sequence_free(s);
    engine_close(e);
}

/* A sequence that is emptied is like a new one: nothing of the old state, and nothing of its names on disk. */
static void a_reset_sequence_is_a_new_one(void **state)
{
    (void)state;
    uint32_t a[N_TOKENS], b[N_TOKENS], out[N_OUT];
    uint64_t bits;
    make_tokens(a, N_TOKENS, 31);
    make_tokens(b, N_TOKENS, 32);
    test_empty_folder(store_path);
    engine *e = open_engine(true);
    engine_sequence *s = new_sequence(e);
    feed(e, s, a, 100, 64);
    engine_sequence_save(s, ENGINE_SAVE_TURN, true);
    engine_sequence_reset(s);
    assert_int_equal(engine_sequence_length(s), 0);
    assert_int_equal(engine_sequence_saved(s), 0);
    assert_null(engine_sequence_logits(s));
    feed(e, s, b, 90, 64);
    engine_sequence_save(s, ENGINE_SAVE_TURN, true);
    flush(e);
    kv_plan *plan = find(e, b, N_TOKENS);
    assert_non_null(plan);
    assert_int_equal(kv_plan_tokens(plan), 90);
    kv_plan_release(plan);
    go_on(e, s, N_OUT, out, &bits);
    assert_true(bits == plain_bits(b, 90));
    engine_sequence_free(s);
    engine_close(e);
}

/* Segments count when they were handed over, a frontier counts for all that is before it; without a store nothing does. */
static void what_is_saved_is_counted(void **state)
{
    (void)state;
    uint32_t tokens[N_TOKENS];
    make_tokens(tokens, N_TOKENS, 41);
    test_empty_folder(store_path);
    for (int with_store = 0; with_store <= 1; with_store++) {
        engine *e = open_engine(with_store);
        engine_sequence *s = new_sequence(e);
        feed(e, s, tokens, 2 * TINY_SEGMENT + 5, 16);
        assert_int_equal(engine_sequence_saved(s), 0);
        engine_sequence_save(s, ENGINE_SAVE_SEGMENT, false);
        assert_int_equal(engine_sequence_saved(s), with_store ? 2 * TINY_SEGMENT : 0);
        engine_sequence_save(s, ENGINE_SAVE_TURN, true);
        assert_int_equal(engine_sequence_saved(s), with_store ? 2 * TINY_SEGMENT + 5 : 0);
        assert_int_equal(engine_sequence_rewind(s, 2 * TINY_SEGMENT + 1, NULL), DS4_OK);
        assert_int_equal(engine_sequence_saved(s), with_store ? 2 * TINY_SEGMENT + 1 : 0);
        if (with_store)
            flush(e);
        engine_sequence_free(s);
        engine_close(e);
    }
    engine *e = open_engine(true);
    flush(e);
    engine_sequence *s = new_sequence(e);
    kv_plan *plan = find(e, tokens, N_TOKENS);
    assert_non_null(plan);
    assert_int_equal(engine_sequence_restore(s, plan, NULL), DS4_OK);
    assert_int_equal(engine_sequence_saved(s), 2 * TINY_SEGMENT + 5);
    kv_plan_release(plan);
    engine_sequence_free(s);
    engine_close(e);
}

/* A checkpoint from a larger context is refused, one that leaves room for a token is not. */
static void a_checkpoint_must_fit_the_context(void **state)
{
    (void)state;
    uint32_t tokens[N_TOKENS];
    make_tokens(tokens, N_TOKENS, 51);
    test_empty_folder(store_path);
    engine *e = open_engine(true);
    engine_sequence *s = new_sequence(e);
    feed(e, s, tokens, 120, 64);
    engine_sequence_save(s, ENGINE_SAVE_TURN, true);
    flush(e);
    engine_sequence_free(s);
    engine_close(e);
    for (uint32_t n_ctx = 120; n_ctx <= 121; n_ctx++) {
        e = open_engine_of(true, n_ctx);
        flush(e);
        kv_plan *plan = find(e, tokens, N_TOKENS);
        assert_non_null(plan);
        s = new_sequence(e);
        assert_int_equal(engine_sequence_restore(s, plan, NULL), n_ctx == 120 ? DS4_ERR_ARGUMENT : DS4_OK);
        assert_int_equal(engine_sequence_length(s), n_ctx == 120 ? 0 : 120);
        kv_plan_release(plan);
        engine_sequence_free(s);
        engine_close(e);
    }
}

#ifdef DS4_KV_FAULTS
/* All or nothing: wherever a restore fails, the sequence is empty and as good as new. */
static void a_restore_that_fails_leaves_nothing(void **state)
{
    (void)state;
    uint32_t tokens[N_TOKENS], out[N_OUT];
    uint64_t bits;
    make_tokens(tokens, N_TOKENS, 61);
    test_empty_folder(store_path);
    const uint64_t want = plain_bits(tokens, 70);
    engine *e = open_engine(true);
    engine_sequence *s = new_sequence(e);
    feed(e, s, tokens, 100, 64);
    engine_sequence_save(s, ENGINE_SAVE_TURN, true);
    flush(e);
    static const char *const faults[] = { "restore.reset:OTHER", "restore.upload:OOM@1", "restore.upload:OTHER@5",
                                          "restore.upload:short:7@9", "restore.after_upload:OTHER" };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        kv_plan *plan = find(e, tokens, N_TOKENS);
        assert_non_null(plan);
        engine_sequence_reset(s);
        assert_int_equal(fault_configure(faults[i], 1, NULL, NULL), DS4_OK);
        const ds4_status status = engine_sequence_restore(s, plan, NULL);
        assert_true(fault_disarm());
        assert_int_not_equal(status, DS4_OK);
        assert_int_equal(engine_sequence_length(s), 0);
        assert_int_equal(engine_sequence_saved(s), 0);
        kv_plan_acquit(plan);
        kv_plan_release(plan);
        feed(e, s, tokens, 70, 64);
        go_on(e, s, N_OUT, out, &bits);
        assert_true(bits == want);
    }
    engine_sequence_free(s);
    engine_close(e);
}

/* Of several items in a step one fails: it alone does not advance. */
static void an_item_that_fails_leaves_the_others_alone(void **state)
{
    (void)state;
    uint32_t a[N_TOKENS], b[N_TOKENS], out[N_OUT];
    uint64_t bits;
    make_tokens(a, N_TOKENS, 71);
    make_tokens(b, N_TOKENS, 72);
    engine *e = open_engine(false);
    engine_sequence *x = new_sequence(e), *y = new_sequence(e);
    engine_work work[] = {
        { .sequence = x, .tokens = a, .n_tokens = 50, .want_logits = true, .prefill = true },
        { .sequence = y, .tokens = b, .n_tokens = 60, .want_logits = true, .prefill = true },
    };
    assert_int_equal(fault_configure("engine.prefill:STATE_BAD@1", 1, NULL, NULL), DS4_OK);
    assert_int_equal(engine_step(e, work, 2, NULL), DS4_OK);
    assert_true(fault_disarm());
    assert_int_equal(work[0].status, DS4_ERR_STATE_BAD);
    assert_int_equal(work[1].status, DS4_OK);
    assert_int_equal(engine_sequence_length(x), 0);
    assert_int_equal(engine_sequence_length(y), 60);
    go_on(e, y, N_OUT, out, &bits);
    assert_true(bits == plain_bits(b, 60));
    feed(e, x, a, 50, 50);
    go_on(e, x, N_OUT, out, &bits);
    assert_true(bits == plain_bits(a, 50));
    engine_sequence_free(x);
    engine_sequence_free(y);
    engine_close(e);
}

/* A device that fails in a step leaves every sequence of it at its length, in a state that only a reset makes usable. */
static void a_lost_device_spoils_the_sequences_of_its_step(void **state)
{
    (void)state;
    uint32_t a[N_TOKENS], out[N_OUT];
    uint64_t bits;
    make_tokens(a, N_TOKENS, 73);
    engine *e = open_engine(false);
    engine_sequence *in_step[2] = { new_sequence(e), new_sequence(e) }, *other = new_sequence(e);
    engine_work work[2];
    for (size_t i = 0; i < 2; i++) {
        feed(e, in_step[i], a, 20, 20);
        work[i] = (engine_work){ .sequence = in_step[i], .tokens = a + 20, .n_tokens = 30, .want_logits = true };
    }
    feed(e, other, a, 50, 50);
    assert_int_equal(fault_configure("backend.end:DEVICE_LOST@1", 1, NULL, NULL), DS4_OK);
    assert_int_equal(engine_step(e, work, 2, NULL), DS4_ERR_DEVICE_LOST);
    assert_true(fault_disarm());
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(engine_sequence_length(in_step[i]), 20);
        assert_int_equal(engine_step(e, &work[i], 1, NULL), DS4_ERR_ARGUMENT);
        assert_int_equal(engine_sequence_rewind(in_step[i], 19, NULL), DS4_ERR_UNSUPPORTED);
        engine_sequence_reset(in_step[i]);
        feed(e, in_step[i], a, 50, 50);
        go_on(e, in_step[i], N_OUT, out, &bits);
        assert_true(bits == plain_bits(a, 50));
        engine_sequence_free(in_step[i]);
    }
    go_on(e, other, N_OUT, out, &bits);
    assert_true(bits == plain_bits(a, 50));
    engine_sequence_free(other);
    engine_close(e);
}

/* What the store could not take does not count as saved. */
static void what_was_dropped_is_not_counted(void **state)
{
    (void)state;
    uint32_t tokens[N_TOKENS];
    make_tokens(tokens, N_TOKENS, 81);
    test_empty_folder(store_path);
    engine *e = open_engine(true);
    engine_sequence *s = new_sequence(e);
    feed(e, s, tokens, TINY_SEGMENT + 3, 16);
    assert_int_equal(fault_configure("writer.queue_full:force@*", 1, NULL, NULL), DS4_OK);
    engine_sequence_save(s, ENGINE_SAVE_SEGMENT, false);
    fault_disarm();
    assert_int_equal(engine_sequence_saved(s), 0);
    engine_sequence_free(s);
    engine_close(e);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rewound_sequence_has_forgotten),
        cmocka_unit_test(a_reset_sequence_is_a_new_one),
        cmocka_unit_test(what_is_saved_is_counted),
        cmocka_unit_test(a_checkpoint_must_fit_the_context),
#ifdef DS4_KV_FAULTS
        cmocka_unit_test(a_restore_that_fails_leaves_nothing),
        cmocka_unit_test(an_item_that_fails_leaves_the_others_alone),
        cmocka_unit_test(a_lost_device_spoils_the_sequences_of_its_step),
        cmocka_unit_test(what_was_dropped_is_not_counted),
#endif
    };
    return cmocka_run_group_tests(tests, make_world, NULL);
}
