/* Finding, reading and judging checkpoints: kvstore specification, sections 6 and 7. */
#include "base/clock.h"
#include "base/cursor.h"
#include "base/fault.h"
#include "base/log.h"
#include "kv/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CANDIDATES_MAX = 16, SCAN_WAIT_US = 2000000 };

static const hash_digest no_digest;

struct kv_plan {
    kv_store *store;
    uint32_t *tokens; /* [n_tokens] */
    uint64_t n_tokens;
    kv_loaded *segments; /* [n_segments] */
    uint64_t n_segments;
    kv_loaded frontier;
    kv_key name;
    char intent_name[KV_NAME_BYTES]; /* empty: none on the disk */
    uint64_t begun_ns;
    int64_t read_us;
    uint64_t bytes, saved_us;
    bool suspected, succeeded;
};

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
    kv_key *keys;                    /* [n_keys] of the prompt's whole segments */
    size_t n_keys, stem;             /* stem: leading segments that seem to be there */
    candidate found[CANDIDATES_MAX]; /* longest first */
    size_t n_found;
    const char *why;
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

/* Lookups are right before the index is complete, but may miss: wait a little. */
static void wait_for_index(kv_store *s, int64_t deadline_us)
{
    const int64_t now_us = clock_monotonic_us();
    int64_t left_us = deadline_us && deadline_us - now_us < SCAN_WAIT_US ? deadline_us - now_us : SCAN_WAIT_US;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    left_us = left_us > 0 ? left_us : 0;
    until.tv_sec += left_us / 1000000;
    until.tv_nsec += left_us % 1000000 * 1000;
    if (until.tv_nsec >= 1000000000)
        until.tv_sec++, until.tv_nsec -= 1000000000;
    pthread_mutex_lock(&s->lock);
    while (!s->scanned && pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&s->lock);
}

static bool is_there(kv_store *s, const kv_key *key, uint16_t kind)
{
    char name[KV_NAME_BYTES];
    struct stat about;
    pthread_mutex_lock(&s->lock);
    const kv_object *o = kv_index_find(&s->index, key);
    const bool known = o != NULL, usable = o && !o->excluded;
    pthread_mutex_unlock(&s->lock);
    if (known)
        return usable;
    kv_object_name(key, kind, name); /* perhaps another server wrote it */
    return kv_disk_stat(&s->disk, name, &about);
}

static void keep(search *q, const kv_object *o)
{
    size_t at = q->n_found < CANDIDATES_MAX ? q->n_found++ : CANDIDATES_MAX;
    if (at == CANDIDATES_MAX && q->found[--at].end >= o->end)
        return;
    for (; at > 0 && q->found[at - 1].end < o->end; at--)
        q->found[at] = q->found[at - 1];
    q->found[at] = (candidate){ o->key, o->parent, o->begin, o->end };
}

static void collect(search *q)
{
    kv_store *s = q->s;
    const size_t N = s->options.segment_tokens;
    while (q->stem < q->n_keys && is_there(s, &q->keys[q->stem], KV_KIND_SEGMENT))
        q->stem++;
    q->why = q->stem ? "no-frontier" : "no-stem";
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->index.n_slots; i++)
        for (const kv_object *o = s->index.slots[i]; o; o = o->next) {
            const size_t depth = (size_t)(o->begin / N);
            if (o->kind != KV_KIND_FRONTIER || o->excluded || o->end > q->n || (o->end == q->n && !o->logits) ||
                o->end < q->min_tokens || depth > q->stem)
                continue;
            const kv_key *stem = depth ? &q->keys[depth - 1] : &s->root;
            if (!hash_key_equal(&o->parent, stem))
                continue;
            const kv_key key = kv_key_frontier(&s->secret, stem, q->tokens + o->begin, (size_t)(o->end - o->begin));
            if (hash_key_equal(&key, &o->key))
                keep(q, o);
        }
    pthread_mutex_unlock(&s->lock);
}

/* ---- reading ---- */

static void hold(kv_store *s, const kv_key *key, int delta)
{
    pthread_mutex_lock(&s->lock);
    kv_object *o = kv_index_find(&s->index, key);
    if (o && (delta > 0 || o->references > 0))
        o->references = (uint32_t)((int64_t)o->references + delta);
    pthread_mutex_unlock(&s->lock);
}

