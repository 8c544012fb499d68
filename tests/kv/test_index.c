/* The index: an order that survives every change, and what may be evicted. P and F numbers: docs/spec/kvstore.md. */
#include "kv/store.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define NOW    (UINT64_C(1800000000) * SECOND)

/* ---- heap ---- */

static void a_heap_is_always_in_order(void **state)
{
    enum { NODES = 200, STEPS = 20000 };
    kv_heap heap = { 0 };
    kv_heap_node nodes[NODES] = { 0 };
    test_random dice = test_random_seeded(20261127);
    (void)state;
    assert_true(kv_heap_reserve(&heap, NODES));
    for (int step = 0; step < STEPS; step++) {
        kv_heap_node *node = &nodes[test_random_below(&dice, NODES)];
        if (node->at && test_random_below(&dice, 3) == 0)
            kv_heap_remove(&heap, node);
        else
            kv_heap_put(&heap, node, test_random_below(&dice, 1000));
        size_t n = 0;
        double lowest = 1e9;
        for (size_t i = 0; i < NODES; i++)
            if (nodes[i].at) {
                n++;
                lowest = nodes[i].rank < lowest ? nodes[i].rank : lowest;
                assert_ptr_equal(heap.nodes[nodes[i].at - 1], &nodes[i]);
            }
        assert_int_equal(heap.n, n);
        assert_true(n == 0 ? !kv_heap_top(&heap) : kv_heap_top(&heap)->rank == lowest);
    }
    kv_heap_free(&heap);
}

/* ---- index ---- */

static kv_key key_of(uint32_t number)
{
    kv_key key;
    hash_stream s;
    hash_stream_begin(&s, NULL);
    hash_stream_add_u64(&s, number);
    hash_stream_end(&s, &key);
    return key;
}

enum { ROOT = 0 };

/* Object `number` on object `parent`; a segment of one token at depth `depth`, or a frontier there. */
static void add(kv_index *index, uint32_t number, uint32_t parent, uint16_t kind, uint64_t depth, uint64_t age_s,
                uint64_t cost_us)
{
    const kv_header h = { .kind = kind,
                          .key = key_of(number),
                          .parent = key_of(parent),
                          .begin = depth,
                          .end = depth + (kind == KV_KIND_SEGMENT),
                          .file_bytes = 4096,
                          .created_ns = NOW - age_s * SECOND,
                          .cost_us = cost_us };
    assert_true(kv_index_add(index, &h));
}

/* The number of the object that would go next; -1: none. Numbers are below 100. */
static int victim(kv_index *index, uint64_t min_age_s)
{
    kv_object *o;
    while (!kv_index_victim(index, NOW, min_age_s * SECOND, &o))
        continue;
    for (int i = 0; o && i < 100; i++) {
        const kv_key key = key_of((uint32_t)i);
        if (hash_key_equal(&key, &o->key))
            return i;
    }
    assert_null(o);
    return -1;
}

static void drop(kv_index *index, uint32_t number)
{
    const kv_key key = key_of(number);
    kv_index_remove(index, &key);
}

/* P13: whatever the order in which they became known, a segment stays as long as anything stands on it. */
static void ancestors_outlive_their_descendants(void **state)
{
    static const uint32_t orders[][4] = { { 1, 2, 3, 4 }, { 4, 3, 2, 1 }, { 3, 1, 4, 2 }, { 2, 4, 1, 3 } };
    (void)state;
    for (size_t k = 0; k < sizeof orders / sizeof orders[0]; k++) {
        kv_index index = { 0 };
        for (size_t i = 0; i < 4; i++) { /* 1 - 2 - 3 - frontier 4; the frontier is worth the most */
            const uint32_t n = orders[k][i];
            add(&index, n, n - 1, n == 4 ? KV_KIND_FRONTIER : KV_KIND_SEGMENT, n - 1, 100, 1000 * n * n);
        }
        assert_int_equal(index.n, 4);
        const kv_key third = key_of(3);
        assert_int_equal(kv_index_frontiers_on(&index, &third), 1);
        for (uint32_t n = 4; n > 0; n--) {
            assert_int_equal(victim(&index, 0), n);
            drop(&index, n);
        }
        assert_int_equal(victim(&index, 0), -1);
        assert_int_equal(index.n, 0);
        assert_int_equal(index.bytes, 0);
        for (size_t i = 0; i < KV_SHARDS; i++)
            assert_int_equal(index.shards[i].n, 0); /* nor is anything left of their names */
        kv_index_free(&index);
    }
}

/* A segment that is lost and made again still has what stands on it. */
static void a_segment_made_again_keeps_its_children(void **state)
{
    kv_index index = { 0 };
    (void)state;
    add(&index, 1, ROOT, KV_KIND_SEGMENT, 0, 100, 1);
    add(&index, 2, 1, KV_KIND_FRONTIER, 1, 100, 1000000);
    drop(&index, 1);
    add(&index, 1, ROOT, KV_KIND_SEGMENT, 0, 100, 1);
    assert_int_equal(victim(&index, 0), 2);
    kv_index_free(&index);
}

