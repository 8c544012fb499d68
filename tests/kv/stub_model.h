/* tests/kv/stub_model.h - what the tests of the store save and restore: rows that are functions of their tokens, so that
 * every byte that comes back can be checked. */
#ifndef TESTS_KV_STUB_MODEL_H
#define TESTS_KV_STUB_MODEL_H

#include "kv/store.h"

#include <stdatomic.h>

enum { N = 16, RATIO = 4, WIDTH = 8, LAYERS = 3, WINDOW = 4 };

extern char stub_dir[];
extern float stub_noise;      /* added to every value: other rows for the same tokens */
extern uint64_t stub_cost_us; /* what computing the next objects is said to have taken */

kv_options stub_options(void);
kv_store *stub_open(void);
void stub_tokens(uint32_t *tokens, size_t n, uint32_t seed);
size_t stub_section_bytes(void *user, uint32_t type, uint64_t begin, uint64_t end);
ds4_status stub_fill_draft(kv_draft *d, bool frontier, const uint32_t *tokens, uint64_t begin, uint64_t end);

/* One object of a chain into the writer's queue. What a draft or a submission may refuse is for the caller to judge. */
ds4_status stub_submit_segment(kv_chain *chain, const uint32_t *tokens, uint64_t i);
ds4_status stub_submit_frontier(kv_chain *chain, const uint32_t *tokens, uint64_t n);
/* Saves all segments and a frontier at n, and waits until the writer is done. */
void stub_save(kv_store *s, const uint32_t *tokens, size_t n);
/* A store that holds one checkpoint, at 40 of the tokens that it makes: two segments and a frontier. */
kv_store *stub_open_saved(uint32_t tokens[60]);
/* The position that a prompt is restored at, every byte of it checked; 0: a miss. */
uint64_t stub_restored(kv_store *s, const uint32_t *tokens, size_t n);
/* A plan whose trial has begun. */
kv_plan *stub_begin(kv_store *s, const uint32_t *tokens, size_t n);
/* Its trial is over: the chain of the state that goes on from it. Free it. */
kv_chain *stub_go_on(kv_plan *plan);
void stub_condemn(kv_plan *plan); /* and releases it */

/* Calls `visit` (or nothing) with each object file; returns how many there are. */
int stub_each_object(void (*visit)(const char *path, void *user), void *user);
int stub_count_files(const char *folder);
extern atomic_int stub_n_synced; /* files and folders synced so far, or since a test set it to 0 */
bool stub_was_synced(const char *path);

int stub_empty(void **state); /* a cmocka setup: no directory yet */

#endif
