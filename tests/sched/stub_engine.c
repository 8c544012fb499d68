#include "sched/stub_engine.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

stub_world stub;

struct engine {
    engine_about about;
};
struct engine_sequence {
    token_list tokens;
    float logits[STUB_VOCAB];
    bool has_logits, bad;
    uint32_t frontier_at;
};
struct kv_plan {
    token_list tokens;
    bool succeeded, judged;
};

static struct engine the_engine = { { .n_ctx = STUB_CTX, .n_ctx_trained = STUB_CTX, .n_vocab = STUB_VOCAB } };
static int the_store;

const char *const stub_call_names[STUB_N_CALLS] = {
    [STUB_NONE] = "none",
    [STUB_SEQUENCE_NEW] = "engine_sequence_new",
    [STUB_REWIND] = "engine_sequence_rewind",
    [STUB_STEP] = "engine_step",
    [STUB_PREFILL] = "an item that prefills",
    [STUB_DECODE] = "an item that decodes",
    [STUB_SAMPLING_CHECK] = "engine_sampling_check",
    [STUB_SAMPLER_NEW] = "engine_sampler_new",
    [STUB_PICK] = "engine_sampler_pick",
    [STUB_RESTORE] = "engine_sequence_restore",
    [STUB_FIND] = "kv_plan_find",
    [STUB_BEGIN] = "kv_plan_begin",
    [STUB_ANY] = "any call",
};

void stub_reset(void)
{
    memset(&stub, 0, sizeof stub);
}

/* Has the n-th passage of a call come that is to fail? */
static bool fails(stub_call call)
{
    const stub_call wanted = stub.fail_call;
    if (wanted == STUB_NONE || (wanted != call && wanted != STUB_ANY))
        return false;
    const unsigned n = ++stub.n_calls;
    return n >= stub.fail_nth && n - stub.fail_nth <= stub.fail_more;
}

static ds4_status fail(stub_call call, ds4_error *err)
{
    return ds4_fail(err, stub.fail_status, "stub failure of %s", stub_call_names[call]);
}

engine *stub_engine(void)
{
    return &the_engine;
}

uint32_t stub_next(const uint32_t *tokens, size_t n)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ tokens[i]) * 1099511628211u;
    return (uint32_t)((h >> 20) % STUB_VOCAB);
}

const engine_about *engine_get_about(const engine *e)
{
    return &e->about;
}

kv_store *engine_store(const engine *e)
{
    (void)e;
    return stub.has_store ? (kv_store *)(void *)&the_store : NULL;
}

ds4_status engine_sequence_new(engine_sequence **out, engine *e, ds4_error *err)
{
    (void)e;
    *out = NULL;
    if (fails(STUB_SEQUENCE_NEW))
        return fail(STUB_SEQUENCE_NEW, err);
    if (stub.sequences_max && stub.n_sequences >= stub.sequences_max)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "stub: no memory for one more sequence");
    *out = calloc(1, sizeof **out);
    stub.n_sequences++;
    return DS4_OK;
}

void engine_sequence_free(engine_sequence *s)
{
    if (!s)
        return;
    stub.n_sequences--;
    token_list_free(&s->tokens);
    free(s);
}

void engine_sequence_reset(engine_sequence *s)
{
    stub.n_resets++;
    s->tokens.n = 0;
    s->has_logits = s->bad = false;
    s->frontier_at = 0;
}

const uint32_t *engine_sequence_tokens(const engine_sequence *s)
{
    return s->tokens.ids;
}

uint32_t engine_sequence_length(const engine_sequence *s)
{
    return (uint32_t)s->tokens.n;
}

const float *engine_sequence_logits(const engine_sequence *s)
{
    return s->has_logits ? s->logits : NULL;
}

ds4_status engine_sequence_rewind(engine_sequence *s, uint32_t n, ds4_error *err)
{
    if (fails(STUB_REWIND))
        return fail(STUB_REWIND, err);
    if (s->tokens.n - n > 8)
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "too far");
    s->tokens.n = n;
    s->has_logits = false;
    return DS4_OK;
}