static void what_is_used_or_young_or_excluded_stays(void **state)
{
    kv_index index = { 0 };
    (void)state;
    add(&index, 1, ROOT, KV_KIND_FRONTIER, 0, 100, 1000);
    add(&index, 2, ROOT, KV_KIND_FRONTIER, 0, 30, 1);
    const kv_key one = key_of(1);
    assert_int_equal(victim(&index, 60), 1); /* 2 would be worth less, but is too young */
    kv_index_hold(&index, &one, 1);
    assert_int_equal(victim(&index, 60), -1);
    kv_index_hold(&index, &one, 1);
    kv_index_hold(&index, &one, -1);
    assert_int_equal(victim(&index, 60), -1);
    kv_index_hold(&index, &one, -1);
    kv_index_hold(&index, &one, -1); /* of an object that was made again meanwhile: one too many is nothing */
    assert_int_equal(victim(&index, 60), 1);
    kv_index_suspect(&index, &one, true);
    assert_int_equal(victim(&index, 60), -1);
    assert_int_equal(victim(&index, 0), 2);
    kv_index_suspect(&index, &one, false);
    drop(&index, 2);
    assert_int_equal(victim(&index, 60), 1);
    kv_index_free(&index);
}

/* Value: what it cost, how often and how lately it was used, how old it is. */
static void the_least_valuable_goes_first(void **state)
{
    enum { HOUR = 3600 };
    kv_index index = { 0 };
    (void)state;
    const kv_key one = key_of(1), two = key_of(2), four = key_of(4);
    add(&index, 1, ROOT, KV_KIND_SEGMENT, 0, HOUR, 1000000);
    add(&index, 2, ROOT, KV_KIND_SEGMENT, 0, HOUR, 9000000); /* cost more */
    assert_int_equal(victim(&index, 0), 1);
    for (int i = 0; i < 20; i++)
        kv_index_hit(&index, &one, NOW - HOUR * SECOND); /* is used more */
    assert_int_equal(victim(&index, 0), 2);
    for (int i = 0; i < 4; i++)
        kv_index_hit(&index, &two, NOW); /* and again */
    assert_int_equal(victim(&index, 0), 1);
    add(&index, 3, ROOT, KV_KIND_SEGMENT, 0, 0, 900000);
    add(&index, 4, ROOT, KV_KIND_SEGMENT, 0, 12 * HOUR, 1000000); /* costs more than 3, but is a quarter as fresh */
    assert_int_equal(victim(&index, 0), 4);
    /* Uses of the day before yesterday are worth less than a fresh object; those of the same count today are not. */
    kv_index_hit(&index, &four, NOW - 48 * HOUR * SECOND);
    assert_int_equal(victim(&index, 0), 4);
    kv_index_hit(&index, &four, NOW);
    assert_int_equal(victim(&index, 0), 3);
    kv_index_free(&index);
}

/* Values fall at different speeds: the order is right again once it was renewed. */
static void the_order_follows_the_clock(void **state)
{
    enum { HOUR = 3600 };
    kv_index index = { 0 };
    kv_object *o;
    (void)state;
    const kv_key one = key_of(1), two = key_of(2);
    add(&index, 1, ROOT, KV_KIND_SEGMENT, 0, 0, 1000000); /* fresh, never used */
    add(&index, 2, ROOT, KV_KIND_SEGMENT, 0, 1000 * HOUR, 1000000);
    kv_index_hit(&index, &two, NOW - 100 * HOUR * SECOND); /* used long ago: its value falls slowly */
    kv_index_hit(&index, &two, NOW - 100 * HOUR * SECOND);
    assert_int_equal(victim(&index, 0), 2);
    const uint64_t later_ns = NOW + 48 * HOUR * SECOND;
    for (int i = 0; i < KV_SHARDS; i++)
        kv_index_rank(&index, (uint8_t)i, later_ns);
    assert_true(kv_index_victim(&index, later_ns, 0, &o));
    assert_true(hash_key_equal(&o->key, &one));
    kv_index_free(&index);
}

/* A use counts for the whole stem, and for nothing beside it. */
static void a_use_counts_for_the_stem(void **state)
{
    kv_index index = { 0 };
    (void)state;
    for (uint32_t n = 1; n < 4; n++)
        add(&index, n, n - 1, KV_KIND_SEGMENT, n - 1, 100, 1);
    add(&index, 4, 3, KV_KIND_FRONTIER, 3, 100, 1);
    add(&index, 5, 3, KV_KIND_FRONTIER, 3, 100, 1);
    const kv_key four = key_of(4);
    kv_index_hit(&index, &four, NOW);
    for (uint32_t n = 1; n < 6; n++) {
        const kv_key key = key_of(n);
        assert_true(kv_index_find(&index, &key)->hits_short == (n == 5 ? 0.0 : 1.0));
    }
    kv_index_free(&index);
}

/* Every name above a stem in one pass is what each would be alone. */
static void frontier_names_in_one_pass(void **state)
{
    uint32_t tail[40];
    kv_key names[40];
    (void)state;
    const kv_key secret = key_of(7), stem = key_of(8);
    for (uint32_t i = 0; i < 40; i++)
        tail[i] = i * 31;
    for (size_t first = 0; first < 4; first++) {
        kv_key_frontiers(&secret, &stem, tail, first, 39, names);
        for (size_t n = first; n < 40; n++) {
            const kv_key name = kv_key_frontier(&secret, &stem, tail, n);
            assert_true(hash_key_equal(&names[n - first], &name));
        }
    }
}

static int prepare(void **state)
{
    (void)state;
    return hash_start(NULL) == DS4_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_heap_is_always_in_order),
        cmocka_unit_test(ancestors_outlive_their_descendants),
        cmocka_unit_test(a_segment_made_again_keeps_its_children),
        cmocka_unit_test(what_is_used_or_young_or_excluded_stays),
        cmocka_unit_test(the_least_valuable_goes_first),
        cmocka_unit_test(the_order_follows_the_clock),
        cmocka_unit_test(a_use_counts_for_the_stem),
        cmocka_unit_test(frontier_names_in_one_pass),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
