/* Cleaning up: old use logs, temporary files of processes that have ended, quarantine that is old or over its quota. */
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

typedef struct kept {
    int64_t since_ns; /* when it came here */
    uint64_t bytes;
    char file[KV_NAME_BYTES];
} kept;

typedef struct quarantine {
    kv_store *s;
    kept *list; /* [n] */
    size_t n, capacity;
    uint64_t bytes;
} quarantine;

static bool weigh(void *user, const char *folder, const char *file)
{
    quarantine *q = user;
    char name[2 * KV_NAME_BYTES];
    struct stat about;
    if (strlen(file) >= KV_NAME_BYTES)
        return true; /* none of ours */
    snprintf(name, sizeof name, "%s/%s", folder, file);
    if (!kv_disk_stat(&q->s->disk, name, &about))
        return true;
    if (q->n == q->capacity) {
        const size_t capacity = q->capacity ? 2 * q->capacity : 64;
        kept *grown = realloc(q->list, capacity * sizeof *grown);
        if (!grown)
            return false; /* the rest is weighed next time */
        q->list = grown;
        q->capacity = capacity;
    }
    kept *k = &q->list[q->n++];
    k->since_ns = (int64_t)about.st_ctim.tv_sec * 1000000000 + about.st_ctim.tv_nsec;
    k->bytes = (uint64_t)about.st_size;
    snprintf(k->file, sizeof k->file, "%s", file);
    q->bytes += k->bytes;
    return true;
}

static int by_age(const void *a, const void *b)
{
    const int64_t x = ((const kept *)a)->since_ns, y = ((const kept *)b)->since_ns;
    return (x > y) - (x < y);
}

void kv_trim_quarantine(kv_store *s)
{
    quarantine q = { .s = s };
    kv_disk_list(&s->disk, "quarantine", weigh, &q);
    if (q.bytes > s->options.budget_bytes / QUARANTINE_SHARE) {
        qsort(q.list, q.n, sizeof *q.list, by_age);
        for (size_t i = 0; i < q.n && q.bytes > s->options.budget_bytes / QUARANTINE_SHARE; i++) {
            char name[2 * KV_NAME_BYTES];
            snprintf(name, sizeof name, "quarantine/%s", q.list[i].file);
            if (!kv_disk_unlink(&s->disk, name, NULL))
                break;
            q.bytes -= q.list[i].bytes;
        }
    }
    free(q.list);
}
