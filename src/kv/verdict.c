/* kv/verdict.c - which objects are not used again, and why.
 * (1) An intent stands on the disk before a restored state is used, and is taken away when its first logits were finite
 *     or a verdict was written. An intent whose process is gone is a crash on use (P3).
 * (2) A verdict names key and payload: other bytes under the same name are another object.
 * (3) Verdicts are written before objects are moved: a crash between the two leaves the object excluded. */
#include "base/log.h"
#include "kv/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_NS    (UINT64_C(86400) * 1000000000)
#define WINDOW_NS (UINT64_C(600) * 1000000000) /* of the circuit breaker */
enum { VERDICT_DAYS = 30 };

static const hash_digest no_digest;

/* --- memory ---------------------------------------------------------------------------------------------------------------- */

static kv_remembered **slot_of(kv_verdicts *all, const kv_key *key)
{
    uint32_t hash; /* keys are hashes already */
    memcpy(&hash, key->bytes, sizeof hash);
    return &all->slots[hash % VERDICT_SLOTS];
}

/* Under the lock. The link that leads to the verdict; *link is NULL if there is none. */
static kv_remembered **find_link(kv_store *s, const kv_key *key, const hash_digest *digest)
{
    kv_remembered **link = slot_of(&s->verdicts, key);
    while (*link &&
           !(hash_key_equal(&(*link)->verdict.key, key) && hash_digest_equal(&(*link)->verdict.digest, digest)))
        link = &(*link)->next;
    return link;
}

/* Under the lock. */
static kv_verdict *find(kv_store *s, const kv_key *key, const hash_digest *digest)
{
    kv_remembered *r = *find_link(s, key, digest);
    return r ? &r->verdict : NULL;
}

/* Under the lock. */
static bool forget(kv_store *s, const kv_key *key, const hash_digest *digest)
{
    kv_remembered **link = find_link(s, key, digest), *r = *link;
    if (!r)
        return false;
    *link = r->next;
    kv_heap_remove(&s->verdicts.by_time, &r->node);
    free(r);
    s->metrics.poison_records = s->verdicts.by_time.n;
    return true;
}

/* Under the lock. A full memory gives up its oldest. False: no memory. */
static bool remember(kv_store *s, const kv_verdict *v)
{
    kv_heap *by_time = &s->verdicts.by_time;
    kv_remembered *r = *find_link(s, &v->key, &v->digest);
    if (!r) {
        const kv_remembered *oldest = (const kv_remembered *)kv_heap_top(by_time);
        if (by_time->n >= VERDICTS_MAX && oldest->verdict.time_ns >= v->time_ns)
            return true; /* it is the oldest itself */
        if (by_time->n >= VERDICTS_MAX)
            forget(s, &oldest->verdict.key, &oldest->verdict.digest);
        r = kv_heap_reserve(by_time, by_time->n + 1) ? calloc(1, sizeof *r) : NULL;
        if (!r)
            return false;
        kv_remembered **slot = slot_of(&s->verdicts, &v->key);
        r->next = *slot;
        *slot = r;
    }
    r->verdict = *v;
    kv_heap_put(by_time, &r->node, (double)v->time_ns);
    s->metrics.poison_records = by_time->n;
    return true;
}

void kv_verdicts_free(kv_verdicts *all)
{
    for (size_t i = 0; i < all->by_time.n; i++)
        free(all->by_time.nodes[i]);
    kv_heap_free(&all->by_time);
}

static bool is_guilty(const kv_store *s, const kv_verdict *v)
{
    return v && (v->reason != KV_VERDICT_CRASH || v->strikes >= s->options.crash_strikes);
}

bool kv_is_condemned(kv_store *s, const kv_key *key, const hash_digest *digest)
{
    pthread_mutex_lock(&s->lock);
    const bool guilty = is_guilty(s, find(s, key, digest));
    pthread_mutex_unlock(&s->lock);
    return guilty;
}

/* Plans condemned in the last ten minutes, by whomever, before or after a restart: then the code is at fault. */
bool kv_breaker_open(kv_store *s)
{
    const uint64_t now_ns = kv_now_ns();
    unsigned n = 0;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->verdicts.by_time.n; i++) {
        const kv_verdict *v = &((const kv_remembered *)s->verdicts.by_time.nodes[i])->verdict;
        n += hash_digest_equal(&v->digest, &no_digest) && is_guilty(s, v) && now_ns >= v->time_ns &&
             now_ns - v->time_ns < WINDOW_NS && memcmp(v->fingerprint, s->options.fingerprint, 32) == 0;
    }
    const bool open = n >= BREAKER_VERDICTS, was_open = s->metrics.breaker_open;
    s->metrics.breaker_open = open;
    pthread_mutex_unlock(&s->lock);
    if (open != was_open)
        log_warning("kv breaker %s verdicts=%u window=600s", open ? "open: restoring nothing for a while" : "closed",
                    n);
    return open;
}

