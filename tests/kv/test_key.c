/* Names are pinned: a change of these functions orphans every cache there is (F59). The values come from another
 * implementation, Python's hashlib, by docs/formats/kv-store.md, "Names". */
#include "kv/key.h"
#include "support/support.h"

#include <string.h>

static void assert_key(kv_key key, const char *want)
{
    char hex[HASH_KEY_HEX];
    hash_key_hex(&key, hex);
    assert_string_equal(hex, want);
}

static void names_never_change(void **state)
{
    uint8_t salt[32], fingerprint[32];
    uint32_t tokens[19];
    hash_digest digest;
    (void)state;
    assert_int_equal(hash_start(NULL), DS4_OK);
    for (uint32_t i = 0; i < 32; i++)
        salt[i] = (uint8_t)i;
    memset(fingerprint, 7, sizeof fingerprint);
    for (uint32_t i = 0; i < 18; i++)
        tokens[i] = i + 1;
    tokens[18] = UINT32_MAX;
    for (uint32_t i = 0; i < 16; i++)
        digest.bytes[i] = (uint8_t)i;
    const kv_key secret = kv_key_secret(salt, "");
    const kv_key root = kv_key_root(&secret, fingerprint, 16);
    const kv_key objects[2] = { kv_key_segment(&secret, &root, tokens, 16),
                                kv_key_frontier(&secret, &objects[0], tokens + 16, 3) };
    assert_key(secret, "113977112fd9ac1cb54909ba61c038e90b76af409766f878ded98a0b417bf48b");
    assert_key(root, "4a9e6773a556c27914787067098eb970effea0e0c67c988fe4d4d29ba1b3e611");
    assert_key(objects[0], "d9fb762c9c4487cac58c8969b48ee8873e1844de5c5a9584335730a2ef8f3cb0");
    assert_key(objects[1], "4bfd3fa49107d26ed9c6eb79335af51d4170a7bbbbd754d245aa7f78037cd2aa");
    assert_key(kv_key_plan(objects, 2), "70f4d96737363e29b7723bae6cb8ccb126817e9850362fda88bf432c4d48d455");
    assert_key(kv_key_verdict(&objects[0], &digest),
               "bbbe7bbaf0af25500107f8907154ee894ba33a6c5ff0a104e7875624d78eec40");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(names_never_change) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
