/* configure() and adopt() when memory runs out at any of their requests: the backend can be closed, and nothing is left. */
#include "lab.h"
#include "support/memory_fuse.h"

/* One attempt whose nth request for memory fails. False: fewer were made, and everything has worked. */
static bool fail_once(long nth)
{
    backend_layer layers[] = { { BACKEND_LAYER_CSA, 4 }, { BACKEND_LAYER_HCA, 6 } };
    const float omega[1] = { 0 }, values[8] = { 0 };
    const backend_options options = { .n_threads = 2 };
    const backend_source source = { values, QUANT_F32, 1, 1, 8, sizeof values, false };
    backend_shape shape = some_shape();
    backend_tensor *t;
    shape.n_layers = 2;
    shape.layers = layers;
    shape.omega_window = shape.omega_compressed = omega;
    assert_int_equal(backend_open(&b, "cpu", &options, NULL), DS4_OK);
    memory_fuse_set(nth, false);
    ds4_status status = b->ops->configure(b, &shape, NULL);
    if (status == DS4_OK)
        status = b->ops->adopt(b, &source, &t, NULL);
    const bool failed = memory_fuse_clear();
    assert_int_equal(status, failed ? DS4_ERR_NO_MEMORY : DS4_OK);
    layers[0].ratio = layers[1].ratio = 0; /* the list is the caller's again, whatever configure() has said */
    b->ops->close(b);
    return failed;
}

static void memory_may_run_out_at_any_request(void **state)
{
    (void)state;
    long nth = 1, n_live = memory_n_live, n_left = 0;
    while (fail_once(nth++)) {
        if (nth > 2)
            assert_int_equal(memory_n_live - n_live, n_left);
        n_left = memory_n_live - n_live; /* not 0: what aligned_alloc() gives is not counted */
        n_live = memory_n_live;
    }
    assert_int_equal(memory_n_live - n_live, n_left);
    assert_true(!MEMORY_FUSE || nth > 30); /* the lists of a step and of two workers */
}

/* What a shape takes is known before configure(): as much as the layout says, and more for longer steps and contexts. */
static void needs_are_known_beforehand(void **state)
{
    const backend_layer layers[] = { { BACKEND_LAYER_CSA, 4 }, { BACKEND_LAYER_HCA, 6 } };
    const backend_options options = { .n_threads = 2 };
    backend_shape shape = some_shape();
    (void)state;
    shape.n_layers = 2;
    shape.layers = layers;
    assert_int_equal(backend_open(&b, "cpu", &options, NULL), DS4_OK);
    const backend_needs needs = b->ops->needs(b, &shape);
    shape.n_tokens_max *= 2;
    assert_true(b->ops->needs(b, &shape).scratch > needs.scratch);
    shape.n_tokens_max /= 2;
    shape.n_ctx_max *= 2;
    assert_true(b->ops->needs(b, &shape).scratch > needs.scratch);
    shape.page_tokens++; /* cuts groups: there is no layout */
    assert_int_equal(b->ops->needs(b, &shape).page, 0);
    b->ops->close(b);
    shape = some_shape();
    shape.n_layers = 2;
    shape.layers = layers;
    open_backend(&shape);
    assert_int_equal(needs.rolling, b->layout.rolling_bytes);
    assert_int_equal(needs.page, b->layout.page_bytes);
    assert_true(needs.page > 0 && needs.rolling > 0);
    close_backend();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_may_run_out_at_any_request),
        cmocka_unit_test(needs_are_known_beforehand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