bool kv_is_descendant(const kv_store *s, uint64_t lineage, uint64_t created_ns)
{
    const kv_verdicts *all = &s->verdicts;
    for (size_t i = 0; i < all->n_lineages && i < LINEAGES_MAX; i++)
        if (all->lineages[i].lineage == lineage && created_ns > all->lineages[i].since_ns)
            return true;
    return false;
}

static void record_name(const kv_key *key, const hash_digest *digest, char out[KV_NAME_BYTES])
{
    char hex[HASH_KEY_HEX];
    const kv_key name = kv_key_verdict(key, digest);
    hash_key_hex(&name, hex);
    snprintf(out, KV_NAME_BYTES, "poison/%s", hex);
}

/* Remembers and writes down one verdict; `digest` zero: on a plan. */
static void add(kv_store *s, const kv_intent *intent, const kv_key *key, const hash_digest *digest, uint32_t reason)
{
    uint8_t bytes[KV_VERDICT_BYTES];
    char name[KV_NAME_BYTES];
    ds4_error err = { 0 };
    kv_verdict v = { .key = *key, .digest = *digest, .time_ns = kv_now_ns(), .writer = s->writer_id, .reason = reason };
    memcpy(v.fingerprint, intent->fingerprint, sizeof v.fingerprint); /* the dead one may have run another model */
    pthread_mutex_lock(&s->lock);
    const kv_verdict *old = find(s, key, digest);
    v.strikes = (old ? old->strikes : 0) + 1;
    const bool known = remember(s, &v);
    s->metrics.poisoned_total++;
    pthread_mutex_unlock(&s->lock);
    if (!known)
        log_warning("kv verdict not remembered: no memory");
    if (s->disk.read_only)
        return;
    kv_verdict_encode(&v, bytes);
    record_name(key, digest, name);
    if (kv_disk_write_small(&s->disk, name, bytes, sizeof bytes, "write.poison", &err) != DS4_OK) {
        log_warning("kv verdict not written: %s", err.text);
        return;
    }
    pthread_mutex_lock(&s->lock);
    kv_verdict *now = find(s, key, digest);
    if (now)
        now->stored = true;
    pthread_mutex_unlock(&s->lock);
}

void kv_verdict_lift(kv_store *s, const kv_key *key, const hash_digest *digest)
{
    char name[KV_NAME_BYTES], hex[HASH_KEY_HEX];
    pthread_mutex_lock(&s->lock);
    const bool known = forget(s, key, digest);
    pthread_mutex_unlock(&s->lock);
    if (!known)
        return;
    record_name(key, digest, name);
    kv_disk_unlink(&s->disk, name, NULL);
    hash_key_hex(key, hex);
    log_info("kv acquitted key=%.12s why=same-bytes-again", hex);
}

/* --- what is on the disk --------------------------------------------------------------------------------------------------------- */

/* Loads one verdict. NOT_FOUND if it is missing, damaged or expired. */
static ds4_status read_verdict(kv_store *s, const char *name)
{
    uint8_t bytes[KV_VERDICT_BYTES + 1];
    kv_verdict v;
    size_t n;
    const ds4_status status = kv_disk_read_small(&s->disk, name, bytes, sizeof bytes, &n, NULL);
    if (status != DS4_OK)
        return status;
    const uint64_t now_ns = kv_now_ns();
    if (!kv_verdict_decode(&v, bytes, n) || (now_ns > v.time_ns && now_ns - v.time_ns > VERDICT_DAYS * DAY_NS)) {
        if (!s->disk.read_only)
            kv_disk_unlink(&s->disk, name, NULL); /* damaged, or long ago */
        return DS4_ERR_NOT_FOUND;
    }
    v.stored = true;
    pthread_mutex_lock(&s->lock);
    const kv_verdict *known = find(s, &v.key, &v.digest);
    if (!known || known->stored || known->time_ns <= v.time_ns) /* else ours is newer, and could not be written */
        remember(s, &v);
    pthread_mutex_unlock(&s->lock);
    return DS4_OK;
}

