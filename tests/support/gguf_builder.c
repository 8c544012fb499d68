#include "support/gguf_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(ds4_status status)
{
    if (status != DS4_OK)
        abort();
}

static void put_string(buffer *b, const char *text)
{
    must(buffer_append_u64(b, strlen(text)));
    must(buffer_append_text(b, text));
}

void gb_raw(gguf_builder *b, const char *key, uint32_t type, const void *bytes, size_t size)
{
    put_string(&b->values, key);
    must(buffer_append_u32(&b->values, type));
    must(buffer_append(&b->values, bytes, size));
    b->n_values++;
}

void gb_u32(gguf_builder *b, const char *key, uint32_t value)
{
    gb_raw(b, key, 4, &value, sizeof value);
}

void gb_string(gguf_builder *b, const char *key, const char *value)
{
    gb_raw(b, key, 8, "", 0);
    put_string(&b->values, value);
}

static void begin_array(gguf_builder *b, const char *key, uint32_t type, uint64_t n)
{
    gb_raw(b, key, 9, "", 0);
    must(buffer_append_u32(&b->values, type));
    must(buffer_append_u64(&b->values, n));
}

void gb_strings(gguf_builder *b, const char *key, const char *const *values, size_t n)
{
    begin_array(b, key, 8, n);
    for (size_t i = 0; i < n; i++)
        put_string(&b->values, values[i]);
}

void gb_i32s(gguf_builder *b, const char *key, const int32_t *values, size_t n)
{
    begin_array(b, key, 5, n);
    for (size_t i = 0; i < n; i++)
        must(buffer_append_u32(&b->values, (uint32_t)values[i]));
}

void gb_entry(gguf_builder *b, const char *name, uint32_t type, const uint64_t *dims, uint32_t n_dims, uint64_t offset)
{
    put_string(&b->tensors, name);
    must(buffer_append_u32(&b->tensors, n_dims));
    for (uint32_t i = 0; i < n_dims; i++)
        must(buffer_append_u64(&b->tensors, dims[i]));
    must(buffer_append_u32(&b->tensors, type));
    must(buffer_append_u64(&b->tensors, offset));
    b->n_tensors++;
}

void gb_tensor(gguf_builder *b, const char *name, uint32_t type, const uint64_t *dims, uint32_t n_dims,
               const void *data, size_t size)
{
    gb_entry(b, name, type, dims, n_dims, b->data.size);
    if (data)
        must(buffer_append(&b->data, data, size));
    for (size_t i = 0; i < size && !data; i++)
        must(buffer_append_byte(&b->data, 0));
    while (b->data.size % 32)
        must(buffer_append_byte(&b->data, 0));
}

char *gb_finish(gguf_builder *b, size_t *size)
{
    buffer out = { 0 };
    must(buffer_append_text(&out, "GGUF"));
    must(buffer_append_u32(&out, 3));
    must(buffer_append_u64(&out, b->n_tensors));
    must(buffer_append_u64(&out, b->n_values));
    must(buffer_append_slice(&out, buffer_slice(&b->values)));
    must(buffer_append_slice(&out, buffer_slice(&b->tensors)));
    while (out.size % 32)
        must(buffer_append_byte(&out, 0));
    must(buffer_append_slice(&out, buffer_slice(&b->data)));
    buffer_free(&b->values);
    buffer_free(&b->tensors);
    buffer_free(&b->data);
    *b = (gguf_builder){ 0 };
    return buffer_take(&out, size);
}

void gb_tokenizer(gguf_builder *b, const char *const *merges, size_t n)
{
    static const char *const specials[] = { "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
                                            "<\uff5cend\u2581of\u2581sentence\uff5c>",
                                            "<\uff5cUser\uff5c>",
                                            "<\uff5cAssistant\uff5c>",
                                            "<think>",
                                            "</think>",
                                            "\uff5cDSML\uff5c",
                                            "<\uff5clatest_reminder\uff5c>",
                                            "<\uff5cSystem\uff5c>" };
    enum { N_SPECIALS = sizeof specials / sizeof specials[0] };
    const size_t total = N_SPECIALS + 256 + n;
    char(*texts)[64] = calloc(total, sizeof *texts);
    const char **tokens = calloc(total, sizeof *tokens);
    int32_t *types = calloc(total, sizeof *types);
    if (!texts || !tokens || !types)
        abort();
    for (size_t i = 0, next = 0x100; i < total; i++) {
        tokens[i] = texts[i];
        types[i] = i < N_SPECIALS ? 3 : 1;
        if (i < N_SPECIALS) {
            snprintf(texts[i], sizeof texts[i], "%s", specials[i]);
        } else if (i < N_SPECIALS + 256) {
            const size_t byte = i - N_SPECIALS;
            const bool plain = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
            const size_t c = plain ? byte : next++;
            if (c < 0x80)
                texts[i][0] = (char)c;
            else
                texts[i][0] = (char)(0xc0 | c >> 6), texts[i][1] = (char)(0x80 | (c & 63));
        } else {
            const char *rule = merges[i - N_SPECIALS - 256], *space = strchr(rule, ' ');
            snprintf(texts[i], sizeof texts[i], "%.*s%s", (int)(space - rule), rule, space + 1);
        }
    }
    gb_string(b, "tokenizer.ggml.model", "gpt2");
    gb_string(b, "tokenizer.ggml.pre", "joyai-llm");
    gb_strings(b, "tokenizer.ggml.tokens", tokens, total);
    gb_i32s(b, "tokenizer.ggml.token_type", types, total);
    gb_strings(b, "tokenizer.ggml.merges", merges, n);
    free(texts);
    free(tokens);
    free(types);
}
