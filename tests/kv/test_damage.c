/* Suite C5: objects damaged, cut, exchanged and forged. Never a hit on one of them, whatever its checksums say. P and F
 * numbers: docs/spec/kvstore.md. */
#include "base/log.h"
#include "kv/stub_model.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_TOKENS = 60, SAVED = 59, N_OBJECTS = SAVED / N + 1, SAMPLED_BITS = 4096 };

/* The objects of one checkpoint, as they stand on the disk. */
static uint32_t tokens[N_TOKENS];
static kv_key keys[N_OBJECTS];
static char *files[N_OBJECTS];
static size_t sizes[N_OBJECTS];

static uint16_t kind_of(size_t i)
{
    return i < SAVED / N ? KV_KIND_SEGMENT : KV_KIND_FRONTIER;
}

static const char *path_of(size_t i)
{
    static char path[4096];
    char name[KV_NAME_BYTES];
    kv_object_name(&keys[i], kind_of(i), name);
    snprintf(path, sizeof path, "%s/%s", stub_dir, name);
    return path;
}

static kv_store *open_saved(void)
{
    kv_chain *chain;
    stub_tokens(tokens, N_TOKENS, 1);
    kv_store *s = stub_open();
    stub_save(s, tokens, SAVED);
    assert_int_equal(kv_chain_new(&chain, s, NULL), DS4_OK);
    assert_int_equal(kv_chain_extend(chain, tokens, SAVED, NULL), DS4_OK);
    for (size_t i = 0; i < N_OBJECTS; i++) {
        keys[i] = kind_of(i) == KV_KIND_SEGMENT ? chain->keys[i] : kv_chain_frontier_key(chain);
        files[i] = test_read_file(path_of(i), &sizes[i]);
    }
    kv_chain_free(chain);
    log_set_level(LOG_ERROR); /* thousands of refusals are to come */
    return s;
}

static void close_saved(kv_store *s)
{
    log_set_level(LOG_INFO);
    for (size_t i = 0; i < N_OBJECTS; i++)
        free(files[i]);
    kv_store_close(s, 0);
}

/* Object i as the read ladder finds it with these bytes in its place. */
static ds4_status load(kv_store *s, size_t i, const char *bytes, size_t size, kv_loaded *out)
{
    const kv_key *parent = i == 0 ? &s->root : &keys[i - 1];
    test_write_file(path_of(i), bytes, size);
    return kv_load(out, s, &keys[i], parent, kind_of(i), i * N, i < SAVED / N ? (i + 1) * N : SAVED, tokens, NULL);
}

static void assert_refused(kv_store *s, size_t i, const char *bytes, size_t size, bool stays)
{
    kv_loaded l;
    assert_int_equal(load(s, i, bytes, size, &l), DS4_ERR_CORRUPT);
    assert_null(l.payload);
    assert_int_equal(access(path_of(i), F_OK) == 0, stays);
}

static void flip(char *bytes, size_t bit)
{
    bytes[bit / 8] ^= (char)(1 << bit % 8);
}

static void every_bit_of_a_header_counts(void **state)
{
    kv_store *s = open_saved();
    kv_header *h = malloc(sizeof *h);
    (void)state;
    for (size_t i = 0; i < N_OBJECTS; i++)
        for (size_t bit = 0; bit < 8 * KV_HEADER_BYTES; bit++) {
            flip(files[i], bit);
            assert_true(kv_header_decode(h, (const uint8_t *)files[i], sizes[i], sizes[i]).step > 0);
            flip(files[i], bit);
        }
    free(h);
    for (size_t bit = 5; bit < 8 * KV_HEADER_BYTES; bit += 8 * KV_HEADER_BYTES / 100) { /* and from the disk */
        flip(files[1], bit);
        kv_loaded l;
        assert_int_equal(load(s, 1, files[1], sizes[1], &l), DS4_ERR_CORRUPT);
        flip(files[1], bit);
    }
    close_saved(s);
}

