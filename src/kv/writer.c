/* The writer thread: checks, hashes and publishes what was handed over. It is the only one that writes objects; no error of
 * it reaches a request. */
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "kv/store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACKOFF_FIRST_US = 1000000, BACKOFF_MAX_US = 600000000 };

/* --- the image ---------------------------------------------------------------------------------------------------------- */

/* STATS of every f32 section; false when a value of any section is not finite (F47). */
static bool fill_stats(kv_draft *d)
{
    const kv_layout *layout = &d->store->options.layout;
    uint8_t *at = d->image + d->offsets[KV_SECTION_STATS];
    float stats[2 * KV_GROUPS_MAX];
    for (uint32_t type = KV_SECTION_CSA_ROWS; type <= KV_SECTION_LOGITS; type++) {
        const kv_section_rule *rule = &layout->rules[type];
        uint32_t first = 0;
        if (!rule->used)
            continue;
        if (!rule->f32) {
            if (!kv_layout_valid(layout, type, d->image + d->offsets[type], (size_t)d->sizes[type]))
                return false;
            continue;
        }
        kv_layout_stats(layout, d->extent.kind, type, &first);
        const bool finite =
            kv_section_stats(d->image + d->offsets[type], (size_t)d->sizes[type], rule->n_groups, stats);
        if (d->sizes[KV_SECTION_STATS] && (type <= KV_SECTION_HCA_ROWS || d->extent.kind == KV_KIND_FRONTIER))
            memcpy(at + (size_t)first * 8, stats, (size_t)rule->n_groups * 8);
        if (!finite)
            return false;
    }
    return true;
}

/* Under the lock. The digest of segment i of the draft's stem, if the store holds the bytes that its state was computed from. */
static const hash_digest *digest_below(const kv_draft *d, size_t i, const kv_key *key)
{
    const kv_object *o = kv_index_find(&d->store->index, key);
    const hash_digest *ours = kv_stem_digest(d->stem, i, key);
    return o && !o->excluded && ours && hash_digest_equal(ours, &o->digest) ? ours : NULL;
}

/* A segment that was dropped takes those above it along: without it they are of no use. */
static bool has_parent(kv_draft *d)
{
    const size_t depth = (size_t)(d->extent.begin / d->extent.n);
    pthread_mutex_lock(&d->store->lock);
    const bool found = depth == 0 || digest_below(d, depth - 1, &d->parent);
    pthread_mutex_unlock(&d->store->lock);
    return found;
}

/* (key, payload digest) of every ancestor of a frontier; false when one is missing. */
static bool fill_chain(kv_draft *d)
{
    uint8_t *at = d->image + d->offsets[KV_SECTION_CHAIN];
    bool complete = true;
    pthread_mutex_lock(&d->store->lock);
    for (size_t i = 0; i < d->n_ancestors && complete; i++, at += KV_CHAIN_ENTRY) {
        const hash_digest *digest = digest_below(d, i, &d->ancestors[i]);
        complete = digest != NULL;
        if (!complete)
            break;
        memcpy(at, d->ancestors[i].bytes, 32);
        memcpy(at + 32, digest->bytes, 16);
    }
    pthread_mutex_unlock(&d->store->lock);
    return complete;
}

static void fill_header(kv_draft *d, kv_header *h)
{
    kv_store *s = d->store;
    *h = (kv_header){ .major = KV_MAJOR,
                      .minor = KV_MINOR,
                      .kind = d->extent.kind,
                      .flags = d->extent.logits ? KV_FLAG_LOGITS : 0,
                      .file_bytes = d->image_bytes,
                      .key = d->key,
                      .parent = d->parent,
                      .begin = d->extent.begin,
                      .end = d->extent.end,
                      .n = d->extent.n,
                      .created_ns = kv_now_ns(),
                      .writer = s->writer_id,
                      .reason = (uint16_t)d->info.reason,
                      .cost_us = d->info.cost_us,
                      .lineage = d->lineage };
    memcpy(h->fingerprint, s->options.fingerprint, sizeof h->fingerprint);
    memcpy(h->codecs, s->options.layout.codecs, sizeof h->codecs);
    kv_layout_shape(&s->options.layout, h->shape);
    for (uint32_t type = 1; type < KV_SECTION_TYPES; type++) {
        if (d->sizes[type] == 0)
            continue;
        h->entries[h->n_sections++] =
            (kv_entry){ .type = type,
                        .offset = d->offsets[type],
                        .stored_bytes = d->sizes[type],
                        .raw_bytes = d->sizes[type],
                        .digest = hash_bytes(d->image + d->offsets[type], (size_t)d->sizes[type]) };
    }
    h->payload = kv_header_payload_digest(h);
    kv_header_encode(h, d->image);
}

