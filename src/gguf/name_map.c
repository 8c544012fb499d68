#include "gguf/name_map.h"

#include "base/hash.h"

#include <stdlib.h>
#include <xxhash.h>

/* The slot that holds `name`, or the empty one where it would go. At most half of the slots are ever taken, so the
 * walk ends. */
static name_map_slot *slot_of(const name_map *map, slice name, uint64_t hash)
{
    for (size_t i = (size_t)hash & (map->capacity - 1);; i = (i + 1) & (map->capacity - 1)) {
        name_map_slot *slot = &map->slots[i];
        if (!slot->name.data || (slot->hash == hash && slice_equal(slot->name, name)))
            return slot;
    }
}

ds4_status name_map_reserve(name_map *map, size_t n)
{
    size_t capacity = map->capacity ? map->capacity : 16;
    while (capacity / 2 < n) {
        if (capacity > SIZE_MAX / 4 / sizeof *map->slots)
            return DS4_ERR_NO_MEMORY;
        capacity *= 2;
    }
    if (capacity == map->capacity)
        return DS4_OK;
    name_map grown = { .capacity = capacity, .n = map->n, .seed = map->seed };
    if (!map->slots)
        hash_random(&grown.seed, sizeof grown.seed);
    grown.slots = calloc(capacity, sizeof *grown.slots);
    if (!grown.slots)
        return DS4_ERR_NO_MEMORY;
    for (size_t i = 0; i < map->capacity; i++)
        if (map->slots[i].name.data)
            *slot_of(&grown, map->slots[i].name, map->slots[i].hash) = map->slots[i];
    free(map->slots);
    *map = grown;
    return DS4_OK;
}

bool name_map_add(name_map *map, slice name, uint64_t index)
{
    const uint64_t hash = XXH3_64bits_withSeed(name.data, name.size, map->seed);
    name_map_slot *slot = slot_of(map, name, hash);
    if (slot->name.data)
        return false;
    *slot = (name_map_slot){ .hash = hash, .name = name, .index = index };
    map->n++;
    return true;
}

bool name_map_find(const name_map *map, slice name, uint64_t *index)
{
    if (!map->capacity)
        return false;
    const name_map_slot *slot = slot_of(map, name, XXH3_64bits_withSeed(name.data, name.size, map->seed));
    if (!slot->name.data)
        return false;
    *index = slot->index;
    return true;
}

void name_map_free(name_map *map)
{
    free(map->slots);
    *map = (name_map){ 0 };
}
