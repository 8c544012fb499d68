/* gguf/name_map.h - finds names by hash: keys and tensors of one file. Names are borrowed slices.
 * Threads: any number of finders, as long as nobody adds. */
#ifndef GGUF_NAME_MAP_H
#define GGUF_NAME_MAP_H

#include "base/buffer.h"

typedef struct name_map_slot {
    uint64_t hash;
    slice name; /* .data NULL: empty slot */
    uint64_t index;
} name_map_slot;

typedef struct name_map {
    name_map_slot *slots; /* [capacity], a power of two or 0 */
    size_t capacity, n;
    uint64_t seed; /* drawn at random, so that a file cannot aim its names at one slot */
} name_map;        /* a zeroed map is valid */

/* Room for n names in all. NO_MEMORY changes nothing. */
ds4_status name_map_reserve(name_map *map, size_t n);
/* Adds `name`, which must fit (name_map_reserve), and gives *index; if it is there already, changes nothing and
 * answers false. */
bool name_map_add(name_map *map, slice name, uint64_t index);
bool name_map_find(const name_map *map, slice name, uint64_t *index);
void name_map_free(name_map *map);

#endif
