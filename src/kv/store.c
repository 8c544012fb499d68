/* kv/store.c - opening, closing, figures. */
#include "kv/store.h"

#include "base/c_locale.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GIB (UINT64_C(1) << 30)

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
    const uint64_t n_free = s->metrics.free_bytes = kv_disk_free_bytes(&s->disk, &total);
    if (o->budget_bytes == 0) {
        /* Nobody chose it: it leaves most of what is free to others, and shrinks as they fill the disk. */
        o->budget_bytes = total && total / 10 < 32 * GIB ? total / 10 : 32 * GIB;
        if (total && n_free / 4 < o->budget_bytes)
            o->budget_bytes = n_free / 4 + 1;
    }
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

static ds4_status read_record(kv_store *s, kv_store_record *out, ds4_error *err)
{
    uint8_t bytes[KV_STORE_BYTES + 1];
    size_t n;
    if (fault_errno("open.store"))
        return ds4_fail_errno(err, "STORE");
    const ds4_status status = kv_disk_read_small(&s->disk, "STORE", bytes, sizeof bytes, &n, err);
    return status == DS4_OK ? kv_store_record_decode(out, bytes, n, err) : status;
}

static ds4_status write_record(kv_store *s, const kv_store_record *record, ds4_error *err)
{
    uint8_t bytes[KV_STORE_BYTES];
    kv_store_record_encode(record, bytes);
    return kv_disk_write_once(&s->disk, "STORE", bytes, sizeof bytes, "write.store", err);
}

/* Reads the control record, or writes one. Two servers may start at once: the first one's stays and both use it. */
static ds4_status settle_record(kv_store *s, ds4_error *err)
{
    ds4_status status = read_record(s, &s->record, err);
    if (status == DS4_OK || status == DS4_ERR_UNSUPPORTED || status == DS4_ERR_NO_MEMORY)
        return status;
    if (s->disk.read_only) { /* nothing can be found without its salt, and nothing is lost */
        log_warning("kv store unusable dir=\"%s\" why=\"%s\"", s->disk.path, err->text);
        return DS4_OK;
    }
    if (status == DS4_ERR_CORRUPT) {
        log_warning("kv store record replaced dir=\"%s\": its objects can no longer be found", s->disk.path);
        kv_disk_unlink(&s->disk, "STORE", NULL);
    }
    kv_store_record fresh = { .budget_bytes = s->options.budget_bytes,
                              .min_free_bytes = s->options.min_free_bytes,
                              .created_ns = kv_now_ns() };
    hash_random(fresh.id, sizeof fresh.id);
    hash_random(fresh.salt, sizeof fresh.salt);
    s->record = fresh;
    status = write_record(s, &fresh, err);
    if (status == DS4_OK)
        status = read_record(s, &s->record, err);
    if (status == DS4_OK || status == DS4_ERR_UNSUPPORTED)
        return status;
    log_warning("kv read-only dir=\"%s\" why=\"%s\"", s->disk.path, err->text);
    s->disk.read_only = true;
    return DS4_OK;
}

void kv_directory_renewed(kv_store *s)
{
    kv_store_record there;
    ds4_error err = { 0 };
    kv_index *old = malloc(sizeof *old); /* freeing it takes too long for the lock */
    pthread_mutex_lock(&s->lock);
    if (old)
        *old = s->index;
    else
        kv_index_free(&s->index);
    s->index = (kv_index){ 0 };
    memset(s->listings, 0, sizeof s->listings);
    s->metrics.foreign_bytes = 0;
    pthread_mutex_unlock(&s->lock);
    if (old)
        kv_index_free(old);
    free(old);
    /* Names follow from the salt: with our record the next start finds what this process goes on writing. */
    if (!s->disk.read_only && write_record(s, &s->record, &err) != DS4_OK)
        log_warning("kv store record not written: %s", err.text);
    if (read_record(s, &there, &err) != DS4_OK || memcmp(there.salt, s->record.salt, sizeof there.salt) != 0)
        log_warning("kv directory holds another store: what is saved now is lost at the next start");
    kv_scan(s);
}

static void start_threads(kv_store *s)
{
    s->n_holders = 3;
    s->has_scanner = pthread_create(&s->scanner, NULL, kv_scanner_main, s) == 0;
    if (!s->has_scanner)
        kv_scanner_main(s);
    s->has_writer = !s->disk.read_only && pthread_create(&s->writer, NULL, kv_writer_main, s) == 0;
    if (!s->disk.read_only && !s->has_writer)
        log_warning("kv read-only: no thread for the writer");
    if (!s->has_writer)
        kv_store_let_go(s);
}

/* What is left when no thread runs. */
static void free_store(kv_store *s)
{
    kv_index_free(&s->index);
    kv_verdicts_free(&s->verdicts);
    kv_disk_close(&s->disk);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
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
    clock_cond_init(&s->changed);
    hash_random(&s->writer_id, sizeof s->writer_id);
    status = kv_disk_open(&s->disk, options->dir, options->read_only, options->trust_group, &inner);
    if (status == DS4_OK) {
        fill_defaults(s);
        status = settle_record(s, &inner);
    }
    if (status == DS4_OK && options->identify)
        status = options->identify(options->identify_user, s, s->options.fingerprint, &inner);
    if (status != DS4_OK) {
        free_store(s);
        return ds4_fail(err, status, "%s", inner.text);
    }
    s->secret = kv_key_secret(s->record.salt, "");
    s->root = kv_key_root(&s->secret, s->options.fingerprint, s->options.segment_tokens);
    kv_verdicts_load(s);
    kv_intents_settle(s);
    kv_sweep(s);
    start_threads(s);
    s->opened = true;
    *out = s;
    return DS4_OK;
}