/* --- what has the name already ----------------------------------------------------------------------------------------- */

typedef enum standing {
    STANDING_NONE,
    STANDING_SAME,   /* the same payload, every byte compared */
    STANDING_OTHER,  /* damaged, or the rows of other kernels: a clean run has just computed better ones */
    STANDING_FOREIGN /* a file of a later version: left alone */
} standing;

static bool holds_payload(int fd, const uint8_t *image, uint64_t size)
{
    enum { PIECE = 1 << 20 };
    uint8_t *piece = malloc(PIECE);
    bool same = piece != NULL;
    for (uint64_t at = KV_PAGE; same && at < size; at += PIECE) {
        const size_t n = (size_t)(size - at < PIECE ? size - at : PIECE);
        same = kv_disk_read(fd, at, piece, n, "read.standing", NULL) == DS4_OK && memcmp(piece, image + at, n) == 0;
    }
    free(piece);
    return same;
}

/* Compares the file under a draft's name with its image, and gives that file's header if they agree. So a clean run repairs
 * every object that it computes again, whatever the index says about them. Errors: IO (it is not known). */
static ds4_status look_at_name(kv_store *s, const kv_draft *d, const kv_header *ours, kv_header *theirs, standing *out,
                               ds4_error *err)
{
    uint8_t page[KV_HEADER_BYTES];
    uint64_t size;
    int fd;
    *out = STANDING_NONE;
    const ds4_status status =
        kv_disk_open_object(&s->disk, &d->key, d->extent.kind, s->options.trust_group, &fd, &size, err);
    if (status == DS4_ERR_NOT_FOUND)
        return DS4_OK;
    *out = STANDING_OTHER;
    if (status == DS4_ERR_CORRUPT)
        return DS4_OK;
    if (status != DS4_OK)
        return status;
    if (size >= sizeof page && kv_disk_read(fd, 0, page, sizeof page, "read.standing", NULL) == DS4_OK) {
        kv_finding f = kv_header_decode(theirs, page, sizeof page, size);
        if (!f.step)
            f = kv_header_check_identity(theirs, &s->options.layout, s->options.fingerprint, s->options.segment_tokens);
        if (!f.step)
            f = kv_header_check_table(theirs, &s->options.layout, &d->key, d->extent.kind);
        if (f.step && f.action == KV_ACTION_IGNORE)
            *out = STANDING_FOREIGN;
        else if (!f.step && hash_digest_equal(&theirs->payload, &ours->payload) &&
                 holds_payload(fd, d->image, d->image_bytes))
            *out = STANDING_SAME;
    }
    close(fd);
    return DS4_OK;
}

/* Removes what has the name. False: it cannot be removed; it is excluded, so nobody tries again. */
static bool clear_name(kv_store *s, const kv_draft *d, standing what)
{
    char name[KV_NAME_BYTES], hex[HASH_KEY_HEX];
    kv_object_name(&d->key, d->extent.kind, name);
    hash_key_hex(&d->key, hex);
    const bool gone = what == STANDING_OTHER && kv_disk_unlink(&s->disk, name, "evict.unlink");
    pthread_mutex_lock(&s->lock);
    if (gone)
        kv_index_remove(&s->index, &d->key);
    else
        kv_index_exclude(&s->index, &d->key, d->extent.kind);
    pthread_mutex_unlock(&s->lock);
    log_info("kv %s key=%.12s why=%s", gone ? "replaced" : "not replaced", hex,
             what == STANDING_FOREIGN ? "later-version" : "other-bytes");
    return gone;
}

