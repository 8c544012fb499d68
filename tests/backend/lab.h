/* tests/backend/lab.h - a backend at work in a test: its shape, what was put into its memory, steps of one span. Every file that
 * includes it has its own. */
#ifndef TESTS_BACKEND_LAB_H
#define TESTS_BACKEND_LAB_H

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "quant/quant.h"
#include "support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static backend *b;          /* of the variant at work */
static const char *variant; /* its name */
static void *blocks[64];    /* to be freed */
static size_t n_blocks;

static inline void *device(size_t bytes)
{
    assert_true(n_blocks < sizeof blocks / sizeof blocks[0]);
    void *memory = b->ops->alloc(b, bytes);
    assert_non_null(memory);
    return blocks[n_blocks++] = memory;
}

/* A copy in the backend's memory of n values of 4 bytes. */
static inline void *put(const void *values, size_t n)
{
    void *memory = device(n * 4);
    b->ops->write(b, memory, values, n * 4);
    return memory;
}

static inline void get(void *out, const void *memory, size_t n)
{
    b->ops->read(b, out, memory, n * 4);
}

static inline backend_tensor *adopt(const void *data, uint32_t type, uint32_t n_stacked, uint32_t n_rows,
                                    uint32_t n_cols)
{
    backend_tensor *t;
    const backend_source source = { data, type, n_stacked, n_rows, n_cols, n_cols * (size_t)4, false };
    assert_int_equal(b->ops->adopt(b, &source, &t, NULL), DS4_OK);
    return t;
}

static inline backend_tensor *matrix(const float *data, uint32_t n_rows, uint32_t n_cols, uint32_t n_stacked)
{
    return adopt(data, QUANT_F32, n_stacked, n_rows, n_cols);
}

static inline backend_tensor *vector(const float *data, uint32_t n)
{
    return matrix(data, 1, n, 1);
}

static const backend_layer one_window[1] = { { BACKEND_LAYER_WINDOW, 0 } };

/* Small and odd; tests change what matters to them. */
static inline backend_shape some_shape(void)
{
    return (backend_shape){ .n_layers = 1,
                            .layers = one_window,
                            .n_embd = 3,
                            .n_streams = 2,
                            .n_heads = 1,
                            .head_dim = 8,
                            .rope_dim = 0,
                            .window = 5,
                            .n_index_heads = 1,
                            .index_dim = 8,
                            .index_top_k = 4,
                            .n_experts = 16,
                            .n_used = 4,
                            .ff_dim = 64,
                            .n_vocab = 16,
                            .n_input_max = 4096,
                            .rms_eps = 1e-6f,
                            .n_tokens_max = 64,
                            .n_rows_max = 64,
                            .n_ctx_max = 1024,
                            .page_tokens = 48,
                            .rewind_tokens = 4 };
}

static inline void open_backend(const backend_shape *shape)
{
    static const float no_angles[1];
    backend_shape s = *shape;
    if (!s.omega_window)
        s.omega_window = s.omega_compressed = no_angles;
    const backend_options options = { .n_threads = 2, .kernels = variant };
    assert_int_equal(backend_open(&b, "cpu", &options, NULL), DS4_OK);
    assert_int_equal(b->ops->configure(b, &s, NULL), DS4_OK);
}

static inline void close_backend(void)
{
    while (n_blocks > 0)
        b->ops->free(b, blocks[--n_blocks]);
    b->ops->close(b);
}

static inline void for_each_variant(void (*check)(void))
{
    for (size_t v = 0; v < n_cpu_kernel_variants; v++)
        if (cpu_has(cpu_kernel_variants[v]->needs)) {
            variant = cpu_kernel_variants[v]->name;
            check();
        }
}

/* One span of n tokens from `position` on, in a sequence without memory. */
static uint32_t tokens[64], positions[64];
static backend_span span;

static inline void begin(uint32_t n, uint32_t position, const backend_sequence *sequence)
{
    for (uint32_t i = 0; i < n; i++)
        positions[i] = position + i;
    span = (backend_span){ .n = n, .position = position };
    if (sequence)
        span.sequence = *sequence;
    const backend_step step = { .n_tokens = n, .tokens = tokens, .positions = positions, .spans = &span, .n_spans = 1 };
    b->ops->begin(b, &step);
}

static inline void end(void)
{
    bool finite[64];
    assert_int_equal(b->ops->end(b, finite, NULL), DS4_OK);
}

#endif
