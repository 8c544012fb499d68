#include "kv/record.h"

#include "base/cursor.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t store_magic[8] = { 0x89, 'D', 'S', '4', 'S', 'T', 0x0D, 0x0A };
static const uint8_t verdict_magic[8] = { 0x89, 'D', 'S', '4', 'P', '1', 0x0D, 0x0A };
static const uint8_t note_magic[8] = { 0x89, 'D', 'S', '4', 'M', '1', 0x0D, 0x0A };
static const uint8_t intent_magic[8] = { 0x89, 'D', 'S', '4', 'I', '1', 0x0D, 0x0A };

enum { INTENT_HEAD = 136, INTENT_OBJECT = 56, DIGEST = 16, RECORD_MAJOR = 1, INTENT_LOCKED = 1 };

static uint8_t *put(uint8_t *at, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        at[i] = (uint8_t)(i < 8 ? value >> (8 * i) : 0); /* longer fields are padding */
    return at + n;
}

static uint8_t *put_bytes(uint8_t *at, const void *bytes, size_t n)
{
    memcpy(at, bytes, n);
    return at + n;
}

static void seal(uint8_t *record, size_t size)
{
    const hash_digest digest = hash_bytes(record, size - DIGEST);
    memcpy(record + size - DIGEST, digest.bytes, DIGEST);
}

static bool is_sealed(const uint8_t *record, size_t size)
{
    const hash_digest digest = hash_bytes(record, size - DIGEST);
    return memcmp(record + size - DIGEST, digest.bytes, DIGEST) == 0;
}

void kv_store_record_encode(const kv_store_record *r, uint8_t out[KV_STORE_BYTES])
{
    memset(out, 0, KV_STORE_BYTES);
    uint8_t *at = put_bytes(out, store_magic, 8);
    at = put(at, RECORD_MAJOR, 2);
    at = put(at, 0, 2);
    at = put(at, KV_STORE_BYTES, 4);
    at = put(at, r->budget_bytes, 8);
    at = put(at, r->min_free_bytes, 8);
    at = put(at, r->created_ns, 8);
    at = put_bytes(at, r->id, sizeof r->id);
    put_bytes(at, r->salt, sizeof r->salt);
    seal(out, KV_STORE_BYTES);
}

ds4_status kv_store_record_decode(kv_store_record *out, const uint8_t *bytes, size_t size, ds4_error *err)
{
    if (size >= 10 && memcmp(bytes, store_magic, 8) == 0 && cursor_load(bytes + 8, 2) != RECORD_MAJOR)
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "STORE: version %u of the format is not known here",
                        (unsigned)cursor_load(bytes + 8, 2));
    if (size != KV_STORE_BYTES || memcmp(bytes, store_magic, 8) != 0 || !is_sealed(bytes, size))
        return ds4_fail(err, DS4_ERR_CORRUPT, "STORE: damaged");
    out->budget_bytes = cursor_load(bytes + 16, 8);
    out->min_free_bytes = cursor_load(bytes + 24, 8);
    out->created_ns = cursor_load(bytes + 32, 8);
    memcpy(out->id, bytes + 40, sizeof out->id);
    memcpy(out->salt, bytes + 56, sizeof out->salt);
    return DS4_OK;
}

void kv_verdict_encode(const kv_verdict *v, uint8_t out[KV_VERDICT_BYTES])
{
    uint8_t *at = put_bytes(out, verdict_magic, 8);
    at = put_bytes(at, v->key.bytes, 32);
    at = put_bytes(at, v->digest.bytes, 16);
    at = put_bytes(at, v->fingerprint, 32);
    at = put(at, v->time_ns, 8);
    at = put(at, v->writer, 8);
    at = put(at, v->reason, 4);
    put(at, v->strikes, 4);
    seal(out, KV_VERDICT_BYTES);
}

bool kv_verdict_decode(kv_verdict *out, const uint8_t *b, size_t size)
{
    if (size != KV_VERDICT_BYTES || memcmp(b, verdict_magic, 8) != 0 || !is_sealed(b, size))
        return false;
    *out = (kv_verdict){ 0 };
    memcpy(out->key.bytes, b + 8, 32);
    memcpy(out->digest.bytes, b + 40, 16);
    memcpy(out->fingerprint, b + 56, 32);
    out->time_ns = cursor_load(b + 88, 8);
    out->writer = cursor_load(b + 96, 8);
    out->reason = (uint32_t)cursor_load(b + 104, 4);
    out->strikes = (uint32_t)cursor_load(b + 108, 4);
    return true;
}

