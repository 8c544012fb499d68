/* tests/support/byte_tokenizer.h - a tokenizer of single bytes, all special tokens and a few merges (gb_tokenizer()). */
#ifndef TESTS_SUPPORT_BYTE_TOKENIZER_H
#define TESTS_SUPPORT_BYTE_TOKENIZER_H

#include "text/text.h"

typedef struct byte_tokenizer {
    char *bytes;
    gguf_file *file; /* of these bytes; the tokenizer borrows from it */
    text_tokenizer *tokenizer;
} byte_tokenizer;

/* Dies, and says why, if it cannot. */
void byte_tokenizer_open(byte_tokenizer *out, const char *const *merges, size_t n);
/* One of as many tokens as DeepSeek V4 has: every pair of bytes, and pairs of printable ones with a third. */
enum { BIG_VOCABULARY = 129280 };
void byte_tokenizer_open_big(byte_tokenizer *out);
void byte_tokenizer_close(byte_tokenizer *t);

#endif
