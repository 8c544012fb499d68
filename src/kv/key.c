#include "kv/key.h"

#include <string.h>

static void add_tokens(hash_stream *s, const uint32_t *tokens, size_t n)
{
    uint8_t bytes[256];
    while (n > 0) {
        const size_t some = n < sizeof bytes / 4 ? n : sizeof bytes / 4;
        for (size_t i = 0; i < some; i++)
            for (size_t b = 0; b < 4; b++)
                bytes[4 * i + b] = (uint8_t)(tokens[i] >> (8 * b));
        hash_stream_add(s, bytes, 4 * some);
        tokens += some;
        n -= some;
    }
}

static kv_key end(hash_stream *s)
{
    kv_key out;
    hash_stream_end(s, &out);
    return out;
}

kv_key kv_key_secret(const uint8_t salt[32], const char *name_space)
{
    hash_stream s;
    hash_stream_begin(&s, salt);
    hash_stream_add(&s, "ns", 2);
    hash_stream_add(&s, name_space, strlen(name_space));
    return end(&s);
}

kv_key kv_key_root(const kv_key *secret, const uint8_t fingerprint[32], uint32_t n)
{
    hash_stream s;
    hash_stream_begin(&s, secret->bytes);
    hash_stream_add(&s, "ds4kv root", 10);
    hash_stream_add(&s, fingerprint, 32);
    add_tokens(&s, &n, 1);
    return end(&s);
}

/* The name of tokens that stand on a parent. */
static kv_key child(const kv_key *secret, const char tag[3], const kv_key *parent, const uint32_t *tokens, size_t n)
{
    hash_stream s;
    hash_stream_begin(&s, secret->bytes);
    hash_stream_add(&s, tag, 3);
    hash_stream_add(&s, parent->bytes, sizeof parent->bytes);
    add_tokens(&s, tokens, n);
    return end(&s);
}

kv_key kv_key_segment(const kv_key *secret, const kv_key *parent, const uint32_t *tokens, size_t n)
{
    return child(secret, "seg", parent, tokens, n);
}

kv_key kv_key_frontier(const kv_key *secret, const kv_key *stem, const uint32_t *tail, size_t n)
{
    return child(secret, "frn", stem, tail, n);
}

void kv_key_frontiers(const kv_key *secret, const kv_key *stem, const uint32_t *tail, size_t first, size_t last,
                      kv_key *out)
{
    hash_stream s;
    hash_stream_begin(&s, secret->bytes);
    hash_stream_add(&s, "frn", 3);
    hash_stream_add(&s, stem->bytes, sizeof stem->bytes);
    add_tokens(&s, tail, first);
    for (size_t n = first; n <= last; n++) {
        hash_stream fork = s;
        *out++ = end(&fork);
        if (n < last)
            add_tokens(&s, tail + n, 1);
    }
}

kv_key kv_key_plan(const kv_key *keys, size_t n)
{
    hash_stream s;
    hash_stream_begin(&s, NULL);
    hash_stream_add(&s, "plan", 4);
    for (size_t i = 0; i < n; i++)
        hash_stream_add(&s, keys[i].bytes, sizeof keys[i].bytes);
    return end(&s);
}

kv_key kv_key_verdict(const kv_key *key, const hash_digest *digest)
{
    hash_stream s;
    hash_stream_begin(&s, NULL);
    hash_stream_add(&s, "verdict", 7);
    hash_stream_add(&s, key->bytes, sizeof key->bytes);
    hash_stream_add(&s, digest->bytes, sizeof digest->bytes);
    return end(&s);
}
