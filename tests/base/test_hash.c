/* The two hashes against published values; they name files, so they are the same for ever. */
#include "base/hash.h"
#include "support/support.h"

#include <string.h>

static hash_key hashed(const uint8_t *secret, const void *bytes, size_t size)
{
    hash_stream stream;
    hash_key key;
    hash_stream_begin(&stream, secret);
    hash_stream_add(&stream, bytes, size);
    hash_stream_end(&stream, &key);
    return key;
}

static void names_are_blake2b_256(void **state)
{
    /* BLAKE2b-256 of "" and "abc", as b2sum -l 256 prints them. */
    static const char *const texts[] = { "", "abc" }, *const want[] = {
        "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8",
        "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319",
    };
    char hex[HASH_KEY_HEX];
    (void)state;
    for (int i = 0; i < 2; i++) {
        const hash_key key = hashed(NULL, texts[i], strlen(texts[i]));
        hash_key_hex(&key, hex);
        assert_string_equal(hex, want[i]);
    }
}

static void a_secret_changes_the_name(void **state)
{
    uint8_t secret[32] = { 1 }, other[32] = { 2 };
    (void)state;
    const hash_key plain = hashed(NULL, "abc", 3), a = hashed(secret, "abc", 3), b = hashed(other, "abc", 3),
                   again = hashed(secret, "abc", 3);
    assert_false(hash_key_equal(&plain, &a));
    assert_false(hash_key_equal(&a, &b));
    assert_true(hash_key_equal(&a, &again));
}

static void a_stream_is_its_bytes_however_they_are_cut(void **state)
{
    uint8_t bytes[1000];
    hash_stream stream, fork;
    hash_key whole, parts;
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    whole = hashed(NULL, bytes, sizeof bytes);
    for (size_t cut = 1; cut < 300; cut += 37) {
        hash_stream_begin(&stream, NULL);
        for (size_t at = 0; at < sizeof bytes; at += cut)
            hash_stream_add(&stream, bytes + at, sizeof bytes - at < cut ? sizeof bytes - at : cut);
        fork = stream; /* a copy goes its own way */
        hash_stream_add(&fork, "x", 1);
        hash_stream_end(&stream, &parts);
        assert_true(hash_key_equal(&whole, &parts));
        hash_stream_end(&fork, &parts);
        assert_false(hash_key_equal(&whole, &parts));
    }
}

static void numbers_are_hashed_as_little_endian(void **state)
{
    hash_stream stream;
    hash_key key;
    (void)state;
    hash_stream_begin(&stream, NULL);
    hash_stream_add_u64(&stream, UINT64_C(0x0807060504030201));
    hash_stream_end(&stream, &key);
    const hash_key want = hashed(NULL, "\1\2\3\4\5\6\7\10", 8);
    assert_true(hash_key_equal(&key, &want));
}

static void checksums_are_xxh3_128(void **state)
{
    /* XXH3-128 of no bytes, from the specification of xxHash: 99aa06d3014798d86001c324468d497f. */
    static const uint8_t want[16] = { 0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47, 0x98, 0xd8,
                                      0x60, 0x01, 0xc3, 0x24, 0x46, 0x8d, 0x49, 0x7f };
    const hash_digest none = hash_bytes("", 0), one = hash_bytes("a", 1), other = hash_bytes("b", 1);
    (void)state;
    assert_memory_equal(none.bytes, want, 16);
    assert_false(hash_digest_equal(&one, &other));
    assert_true(hash_digest_equal(&one, &one));
}

static void only_64_small_digits_are_a_name(void **state)
{
    char hex[HASH_KEY_HEX + 1], back[HASH_KEY_HEX];
    hash_key key, untouched;
    (void)state;
    hash_random(&key, sizeof key);
    hash_key_hex(&key, back);
    memcpy(hex, back, HASH_KEY_HEX);
    memset(&untouched, 7, sizeof untouched);
    hash_key read = untouched;
    assert_true(hash_key_from_hex(&read, hex));
    assert_true(hash_key_equal(&read, &key));
    for (const char *c = "gG/:`@AF \n"; *c; c++)
        for (size_t at = 0; at < 64; at += 21) {
            memcpy(hex, back, HASH_KEY_HEX);
            hex[at] = *c;
            read = untouched;
            assert_false(hash_key_from_hex(&read, hex));
            assert_true(hash_key_equal(&read, &untouched)); /* a refusal leaves it alone */
        }
    memcpy(hex, back, HASH_KEY_HEX);
    hex[63] = 0;
    assert_false(hash_key_from_hex(&read, hex));
    memcpy(hex, back, HASH_KEY_HEX);
    hex[64] = '0', hex[65] = 0;
    assert_false(hash_key_from_hex(&read, hex));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_blake2b_256),
        cmocka_unit_test(a_secret_changes_the_name),
        cmocka_unit_test(a_stream_is_its_bytes_however_they_are_cut),
        cmocka_unit_test(numbers_are_hashed_as_little_endian),
        cmocka_unit_test(checksums_are_xxh3_128),
        cmocka_unit_test(only_64_small_digits_are_a_name),
    };
    return hash_start(NULL) == DS4_OK ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
