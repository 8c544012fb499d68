/* The small records: what is written comes back, and every bit of a record is under its digest. */
#include "kv/record.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

static void count_up(void *out, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)out)[i] = (uint8_t)(i * 7 + 1);
}

typedef bool accepts_fn(const uint8_t *bytes, size_t size);

static bool accepts_store(const uint8_t *bytes, size_t size)
{
    kv_store_record r;
    return kv_store_record_decode(&r, bytes, size, NULL) == DS4_OK;
}

static bool accepts_verdict(const uint8_t *bytes, size_t size)
{
    kv_verdict v;
    return kv_verdict_decode(&v, bytes, size);
}

static bool accepts_intent(const uint8_t *bytes, size_t size)
{
    kv_intent i;
    const bool good = kv_intent_decode(&i, bytes, size, NULL) == DS4_OK;
    free(i.objects);
    return good;
}

/* Accepted as it is; refused with any bit turned, at any other length. */
static void assert_guarded(accepts_fn *accepts, const uint8_t *bytes, size_t size)
{
    uint8_t *copy = calloc(1, size + 1);
    memcpy(copy, bytes, size);
    assert_true(accepts(copy, size));
    assert_false(accepts(copy, size + 1));
    for (size_t n = 0; n < size; n++)
        assert_false(accepts(copy, n));
    for (size_t bit = 0; bit < 8 * size; bit++) {
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(accepts(copy, size));
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(copy);
}

static void a_store_record(void **state)
{
    uint8_t bytes[KV_STORE_BYTES];
    kv_store_record in, out;
    (void)state;
    count_up(&in, sizeof in);
    kv_store_record_encode(&in, bytes);
    assert_int_equal(kv_store_record_decode(&out, bytes, sizeof bytes, NULL), DS4_OK);
    assert_memory_equal(&in, &out, sizeof in);
    assert_guarded(accepts_store, bytes, sizeof bytes);
    bytes[8] = 2; /* of a later version: keep hands off, whatever its digest says */
    assert_int_equal(kv_store_record_decode(&out, bytes, sizeof bytes, NULL), DS4_ERR_UNSUPPORTED);
}

static void a_verdict(void **state)
{
    uint8_t bytes[KV_VERDICT_BYTES];
    kv_verdict in, out;
    (void)state;
    count_up(&in, sizeof in);
    kv_verdict_encode(&in, bytes);
    assert_true(kv_verdict_decode(&out, bytes, sizeof bytes));
    assert_memory_equal(&in.key, &out.key, sizeof in.key);
    assert_memory_equal(&in.digest, &out.digest, sizeof in.digest);
    assert_memory_equal(in.fingerprint, out.fingerprint, sizeof in.fingerprint);
    assert_true(in.time_ns == out.time_ns && in.writer == out.writer);
    assert_true(in.reason == out.reason && in.strikes == out.strikes);
    assert_guarded(accepts_verdict, bytes, sizeof bytes);
}

static void an_intent(void **state)
{
    kv_intent in = { .time_ns = 1, .writer = 2, .lineage = 3, .frontier_created_ns = 4, .pid = 5, .locked = true }, out;
    kv_intent_object objects[3];
    (void)state;
    count_up(objects, sizeof objects);
    count_up(in.fingerprint, sizeof in.fingerprint);
    count_up(in.plan.bytes, sizeof in.plan.bytes);
    in.objects = objects;
    in.n_objects = 3;
    const size_t size = kv_intent_bytes(3);
    uint8_t *bytes = malloc(size);
    kv_intent_encode(&in, bytes);
    assert_int_equal(kv_intent_decode(&out, bytes, size, NULL), DS4_OK);
    assert_true(out.time_ns == 1 && out.writer == 2 && out.lineage == 3 && out.frontier_created_ns == 4);
    assert_true(out.pid == 5 && out.locked && out.n_objects == 3);
    assert_memory_equal(out.fingerprint, in.fingerprint, sizeof in.fingerprint);
    assert_memory_equal(out.plan.bytes, in.plan.bytes, sizeof in.plan.bytes);
    for (size_t i = 0; i < 3; i++) {
        assert_memory_equal(out.objects[i].key.bytes, objects[i].key.bytes, 32);
        assert_memory_equal(out.objects[i].digest.bytes, objects[i].digest.bytes, 16);
        assert_int_equal(out.objects[i].kind, objects[i].kind);
    }
    free(out.objects);
    assert_guarded(accepts_intent, bytes, size);
    free(bytes);
}

static bool accepts_note(const uint8_t *bytes, size_t size)
{
    kv_key name;
    kv_note note;
    return kv_note_decode(&name, &note, bytes, size);
}

static void a_note(void **state)
{
    uint8_t bytes[KV_NOTE_BYTES];
    kv_note in, out;
    kv_key name, named;
    (void)state;
    count_up(&in, sizeof in);
    count_up(&name, sizeof name);
    kv_note_encode(&name, &in, 5, bytes);
    assert_true(kv_note_decode(&named, &out, bytes, sizeof bytes));
    assert_memory_equal(&in, &out, sizeof in);
    assert_memory_equal(&name, &named, sizeof name);
    assert_guarded(accepts_note, bytes, sizeof bytes);
}

static void a_use(void **state)
{
    uint8_t bytes[KV_USE_BYTES];
    kv_use in, out;
    (void)state;
    count_up(&in, sizeof in);
    kv_use_encode(&in, bytes);
    kv_use_decode(&out, bytes);
    assert_memory_equal(&in, &out, sizeof in);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_store_record), cmocka_unit_test(a_verdict),
                                        cmocka_unit_test(an_intent), cmocka_unit_test(a_note),
                                        cmocka_unit_test(a_use) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
