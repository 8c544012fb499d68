/* Making room: docs/spec/kvstore.md, section 9. Only leaves go, the least valuable first, and never for something that
 * is worth less than they are (P13). Writer thread. */
#include "base/fault.h"
#include "base/log.h"
#include "kv/store.h"

#include <inttypes.h>

#define RANK_NS (UINT64_C(900) * 1000000000) /* in a quarter of an hour the value of nothing falls by more than 3 % */

typedef struct victim {
    kv_key key;
    uint16_t kind;
    uint64_t bytes;
    double score;
    bool found;
} victim;

/* Leaves are ordered by the value that they had when they were last looked at; now and then all of it is renewed. */
static void rank_again(kv_store *s, uint64_t now_ns)
{
    pthread_mutex_lock(&s->lock);
    const uint64_t then_ns = s->index.ranked_ns;
    const bool due = now_ns < then_ns || now_ns - then_ns >= RANK_NS;
    if (due)
        s->index.ranked_ns = now_ns;
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; due && i < KV_SHARDS; i++) {
        pthread_mutex_lock(&s->lock);
        kv_index_rank(&s->index, (uint8_t)i, now_ns);
        pthread_mutex_unlock(&s->lock);
    }
}

static victim least_valuable(kv_store *s, uint64_t now_ns)
{
    victim v = { 0 };
    kv_object *o = NULL;
    for (bool done = false; !done;) {
        pthread_mutex_lock(&s->lock);
        done = kv_index_victim(&s->index, now_ns, (uint64_t)s->options.evict_min_age_us * 1000, &o);
        if (done && o)
            v = (victim){ o->key, o->kind, o->bytes, kv_object_score(o, now_ns), true };
        pthread_mutex_unlock(&s->lock);
    }
    return v;
}

/* How many bytes the store may hold now. */
static uint64_t limit(kv_store *s, bool *by_floor)
{
    const uint64_t free_bytes = kv_disk_free_bytes(&s->disk, NULL);
    pthread_mutex_lock(&s->lock);
    s->metrics.free_bytes = free_bytes;
    const uint64_t held = s->index.bytes, budget = s->options.budget_bytes, floor = s->options.min_free_bytes;
    pthread_mutex_unlock(&s->lock);
    const uint64_t have = held + free_bytes, by_free = have > floor ? have - floor : 0;
    *by_floor = by_free < budget;
    return *by_floor ? by_free : budget;
}

static bool remove_victim(kv_store *s, const victim *v, kv_evict why)
{
    char name[KV_NAME_BYTES], hex[HASH_KEY_HEX];
    kv_object_name(&v->key, v->kind, name);
    const bool gone = kv_disk_unlink(&s->disk, name, "evict.unlink");
    pthread_mutex_lock(&s->lock);
    if (gone)
        kv_index_remove(&s->index, &v->key);
    else
        kv_index_exclude(&s->index, &v->key, v->kind); /* it stays, and is counted, but nobody tries it again */
    s->metrics.evicted_total[why]++;
    pthread_mutex_unlock(&s->lock);
    hash_key_hex(&v->key, hex);
    log_debug("kv evict key=%.12s bytes=%" PRIu64 " why=%s", hex, v->bytes, kv_evict_word(why));
    return gone;
}

static bool fits(kv_store *s, uint64_t bytes, uint64_t may_hold)
{
    pthread_mutex_lock(&s->lock);
    const bool good = s->index.bytes + bytes <= may_hold;
    pthread_mutex_unlock(&s->lock);
    return good;
}

static bool evict_for(kv_store *s, const kv_draft *d, uint64_t may_hold, kv_evict why)
{
    const double newcomer = kv_fresh_score(d->extent.kind, d->info.cost_us, d->image_bytes);
    const uint64_t now_ns = kv_now_ns();
    rank_again(s, now_ns);
    while (!fits(s, d->image_bytes, may_hold)) {
        const victim v = least_valuable(s, now_ns);
        if (!v.found || v.score > newcomer || fault_errno("evict.select") || !remove_victim(s, &v, why))
            return false;
    }
    return true;
}

static void hold_parent(kv_store *s, const kv_draft *d, int delta)
{
    pthread_mutex_lock(&s->lock);
    kv_index_hold(&s->index, &d->parent, delta); /* those below it are no leaves */
    pthread_mutex_unlock(&s->lock);
}

bool kv_make_room(kv_store *s, const kv_draft *d, kv_drop *why)
{
    bool by_floor;
    const uint64_t may_hold = limit(s, &by_floor);
    *why = by_floor ? KV_DROP_FLOOR : KV_DROP_BUDGET;
    if (fits(s, d->image_bytes, may_hold))
        return true;
    hold_parent(s, d, 1);
    /* Some room at once, not one object at a time. */
    const bool made = evict_for(s, d, may_hold - may_hold / 20, by_floor ? KV_EVICT_FLOOR : KV_EVICT_BUDGET);
    hold_parent(s, d, -1);
    return made;
}
