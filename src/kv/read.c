/* kv/read.c - the read ladder, V1 to V8. Nothing has touched a session while it runs (F5); nothing is used before every byte
 * of it was checked (F14). What fails is acted on as the ladder says, counted at its step, and logged once. */
#include "kv/store.h"

#include "base/cursor.h"
#include "base/log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- values: V7 -------------------------------------------------------------------------------------------------------- */

/* Values are taken eight at a time, each lane with a sum of its own: the order of every sum follows from the number of values
 * alone, so all machines write the same STATS. The vectors are those that every x86-64 and AArch64 has. */
enum { LANES = 8 };
typedef int32_t bits_x4 __attribute__((vector_size(16)));
typedef float f32_x2 __attribute__((vector_size(8)));
typedef double f64_x2 __attribute__((vector_size(16)));

enum { MAGNITUDE = 0x7fffffff, INFINITE = 0x7f800000 /* this and above: not finite */ };

typedef struct group_stats {
    int32_t top; /* the largest magnitude, as bits: those of finite values are in the order of the values */
    double squares;
} group_stats;

static inline bits_x4 larger(bits_x4 top, const float *x)
{
    bits_x4 bits;
    memcpy(&bits, x, sizeof bits);
    bits &= MAGNITUDE;
    const bits_x4 mask = bits > top;
    return (bits & mask) | (top & ~mask);
}

static inline f64_x2 squares_of(const float *x)
{
    f32_x2 value;
    memcpy(&value, x, sizeof value);
    const f64_x2 wide = __builtin_convertvector(value, f64_x2);
    return wide * wide;
}

static group_stats measure(const float *x, size_t n)
{
    bits_x4 top_a = { 0 }, top_b = { 0 };
    f64_x2 a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
    float rest[LANES] = { 0 }; /* zeros change nothing */
    const size_t whole = n / LANES * LANES;
    if (n > whole)
        memcpy(rest, x + whole, (n - whole) * sizeof *x);
    for (size_t i = 0; i <= whole; i += LANES) {
        const float *at = i < whole ? x + i : rest;
        top_a = larger(top_a, at);
        top_b = larger(top_b, at + 4);
        a += squares_of(at);
        b += squares_of(at + 2);
        c += squares_of(at + 4);
        d += squares_of(at + 6);
    }
    group_stats out = { 0 };
    for (int lane = 0; lane < 4; lane++) {
        out.top = top_a[lane] > out.top ? top_a[lane] : out.top;
        out.top = top_b[lane] > out.top ? top_b[lane] : out.top;
    }
    const f64_x2 sum = (a + b) + (c + d);
    out.squares = sum[0] + sum[1];
    return out;
}

bool kv_section_stats(const void *bytes, size_t size, uint32_t n_groups, float *out)
{
    const float *x = bytes;
    const size_t n = size / sizeof *x;
    const uint32_t parts = n_groups ? n_groups : 1;
    bool finite = true;
    for (uint32_t g = 0; g < parts; g++) {
        /* Value i belongs to group i * n_groups / n: group g ends before the first i with i * n_groups >= (g + 1) * n. */
        const size_t begin = (size_t)(((uint64_t)g * n + parts - 1) / parts);
        const size_t end = (size_t)((((uint64_t)g + 1) * n + parts - 1) / parts);
        const group_stats group = measure(x + begin, end - begin);
        finite = finite && group.top < INFINITE;
        if (n_groups) {
            memcpy(&out[2 * g], &group.top, sizeof out[0]);
            out[2 * g + 1] = end > begin ? (float)(group.squares / (double)(end - begin)) : 0.0f;
        }
    }
    return finite;
}

static bool near(float a, float b)
{
    return fabsf(a - b) <= 0.01f * fmaxf(fabsf(a), fabsf(b));
}

