#include "kv/heap.h"

#include <stdlib.h>

bool kv_heap_reserve(kv_heap *h, size_t n)
{
    if (n <= h->capacity)
        return true;
    const size_t capacity = n < 64 ? 64 : n + n / 2;
    kv_heap_node **nodes = realloc(h->nodes, capacity * sizeof(kv_heap_node *));
    if (!nodes)
        return false;
    h->nodes = nodes;
    h->capacity = capacity;
    return true;
}

static void place(kv_heap *h, kv_heap_node *node, size_t at)
{
    h->nodes[at - 1] = node;
    node->at = at;
}

/* Moves a node from the free place `at` towards the top, then towards the bottom, until it fits. */
static void sift(kv_heap *h, kv_heap_node *node, size_t at)
{
    for (; at > 1 && node->rank < h->nodes[at / 2 - 1]->rank; at /= 2)
        place(h, h->nodes[at / 2 - 1], at);
    for (size_t child; (child = 2 * at) <= h->n; at = child) {
        if (child < h->n && h->nodes[child]->rank < h->nodes[child - 1]->rank)
            child++;
        if (node->rank <= h->nodes[child - 1]->rank)
            break;
        place(h, h->nodes[child - 1], at);
    }
    place(h, node, at);
}

void kv_heap_put(kv_heap *h, kv_heap_node *node, double rank)
{
    node->rank = rank;
    if (node->at == 0)
        h->nodes[h->n++] = node;
    sift(h, node, node->at ? node->at : h->n);
}

void kv_heap_remove(kv_heap *h, kv_heap_node *node)
{
    const size_t at = node->at;
    kv_heap_node *last = h->nodes[--h->n];
    node->at = 0;
    if (last != node)
        sift(h, last, at);
}

kv_heap_node *kv_heap_top(const kv_heap *h)
{
    return h->n ? h->nodes[0] : NULL;
}

void kv_heap_free(kv_heap *h)
{
    free(h->nodes);
    *h = (kv_heap){ 0 };
}
