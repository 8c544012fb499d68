/* Images of objects to be saved: made on the engine thread, without touching the disk. */
#include "base/clock.h"
#include "base/fault.h"
#include "kv/store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void kv_count_drop(kv_store *s, kv_drop why)
{
    pthread_mutex_lock(&s->lock);
    s->metrics.write_dropped_total[why]++;
    pthread_mutex_unlock(&s->lock);
}

static ds4_status drop(kv_store *s, kv_drop why, ds4_status status, ds4_error *err)
{
    kv_count_drop(s, why);
    return ds4_fail(err, status, "not saved: %s", kv_drop_word(why));
}

/* Refuses what the writer would not take now, before the engine thread spends time on the copy. A frontier may still take
 * the place of an older one in a full queue; that is decided by kv_draft_submit(). */
static ds4_status check_open(kv_store *s, const kv_chain *chain, const kv_extent *extent, ds4_error *err)
{
    const uint64_t bytes = kv_layout_file_bytes(&s->options.layout, extent);
    if (!chain->stem)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory to save this sequence");
    pthread_mutex_lock(&s->lock);
    const bool full = extent->kind == KV_KIND_SEGMENT && (s->metrics.queue_jobs >= s->options.queue_jobs_max ||
                                                          s->metrics.queue_bytes + bytes > s->options.queue_bytes_max);
    const bool backing_off = (uint64_t)clock_monotonic_us() < s->backoff_until_us, stopping = s->stopping;
    const bool tainted = chain->tainted || kv_is_descendant(s, chain->lineage, UINT64_MAX);
    pthread_mutex_unlock(&s->lock);
    if (s->options.read_only || !s->has_writer)
        return drop(s, KV_DROP_READ_ONLY, DS4_ERR_NO_SPACE, err);
    if (tainted)
        return drop(s, KV_DROP_TAINTED, DS4_ERR_STATE_BAD, err);
    if (backing_off)
        return drop(s, KV_DROP_BACKOFF, DS4_ERR_NO_SPACE, err);
    if (stopping)
        return drop(s, KV_DROP_SHUTDOWN, DS4_ERR_NO_SPACE, err);
    return full ? drop(s, KV_DROP_QUEUE, DS4_ERR_NO_SPACE, err) : DS4_OK;
}

static ds4_status new_draft(kv_draft **out, kv_chain *chain, kv_extent extent, ds4_error *err)
{
    kv_store *s = chain->store;
    kv_draft *d = calloc(1, sizeof *d);
    if (!d)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    *d = (kv_draft){ .store = s, .chain = chain, .stem = chain->stem, .extent = extent, .lineage = chain->lineage };
    pthread_mutex_lock(&s->lock);
    d->stem->references++;
    pthread_mutex_unlock(&s->lock);
    d->image_bytes = KV_PAGE;
    for (uint32_t type = 1; type < KV_SECTION_TYPES; type++) {
        d->sizes[type] = kv_layout_section_bytes(&s->options.layout, &extent, type);
        d->offsets[type] = d->image_bytes;
        d->image_bytes += kv_page_up(d->sizes[type]);
    }
    d->n_ancestors = extent.kind == KV_KIND_FRONTIER ? (size_t)(extent.begin / extent.n) : 0;
    d->ancestors = d->n_ancestors ? malloc(d->n_ancestors * sizeof *d->ancestors) : NULL;
    d->image =
        kv_layout_file_bytes(&s->options.layout, &extent) ? aligned_alloc(KV_PAGE, (size_t)d->image_bytes) : NULL;
    if (!d->image || (d->n_ancestors && !d->ancestors)) {
        kv_draft_free(d);
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory to save %" PRIu64 " tokens",
                        extent.end - extent.begin);
    }
    memset(d->image, 0, (size_t)d->image_bytes);
    if (d->n_ancestors)
        memcpy(d->ancestors, chain->keys, d->n_ancestors * sizeof *d->ancestors);
    uint8_t *ids = d->image + d->offsets[KV_SECTION_TOKENS];
    for (uint64_t i = extent.begin; i < extent.end; i++)
        for (int b = 0; b < 4; b++)
            *ids++ = (uint8_t)(chain->tokens[i] >> (8 * b));
    *out = d;
    return DS4_OK;
}

ds4_status kv_draft_segment(kv_draft **out, kv_chain *chain, uint64_t i, ds4_error *err)
{
    const uint32_t N = chain->store->options.segment_tokens;
    *out = NULL;
    if (i >= kv_chain_segments(chain))
        return drop(chain->store, KV_DROP_COUNTERS, DS4_ERR_ARGUMENT, err);
    const kv_extent extent = { KV_KIND_SEGMENT, i * N, (i + 1) * N, N, false };
    ds4_status status = check_open(chain->store, chain, &extent, err);
    if (status == DS4_OK)
        status = new_draft(out, chain, extent, err);
    if (status == DS4_OK) {
        (*out)->key = chain->keys[i];
        (*out)->parent = i ? chain->keys[i - 1] : chain->store->root;
    }
    return status;
}