static void sampled_bits_of_the_payload_count(void **state)
{
    kv_store *s = open_saved();
    test_random dice = test_random_seeded(20261124);
    kv_header *h = malloc(sizeof *h);
    (void)state;
    for (size_t k = 0; k < SAMPLED_BITS; k++) {
        const size_t i = test_random_below(&dice, N_OBJECTS);
        assert_int_equal(kv_header_decode(h, (const uint8_t *)files[i], sizes[i], sizes[i]).step, 0);
        const kv_entry *e = &h->entries[test_random_below(&dice, h->n_sections)];
        const size_t bit = 8 * (size_t)e->offset + test_random_below(&dice, (uint32_t)(8 * e->stored_bytes));
        flip(files[i], bit);
        assert_refused(s, i, files[i], sizes[i], false);
        flip(files[i], bit);
    }
    free(h);
    close_saved(s);
}

static void every_length_counts(void **state)
{
    kv_store *s = open_saved();
    (void)state;
    for (size_t i = 0; i < N_OBJECTS; i++) {
        char *longer = calloc(1, sizes[i] + 4096);
        memcpy(longer, files[i], sizes[i]);
        for (size_t size = 0; size < sizes[i]; size += 512)
            assert_refused(s, i, files[i], size, false);
        assert_refused(s, i, longer, sizes[i] + 1, false);
        assert_refused(s, i, longer, sizes[i] + 4096, false);
        free(longer);
    }
    close_saved(s);
}

static void seal(char *bytes)
{
    const hash_digest digest = hash_bytes(bytes, KV_HEADER_BYTES - 16);
    memcpy(bytes + KV_HEADER_BYTES - 16, digest.bytes, 16);
}

static void swap(char *bytes, size_t a, size_t b, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const char c = bytes[a + i];
        bytes[a + i] = bytes[b + i];
        bytes[b + i] = c;
    }
}

/* Two sections of a file exchanged, without and with table entries and digests that say the same. */
static void sections_that_trade_places(void **state)
{
    enum { TABLE = 256, ENTRY = 48 };
    kv_store *s = open_saved();
    kv_header *h = malloc(sizeof *h);
    (void)state;
    for (size_t i = 0; i < N_OBJECTS; i++) {
        assert_int_equal(kv_header_decode(h, (const uint8_t *)files[i], sizes[i], sizes[i]).step, 0);
        char *copy = malloc(sizes[i]);
        for (uint32_t a = 0; a < h->n_sections; a++)
            for (uint32_t b = a + 1; b < h->n_sections; b++) {
                memcpy(copy, files[i], sizes[i]); /* all of them fit one page */
                swap(copy, h->entries[a].offset, h->entries[b].offset, 4096);
                assert_refused(s, i, copy, sizes[i], false);
                /* sizes and digests follow the bytes: only the meaning is wrong */
                swap(copy, TABLE + a * ENTRY + 16, TABLE + b * ENTRY + 16, 32);
                assert_int_equal(kv_header_decode(h, (const uint8_t *)files[i], sizes[i], sizes[i]).step, 0);
                kv_header forged = *h;
                memcpy(forged.entries[a].digest.bytes, h->entries[b].digest.bytes, 16);
                memcpy(forged.entries[b].digest.bytes, h->entries[a].digest.bytes, 16);
                forged.payload = kv_header_payload_digest(&forged);
                memcpy(copy + 240, forged.payload.bytes, 16);
                seal(copy);
                assert_refused(s, i, copy, sizes[i], false);
            }
        free(copy);
    }
    free(h);
    close_saved(s);
}

static void objects_that_trade_places(void **state)
{
    kv_store *s = open_saved();
    (void)state;
    for (size_t i = 0; i < N_OBJECTS; i++)
        for (size_t other = 0; other < N_OBJECTS; other++)
            if (other != i)
                assert_refused(s, i, files[other], sizes[other], false);
    close_saved(s);
}

