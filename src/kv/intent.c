/* Intents of processes that are gone: what they name was being used when they died (P3). */
#include "kv/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const hash_digest no_digest;

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

static void settle(kv_store *s, const char *name, uint64_t min_age_ns)
{
    const size_t size_max = kv_intent_bytes(KV_INTENT_OBJECTS_MAX);
    uint8_t *bytes = malloc(size_max + 1);
    kv_intent intent = { 0 };
    size_t n = 0;
    if (bytes && kv_disk_read_small(&s->disk, name, bytes, size_max + 1, &n, NULL) == DS4_OK) {
        const ds4_status status = kv_intent_decode(&intent, bytes, n, NULL);
        const uint64_t now_ns = kv_now_ns();
        const bool young = now_ns < intent.time_ns || now_ns - intent.time_ns < min_age_ns;
        /* The kernel's boot id is part of the name: a process number of another boot says nothing. */
        const bool alive = strstr(name, s->boot) &&
                           (intent.writer == s->writer_id || kv_process_lives(intent.pid, intent.pid_started));
        const bool wait = status == DS4_OK && (alive || (min_age_ns && young));
        /* In a read-only store the record stays, and is met again. */
        if (status == DS4_OK && !wait && !(s->disk.read_only && kv_is_condemned(s, &intent.plan, &no_digest)))
            kv_condemn_objects(s, &intent, KV_VERDICT_CRASH, "crash-on-use", 0.0);
        if (!wait && status != DS4_ERR_NO_MEMORY && !s->disk.read_only)
            kv_disk_unlink(&s->disk, name, NULL);
        free(intent.objects);
    }
    free(bytes);
}

void kv_intents_settle(kv_store *s, uint64_t min_age_ns)
{
    intent_list list = { 0 };
    kv_disk_list(&s->disk, "intent", list_intent, &list);
    for (size_t i = 0; i < list.n; i++)
        settle(s, list.names[i], min_age_ns);
    free(list.names);
}
