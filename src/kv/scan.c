/* The index at start, whenever the directory became another one, and, for what other servers wrote, before each lookup: every
 * header is read, nothing else. Folders that did not change are not listed again. */
#include "base/clock.h"
#include "base/log.h"
#include "kv/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two changes within one tick of the file system's clock have the same time: only an older time is proof of no change. Ticks are
 * at most 10 ms (a jiffy), or 2 s where times have no fractions (FAT). */
#define TICK_NS        (UINT64_C(50) * 1000000)
#define COARSE_TICK_NS (UINT64_C(2100) * 1000000)
enum { COARSE_TICK_S = 3 };

typedef struct pass {
    kv_store *s;
    struct timespec since; /* of the listing before this one: what is older was looked at then. Zero: all is new */
    uint64_t foreign_bytes;
    bool complete; /* every header could be read */
} pass;

/* "<64 hex>.s" or ".f" */
static bool parse_name(const char *file, kv_key *key, uint16_t *kind)
{
    char hex[HASH_KEY_HEX];
    if (strlen(file) != 66 || file[64] != '.' || (file[65] != 's' && file[65] != 'f'))
        return false;
    *kind = file[65] == 's' ? KV_KIND_SEGMENT : KV_KIND_FRONTIER;
    memcpy(hex, file, 64);
    hex[64] = 0;
    return hash_key_from_hex(key, hex);
}

static bool is_known(kv_store *s, const kv_key *key)
{
    pthread_mutex_lock(&s->lock);
    const bool known = kv_index_find(&s->index, key) != NULL;
    pthread_mutex_unlock(&s->lock);
    return known;
}

static bool is_stopping(kv_store *s)
{
    pthread_mutex_lock(&s->lock);
    const bool stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    return stopping;
}

/* Adds what the header says to the index, or removes the file, or leaves it alone. */
static void take_header(pass *p, const char *name, const kv_key *key, uint16_t kind, const kv_header *h, kv_finding f)
{
    kv_store *s = p->s;
    if (f.step && f.action == KV_ACTION_UNLINK && !s->disk.read_only)
        kv_disk_unlink(&s->disk, name, NULL);
    bool condemned = !f.step && kv_is_condemned(s, &h->key, &h->payload);
    pthread_mutex_lock(&s->lock);
    condemned = condemned || (!f.step && kv_is_descendant(s, h->lineage, h->created_ns));
    if (!f.step && !condemned)
        kv_index_add(&s->index, h);
    else if (f.step && f.action != KV_ACTION_IGNORE)
        s->metrics.object_rejected_total[f.step]++;
    pthread_mutex_unlock(&s->lock);
    if (condemned && !s->disk.read_only)
        kv_disk_quarantine(&s->disk, key, kind);
}

static bool scan_object(void *user, const char *folder, const char *file)
{
    pass *p = user;
    kv_store *s = p->s;
    char name[KV_NAME_BYTES + 256];
    uint8_t page[KV_HEADER_BYTES];
    struct stat about;
    size_t n;
    kv_key key;
    uint16_t kind;
    if (!parse_name(file, &key, &kind) || is_known(s, &key))
        return !is_stopping(s);
    snprintf(name, sizeof name, "%s/%s", folder, file);
    if (!kv_disk_stat(&s->disk, name, &about) || !S_ISREG(about.st_mode))
        return true;
    if (about.st_ctim.tv_sec + COARSE_TICK_S < p->since.tv_sec) { /* when it got its name; it was not ours then */
        p->foreign_bytes += (uint64_t)about.st_size;
        return true;
    }
    kv_header *h = malloc(sizeof *h);
    if (!h || kv_disk_read_small(&s->disk, name, page, sizeof page, &n, NULL) != DS4_OK) {
        p->complete = false;
        free(h);
        return true;
    }
    kv_finding f = kv_header_decode(h, page, n, (uint64_t)about.st_size);
    if (!f.step)
        f = kv_header_check_identity(h, &s->options.layout, s->options.fingerprint, s->options.segment_tokens);
    if (!f.step)
        f = kv_header_check_table(h, &s->options.layout, &key, kind);
    if (f.step && f.action == KV_ACTION_IGNORE)
        p->foreign_bytes += (uint64_t)about.st_size;
    take_header(p, name, &key, kind, h, f);
    free(h);
    return !is_stopping(s);
}