/* --- publishing ----------------------------------------------------------------------------------------------------------- */

static void back_off(kv_store *s, ds4_status status, const char *why)
{
    pthread_mutex_lock(&s->lock);
    s->backoff_us = s->backoff_us ? 2 * s->backoff_us : BACKOFF_FIRST_US;
    if (s->backoff_us > BACKOFF_MAX_US)
        s->backoff_us = BACKOFF_MAX_US;
    s->backoff_until_us = (uint64_t)clock_monotonic_us() + s->backoff_us;
    const double seconds = (double)s->backoff_us / 1e6;
    s->metrics.write_dropped_total[KV_DROP_ERROR]++;
    pthread_mutex_unlock(&s->lock);
    log_warning("kv write failed class=%s why=\"%s\" pause=%.0fs", ds4_status_word(status), why, seconds);
}

/* Under the lock: the object is in its place, with the bytes that this draft's state has. */
static void note_standing(kv_store *s, const kv_draft *d, const kv_header *h)
{
    kv_index_add(&s->index, h);
    if (d->extent.kind == KV_KIND_SEGMENT)
        kv_stem_set(d->stem, (size_t)(d->extent.begin / d->extent.n), &d->key, &h->payload);
}

/* False: its lineage was condemned while it was written (F48), so it has to go again. */
static bool note_published(kv_store *s, const kv_draft *d, const kv_header *h)
{
    static const char *const reasons[] = { "segment", "anchor", "prompt", "turn", "displaced", "exit" };
    char hex[HASH_KEY_HEX];
    pthread_mutex_lock(&s->lock);
    const bool stays = !kv_is_descendant(s, d->lineage, UINT64_MAX);
    if (stays)
        note_standing(s, d, h);
    s->backoff_us = 0;
    s->metrics.write_objects_total++;
    if (d->extent.kind == KV_KIND_SEGMENT)
        s->metrics.write_bytes_segment_total += d->image_bytes;
    else
        s->metrics.write_bytes_frontier_total += d->image_bytes;
    const double queued = (double)s->metrics.queue_bytes / 1e6;
    pthread_mutex_unlock(&s->lock);
    hash_key_hex(&d->key, hex);
    const bool segment = d->extent.kind == KV_KIND_SEGMENT;
    log_line(segment ? LOG_DEBUG : LOG_INFO,
             "kv save segs=%d frontier=%d n=%" PRIu64 " bytes=%.1fM queue=%.1fM stall=%.1fms reason=%s key=%.12s",
             segment, !segment, d->extent.end, (double)d->image_bytes / 1e6, queued, (double)d->info.stall_us / 1e3,
             reasons[d->info.reason], hex);
    return stays;
}

static bool writer_fault(const char *point)
{
    const fault f = fault_at(point);
    return f.kind != FAULT_NONE && f.kind != FAULT_FORCE;
}

/* May it be written at all? Fills what the store itself writes. KV_DROPS: yes. */
static kv_drop refuse(kv_store *s, kv_draft *d)
{
    bool anew = false;
    pthread_mutex_lock(&s->lock);
    const bool descends = kv_is_descendant(s, d->lineage, UINT64_MAX);
    const bool backing_off = (uint64_t)clock_monotonic_us() < s->backoff_until_us;
    pthread_mutex_unlock(&s->lock);
    if (descends)
        return KV_DROP_TAINTED;
    if (backing_off) /* what was queued before the failure does not lengthen the pause */
        return KV_DROP_BACKOFF;
    if (writer_fault("writer.before_copy") || writer_fault("writer.encode"))
        return KV_DROP_ERROR;
    if (!kv_disk_revalidate(&s->disk, s->options.recreate_us, &anew))
        return KV_DROP_ERROR;
    if (anew)
        kv_directory_renewed(s);
    if (!fill_stats(d)) {
        log_warning("kv save refused why=nonfinite n=%" PRIu64, d->extent.end);
        return KV_DROP_NONFINITE;
    }
    return has_parent(d) && fill_chain(d) ? KV_DROPS : KV_DROP_NO_STEM;
}

