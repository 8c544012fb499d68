/* kv/header.h - the 4,096-byte header of an object: encoding, decoding, and the steps of the read ladder that need
 * nothing but the header. Pure functions on bytes. Any thread. */
#ifndef KV_HEADER_H
#define KV_HEADER_H

#include "kv/layout.h"

enum { KV_HEADER_BYTES = 4096, KV_SECTIONS_MAX = 60 };
enum { KV_MAJOR = 1, KV_MINOR = 0 };
enum { KV_FLAG_ENCRYPTED = 1, KV_FLAG_COMPRESSED = 2, KV_FLAG_SHARDED = 4, KV_FLAG_LOSSY = 8, KV_FLAG_LOGITS = 16 };

typedef struct kv_entry {
    uint32_t type, arg;
    uint64_t offset, stored_bytes, raw_bytes;
    hash_digest digest;
} kv_entry;

typedef struct kv_header {
    uint16_t major, minor, kind, flags;
    uint32_t n_sections;
    uint64_t file_bytes;
    uint8_t fingerprint[32];
    kv_key key, parent;
    uint64_t begin, end;
    uint32_t n;
    uint16_t codecs[6];
    uint32_t shape[KV_SHAPE_FIELDS];
    uint64_t created_ns, writer;
    uint16_t reason;
    uint64_t cost_us;
    hash_digest payload;
    kv_entry entries[KV_SECTIONS_MAX];
    uint64_t lineage;
} kv_header;

typedef enum kv_action { KV_ACTION_NONE, KV_ACTION_IGNORE, KV_ACTION_UNLINK, KV_ACTION_QUARANTINE } kv_action;

/* What the ladder found. step 0: all is well. */
typedef struct kv_finding {
    int step; /* 1..9 */
    kv_action action;
    const char *why; /* constant, one word */
} kv_finding;

void kv_header_encode(const kv_header *header, uint8_t out[KV_HEADER_BYTES]);
/* V1 and the version part of V2. `file_bytes` is the size on disk. *out is filled only when step is 0. */
kv_finding kv_header_decode(kv_header *out, const uint8_t *bytes, size_t size, uint64_t file_bytes);
/* V2: is it of our world? */
kv_finding kv_header_check_identity(const kv_header *header, const kv_layout *layout, const uint8_t fingerprint[32],
                                    uint32_t n);
/* V3 and V6 as far as the header goes: key, range, section table, sizes by the layout. Bounds everything that is read
 * or allocated afterwards. */
kv_finding kv_header_check_table(const kv_header *header, const kv_layout *layout, const kv_key *name, uint16_t kind);
/* The digest over the digests of the table. */
hash_digest kv_header_payload_digest(const kv_header *header);

#endif