/* ---- waiting and closing ---- */

bool kv_flush(kv_store *s, int64_t timeout_us)
{
    const int64_t until_us = clock_monotonic_us() + timeout_us;
    pthread_mutex_lock(&s->lock);
    while ((!s->scanned || s->head || s->writing) && clock_cond_wait(&s->changed, &s->lock, until_us))
        continue;
    const bool done = s->scanned && !s->head && !s->writing;
    pthread_mutex_unlock(&s->lock);
    return done;
}

/* Under the lock. A frontier with a newer one of its chain behind it. */
static bool is_replaced(const kv_draft *d)
{
    if (d->extent.kind != KV_KIND_FRONTIER)
        return false;
    for (const kv_draft *later = d->next; later; later = later->next)
        if (later->chain == d->chain && later->extent.kind == KV_KIND_FRONTIER)
            return true;
    return false;
}

/* Under the lock. The newest frontiers and what they stand on come first: older ones of a chain are taken out and returned, to
 * be freed without the lock. */
static kv_draft *prefer_newest(kv_store *s)
{
    kv_draft *replaced = NULL;
    for (kv_draft **at = &s->head, *previous = NULL; *at;) {
        kv_draft *d = *at;
        if (!is_replaced(d)) {
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
        d->next = replaced;
        replaced = d;
    }
    return replaced;
}

void kv_store_hurry(kv_store *s, int64_t until_us)
{
    if (!s)
        return;
    atomic_store(&s->leaving, true);
    pthread_mutex_lock(&s->lock);
    s->hurry_until_us = until_us;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

kv_store *kv_store_hold(kv_store *s)
{
    if (!s)
        return NULL;
    pthread_mutex_lock(&s->lock);
    s->n_holders++;
    pthread_mutex_unlock(&s->lock);
    return s;
}

void kv_store_let_go(kv_store *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    const bool last = --s->n_holders == 0;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (last)
        free_store(s);
}

static void free_drafts(kv_draft *list)
{
    for (kv_draft *next; list; list = next) {
        next = list->next;
        kv_draft_free(list);
    }
}

static void end_thread(bool has, pthread_t thread, bool join)
{
    if (has && join)
        pthread_join(thread, NULL);
    else if (has)
        pthread_detach(thread);
}

bool kv_store_close(kv_store *s, int64_t drain_us)
{
    enum { LEAVE_US = 2000000, HURRY_US = 100000 };
    if (!s)
        return true;
    const int64_t now_us = clock_monotonic_us();
    int64_t drained_us = now_us + drain_us, until_us = now_us + (drain_us > LEAVE_US ? drain_us : LEAVE_US);
    pthread_mutex_lock(&s->lock);
    if (s->hurry_until_us) {
        drained_us = drained_us < s->hurry_until_us ? drained_us : s->hurry_until_us;
        until_us = s->hurry_until_us > now_us + HURRY_US ? s->hurry_until_us : now_us + HURRY_US;
    }
    kv_draft *replaced = prefer_newest(s);
    s->stopping = true;
    atomic_store(&s->leaving, true);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    free_drafts(replaced);
    pthread_mutex_lock(&s->lock);
    while ((s->head || s->writing) && s->has_writer && clock_cond_wait(&s->changed, &s->lock, drained_us))
        continue;
    s->dropping = true;
    while (s->n_holders > 1 && clock_cond_wait(&s->changed, &s->lock, until_us))
        continue;
    const bool all = s->n_holders == 1;
    const bool has_writer = s->has_writer, has_scanner = s->has_scanner;
    const pthread_t writer = s->writer, scanner = s->scanner;
    pthread_mutex_unlock(&s->lock);
    if (!all)
        log_warning("kv directory does not answer dir=\"%s\": closing without it", s->disk.path);
    end_thread(has_writer, writer, all);
    end_thread(has_scanner, scanner, all);
    kv_store_let_go(s);
    return all;
}

/* ---- figures ---- */

void kv_store_describe(kv_store *s, char *out, size_t size)
{
    char id[13];
    for (int i = 0; i < 6; i++)
        snprintf(id + 2 * i, sizeof id - (size_t)(2 * i), "%02x", s->record.id[i]);
    c_locale_snprintf(out, size, "id=%s mode=%s budget=%.1fG floor=%.1fG", id,
                      kv_store_is_read_only(s) ? "read-only" : "read-write",
                      (double)s->options.budget_bytes / (double)GIB, (double)s->options.min_free_bytes / (double)GIB);
}

bool kv_store_is_read_only(kv_store *s)
{
    return s->options.read_only || s->disk.read_only || (s->opened && !s->has_writer);
}

void kv_refresh_figures(kv_store *s)
{
    const uint64_t free_bytes = kv_disk_free_bytes(&s->disk, NULL);
    pthread_mutex_lock(&s->lock);
    s->metrics.free_bytes = free_bytes;
    pthread_mutex_unlock(&s->lock);
}

void kv_store_metrics(kv_store *s, kv_metrics *out)
{
    pthread_mutex_lock(&s->lock);
    s->figures_wanted = true;
    pthread_cond_broadcast(&s->changed);
    *out = s->metrics;
    out->store_bytes = s->index.bytes;
    out->store_objects = s->index.n;
    out->budget_bytes = s->options.budget_bytes;
    pthread_mutex_unlock(&s->lock);
    out->available = !s->disk.gone;
    out->read_only = kv_store_is_read_only(s);
}
