#include "base/tokens.h"

#include <stdlib.h>
#include <string.h>

ds4_status token_list_reserve(token_list *list, size_t n_more)
{
    if (n_more <= list->capacity - list->n)
        return DS4_OK;
    if (n_more > SIZE_MAX / 16 - list->n)
        return DS4_ERR_NO_MEMORY;
    size_t capacity = list->capacity ? list->capacity : 64;
    while (capacity < list->n + n_more)
        capacity *= 2;
    uint32_t *ids = realloc(list->ids, capacity * sizeof *ids);
    if (!ids)
        return DS4_ERR_NO_MEMORY;
    list->ids = ids;
    list->capacity = capacity;
    return DS4_OK;
}

ds4_status token_list_append(token_list *list, uint32_t id)
{
    return token_list_append_all(list, &id, 1);
}

ds4_status token_list_append_all(token_list *list, const uint32_t *ids, size_t n)
{
    const ds4_status status = token_list_reserve(list, n);
    if (status != DS4_OK)
        return status;
    if (n)
        memcpy(list->ids + list->n, ids, n * sizeof *ids);
    list->n += n;
    return DS4_OK;
}

void token_list_free(token_list *list)
{
    free(list->ids);
    *list = (token_list){ 0 };
}

size_t token_list_common_prefix(const uint32_t *a, size_t n_a, const uint32_t *b, size_t n_b)
{
    const size_t n = n_a < n_b ? n_a : n_b;
    size_t i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

static size_t n_words(uint32_t n_ids)
{
    return ((size_t)n_ids + 63) / 64;
}

ds4_status token_set_new(token_set *set, uint32_t n_ids)
{
    set->words = calloc(n_words(n_ids) + 1, sizeof *set->words);
    set->n_ids = set->words ? n_ids : 0;
    return set->words ? DS4_OK : DS4_ERR_NO_MEMORY;
}

void token_set_free(token_set *set)
{
    free(set->words);
    *set = (token_set){ 0 };
}

void token_set_fill(token_set *set, bool in)
{
    if (set->words)
        memset(set->words, in ? 0xff : 0, n_words(set->n_ids) * sizeof *set->words);
}

void token_set_put(token_set *set, uint32_t id, bool in)
{
    const uint64_t bit = UINT64_C(1) << (id % 64);
    if (id >= set->n_ids)
        return;
    if (in)
        set->words[id / 64] |= bit;
    else
        set->words[id / 64] &= ~bit;
}
