/* Names of a token list, computed as it grows. */
#include "kv/store.h"

#include <stdlib.h>
#include <string.h>

ds4_status kv_chain_new(kv_chain **out, kv_store *store, ds4_error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    (*out)->store = store;
    kv_chain_reset(*out);
    return DS4_OK;
}

void kv_chain_free(kv_chain *c)
{
    if (!c)
        return;
    free(c->tokens);
    free(c->keys);
    free(c);
}

void kv_chain_reset(kv_chain *c)
{
    c->n = 0;
    c->tainted = false;
    hash_random(&c->lineage, sizeof c->lineage);
}

uint64_t kv_chain_segments(const kv_chain *c)
{
    return c->n / c->store->options.segment_tokens;
}

/* Room for n tokens and the keys of their segments. */
static bool reserve(kv_chain *c, size_t n)
{
    const size_t capacity = n + n / 2 + 256;
    if (n <= c->capacity)
        return true;
    uint32_t *tokens = realloc(c->tokens, capacity * sizeof *tokens);
    if (!tokens)
        return false;
    c->tokens = tokens;
    kv_key *keys = realloc(c->keys, (capacity / c->store->options.segment_tokens + 1) * sizeof *keys);
    if (!keys)
        return false;
    c->keys = keys;
    c->capacity = capacity;
    return true;
}

ds4_status kv_chain_extend(kv_chain *c, const uint32_t *tokens, size_t n, ds4_error *err)
{
    const size_t N = c->store->options.segment_tokens;
    if (!reserve(c, c->n + n))
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for %zu tokens", c->n + n);
    size_t i = c->n / N;
    if (n)
        memcpy(c->tokens + c->n, tokens, n * sizeof *tokens);
    c->n += n;
    for (; i < c->n / N; i++)
        c->keys[i] = kv_key_segment(&c->store->secret, i ? &c->keys[i - 1] : &c->store->root, c->tokens + i * N, N);
    return DS4_OK;
}

void kv_chain_truncate(kv_chain *c, uint64_t n_tokens)
{
    if (n_tokens < c->n)
        c->n = (size_t)n_tokens;
}

void kv_chain_taint(kv_chain *c)
{
    c->tainted = true;
}

kv_key kv_chain_frontier_key(kv_chain *c)
{
    const size_t n = (size_t)kv_chain_segments(c), stem = n * c->store->options.segment_tokens;
    return kv_key_frontier(&c->store->secret, n ? &c->keys[n - 1] : &c->store->root, c->tokens + stem, c->n - stem);
}

/* In the index, or on its way there. */
static bool has(kv_store *s, const kv_key *key)
{
    pthread_mutex_lock(&s->lock);
    bool found = kv_index_find(&s->index, key) != NULL || (s->writing && hash_key_equal(&s->writing->key, key));
    for (const kv_draft *d = s->head; d && !found; d = d->next)
        found = hash_key_equal(&d->key, key);
    pthread_mutex_unlock(&s->lock);
    return found;
}

bool kv_chain_has_segment(kv_chain *c, uint64_t i_segment)
{
    return has(c->store, &c->keys[i_segment]);
}

bool kv_chain_has_frontier(kv_chain *c)
{
    const kv_key key = kv_chain_frontier_key(c);
    return c->n > 0 && has(c->store, &key);
}
