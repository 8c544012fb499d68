/* What the store holds, as far as this process knows. A hint: every use opens the file and checks it again. */
#include "kv/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MIN = 256 };

static size_t slot_of(const kv_index *index, const kv_key *key)
{
    uint64_t hash; /* keys are hashes already */
    memcpy(&hash, key->bytes, sizeof hash);
    return (size_t)hash & (index->n_slots - 1);
}

kv_object *kv_index_find(const kv_index *index, const kv_key *key)
{
    if (index->n_slots == 0)
        return NULL;
    kv_object *o = index->slots[slot_of(index, key)];
    while (o && !hash_key_equal(&o->key, key))
        o = o->next;
    return o;
}

static bool grow(kv_index *index)
{
    kv_index bigger = { .n_slots = index->n_slots ? 2 * index->n_slots : SLOTS_MIN };
    bigger.slots = calloc(bigger.n_slots, sizeof *bigger.slots);
    if (!bigger.slots)
        return index->n_slots != 0; /* longer chains will do */
    for (size_t i = 0; i < index->n_slots; i++)
        for (kv_object *o = index->slots[i], *next; o; o = next) {
            next = o->next;
            const size_t slot = slot_of(&bigger, &o->key);
            o->next = bigger.slots[slot];
            bigger.slots[slot] = o;
        }
    free(index->slots);
    index->slots = bigger.slots;
    index->n_slots = bigger.n_slots;
    return true;
}

/* The file under a known name was replaced. Its uses, references and descendants are those of the name. */
static void update(kv_index *index, kv_object *o, const kv_header *h)
{
    index->bytes += h->file_bytes - o->bytes;
    o->digest = h->payload;
    o->logits = (h->flags & KV_FLAG_LOGITS) != 0;
    o->bytes = h->file_bytes;
    o->created_ns = h->created_ns;
    o->writer = h->writer;
    o->lineage = h->lineage;
    o->cost_us = h->cost_us;
}

bool kv_index_add(kv_index *index, const kv_header *h)
{
    kv_object *known = kv_index_find(index, &h->key);
    if (known) {
        update(index, known, h);
        return true;
    }
    if (index->n >= index->n_slots && !grow(index))
        return false;
    kv_object *o = calloc(1, sizeof *o);
    if (!o)
        return false;
    *o = (kv_object){ .key = h->key,
                      .parent = h->parent,
                      .digest = h->payload,
                      .kind = h->kind,
                      .logits = (h->flags & KV_FLAG_LOGITS) != 0,
                      .begin = h->begin,
                      .end = h->end,
                      .bytes = h->file_bytes,
                      .created_ns = h->created_ns,
                      .writer = h->writer,
                      .lineage = h->lineage,
                      .cost_us = h->cost_us };
    kv_object *parent = kv_index_find(index, &h->parent);
    if (parent)
        parent->n_children++;
    const size_t slot = slot_of(index, &h->key);
    o->next = index->slots[slot];
    index->slots[slot] = o;
    index->n++;
    index->bytes += o->bytes;
    return true;
}

void kv_index_recount(kv_index *index)
{
    for (size_t i = 0; i < index->n_slots; i++)
        for (kv_object *o = index->slots[i]; o; o = o->next)
            o->n_children = 0;
    for (size_t i = 0; i < index->n_slots; i++)
        for (const kv_object *o = index->slots[i]; o; o = o->next) {
            kv_object *parent = kv_index_find(index, &o->parent);
            if (parent)
                parent->n_children++;
        }
}

void kv_index_remove(kv_index *index, const kv_key *key)
{
    if (index->n_slots == 0)
        return;
    for (kv_object **at = &index->slots[slot_of(index, key)]; *at; at = &(*at)->next) {
        kv_object *o = *at;
        if (!hash_key_equal(&o->key, key))
            continue;
        kv_object *parent = kv_index_find(index, &o->parent);
        if (parent && parent->n_children > 0)
            parent->n_children--;
        *at = o->next;
        index->n--;
        index->bytes -= o->bytes;
        free(o);
        return;
    }
}

void kv_index_exclude(kv_index *index, const kv_key *key, uint16_t kind)
{
    if (!kv_index_find(index, key))
        kv_index_add(index, &(kv_header){ .key = *key, .kind = kind }); /* no memory: then it is only met again */
    kv_object *o = kv_index_find(index, key);
    if (o)
        o->excluded = true;
}

void kv_index_clear(kv_index *index)
{
    for (size_t i = 0; i < index->n_slots; i++)
        for (kv_object *o = index->slots[i], *next; o; o = next) {
            next = o->next;
            free(o);
        }
    free(index->slots);
    *index = (kv_index){ 0 };
}

/* --- value: section 9 ------------------------------------------------------------------------------------------------- */

#define HOUR_NS (UINT64_C(3600) * 1000000000)

static double halved(uint64_t from_ns, uint64_t to_ns, double half_life_hours)
{
    double hours = to_ns > from_ns ? (double)(to_ns - from_ns) / (double)HOUR_NS : 0.0;
    if (hours > 90.0 * 24.0) /* clocks jump (F51) */
        hours = 90.0 * 24.0;
    return exp2(-hours / half_life_hours);
}

enum { SHORT_HOURS = 6, LONG_HOURS = 7 * 24 };

static void touch(kv_object *o, uint64_t now_ns)
{
    o->hits_short = o->hits_short * halved(o->hit_ns, now_ns, SHORT_HOURS) + 1.0;
    o->hits_long = o->hits_long * halved(o->hit_ns, now_ns, LONG_HOURS) + 1.0;
    o->hit_ns = now_ns;
}

void kv_index_hit(kv_index *index, const kv_key *key, uint64_t time_ns)
{
    kv_object *o = kv_index_find(index, key);
    while (o) {
        const uint64_t begin = o->begin;
        touch(o, time_ns);
        o = kv_index_find(index, &o->parent);
        if (o && (o->end != begin || o->begin >= begin)) /* headers are hostile: down, never in circles */
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
