#include "support/byte_tokenizer.h"

#include "base/hash.h"
#include "support/gguf_builder.h"

#include <stdio.h>
#include <stdlib.h>

void byte_tokenizer_open(byte_tokenizer *out, const char *const *merges, size_t n)
{
    gguf_builder b = { 0 };
    size_t size;
    ds4_error err = { 0 };
    gb_tokenizer(&b, merges, n);
    *out = (byte_tokenizer){ .bytes = gb_finish(&b, &size) };
    if (hash_start(&err) != DS4_OK || gguf_open_bytes(&out->file, out->bytes, size, &err) != DS4_OK ||
        text_tokenizer_open(&out->tokenizer, out->file, NULL, &err) != DS4_OK) {
        fprintf(stderr, "byte_tokenizer: %s\n", err.text);
        abort();
    }
}

void byte_tokenizer_close(byte_tokenizer *t)
{
    text_tokenizer_close(t->tokenizer);
    gguf_close(t->file);
    free(t->bytes);
}
