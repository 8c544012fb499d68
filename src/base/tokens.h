/* base/tokens.h - a growable list of token ids. Threads: one at a time. A zeroed list is valid. */
#ifndef BASE_TOKENS_H
#define BASE_TOKENS_H

#include "ds4/error.h"

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

#endif
