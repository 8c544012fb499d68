/* tests/backend/mock_device.c - a backend whose memory is not the host's: the processor's backend behind addresses that
 * fault when anybody but the mock follows them. Linked into a test program it takes the place of backend_open(), so the
 * program's tests run as they would over a device. A pointer that was freed, or never given out, ends the test. */
#include "backend/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE_SHIFT = 12, PAGE = 1 << PAGE_SHIFT };
#define DEVICE_BYTES ((size_t)256 << 30) /* addresses, not memory; never given out twice */

typedef struct mock {
    backend base;
    backend *inner;
    uint8_t *device; /* [DEVICE_BYTES], no access */
    void **real;     /* [DEVICE_BYTES / PAGE] the inner backend's memory behind each page; NULL: none */
    size_t n_given;  /* pages */
    /* The step, with real addresses. */
    backend_span *spans;
    void ***pages; /* [n_spans] */
    uint32_t n_spans;
} mock;

static mock *mock_of(const backend *b)
{
    return (mock *)(uintptr_t)b;
}

static void *real_of(const mock *m, const void *address)
{
    const uint8_t *at = address;
    if (!address)
        return NULL;
    const size_t offset = (size_t)(at - m->device);
    if (at < m->device || offset >= DEVICE_BYTES || !m->real[offset >> PAGE_SHIFT]) {
        fprintf(stderr, "mock device: %p is not the address of device memory in use\n", address);
        abort();
    }
    return (uint8_t *)m->real[offset >> PAGE_SHIFT] + offset % PAGE;
}

static void *give_out(mock *m, void *real, size_t bytes)
{
    const size_t n = (bytes + PAGE - 1) / PAGE + (bytes == 0);
    if (!real || m->n_given + n + 1 > DEVICE_BYTES / PAGE)
        return NULL;
    const size_t first = m->n_given;
    for (size_t i = 0; i < n; i++)
        m->real[first + i] = (uint8_t *)real + i * PAGE;
    m->n_given += n + 1; /* a page between two blocks: running over the end ends the test */
    return m->device + (first << PAGE_SHIFT);
}

#define REAL(pointer) (real_of(m, (pointer)))

static ds4_status mock_configure(backend *b, const backend_shape *shape, ds4_error *err)
{
    mock *m = mock_of(b);
    const ds4_status status = m->inner->ops->configure(m->inner, shape, err);
    b->layout = m->inner->layout; /* the list stays the inner backend's */
    return status;
}

static backend_needs mock_needs(const backend *b, const backend_shape *shape)
{
    return mock_of(b)->inner->ops->needs(mock_of(b)->inner, shape);
}

static ds4_status mock_adopt(backend *b, const backend_source *source, backend_tensor **out, ds4_error *err)
{
    mock *m = mock_of(b);
    backend_source copied = *source;
    backend_tensor *real = NULL;
    copied.stays = false; /* a device has its own copy of every weight */
    const ds4_status status = m->inner->ops->adopt(m->inner, &copied, &real, err);
    *out = status == DS4_OK ? give_out(m, real, 1) : NULL;
    return status;
}

static void *mock_alloc(backend *b, size_t bytes)
{
    mock *m = mock_of(b);
    return give_out(m, m->inner->ops->alloc(m->inner, bytes), bytes);
}

static void mock_free(backend *b, void *memory)
{
    mock *m = mock_of(b);
    if (!memory)
        return;
    m->inner->ops->free(m->inner, REAL(memory));
    for (size_t i = (size_t)((uint8_t *)memory - m->device) >> PAGE_SHIFT; m->real[i]; i++)
        m->real[i] = NULL;
}

static void mock_read(backend *b, void *out, const void *memory, size_t bytes)
{
    mock *m = mock_of(b);
    m->inner->ops->read(m->inner, out, REAL(memory), bytes);
}

static void mock_write(backend *b, void *memory, const void *bytes, size_t n_bytes)
{
    mock *m = mock_of(b);
    m->inner->ops->write(m->inner, REAL(memory), bytes, n_bytes);
}

