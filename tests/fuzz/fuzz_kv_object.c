/* Any bytes as what stands in a store's directory: the header of an object, and each of the small records. Digests are
 * repaired, so that the steps behind them are reached: a hostile file has a right one. What is accepted is bounded, and
 * says the same when it is written again. */
#include "kv/header.h"
#include "kv/record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool condition)
{
    if (!condition)
        abort();
}

static size_t section_bytes(void *user, uint32_t type, uint64_t begin, uint64_t end)
{
    (void)user;
    return type == KV_SECTION_WINDOW ? 32 : (size_t)((end / 4 - begin / 4) * 8);
}

static void look_at_object(const uint8_t *bytes, size_t size)
{
    static const uint8_t fingerprint[32];
    kv_layout layout = { .n_layers = 1, .section_bytes = section_bytes };
    layout.rules[KV_SECTION_CSA_ROWS] = (kv_section_rule){ .used = true, .f32 = true };
    layout.rules[KV_SECTION_WINDOW] = (kv_section_rule){ .used = true, .f32 = true };
    kv_header *h = calloc(1, sizeof *h);
    kv_finding f = kv_header_decode(h, bytes, size, size);
    if (!f.step)
        f = kv_header_check_identity(h, &layout, fingerprint, 8);
    if (!f.step)
        f = kv_header_check_table(h, &layout, &h->key, h->kind);
    for (uint32_t i = 0; !f.step && i < h->n_sections; i++)
        need(h->entries[i].offset + h->entries[i].stored_bytes <= size);
    if (!f.step)
        need(h->end >= h->begin && h->end <= KV_TOKENS_MAX);
    free(h);
}

static void look_at_records(const uint8_t *bytes, size_t size)
{
    uint8_t again[KV_STORE_BYTES];
    kv_store_record record;
    kv_verdict verdict;
    kv_intent intent;
    if (kv_store_record_decode(&record, bytes, size, NULL) == DS4_OK) {
        kv_store_record other;
        kv_store_record_encode(&record, again);
        need(kv_store_record_decode(&other, again, sizeof again, NULL) == DS4_OK);
        need(memcmp(&record, &other, sizeof other) == 0);
    }
    if (kv_verdict_decode(&verdict, bytes, size)) {
        kv_verdict_encode(&verdict, again);
        need(memcmp(bytes, again, KV_VERDICT_BYTES) == 0);
    }
    if (kv_intent_decode(&intent, bytes, size, NULL) == DS4_OK) {
        need(kv_intent_bytes(intent.n_objects) == size);
        free(intent.objects);
    }
    kv_key name;
    kv_note note;
    if (kv_note_decode(&name, &note, bytes, size)) {
        kv_note_encode(&name, &note, 0, again);
        need(memcmp(bytes + 16, again + 16, KV_NOTE_BYTES - 32) == 0); /* all but time and digest */
    }
    for (size_t at = 0; at + KV_USE_BYTES <= size; at += KV_USE_BYTES) {
        kv_use use;
        kv_use_decode(&use, bytes + at);
        kv_use_encode(&use, again);
        need(memcmp(bytes + at, again, KV_USE_BYTES) == 0);
    }
}

/* The digest over everything before it, at the end of the record or header. */
static void seal(uint8_t *bytes, size_t size)
{
    const hash_digest digest = hash_bytes(bytes, size - sizeof digest.bytes);
    memcpy(bytes + size - sizeof digest.bytes, digest.bytes, sizeof digest.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    look_at_object(data, size);
    look_at_records(data, size);
    uint8_t *copy = malloc(size + 1);
    memcpy(copy, data, size);
    if (size >= 16) {
        seal(copy, size);
        look_at_records(copy, size);
    }
    memcpy(copy, data, size);
    if (size >= KV_HEADER_BYTES) {
        seal(copy, KV_HEADER_BYTES);
        look_at_object(copy, size);
        /* The payload digest, too: it covers the table, not the bytes. */
        kv_header *h = calloc(1, sizeof *h);
        if (!kv_header_decode(h, copy, size, size).step) {
            h->payload = kv_header_payload_digest(h);
            memcpy(copy + 240, h->payload.bytes, sizeof h->payload.bytes);
            seal(copy, KV_HEADER_BYTES);
            look_at_object(copy, size);
        }
        free(h);
    }
    free(copy);
    return 0;
}