static kv_finding check_values(const kv_store *s, const kv_loaded *l)
{
    const kv_finding bad = { 7, KV_ACTION_QUARANTINE, "semantic" };
    const kv_section *stats = kv_part_section(&l->part, KV_SECTION_STATS);
    float have[2 * KV_GROUPS_MAX];
    for (uint32_t i = 0; i < l->part.n_sections; i++) {
        const kv_section *section = &l->part.sections[i];
        const kv_section_rule *rule = &s->options.layout.rules[section->type];
        uint32_t first = 0;
        if (!rule->used)
            continue;
        if (!rule->f32) {
            if (!kv_layout_valid(&s->options.layout, section->type, section->bytes, section->size))
                return bad;
            continue;
        }
        bool good = kv_section_stats(section->bytes, section->size, rule->n_groups, have);
        kv_layout_stats(&s->options.layout, l->header.kind, section->type, &first);
        for (uint32_t g = 0; good && rule->n_groups && stats && g < 2 * rule->n_groups; g++) {
            float want;
            memcpy(&want, (const uint8_t *)stats->bytes + ((size_t)2 * first + g) * sizeof want, sizeof want);
            good = near(have[g], want);
        }
        if (!good)
            return bad;
    }
    return (kv_finding){ 0, KV_ACTION_NONE, "ok" };
}

/* --- bytes ---------------------------------------------------------------------------------------------------------------- */

static kv_finding check_payload(kv_store *s, kv_loaded *l, const uint32_t *tokens)
{
    const kv_header *h = &l->header;
    for (uint32_t i = 0; i < h->n_sections; i++) {
        const kv_entry *e = &h->entries[i];
        const hash_digest digest = hash_bytes(l->payload + e->offset - KV_PAGE, (size_t)e->stored_bytes);
        if (!hash_digest_equal(&digest, &e->digest))
            return (kv_finding){ 5, KV_ACTION_UNLINK, "corrupt" };
        l->sections[i] = (kv_section){ e->type, l->payload + e->offset - KV_PAGE, (size_t)e->stored_bytes };
    }
    l->part = (kv_part){ .key = h->key,
                         .digest = h->payload,
                         .token_begin = h->begin,
                         .token_end = h->end,
                         .sections = l->sections,
                         .n_sections = h->n_sections };
    const kv_section *ids = kv_part_section(&l->part, KV_SECTION_TOKENS);
    for (uint64_t i = 0; ids && i < h->end - h->begin; i++)
        if (cursor_load((const uint8_t *)ids->bytes + 4 * i, 4) != tokens[h->begin + i])
            return (kv_finding){ 4, KV_ACTION_UNLINK, "collision" };
    const kv_finding values = check_values(s, l);
    if (values.step)
        return values;
    pthread_mutex_lock(&s->lock);
    const bool descends = kv_is_descendant(s, h->lineage, h->created_ns);
    pthread_mutex_unlock(&s->lock);
    /* Out of the way, so that what a clean run makes anew can take the name. */
    if (descends || kv_was_condemned(s, &h->key, &h->payload))
        return (kv_finding){ 8, KV_ACTION_QUARANTINE, descends ? "descendant" : "condemned" };
    return (kv_finding){ 0, KV_ACTION_NONE, "ok" };
}

void kv_reject(kv_store *s, const kv_key *key, uint16_t kind, kv_finding f)
{
    char hex[HASH_KEY_HEX], name[KV_NAME_BYTES];
    bool left = false;
    hash_key_hex(key, hex);
    kv_object_name(key, kind, name);
    if (f.action == KV_ACTION_UNLINK && !s->disk.read_only)
        left = kv_disk_unlink(&s->disk, name, "evict.unlink");
    else if (f.action == KV_ACTION_QUARANTINE && !s->disk.read_only)
        left = kv_disk_quarantine(&s->disk, key, kind);
    /* What stays on the disk, whatever the reason, is not offered again. */
    pthread_mutex_lock(&s->lock);
    s->metrics.object_rejected_total[f.step]++;
    if (left)
        kv_index_remove(&s->index, key);
    else
        kv_index_exclude(&s->index, key, kind);
    pthread_mutex_unlock(&s->lock);
    log_warning("kv rejected key=%.12s step=V%d why=%s", hex, f.step, f.why);
}

static ds4_status reject(kv_store *s, const kv_key *key, uint16_t kind, kv_finding f, ds4_error *err)
{
    kv_reject(s, key, kind, f);
    return ds4_fail(err, DS4_ERR_CORRUPT, "object refused at V%d: %s", f.step, f.why);
}

