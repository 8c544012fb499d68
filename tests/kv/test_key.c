/* The names of objects, pinned: a build that names them otherwise finds nothing of what older ones saved (F59). The vectors
 * were computed with Python's hashlib from docs/formats/kv-store.md, "Names", not with this code. */
#include "kv/key.h"
#include "support/support.h"

static void expect(kv_key key, const char *hex)
{
    char text[HASH_KEY_HEX];
    hash_key_hex(&key, text);
    assert_string_equal(text, hex);
}

static void names_are_those_of_the_format(void **state)
{
    (void)state;
    enum { N_TOKENS = 104 }; /* more than what key.c hashes at a time */
    uint8_t salt[32], fingerprint[32];
    uint32_t tokens[N_TOKENS] = { 1, 256, 65536, 0x01020304 };
    hash_digest digest;
    for (int i = 0; i < 32; i++)
        salt[i] = (uint8_t)i, fingerprint[i] = (uint8_t)(100 + i);
    for (int i = 0; i < 16; i++)
        digest.bytes[i] = (uint8_t)(200 + i);
    for (uint32_t i = 4; i < N_TOKENS; i++)
        tokens[i] = 7 * (i - 4);
    const kv_key secret = kv_key_secret(salt, "team");
    expect(secret, "bc70383abb7d13149b155a027f01efc43f91114dcf0f637d93a888187ae2ddd9");
    const kv_key root = kv_key_root(&secret, fingerprint, 1024);
    expect(root, "f4891266b85cc962edd137916bf44b06d59576118b3ca92b7071dfde11642255");
    const kv_key segment = kv_key_segment(&secret, &root, tokens, N_TOKENS);
    expect(segment, "dd2025e1f2780a5b16f673e3def4a4be0dee44beac8ccce77c59d113c3a16d24");
    const kv_key frontier = kv_key_frontier(&secret, &segment, tokens, 3);
    expect(frontier, "9345f2fd8540eefc02c4c65706c9b701e24d8b9036356fc15bb5963916b050ec");
    expect(kv_key_frontier(&secret, &root, tokens, 0),
           "cbc498ebfffa3ca3f9faf38982e78d9eb30701ec89571dcf0bd1f3161f2a02eb");
    const kv_key both[] = { segment, frontier };
    expect(kv_key_plan(both, 2), "7a4b752856595e92abee2e1dcda272992aefe33982205d5ba1933a6c9dc4c3a9");
    expect(kv_key_verdict(&segment, &digest), "0724b6cd6940f25be0d80848c5131830bc873dc3a5564f9e173a1759cc45bde6");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(names_are_those_of_the_format) };
    return hash_start(NULL) == DS4_OK ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
