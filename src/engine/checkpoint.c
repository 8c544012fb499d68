/* engine/checkpoint.c - sequences to the store and back. A section of a file is one part of a model's state. */
#include "engine/engine_state.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- layout */

static const struct {
    uint32_t type;
    model_part part;
    bool rows; /* in segments, and as a tail in frontiers; the others are in frontiers only */
} parts[] = {
    { KV_SECTION_CSA_ROWS, MODEL_CSA_ROWS, true },      { KV_SECTION_IDX_ROWS, MODEL_INDEX_ROWS, true },
    { KV_SECTION_HCA_ROWS, MODEL_HCA_ROWS, true },      { KV_SECTION_WINDOW, MODEL_WINDOW, false },
    { KV_SECTION_CSA_PEND, MODEL_CSA_PENDING, false },  { KV_SECTION_IDX_PEND, MODEL_INDEX_PENDING, false },
    { KV_SECTION_HCA_PEND, MODEL_HCA_PENDING, false },  { KV_SECTION_CSA_OVL, MODEL_CSA_OVERLAP, false },
    { KV_SECTION_IDX_OVL, MODEL_INDEX_OVERLAP, false },
};

enum { N_PARTS = sizeof parts / sizeof parts[0] };

static size_t section_bytes(void *user, uint32_t type, uint64_t begin, uint64_t end)
{
    const model *m = user;
    for (size_t i = 0; i < N_PARTS; i++)
        if (parts[i].type == type)
            return model_part_bytes(m, parts[i].part, begin, end);
    return 0;
}

static bool section_valid(void *user, uint32_t type, const void *bytes, size_t size)
{
    const model *m = user;
    for (size_t i = 0; i < N_PARTS; i++)
        if (parts[i].type == type)
            return model_part_valid(m, parts[i].part, bytes, size);
    return true;
}

static uint32_t groups_of(const kv_layout *layout, uint32_t type)
{
    switch (type) {
    case KV_SECTION_WINDOW: return layout->n_layers;
    case KV_SECTION_HCA_ROWS:
    case KV_SECTION_HCA_PEND: return layout->n_hca_layers;
    default: return layout->n_csa_layers;
    }
}

void engine_fill_layout(const model *m, kv_layout *layout)
{
    const model_config *c = model_config_of(m);
    *layout = (kv_layout){ .n_layers = c->n_layers,
                           .row_width = c->head_dim,
                           .rope_width = c->rope_dim,
                           .index_width = c->index_dim,
                           .window = c->window,
                           .csa_ratio = 4,
                           .n_vocab = c->n_vocab,
                           .numerics_version = MODEL_NUMERICS_VERSION,
                           .section_bytes = section_bytes,
                           .section_valid = section_valid,
                           .user = (void *)(uintptr_t)m };
    for (uint32_t i = 0; i < c->n_layers; i++) {
        layout->n_window_layers += c->kinds[i] == MODEL_LAYER_WINDOW;
        layout->n_csa_layers += c->kinds[i] == MODEL_LAYER_CSA;
        layout->n_hca_layers += c->kinds[i] == MODEL_LAYER_HCA;
        if (c->kinds[i] == MODEL_LAYER_HCA)
            layout->hca_ratio = c->ratios[i];
    }
    for (size_t i = 0; i < N_PARTS; i++) {
        const bool f32 = model_part_is_f32(m, parts[i].part);
        layout->rules[parts[i].type] =
            (kv_section_rule){ .used = true, .f32 = f32, .n_groups = f32 ? groups_of(layout, parts[i].type) : 0 };
    }
    for (int i = 0; i < 4 && c->row_format == MODEL_ROWS_PACKED; i++)
        layout->codecs[i] = KV_CODEC_V4P; /* CSA, indexer, HCA, window; what is pending is f32 */
}

/* Test builds may fail where fault_at() is asked, as a copy to a device would. */
static ds4_status injected(fault f, ds4_error *err)
{
    if (f.kind == FAULT_STATUS)
        return ds4_fail(err, f.status, "injected failure");
    return f.kind == FAULT_ERRNO ? ds4_fail(err, DS4_ERR_IO, "injected failure") : DS4_OK;
}

/* ---------------------------------------------------------------- save */

/* Fills every section of a draft from the state. `begin`: the segment's first token, or the end of the stem. */
static ds4_status fill_draft(kv_draft *draft, engine_sequence *s, bool frontier, uint64_t begin, uint64_t end,
                             ds4_error *err)
{
    for (size_t i = 0; i < N_PARTS; i++) {
        if (!parts[i].rows && !frontier)
            continue;
        void *out = NULL;
        const size_t size = model_part_bytes(s->engine->model, parts[i].part, begin, end);
        ds4_status status = kv_draft_section(draft, parts[i].type, size, &out, err);
        if (status == DS4_OK && size > 0)
            status = model_state_export(s->state, parts[i].part, begin, end, out, size, err);
        if (status != DS4_OK)
            return status;
        const fault f = fault_at("save.rows");
        if (f.kind == FAULT_NAN && size >= sizeof(float))
            *(float *)out = NAN;
    }
    return DS4_OK;
}