static void drop_step(mock *m)
{
    for (uint32_t i = 0; i < m->n_spans; i++)
        free(m->pages[i]);
    free(m->pages);
    free(m->spans);
    m->pages = NULL;
    m->spans = NULL;
    m->n_spans = 0;
}

static void mock_begin(backend *b, const backend_step *step)
{
    mock *m = mock_of(b);
    backend_step real = *step;
    m->spans = calloc(step->n_spans + 1, sizeof *m->spans);
    m->pages = calloc(step->n_spans + 1, sizeof *m->pages);
    for (uint32_t i = 0; i < step->n_spans; i++) {
        const backend_sequence *q = &step->spans[i].sequence;
        m->pages[i] = calloc(q->n_pages + 1, sizeof *m->pages[i]);
        for (uint32_t k = 0; k < q->n_pages; k++)
            m->pages[i][k] = REAL(q->pages[k]);
        m->spans[i] = step->spans[i];
        m->spans[i].sequence = (backend_sequence){ REAL(q->rolling), m->pages[i], q->n_pages };
        m->n_spans = i + 1;
    }
    real.spans = m->spans;
    m->inner->ops->begin(m->inner, &real);
}

static ds4_status mock_end(backend *b, bool *finite, ds4_error *err)
{
    mock *m = mock_of(b);
    const ds4_status status = m->inner->ops->end(m->inner, finite, err);
    drop_step(m);
    return status;
}

#define FORWARD(name, ...) m->inner->ops->name(m->inner, __VA_ARGS__)

static void mock_embed(backend *b, float *x, const backend_tensor *table, uint32_t n_streams)
{
    mock *m = mock_of(b);
    FORWARD(embed, REAL(x), REAL(table), n_streams);
}

static void mock_rope_table(backend *b)
{
    mock_of(b)->inner->ops->rope_table(mock_of(b)->inner);
}

static backend_hyper real_hyper(const mock *m, const backend_hyper *h)
{
    return (backend_hyper){ REAL(h->fn), REAL(h->base), REAL(h->scale), h->n_sinkhorn, h->eps };
}

static void mock_hc_mix(backend *b, const backend_hyper *h, float *a, float *post, float *comb, float *z,
                        const float *x)
{
    mock *m = mock_of(b);
    const backend_hyper real = real_hyper(m, h);
    FORWARD(hc_mix, &real, REAL(a), REAL(post), REAL(comb), REAL(z), REAL(x));
}

static void mock_hc_merge(backend *b, float *x, const float *y, const float *post, const float *comb)
{
    mock *m = mock_of(b);
    FORWARD(hc_merge, REAL(x), REAL(y), REAL(post), REAL(comb));
}

static void mock_hc_head(backend *b, const backend_hyper *h, float *a, float *z, const float *x, uint32_t first,
                         uint32_t n)
{
    mock *m = mock_of(b);
    const backend_hyper real = real_hyper(m, h);
    FORWARD(hc_head, &real, REAL(a), REAL(z), REAL(x), first, n);
}

static void mock_norm(backend *b, float *y, const float *x, const backend_tensor *w, size_t n, size_t dim)
{
    mock *m = mock_of(b);
    FORWARD(norm, REAL(y), REAL(x), REAL(w), n, dim);
}

static void mock_matmul(backend *b, float *y, const backend_tensor *w, const float *x, uint32_t n, bool exact)
{
    mock *m = mock_of(b);
    FORWARD(matmul, REAL(y), REAL(w), REAL(x), n, exact);
}

static void mock_matmul_grouped(backend *b, float *y, const backend_tensor *w, const float *x, uint32_t n_groups)
{
    mock *m = mock_of(b);
    FORWARD(matmul_grouped, REAL(y), REAL(w), REAL(x), n_groups);
}

static void mock_norm_rope_round(backend *b, float *x, uint32_t layer, uint32_t n_heads, const backend_tensor *w,
                                 bool round)
{
    mock *m = mock_of(b);
    FORWARD(norm_rope_round, REAL(x), layer, n_heads, REAL(w), round);
}

static void mock_compress(backend *b, const backend_compress *c)
{
    mock *m = mock_of(b);
    const backend_compress real = { c->layer, c->index, REAL(c->bias), REAL(c->norm), REAL(c->kv), REAL(c->gate) };
    FORWARD(compress, &real);
}

