/* kv/intent.c - intents: which objects a process is about to read and use, so that the next one knows what it died over (P3).
 *
 *     state of the file        what it says                          what is done
 *     locked, or our own       its process is at work                nothing
 *     free, once locked        its process died over these objects   they are condemned, now
 *     free, never locked, or   either of the two: where there are    they are not offered, and condemned when
 *     nobody can tell          no locks nothing tells them apart     the record is a minute old */
#include "base/log.h"
#include "kv/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DOUBT_NS (UINT64_C(60) * 1000000000)

static const hash_digest no_digest;

/* ---- ours ---- */

static void count(kv_store *s, int delta)
{
    pthread_mutex_lock(&s->lock);
    s->metrics.intents = (uint64_t)((int64_t)s->metrics.intents + delta);
    pthread_mutex_unlock(&s->lock);
}

ds4_status kv_intent_write(kv_store *s, kv_locked *file, kv_intent *intent, ds4_error *err)
{
    char name[KV_NAME_BYTES];
    kv_locked fresh;
    const size_t size = kv_intent_bytes(intent->n_objects);
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for an intent");
    ds4_status status = kv_locked_create(&fresh, &s->disk, err);
    if (status == DS4_OK) {
        pthread_mutex_lock(&s->lock);
        const uint64_t number = ++s->n_intents;
        const bool first = fresh.lock != KV_LOCK_MINE && !s->warned_of_locks;
        s->warned_of_locks = s->warned_of_locks || first;
        pthread_mutex_unlock(&s->lock);
        if (first)
            log_warning("kv no file locks dir=\"%s\": after a crash checkpoints rest for a minute", s->disk.path);
        intent->locked = fresh.lock == KV_LOCK_MINE;
        intent->pid = (uint64_t)getpid();
        kv_intent_encode(intent, bytes);
        if (file->fd >= 0)
            memcpy(name, file->name, sizeof name); /* the new record takes the place of the old one */
        else
            snprintf(name, sizeof name, "intent/%016" PRIx64 ".%" PRIu64, s->writer_id, number);
        status = kv_locked_publish(&fresh, &s->disk, name, bytes, size, "write.intent", err);
        if (status != DS4_OK) {
            kv_disk_unlink(&s->disk, fresh.name, NULL);
            kv_locked_close(&fresh);
        }
    }
    free(bytes);
    if (status != DS4_OK)
        return status;
    if (file->fd >= 0)
        kv_locked_close(file);
    else
        count(s, 1);
    *file = fresh;
    return DS4_OK;
}

void kv_intent_withdraw(kv_store *s, kv_locked *file)
{
    char name[KV_NAME_BYTES];
    if (file->fd < 0)
        return;
    memcpy(name, file->name, sizeof name);
    if (!kv_locked_remove(file, &s->disk))
        log_warning("kv intent not removed: %s; the next start will take it for a crash", name);
    count(s, -1);
}

/* ---- those of processes that are gone ---- */

typedef struct intent_list {
    char (*names)[KV_NAME_BYTES];
    size_t n, capacity;
} intent_list;

static bool list_intent(void *user, const char *folder, const char *file)
{
    intent_list *list = user;
    if (strlen(folder) + 1 + strlen(file) >= KV_NAME_BYTES)
        return true; /* none of ours */
    if (list->n == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 16;
        void *grown = realloc(list->names, capacity * sizeof *list->names);
        if (!grown)
            return false;
        list->names = grown;
        list->capacity = capacity;
    }
    snprintf(list->names[list->n++], KV_NAME_BYTES, "%s/%s", folder, file);
    return true;
}

/* The process died before it had read the headers of some objects: which bytes they have is looked up now. */
static void fill_digests(kv_store *s, kv_intent *intent)
{
    uint8_t page[KV_HEADER_BYTES];
    char name[KV_NAME_BYTES];
    struct stat about;
    size_t n;
    kv_header *h = malloc(sizeof *h);
    for (uint32_t i = 0; h && i < intent->n_objects; i++) {
        kv_intent_object *o = &intent->objects[i];
        if (!hash_digest_equal(&o->digest, &no_digest))
            continue;
        kv_object_name(&o->key, (uint16_t)o->kind, name);
        if (kv_disk_stat(&s->disk, name, &about) &&
            kv_disk_read_small(&s->disk, name, page, sizeof page, &n, NULL) == DS4_OK &&
            kv_header_decode(h, page, n, (uint64_t)about.st_size).step == 0)
            o->digest = h->payload;
    }
    free(h);
}

/* Nothing tells a crash from a server at work: meanwhile lookups do not offer the objects. */
static void doubt(kv_store *s, const kv_intent *intent, uint64_t until_ns)
{
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < intent->n_objects; i++) {
        kv_object *o = kv_index_find(&s->index, &intent->objects[i].key);
        if (o)
            o->doubtful_until_ns = until_ns;
    }
    pthread_mutex_unlock(&s->lock);
}

/* True: the record is of no more use. */
static bool judge(kv_store *s, kv_intent *intent, bool certain)
{
    if (intent->writer == s->writer_id) /* this process wrote it, and is running */
        return false;
    const uint64_t now_ns = kv_now_ns();
    const uint64_t since_ns = intent->time_ns < now_ns ? intent->time_ns : now_ns;
    if (!certain && now_ns - since_ns < DOUBT_NS) {
        doubt(s, intent, since_ns + DOUBT_NS);
        return false;
    }
    /* In a read-only store the record stays, and is met again. */
    if (!s->disk.read_only || !kv_is_condemned(s, &intent->plan, &no_digest)) {
        fill_digests(s, intent);
        kv_condemn_objects(s, intent, KV_VERDICT_CRASH, "crash-on-use", 0.0);
    }
    return true;
}

static void settle(kv_store *s, const char *name)
{
    const size_t size_max = kv_intent_bytes(KV_INTENT_OBJECTS_MAX);
    kv_locked file;
    kv_intent intent = { 0 };
    size_t n = 0;
    if (kv_locked_open(&file, &s->disk, name, NULL) != DS4_OK)
        return;
    uint8_t *bytes = file.lock == KV_LOCK_BUSY ? NULL : malloc(size_max + 1);
    if (bytes && kv_locked_read(&file, bytes, size_max + 1, &n, NULL) == DS4_OK) {
        const ds4_status status = kv_intent_decode(&intent, bytes, n, NULL);
        const bool done = status == DS4_OK ? judge(s, &intent, intent.locked && file.lock == KV_LOCK_MINE)
                                           : status == DS4_ERR_CORRUPT;
        if (done && !s->disk.read_only)
            kv_disk_unlink(&s->disk, name, NULL);
        free(intent.objects);
    }
    free(bytes);
    kv_locked_close(&file);
}

void kv_intents_settle(kv_store *s)
{
    intent_list list = { 0 };
    kv_disk_list(&s->disk, "intent", list_intent, &list);
    for (size_t i = 0; i < list.n; i++)
        settle(s, list.names[i]);
    free(list.names);
}
