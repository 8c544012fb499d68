/* kv/header.c
 * (1) Nothing in the header is believed before its digest.
 * (2) A file of another world (magic, major version, fingerprint, shape) is left alone: others may own it (F50, P6).
 * (3) When kv_header_check_table() is content, the file size equals what the layout demands, so no number from the file
 *     decides how much is allocated (F49). */
#include "kv/header.h"

#include "base/cursor.h"

#include <string.h>

static const uint8_t magic[8] = { 0x89, 0x44, 0x53, 0x34, 0x4B, 0x56, 0x0D, 0x0A };

enum { AT_TABLE = 256, ENTRY_BYTES = 48, AT_NONCE = 3136, AT_LINEAGE = 3160, AT_ZERO = 3168, AT_DIGEST = 4080 };

static const kv_finding fine = { 0, KV_ACTION_NONE, "ok" };

static void put(uint8_t *at, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

void kv_header_encode(const kv_header *h, uint8_t out[KV_HEADER_BYTES])
{
    memset(out, 0, KV_HEADER_BYTES);
    memcpy(out, magic, sizeof magic);
    put(out + 8, h->major, 2);
    put(out + 10, h->minor, 2);
    put(out + 12, h->kind, 2);
    put(out + 14, h->flags, 2);
    put(out + 16, KV_HEADER_BYTES, 4);
    put(out + 20, h->n_sections, 4);
    put(out + 24, h->file_bytes, 8);
    memcpy(out + 32, h->fingerprint, 32);
    memcpy(out + 64, h->key.bytes, 32);
    memcpy(out + 96, h->parent.bytes, 32);
    put(out + 128, h->begin, 8);
    put(out + 136, h->end, 8);
    put(out + 144, h->n, 4);
    for (size_t i = 0; i < 6; i++)
        put(out + 148 + 2 * i, h->codecs[i], 2);
    for (size_t i = 0; i < KV_SHAPE_FIELDS; i++)
        put(out + 160 + 4 * i, h->shape[i], 4);
    put(out + 208, h->created_ns, 8);
    put(out + 216, h->writer, 8);
    put(out + 224, h->reason, 2); /* 226..231: shards and aliases, of later issues */
    put(out + 232, h->cost_us, 8);
    memcpy(out + 240, h->payload.bytes, 16);
    for (uint32_t i = 0; i < h->n_sections && i < KV_SECTIONS_MAX; i++) {
        uint8_t *at = out + AT_TABLE + (size_t)i * ENTRY_BYTES;
        const kv_entry *e = &h->entries[i];
        put(at, e->type, 4);
        put(at + 4, e->arg, 4);
        put(at + 8, e->offset, 8);
        put(at + 16, e->stored_bytes, 8);
        put(at + 24, e->raw_bytes, 8);
        memcpy(at + 32, e->digest.bytes, 16);
    }
    put(out + AT_LINEAGE, h->lineage, 8);
    const hash_digest digest = hash_bytes(out, AT_DIGEST);
    memcpy(out + AT_DIGEST, digest.bytes, 16);
}

static bool all_zero(const uint8_t *bytes, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= bytes[i];
    return any == 0;
}

static void decode_fields(kv_header *h, const uint8_t *b)
{
    h->kind = (uint16_t)cursor_load(b + 12, 2);
    h->flags = (uint16_t)cursor_load(b + 14, 2);
    h->file_bytes = cursor_load(b + 24, 8);
    memcpy(h->fingerprint, b + 32, 32);
    memcpy(h->key.bytes, b + 64, 32);
    memcpy(h->parent.bytes, b + 96, 32);
    h->begin = cursor_load(b + 128, 8);
    h->end = cursor_load(b + 136, 8);
    h->n = (uint32_t)cursor_load(b + 144, 4);
    for (size_t i = 0; i < 6; i++)
        h->codecs[i] = (uint16_t)cursor_load(b + 148 + 2 * i, 2);
    for (size_t i = 0; i < KV_SHAPE_FIELDS; i++)
        h->shape[i] = (uint32_t)cursor_load(b + 160 + 4 * i, 4);
    h->created_ns = cursor_load(b + 208, 8);
    h->writer = cursor_load(b + 216, 8);
    h->reason = (uint16_t)cursor_load(b + 224, 2);
    h->cost_us = cursor_load(b + 232, 8);
    memcpy(h->payload.bytes, b + 240, 16);
    for (uint32_t i = 0; i < h->n_sections; i++) {
        const uint8_t *at = b + AT_TABLE + (size_t)i * ENTRY_BYTES;
        kv_entry *e = &h->entries[i];
        e->type = (uint32_t)cursor_load(at, 4);
        e->arg = (uint32_t)cursor_load(at + 4, 4);
        e->offset = cursor_load(at + 8, 8);
        e->stored_bytes = cursor_load(at + 16, 8);
        e->raw_bytes = cursor_load(at + 24, 8);
        memcpy(e->digest.bytes, at + 32, 16);
    }
    h->lineage = cursor_load(b + AT_LINEAGE, 8);
}

kv_finding kv_header_decode(kv_header *out, const uint8_t *b, size_t size, uint64_t file_bytes)
{
    if (size < KV_HEADER_BYTES)
        return (kv_finding){ 1, KV_ACTION_UNLINK, "short" };
    if (memcmp(b, magic, sizeof magic) != 0)
        return (kv_finding){ 1, KV_ACTION_IGNORE, "foreign" };
    /* (2) before the digest: a later version may keep its digest elsewhere. */
    if (cursor_load(b + 8, 2) != KV_MAJOR)
        return (kv_finding){ 2, KV_ACTION_IGNORE, "version" };
    const hash_digest digest = hash_bytes(b, AT_DIGEST);
    if (memcmp(digest.bytes, b + AT_DIGEST, 16) != 0) /* (1) */
        return (kv_finding){ 1, KV_ACTION_UNLINK, "header" };
    *out = (kv_header){ .major = KV_MAJOR, .minor = (uint16_t)cursor_load(b + 10, 2) };
    out->n_sections = (uint32_t)cursor_load(b + 20, 4);
    if (cursor_load(b + 16, 4) != KV_HEADER_BYTES || out->n_sections == 0 || out->n_sections > KV_SECTIONS_MAX ||
        !all_zero(b + AT_NONCE, AT_LINEAGE - AT_NONCE) || !all_zero(b + AT_ZERO, AT_DIGEST - AT_ZERO))
        return (kv_finding){ 1, KV_ACTION_IGNORE, "foreign" };
    decode_fields(out, b);
    if (out->file_bytes != file_bytes)
        return (kv_finding){ 1, KV_ACTION_UNLINK, "size" };
    return fine;
}

kv_finding kv_header_check_identity(const kv_header *h, const kv_layout *layout, const uint8_t fingerprint[32],
                                    uint32_t n)
{
    uint32_t shape[KV_SHAPE_FIELDS];
    kv_layout_shape(layout, shape);
    if (h->kind != KV_KIND_SEGMENT && h->kind != KV_KIND_FRONTIER)
        return (kv_finding){ 2, KV_ACTION_IGNORE, "kind" };
    if (memcmp(h->fingerprint, fingerprint, 32) != 0)
        return (kv_finding){ 2, KV_ACTION_IGNORE, "fingerprint" };
    if (h->n != n)
        return (kv_finding){ 2, KV_ACTION_IGNORE, "segment-size" };
    if (memcmp(h->shape, shape, sizeof shape) != 0)
        return (kv_finding){ 2, KV_ACTION_IGNORE, "shape" };
    if (memcmp(h->codecs, layout->codecs, sizeof h->codecs) != 0 || (h->flags & ~KV_FLAG_LOGITS) != 0)
        return (kv_finding){ 2, KV_ACTION_IGNORE, "codec" };
    return fine;
}

kv_finding kv_header_check_table(const kv_header *h, const kv_layout *layout, const kv_key *name, uint16_t kind)
{
    const kv_finding broken = { 3, KV_ACTION_UNLINK, "table" };
    const kv_extent extent = { h->kind, h->begin, h->end, h->n, (h->flags & KV_FLAG_LOGITS) != 0 };
    uint64_t at = KV_PAGE;
    uint32_t last = 0;
    bool algebra = true;
    if (!hash_key_equal(&h->key, name) || h->kind != kind)
        return (kv_finding){ 3, KV_ACTION_UNLINK, "name" };
    if (!kv_extent_valid(&extent))
        return (kv_finding){ 3, KV_ACTION_UNLINK, "range" };
    for (uint32_t i = 0; i < h->n_sections; i++) {
        const kv_entry *e = &h->entries[i];
        if (e->type <= last || e->type >= KV_SECTION_TYPES || e->arg != 0 || e->offset != at ||
            e->stored_bytes != e->raw_bytes || e->stored_bytes == 0 || e->stored_bytes > KV_OBJECT_BYTES_MAX)
            return broken;
        /* (3) absent sections are those the layout wants empty. */
        for (uint32_t type = last + 1; type < e->type; type++)
            algebra = algebra && kv_layout_section_bytes(layout, &extent, type) == 0;
        algebra = algebra && kv_layout_section_bytes(layout, &extent, e->type) == e->stored_bytes;
        last = e->type;
        at += kv_page_up(e->stored_bytes);
    }
    for (uint32_t type = last + 1; type < KV_SECTION_TYPES; type++)
        algebra = algebra && kv_layout_section_bytes(layout, &extent, type) == 0;
    if (at != h->file_bytes)
        return broken;
    const hash_digest payload = kv_header_payload_digest(h);
    if (!hash_digest_equal(&payload, &h->payload))
        return broken;
    if (!algebra)
        return (kv_finding){ 6, KV_ACTION_UNLINK, "algebra" };
    return fine;
}

hash_digest kv_header_payload_digest(const kv_header *h)
{
    uint8_t all[KV_SECTIONS_MAX * 16];
    for (uint32_t i = 0; i < h->n_sections; i++)
        memcpy(all + 16 * (size_t)i, h->entries[i].digest.bytes, 16);
    return hash_bytes(all, 16 * (size_t)h->n_sections);
}
