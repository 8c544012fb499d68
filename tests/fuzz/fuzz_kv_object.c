/* Any bytes as the file of a stored object: the ladder's header steps refuse it, or bound everything that would be read. With the
 * digest repaired, so that the steps behind it are reached too. */
#include "kv/header.h"
#include "kv/record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t section_bytes(void *user, uint32_t type, uint64_t begin, uint64_t end)
{
    (void)user;
    return type == KV_SECTION_WINDOW ? 32 : (size_t)((end / 4 - begin / 4) * 8);
}

static void look(const uint8_t *bytes, size_t size, const kv_layout *layout)
{
    static const uint8_t fingerprint[32];
    kv_header *h = malloc(sizeof *h);
    kv_finding f = kv_header_decode(h, bytes, size, size);
    if (!f.step)
        f = kv_header_check_identity(h, layout, fingerprint, 8);
    if (!f.step) {
        f = kv_header_check_table(h, layout, &h->key, h->kind);
        for (uint32_t i = 0; !f.step && i < h->n_sections; i++)
            if (h->entries[i].offset + h->entries[i].stored_bytes > size)
                abort();
    }
    free(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kv_layout layout = { .n_layers = 1, .section_bytes = section_bytes };
    kv_store_record record;
    kv_verdict verdict;
    kv_intent intent;
    layout.rules[KV_SECTION_CSA_ROWS] = (kv_section_rule){ .used = true, .f32 = true };
    layout.rules[KV_SECTION_WINDOW] = (kv_section_rule){ .used = true, .f32 = true };
    look(data, size, &layout);
    if (size >= KV_HEADER_BYTES) {
        uint8_t *copy = malloc(size);
        memcpy(copy, data, size);
        const hash_digest digest = hash_bytes(copy, KV_HEADER_BYTES - 16);
        memcpy(copy + KV_HEADER_BYTES - 16, digest.bytes, 16);
        look(copy, size, &layout);
        free(copy);
    }
    kv_store_record_decode(&record, data, size, NULL);
    kv_verdict_decode(&verdict, data, size);
    if (kv_intent_decode(&intent, data, size, NULL) == DS4_OK)
        free(intent.objects);
    return 0;
}
