/* kv/record.h - the small records beside the objects: STORE, verdicts, intents, notes, uses. Pure functions on bytes; a record
 * that does not check out is refused whole. Any thread. */
#ifndef KV_RECORD_H
#define KV_RECORD_H

#include "kv/kv.h"

enum {
    KV_STORE_BYTES = 4096,
    KV_VERDICT_BYTES = 128,
    KV_NOTE_BYTES = 128,
    KV_USE_BYTES = 48,
    KV_INTENT_OBJECTS_MAX = 1 << 16
};

typedef struct kv_store_record {
    uint64_t budget_bytes, min_free_bytes, created_ns; /* as the maker had them; for people */
    uint8_t id[16], salt[32];
} kv_store_record;

void kv_store_record_encode(const kv_store_record *record, uint8_t out[KV_STORE_BYTES]);
/* Errors: CORRUPT; UNSUPPORTED (of a later version: keep hands off the directory). */
ds4_status kv_store_record_decode(kv_store_record *out, const uint8_t *bytes, size_t size, ds4_error *err);

enum { KV_VERDICT_CRASH = 256 }; /* `reason`: a ds4_status, or this */

typedef struct kv_verdict {
    kv_key key;         /* of the object, or of the plan */
    hash_digest digest; /* of the payload; zero for a plan */
    uint8_t fingerprint[32];
    uint64_t time_ns, writer;
    uint32_t reason, strikes;
    bool stored; /* not in the record: is there one? */
} kv_verdict;

void kv_verdict_encode(const kv_verdict *verdict, uint8_t out[KV_VERDICT_BYTES]);
bool kv_verdict_decode(kv_verdict *out, const uint8_t *bytes, size_t size);

typedef struct kv_intent_object {
    kv_key key;
    hash_digest digest; /* zero: not read yet, and another server wrote it */
    uint32_t kind;
} kv_intent_object;

typedef struct kv_intent {
    uint64_t time_ns, writer, lineage, frontier_created_ns;
    uint64_t pid; /* for people; in containers it means nothing to others */
    bool locked;  /* its writer keeps the file locked while it lives */
    uint8_t fingerprint[32];
    kv_key plan;
    uint32_t n_objects;
    kv_intent_object *objects; /* [n_objects]; free() after decoding */
} kv_intent;

size_t kv_intent_bytes(uint32_t n_objects);
void kv_intent_encode(const kv_intent *intent, uint8_t *out); /* kv_intent_bytes() of them */
/* Errors: CORRUPT, NO_MEMORY. */
ds4_status kv_intent_decode(kv_intent *out, const uint8_t *bytes, size_t size, ds4_error *err);

/* A note of a store's directory about a model; `name` is its file's. */
void kv_note_encode(const kv_key *name, const kv_note *note, uint64_t time_ns, uint8_t out[KV_NOTE_BYTES]);
bool kv_note_decode(kv_key *name, kv_note *out, const uint8_t *bytes, size_t size);

typedef struct kv_use {
    kv_key key;
    uint64_t time_ns, saved_us;
} kv_use;

void kv_use_encode(const kv_use *use, uint8_t out[KV_USE_BYTES]);
void kv_use_decode(kv_use *out, const uint8_t bytes[KV_USE_BYTES]);

#endif
