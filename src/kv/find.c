/* kv/find.c - the longest checkpoint that is a prefix of a prompt: docs/spec/kvstore.md, section 6. */
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "kv/store.h"

#include <stdlib.h>
#include <string.h>

enum { CANDIDATES_MAX = 16, SCAN_WAIT_US = 2000000 };

static const hash_digest no_digest;

/* ---- looking: from memory ---- */

typedef struct candidate {
    kv_key key, parent;
    uint64_t begin, end;
} candidate;

typedef struct search {
    kv_store *s;
    const uint32_t *tokens;
    size_t n;
    uint64_t min_tokens;
    int64_t deadline_us;
    uint64_t now_ns;
    kv_key *keys;                    /* [n_keys] of the prompt's whole segments */
    size_t n_keys, stem;             /* stem: leading segments that seem to be there */
    candidate found[CANDIDATES_MAX]; /* on one segment, longest first */
    size_t n_found;
    const char *why;
    bool hopeless;     /* what stopped one candidate stops all of them */
    kv_loaded *loaded; /* [n_keys] segments read so far; .payload NULL: not yet */
} search;

static ds4_status name_segments(search *q, ds4_error *err)
{
    const size_t N = q->s->options.segment_tokens;
    q->n_keys = q->n / N;
    q->keys = malloc((q->n_keys + 1) * sizeof *q->keys);
    q->loaded = calloc(q->n_keys + 1, sizeof *q->loaded);
    if (!q->keys || !q->loaded)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for a lookup");
    for (size_t i = 0; i < q->n_keys; i++)
        q->keys[i] = kv_key_segment(&q->s->secret, i ? &q->keys[i - 1] : &q->s->root, q->tokens + i * N, N);
    return DS4_OK;
}

/* Lookups are right before the index is complete, but may miss: wait a little. False: it is not complete. */
static bool wait_for_index(kv_store *s, int64_t deadline_us)
{
    int64_t until_us = clock_monotonic_us() + SCAN_WAIT_US;
    if (deadline_us && deadline_us < until_us)
        until_us = deadline_us;
    pthread_mutex_lock(&s->lock);
    while (!s->scanned && !atomic_load(&s->leaving) && clock_cond_wait(&s->changed, &s->lock, until_us))
        continue;
    const bool scanned = s->scanned;
    pthread_mutex_unlock(&s->lock);
    return scanned;
}

static bool is_there(kv_store *s, const kv_key *key, uint16_t kind)
{
    char name[KV_NAME_BYTES];
    struct stat about;
    const uint64_t now_ns = kv_now_ns();
    pthread_mutex_lock(&s->lock);
    const kv_object *o = kv_index_find(&s->index, key);
    const bool known = o != NULL, usable = o && !o->excluded && o->doubtful_until_ns <= now_ns;
    pthread_mutex_unlock(&s->lock);
    if (known)
        return usable;
    kv_object_name(key, kind, name); /* perhaps another server wrote it */
    return kv_disk_stat(&s->disk, name, &about);
}

static void find_stem(search *q)
{
    while (q->stem < q->n_keys && is_there(q->s, &q->keys[q->stem], KV_KIND_SEGMENT))
        q->stem++;
    q->why = q->stem ? "no-frontier" : "no-stem";
}

/* Under the lock. The frontier of that name as a candidate, if it may be restored. */
static void consider(search *q, const kv_key *key, const kv_key *stem, uint64_t end)
{
    const kv_object *o = kv_index_find(&q->s->index, key);
    if (o && o->kind == KV_KIND_FRONTIER && !o->excluded && o->doubtful_until_ns <= q->now_ns && o->end == end &&
        (end < q->n || o->logits))
        q->found[q->n_found++] = (candidate){ *key, *stem, o->begin, end };
}

/* The frontiers on the first `depth` segments, longest first. Each position of the prompt has one possible name, so the work
 * depends on the prompt, not on how many conversations begin alike. */
