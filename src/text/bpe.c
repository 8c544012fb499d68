/* Merging one piece: docs/spec/protocol.md, section 1.4. A linked list of symbols and a heap of possible merges, so
 * that a piece of n bytes costs O(n log n) whatever it holds. */
#include "text/vocabulary.h"

#include <stdlib.h>

typedef struct bpe_symbol {
    uint32_t id;
    int32_t previous, next; /* -1: none */
} bpe_symbol;

/* A possible merge. Stale when its left symbol or its neighbour has changed since: then `pair` no longer holds. */
typedef struct bpe_candidate {
    uint64_t order; /* rank << 32 | left: lower rank first, of equal ones the leftmost */
    uint64_t pair;
} bpe_candidate;

enum {
    PIECE_BYTES_MAX = 1 << 30,
    WAYS = 4 /* children of a heap node: they share a cache line, and the heap is half as deep */
};

static void heap_push(bpe_candidate *heap, size_t *n, bpe_candidate c)
{
    size_t i = (*n)++;
    while (i > 0 && c.order < heap[(i - 1) / WAYS].order) {
        heap[i] = heap[(i - 1) / WAYS];
        i = (i - 1) / WAYS;
    }
    heap[i] = c;
}

static bpe_candidate heap_pop(bpe_candidate *heap, size_t *n)
{
    const bpe_candidate top = heap[0], last = heap[--*n];
    size_t i = 0;
    for (size_t first; (first = WAYS * i + 1) < *n;) {
        const size_t end = first + WAYS < *n ? first + WAYS : *n;
        size_t child = first;
        for (size_t k = first + 1; k < end; k++)
            child = heap[k].order < heap[child].order ? k : child;
        if (heap[child].order >= last.order)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* At most two candidates come for every symbol that ever was: n at the start and two per merge. */
static ds4_status reserve(bpe_scratch *s, size_t n)
{
    if (n > PIECE_BYTES_MAX)
        return DS4_ERR_NO_SPACE;
    if (n <= s->capacity)
        return DS4_OK;
    const size_t capacity = n + n / 2 + 64;
    bpe_symbol *symbols = realloc(s->symbols, capacity * sizeof *symbols);
    if (symbols)
        s->symbols = symbols;
    bpe_candidate *heap = symbols ? realloc(s->heap, 3 * capacity * sizeof *heap) : NULL;
    if (!heap)
        return DS4_ERR_NO_MEMORY;
    s->heap = heap;
    s->capacity = capacity;
    return DS4_OK;
}

static uint64_t pair_of(uint32_t left, uint32_t right)
{
    return (uint64_t)left << 32 | right;
}

static void consider(const text_tokenizer *t, bpe_scratch *s, size_t *n_heap, int32_t left)
{
    const int32_t right = left < 0 ? -1 : s->symbols[left].next;
    if (right < 0)
        return;
    const merge_slot *merge = merge_find(t, s->symbols[left].id, s->symbols[right].id);
    if (merge)
        heap_push(s->heap, n_heap, (bpe_candidate){ (uint64_t)merge->rank << 32 | (uint32_t)left, merge->pair });
}

ds4_status bpe_encode(const text_tokenizer *t, bpe_scratch *s, slice piece, token_list *out)
{
    const int32_t n = (int32_t)piece.size;
    size_t n_heap = 0;
    ds4_status status = reserve(s, piece.size);
    if (status != DS4_OK)
        return status;
    for (int32_t i = 0; i < n; i++)
        s->symbols[i] = (bpe_symbol){ t->by_byte[(uint8_t)piece.data[i]], i - 1, i + 1 < n ? i + 1 : -1 };
    for (int32_t i = 0; i + 1 < n; i++)
        consider(t, s, &n_heap, i);
    while (n_heap > 0) {
        const bpe_candidate c = heap_pop(s->heap, &n_heap);
        const int32_t at = (int32_t)(uint32_t)c.order;
        bpe_symbol *left = &s->symbols[at];
        const int32_t right = left->next;
        /* A symbol that was merged away has id UINT32_MAX, which is in no pair. */
        if (right < 0 || pair_of(left->id, s->symbols[right].id) != c.pair)
            continue;
        left->id = merge_find(t, left->id, s->symbols[right].id)->id;
        left->next = s->symbols[right].next;
        s->symbols[right].id = UINT32_MAX;
        if (left->next >= 0)
            s->symbols[left->next].previous = at;
        consider(t, s, &n_heap, left->previous);
        consider(t, s, &n_heap, at);
    }
    for (int32_t i = n ? 0 : -1; status == DS4_OK && i >= 0; i = s->symbols[i].next)
        status = token_list_append(out, s->symbols[i].id);
    return status;
}

void bpe_scratch_free(bpe_scratch *s)
{
    free(s->symbols);
    free(s->heap);
    *s = (bpe_scratch){ 0 };
}
