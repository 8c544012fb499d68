/* kv/heap.h - a binary heap of nodes that other structs embed as their first member; the lowest rank is on top.
 * Nothing is allocated except by kv_heap_reserve(). Guarded by the lock of whoever owns it. */
#ifndef KV_HEAP_H
#define KV_HEAP_H

#include <stdbool.h>
#include <stddef.h>

typedef struct kv_heap_node {
    double rank;
    size_t at; /* its place, from 1; 0: in no heap */
} kv_heap_node;

typedef struct kv_heap {
    kv_heap_node **nodes; /* [n], nodes[i]->at == i + 1 */
    size_t n, capacity;
} kv_heap;

bool kv_heap_reserve(kv_heap *heap, size_t n); /* room for n nodes; false: no memory */
/* Adds a node, for which there must be room, or moves one that is in this heap already. O(log n). */
void kv_heap_put(kv_heap *heap, kv_heap_node *node, double rank);
void kv_heap_remove(kv_heap *heap, kv_heap_node *node); /* of this heap. O(log n) */
kv_heap_node *kv_heap_top(const kv_heap *heap);         /* NULL: empty */
void kv_heap_free(kv_heap *heap);                       /* the array, not the nodes */

#endif
