/* The index at start, and whenever the directory became another one: every header is read, nothing else. */
#include "base/clock.h"
#include "base/log.h"
#include "kv/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool scan_object(void *user, const char *folder, const char *file)
{
    kv_store *s = user;
    char name[KV_NAME_BYTES + 256], hex[HASH_KEY_HEX];
    uint8_t page[KV_HEADER_BYTES];
    struct stat about;
    size_t n;
    kv_key key;
    const size_t size = strlen(file);
    const uint16_t kind = size == 66 && file[65] == 's' ? KV_KIND_SEGMENT : KV_KIND_FRONTIER;
    snprintf(name, sizeof name, "%s/%s", folder, file);
    if (size != 66 || file[64] != '.' || (file[65] != 's' && file[65] != 'f'))
        return true;
    memcpy(hex, file, 64);
    hex[64] = 0;
    if (!hash_key_from_hex(&key, hex) || !kv_disk_stat(&s->disk, name, &about) || !S_ISREG(about.st_mode) ||
        kv_disk_read_small(&s->disk, name, page, sizeof page, &n, NULL) != DS4_OK)
        return true;
    kv_header *h = malloc(sizeof *h);
    if (!h)
        return false;
    kv_finding f = kv_header_decode(h, page, n, (uint64_t)about.st_size);
    if (!f.step)
        f = kv_header_check_identity(h, &s->options.layout, s->options.fingerprint, s->options.segment_tokens);
    if (!f.step)
        f = kv_header_check_table(h, &s->options.layout, &key, kind);
    if (f.step && f.action == KV_ACTION_UNLINK && !s->disk.read_only)
        kv_disk_unlink(&s->disk, name, NULL);
    bool condemned = !f.step && kv_is_condemned(s, &h->key, &h->payload);
    pthread_mutex_lock(&s->lock);
    condemned = condemned || (!f.step && kv_is_descendant(s, h->lineage, h->created_ns));
    if (!f.step && !condemned)
        kv_index_add(&s->index, h);
    else if (f.step && f.action == KV_ACTION_IGNORE)
        s->metrics.foreign_bytes += (uint64_t)about.st_size;
    else if (f.step)
        s->metrics.object_rejected_total[f.step]++;
    const bool go_on = !s->stopping;
    pthread_mutex_unlock(&s->lock);
    if (condemned && !s->disk.read_only)
        kv_disk_quarantine(&s->disk, &key, kind);
    free(h);
    return go_on;
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
        pthread_mutex_lock(&s->lock);
        for (size_t at = 0; at + KV_USE_BYTES <= n; at += KV_USE_BYTES) {
            kv_use use;
            kv_use_decode(&use, bytes + at);
            kv_index_hit(&s->index, &use.key, use.time_ns);
        }
        pthread_mutex_unlock(&s->lock);
    }
    free(bytes);
    return true;
}

void kv_scan(kv_store *s)
{
    const int64_t begin_us = clock_monotonic_us();
    pthread_mutex_lock(&s->lock);
    s->metrics.foreign_bytes = 0;
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < 256 && !atomic_load(&s->leaving); i++) {
        char folder[8];
        snprintf(folder, sizeof folder, "o/%02x", i);
        kv_disk_list(&s->disk, folder, scan_object, s);
    }
    pthread_mutex_lock(&s->lock);
    kv_index_recount(&s->index);
    pthread_mutex_unlock(&s->lock);
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
