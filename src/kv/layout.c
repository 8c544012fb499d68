#include "kv/layout.h"

#include <string.h>

ds4_status kv_layout_check(const kv_layout *layout, uint32_t segment_tokens, ds4_error *err)
{
    if (!layout->section_bytes)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "kv layout: no section_bytes callback");
    if (segment_tokens == 0)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "kv layout: a segment needs at least one token");
    for (uint32_t type = 0; type < KV_SECTION_TYPES; type++) {
        const kv_section_rule *rule = &layout->rules[type];
        if (rule->used && (type < KV_SECTION_CSA_ROWS || type > KV_SECTION_LOGITS))
            return ds4_fail(err, DS4_ERR_ARGUMENT, "kv layout: section type %u is not the caller's to describe", type);
        if (rule->n_groups > KV_GROUPS_MAX || (rule->n_groups > 0 && !rule->f32))
            return ds4_fail(err, DS4_ERR_ARGUMENT, "kv layout: section type %u cannot have %u statistics", type,
                            rule->n_groups);
    }
    return DS4_OK;
}

bool kv_layout_valid(const kv_layout *layout, uint32_t type, const void *bytes, size_t size)
{
    return !layout->section_valid || layout->section_valid(layout->user, type, bytes, size);
}

void kv_layout_shape(const kv_layout *l, uint32_t out[KV_SHAPE_FIELDS])
{
    const uint32_t shape[KV_SHAPE_FIELDS] = { l->n_layers,  l->n_csa_layers, l->n_hca_layers, l->n_window_layers,
                                              l->row_width, l->rope_width,   l->index_width,  l->window,
                                              l->csa_ratio, l->hca_ratio,    l->n_vocab,      l->numerics_version };
    memcpy(out, shape, sizeof shape);
}

bool kv_extent_valid(const kv_extent *e)
{
    if (e->n == 0 || e->begin % e->n != 0 || e->end > KV_TOKENS_MAX || e->begin > e->end)
        return false;
    if (e->kind == KV_KIND_SEGMENT)
        return e->end - e->begin == e->n && !e->logits;
    return e->kind == KV_KIND_FRONTIER && e->end - e->begin < e->n && e->end >= 1;
}

static bool belongs(uint16_t kind, uint32_t type)
{
    return kind == KV_KIND_FRONTIER || type <= KV_SECTION_HCA_ROWS;
}

uint32_t kv_layout_stats(const kv_layout *layout, uint16_t kind, uint32_t type, uint32_t *first)
{
    uint32_t total = 0;
    for (uint32_t t = KV_SECTION_CSA_ROWS; t <= KV_SECTION_CSA_OVL + 1; t++) {
        if (first && t == type)
            *first = total;
        if (layout->rules[t].used && belongs(kind, t))
            total += layout->rules[t].n_groups;
    }
    return total;
}

uint64_t kv_layout_section_bytes(const kv_layout *layout, const kv_extent *e, uint32_t type)
{
    switch (type) {
    case KV_SECTION_TOKENS: return (e->end - e->begin) * 4;
    case KV_SECTION_CHAIN: return e->kind == KV_KIND_FRONTIER ? e->begin / e->n * KV_CHAIN_ENTRY : 0;
    case KV_SECTION_STATS: return (uint64_t)kv_layout_stats(layout, e->kind, 0, NULL) * 8;
    case KV_SECTION_LOGITS: return e->kind == KV_KIND_FRONTIER && e->logits ? (uint64_t)layout->n_vocab * 4 : 0;
    default: break;
    }
    if (type >= KV_SECTION_TYPES || !layout->rules[type].used || !belongs(e->kind, type))
        return 0;
    return layout->section_bytes(layout->user, type, e->begin, e->end);
}

uint64_t kv_layout_file_bytes(const kv_layout *layout, const kv_extent *e)
{
    uint64_t total = KV_PAGE;
    for (uint32_t type = 1; type < KV_SECTION_TYPES; type++) {
        const uint64_t bytes = kv_layout_section_bytes(layout, e, type);
        if (bytes > KV_OBJECT_BYTES_MAX - total)
            return 0;
        total += kv_page_up(bytes);
        if (total > KV_OBJECT_BYTES_MAX)
            return 0;
    }
    return total;
}
