/* tests/kv/stub_model.h - what the tests of the store save and restore: rows that are functions of their tokens, so that
 * every byte that comes back can be checked. */
#ifndef TESTS_KV_STUB_MODEL_H
#define TESTS_KV_STUB_MODEL_H

#include "kv/store.h"

enum { N = 16, RATIO = 4, WIDTH = 8, LAYERS = 3, WINDOW = 4 };

extern char stub_dir[];
extern float stub_noise; /* added to every value: other rows for the same tokens */

kv_options stub_options(void);
kv_store *stub_open(void);
void stub_tokens(uint32_t *tokens, size_t n, uint32_t seed);
size_t stub_section_bytes(void *user, uint32_t type, uint64_t begin, uint64_t end);
ds4_status stub_fill_draft(kv_draft *d, bool frontier, const uint32_t *tokens, uint64_t begin, uint64_t end);

/* Saves all segments and a frontier at n, and waits until the writer is done. */
void stub_save(kv_store *s, const uint32_t *tokens, size_t n);
/* The position that a prompt is restored at, every byte of it checked; 0: a miss. */
uint64_t stub_restored(kv_store *s, const uint32_t *tokens, size_t n);
/* A plan whose trial has begun. */
kv_plan *stub_begin(kv_store *s, const uint32_t *tokens, size_t n);

/* Calls `visit` (or nothing) with each object file; returns how many there are. */
int stub_each_object(void (*visit)(const char *path, void *user), void *user);
int stub_count_files(const char *folder);
int stub_empty(void **state); /* a cmocka setup: no directory yet */

#endif
