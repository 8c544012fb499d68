/* What the store holds, as far as this process knows. A hint: every use opens the file and checks it again.
 *
 * An object is a node of a forest: its parent is the segment below it. A parent that is not known yet (or the root, or one that
 * was removed) has a node all the same, which only counts its children, so objects may come and go in any order.
 * Objects that may be evicted (leaves) are in one of two heaps of their shard: `young` by the time they were written, `leaves` by
 * value. Nothing is as large as the whole index, so no call takes longer than one stem is long, however many objects there
 * are. */
#include "kv/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MIN = 16 };

/* --- nodes by name ------------------------------------------------------------------------------------------------------ */

static kv_shard *shard_of(kv_index *index, const kv_key *key)
{
    return &index->shards[key->bytes[0]];
}

static kv_object **slot_of(const kv_shard *shard, const kv_key *key)
{
    uint64_t hash; /* keys are hashes already */
    memcpy(&hash, key->bytes + 1, sizeof hash);
    return &shard->slots[(size_t)hash & (shard->n_slots - 1)];
}

static kv_object *find_node(const kv_index *index, const kv_key *key)
{
    const kv_shard *shard = &index->shards[key->bytes[0]];
    kv_object *o = shard->n_slots ? *slot_of(shard, key) : NULL;
    while (o && !hash_key_equal(&o->key, key))
        o = o->next;
    return o;
}

kv_object *kv_index_find(const kv_index *index, const kv_key *key)
{
    kv_object *o = find_node(index, key);
    return o && o->known ? o : NULL;
}

size_t kv_index_frontiers_on(const kv_index *index, const kv_key *stem)
{
    const kv_object *o = find_node(index, stem);
    return o ? o->n_frontiers : 0;
}

/* One shard of 256 grows at a time, so this is short. */
static bool grow(kv_shard *shard)
{
    kv_shard bigger = *shard;
    bigger.n_slots = shard->n_slots ? 2 * shard->n_slots : SLOTS_MIN;
    bigger.slots = calloc(bigger.n_slots, sizeof(kv_object *));
    if (!bigger.slots)
        return shard->n_slots != 0; /* longer chains will do */
    for (size_t i = 0; i < shard->n_slots; i++)
        for (kv_object *o = shard->slots[i], *next; o; o = next) {
            kv_object **slot = slot_of(&bigger, &o->key);
            next = o->next;
            o->next = *slot;
            *slot = o;
        }
    free(shard->slots);
    *shard = bigger;
    return true;
}

/* The node of that name, made if there is none; NULL: no memory. */
static kv_object *need_node(kv_index *index, const kv_key *key)
{
    kv_shard *shard = shard_of(index, key);
    kv_object *o = find_node(index, key);
    if (o)
        return o;
    if (shard->n >= shard->n_slots && !grow(shard))
        return NULL;
    o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    kv_object **slot = slot_of(shard, key);
    o->key = *key;
    o->next = *slot;
    *slot = o;
    shard->n++;
    return o;
}

/* Frees a node that says nothing any more. */
static void drop_node(kv_index *index, kv_object *o)
{
    if (o->known || o->n_children)
        return;
    kv_shard *shard = shard_of(index, &o->key);
    for (kv_object **at = slot_of(shard, &o->key); *at; at = &(*at)->next)
        if (*at == o) {
            *at = o->next;
            shard->n--;
            free(o);
            return;
        }
}

/* --- leaves --------------------------------------------------------------------------------------------------------------- */

/* After anything changed that decides whether o may be evicted. */
static void settle(kv_index *index, kv_object *o)
{
    const bool leaf = o->known && !o->n_children && !o->references && !o->excluded;
    if (leaf == (o->heap != NULL))
        return;
    if (leaf) {
        o->heap = &shard_of(index, &o->key)->young;
        kv_heap_put(o->heap, &o->node, (double)o->created_ns);
    } else {
        kv_heap_remove(o->heap, &o->node);
        o->heap = NULL;
    }
}

