/* base/tokens.h - a growable list of token ids, and a set of them. Threads: one at a time. A zeroed list is valid, and so is
 * a zeroed set of no ids. */
#ifndef BASE_TOKENS_H
#define BASE_TOKENS_H

#include "ds4/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct token_list {
    uint32_t *ids; /* [n] */
    size_t n, capacity;
} token_list;

ds4_status token_list_reserve(token_list *list, size_t n_more); /* NO_MEMORY */
ds4_status token_list_append(token_list *list, uint32_t id);
ds4_status token_list_append_all(token_list *list, const uint32_t *ids, size_t n);
void token_list_free(token_list *list);
size_t token_list_common_prefix(const uint32_t *a, size_t n_a, const uint32_t *b, size_t n_b);

/* Which of the ids 0 .. n_ids - 1 are in the set: bit id % 64 of word id / 64. Bits beyond n_ids mean nothing. */
typedef struct token_set {
    uint64_t *words; /* [(n_ids + 63) / 64] */
    uint32_t n_ids;
} token_set;

ds4_status token_set_new(token_set *set, uint32_t n_ids); /* empty; NO_MEMORY */
void token_set_free(token_set *set);
void token_set_fill(token_set *set, bool in);             /* all ids, or none */
void token_set_put(token_set *set, uint32_t id, bool in); /* ids out of range are ignored */

static inline bool token_set_has(const token_set *set, uint32_t id)
{
    return id < set->n_ids && (set->words[id / 64] >> (id % 64) & 1);
}

#endif
