/* Names of a token list, computed as it grows. */
#include "kv/store.h"

#include <stdlib.h>
#include <string.h>

/* ---- stems ---- */

static kv_stem *new_stem(void)
{
    kv_stem *stem = calloc(1, sizeof *stem);
    if (stem)
        stem->references = 1;
    return stem;
}

void kv_stem_release(kv_store *s, kv_stem *stem)
{
    if (!stem)
        return;
    pthread_mutex_lock(&s->lock);
    const bool last = --stem->references == 0;
    pthread_mutex_unlock(&s->lock);
    if (!last)
        return;
    free(stem->entries);
    free(stem);
}

void kv_stem_set(kv_stem *stem, size_t i, const kv_key *key, const hash_digest *digest)
{
    if (i < stem->capacity)
        stem->entries[i] = (struct kv_stem_entry){ *key, *digest };
}

const hash_digest *kv_stem_digest(const kv_stem *stem, size_t i, const kv_key *key)
{
    return i < stem->capacity && hash_key_equal(&stem->entries[i].key, key) ? &stem->entries[i].digest : NULL;
}

/* Makes room for n entries. The writer may be reading it. */
static bool grow_stem(kv_store *s, kv_stem *stem, size_t n)
{
    if (n <= stem->capacity) /* changed by this thread only */
        return true;
    struct kv_stem_entry *entries = calloc(n, sizeof *entries), *old;
    if (!entries)
        return false;
    pthread_mutex_lock(&s->lock);
    old = stem->entries;
    if (old)
        memcpy(entries, old, stem->capacity * sizeof *entries);
    stem->entries = entries;
    stem->capacity = n;
    pthread_mutex_unlock(&s->lock);
    free(old);
    return true;
}

/* From segment n on the state is about to be computed anew, perhaps to other bytes. Drafts keep the stem as it was. */
static void replace_stem(kv_chain *c, size_t n)
{
    kv_stem *old = c->stem;
    c->stem = new_stem();
    if (c->stem && n && old && grow_stem(c->store, c->stem, n))
        for (size_t i = 0; i < n; i++) {
            pthread_mutex_lock(&c->store->lock);
            if (i < old->capacity)
                c->stem->entries[i] = old->entries[i];
            pthread_mutex_unlock(&c->store->lock);
        }
    kv_stem_release(c->store, old);
}

/* ---- chains ---- */

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
    kv_stem_release(c->store, c->stem);
    free(c->tokens);
    free(c->keys);
    free(c);
}

void kv_chain_reset(kv_chain *c)
{
    c->n = 0;
    c->tainted = false;
    replace_stem(c, 0);
    hash_random(&c->lineage, sizeof c->lineage);
}

uint64_t kv_chain_segments(const kv_chain *c)
{
    return c->n / c->store->options.segment_tokens;
}

/* Room for n tokens and the keys of their segments. */
static bool reserve(kv_chain *c, size_t n)
{
    const size_t capacity = n + n / 2 + 256, N = c->store->options.segment_tokens;
    if (!c->stem)
        c->stem = new_stem();
    if (!c->stem || !grow_stem(c->store, c->stem, (n <= c->capacity ? c->capacity : capacity) / N + 1))
        return false;
    if (n <= c->capacity)
        return true;
    uint32_t *tokens = realloc(c->tokens, capacity * sizeof *tokens);
    if (!tokens)
        return false;
    c->tokens = tokens;
    kv_key *keys = realloc(c->keys, (capacity / N + 1) * sizeof *keys);
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
    const size_t n = (size_t)n_tokens / c->store->options.segment_tokens;
    if (n_tokens >= c->n)
        return;
    if (n < kv_chain_segments(c))
        replace_stem(c, n);
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

/* Under the lock. Is it on its way to the disk, from a state with this stem? NULL: from any. */
static bool is_queued(const kv_store *s, const kv_key *key, const kv_stem *stem)
{
    if (s->writing && hash_key_equal(&s->writing->key, key) && (!stem || s->writing->stem == stem))
        return true;
    for (const kv_draft *d = s->head; d; d = d->next)
        if (hash_key_equal(&d->key, key) && (!stem || d->stem == stem))
            return true;
    return false;
}

bool kv_chain_has_segment(kv_chain *c, uint64_t i_segment)
{
    kv_store *s = c->store;
    const kv_key *key = &c->keys[i_segment];
    pthread_mutex_lock(&s->lock);
    const kv_object *o = kv_index_find(&s->index, key);
    const hash_digest *ours = c->stem ? kv_stem_digest(c->stem, i_segment, key) : NULL;
    /* Excluded: its place cannot be had. */
    const bool found =
        (o && (o->excluded || (ours && hash_digest_equal(ours, &o->digest)))) || is_queued(s, key, c->stem);
    pthread_mutex_unlock(&s->lock);
    return found;
}

bool kv_chain_has_frontier(kv_chain *c)
{
    kv_store *s = c->store;
    const kv_key key = kv_chain_frontier_key(c);
    pthread_mutex_lock(&s->lock);
    const bool found = kv_index_find(&s->index, &key) || is_queued(s, &key, NULL);
    pthread_mutex_unlock(&s->lock);
    return c->n > 0 && found;
}
