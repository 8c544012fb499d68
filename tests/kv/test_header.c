/* The header that docs/formats/kv-store.md shows is the one that we write, byte for byte. */
#include "kv/header.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROW_BYTES = 384, STATS_BYTES = 24 };

static kv_key key_of(const char *hex)
{
    kv_key key;
    assert_true(hash_key_from_hex(&key, hex));
    return key;
}

/* Tokens 1..16 at the beginning of a conversation, all rows zero: the names are those of test_key.c. */
static kv_header example(void)
{
    static const uint8_t zeros[ROW_BYTES];
    uint8_t tokens[64] = { 0 };
    for (size_t i = 0; i < 16; i++)
        tokens[4 * i] = (uint8_t)(i + 1);
    kv_header h = { .major = KV_MAJOR,
                    .minor = KV_MINOR,
                    .kind = KV_KIND_SEGMENT,
                    .n_sections = 3,
                    .file_bytes = 4 * 4096,
                    .key = key_of("d9fb762c9c4487cac58c8969b48ee8873e1844de5c5a9584335730a2ef8f3cb0"),
                    .parent = key_of("4a9e6773a556c27914787067098eb970effea0e0c67c988fe4d4d29ba1b3e611"),
                    .end = 16,
                    .n = 16,
                    .shape = { 3, 3, 0, 0, 8, 0, 0, 4, 4, 0, 0, 0 },
                    .created_ns = UINT64_C(1800000000000000000),
                    .writer = UINT64_C(0x1122334455667788),
                    .cost_us = 25000,
                    .lineage = UINT64_C(0x99AABBCCDDEEFF00) };
    memset(h.fingerprint, 7, sizeof h.fingerprint);
    h.entries[0] = (kv_entry){ KV_SECTION_TOKENS, 0, 4096, 64, 64, hash_bytes(tokens, 64) };
    h.entries[1] = (kv_entry){ KV_SECTION_CSA_ROWS, 0, 8192, ROW_BYTES, ROW_BYTES, hash_bytes(zeros, ROW_BYTES) };
    h.entries[2] = (kv_entry){ KV_SECTION_STATS, 0, 12288, STATS_BYTES, STATS_BYTES, hash_bytes(zeros, STATS_BYTES) };
    h.payload = kv_header_payload_digest(&h);
    return h;
}

/* Lines "    0x000  89 44 ..." of the document; what it leaves out is zero. Returns how many bytes it shows. */
static size_t read_dump(uint8_t out[KV_HEADER_BYTES])
{
    char *text = test_read_file(TEST_MODELS "/../docs/formats/kv-store.md", NULL);
    size_t n = 0;
    memset(out, 0, KV_HEADER_BYTES);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, "    0x", 6) != 0)
            continue;
        char *at = line + 4;
        for (size_t offset = strtoul(at, &at, 16); *at && offset < KV_HEADER_BYTES; n++)
            out[offset++] = (uint8_t)strtoul(at, &at, 16);
    }
    free(text);
    return n;
}

static void the_document_shows_what_we_write(void **state)
{
    uint8_t ours[KV_HEADER_BYTES], shown[KV_HEADER_BYTES];
    kv_header h;
    (void)state;
    assert_int_equal(hash_start(NULL), DS4_OK);
    const kv_header want = example();
    kv_header_encode(&want, ours);
    assert_true(read_dump(shown) > 300);
    assert_memory_equal(shown, ours, sizeof ours);
    assert_int_equal(kv_header_decode(&h, shown, sizeof shown, want.file_bytes).step, 0);
    assert_true(h.created_ns == want.created_ns && h.lineage == want.lineage && h.cost_us == want.cost_us);
    assert_true(h.end == 16 && h.n == 16 && h.n_sections == 3 && h.entries[2].offset == 12288);
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) { /* any argument: print the dump for the document */
        uint8_t bytes[KV_HEADER_BYTES];
        static const uint8_t zeros[16];
        hash_start(NULL);
        const kv_header h = example();
        kv_header_encode(&h, bytes);
        for (size_t at = 0; at < sizeof bytes; at += 16) {
            if (memcmp(bytes + at, zeros, 16) == 0)
                continue;
            printf("    0x%03zx ", at);
            for (size_t i = 0; i < 16; i++)
                printf(" %02x", bytes[at + i]);
            printf("\n");
        }
        return 0;
    }
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_document_shows_what_we_write) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