/* The CHAIN section names every ancestor as we know it; with --kv-exact by its bytes, too. */
static bool chain_agrees(const search *q, const kv_loaded *frontier, size_t depth, bool exact)
{
    const kv_section *chain = kv_part_section(&frontier->part, KV_SECTION_CHAIN);
    for (size_t i = 0; i < depth; i++) {
        const uint8_t *at = (const uint8_t *)chain->bytes + i * KV_CHAIN_ENTRY; /* its size was checked: V6 */
        if (memcmp(at, q->keys[i].bytes, 32) != 0)
            return false;
        if (exact && memcmp(at + 32, q->loaded[i].header.payload.bytes, 16) != 0)
            return false;
    }
    return true;
}

static bool too_late(const search *q)
{
    return q->deadline_us && clock_monotonic_us() > q->deadline_us;
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
    if (status == DS4_OK && !chain_agrees(q, frontier, depth, s->options.exact))
        status = ds4_fail(err, DS4_ERR_CORRUPT, "the frontier was saved over other segments");
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
        hold(q->s, &q->keys[i], 1);
    }
    hold(q->s, &c->key, 1);
    q->loaded = NULL;
    *out = p;
    return DS4_OK;
}

static ds4_status try_candidates(kv_plan **out, search *q, ds4_error *err)
{
    kv_key *scratch = malloc((q->n_keys + 1) * sizeof *scratch);
    ds4_status status = DS4_ERR_NOT_FOUND;
    if (!scratch)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for a lookup");
    for (size_t i = 0; i < q->n_found; i++) {
        const candidate *c = &q->found[i];
        kv_loaded frontier;
        if (c->begin / q->s->options.segment_tokens > q->stem)
            continue;
        const kv_key name = plan_name(q, c, scratch);
        if (kv_is_condemned(q->s, &name, &no_digest)) {
            q->why = "condemned";
            continue;
        }
        status = load_candidate(q, c, &frontier, err);
        if (status == DS4_OK) {
            status = make_plan(out, q, c, &frontier, &name, err);
            break;
        }
        q->why = status == DS4_ERR_CORRUPT ? "damaged" : status == DS4_ERR_CANCELLED ? "deadline" : "unreadable";
        if (status == DS4_ERR_CANCELLED || status == DS4_ERR_NO_MEMORY)
            break;
    }
    free(scratch);
    return status;
}