static void mock_index(backend *b, const backend_index *i)
{
    mock *m = mock_of(b);
    const backend_index real = { i->layer, REAL(i->query), REAL(i->weight), REAL(i->qr), REAL(i->x) };
    FORWARD(index, &real);
}

static void mock_attend(backend *b, const backend_attend *a)
{
    mock *m = mock_of(b);
    const backend_attend real = { a->layer, REAL(a->query), REAL(a->kv), REAL(a->sinks), REAL(a->out) };
    FORWARD(attend, &real);
}

static void mock_route(backend *b, const backend_route *r)
{
    mock *m = mock_of(b);
    const backend_route real = { REAL(r->logits), REAL(r->bias), REAL(r->table),
                                 r->scale,        REAL(r->ids),  REAL(r->weights) };
    FORWARD(route, &real);
}

static void mock_experts(backend *b, const backend_experts *e)
{
    mock *m = mock_of(b);
    const backend_experts real = { .gate = REAL(e->gate),
                                   .up = REAL(e->up),
                                   .down = REAL(e->down),
                                   .x = REAL(e->x),
                                   .ids = REAL(e->ids),
                                   .weights = REAL(e->weights),
                                   .n_used = e->n_used,
                                   .clamp = e->clamp,
                                   .accumulate = e->accumulate,
                                   .out = REAL(e->out) };
    FORWARD(experts, &real);
}

static void mock_add_to_streams(backend *b, float *x, const float *e, const float *h)
{
    mock *m = mock_of(b);
    FORWARD(add_to_streams, REAL(x), REAL(e), REAL(h));
}

static void mock_check(backend *b, const float *x, size_t dim)
{
    mock *m = mock_of(b);
    FORWARD(check, REAL(x), dim);
}

static void mock_logits(backend *b, const float *logits, uint32_t first, uint32_t n)
{
    mock *m = mock_of(b);
    FORWARD(logits, REAL(logits), first, n);
}

static void mock_close(backend *b)
{
    mock *m = mock_of(b);
    drop_step(m);
    m->inner->ops->close(m->inner);
    munmap(m->real, DEVICE_BYTES / PAGE * sizeof *m->real);
    munmap(m->device, DEVICE_BYTES);
    free(m);
}

static const backend_ops mock_ops = {
    .close = mock_close,
    .configure = mock_configure,
    .needs = mock_needs,
    .adopt = mock_adopt,
    .alloc = mock_alloc,
    .free = mock_free,
    .read = mock_read,
    .write = mock_write,
    .begin = mock_begin,
    .end = mock_end,
    .embed = mock_embed,
    .rope_table = mock_rope_table,
    .hc_mix = mock_hc_mix,
    .hc_merge = mock_hc_merge,
    .hc_head = mock_hc_head,
    .norm = mock_norm,
    .matmul = mock_matmul,
    .matmul_grouped = mock_matmul_grouped,
    .norm_rope_round = mock_norm_rope_round,
    .compress = mock_compress,
    .index = mock_index,
    .attend = mock_attend,
    .route = mock_route,
    .experts = mock_experts,
    .add_to_streams = mock_add_to_streams,
    .check = mock_check,
    .logits = mock_logits,
};

ds4_status backend_open(backend **out, const char *name, const backend_options *options, ds4_error *err)
{
    backend *inner;
    *out = NULL;
    (void)name;
    const ds4_status status = backend_cpu_open(&inner, options, err);
    if (status != DS4_OK)
        return status;
    mock *m = calloc(1, sizeof *m);
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    m->inner = inner;
    m->device = mmap(NULL, DEVICE_BYTES, PROT_NONE, flags, -1, 0);
    m->real = mmap(NULL, DEVICE_BYTES / PAGE * sizeof *m->real, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (m->device == MAP_FAILED || m->real == MAP_FAILED) {
        perror("mock device: mmap");
        abort();
    }
    m->base = (backend){ &mock_ops, inner->family, inner->kernels, inner->n_threads, { 0 } };
    *out = &m->base;
    return DS4_OK;
}
