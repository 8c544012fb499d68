/* engine/sampler.c - the sampling chain of docs/spec/protocol.md, section 5.1, in its order and numbering. */
#include "engine/candidates.h"
#include "engine/engine.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIN_P_PLAIN 1e-3 /* far above the rounding of a sum over any vocabulary */

enum {
    SELECT_MIN = 64,       /* candidates that are sorted at first */
    SELECT_MAX = 4096,     /* from here on sorting all is as fast as choosing the best */
    PENALTY_WINDOW = 4096, /* tokens that the repetition penalty looks back on */
    ASKED_SINGLY = 8       /* ids of a greedy choice that are asked for before the set is built */
};

struct engine_sampler {
    engine_sampling options; /* .biases points to `biases` */
    engine_bias *biases;
    uint32_t n_vocab;
    uint64_t random;       /* state of xorshift64* */
    float *logits;         /* [n_vocab] scratch: the changed logits */
    candidate *candidates; /* [2, n_vocab] scratch: those of a draw, and room to sort them */
    /* Only when a penalty is set, else NULL. */
    uint32_t *n_generated;           /* [n_vocab] how often each id was generated */
    uint32_t *n_recent;              /* [n_vocab] how often each id is in the window */
    uint32_t recent[PENALTY_WINDOW]; /* ring of the last tokens, prompt and output */
    uint64_t n_noted;
};

engine_sampling engine_sampling_default(void)
{
    return (engine_sampling){ .temperature = 1.0f, .top_p = 1.0f, .min_p = 0.05f, .repetition_penalty = 1.0f };
}

/* Section 5.3: seed s starts the state with splitmix64(s); a zero state is replaced. */
static uint64_t random_start(uint64_t seed)
{
    uint64_t z = seed + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return z ? z : 0x9E3779B97F4A7C15u;
}

static double random_unit(engine_sampler *s)
{
    s->random ^= s->random >> 12;
    s->random ^= s->random << 25;
    s->random ^= s->random >> 27;
    return (double)((s->random * 0x2545F4914F6CDD1Du) >> 40) / 16777216.0;
}

static bool has_penalty(const engine_sampling *o)
{
    return o->presence_penalty != 0 || o->frequency_penalty != 0 || o->repetition_penalty != 1;
}

/* Written so that NaN is refused, too. */
static bool is_within(float x, float min, float max)
{
    return x >= min && x <= max;
}

ds4_status engine_sampling_check(const engine_sampling *options, uint32_t n_vocab, ds4_error *err)
{
    if (!is_within(options->temperature, 0, ENGINE_TEMPERATURE_MAX))
        return ds4_fail(err, DS4_ERR_ARGUMENT, "temperature must be between 0 and %d", ENGINE_TEMPERATURE_MAX);
    if (!is_within(options->top_p, 0, 1) || !is_within(options->min_p, 0, 1))
        return ds4_fail(err, DS4_ERR_ARGUMENT, "top_p and min_p must be between 0 and 1");
    if (!isfinite(options->presence_penalty) || !isfinite(options->frequency_penalty) ||
        !is_within(options->repetition_penalty, FLT_MIN, FLT_MAX))
        return ds4_fail(err, DS4_ERR_ARGUMENT, "penalties must be finite, and repetition_penalty above 0");
    for (uint32_t i = 0; i < options->n_biases; i++) {
        if (options->biases[i].id >= n_vocab)
            return ds4_fail(err, DS4_ERR_ARGUMENT, "logit_bias: token id %u is outside the vocabulary of %u",
                            options->biases[i].id, n_vocab);
        if (!isfinite(options->biases[i].bias))
            return ds4_fail(err, DS4_ERR_ARGUMENT, "logit_bias: the bias of token id %u is not finite",
                            options->biases[i].id);
    }
    return DS4_OK;
}

ds4_status engine_sampler_new(engine_sampler **out, const engine_sampling *options, uint32_t n_vocab, ds4_error *err)
{
    *out = NULL;
    const ds4_status status = engine_sampling_check(options, n_vocab, err);
    if (status != DS4_OK)
        return status;
    engine_sampler *s = calloc(1, sizeof *s);
    if (!s)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for a sampler");
    s->options = *options;
    s->n_vocab = n_vocab;
    s->random = random_start(options->seed);
    s->logits = malloc(n_vocab * sizeof *s->logits);
    s->candidates = malloc(2 * (size_t)n_vocab * sizeof *s->candidates);
    s->biases = malloc((options->n_biases ? options->n_biases : 1) * sizeof *s->biases);
    bool complete = s->logits && s->candidates && s->biases;
    if (has_penalty(options)) {
        s->n_generated = calloc(n_vocab, sizeof *s->n_generated);
        s->n_recent = calloc(n_vocab, sizeof *s->n_recent);
        complete = complete && s->n_generated && s->n_recent;
    }
    if (!complete) {
        engine_sampler_free(s);
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for a sampler");
    }
    if (options->n_biases)
        memcpy(s->biases, options->biases, options->n_biases * sizeof *s->biases);
    s->options.biases = s->biases;
    *out = s;
    return DS4_OK;
}