/* Lists o/xx, whose time of change is `changed`, if it may hold something new. */
static void scan_folder(kv_store *s, int i, struct timespec changed)
{
    char folder[8];
    pthread_mutex_lock(&s->lock);
    const kv_listing before = s->listings[i];
    pthread_mutex_unlock(&s->lock);
    if (before.settled && before.changed.tv_sec == changed.tv_sec && before.changed.tv_nsec == changed.tv_nsec)
        return;
    pass p = { .s = s, .complete = true };
    if (before.settled &&
        before.changed.tv_sec <= changed.tv_sec) /* else its times say nothing: a clock was set back */
        p.since = before.changed;
    const uint64_t begun_ns = kv_now_ns(); /* a change from now on gets a later time, or is seen */
    snprintf(folder, sizeof folder, "o/%02x", (unsigned)i);
    kv_disk_list(&s->disk, folder, scan_object, &p);
    const uint64_t then_ns = (uint64_t)changed.tv_sec * 1000000000 + (uint64_t)changed.tv_nsec;
    pthread_mutex_lock(&s->lock);
    s->metrics.foreign_bytes += p.foreign_bytes - s->listings[i].foreign_bytes;
    s->listings[i] =
        (kv_listing){ .changed = p.complete ? changed : (struct timespec){ 0 },
                      .settled = p.complete && begun_ns > then_ns + (changed.tv_nsec ? TICK_NS : COARSE_TICK_NS),
                      .foreign_bytes = p.foreign_bytes };
    pthread_mutex_unlock(&s->lock);
}

void kv_scan_new(kv_store *s, int64_t deadline_us)
{
    struct timespec changed[KV_SHARDS];
    kv_disk_object_folders(&s->disk, changed);
    for (int i = 0; i < KV_SHARDS && !atomic_load(&s->leaving) && !(deadline_us && clock_monotonic_us() > deadline_us);
         i++)
        if (changed[i].tv_sec > 0) /* it exists */
            scan_folder(s, i, changed[i]);
}

static bool read_uses(void *user, const char *folder, const char *file)
{
    enum { USES_MAX = 4096 };
    kv_store *s = user;
    char name[KV_NAME_BYTES + 256];
    size_t n;
    uint8_t *bytes = malloc(USES_MAX * KV_USE_BYTES);
    snprintf(name, sizeof name, "%s/%s", folder, file);
    if (bytes && kv_disk_read_small(&s->disk, name, bytes, USES_MAX * KV_USE_BYTES, &n, NULL) == DS4_OK) {
        for (size_t at = 0; at + KV_USE_BYTES <= n; at += KV_USE_BYTES) {
            kv_use use;
            kv_use_decode(&use, bytes + at);
            pthread_mutex_lock(&s->lock);
            kv_index_hit(&s->index, &use.key, use.time_ns);
            pthread_mutex_unlock(&s->lock);
        }
    }
    free(bytes);
    return true;
}

void kv_scan(kv_store *s)
{
    const int64_t begin_us = clock_monotonic_us();
    kv_scan_new(s, 0);
    kv_disk_list(&s->disk, "use", read_uses, s);
    pthread_mutex_lock(&s->lock);
    const size_t n = s->index.n;
    const double held = (double)s->index.bytes / 1e6, foreign = (double)s->metrics.foreign_bytes / 1e6;
    pthread_mutex_unlock(&s->lock);
    log_info("kv index objects=%zu bytes=%.1fM foreign=%.1fM took=%.3fs", n, held, foreign,
             (double)(clock_monotonic_us() - begin_us) / 1e6);
}

void *kv_scanner_main(void *argument)
{
    kv_store *s = argument;
    kv_scan(s);
    pthread_mutex_lock(&s->lock);
    s->scanned = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    kv_store_let_go(s);
    return NULL;
}
