/* engine/identity.h - which weights a store's states were computed with: docs/spec/kvstore.md, section 10. */
#ifndef ENGINE_IDENTITY_H
#define ENGINE_IDENTITY_H

#include "kv/kv.h"
#include "model/model.h"

typedef struct identity identity; /* finding it out in the background: opaque, identity.c */

/* The 32 bytes that stand for the model's weights in `store`, from its notes if they are there.
 * Otherwise models of up to `at_once_bytes`, and those of a store that may not be written, are read now. For others the
 * answer is provisional, good for this file as it is now, and *job is what has to be found out: start it, or drop it.
 * Errors: IO (the file was changed meanwhile), NO_MEMORY. */
ds4_status identity_find(hash_key *out, identity **job, const model *m, kv_store *store, uint64_t at_once_bytes,
                         ds4_error *err);
/* Reads the model in the background, at the lowest priority, and writes the store's notes for the next start. Model and store
 * must live until identity_stop(). Without a thread it is left to the next start. */
void identity_start(identity *job);
/* Ends it, finished or not, and frees it; NULL is fine. False: a disk that does not answer keeps the thread: then the model
 * must stay where it is. */
bool identity_stop(identity *job, int64_t until_us);

#endif
