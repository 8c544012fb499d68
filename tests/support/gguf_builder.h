/* tests/support/gguf_builder.h - writes GGUF bytes in memory, right ones and wrong ones. Dies without memory. */
#ifndef TESTS_SUPPORT_GGUF_BUILDER_H
#define TESTS_SUPPORT_GGUF_BUILDER_H

#include "base/buffer.h"

typedef struct gguf_builder {
    buffer values, tensors, data; /* entries, directory, tensor data */
    uint64_t n_values, n_tensors;
} gguf_builder; /* a zeroed one is empty */

void gb_u32(gguf_builder *b, const char *key, uint32_t value);
void gb_string(gguf_builder *b, const char *key, const char *value);
void gb_strings(gguf_builder *b, const char *key, const char *const *values, size_t n);
void gb_i32s(gguf_builder *b, const char *key, const int32_t *values, size_t n);
/* A value of any type, its bytes as they are to stand there. */
void gb_raw(gguf_builder *b, const char *key, uint32_t type, const void *bytes, size_t size);
/* A directory entry and `size` bytes of data (zeros if `data` is NULL), padded to 32. */
void gb_tensor(gguf_builder *b, const char *name, uint32_t type, const uint64_t *dims, uint32_t n_dims,
               const void *data, size_t size);
/* The directory entry alone, pointing wherever `offset` says. */
void gb_entry(gguf_builder *b, const char *name, uint32_t type, const uint64_t *dims, uint32_t n_dims, uint64_t offset);
/* Header, values, directory, padding, data. Frees the builder; free() the result (8-byte aligned). */
char *gb_finish(gguf_builder *b, size_t *size);

/* A byte-level tokenizer in the printable alphabet with all specials and these merges ("A B"); ids: specials first, then the
 * bytes in order, then one token per merge. */
void gb_tokenizer(gguf_builder *b, const char *const *merges, size_t n);

#endif