/* Headers that are whole but of another world are left alone (F50, P6); those that contradict their name are not. */
static void forged_headers(void **state)
{
    static const struct {
        size_t at;
        uint8_t change;
        bool stays;
        const char *what;
    } edits[] = {
        { 0, 1, true, "magic" },
        { 8, 2, true, "major version" },
        { 12, 4, true, "kind" },
        { 14, 1, true, "encrypted" },
        { 14, 2, true, "compressed" },
        { 14, 16, false, "has logits, but none" },
        { 16, 1, true, "header bytes" },
        { 20, 1, false, "section count" },
        { 21, 1, true, "261 sections" },
        { 24, 1, false, "file bytes" },
        { 32, 1, true, "fingerprint" },
        { 64, 1, false, "key" },
        { 96, 1, false, "parent" },
        { 128, 1, false, "token begin" },
        { 136, 1, false, "token end" },
        { 144, 1, true, "N" },
        { 148, 1, true, "codec" },
        { 160, 1, true, "layers" },
        { 176, 1, true, "row width" },
        { 204, 1, true, "numerics" },
        { 240, 1, false, "payload digest" },
        { 256, 2, false, "section type" },
        { 260, 1, false, "section arg" },
        { 265, 1, false, "offset" },
        { 272, 1, false, "stored bytes" },
        { 280, 1, false, "raw bytes" },
        { 288, 1, false, "section digest" },
        { 279, 255, false, "huge" },
        { 4000, 1, true, "reserved" },
        { 3140, 1, true, "nonce" },
    };
    kv_store *s = open_saved();
    (void)state;
    for (size_t k = 0; k < sizeof edits / sizeof edits[0]; k++) {
        char *copy = malloc(sizes[1]);
        kv_loaded l;
        memcpy(copy, files[1], sizes[1]);
        copy[edits[k].at] = (char)(copy[edits[k].at] ^ edits[k].change);
        seal(copy);
        if (load(s, 1, copy, sizes[1], &l) != DS4_ERR_CORRUPT || (access(path_of(1), F_OK) == 0) != edits[k].stays)
            fail_msg("%s", edits[k].what);
        free(copy);
    }
    close_saved(s);
}

/* V7: the bytes are as written, their meaning is bad. Such a file is kept for diagnosis, out of its place. */
static void values_that_mean_nothing_go_to_quarantine(void **state)
{
    static const uint32_t values[] = { 0x7fc00000 /* NaN */, 0x7f800000 /* infinite */,
                                       0x49742400 /* 1e6: not the STATS */ };
    kv_store *s = open_saved();
    kv_header *h = malloc(sizeof *h);
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        char *copy = malloc(sizes[1]);
        memcpy(copy, files[1], sizes[1]);
        assert_int_equal(kv_header_decode(h, (const uint8_t *)copy, sizes[1], sizes[1]).step, 0);
        kv_entry *rows = &h->entries[1];
        assert_int_equal(rows->type, KV_SECTION_CSA_ROWS);
        memcpy(copy + rows->offset + 8, &values[k], 4);
        rows->digest = hash_bytes(copy + rows->offset, (size_t)rows->stored_bytes);
        h->payload = kv_header_payload_digest(h);
        kv_header_encode(h, (uint8_t *)copy);
        test_empty_folder(TEST_SCRATCH "/store/quarantine");
        assert_refused(s, 1, copy, sizes[1], false);
        assert_int_equal(stub_count_files("quarantine"), 1);
        free(copy);
    }
    free(h);
    close_saved(s);
}

/* Tokens of another prompt under this name: a collision of hashes, or a forgery (V4). */
static void other_tokens_are_not_a_hit(void **state)
{
    kv_store *s = open_saved();
    kv_loaded l;
    (void)state;
    tokens[20]++;
    assert_int_equal(load(s, 1, files[1], sizes[1], &l), DS4_ERR_CORRUPT);
    tokens[20]--;
    assert_int_equal(load(s, 1, files[1], sizes[1], &l), DS4_OK);
    kv_loaded_free(&l);
    close_saved(s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, stub_empty)
    const struct CMUnitTest tests[] = {
        TEST(every_bit_of_a_header_counts),
        TEST(sampled_bits_of_the_payload_count),
        TEST(every_length_counts),
        TEST(sections_that_trade_places),
        TEST(objects_that_trade_places),
        TEST(forged_headers),
        TEST(values_that_mean_nothing_go_to_quarantine),
        TEST(other_tokens_are_not_a_hit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
