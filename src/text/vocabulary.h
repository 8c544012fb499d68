/* text/vocabulary.h - internal: what the files of the tokenizer share.
 *
 *   tokenizer.c  reads the file, answers about tokens      split.c  the three passes of 1.3      bpe.c  merges of one piece
 *   encode.c     text and spans to ids                     spans.c  lists of spans               utf8.c  streaming
 *   order.c      tokens by their bytes */
#ifndef TEXT_VOCABULARY_H
#define TEXT_VOCABULARY_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/json.h" /* json_utf8_length() */
#include "text/text.h"

#include <pcre2.h>

enum { N_PASSES = 3 };

/* One merge rule: two neighbours become one token. */
typedef struct merge_slot {
    uint64_t pair; /* left id << 32 | right id; UINT64_MAX: empty */
    uint32_t rank, id;
} merge_slot;

struct text_tokenizer {
    arena memory;
    uint32_t n_tokens;
    slice *pieces;         /* [n_tokens] bytes */
    uint8_t *control;      /* [n_tokens] 1: of the control set */
    uint32_t by_byte[256]; /* where merging starts */
    merge_slot *merges;    /* [n_slots], a power of two */
    size_t n_slots;
    uint32_t specials[TEXT_N_SPECIALS];
    uint32_t *scan; /* [n_scan] control ids with text, longest first within a first byte */
    size_t n_scan;
    uint32_t scan_from[257]; /* by first byte */
    uint32_t *sorted;        /* [n_sorted] ids of plain tokens with text, by their bytes */
    size_t n_sorted;
    pcre2_code *passes[N_PASSES];
    pcre2_match_context *limits; /* of every match */
    hash_key vocabulary;         /* of tokens, types and merges as they stand in the file */
};

/* Calls `piece` for every piece of `text` in order; stops at the first status that is not OK. Errors: those of `piece`, NO_MEMORY. */
typedef ds4_status split_fn(void *user, slice piece);
ds4_status split_text(const text_tokenizer *t, slice text, split_fn *piece, void *user);
ds4_status split_open(text_tokenizer *t, ds4_error *err);
void split_close(text_tokenizer *t);

/* Memory of one encoding, reused from piece to piece. */
typedef struct bpe_scratch {
    struct bpe_symbol *symbols;
    struct bpe_candidate *heap;
    size_t capacity, heap_capacity;
} bpe_scratch;

ds4_status bpe_encode(const text_tokenizer *t, bpe_scratch *scratch, slice piece, token_list *out);
void bpe_scratch_free(bpe_scratch *scratch);

/* Fills t->sorted, once pieces and controls are known. NO_MEMORY. */
ds4_status order_open(text_tokenizer *t);

/* The merged token of two neighbours, or NULL. */
const merge_slot *merge_find(const text_tokenizer *t, uint32_t left, uint32_t right);

#endif
