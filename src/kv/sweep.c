/* What is left over: old diagnostics and use logs, stale temporary files, quarantine over its quota. */
#include "kv/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_NS (UINT64_C(86400) * 1000000000)
enum { QUARANTINE_DAYS = 7, USE_DAYS = 30, QUARANTINE_SHARE = 100 /* one part of that many of the budget */ };

/* One that is locked is being written, by another server. */
static void sweep_temporary(kv_store *s, const char *name, bool old)
{
    kv_locked file;
    if (kv_locked_open(&file, &s->disk, name, NULL) != DS4_OK)
        return;
    if (file.lock == KV_LOCK_MINE || (file.lock == KV_LOCK_UNKNOWN && old))
        kv_disk_unlink(&s->disk, name, NULL);
    kv_locked_close(&file);
}

static bool sweep_one(void *user, const char *folder, const char *file)
{
    kv_store *s = user;
    char name[KV_NAME_BYTES + 256];
    struct stat about;
    const int days = strcmp(folder, "quarantine") == 0 ? QUARANTINE_DAYS : strcmp(folder, "use") == 0 ? USE_DAYS : 1;
    snprintf(name, sizeof name, "%s/%s", folder, file);
    if (!kv_disk_stat(&s->disk, name, &about))
        return true;
    const uint64_t now_ns = kv_now_ns(), then_ns = (uint64_t)about.st_mtim.tv_sec * 1000000000;
    const bool old = now_ns > then_ns && now_ns - then_ns > (uint64_t)days * DAY_NS;
    if (strcmp(folder, "tmp") == 0)
        sweep_temporary(s, name, old);
    else if (old)
        kv_disk_unlink(&s->disk, name, NULL);
    return true;
}

void kv_sweep(kv_store *s)
{
    if (s->disk.read_only)
        return;
    kv_disk_list(&s->disk, "quarantine", sweep_one, s);
    kv_disk_list(&s->disk, "use", sweep_one, s);
    kv_disk_list(&s->disk, "tmp", sweep_one, s);
    kv_trim_quarantine(s);
}

typedef struct held {
    kv_store *s;
    uint64_t bytes;
    int64_t oldest_ns; /* INT64_MAX: there is none */
    char oldest[KV_NAME_BYTES + 256];
} held;

static bool weigh(void *user, const char *folder, const char *file)
{
    held *h = user;
    char name[sizeof h->oldest];
    struct stat about;
    snprintf(name, sizeof name, "%s/%s", folder, file);
    if (!kv_disk_stat(&h->s->disk, name, &about))
        return true;
    const int64_t ns = (int64_t)about.st_ctim.tv_sec * 1000000000 + about.st_ctim.tv_nsec; /* when it came here */
    h->bytes += (uint64_t)about.st_size;
    if (ns < h->oldest_ns) {
        h->oldest_ns = ns;
        memcpy(h->oldest, name, sizeof name);
    }
    return true;
}

void kv_trim_quarantine(kv_store *s)
{
    for (;;) {
        held h = { .s = s, .oldest_ns = INT64_MAX };
        kv_disk_list(&s->disk, "quarantine", weigh, &h);
        if (h.bytes <= s->options.budget_bytes / QUARANTINE_SHARE || h.oldest_ns == INT64_MAX ||
            !kv_disk_unlink(&s->disk, h.oldest, NULL))
            return;
    }
}