static bool load_verdict(void *user, const char *folder, const char *file)
{
    char name[KV_NAME_BYTES + 256];
    snprintf(name, sizeof name, "%s/%s", folder, file);
    read_verdict(user, name);
    return true;
}

void kv_verdicts_load(kv_store *s)
{
    kv_disk_list(&s->disk, "poison", load_verdict, s);
}

bool kv_was_condemned(kv_store *s, const kv_key *key, const hash_digest *digest)
{
    char name[KV_NAME_BYTES];
    record_name(key, digest, name);
    if (read_verdict(s, name) == DS4_ERR_NOT_FOUND) { /* never written, or lifted by another server */
        pthread_mutex_lock(&s->lock);
        const kv_verdict *v = find(s, key, digest);
        if (v && v->stored)
            forget(s, key, digest);
        pthread_mutex_unlock(&s->lock);
    }
    return kv_is_condemned(s, key, digest);
}

/* --- condemning ---------------------------------------------------------------------------------------------------------------- */

static void take_away(kv_store *s, const kv_key *key, uint16_t kind, bool *moved)
{
    const bool left = !s->disk.read_only && kv_disk_quarantine(&s->disk, key, kind);
    *moved = *moved && left;
    pthread_mutex_lock(&s->lock);
    if (left)
        kv_index_remove(&s->index, key);
    else
        kv_index_exclude(&s->index, key, kind);
    pthread_mutex_unlock(&s->lock);
}

typedef struct descendant {
    kv_key key;
    uint16_t kind;
} descendant;

/* (F48) Takes away what was written from states that descend from the bad restore. The lineage is registered already, so
 * nothing is added to it meanwhile, and one pass over the shards finds all. */
static void take_descendants(kv_store *s, const kv_intent *intent, bool *moved)
{
    enum { AT_ONCE = 64 };
    for (size_t shard = 0; shard < KV_SHARDS; shard++) {
        descendant found[AT_ONCE];
        size_t n = AT_ONCE;
        while (n == AT_ONCE) { /* what was found is gone, or excluded, so the next pass finds the rest */
            n = 0;
            pthread_mutex_lock(&s->lock);
            const kv_shard *part = &s->index.shards[shard];
            for (size_t i = 0; i < part->n_slots && n < AT_ONCE; i++)
                for (const kv_object *o = part->slots[i]; o && n < AT_ONCE; o = o->next)
                    if (o->known && !o->excluded && o->lineage == intent->lineage && o->created_ns > intent->time_ns)
                        found[n++] = (descendant){ o->key, o->kind };
            pthread_mutex_unlock(&s->lock);
            for (size_t i = 0; i < n; i++)
                take_away(s, &found[i].key, found[i].kind, moved);
        }
    }
}

void kv_condemn_objects(kv_store *s, const kv_intent *intent, uint32_t reason, const char *retry, double cost_s)
{
    char hex[HASH_KEY_HEX];
    bool moved = true;
    for (uint32_t i = 0; i < intent->n_objects; i++)                    /* (3) */
        if (!hash_digest_equal(&intent->objects[i].digest, &no_digest)) /* zero: its file is gone, or no object */
            add(s, intent, &intent->objects[i].key, &intent->objects[i].digest, reason);
    add(s, intent, &intent->plan, &no_digest, reason);
    const kv_intent_object *last = &intent->objects[intent->n_objects - 1];
    hash_key_hex(&last->key, hex);
    if (!kv_is_condemned(s, &intent->plan, &no_digest)) {
        log_warning("kv strike key=%.12s why=crash-on-use", hex);
        return;
    }
    for (uint32_t i = 0; i < intent->n_objects; i++)
        take_away(s, &intent->objects[i].key, (uint16_t)intent->objects[i].kind, &moved);
    pthread_mutex_lock(&s->lock); /* first: what the writer is about to publish must not slip through */
    s->verdicts.lineages[s->verdicts.n_lineages++ % LINEAGES_MAX] =
        (kv_bad_lineage){ intent->lineage, intent->time_ns };
    pthread_mutex_unlock(&s->lock);
    take_descendants(s, intent, &moved);
    kv_trim_quarantine(s);
    kv_breaker_open(s); /* says so at once */
    log_warning("kv condemned key=%.12s verdict=guilty quarantine=%s retry=%s cost=%.1fs objects=%" PRIu32, hex,
                moved ? "yes" : "no", retry, cost_s, intent->n_objects);
}