ds4_status kv_draft_frontier(kv_draft **out, kv_chain *chain, uint64_t position, bool logits, ds4_error *err)
{
    const uint32_t N = chain->store->options.segment_tokens;
    *out = NULL;
    if (position != chain->n || position == 0) /* F8 */
        return drop(chain->store, KV_DROP_COUNTERS, DS4_ERR_ARGUMENT, err);
    const kv_extent extent = { KV_KIND_FRONTIER, position / N * N, position, N, logits };
    ds4_status status = check_open(chain->store, chain, &extent, err);
    if (status == DS4_OK)
        status = new_draft(out, chain, extent, err);
    if (status == DS4_OK) {
        (*out)->key = kv_chain_frontier_key(chain);
        (*out)->parent = position >= N ? chain->keys[position / N - 1] : chain->store->root;
    }
    return status;
}

static bool is_ours(uint32_t type)
{
    return type == KV_SECTION_TOKENS || type == KV_SECTION_CHAIN || type == KV_SECTION_STATS;
}

ds4_status kv_draft_section(kv_draft *d, uint32_t type, size_t size, void **out, ds4_error *err)
{
    *out = NULL;
    if (type >= KV_SECTION_TYPES || is_ours(type) || d->asked[type] || d->sizes[type] != size) /* F8 */
        return drop(d->store, KV_DROP_COUNTERS, DS4_ERR_ARGUMENT, err);
    d->asked[type] = true;
    if (size > 0)
        *out = d->image + d->offsets[type];
    return DS4_OK;
}

void kv_draft_free(kv_draft *d)
{
    if (!d)
        return;
    kv_stem_release(d->store, d->stem);
    free(d->ancestors);
    free(d->image);
    free(d);
}

void kv_draft_drop(kv_draft *d)
{
    kv_draft_free(d);
}

/* Under the lock. Takes an older frontier of the same chain out of the queue; NULL if there is none. */
static kv_draft *take_older_frontier(kv_store *s, const kv_draft *newer)
{
    kv_draft *previous = NULL;
    for (kv_draft *d = s->head; d; previous = d, d = d->next) {
        if (d->chain != newer->chain || d->extent.kind != KV_KIND_FRONTIER)
            continue;
        *(previous ? &previous->next : &s->head) = d->next;
        if (s->tail == d)
            s->tail = previous;
        s->metrics.queue_jobs--;
        s->metrics.queue_bytes -= d->image_bytes;
        return d;
    }
    return NULL;
}

ds4_status kv_draft_submit(kv_draft *d, const kv_save_info *info, ds4_error *err)
{
    kv_store *s = d->store;
    kv_draft *replaced = NULL;
    for (uint32_t type = 0; type < KV_SECTION_TYPES; type++)
        if (d->sizes[type] > 0 && !is_ours(type) && !d->asked[type]) {
            kv_draft_free(d);
            return drop(s, KV_DROP_COUNTERS, DS4_ERR_ARGUMENT, err);
        }
    d->info = *info;
    const bool forced = fault_at("writer.queue_full").kind == FAULT_FORCE;
    pthread_mutex_lock(&s->lock);
    const uint64_t jobs_max = s->options.queue_jobs_max, bytes_max = s->options.queue_bytes_max;
    bool full = forced || s->metrics.queue_jobs >= jobs_max || s->metrics.queue_bytes + d->image_bytes > bytes_max;
    if (full && d->extent.kind == KV_KIND_FRONTIER) {
        replaced = take_older_frontier(s, d);
        full = !replaced;
    }
    const bool stopping = s->stopping, taken = !full && !stopping;
    if (taken) {
        d->next = NULL;
        *(s->tail ? &s->tail->next : &s->head) = d;
        s->tail = d;
        s->metrics.queue_jobs++;
        s->metrics.queue_bytes += d->image_bytes;
        s->metrics.save_stall_us_total += (uint64_t)(info->stall_us > 0 ? info->stall_us : 0);
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    if (replaced) {
        kv_draft_free(replaced);
        kv_count_drop(s, KV_DROP_QUEUE);
    }
    if (taken)
        return DS4_OK;
    kv_draft_free(d);
    return drop(s, stopping ? KV_DROP_SHUTDOWN : KV_DROP_QUEUE, DS4_ERR_NO_SPACE, err);
}
