/* tests/support/tiny_model.h - a V4 network of every kind of layer, small enough to run thousands of tokens in a test:
 * 6 layers (1 window only, 3 CSA, 2 HCA), window 8, random weights from a seed, a byte-level vocabulary. The synthetic
 * engine of docs/spec/kvstore.md, section 16, is the real engine over this file. */
#ifndef TESTS_SUPPORT_TINY_MODEL_H
#define TESTS_SUPPORT_TINY_MODEL_H

#include <stdint.h>

enum { TINY_VOCAB = 288, TINY_WINDOW = 8, TINY_SEGMENT = 24, TINY_CTX = 2048 };

/* Writes the GGUF file. The same seed gives the same bytes. */
void tiny_model_write(const char *path, uint64_t seed);

#endif