static void run_item(engine_work *w)
{
    engine_sequence *s = w->sequence;
    const size_t begin = s->tokens.n;
    const stub_call call = w->prefill ? STUB_PREFILL : STUB_DECODE;
    if (fails(call)) {
        w->status = fail(call, &w->error);
        s->tokens.n = 0;
        token_list_append(&s->tokens, 1);
        return;
    }
    if (stub.fail_times > 0 && stub.fail_position >= begin && stub.fail_position < begin + w->n_tokens) {
        stub.fail_times--;
        w->status = ds4_fail(&w->error, stub.item_status, "stub failure at %u", (unsigned)stub.fail_position);
        s->tokens.n = 0; /* a failed state is garbage: only a reset makes it usable */
        token_list_append(&s->tokens, 1);
        return;
    }
    w->status = DS4_OK;
    token_list_append_all(&s->tokens, w->tokens, w->n_tokens);
    memset(s->logits, 0, sizeof s->logits);
    s->logits[stub_next(s->tokens.ids, s->tokens.n)] = 5;
    s->has_logits = w->want_logits;
}

static void raise_to(atomic_uint *most, unsigned n)
{
    if (*most < n)
        *most = n;
}

static void count_kinds(const engine_work *work, size_t n)
{
    unsigned n_decodes = 0, n_prefills = 0, n_tokens = 0;
    for (size_t i = 0; i < n; i++) {
        n_decodes += !work[i].prefill;
        n_prefills += work[i].prefill;
        n_tokens += work[i].prefill ? work[i].n_tokens : 0;
    }
    raise_to(&stub.n_prefill_max, n_tokens);
    raise_to(&stub.n_prefills_max, n_prefills);
    if (n_decodes && n_prefills) {
        stub.n_mixed++;
        raise_to(&stub.n_mixed_max, n_tokens);
    }
}

ds4_status engine_step(engine *e, engine_work *work, size_t n, ds4_error *err)
{
    (void)e;
    clock_sleep_us(stub.step_delay_us);
    stub.n_entered++;
    while (stub.hold)
        clock_sleep_us(500);
    if (fails(STUB_STEP))
        return fail(STUB_STEP, err);
    for (size_t i = 0; i < n; i++)
        if (work[i].sequence->bad)
            return ds4_fail(err, DS4_ERR_ARGUMENT, "stub: a state that must be reset first");
    if (++stub.n_steps == stub.fail_step) {
        for (size_t i = 0; i < n; i++)
            work[i].sequence->bad = stub.step_status == DS4_ERR_DEVICE_LOST;
        return ds4_fail(err, stub.step_status, "stub failure of step %u", (unsigned)stub.fail_step);
    }
    if (n > stub.n_items_max)
        stub.n_items_max = (unsigned)n;
    count_kinds(work, n);
    for (size_t i = 0; i < n; i++)
        run_item(&work[i]);
    return DS4_OK;
}

void engine_sequence_save(engine_sequence *s, engine_save_reason reason, bool frontier)
{
    stub.n_saved++;
    stub.n_exits += reason == ENGINE_SAVE_EXIT;
    if (reason == ENGINE_SAVE_DISPLACED) {
        stub.n_displaced++;
        stub.displaced_at = (unsigned)s->tokens.n;
    }
    if (frontier && stub.has_store) {
        stub.n_frontiers++;
        s->frontier_at = (uint32_t)s->tokens.n;
    }
}

uint32_t engine_sequence_unsaved(const engine_sequence *s)
{
    return (uint32_t)s->tokens.n - s->frontier_at;
}

uint32_t engine_sequence_saved(const engine_sequence *s)
{
    return s->frontier_at;
}

ds4_status engine_sequence_restore(engine_sequence *s, kv_plan *plan, ds4_error *err)
{
    engine_sequence_reset(s);
    if (fails(STUB_RESTORE))
        return fail(STUB_RESTORE, err);
    if (stub.restore_status != DS4_OK)
        return ds4_fail(err, stub.restore_status, "stub restore failure");
    stub.n_restored++;
    return token_list_append_all(&s->tokens, plan->tokens.ids, plan->tokens.n);
}

/* ---- the sampler: always greedy */

struct engine_sampler {
    uint32_t n_vocab;
};

