/* Any bytes as a model file: refused with words, or a directory whose every tensor and value can be read. */
#include "gguf/gguf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gguf_file *file;
    ds4_error err = { 0 };
    uint8_t *copy = aligned_alloc(64, (size + 64) / 64 * 64);
    memcpy(copy, data, size);
    if (gguf_open_bytes(&file, copy, size, &err) == DS4_OK) {
        for (uint64_t i = 0; i < gguf_n_tensors(file); i++) {
            const gguf_tensor *t = gguf_tensor_at(file, i);
            sink ^= t->data[0] ^ t->data[t->n_bytes - 1];
        }
        for (uint64_t i = 0; i < gguf_n_values(file); i++) {
            const gguf_value *v = gguf_value_at(file, i);
            size_t position = 0;
            slice text;
            int64_t number;
            float real;
            while (gguf_next_string(v, &position, &text))
                sink ^= text.size ? (uint8_t)text.data[text.size - 1] : 0;
            for (uint64_t k = 0; k < v->n && k < 64; k++) {
                gguf_element_i64(v, k, &number, NULL);
                gguf_element_f32(v, k, &real, NULL);
            }
        }
        gguf_close(file);
    } else if (err.text[0] == 0) {
        abort(); /* a refusal without words */
    }
    free(copy);
    return 0;
}
