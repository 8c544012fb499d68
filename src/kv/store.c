/* kv/store.c - opening, indexing, closing; figures. */
#include "kv/store.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GIB    (UINT64_C(1) << 30)
#define DAY_NS (UINT64_C(86400) * 1000000000)
enum { QUARANTINE_DAYS = 7, USE_DAYS = 30 };

uint64_t kv_now_ns(void)
{
    const fault f = fault_at("clock");
    const int64_t shift_ns = f.kind == FAULT_SKEW ? f.arg * INT64_C(1000000000) : 0;
    return (uint64_t)(clock_unix_ns() + shift_ns);
}

kv_options kv_options_default(void)
{
    return (kv_options){ .evict_min_age_us = -1, .recreate_us = -1 };
}

const char *kv_drop_word(kv_drop why)
{
    static const char *const words[KV_DROPS] = { "queue", "counters", "nonfinite", "tainted",   "no-stem", "budget",
                                                 "floor", "backoff",  "error",     "read-only", "shutdown" };
    return words[why];
}

const char *kv_evict_word(kv_evict why)
{
    static const char *const words[KV_EVICTS] = { "budget", "floor", "orphan" };
    return words[why];
}

/* ---- opening ---- */

static void fill_defaults(kv_store *s)
{
    kv_options *o = &s->options;
    uint64_t total;
    kv_disk_free_bytes(&s->disk, &total);
    if (o->budget_bytes == 0)
        o->budget_bytes = total && total / 10 < 32 * GIB ? total / 10 : 32 * GIB;
    if (o->min_free_bytes == 0)
        o->min_free_bytes = total / 20 > 5 * GIB ? total / 20 : 5 * GIB;
    if (o->crash_strikes == 0)
        o->crash_strikes = 1;
    if (o->queue_jobs_max == 0)
        o->queue_jobs_max = 64;
    if (o->queue_bytes_max == 0)
        o->queue_bytes_max = GIB / 2;
    if (o->evict_min_age_us < 0)
        o->evict_min_age_us = 60 * 1000000;
    if (o->recreate_us < 0)
        o->recreate_us = 10 * 1000000;
}

/* Reads the control record, or writes one. Two servers may start at once: what stands there in the end is used. */
static ds4_status settle_record(kv_store *s, ds4_error *err)
{
    uint8_t bytes[KV_STORE_BYTES + 1];
    for (int attempt = 0; attempt < 2; attempt++) {
        size_t n;
        ds4_status status = fault_errno("open.store")
                                ? ds4_fail_errno(err, "STORE")
                                : kv_disk_read_small(&s->disk, "STORE", bytes, sizeof bytes, &n, err);
        if (status == DS4_OK)
            status = kv_store_record_decode(&s->record, bytes, n, err);
        if (status == DS4_OK || status == DS4_ERR_UNSUPPORTED || status == DS4_ERR_NO_MEMORY)
            return status;
        if (s->disk.read_only) { /* nothing can be found without its salt, and nothing is lost */
            log_warning("kv store unusable dir=\"%s\" why=\"%s\"", s->disk.path, err->text);
            return DS4_OK;
        }
        if (status == DS4_ERR_CORRUPT)
            log_warning("kv store record replaced dir=\"%s\": its objects can no longer be found", s->disk.path);
        kv_store_record fresh = { .budget_bytes = s->options.budget_bytes,
                                  .min_free_bytes = s->options.min_free_bytes,
                                  .created_ns = kv_now_ns() };
        hash_random(fresh.id, sizeof fresh.id);
        hash_random(fresh.salt, sizeof fresh.salt);
        kv_store_record_encode(&fresh, bytes);
        status = kv_disk_write_small(&s->disk, "STORE", bytes, KV_STORE_BYTES, "write.store", err);
        if (status != DS4_OK && attempt == 1) {
            log_warning("kv read-only dir=\"%s\" why=\"%s\"", s->disk.path, err->text);
            s->disk.read_only = true;
            s->record = fresh;
            return DS4_OK;
        }
    }
    return DS4_OK;
}

