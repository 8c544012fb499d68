#include "support/byte_tokenizer.h"

#include "base/hash.h"
#include "support/gguf_builder.h"

#include <stdbool.h>
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

/* The printable form of a byte (GPT-2): the other 68 follow from U+0100 on. */
static const char *printable(unsigned byte, char out[4])
{
    unsigned c = 0x100;
    for (unsigned b = 0; b <= byte; b++) {
        const bool plain = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        if (b == byte && plain)
            c = b;
        else if (b < byte && !plain)
            c++;
    }
    snprintf(out, 4, c < 0x80 ? "%c" : "%c%c", c < 0x80 ? (int)c : (int)(0xc0 | c >> 6), (int)(0x80 | (c & 63)));
    return out;
}

void byte_tokenizer_open_big(byte_tokenizer *out)
{
    enum { N_MERGES = BIG_VOCABULARY - 9 - 256, RULE_BYTES = 12 };
    char(*rules)[RULE_BYTES] = calloc(N_MERGES, sizeof *rules);
    const char **list = calloc(N_MERGES, sizeof *list);
    char text[256][4];
    if (!rules || !list)
        abort();
    for (unsigned b = 0; b < 256; b++)
        printable(b, text[b]);
    for (unsigned i = 0; i < N_MERGES; i++) {
        const unsigned pair = i & 0xffff;
        list[i] = rules[i];
        if (i <= 0xffff) {
            snprintf(rules[i], RULE_BYTES, "%s %s", text[pair >> 8], text[pair & 255]);
        } else { /* 3 * 94 * 94 < N_MERGES - 65536 < 8 * 94 * 94 */
            const unsigned k = i - 0x10000, third = (unsigned char)"e \"\n<7s>"[k / (94 * 94)];
            snprintf(rules[i], RULE_BYTES, "%s%s %s", text[0x21 + k / 94 % 94], text[0x21 + k % 94], text[third]);
        }
    }
    byte_tokenizer_open(out, list, N_MERGES);
    free(rules);
    free(list);
}

void byte_tokenizer_close(byte_tokenizer *t)
{
    text_tokenizer_close(t->tokenizer);
    gguf_close(t->file);
    free(t->bytes);
}