void engine_sampler_free(engine_sampler *s)
{
    if (!s)
        return;
    free(s->logits);
    free(s->candidates);
    free(s->biases);
    free(s->n_generated);
    free(s->n_recent);
    free(s);
}

void engine_sampler_note(engine_sampler *s, const uint32_t *ids, size_t n, bool generated)
{
    if (!s->n_recent)
        return;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= s->n_vocab)
            continue;
        uint32_t *place = &s->recent[s->n_noted % PENALTY_WINDOW];
        if (s->n_noted >= PENALTY_WINDOW)
            s->n_recent[*place]--;
        *place = ids[i];
        s->n_recent[ids[i]]++;
        s->n_noted++;
        if (generated)
            s->n_generated[ids[i]]++;
    }
}

/* Steps 1-3: biases and penalties on a copy of the logits. */
static void change_logits(engine_sampler *s, const float *logits)
{
    const engine_sampling *o = &s->options;
    float *z = s->logits;
    memcpy(z, logits, s->n_vocab * sizeof *z);
    for (uint32_t i = 0; i < o->n_biases; i++)
        z[o->biases[i].id] += o->biases[i].bias;
    if (!s->n_recent)
        return;
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        if (s->n_recent[i])
            z[i] = z[i] > 0 ? z[i] / o->repetition_penalty : z[i] * o->repetition_penalty;
        if (s->n_generated[i])
            z[i] -= o->frequency_penalty * (float)s->n_generated[i] + o->presence_penalty;
    }
}

/* The lowest id of the largest finite logit; false if none is finite. */
static bool best_of(const float *z, uint32_t n, uint32_t *best)
{
    bool found = false;
    for (uint32_t i = 0; i < n; i++)
        if (isfinite(z[i]) && (!found || z[i] > z[*best])) {
            *best = i;
            found = true;
        }
    return found;
}

/* Step 6: exp((logit - best) / temperature). */
static double weight_of(const engine_sampler *s, uint32_t id, double top)
{
    return exp((s->logits[id] - top) / s->options.temperature);
}

/* Lists the finite logits that min_p leaves. Returns W of step 8, the sum over all of them, or infinity where it cannot
 * matter: with top_p = 1 every candidate is kept, because W is larger than any sum of fewer by at least min_p. Then no
 * weight is needed of logits that are far below. */
static double list_likely(const engine_sampler *s, uint32_t best, size_t *n)
{
    const engine_sampling *o = &s->options;
    const float *z = s->logits;
    const double top = z[best];
    const bool sum = o->top_p < 1 || o->min_p < MIN_P_PLAIN;
    /* A little lower than exact: the comparison of weights decides. */
    const double least = sum ? -INFINITY : top + o->temperature * (log(o->min_p) * 1.001 - 0.001);
    double all = 0;
    *n = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        if (!isfinite(z[i]) || z[i] < least)
            continue;
        const double weight = weight_of(s, i, top);
        all += weight;
        if (i == best || weight >= o->min_p)
            s->candidates[(*n)++] = candidate_of(z[i], i);
    }
    return sum ? all : INFINITY;
}

/* Step 7, top_k, then min_p: lists the k best, sorted, and returns W over the k. */
static double list_best(const engine_sampler *s, uint32_t best, size_t *n)
{
    const engine_sampling *o = &s->options;
    const float *z = s->logits;
    candidate *c = s->candidates;
    double all = 0;
    size_t n_finite = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++)
        if (isfinite(z[i]))
            c[n_finite++] = candidate_of(z[i], i);
    *n = n_finite < o->top_k ? n_finite : o->top_k;
    if (*n < SELECT_MAX)
        candidates_select(c, n_finite, *n);
    else
        candidates_sort(c, n_finite, c + s->n_vocab);
    for (size_t i = 0; i < *n; i++)
        all += weight_of(s, candidate_id(c[i]), z[best]);
    while (*n > 1 && weight_of(s, candidate_id(c[*n - 1]), z[best]) < o->min_p)
        --*n;
    return all;
}

/* Sorts some more of c [n], of which n_sorted are; returns how many are then. Mostly a few are enough. */
static size_t sort_more(const engine_sampler *s, candidate *c, size_t n, size_t n_sorted)
{
    const size_t left = n - n_sorted, some = n_sorted ? 7 * n_sorted : SELECT_MIN;
    if (some < left && some < SELECT_MAX) {
        candidates_select(c + n_sorted, left, some);
        return n_sorted + some;
    }
    candidates_sort(c + n_sorted, left, s->candidates + s->n_vocab);
    return n;
}