/* Old diagnostics, old use logs, temporaries of the dead. */
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
    bool old = now_ns > then_ns && now_ns - then_ns > (uint64_t)days * DAY_NS;
    if (strcmp(folder, "tmp") == 0) { /* "<pid>.<random>" */
        char process[32];
        snprintf(process, sizeof process, "/proc/%ld", atol(file));
        old = old || access(process, F_OK) != 0;
    }
    if (old)
        kv_disk_unlink(&s->disk, name, NULL);
    return true;
}

static void sweep(kv_store *s)
{
    if (s->disk.read_only)
        return;
    kv_disk_list(&s->disk, "quarantine", sweep_one, s);
    kv_disk_list(&s->disk, "use", sweep_one, s);
    kv_disk_list(&s->disk, "tmp", sweep_one, s);
}

static uint64_t own_start(void)
{
    char line[1024];
    FILE *file = fopen("/proc/self/stat", "re");
    const size_t n = file ? fread(line, 1, sizeof line - 1, file) : 0;
    if (file)
        fclose(file);
    line[n] = 0;
    const char *at = strrchr(line, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

static void start_threads(kv_store *s)
{
    s->has_scanner = pthread_create(&s->scanner, NULL, kv_scanner_main, s) == 0;
    if (!s->has_scanner)
        kv_scanner_main(s);
    s->has_writer = !s->disk.read_only && pthread_create(&s->writer, NULL, kv_writer_main, s) == 0;
    if (!s->disk.read_only && !s->has_writer)
        log_warning("kv read-only: no thread for the writer");
}

ds4_status kv_store_open(kv_store **out, const kv_options *options, ds4_error *err)
{
    ds4_error inner = { 0 };
    *out = NULL;
    ds4_status status = kv_layout_check(&options->layout, options->segment_tokens, err);
    if (status != DS4_OK)
        return status;
    kv_store *s = calloc(1, sizeof *s);
    if (!s)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    s->options = *options;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    hash_random(&s->writer_id, sizeof s->writer_id);
    s->pid_started = own_start();
    status = kv_disk_open(&s->disk, options->dir, options->read_only, options->trust_group, &inner);
    if (status == DS4_OK) {
        fill_defaults(s);
        status = settle_record(s, &inner);
    }
    if (status != DS4_OK) {
        kv_disk_close(&s->disk);
        pthread_cond_destroy(&s->changed);
        pthread_mutex_destroy(&s->lock);
        free(s);
        return ds4_fail(err, status, "%s", inner.text);
    }
    s->secret = kv_key_secret(s->record.salt, "");
    s->root = kv_key_root(&s->secret, s->options.fingerprint, s->options.segment_tokens);
    s->metrics.read_only = s->disk.read_only;
    kv_verdicts_load(s);
    kv_intents_settle(s);
    sweep(s);
    start_threads(s);
    *out = s;
    return DS4_OK;
}

/* ---- the background index ---- */

typedef struct scan {
    kv_store *s;
    uint64_t n_foreign;
} scan;

static bool scan_object(void *user, const char *folder, const char *file)
{
    scan *sc = user;
    kv_store *s = sc->s;
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
    const bool condemned = !f.step && kv_is_condemned(s, &h->key, &h->payload);
    pthread_mutex_lock(&s->lock);
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

void *kv_scanner_main(void *argument)
{
    kv_store *s = argument;
    scan sc = { .s = s };
    const int64_t begin_us = clock_monotonic_us();
    for (int i = 0; i < 256; i++) {
        char folder[8];
        snprintf(folder, sizeof folder, "o/%02x", i);
        kv_disk_list(&s->disk, folder, scan_object, &sc);
    }
    pthread_mutex_lock(&s->lock);
    kv_index_recount(&s->index);
    pthread_mutex_unlock(&s->lock);
    kv_disk_list(&s->disk, "use", read_uses, s);
    pthread_mutex_lock(&s->lock);
    s->scanned = true;
    const size_t n = s->index.n;
    const double held = (double)s->index.bytes / 1e6, foreign = (double)s->metrics.foreign_bytes / 1e6;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    log_info("kv index objects=%zu bytes=%.1fM foreign=%.1fM took=%.3fs", n, held, foreign,
             (double)(clock_monotonic_us() - begin_us) / 1e6);
    return NULL;
}

/* ---- waiting and closing ---- */

static struct timespec after(int64_t us)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    us = us > 0 ? us : 0;
    t.tv_sec += us / 1000000;
    t.tv_nsec += us % 1000000 * 1000;
    if (t.tv_nsec >= 1000000000)
        t.tv_sec++, t.tv_nsec -= 1000000000;
    return t;
}

bool kv_flush(kv_store *s, int64_t timeout_us)
{
    const struct timespec until = after(timeout_us);
    int waited = 0;
    pthread_mutex_lock(&s->lock);
    while ((!s->scanned || s->head || s->writing) && waited == 0)
        waited = pthread_cond_timedwait(&s->changed, &s->lock, &until);
    const bool done = s->scanned && !s->head && !s->writing;
    pthread_mutex_unlock(&s->lock);
    return done;
}

/* Under the lock. The newest frontiers and what they stand on come first: of older ones of a chain nothing is kept. */
static void prefer_newest(kv_store *s)
{
    for (kv_draft **at = &s->head, *previous = NULL; *at;) {
        kv_draft *d = *at;
        bool replaced = false;
        for (const kv_draft *later = d->next; later && d->extent.kind == KV_KIND_FRONTIER && !replaced;
             later = later->next)
            replaced = later->chain == d->chain && later->extent.kind == KV_KIND_FRONTIER;
        if (!replaced) {
            previous = d;
            at = &d->next;
            continue;
        }
        *at = d->next;
        if (s->tail == d)
            s->tail = previous;
        s->metrics.queue_jobs--;
        s->metrics.queue_bytes -= d->image_bytes;
        s->metrics.write_dropped_total[KV_DROP_SHUTDOWN]++;
        kv_draft_free(d);
    }
}

void kv_store_close(kv_store *s, int64_t drain_us)
{
    if (!s)
        return;
    const struct timespec until = after(drain_us);
    int waited = 0;
    pthread_mutex_lock(&s->lock);
    prefer_newest(s);
    s->stopping = true;
    pthread_cond_broadcast(&s->changed);
    while ((s->head || s->writing) && s->has_writer && waited == 0)
        waited = pthread_cond_timedwait(&s->changed, &s->lock, &until);
    s->dropping = true;
    pthread_mutex_unlock(&s->lock);
    if (s->has_writer)
        pthread_join(s->writer, NULL);
    if (s->has_scanner)
        pthread_join(s->scanner, NULL);
    kv_index_clear(&s->index);
    free(s->verdicts.list);
    kv_disk_close(&s->disk);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- figures ---- */

void kv_store_describe(kv_store *s, char *out, size_t size)
{
    char id[13];
    for (int i = 0; i < 6; i++)
        snprintf(id + 2 * i, sizeof id - (size_t)(2 * i), "%02x", s->record.id[i]);
    snprintf(out, size, "id=%s mode=%s budget=%.1fG floor=%.1fG", id,
             kv_store_is_read_only(s) ? "read-only" : "read-write", (double)s->options.budget_bytes / (double)GIB,
             (double)s->options.min_free_bytes / (double)GIB);
}

bool kv_store_is_read_only(kv_store *s)
{
    return s->disk.read_only || !s->has_writer;
}

void kv_store_metrics(kv_store *s, kv_metrics *out)
{
    const int root = kv_disk_root(&s->disk);
    if (root >= 0)
        close(root);
    const uint64_t free_bytes = kv_disk_free_bytes(&s->disk, NULL);
    pthread_mutex_lock(&s->lock);
    *out = s->metrics;
    out->store_bytes = s->index.bytes;
    out->store_objects = s->index.n;
    out->budget_bytes = s->options.budget_bytes;
    pthread_mutex_unlock(&s->lock);
    out->free_bytes = free_bytes;
    out->available = root >= 0;
    out->read_only = kv_store_is_read_only(s);
}