static ds4_status collect(search *q, size_t depth, ds4_error *err)
{
    enum { AT_ONCE = 256 };
    kv_store *s = q->s;
    const size_t N = s->options.segment_tokens, begin = depth * N;
    const size_t last = q->n - begin < N ? q->n - begin : N - 1;
    const size_t first = q->min_tokens > begin ? (size_t)(q->min_tokens - begin) : 0;
    const kv_key *stem = depth ? &q->keys[depth - 1] : &s->root;
    q->n_found = 0;
    pthread_mutex_lock(&s->lock);
    const bool any = first <= last && kv_index_frontiers_on(&s->index, stem) > 0;
    pthread_mutex_unlock(&s->lock);
    if (!any)
        return DS4_OK;
    kv_key *names = malloc((last - first + 1) * sizeof *names);
    if (!names)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for a lookup");
    kv_key_frontiers(&s->secret, stem, q->tokens + begin, first, last, names);
    size_t left = last - first + 1;
    while (left > 0 && q->n_found < CANDIDATES_MAX) {
        pthread_mutex_lock(&s->lock);
        for (int i = 0; i < AT_ONCE && left > 0 && q->n_found < CANDIDATES_MAX; i++, left--)
            consider(q, &names[left - 1], stem, begin + first + left - 1);
        pthread_mutex_unlock(&s->lock);
    }
    free(names);
    return DS4_OK;
}

/* ---- reading ---- */

/* The frontier was computed from these segments: the CHAIN section has their keys and the digests of their bytes. Segments
 * that other kernels wrote, or a later run, would restore to a state that was never computed. */
static bool chain_agrees(const search *q, const kv_loaded *frontier, size_t depth)
{
    const kv_section *chain = kv_part_section(&frontier->part, KV_SECTION_CHAIN);
    for (size_t i = 0; i < depth; i++) {
        const uint8_t *at = (const uint8_t *)chain->bytes + i * KV_CHAIN_ENTRY; /* its size was checked: V6 */
        if (memcmp(at, q->keys[i].bytes, 32) != 0 || memcmp(at + 32, q->loaded[i].header.payload.bytes, 16) != 0)
            return false;
    }
    return true;
}

static bool too_late(const search *q)
{
    return atomic_load(&q->s->leaving) || (q->deadline_us && clock_monotonic_us() > q->deadline_us);
}

/* Reads what candidate c needs and is not read yet. NOT_FOUND or CORRUPT: try another one. */
static ds4_status load_candidate(search *q, const candidate *c, kv_loaded *frontier, ds4_error *err)
{
    kv_store *s = q->s;
    const size_t N = s->options.segment_tokens, depth = (size_t)(c->begin / N);
    ds4_status status = kv_load(frontier, s, &c->key, &c->parent, KV_KIND_FRONTIER, c->begin, c->end, q->tokens, err);
    for (size_t i = 0; status == DS4_OK && i < depth; i++) {
        if (q->loaded[i].payload)
            continue;
        if (too_late(q))
            status = ds4_fail(err, DS4_ERR_CANCELLED, "the deadline passed");
        else
            status = kv_load(&q->loaded[i], s, &q->keys[i], i ? &q->keys[i - 1] : &s->root, KV_KIND_SEGMENT, i * N,
                             (i + 1) * N, q->tokens, err);
        if (status != DS4_OK && i < q->stem)
            q->stem = i; /* the stem ends here for all candidates */
    }
    if (status == DS4_OK && !chain_agrees(q, frontier, depth)) {
        kv_reject(s, &c->key, KV_KIND_FRONTIER, (kv_finding){ 3, KV_ACTION_UNLINK, "other-stem" });
        status = ds4_fail(err, DS4_ERR_CORRUPT, "the frontier was saved over other segments");
    }
    if (status != DS4_OK)
        kv_loaded_free(frontier);
    return status;
}

static kv_key plan_name(const search *q, const candidate *c, kv_key *scratch)
{
    const size_t depth = (size_t)(c->begin / q->s->options.segment_tokens);
    memcpy(scratch, q->keys, depth * sizeof *scratch);
    scratch[depth] = c->key;
    return kv_key_plan(scratch, depth + 1);
}