/* Steps 6-11. `best` is the argmax. */
static uint32_t draw(engine_sampler *s, uint32_t best)
{
    const engine_sampling *o = &s->options;
    candidate *c = s->candidates;
    const double top = s->logits[best];
    size_t n, n_sorted = 0, n_kept = 0;
    const double all = o->top_k ? list_best(s, best, &n) : list_likely(s, best, &n);
    if (o->top_k)
        n_sorted = n;
    double kept = 0;
    for (; n_kept < n && (n_kept == 0 || kept < o->top_p * all); n_kept++) {
        if (n_kept == n_sorted)
            n_sorted = sort_more(s, c, n, n_sorted);
        kept += weight_of(s, candidate_id(c[n_kept]), top);
    }
    double rest = random_unit(s) * kept;
    for (size_t i = 0; i < n_kept; i++) {
        rest -= weight_of(s, candidate_id(c[i]), top);
        if (rest < 0)
            return candidate_id(c[i]);
    }
    return candidate_id(c[n_kept - 1]);
}

/* Step 4: what the set does not hold gets no probability. False if nothing finite is left. */
static bool apply_set(engine_sampler *s, const token_set *set, uint32_t *best)
{
    for (uint32_t i = 0; i < s->n_vocab; i++)
        if (i % 64 == 0 && i + 64 <= set->n_ids && set->words[i / 64] == UINT64_MAX)
            i += 63; /* most sets hold nearly everything */
        else if (!token_set_has(set, i))
            s->logits[i] = -INFINITY;
    return best_of(s->logits, s->n_vocab, best);
}

/* Nothing that is allowed has a finite logit: the lowest id of the set; *best stays if the set is empty. */
static void lowest_of(const engine_sampler *s, const token_set *set, uint32_t *best)
{
    for (uint32_t i = 0; i < s->n_vocab; i++)
        if (token_set_has(set, i)) {
            *best = i;
            return;
        }
}

/* The best id that is allowed. That is nearly always the best of all, so the likely ones are asked for one by one before the
 * set is built. Spoils the scratch. */
static void best_allowed(engine_sampler *s, const engine_choice *choice, uint32_t *best)
{
    uint32_t id = *best;
    for (int i = 0; choice->allows && i < ASKED_SINGLY; i++) {
        if (choice->allows(choice->user, id)) {
            *best = id;
            return;
        }
        s->logits[id] = -INFINITY;
        if (!best_of(s->logits, s->n_vocab, &id))
            break;
    }
    const token_set *set = choice->allowed(choice->user);
    if (!apply_set(s, set, best))
        lowest_of(s, set, best);
}

/* Steps 6-11 among what is allowed. */
static uint32_t draw_allowed(engine_sampler *s, const engine_choice *choice, uint32_t best)
{
    const token_set *set = choice->allowed ? choice->allowed(choice->user) : NULL;
    if (!set || apply_set(s, set, &best))
        return draw(s, best);
    lowest_of(s, set, &best);
    return best;
}

static bool is_near(const engine_sampler *s, const engine_choice *choice)
{
    uint32_t n_better = 0;
    if (choice->n_near == 0 || choice->near_id >= s->n_vocab || !isfinite(s->logits[choice->near_id]))
        return false;
    for (uint32_t i = 0; i < s->n_vocab; i++)
        n_better += isfinite(s->logits[i]) && s->logits[i] > s->logits[choice->near_id];
    return n_better < choice->n_near;
}

ds4_status engine_sampler_pick(engine_sampler *s, const float *logits, const engine_choice *choice, uint32_t *id,
                               ds4_error *err)
{
    const engine_sampling *o = &s->options;
    uint32_t best = 0;
    change_logits(s, logits);
    if (!best_of(s->logits, s->n_vocab, &best))
        return ds4_fail(err, DS4_ERR_STATE_BAD, "no finite logit among %u", s->n_vocab);
    if (is_near(s, choice)) {
        *id = choice->near_id;
    } else if (choice->greedy || o->temperature <= 0 || o->top_k == 1 || o->top_p <= 0) {
        if (choice->allowed)
            best_allowed(s, choice, &best);
        *id = best;
    } else {
        *id = draw_allowed(s, choice, best);
    }
    if (choice->replace && *id == choice->replaced_id)
        *id = choice->replacement_id;
    return DS4_OK;
}

float engine_logprobs(const float *logits, uint32_t n_vocab, uint32_t id, engine_logprob *top, uint32_t n_top)
{
    uint32_t best = 0;
    if (!best_of(logits, n_vocab, &best))
        return -INFINITY;
    double sum = 0;
    for (uint32_t i = 0; i < n_vocab; i++)
        if (isfinite(logits[i]))
            sum += exp((double)logits[i] - logits[best]);
    const double log_sum = (double)logits[best] + log(sum);
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_vocab && n_top; i++) {
        if (!isfinite(logits[i]) || (n == n_top && (float)(logits[i] - log_sum) <= top[n - 1].logprob))
            continue;
        /* Insertion keeps equal values in order of id. */
        const engine_logprob entry = { i, (float)(logits[i] - log_sum) };
        uint32_t at = n < n_top ? n++ : n_top - 1;
        for (; at > 0 && top[at - 1].logprob < entry.logprob; at--)
            top[at] = top[at - 1];
        top[at] = entry;
    }
    for (; n < n_top; n++)
        top[n] = (engine_logprob){ UINT32_MAX, -INFINITY };
    return isfinite(logits[id]) ? (float)(logits[id] - log_sum) : -INFINITY;
}
