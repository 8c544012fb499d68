#include "kv/stub_model.h"

#include "support/support.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char stub_dir[] = TEST_SCRATCH "/store";
float stub_noise;
uint64_t stub_cost_us;

size_t stub_section_bytes(void *user, uint32_t type, uint64_t begin, uint64_t end)
{
    (void)user;
    if (type == KV_SECTION_CSA_ROWS)
        return (size_t)(end / RATIO - begin / RATIO) * WIDTH * LAYERS * sizeof(float);
    if (type == KV_SECTION_WINDOW)
        return (size_t)(end < WINDOW ? end : WINDOW) * WIDTH * LAYERS * sizeof(float);
    return 0;
}

kv_options stub_options(void)
{
    kv_options o = kv_options_default();
    o.dir = stub_dir;
    o.layout = (kv_layout){ .n_layers = LAYERS,
                            .row_width = WIDTH,
                            .window = WINDOW,
                            .csa_ratio = RATIO,
                            .section_bytes = stub_section_bytes };
    o.layout.rules[KV_SECTION_CSA_ROWS] = (kv_section_rule){ .used = true, .f32 = true, .n_groups = LAYERS };
    o.layout.rules[KV_SECTION_WINDOW] = (kv_section_rule){ .used = true, .f32 = true, .n_groups = LAYERS };
    memset(o.fingerprint, 7, sizeof o.fingerprint);
    o.segment_tokens = N;
    o.budget_bytes = 64 << 20;
    o.min_free_bytes = 1;
    o.evict_min_age_us = 0;
    o.recreate_us = 0;
    return o;
}

kv_store *stub_open(void)
{
    const kv_options o = stub_options();
    kv_store *s;
    ds4_error err = { 0 };
    if (kv_store_open(&s, &o, &err) != DS4_OK)
        fail_msg("%s", err.text);
    return s;
}

void stub_tokens(uint32_t *tokens, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++)
        tokens[i] = seed * 1000003u + (uint32_t)i * 2654435761u;
}

static void fill(float *out, size_t size, const uint32_t *tokens, uint64_t begin, uint64_t end, uint32_t type)
{
    for (size_t i = 0; i < size / sizeof *out; i++)
        out[i] =
            sinf((float)(tokens[begin < end ? begin : end - 1] % 1000 + type) + (float)i) + (float)end + stub_noise;
}

ds4_status stub_fill_draft(kv_draft *d, bool frontier, const uint32_t *tokens, uint64_t begin, uint64_t end)
{
    static const uint32_t types[] = { KV_SECTION_CSA_ROWS, KV_SECTION_WINDOW };
    ds4_status status = DS4_OK;
    for (size_t i = 0; status == DS4_OK && i < (frontier ? 2 : 1); i++) {
        void *out;
        const size_t size = stub_section_bytes(NULL, types[i], begin, end);
        status = kv_draft_section(d, types[i], size, &out, NULL);
        if (status == DS4_OK && size)
            fill(out, size, tokens, begin, end, types[i]);
    }
    return status;
}

/* What became of a draft that could be had: filled and submitted. */
static ds4_status submit(kv_draft *d, bool frontier, const uint32_t *tokens, uint64_t begin, uint64_t end)
{
    const kv_save_info info = { .reason = KV_REASON_TURN, .cost_us = stub_cost_us };
    assert_int_equal(stub_fill_draft(d, frontier, tokens, begin, end), DS4_OK);
    return kv_draft_submit(d, &info, NULL);
}

ds4_status stub_submit_segment(kv_chain *chain, const uint32_t *tokens, uint64_t i)
{
    kv_draft *d;
    const ds4_status status = kv_draft_segment(&d, chain, i, NULL);
    return status == DS4_OK ? submit(d, false, tokens, i * N, (i + 1) * N) : status;
}

ds4_status stub_submit_frontier(kv_chain *chain, const uint32_t *tokens, uint64_t n)
{
    kv_draft *d;
    const ds4_status status = kv_draft_frontier(&d, chain, n, false, NULL);
    return status == DS4_OK ? submit(d, true, tokens, n / N * N, n) : status;
}