engine_sampling engine_sampling_default(void)
{
    return (engine_sampling){ .temperature = 1 };
}

ds4_status engine_sampling_check(const engine_sampling *options, uint32_t n_vocab, ds4_error *err)
{
    (void)options, (void)n_vocab;
    return fails(STUB_SAMPLING_CHECK) ? fail(STUB_SAMPLING_CHECK, err) : DS4_OK;
}

ds4_status engine_sampler_new(engine_sampler **out, const engine_sampling *options, uint32_t n_vocab, ds4_error *err)
{
    (void)options;
    *out = NULL;
    if (fails(STUB_SAMPLER_NEW))
        return fail(STUB_SAMPLER_NEW, err);
    *out = calloc(1, sizeof **out);
    (*out)->n_vocab = n_vocab;
    return DS4_OK;
}

void engine_sampler_free(engine_sampler *sampler)
{
    free(sampler);
}

void engine_sampler_note(engine_sampler *sampler, const uint32_t *ids, size_t n, bool generated)
{
    (void)sampler, (void)ids, (void)n, (void)generated;
}

ds4_status engine_sampler_pick(engine_sampler *sampler, const float *logits, const engine_choice *choice, uint32_t *id,
                               ds4_error *err)
{
    if (fails(STUB_PICK))
        return fail(STUB_PICK, err);
    bool found = false;
    for (uint32_t i = 0; i < sampler->n_vocab; i++) {
        const bool allowed = !choice->allows || choice->allows(choice->user, i);
        if (allowed && (!found || logits[i] > logits[*id])) {
            *id = i;
            found = true;
        }
    }
    return DS4_OK;
}

float engine_logprobs(const float *logits, uint32_t n_vocab, uint32_t id, engine_logprob *top, uint32_t n_top)
{
    for (uint32_t i = 0; i < n_top; i++)
        top[i] = (engine_logprob){ i < n_vocab ? i : UINT32_MAX, logits[i] };
    return logits[id];
}

/* ---- the store */

ds4_status kv_plan_find(kv_plan **out, kv_store *store, const uint32_t *tokens, size_t n, uint64_t min_tokens,
                        int64_t deadline_us, ds4_error *err)
{
    (void)store, (void)deadline_us;
    stub.n_searches++;
    while (stub.search_hangs)
        clock_sleep_us(1000);
    if (fails(STUB_FIND))
        return fail(STUB_FIND, err);
    const uint32_t at = stub.checkpoint;
    if (at == 0 || at < min_tokens || at >= n)
        return ds4_fail(err, DS4_ERR_NOT_FOUND, "stub miss");
    *out = calloc(1, sizeof **out);
    token_list_append_all(&(*out)->tokens, tokens, at);
    stub.n_found++;
    return DS4_OK;
}

void kv_store_hurry(kv_store *store, int64_t until_us)
{
    (void)store, (void)until_us;
}

kv_store *kv_store_hold(kv_store *store)
{
    stub.n_holders += store != NULL;
    return store;
}

void kv_store_let_go(kv_store *store)
{
    stub.n_holders -= store != NULL;
}

ds4_status kv_plan_begin(kv_plan *plan, ds4_error *err)
{
    (void)plan;
    if (fails(STUB_BEGIN))
        return fail(STUB_BEGIN, err);
    stub.n_begun++;
    return DS4_OK;
}

void kv_plan_succeed(kv_plan *plan, int64_t upload_us)
{
    (void)upload_us;
    plan->succeeded = true;
    stub.n_succeeded++;
}

void kv_plan_suspect(kv_plan *plan, ds4_status why, const char *detail)
{
    (void)plan, (void)why, (void)detail;
    stub.n_suspected++;
}

void kv_plan_condemn(kv_plan *plan, ds4_status why, int64_t cost_us)
{
    (void)why, (void)cost_us;
    plan->judged = true;
    stub.n_condemned++;
}

void kv_plan_acquit(kv_plan *plan)
{
    plan->judged = true;
    stub.n_acquitted++;
}

void kv_plan_release(kv_plan *plan)
{
    if (!plan)
        return;
    stub.n_released++;
    token_list_free(&plan->tokens);
    free(plan);
}
