#include "support/changed_model.h"

#include "quant/quant.h"
#include "support/gguf_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void copy_value(gguf_builder *b, const gguf_value *v)
{
    char key[128];
    buffer raw = { 0 };
    snprintf(key, sizeof key, "%.*s", (int)v->key.size, v->key.data);
    if (v->type == GGUF_ARRAY) {
        buffer_append_u32(&raw, v->element_type);
        buffer_append_u64(&raw, v->n);
    }
    buffer_append(&raw, v->bytes, v->n_bytes);
    gb_raw(b, key, v->type, raw.data, raw.size);
    buffer_free(&raw);
}

static bool can_narrow(const gguf_tensor *t, uint32_t type)
{
    return t->type == QUANT_F32 && (type != QUANT_Q8_0 || (t->n_dims > 1 && t->dims[0] % QUANT_Q8_BLOCK == 0));
}

static void narrow_tensor(gguf_builder *b, const char *name, const gguf_tensor *t, uint32_t type)
{
    const size_t n_bytes = quant_row_bytes(type, t->n_values);
    uint8_t *narrow = malloc(n_bytes);
    if (!narrow)
        abort();
    if (type == QUANT_Q8_0)
        quant_row_to_q8_0((const float *)(const void *)t->data, t->n_values, narrow);
    for (uint64_t i = 0; i < t->n_values && type != QUANT_Q8_0; i++) {
        float x;
        memcpy(&x, t->data + 4 * i, 4);
        const uint16_t h = type == QUANT_F16 ? quant_f32_to_f16(x) : quant_f32_to_bf16(x);
        narrow[2 * i] = (uint8_t)h, narrow[2 * i + 1] = (uint8_t)(h >> 8);
    }
    gb_tensor(b, name, type, t->dims, t->n_dims, narrow, n_bytes);
    free(narrow);
}

char *changed_model(const gguf_file *file, const model_change *c, size_t *size)
{
    gguf_builder b = { 0 };
    for (uint64_t i = 0; i < gguf_n_values(file); i++)
        if (!c->key || !slice_equal(gguf_value_at(file, i)->key, slice_of(c->key)))
            copy_value(&b, gguf_value_at(file, i));
    if (c->key && c->bytes)
        gb_raw(&b, c->key, c->type, c->bytes, c->n_bytes);
    for (uint64_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)t->name.size, t->name.data);
        if (c->tensor && strcmp(c->tensor, name) == 0)
            continue;
        if (c->narrow_to && can_narrow(t, c->narrow_to))
            narrow_tensor(&b, name, t, c->narrow_to);
        else
            gb_tensor(&b, name, t->type, t->dims, t->n_dims, t->data, t->n_bytes);
    }
    if (c->tensor && c->new_tensor.dims)
        gb_tensor(&b, c->tensor, c->new_tensor.type, c->new_tensor.dims, c->new_tensor.n_dims, c->new_tensor.data,
                  c->new_tensor.n_bytes);
    return gb_finish(&b, size);
}
