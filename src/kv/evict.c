/* Making room: kvstore specification, section 9. Only leaves go, the least valuable first, and never for something that is
 * worth less than they are (P13). Writer thread. */
#include "base/fault.h"
#include "base/log.h"
#include "kv/store.h"

#include <inttypes.h>

typedef struct victim {
    kv_key key;
    uint16_t kind;
    uint64_t bytes;
    double score;
    bool found;
} victim;

/* Under the lock. */
static victim least_valuable(const kv_store *s, uint64_t now_ns)
{
    victim best = { 0 };
    const uint64_t min_age_ns = (uint64_t)s->options.evict_min_age_us * 1000;
    for (size_t i = 0; i < s->index.n_slots; i++)
        for (const kv_object *o = s->index.slots[i]; o; o = o->next) {
            const uint64_t age_ns = now_ns > o->created_ns ? now_ns - o->created_ns : 0;
            if (o->references || o->n_children || o->excluded || age_ns < min_age_ns)
                continue;
            const double score = kv_object_score(o, now_ns);
            if (!best.found || score < best.score)
                best = (victim){ o->key, o->kind, o->bytes, score, true };
        }
    return best;
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

bool kv_make_room(kv_store *s, uint16_t kind, uint64_t bytes, uint64_t cost_us, kv_drop *why)
{
    bool by_floor;
    uint64_t may_hold = limit(s, &by_floor);
    *why = by_floor ? KV_DROP_FLOOR : KV_DROP_BUDGET;
    pthread_mutex_lock(&s->lock);
    bool fits = s->index.bytes + bytes <= may_hold;
    pthread_mutex_unlock(&s->lock);
    if (fits)
        return true;
    may_hold -= may_hold / 20; /* some room at once, not one object at a time */
    const double newcomer = kv_fresh_score(kind, cost_us, bytes);
    for (;;) {
        const uint64_t now_ns = kv_now_ns();
        pthread_mutex_lock(&s->lock);
        fits = s->index.bytes + bytes <= may_hold;
        const victim v = fits ? (victim){ 0 } : least_valuable(s, now_ns);
        pthread_mutex_unlock(&s->lock);
        if (fits)
            return true;
        if (!v.found || v.score > newcomer || fault_errno("evict.select"))
            return false;
        if (!remove_victim(s, &v, by_floor ? KV_EVICT_FLOOR : KV_EVICT_BUDGET))
            return false;
    }
}