/* From one heap to another. */
static void move(kv_object *o, kv_heap *to, double rank)
{
    kv_heap_remove(o->heap, &o->node);
    o->heap = to;
    kv_heap_put(to, &o->node, rank);
}

static void count_child(kv_index *index, kv_object *parent, uint16_t kind, int delta)
{
    parent->n_children = (uint32_t)((int64_t)parent->n_children + delta);
    if (kind == KV_KIND_FRONTIER)
        parent->n_frontiers = (uint32_t)((int64_t)parent->n_frontiers + delta);
    settle(index, parent);
}

/* The youngest objects of a shard that have become old enough are ranked by value. */
static void let_age(kv_shard *shard, uint64_t now_ns, uint64_t min_age_ns, int *n_moves)
{
    for (; *n_moves > 0; (*n_moves)--) {
        kv_object *o = (kv_object *)kv_heap_top(&shard->young);
        if (!o || now_ns < o->created_ns || now_ns - o->created_ns < min_age_ns)
            return;
        move(o, &shard->leaves, kv_object_score(o, now_ns));
    }
}

bool kv_index_victim(kv_index *index, uint64_t now_ns, uint64_t min_age_ns, kv_object **out)
{
    int n_moves = 256;
    *out = NULL;
    for (size_t i = 0; i < KV_SHARDS && n_moves > 0; i++) {
        kv_shard *shard = &index->shards[i];
        let_age(shard, now_ns, min_age_ns, &n_moves);
        kv_object *o = (kv_object *)kv_heap_top(&shard->leaves);
        if (o && (!*out || o->node.rank < (*out)->node.rank))
            *out = o;
    }
    return n_moves > 0;
}

void kv_index_rank(kv_index *index, uint8_t shard, uint64_t now_ns)
{
    const kv_shard *part = &index->shards[shard];
    for (size_t i = 0; i < part->n_slots; i++)
        for (kv_object *o = part->slots[i]; o; o = o->next)
            if (o->heap == &part->leaves)
                kv_heap_put(o->heap, &o->node, kv_object_score(o, now_ns));
}

/* --- objects -------------------------------------------------------------------------------------------------------------- */

static void take_header(kv_index *index, kv_object *o, const kv_header *h)
{
    index->bytes += h->file_bytes - o->bytes;
    o->digest = h->payload;
    o->kind = h->kind;
    o->logits = (h->flags & KV_FLAG_LOGITS) != 0;
    o->begin = h->begin;
    o->end = h->end;
    o->bytes = h->file_bytes;
    o->created_ns = h->created_ns;
    o->lineage = h->lineage;
    o->cost_us = h->cost_us;
}

bool kv_index_add(kv_index *index, const kv_header *h)
{
    kv_shard *shard = shard_of(index, &h->key);
    kv_object *o = need_node(index, &h->key);
    if (!o)
        return false;
    if (o->known) { /* the file under this name was replaced: its uses, references and children are those of the name */
        take_header(index, o, h);
        return true;
    }
    o->parent = need_node(index, &h->parent);
    if (!o->parent || !kv_heap_reserve(&shard->young, shard->n) || !kv_heap_reserve(&shard->leaves, shard->n)) {
        if (o->parent && o->parent != o)
            drop_node(index, o->parent);
        o->parent = NULL;
        drop_node(index, o);
        return false;
    }
    take_header(index, o, h);
    o->known = true;
    index->n++;
    count_child(index, o->parent, h->kind, 1);
    settle(index, o);
    return true;
}

void kv_index_remove(kv_index *index, const kv_key *key)
{
    kv_object *o = kv_index_find(index, key);
    if (!o)
        return;
    kv_object *parent = o->parent;
    index->n--;
    index->bytes -= o->bytes;
    o->known = o->excluded = false;
    o->parent = NULL;
    o->references = 0;
    o->bytes = 0;
    settle(index, o);
    count_child(index, parent, o->kind, -1);
    if (parent != o)
        drop_node(index, parent);
    drop_node(index, o);
}