/* False: the store will not get it. */
static bool save_draft(engine_sequence *s, kv_draft *draft, bool frontier, uint64_t begin, uint64_t end,
                       engine_save_reason reason, int64_t begin_us)
{
    ds4_error err = { 0 };
    const ds4_status status = fill_draft(draft, s, frontier, begin, end, &err);
    if (status != DS4_OK) {
        kv_draft_drop(draft);
        log_warning("kv save refused class=%s detail=\"%s\"", ds4_status_word(status), err.text);
        return false;
    }
    const int64_t now_us = clock_monotonic_us();
    const double us_per_token = s->n_spent ? (double)s->spent_us / (double)s->n_spent : 0;
    const kv_save_info info = { .reason = (kv_reason)reason,
                                .cost_us = (uint64_t)(us_per_token * (double)(end - begin)),
                                .stall_us = now_us - begin_us };
    return kv_draft_submit(draft, &info, NULL) == DS4_OK; /* a drop is counted by the store */
}

static void note_saved(engine_sequence *s, uint64_t n)
{
    if (s->saved_to < n)
        s->saved_to = (uint32_t)n;
}

/* `all`: those that were offered before too, should the store have had to drop one of them. */
static void save_segments(engine_sequence *s, bool all)
{
    const uint64_t n = s->engine->segment_tokens;
    for (uint64_t i = all ? 0 : s->n_offered; i < kv_chain_segments(s->chain); i++) {
        kv_draft *draft = NULL;
        const int64_t begin_us = clock_monotonic_us();
        bool saved = kv_chain_has_segment(s->chain, i);
        if (!saved) {
            if (kv_draft_segment(&draft, s->chain, i, NULL) != DS4_OK)
                return; /* full or off: offered again at the next save */
            saved = save_draft(s, draft, false, i * n, (i + 1) * n, ENGINE_SAVE_SEGMENT, begin_us);
        }
        if (saved)
            note_saved(s, (i + 1) * n);
        if (s->n_offered < i + 1)
            s->n_offered = i + 1;
    }
}

void engine_sequence_save(engine_sequence *s, engine_save_reason reason, bool frontier)
{
    if (!s->chain)
        return;
    const bool due = frontier && s->tokens.n > 0 && s->frontier_at != s->tokens.n;
    save_segments(s, due); /* a frontier is worth nothing without its whole stem */
    if (!due)
        return;
    kv_draft *draft = NULL;
    const int64_t begin_us = clock_monotonic_us();
    const uint64_t stem = kv_chain_segments(s->chain) * s->engine->segment_tokens;
    uint64_t position = s->tokens.n;
    const fault f = fault_at("save.offset");
    if (f.kind == FAULT_SKEW)
        position += (uint64_t)f.arg;
    bool saved = kv_chain_has_frontier(s->chain);
    if (!saved) {
        if (kv_draft_frontier(&draft, s->chain, position, false, NULL) != DS4_OK)
            return;
        saved = save_draft(s, draft, true, stem, s->tokens.n, reason, begin_us);
    }
    if (saved)
        note_saved(s, s->tokens.n);
    s->frontier_at = (uint32_t)s->tokens.n;
}

uint32_t engine_sequence_unsaved(const engine_sequence *s)
{
    return (uint32_t)s->tokens.n - s->frontier_at;
}

uint32_t engine_sequence_saved(const engine_sequence *s)
{
    return s->saved_to;
}

/* ---------------------------------------------------------------- restore */

static ds4_status import_part(engine_sequence *s, const kv_part *from, bool frontier, ds4_error *err)
{
    for (size_t i = 0; i < N_PARTS; i++) {
        if (!parts[i].rows && !frontier)
            continue;
        const kv_section *section = kv_part_section(from, parts[i].type);
        const size_t want = model_part_bytes(s->engine->model, parts[i].part, from->token_begin, from->token_end);
        size_t size = section ? section->size : 0;
        const fault f = fault_at("restore.upload");
        ds4_status status = injected(f, err);
        if (status != DS4_OK)
            return status;
        if (f.kind == FAULT_SHORT && size > (size_t)f.arg)
            size = (size_t)f.arg;
        if (size != want)
            return ds4_fail(err, DS4_ERR_STATE_BAD, "section %u has %zu bytes, the model wants %zu", parts[i].type,
                            size, want);
        if (want == 0)
            continue;
        status =
            model_state_import(s->state, parts[i].part, from->token_begin, from->token_end, section->bytes, size, err);
        if (status != DS4_OK)
            return status;
    }
    return DS4_OK;
}

ds4_status engine_sequence_restore(engine_sequence *s, kv_plan *plan, ds4_error *err)
{
    const uint64_t n = kv_plan_tokens(plan);
    engine_sequence_reset(s);
    if (n >= s->engine->about.n_ctx)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "the checkpoint is longer than the context");
    ds4_status status = injected(fault_at("restore.reset"), err);
    if (status == DS4_OK && token_list_append_all(&s->tokens, kv_plan_token_ids(plan), n) != DS4_OK)
        status = ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for %llu tokens", (unsigned long long)n);
    for (uint64_t i = 0; i < kv_plan_segments(plan) && status == DS4_OK; i++)
        status = import_part(s, kv_plan_segment(plan, i), false, err);
    if (status == DS4_OK)
        status = import_part(s, kv_plan_frontier(plan), true, err);
    if (status == DS4_OK)
        status = model_state_commit(s->state, (uint32_t)n, err);
    if (status == DS4_OK && s->chain)
        status = kv_chain_adopt(s->chain, plan, err);
    if (status == DS4_OK)
        status = injected(fault_at("restore.after_upload"), err);
    if (status != DS4_OK) {
        engine_sequence_reset(s);
        return status;
    }
    s->fresh = true;
    s->frontier_at = s->saved_to = (uint32_t)n;
    s->n_offered = kv_plan_segments(plan);
    return DS4_OK;
}
