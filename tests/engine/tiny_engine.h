/* tests/engine/tiny_engine.h - the real engine over a tiny network of every layer kind, with a store that tests empty. */
#ifndef TESTS_ENGINE_TINY_ENGINE_H
#define TESTS_ENGINE_TINY_ENGINE_H

#include "engine/engine.h"
#include "support/support.h"
#include "support/tiny_model.h"

#include <stdio.h>
#include <string.h>

enum { N_TOKENS = 301, N_GREEDY = 256 };

static char model_path[512], store_path[512];

/* n_ctx 0: that of the tiny model. */
static inline engine *open_engine_of(bool with_store, uint32_t n_ctx)
{
    engine *e = NULL;
    ds4_error err = { 0 };
    engine_options o = engine_options_default();
    o.model_path = model_path;
    o.n_ctx = n_ctx ? n_ctx : TINY_CTX;
    o.n_threads = 1;
    if (with_store) {
        o.kv_dir = store_path;
        o.kv_segment_tokens = TINY_SEGMENT;
        o.kv_min_free_bytes = 1;
    }
    if (engine_open(&e, &o, &err) != DS4_OK)
        fail_msg("%s", err.text);
    return e;
}

static inline engine *open_engine(bool with_store)
{
    return open_engine_of(with_store, 0);
}

static inline void make_tokens(uint32_t *tokens, uint32_t n, uint64_t seed)
{
    test_random r = test_random_seeded(seed);
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = 8 + test_random_below(&r, 256);
}

static inline void feed(engine *e, engine_sequence *s, const uint32_t *tokens, uint32_t n, uint32_t chunk)
{
    for (uint32_t i = 0; i < n; i += chunk) {
        const uint32_t step = n - i < chunk ? n - i : chunk;
        engine_work w = { .sequence = s, .tokens = tokens + i, .n_tokens = step, .want_logits = i + step == n };
        assert_int_equal(engine_step(e, &w, 1, NULL), DS4_OK);
        assert_int_equal(w.status, DS4_OK);
    }
}

/* n greedy tokens and the bits of the logits that chose them. */
static inline void go_on(engine *e, engine_sequence *s, uint32_t n, uint32_t *out, uint64_t *bits)
{
    engine_sampling o = engine_sampling_default();
    engine_sampler *sampler = NULL;
    o.temperature = 0;
    assert_int_equal(engine_sampler_new(&sampler, &o, TINY_VOCAB, NULL), DS4_OK);
    *bits = 1469598103934665603u;
    for (uint32_t i = 0; i < n; i++) {
        const float *logits = engine_sequence_logits(s);
        assert_non_null(logits);
        for (uint32_t k = 0; k < TINY_VOCAB; k++) {
            uint32_t word;
            memcpy(&word, &logits[k], 4);
            *bits = (*bits ^ word) * 1099511628211u;
        }
        assert_int_equal(engine_sampler_pick(sampler, logits, &(engine_choice){ .greedy = true }, &out[i], NULL),
                         DS4_OK);
        feed(e, s, &out[i], 1, 1);
    }
    engine_sampler_free(sampler);
}

static inline engine_sequence *new_sequence(engine *e)
{
    engine_sequence *s = NULL;
    assert_int_equal(engine_sequence_new(&s, e, NULL), DS4_OK);
    return s;
}

static inline kv_plan *find(engine *e, const uint32_t *tokens, uint32_t n)
{
    kv_plan *plan = NULL;
    if (kv_plan_find(&plan, engine_store(e), tokens, n, 1, 0, NULL) != DS4_OK)
        return NULL;
    assert_int_equal(kv_plan_begin(plan, NULL), DS4_OK);
    return plan;
}

/* A setup function for cmocka: writes the model. */
static inline int make_world(void **state)
{
    (void)state;
    test_empty_folder(TEST_SCRATCH);
    snprintf(model_path, sizeof model_path, "%s/tiny.gguf", TEST_SCRATCH);
    snprintf(store_path, sizeof store_path, "%s/store", TEST_SCRATCH);
    tiny_model_write(model_path, 1);
    return 0;
}

#endif
