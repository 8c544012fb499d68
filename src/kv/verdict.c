/* kv/verdict.c - the conscience of the store.
 * (1) An intent stands on the disk before a restored state is used, and is taken away when its first logits were finite
 *     or a verdict was written. An intent whose process is gone is a crash on use (P3).
 * (2) A verdict names key and payload: other bytes under the same name are another object.
 * (3) Verdicts are written before objects are moved: a crash between the two leaves the object excluded. */
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "kv/store.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_NS    (UINT64_C(86400) * 1000000000)
#define WINDOW_NS (UINT64_C(600) * 1000000000)
enum { VERDICT_DAYS = 30 };

static const hash_digest no_digest;

/* --- memory ---------------------------------------------------------------------------------------------------------------- */

/* Under the lock. */
static kv_verdict *find(kv_store *s, const kv_key *key, const hash_digest *digest)
{
    for (size_t i = 0; i < s->verdicts.n; i++)
        if (hash_key_equal(&s->verdicts.list[i].key, key) && hash_digest_equal(&s->verdicts.list[i].digest, digest))
            return &s->verdicts.list[i];
    return NULL;
}

/* Under the lock. A full memory forgets the oldest. */
static kv_verdict *remember(kv_store *s, const kv_verdict *v)
{
    kv_verdicts *all = &s->verdicts;
    kv_verdict *slot = find(s, &v->key, &v->digest);
    if (!slot && all->n == all->capacity && all->capacity < VERDICTS_MAX) {
        const size_t capacity = all->capacity ? 2 * all->capacity : 64;
        kv_verdict *grown = realloc(all->list, capacity * sizeof *grown);
        if (!grown)
            return NULL;
        all->list = grown;
        all->capacity = capacity;
    }
    if (!slot && all->n < all->capacity)
        slot = &all->list[all->n++];
    if (!slot) {
        slot = &all->list[0];
        for (size_t k = 1; k < all->n; k++)
            if (all->list[k].time_ns < slot->time_ns)
                slot = &all->list[k];
    }
    *slot = *v;
    s->metrics.poison_records = all->n;
    return slot;
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

bool kv_breaker_open(kv_store *s, uint64_t now_ns)
{
    const uint64_t oldest = s->verdicts.guilty_ns[BREAKER_VERDICTS - 1];
    const bool open = oldest != 0 && now_ns - oldest < WINDOW_NS;
    if (open && !s->metrics.breaker_open)
        log_warning("kv breaker open: %d guilty verdicts in 10 minutes, restoring nothing for a while",
                    BREAKER_VERDICTS);
    s->metrics.breaker_open = open;
    return open;
}

static void record_name(const kv_key *key, const hash_digest *digest, char out[KV_NAME_BYTES])
{
    char hex[HASH_KEY_HEX];
    const kv_key name = kv_key_verdict(key, digest);
    hash_key_hex(&name, hex);
    snprintf(out, KV_NAME_BYTES, "poison/%s", hex);
}

void kv_verdict_add(kv_store *s, const kv_key *key, const hash_digest *digest, uint32_t reason)
{
    uint8_t bytes[KV_VERDICT_BYTES];
    char name[KV_NAME_BYTES];
    kv_verdict v = { .key = *key, .digest = *digest, .time_ns = kv_now_ns(), .writer = s->writer_id, .reason = reason };
    memcpy(v.fingerprint, s->options.fingerprint, sizeof v.fingerprint);
    pthread_mutex_lock(&s->lock);
    const kv_verdict *old = find(s, key, digest);
    v.strikes = (old ? old->strikes : 0) + 1;
    const bool known = remember(s, &v) != NULL;
    s->metrics.poisoned_total++;
    pthread_mutex_unlock(&s->lock);
    if (!known)
        log_warning("kv verdict not remembered: no memory");
    if (s->disk.read_only)
        return;
    ds4_error err;
    kv_verdict_encode(&v, bytes);
    record_name(key, digest, name);
    if (kv_disk_write_small(&s->disk, name, bytes, sizeof bytes, "write.poison", &err) != DS4_OK)
        log_warning("kv verdict not written: %s", err.text);
}

void kv_verdict_lift(kv_store *s, const kv_key *key, const hash_digest *digest)
{
    char name[KV_NAME_BYTES], hex[HASH_KEY_HEX];
    pthread_mutex_lock(&s->lock);
    kv_verdict *v = find(s, key, digest);
    if (v) {
        *v = s->verdicts.list[--s->verdicts.n];
        s->metrics.poison_records = s->verdicts.n;
    }
    pthread_mutex_unlock(&s->lock);
    if (!v)
        return;
    record_name(key, digest, name);
    kv_disk_unlink(&s->disk, name, NULL);
    hash_key_hex(key, hex);
    log_info("kv acquitted key=%.12s why=same-bytes-again", hex);
}

static bool load_verdict(void *user, const char *folder, const char *file)
{
    kv_store *s = user;
    char name[KV_NAME_BYTES + 256];
    uint8_t bytes[KV_VERDICT_BYTES + 1];
    kv_verdict v;
    size_t n;
    snprintf(name, sizeof name, "%s/%s", folder, file);
    if (kv_disk_read_small(&s->disk, name, bytes, sizeof bytes, &n, NULL) != DS4_OK)
        return true;
    const bool good = kv_verdict_decode(&v, bytes, n);
    const uint64_t now_ns = kv_now_ns();
    if (!good || (now_ns > v.time_ns && now_ns - v.time_ns > VERDICT_DAYS * DAY_NS)) {
        if (!s->disk.read_only)
            kv_disk_unlink(&s->disk, name, NULL); /* torn by a crash while it was written, or long ago */
        return true;
    }
    pthread_mutex_lock(&s->lock);
    remember(s, &v);
    pthread_mutex_unlock(&s->lock);
    return true;
}

void kv_verdicts_load(kv_store *s)
{
    kv_disk_list(&s->disk, "poison", load_verdict, s);
}

/* --- condemning ---------------------------------------------------------------------------------------------------------------- */

static void take_away(kv_store *s, const kv_key *key, uint16_t kind, bool *moved)
{
    if (s->disk.read_only || !kv_disk_quarantine(&s->disk, key, kind))
        *moved = false;
    pthread_mutex_lock(&s->lock);
    kv_index_remove(&s->index, key);
    pthread_mutex_unlock(&s->lock);
}

/* (F48) What was written from states that descend from the bad restore. */
static void take_away_descendants(kv_store *s, const kv_intent *intent, bool *moved)
{
    for (;;) {
        kv_key key;
        uint16_t kind = 0;
        pthread_mutex_lock(&s->lock);
        for (size_t i = 0; i < s->index.n_slots && !kind; i++)
            for (const kv_object *o = s->index.slots[i]; o; o = o->next)
                if (o->lineage == intent->lineage && o->created_ns > intent->time_ns) {
                    key = o->key;
                    kind = o->kind;
                    break;
                }
        pthread_mutex_unlock(&s->lock);
        if (!kind)
            return;
        take_away(s, &key, kind, moved);
    }
}

void kv_condemn_objects(kv_store *s, const kv_intent *intent, uint32_t reason, const char *retry, double cost_s)
{
    char hex[HASH_KEY_HEX];
    bool moved = true;
    for (uint32_t i = 0; i < intent->n_objects; i++) /* (3) */
        kv_verdict_add(s, &intent->objects[i].key, &intent->objects[i].digest, reason);
    kv_verdict_add(s, &intent->plan, &no_digest, reason);
    const kv_intent_object *last = &intent->objects[intent->n_objects - 1];
    hash_key_hex(&last->key, hex);
    if (!kv_is_condemned(s, &intent->plan, &no_digest)) {
        log_warning("kv strike key=%.12s why=crash-on-use", hex);
        return;
    }
    for (uint32_t i = 0; i < intent->n_objects; i++)
        take_away(s, &intent->objects[i].key, (uint16_t)intent->objects[i].kind, &moved);
    take_away_descendants(s, intent, &moved);
    pthread_mutex_lock(&s->lock);
    memmove(s->verdicts.guilty_ns + 1, s->verdicts.guilty_ns, (BREAKER_VERDICTS - 1) * sizeof s->verdicts.guilty_ns[0]);
    s->verdicts.guilty_ns[0] = kv_now_ns();
    kv_breaker_open(s, s->verdicts.guilty_ns[0]);
    pthread_mutex_unlock(&s->lock);
    log_warning("kv condemned key=%.12s verdict=guilty quarantine=%s retry=%s cost=%.1fs objects=%" PRIu32, hex,
                moved ? "yes" : "no", retry, cost_s, intent->n_objects);
}

/* --- intents of processes that are gone ------------------------------------------------------------------------------------------ */

/* Field 22 of /proc/PID/stat; 0 if there is no such process. */
static uint64_t process_started(uint64_t pid)
{
    char path[64], line[1024];
    uint64_t started = 0;
    snprintf(path, sizeof path, "/proc/%" PRIu64 "/stat", pid);
    FILE *file = fopen(path, "re");
    const size_t n = file ? fread(line, 1, sizeof line - 1, file) : 0;
    if (file)
        fclose(file);
    line[n] = 0;
    const char *at = strrchr(line, ')'); /* the name may hold anything */
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (at)
        started = strtoull(at, NULL, 10);
    return started;
}

static bool is_alive(const kv_store *s, const kv_intent *intent)
{
    if (intent->pid == 0 || intent->pid > INT32_MAX)
        return false;
    if (intent->writer == s->writer_id)
        return true;
    const uint64_t started = process_started(intent->pid);
    return started != 0 && (intent->pid_started == 0 || started == intent->pid_started);
}

typedef struct intent_list {
    char (*names)[KV_NAME_BYTES];
    size_t n, capacity;
} intent_list;

static bool list_intent(void *user, const char *folder, const char *file)
{
    intent_list *list = user;
    if (list->n == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 16;
        void *grown = realloc(list->names, capacity * sizeof *list->names);
        if (!grown)
            return false;
        list->names = grown;
        list->capacity = capacity;
    }
    return snprintf(list->names[list->n++], KV_NAME_BYTES, "%s/%s", folder, file) < KV_NAME_BYTES;
}

/* The kernel's boot id is part of the name: a process number of another boot says nothing. */
static bool same_boot(const char *name)
{
    char id[64] = "";
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (file) {
        if (!fgets(id, sizeof id, file))
            id[0] = 0;
        fclose(file);
    }
    id[strcspn(id, "\n")] = 0;
    return id[0] && strstr(name, id);
}

static void settle(kv_store *s, const char *name)
{
    const size_t size_max = kv_intent_bytes(KV_INTENT_OBJECTS_MAX);
    uint8_t *bytes = malloc(size_max + 1);
    kv_intent intent = { 0 };
    size_t n = 0;
    if (bytes && kv_disk_read_small(&s->disk, name, bytes, size_max + 1, &n, NULL) == DS4_OK) {
        const ds4_status status = kv_intent_decode(&intent, bytes, n, NULL);
        if (status == DS4_OK && same_boot(name) && is_alive(s, &intent)) {
            free(intent.objects);
            free(bytes);
            return;
        }
        if (status == DS4_OK)
            kv_condemn_objects(s, &intent, KV_VERDICT_CRASH, "crash-on-use", 0.0);
        if (status != DS4_ERR_NO_MEMORY) /* torn: the process died while writing it, before any use */
            kv_disk_unlink(&s->disk, name, NULL);
        free(intent.objects);
    }
    free(bytes);
}

void kv_intents_settle(kv_store *s)
{
    intent_list list = { 0 };
    if (s->disk.read_only)
        return;
    kv_disk_list(&s->disk, "intent", list_intent, &list);
    for (size_t i = 0; i < list.n; i++)
        settle(s, list.names[i]);
    free(list.names);
}
