/* base/hash.h - the two hashes of ds4: BLAKE2b-256 (libsodium) names content, XXH3-128 (libxxhash) detects damage.
 * Any thread. Streams belong to one thread at a time. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "ds4/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hash_key {
    uint8_t bytes[32];
} hash_key; /* BLAKE2b-256 */
typedef struct hash_digest {
    uint8_t bytes[16];
} hash_digest; /* XXH3-128, canonical (big-endian) byte order */

/* Must be called once before any other call here (it prepares libsodium); later calls do nothing. */
ds4_status hash_start(ds4_error *err);

typedef struct hash_stream {
    _Alignas(64) unsigned char state[384]; /* crypto_generichash_state */
} hash_stream;

/* `secret` of 32 bytes keys the hash, NULL does not. A stream may be copied by assignment to fork it. */
void hash_stream_begin(hash_stream *stream, const uint8_t *secret);
void hash_stream_add(hash_stream *stream, const void *bytes, size_t size);
void hash_stream_add_u64(hash_stream *stream, uint64_t value); /* little-endian */
void hash_stream_end(hash_stream *stream, hash_key *out);

hash_digest hash_bytes(const void *bytes, size_t size); /* XXH3-128, seed 0 */

bool hash_key_equal(const hash_key *a, const hash_key *b);
bool hash_digest_equal(const hash_digest *a, const hash_digest *b);

enum { HASH_KEY_HEX = 65 };
void hash_key_hex(const hash_key *key, char out[HASH_KEY_HEX]); /* 64 lower-case digits and a 0 */
bool hash_key_from_hex(hash_key *out, const char *hex);         /* false unless exactly 64 lower-case digits */

void hash_random(void *out, size_t size); /* from the system's generator */

#endif
