/* kv/plan.c - a checkpoint that was found: what it says, and its trial from intent to verdict (docs/spec/kvstore.md,
 * section 7). */
#include "base/fault.h"
#include "base/log.h"
#include "kv/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    if (status != DS4_OK)
        return status;
    c->lineage = p->frontier.header.lineage;
    pthread_mutex_lock(&c->store->lock);
    for (size_t i = 0; i < p->n_segments; i++)
        kv_stem_set(c->stem, i, &p->segments[i].header.key, &p->segments[i].header.payload);
    pthread_mutex_unlock(&c->store->lock);
    return DS4_OK;
}

/* ---- intent and verdict ---- */

static ds4_status describe_intent(const kv_plan *p, kv_intent *out, ds4_error *err)
{
    *out = (kv_intent){ .time_ns = p->begun_ns ? p->begun_ns : kv_now_ns(),
                        .writer = p->store->writer_id,
                        .lineage = p->frontier.header.lineage,
                        .frontier_created_ns = p->frontier.header.created_ns,
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

static ds4_status write_intent(kv_plan *p, ds4_error *err)
{
    kv_store *s = p->store;
    kv_intent intent;
    if (s->options.read_only || s->disk.read_only)
        return DS4_OK;
    ds4_status status = describe_intent(p, &intent, err);
    if (status == DS4_OK) {
        status = kv_intent_write(s, &p->intent, &intent, err);
        free(intent.objects);
    }
    return status;
}

ds4_status kv_plan_begin(kv_plan *p, ds4_error *err)
{
    p->begun_ns = kv_now_ns();
    /* kv_plan_find() wrote the record; it is written again only if it did not know all bytes that were then read. */
    const ds4_status status = p->intent.fd >= 0 && p->intent_complete ? DS4_OK : write_intent(p, err);
    p->intent_complete = status == DS4_OK;
    if (status == DS4_OK && p->intent.fd >= 0)
        fault_at("restore.after_intent");
    return status;
}

static void forget_intent(kv_plan *p)
{
    kv_intent_withdraw(p->store, &p->intent);
}

/* The key of object i of the plan; the frontier is the last. */
static const kv_key *key_at(const kv_plan *p, uint64_t i)
{
    return i < p->n_segments ? &p->segments[i].header.key : &p->frontier.header.key;
}

/* Whether lookups may offer the plan's objects. */
static void exclude(kv_plan *p, bool excluded)
{
    pthread_mutex_lock(&p->store->lock);
    for (uint64_t i = 0; i <= p->n_segments; i++)
        kv_index_suspect(&p->store->index, key_at(p, i), excluded);
    pthread_mutex_unlock(&p->store->lock);
}

void kv_plan_hold(kv_plan *p, int delta)
{
    pthread_mutex_lock(&p->store->lock);
    for (uint64_t i = 0; i <= p->n_segments; i++)
        kv_index_hold(&p->store->index, key_at(p, i), delta);
    pthread_mutex_unlock(&p->store->lock);
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

/* The rows are in the sequence; for a later verdict the headers are enough. */
static void forget_bytes(kv_plan *p)
{
    for (uint64_t i = 0; i <= p->n_segments; i++) {
        kv_loaded *l = i < p->n_segments ? &p->segments[i] : &p->frontier;
        free(l->payload);
        free(l->sections);
        l->payload = NULL;
        l->sections = NULL;
        l->part.sections = NULL;
        l->part.n_sections = 0;
    }
}

void kv_plan_succeed(kv_plan *p, int64_t upload_us)
{
    char about[160];
    kv_store *s = p->store;
    forget_intent(p);
    forget_bytes(p);
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
    if (p->intent.fd < 0) /* it had passed its trial; should we die before the verdict, this stands for it */
        write_intent(p, NULL);
    log_warning("kv suspect key=%.12s class=%s detail=\"%s\" action=retry-clean", hex, ds4_status_word(why),
                detail ? detail : "");
}

void kv_plan_condemn(kv_plan *p, ds4_status why, int64_t cost_us)
{
    kv_intent intent;
    kv_store *s = p->store;
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
    if (p->intent.fd >= 0 || p->suspected)
        kv_plan_acquit(p);
    kv_plan_hold(p, -1);
    for (uint64_t i = 0; i < p->n_segments; i++)
        kv_loaded_free(&p->segments[i]);
    kv_loaded_free(&p->frontier);
    free(p->segments);
    free(p->tokens);
    free(p);
}