ds4_status kv_plan_find(kv_plan **out, kv_store *s, const uint32_t *tokens, size_t n, uint64_t min_tokens,
                        int64_t deadline_us, ds4_error *err)
{
    search q = { .s = s,
                 .tokens = tokens,
                 .n = n,
                 .min_tokens = min_tokens > 1 ? min_tokens : 1,
                 .deadline_us = deadline_us,
                 .why = "short" };
    const int64_t begin_us = clock_monotonic_us();
    bool anew = false;
    *out = NULL;
    wait_for_index(s, deadline_us);
    pthread_mutex_lock(&s->lock);
    const bool broken = kv_breaker_open(s, kv_now_ns());
    pthread_mutex_unlock(&s->lock);
    ds4_status status = name_segments(&q, err);
    if (status == DS4_OK && broken)
        q.why = "breaker";
    else if (status == DS4_OK && !s->has_writer && !kv_disk_revalidate(&s->disk, s->options.recreate_us, &anew))
        q.why = "no-directory";
    else if (status == DS4_OK && n >= q.min_tokens)
        collect(&q);
    if (status == DS4_OK)
        status = try_candidates(out, &q, err);
    const int64_t us = clock_monotonic_us() - begin_us;
    pthread_mutex_lock(&s->lock);
    if (status == DS4_OK) {
        (*out)->read_us = us;
        s->metrics.lookup_exact_total++;
        s->metrics.restores_total++;
        s->metrics.restore_us_total += (uint64_t)us;
        s->metrics.restore_bytes_total += (*out)->bytes;
    } else {
        s->metrics.lookup_clean_total++;
    }
    pthread_mutex_unlock(&s->lock);
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

/* ---- what a plan says ---- */

uint64_t kv_plan_tokens(const kv_plan *p)
{
    return p->n_tokens;
}

const uint32_t *kv_plan_token_ids(const kv_plan *p)
{
    return p->tokens;
}

uint64_t kv_plan_segments(const kv_plan *p)
{
    return p->n_segments;
}

const kv_part *kv_plan_segment(const kv_plan *p, uint64_t i)
{
    return i < p->n_segments ? &p->segments[i].part : NULL;
}

const kv_part *kv_plan_frontier(const kv_plan *p)
{
    return &p->frontier.part;
}

bool kv_plan_has_logits(const kv_plan *p)
{
    return kv_part_section(&p->frontier.part, KV_SECTION_LOGITS) != NULL;
}

uint64_t kv_plan_bytes(const kv_plan *p)
{
    return p->bytes;
}

void kv_plan_describe(const kv_plan *p, char *out, size_t size)
{
    char hex[HASH_KEY_HEX];
    hash_key_hex(&p->frontier.header.key, hex);
    snprintf(out, size, "n=%" PRIu64 " stem=%" PRIu64 " tail=%" PRIu64 " key=%.12s", p->n_tokens, p->n_segments,
             p->frontier.header.end - p->frontier.header.begin, hex);
}

ds4_status kv_chain_adopt(kv_chain *c, const kv_plan *p, ds4_error *err)
{
    kv_chain_reset(c);
    const ds4_status status = kv_chain_extend(c, p->tokens, (size_t)p->n_tokens, err);
    if (status == DS4_OK)
        c->lineage = p->frontier.header.lineage;
    return status;
}

/* ---- intent and verdict ---- */

static ds4_status describe_intent(const kv_plan *p, kv_intent *out, ds4_error *err)
{
    *out = (kv_intent){ .time_ns = p->begun_ns ? p->begun_ns : kv_now_ns(),
                        .writer = p->store->writer_id,
                        .lineage = p->frontier.header.lineage,
                        .frontier_created_ns = p->frontier.header.created_ns,
                        .pid = (uint64_t)getpid(),
                        .pid_started = p->store->pid_started,
                        .plan = p->name,
                        .n_objects = (uint32_t)p->n_segments + 1 };
    memcpy(out->fingerprint, p->store->options.fingerprint, sizeof out->fingerprint);
    out->objects = p->n_segments < KV_INTENT_OBJECTS_MAX ? calloc(out->n_objects, sizeof *out->objects) : NULL;
    if (!out->objects)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for an intent");
    for (uint64_t i = 0; i <= p->n_segments; i++) {
        const kv_header *h = i < p->n_segments ? &p->segments[i].header : &p->frontier.header;
        out->objects[i] = (kv_intent_object){ h->key, h->payload, h->kind };
    }
    return DS4_OK;
}

static void boot_id(char out[64])
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    snprintf(out, 64, "unknown");
    if (!file)
        return;
    if (fgets(out, 64, file))
        out[strcspn(out, "\n")] = 0;
    fclose(file);
}

ds4_status kv_plan_begin(kv_plan *p, ds4_error *err)
{
    kv_store *s = p->store;
    kv_intent intent;
    char boot[64];
    p->begun_ns = kv_now_ns();
    if (s->options.read_only || s->disk.read_only)
        return DS4_OK;
    ds4_status status = describe_intent(p, &intent, err);
    if (status != DS4_OK)
        return status;
    const size_t size = kv_intent_bytes(intent.n_objects);
    uint8_t *bytes = malloc(size);
    if (bytes) {
        boot_id(boot);
        pthread_mutex_lock(&s->lock);
        const uint64_t number = ++s->n_intents;
        pthread_mutex_unlock(&s->lock);
        snprintf(p->intent_name, sizeof p->intent_name, "intent/%ld.%.40s.%" PRIu64, (long)getpid(), boot, number);
        kv_intent_encode(&intent, bytes);
        status = kv_disk_write_small(&s->disk, p->intent_name, bytes, size, "write.intent", err);
        if (status != DS4_OK)
            p->intent_name[0] = 0;
        else
            fault_at("restore.after_intent");
    } else {
        status = ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for an intent");
    }
    free(bytes);
    free(intent.objects);
    return status;
}

static void forget_intent(kv_plan *p)
{
    if (p->intent_name[0] && !kv_disk_unlink(&p->store->disk, p->intent_name, NULL))
        log_warning("kv intent stays: %s", p->intent_name);
    p->intent_name[0] = 0;
}

