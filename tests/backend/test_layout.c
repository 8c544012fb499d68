/* Where a sequence's memory has what: everything has room of its own, inside the blocks that are allocated for it. */
#include "backend/backend.h"
#include "support/support.h"

#include <stdlib.h>

typedef struct extent {
    size_t begin, size;
} extent;

typedef struct extents {
    extent at[64];
    size_t n;
} extents;

static void add(extents *e, size_t begin, size_t size)
{
    assert_true(e->n < sizeof e->at / sizeof e->at[0]);
    assert_int_equal(begin % sizeof(float), 0);
    e->at[e->n++] = (extent){ begin, size };
}

static int by_begin(const void *a, const void *b)
{
    const size_t x = ((const extent *)a)->begin, y = ((const extent *)b)->begin;
    return (x > y) - (x < y);
}

static void check_apart(extents *e, size_t bytes)
{
    size_t end = 0;
    qsort(e->at, e->n, sizeof e->at[0], by_begin);
    for (size_t i = 0; i < e->n; i++) {
        assert_true(e->at[i].begin >= end);
        end = e->at[i].begin + e->at[i].size;
    }
    assert_true(end <= bytes);
}

static void add_series(extents *rolling, extents *page, const backend_layout *l, const backend_series *s)
{
    const size_t ring = (size_t)s->ring_tokens * s->n_sets * s->width * sizeof(float);
    if (!s->ratio)
        return;
    assert_int_equal(s->row_bytes, s->width * sizeof(float));
    add(rolling, s->ring_kv, ring);
    add(rolling, s->ring_gate, ring);
    add(page, s->rows, l->page_tokens / s->ratio * s->row_bytes);
}

static const backend_layer layers[] = { { BACKEND_LAYER_WINDOW, 0 }, { BACKEND_LAYER_CSA, 4 },
                                        { BACKEND_LAYER_HCA, 6 },    { BACKEND_LAYER_CSA, 4 },
                                        { BACKEND_LAYER_HCA, 8 },    { BACKEND_LAYER_WINDOW, 0 } };
enum { LAYERS = sizeof layers / sizeof layers[0] };

static void everything_has_room_of_its_own(void **state)
{
    (void)state;
    for (uint32_t width = 1; width < 70; width += 17) {
        const backend_shape shape = { .n_layers = LAYERS - 1,
                                      .n_draft_layers = 1,
                                      .layers = layers,
                                      .head_dim = width,
                                      .index_dim = width + 3,
                                      .window = 5,
                                      .page_tokens = 48,
                                      .rewind_tokens = 3 };
        backend_layout l;
        extents rolling = { 0 }, page = { 0 };
        assert_int_equal(backend_layout_new(&l, &shape, NULL), DS4_OK);
        for (uint32_t i = 0; i < LAYERS; i++) {
            const backend_place *place = &l.layers[i];
            const uint32_t sets = layers[i].kind == BACKEND_LAYER_CSA ? 2 : 1;
            add(&rolling, place->window, (size_t)l.window_tokens * width * sizeof(float));
            assert_int_equal(place->attention.ratio, layers[i].ratio);
            assert_int_equal(place->index.ratio, sets == 2 ? layers[i].ratio : 0);
            /* What a group needs from before a step, and what can be taken back. */
            if (layers[i].ratio)
                assert_true(place->attention.ring_tokens >= sets * layers[i].ratio + shape.rewind_tokens);
            add_series(&rolling, &page, &l, &place->attention);
            add_series(&rolling, &page, &l, &place->index);
        }
        assert_true(l.window_tokens >= shape.window + shape.rewind_tokens);
        check_apart(&rolling, l.rolling_bytes);
        check_apart(&page, l.page_bytes);
        backend_layout_free(&l);
    }
}

static void pages_that_would_cut_a_group_are_refused(void **state)
{
    (void)state;
    const backend_shape shape = {
        .n_layers = LAYERS, .layers = layers, .head_dim = 8, .index_dim = 8, .window = 5, .page_tokens = 44
    };
    backend_layout l;
    assert_int_equal(backend_layout_new(&l, &shape, NULL), DS4_ERR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_has_room_of_its_own),
        cmocka_unit_test(pages_that_would_cut_a_group_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
