/* A model file with bytes of its header changed: refused with words, or a network of which every bound weight can be read. The
 * input is a list of changes, so that every one begins at a whole model: position (u16) and new byte. */
#include "base/hash.h"
#include "backend/cpu/cpu.h"
#include "model/network.h"
#include "support/support.h"
#include "support/tiny_model.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *whole;
static size_t whole_size, header_size;
static volatile uint8_t sink;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char path[] = "/tmp/ds4-fuzz-model-XXXXXX";
    (void)argc, (void)argv;
    const int fd = mkstemp(path);
    if (fd < 0 || hash_start(NULL) != DS4_OK)
        abort();
    close(fd);
    tiny_model_write(path, 1);
    whole = test_read_file(path, &whole_size);
    gguf_file *file;
    if (gguf_open(&file, path, NULL) != DS4_OK)
        abort();
    header_size = gguf_tensor_at(file, 0)->offset;
    gguf_close(file);
    unlink(path);
    return 0;
}

static void touch(const backend_tensor *t)
{
    const size_t bytes = t ? t->row_bytes * t->n_rows * t->n_stacked : 0;
    if (bytes)
        sink ^= t->data[0] ^ t->data[bytes - 1];
}

static void touch_layer(const model_layer *l)
{
    const backend_tensor *all[] = { l->hc_attn.fn, l->hc_ffn.fn,  l->q_a,          l->q_b,          l->kv,
                                    l->output_a,   l->output_b,   l->attention.kv, l->indexer.gate, l->indexer_q_b,
                                    l->router,     l->gate,       l->up,           l->down,         l->shared_gate,
                                    l->shared_up,  l->shared_down };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        touch(all[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    model m = { .config = { .index_rounding = MODEL_ROUNDING_NONE } };
    ds4_error err = { 0 };
    char *bytes = aligned_alloc(64, (whole_size + 64) / 64 * 64);
    memcpy(bytes, whole, whole_size);
    for (size_t i = 0; i + 3 <= size; i += 3)
        bytes[(size_t)(data[i] | data[i + 1] << 8) % header_size] = (char)data[i + 2];
    ds4_status status = gguf_open_bytes(&m.file, bytes, whole_size, &err);
    if (status == DS4_OK)
        status = model_config_read(&m.config, m.file, &m.memory, &err);
    if (status == DS4_OK)
        status = backend_open(&m.backend, "cpu", &(backend_options){ .n_threads = 1 }, &err);
    if (status == DS4_OK)
        status = model_bind(&m, &err);
    if (status == DS4_OK) {
        touch(m.embed);
        touch(m.output);
        for (uint32_t i = 0; i < m.config.n_layers; i++)
            touch_layer(&m.layers[i]);
    } else if (err.text[0] == 0) {
        abort(); /* a refusal without words */
    }
    if (m.backend)
        m.backend->ops->close(m.backend);
    arena_free(&m.memory);
    gguf_close(m.file);
    free(bytes);
    return 0;
}