void kv_index_hold(kv_index *index, const kv_key *key, int delta)
{
    kv_object *o = kv_index_find(index, key);
    if (!o || (delta < 0 && o->references == 0)) /* it may have gone, and been made again, meanwhile */
        return;
    o->references = (uint32_t)((int64_t)o->references + delta);
    settle(index, o);
}

void kv_index_suspect(kv_index *index, const kv_key *key, bool excluded)
{
    kv_object *o = kv_index_find(index, key);
    if (!o)
        return;
    o->excluded = excluded;
    settle(index, o);
}

void kv_index_exclude(kv_index *index, const kv_key *key, uint16_t kind)
{
    if (!kv_index_find(index, key))
        kv_index_add(index, &(kv_header){ .key = *key, .kind = kind }); /* no memory: then it is only met again */
    kv_index_suspect(index, key, true);
}

void kv_index_free(kv_index *index)
{
    for (size_t shard = 0; shard < KV_SHARDS; shard++) {
        for (size_t i = 0; i < index->shards[shard].n_slots; i++)
            for (kv_object *o = index->shards[shard].slots[i], *next; o; o = next) {
                next = o->next;
                free(o);
            }
        free(index->shards[shard].slots);
        kv_heap_free(&index->shards[shard].young);
        kv_heap_free(&index->shards[shard].leaves);
    }
    *index = (kv_index){ 0 };
}

/* --- value: docs/spec/kvstore.md, section 9 ---------------------------------------------------------------------- */

#define HOUR_NS (UINT64_C(3600) * 1000000000)

static double halved(uint64_t from_ns, uint64_t to_ns, double half_life_hours)
{
    double hours = to_ns > from_ns ? (double)(to_ns - from_ns) / (double)HOUR_NS : 0.0;
    if (hours > 90.0 * 24.0) /* clocks jump (F51) */
        hours = 90.0 * 24.0;
    return exp2(-hours / half_life_hours);
}

enum { SHORT_HOURS = 6, LONG_HOURS = 7 * 24 };

/* A use at that time; use logs are read in any order. */
static void touch(kv_object *o, uint64_t time_ns)
{
    const uint64_t latest_ns = time_ns > o->hit_ns ? time_ns : o->hit_ns;
    o->hits_short = o->hits_short * halved(o->hit_ns, latest_ns, SHORT_HOURS) + halved(time_ns, latest_ns, SHORT_HOURS);
    o->hits_long = o->hits_long * halved(o->hit_ns, latest_ns, LONG_HOURS) + halved(time_ns, latest_ns, LONG_HOURS);
    o->hit_ns = latest_ns;
}

void kv_index_hit(kv_index *index, const kv_key *key, uint64_t time_ns)
{
    kv_object *o = kv_index_find(index, key);
    while (o) {
        const uint64_t begin = o->begin;
        touch(o, time_ns);
        if (o->heap) /* its value is asked again, by the clock of whoever asks */
            move(o, &shard_of(index, &o->key)->young, (double)o->created_ns);
        o = o->parent;
        if (!o->known || o->end != begin || o->begin >= begin) /* headers are hostile: down, never in circles */
            break;
    }
}

/* What recomputing a frontier costs while its stem is there is bounded: a replay of some thousand tokens. */
static double seconds_saved(uint16_t kind, uint64_t cost_us)
{
    return ((double)cost_us + (kind == KV_KIND_FRONTIER ? 1e6 : 1e4)) / 1e6;
}

double kv_object_score(const kv_object *o, uint64_t now_ns)
{
    const double used = o->hits_short * halved(o->hit_ns, now_ns, SHORT_HOURS) +
                        0.5 * o->hits_long * halved(o->hit_ns, now_ns, LONG_HOURS);
    return (used + halved(o->created_ns, now_ns, SHORT_HOURS)) * seconds_saved(o->kind, o->cost_us) / (double)o->bytes;
}

double kv_fresh_score(uint16_t kind, uint64_t cost_us, uint64_t bytes)
{
    return seconds_saved(kind, cost_us) / (double)bytes;
}