/* What the index knows of a candidate's objects, as an intent. free(out->objects) */
static ds4_status describe_candidate(const search *q, const candidate *c, const kv_key *name, kv_intent *out,
                                     ds4_error *err)
{
    kv_store *s = q->s;
    const size_t depth = (size_t)(c->begin / s->options.segment_tokens);
    *out =
        (kv_intent){ .time_ns = kv_now_ns(), .writer = s->writer_id, .plan = *name, .n_objects = (uint32_t)depth + 1 };
    memcpy(out->fingerprint, s->options.fingerprint, sizeof out->fingerprint);
    out->objects = depth < KV_INTENT_OBJECTS_MAX ? calloc(depth + 1, sizeof *out->objects) : NULL;
    if (!out->objects)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for an intent");
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i <= depth; i++) {
        const kv_key *key = i < depth ? &q->keys[i] : &c->key;
        const kv_object *o = kv_index_find(&s->index, key);
        out->objects[i] = (kv_intent_object){ .key = *key, .kind = i < depth ? KV_KIND_SEGMENT : KV_KIND_FRONTIER };
        if (o)
            out->objects[i].digest = o->digest;
        if (o && i == depth) {
            out->lineage = o->lineage;
            out->frontier_created_ns = o->created_ns;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return DS4_OK;
}

/* Did the intent name the bytes that were then read? */
static bool names_all(const kv_intent *intent, const kv_plan *p)
{
    bool all = hash_digest_equal(&intent->objects[p->n_segments].digest, &p->frontier.header.payload);
    for (uint64_t i = 0; all && i < p->n_segments; i++)
        all = hash_digest_equal(&intent->objects[i].digest, &p->segments[i].header.payload);
    return all;
}

static ds4_status make_plan(kv_plan **out, search *q, const candidate *c, kv_loaded *frontier, const kv_key *name,
                            ds4_error *err)
{
    kv_plan *p = calloc(1, sizeof *p);
    if (p)
        p->tokens = malloc((size_t)c->end * sizeof *p->tokens);
    if (!p || !p->tokens) {
        free(p);
        kv_loaded_free(frontier);
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for a plan");
    }
    p->store = q->s;
    p->n_tokens = c->end;
    memcpy(p->tokens, q->tokens, (size_t)c->end * sizeof *p->tokens);
    p->n_segments = c->begin / q->s->options.segment_tokens;
    p->segments = q->loaded; /* the rest of it was not read, or is freed with it */
    p->frontier = *frontier;
    p->name = *name;
    p->bytes = frontier->header.file_bytes;
    p->saved_us = frontier->header.cost_us;
    for (uint64_t i = 0; i < q->n_keys; i++) {
        if (i >= p->n_segments) {
            kv_loaded_free(&q->loaded[i]);
            continue;
        }
        p->bytes += q->loaded[i].header.file_bytes;
        p->saved_us += q->loaded[i].header.cost_us;
    }
    q->loaded = NULL;
    kv_plan_hold(p, 1);
    *out = p;
    return DS4_OK;
}

/* The intent stands on the disk before the first byte is read: a checkpoint can also kill a process by its size, and what
 * kills it while it reads must not be met again either (P3). */
static ds4_status try_candidate(kv_plan **out, search *q, const candidate *c, const kv_key *name, ds4_error *err)
{
    kv_store *s = q->s;
    kv_locked file = KV_LOCKED_NONE;
    kv_intent intent;
    kv_loaded frontier;
    if (too_late(q)) {
        q->why = "deadline";
        return ds4_fail(err, DS4_ERR_CANCELLED, "the deadline passed");
    }
    ds4_status status = describe_candidate(q, c, name, &intent, err);
    if (status == DS4_OK && !s->options.read_only && !s->disk.read_only) {
        ds4_error inner = { 0 };
        status = kv_intent_write(s, &file, &intent, &inner);
        q->hopeless = status != DS4_OK;
        if (q->hopeless)
            log_warning("kv intent failed, restoring nothing: %s", inner.text);
    }
    if (q->hopeless) {
        q->why = "no-intent";
        ds4_fail(err, status, "the intent record could not be written");
    } else if (status == DS4_OK) {
        status = load_candidate(q, c, &frontier, err);
        q->why = status == DS4_ERR_CORRUPT ? "damaged" : status == DS4_ERR_CANCELLED ? "deadline" : "unreadable";
        if (status == DS4_OK)
            status = make_plan(out, q, c, &frontier, name, err);
    }
    if (status == DS4_OK) {
        (*out)->intent = file;
        (*out)->intent_complete = names_all(&intent, *out);
    } else {
        kv_intent_withdraw(s, &file);
    }
    free(intent.objects);
    return status;
}

/* NOT_FOUND, CORRUPT, IO: none of the candidates could be restored, try shorter ones. */
static ds4_status try_candidates(kv_plan **out, search *q, kv_key *scratch, ds4_error *err)
{
    ds4_status status = DS4_ERR_NOT_FOUND;
    for (size_t i = 0; i < q->n_found; i++) {
        const candidate *c = &q->found[i];
        if (c->begin / q->s->options.segment_tokens > q->stem)
            continue;
        const kv_key name = plan_name(q, c, scratch);
        if (kv_was_condemned(q->s, &name, &no_digest)) {
            q->why = "condemned";
            continue;
        }
        status = try_candidate(out, q, c, &name, err);
        if (status == DS4_OK || status == DS4_ERR_CANCELLED || status == DS4_ERR_NO_MEMORY || q->hopeless)
            break;
    }
    return status;
}

/* From the deepest segment down, until something can be restored. */
static ds4_status search_down(kv_plan **out, search *q, ds4_error *err)
{
    kv_key *scratch = malloc((q->n_keys + 1) * sizeof *scratch);
    ds4_status status = DS4_ERR_NOT_FOUND;
    if (!scratch)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for a lookup");
    find_stem(q);
    for (size_t depth = q->stem + 1; depth-- > 0;) {
        if (depth > q->stem) /* it became shorter: a segment was damaged */
            continue;
        const ds4_status collected = collect(q, depth, err);
        const ds4_status tried = collected == DS4_OK ? try_candidates(out, q, scratch, err) : collected;
        if (tried != DS4_ERR_NOT_FOUND || status == DS4_ERR_NOT_FOUND)
            status = tried;
        if (*out || status == DS4_ERR_CANCELLED || status == DS4_ERR_NO_MEMORY || q->hopeless)
            break;
    }
    free(scratch);
    return status;
}

/* What has to be settled before anything is looked for. NULL: go on; else why not. */
static const char *obstacle(kv_store *s)
{
    bool anew = false;
    /* The writer looks after the directory; a read-only store has none. */
    if (!s->has_writer && !kv_disk_revalidate(&s->disk, s->options.recreate_us, &anew))
        return "no-directory";
    if (anew)
        kv_directory_renewed(s);
    if (!s->has_writer)
        kv_refresh_figures(s);
    kv_intents_settle(s); /* other servers on this directory may have died meanwhile */
    return kv_breaker_open(s) ? "breaker" : NULL;
}

static void note_result(kv_store *s, kv_plan *found, int64_t us)
{
    pthread_mutex_lock(&s->lock);
    if (found) {
        found->read_us = us;
        s->metrics.lookup_exact_total++;
        s->metrics.restores_total++;
        s->metrics.restore_us_total += (uint64_t)us;
        s->metrics.restore_bytes_total += found->bytes;
    } else {
        s->metrics.lookup_clean_total++;
    }
    pthread_mutex_unlock(&s->lock);
}

ds4_status kv_plan_find(kv_plan **out, kv_store *s, const uint32_t *tokens, size_t n, uint64_t min_tokens,
                        int64_t deadline_us, ds4_error *err)
{
    search q = { .s = s,
                 .tokens = tokens,
                 .n = n,
                 .min_tokens = min_tokens > 1 ? min_tokens : 1,
                 .deadline_us = deadline_us,
                 .now_ns = kv_now_ns(),
                 .why = "short" };
    const int64_t begin_us = clock_monotonic_us();
    *out = NULL;
    const bool scanned = wait_for_index(s, deadline_us);
    const char *why = obstacle(s);
    ds4_status status = name_segments(&q, err);
    if (status == DS4_OK && (why || n < q.min_tokens)) {
        q.why = why ? why : q.why;
        status = DS4_ERR_NOT_FOUND;
    }
    if (status == DS4_OK) {
        if (scanned)
            kv_scan_new(s, deadline_us); /* other servers on this directory may have saved more */
        status = search_down(out, &q, err);
    }
    note_result(s, *out, clock_monotonic_us() - begin_us);
    if (status != DS4_OK) {
        log_info("kv miss n=0 prompt=%zu common=%zu why=%s next=segment-%zu identity=ok", n,
                 q.stem * s->options.segment_tokens, q.why, q.stem);
        if (status == DS4_ERR_NOT_FOUND || status == DS4_ERR_CORRUPT)
            status = ds4_fail(err, DS4_ERR_NOT_FOUND, "no checkpoint: %s", q.why);
    }
    for (size_t i = 0; q.loaded && i < q.n_keys; i++)
        kv_loaded_free(&q.loaded[i]);
    free(q.loaded);
    free(q.keys);
    if (status == DS4_OK)
        fault_at("restore.after_verify");
    return status;
}
