/* tests/support/changed_model.h - a model file with one thing changed. Dies without memory. */
#ifndef TESTS_SUPPORT_CHANGED_MODEL_H
#define TESTS_SUPPORT_CHANGED_MODEL_H

#include "gguf/gguf.h"

/* What is NULL or 0 stays as it is. */
typedef struct model_change {
    const char *key; /* this value is left out (bytes NULL), or stands there as these bytes of this type */
    uint32_t type;
    const void *bytes;
    size_t n_bytes;
    const char *tensor; /* this tensor is left out (new_tensor.dims NULL), replaced or added */
    struct {
        uint32_t type, n_dims;
        const uint64_t *dims;
        const void *data; /* NULL: zeros */
        size_t n_bytes;
    } new_tensor;
    uint32_t
        narrow_to; /* F16, BF16: every F32 tensor in this type; Q8_0: every F32 matrix whose rows are whole blocks */
} model_change;

/* The bytes of the changed file; free() them. */
char *changed_model(const gguf_file *file, const model_change *c, size_t *size);

#endif