void kv_note_encode(const kv_key *name, const kv_note *note, uint64_t time_ns, uint8_t out[KV_NOTE_BYTES])
{
    uint8_t *at = put_bytes(out, note_magic, 8);
    at = put(at, time_ns, 8);
    at = put_bytes(at, name->bytes, 32);
    at = put_bytes(at, note->weights.bytes, 32);
    put_bytes(at, note->id.bytes, 32);
    seal(out, KV_NOTE_BYTES);
}

bool kv_note_decode(kv_key *name, kv_note *out, const uint8_t *b, size_t size)
{
    if (size != KV_NOTE_BYTES || memcmp(b, note_magic, 8) != 0 || !is_sealed(b, size))
        return false;
    memcpy(name->bytes, b + 16, 32);
    memcpy(out->weights.bytes, b + 48, 32);
    memcpy(out->id.bytes, b + 80, 32);
    return true;
}

size_t kv_intent_bytes(uint32_t n_objects)
{
    return INTENT_HEAD + (size_t)n_objects * INTENT_OBJECT + DIGEST;
}

void kv_intent_encode(const kv_intent *intent, uint8_t *out)
{
    uint8_t *at = put_bytes(out, intent_magic, 8);
    at = put(at, intent->time_ns, 8);
    at = put(at, intent->writer, 8);
    at = put(at, intent->lineage, 8);
    at = put(at, intent->frontier_created_ns, 8);
    at = put(at, intent->pid, 8);
    at = put(at, 0, 8);
    at = put_bytes(at, intent->fingerprint, 32);
    at = put_bytes(at, intent->plan.bytes, 32);
    at = put(at, intent->n_objects, 4);
    at = put(at, intent->locked ? INTENT_LOCKED : 0, 4);
    at = put(at, 0, 8);
    for (uint32_t i = 0; i < intent->n_objects; i++) {
        at = put_bytes(at, intent->objects[i].key.bytes, 32);
        at = put_bytes(at, intent->objects[i].digest.bytes, 16);
        at = put(at, intent->objects[i].kind, 4);
        at = put(at, 0, 4);
    }
    seal(out, kv_intent_bytes(intent->n_objects));
}

ds4_status kv_intent_decode(kv_intent *out, const uint8_t *b, size_t size, ds4_error *err)
{
    *out = (kv_intent){ 0 };
    if (size < INTENT_HEAD + DIGEST || memcmp(b, intent_magic, 8) != 0 || !is_sealed(b, size))
        return ds4_fail(err, DS4_ERR_CORRUPT, "intent: damaged");
    const uint32_t n = (uint32_t)cursor_load(b + 120, 4);
    if (n == 0 || n > KV_INTENT_OBJECTS_MAX || size != kv_intent_bytes(n))
        return ds4_fail(err, DS4_ERR_CORRUPT, "intent: %u objects in %zu bytes", n, size);
    out->time_ns = cursor_load(b + 8, 8);
    out->writer = cursor_load(b + 16, 8);
    out->lineage = cursor_load(b + 24, 8);
    out->frontier_created_ns = cursor_load(b + 32, 8);
    out->pid = cursor_load(b + 40, 8);
    out->locked = (cursor_load(b + 124, 4) & INTENT_LOCKED) != 0;
    memcpy(out->fingerprint, b + 56, 32);
    memcpy(out->plan.bytes, b + 88, 32);
    out->objects = calloc(n, sizeof *out->objects);
    if (!out->objects)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "intent: %u objects", n);
    out->n_objects = n;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *at = b + INTENT_HEAD + (size_t)i * INTENT_OBJECT;
        memcpy(out->objects[i].key.bytes, at, 32);
        memcpy(out->objects[i].digest.bytes, at + 32, 16);
        out->objects[i].kind = (uint32_t)cursor_load(at + 48, 4);
    }
    return DS4_OK;
}

void kv_use_encode(const kv_use *use, uint8_t out[KV_USE_BYTES])
{
    uint8_t *at = put_bytes(out, use->key.bytes, 32);
    at = put(at, use->time_ns, 8);
    put(at, use->saved_us, 8);
}

void kv_use_decode(kv_use *out, const uint8_t b[KV_USE_BYTES])
{
    memcpy(out->key.bytes, b, 32);
    out->time_ns = cursor_load(b + 32, 8);
    out->saved_us = cursor_load(b + 40, 8);
}
