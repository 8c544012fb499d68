#include "base/hash.h"

#include <sodium.h>
#include <string.h>
#include <xxhash.h>

_Static_assert(sizeof(crypto_generichash_state) <= sizeof(hash_stream), "hash_stream is too small");

ds4_status hash_start(ds4_error *err)
{
    if (sodium_init() < 0)
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "libsodium cannot start: the system gives no random numbers");
    return DS4_OK;
}

static crypto_generichash_state *state_of(hash_stream *stream)
{
    return (crypto_generichash_state *)(void *)stream->state;
}

void hash_stream_begin(hash_stream *stream, const uint8_t *secret)
{
    crypto_generichash_init(state_of(stream), secret, secret ? 32 : 0, sizeof(hash_key));
}

void hash_stream_add(hash_stream *stream, const void *bytes, size_t size)
{
    crypto_generichash_update(state_of(stream), bytes, size);
}

void hash_stream_add_u64(hash_stream *stream, uint64_t value)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    hash_stream_add(stream, bytes, sizeof bytes);
}

void hash_stream_end(hash_stream *stream, hash_key *out)
{
    crypto_generichash_final(state_of(stream), out->bytes, sizeof out->bytes);
}

hash_digest hash_bytes(const void *bytes, size_t size)
{
    XXH128_canonical_t canonical;
    hash_digest out;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, size));
    memcpy(out.bytes, canonical.digest, sizeof out.bytes);
    return out;
}

bool hash_key_equal(const hash_key *a, const hash_key *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool hash_digest_equal(const hash_digest *a, const hash_digest *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void hash_key_hex(const hash_key *key, char out[HASH_KEY_HEX])
{
    sodium_bin2hex(out, HASH_KEY_HEX, key->bytes, sizeof key->bytes);
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hash_key_from_hex(hash_key *out, const char *hex)
{
    hash_key key;
    if (strnlen(hex, HASH_KEY_HEX) != HASH_KEY_HEX - 1)
        return false;
    for (size_t i = 0; i < sizeof key.bytes; i++) {
        const int high = digit_of(hex[2 * i]), low = digit_of(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        key.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *out = key;
    return true;
}

void hash_random(void *out, size_t size)
{
    randombytes_buf(out, size);
}