/* Writes the image under its name. *taken: somebody else was first. */
static ds4_status put(kv_store *s, kv_draft *d, const kv_header *h, bool *taken, ds4_error *err)
{
    const ds4_status status =
        kv_disk_publish(&s->disk, &d->key, d->extent.kind, d->image, d->image_bytes, s->options.durability, taken, err);
    if (status != DS4_OK || *taken)
        return status;
    kv_verdict_lift(s, &d->key, &h->payload);
    if (!note_published(s, d, h)) {
        char name[KV_NAME_BYTES];
        kv_object_name(&d->key, d->extent.kind, name);
        kv_disk_unlink(&s->disk, name, NULL);
    }
    return DS4_OK;
}

/* Publishes the object, replaces other bytes under its name, or finds that nothing has to be written. */
static ds4_status settle(kv_store *s, kv_draft *d, const kv_header *h, ds4_error *err)
{
    kv_header theirs;
    standing what;
    bool taken = true;
    kv_drop why;
    for (int tries = 0; taken && tries < 2; tries++) { /* another server may be first once, but not for ever */
        ds4_status status = look_at_name(s, d, h, &theirs, &what, err);
        if (status != DS4_OK)
            return status;
        if (what == STANDING_SAME) {
            pthread_mutex_lock(&s->lock);
            note_standing(s, d, &theirs);
            pthread_mutex_unlock(&s->lock);
            kv_verdict_lift(s, &d->key, &h->payload); /* condemned, but nobody could move it */
            return DS4_OK;
        }
        if (!kv_make_room(s, d, &why)) {
            kv_count_drop(s, why);
            return DS4_OK;
        }
        if (what != STANDING_NONE && !clear_name(s, d, what)) {
            kv_count_drop(s, KV_DROP_ERROR);
            return DS4_OK;
        }
        status = put(s, d, h, &taken, err);
        if (status != DS4_OK)
            return status;
    }
    return DS4_OK;
}

static void publish(kv_store *s, kv_draft *d)
{
    kv_header h;
    ds4_error err = { 0 };
    const kv_drop why = refuse(s, d);
    if (why != KV_DROPS) {
        kv_count_drop(s, why);
        return;
    }
    fill_header(d, &h);
    const ds4_status status = settle(s, d, &h, &err);
    if (status != DS4_OK)
        back_off(s, status, err.text);
}

/* Under the lock, which is free meanwhile: waits for a draft, looking up figures that somebody asks for. False: stopping. */
static bool wait_for_draft(kv_store *s)
{
    while (!s->head && !s->stopping) {
        if (!s->figures_wanted) {
            pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        s->figures_wanted = false;
        pthread_mutex_unlock(&s->lock);
        kv_refresh_figures(s);
        pthread_mutex_lock(&s->lock);
    }
    return s->head != NULL;
}

void *kv_writer_main(void *argument)
{
    kv_store *s = argument;
    pthread_mutex_lock(&s->lock);
    while (wait_for_draft(s)) {
        kv_draft *d = s->head;
        s->head = d->next;
        if (!s->head)
            s->tail = NULL;
        s->writing = d;
        const bool dropping = s->dropping;
        if (dropping)
            s->metrics.write_dropped_total[KV_DROP_SHUTDOWN]++;
        pthread_mutex_unlock(&s->lock);
        if (!dropping)
            publish(s, d);
        pthread_mutex_lock(&s->lock);
        s->writing = NULL;
        s->metrics.queue_jobs--;
        s->metrics.queue_bytes -= d->image_bytes;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        kv_draft_free(d);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    kv_store_let_go(s);
    return NULL;
}
