/* kv/layout.h - what a stored object of a given kind and range has to contain. Pure functions; any thread. */
#ifndef KV_LAYOUT_H
#define KV_LAYOUT_H

#include "kv/kv.h"

enum { KV_KIND_SEGMENT = 1, KV_KIND_FRONTIER = 2 };
enum { KV_GROUPS_MAX = 4096 }; /* STATS entries of one section: a bound for memory on the stack */
enum { KV_PAGE = 4096, KV_CHAIN_ENTRY = 48, KV_SHAPE_FIELDS = 12 };

/* No object is larger: a bound for sums of sizes, far above any model (a 4 MiB row set of 8192 tokens is 32 GiB). */
#define KV_OBJECT_BYTES_MAX (UINT64_C(1) << 36)
#define KV_TOKENS_MAX       (UINT64_C(1) << 40)

/* Errors: ARGUMENT, the text says which field. */
ds4_status kv_layout_check(const kv_layout *layout, uint32_t segment_tokens, ds4_error *err);

/* Whether a section that is not f32 holds values that can be computed with: the caller's word for it. */
bool kv_layout_valid(const kv_layout *layout, uint32_t type, const void *bytes, size_t size);

/* The shape fields in the order of the header, offsets 160..207. */
void kv_layout_shape(const kv_layout *layout, uint32_t out[KV_SHAPE_FIELDS]);

/* What an object is supposed to hold. */
typedef struct kv_extent {
    uint16_t kind;
    uint64_t begin, end; /* tokens, as in the header */
    uint32_t n;          /* N */
    bool logits;
} kv_extent;

/* False when the range is impossible: segment [i*N, (i+1)*N), frontier [i*N, n) with n - i*N < N and n >= 1. */
bool kv_extent_valid(const kv_extent *extent);

/* The exact size of a section of this object; 0: it must be absent. */
uint64_t kv_layout_section_bytes(const kv_layout *layout, const kv_extent *extent, uint32_t type);

/* The number of STATS entries, and the first entry of the section `type` among them. */
uint32_t kv_layout_stats(const kv_layout *layout, uint16_t kind, uint32_t type, uint32_t *first);

/* The size of the whole file: header page and padded sections; 0 if it would be beyond KV_OBJECT_BYTES_MAX. */
uint64_t kv_layout_file_bytes(const kv_layout *layout, const kv_extent *extent);

static inline uint64_t kv_page_up(uint64_t bytes)
{
    return (bytes + KV_PAGE - 1) / KV_PAGE * KV_PAGE;
}

#endif
