/* kv/key.h - the names of objects (docs/formats/kv-store.md, "Names"). Pinned by golden vectors in tests/kv/test_key.c:
 * a change here orphans every cache there is (F59). Any thread. */
#ifndef KV_KEY_H
#define KV_KEY_H

#include "kv/kv.h"

/* The secret of a namespace: keys all names, so that two name spaces cannot be compared from outside. */
kv_key kv_key_secret(const uint8_t salt[32], const char *name_space);
kv_key kv_key_root(const kv_key *secret, const uint8_t fingerprint[32], uint32_t n);
kv_key kv_key_segment(const kv_key *secret, const kv_key *parent, const uint32_t *tokens, size_t n);
kv_key kv_key_frontier(const kv_key *secret, const kv_key *stem, const uint32_t *tail, size_t n);
/* The names of the frontiers first .. last tokens above a stem, in one pass over the tail; out[last - first + 1]. */
void kv_key_frontiers(const kv_key *secret, const kv_key *stem, const uint32_t *tail, size_t first, size_t last,
                      kv_key *out);
/* The name of a plan in negative memory: all its objects, in order. */
kv_key kv_key_plan(const kv_key *keys, size_t n);
/* The file name of a verdict on one object with one payload. */
kv_key kv_key_verdict(const kv_key *key, const hash_digest *digest);

#endif