/* Under the lock, or alone: whether lookups may offer the plan's objects. */
static void exclude(kv_plan *p, bool excluded)
{
    kv_store *s = p->store;
    pthread_mutex_lock(&s->lock);
    for (uint64_t i = 0; i <= p->n_segments; i++) {
        const kv_key *key = i < p->n_segments ? &p->segments[i].header.key : &p->frontier.header.key;
        kv_object *o = kv_index_find(&s->index, key);
        if (o)
            o->excluded = excluded;
    }
    pthread_mutex_unlock(&s->lock);
}

static void note_use(kv_plan *p, uint64_t now_ns)
{
    kv_store *s = p->store;
    char name[KV_NAME_BYTES];
    uint8_t bytes[KV_USE_BYTES];
    const kv_use use = { p->frontier.header.key, now_ns, p->saved_us };
    pthread_mutex_lock(&s->lock);
    kv_index_hit(&s->index, &use.key, now_ns);
    pthread_mutex_unlock(&s->lock);
    if (s->options.read_only || s->disk.read_only)
        return;
    kv_use_encode(&use, bytes);
    snprintf(name, sizeof name, "use/%" PRIu64 ".%016" PRIx64, now_ns / UINT64_C(86400000000000), s->writer_id);
    kv_disk_append(&s->disk, name, bytes, sizeof bytes, "write.use", NULL); /* lost usage only lowers scores */
}

void kv_plan_succeed(kv_plan *p, int64_t upload_us)
{
    char about[160];
    kv_store *s = p->store;
    forget_intent(p);
    p->succeeded = true;
    pthread_mutex_lock(&s->lock);
    s->metrics.restored_tokens_total += p->n_tokens;
    s->metrics.saved_prefill_us_total += p->saved_us;
    pthread_mutex_unlock(&s->lock);
    note_use(p, kv_now_ns());
    kv_plan_describe(p, about, sizeof about);
    char *key = strstr(about, " key=");
    if (key)
        *key = 0;
    log_info("kv restore plan=exact %s bytes=%.1fM read=%.3fs upload=%.3fs saved~%.0fs key=%s", about,
             (double)p->bytes / 1e6, (double)p->read_us / 1e6, (double)upload_us / 1e6, (double)p->saved_us / 1e6,
             key ? key + 5 : "");
}

void kv_plan_suspect(kv_plan *p, ds4_status why, const char *detail)
{
    char hex[HASH_KEY_HEX];
    hash_key_hex(&p->frontier.header.key, hex);
    exclude(p, true);
    p->suspected = true;
    log_warning("kv suspect key=%.12s class=%s detail=\"%s\" action=retry-clean", hex, ds4_status_word(why),
                detail ? detail : "");
}

void kv_plan_condemn(kv_plan *p, ds4_status why, const char *detail, int64_t cost_us)
{
    kv_intent intent;
    kv_store *s = p->store;
    (void)detail;
    exclude(p, true); /* whatever fails below, this process does not use them again */
    if (describe_intent(p, &intent, NULL) == DS4_OK) {
        kv_condemn_objects(s, &intent, (uint32_t)why, "ok", (double)cost_us / 1e6);
        free(intent.objects);
    }
    pthread_mutex_lock(&s->lock);
    s->metrics.retry_clean_guilty_total++;
    pthread_mutex_unlock(&s->lock);
    forget_intent(p);
    p->suspected = false; /* decided */
}

void kv_plan_acquit(kv_plan *p)
{
    forget_intent(p);
    if (p->suspected) {
        exclude(p, false);
        pthread_mutex_lock(&p->store->lock);
        p->store->metrics.retry_clean_acquitted_total++;
        pthread_mutex_unlock(&p->store->lock);
    }
    p->suspected = false;
}

void kv_plan_release(kv_plan *p)
{
    if (!p)
        return;
    if (p->intent_name[0] || p->suspected)
        kv_plan_acquit(p);
    for (uint64_t i = 0; i < p->n_segments; i++) {
        hold(p->store, &p->segments[i].header.key, -1);
        kv_loaded_free(&p->segments[i]);
    }
    hold(p->store, &p->frontier.header.key, -1);
    kv_loaded_free(&p->frontier);
    free(p->segments);
    free(p->tokens);
    free(p);
}