void stub_save(kv_store *s, const uint32_t *tokens, size_t n)
{
    kv_chain *chain;
    assert_int_equal(kv_chain_new(&chain, s, NULL), DS4_OK);
    assert_int_equal(kv_chain_extend(chain, tokens, n, NULL), DS4_OK);
    for (uint64_t i = 0; i < n / N; i++)
        if (!kv_chain_has_segment(chain, i))
            stub_submit_segment(chain, tokens, i);
    stub_submit_frontier(chain, tokens, n);
    kv_chain_free(chain);
    assert_true(kv_flush(s, 10000000));
}

kv_store *stub_open_saved(uint32_t tokens[60])
{
    stub_tokens(tokens, 60, 1);
    kv_store *s = stub_open();
    stub_save(s, tokens, 40);
    return s;
}

static void check_part(const kv_part *part, const uint32_t *tokens)
{
    for (uint32_t i = 0; i < part->n_sections; i++) {
        const kv_section *section = &part->sections[i];
        if (section->type != KV_SECTION_CSA_ROWS && section->type != KV_SECTION_WINDOW)
            continue;
        float *want = malloc(section->size);
        fill(want, section->size, tokens, part->token_begin, part->token_end, section->type);
        assert_memory_equal(section->bytes, want, section->size);
        free(want);
    }
}

uint64_t stub_restored(kv_store *s, const uint32_t *tokens, size_t n)
{
    kv_plan *plan;
    if (kv_plan_find(&plan, s, tokens, n, 1, 0, NULL) != DS4_OK)
        return 0;
    const uint64_t at = kv_plan_tokens(plan);
    assert_true(at < n);
    assert_memory_equal(kv_plan_token_ids(plan), tokens, at * sizeof *tokens);
    for (uint64_t i = 0; i < kv_plan_segments(plan); i++)
        check_part(kv_plan_segment(plan, i), tokens);
    check_part(kv_plan_frontier(plan), tokens);
    const bool begun =
        kv_plan_begin(plan, NULL) == DS4_OK; /* false only where a test breaks it: then nothing is used */
    if (begun)
        kv_plan_succeed(plan, 0);
    kv_plan_release(plan);
    return begun ? at : 0;
}

int stub_each_object(void (*visit)(const char *path, void *user), void *user)
{
    char path[4096];
    int n = 0;
    for (int i = 0; i < 256; i++) {
        snprintf(path, sizeof path, "%s/o/%02x", stub_dir, (unsigned)i);
        DIR *d = opendir(path);
        for (const struct dirent *e; d && (e = readdir(d));)
            if (e->d_name[0] != '.') {
                snprintf(path, sizeof path, "%s/o/%02x/%s", stub_dir, (unsigned)i, e->d_name);
                n++;
                if (visit)
                    visit(path, user);
            }
        if (d)
            closedir(d);
    }
    return n;
}

int stub_count_files(const char *folder)
{
    char path[4096];
    int n = 0;
    snprintf(path, sizeof path, "%s/%s", stub_dir, folder);
    DIR *d = opendir(path);
    for (const struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

int stub_empty(void **state)
{
    (void)state;
    assert_int_equal(hash_start(NULL), DS4_OK);
    stub_noise = 0;
    stub_cost_us = 1000;
    test_empty_folder(TEST_SCRATCH);
    return 0;
}

kv_plan *stub_begin(kv_store *s, const uint32_t *tokens, size_t n)
{
    kv_plan *plan;
    assert_int_equal(kv_plan_find(&plan, s, tokens, n, 1, 0, NULL), DS4_OK);
    assert_int_equal(kv_plan_begin(plan, NULL), DS4_OK);
    return plan;
}

kv_chain *stub_go_on(kv_plan *plan)
{
    kv_chain *chain;
    assert_int_equal(kv_chain_new(&chain, plan->store, NULL), DS4_OK);
    assert_int_equal(kv_chain_adopt(chain, plan, NULL), DS4_OK);
    kv_plan_succeed(plan, 0);
    return chain;
}

void stub_condemn(kv_plan *plan)
{
    kv_plan_condemn(plan, DS4_ERR_STATE_BAD, 0);
    kv_plan_release(plan);
}