static ds4_status read_checked(kv_loaded *l, kv_store *s, int fd, uint64_t size, const kv_key *key,
                               const kv_key *parent, uint16_t kind, const uint32_t *tokens, uint64_t begin,
                               uint64_t end, ds4_error *err)
{
    uint8_t page[KV_HEADER_BYTES];
    kv_finding f = { 1, KV_ACTION_UNLINK, "short" };
    ds4_status status = DS4_ERR_CORRUPT;
    if (size >= sizeof page)
        status = kv_disk_read(fd, 0, page, sizeof page, "read.header", err);
    if (status == DS4_ERR_CORRUPT)
        return reject(s, key, kind, f, err);
    if (status != DS4_OK)
        return status;
    f = kv_header_decode(&l->header, page, sizeof page, size);
    if (!f.step)
        f = kv_header_check_identity(&l->header, &s->options.layout, s->options.fingerprint, s->options.segment_tokens);
    if (!f.step)
        f = kv_header_check_table(&l->header, &s->options.layout, key, kind);
    if (!f.step && (!hash_key_equal(&l->header.parent, parent) || l->header.begin != begin || l->header.end != end))
        f = (kv_finding){ 3, KV_ACTION_UNLINK, "parent" };
    if (f.step)
        return reject(s, key, kind, f, err);
    const size_t n = (size_t)(size - KV_PAGE);
    l->payload = n ? aligned_alloc(KV_PAGE, (n + KV_PAGE - 1) / KV_PAGE * KV_PAGE) : NULL;
    l->sections = calloc(l->header.n_sections, sizeof *l->sections);
    if (!l->payload || !l->sections)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory to read %zu bytes", n);
    status = kv_disk_read(fd, KV_PAGE, l->payload, n, kind == KV_KIND_SEGMENT ? "read.seg" : "read.frn", err);
    if (status == DS4_ERR_CORRUPT)
        return reject(s, key, kind, (kv_finding){ 5, KV_ACTION_UNLINK, "short" }, err);
    if (status != DS4_OK)
        return status;
    f = check_payload(s, l, tokens);
    return f.step ? reject(s, key, kind, f, err) : DS4_OK;
}

/* What another server wrote becomes known when it is met: plans hold, suspect and condemn by the index. */
static void note_found(kv_store *s, const kv_header *h)
{
    pthread_mutex_lock(&s->lock);
    if (!kv_index_find(&s->index, &h->key))
        kv_index_add(&s->index, h);
    pthread_mutex_unlock(&s->lock);
}

ds4_status kv_load(kv_loaded *out, kv_store *s, const kv_key *key, const kv_key *parent, uint16_t kind, uint64_t begin,
                   uint64_t end, const uint32_t *tokens, ds4_error *err)
{
    int fd;
    uint64_t size;
    *out = (kv_loaded){ 0 };
    ds4_status status = kv_disk_open_object(&s->disk, key, kind, s->options.trust_group, &fd, &size, err);
    if (status == DS4_ERR_CORRUPT) {
        kv_reject(s, key, kind, (kv_finding){ 1, KV_ACTION_IGNORE, "file" });
        return status;
    }
    if (status == DS4_ERR_NOT_FOUND) { /* the index said yes and the disk says no: believe the disk (F25) */
        pthread_mutex_lock(&s->lock);
        kv_index_remove(&s->index, key);
        pthread_mutex_unlock(&s->lock);
    }
    if (status != DS4_OK) /* no descriptors, no permission: that may pass */
        return status;
    status = read_checked(out, s, fd, size, key, parent, kind, tokens, begin, end, err);
    close(fd);
    if (status != DS4_OK)
        kv_loaded_free(out);
    else
        note_found(s, &out->header);
    return status;
}

void kv_loaded_free(kv_loaded *l)
{
    free(l->payload);
    free(l->sections);
    *l = (kv_loaded){ 0 };
}

const kv_section *kv_part_section(const kv_part *part, uint32_t type)
{
    for (uint32_t i = 0; i < part->n_sections; i++)
        if (part->sections[i].type == type)
            return &part->sections[i];
    return NULL;
}
