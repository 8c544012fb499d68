/* kv/store.h - internal: the store's parts and who may touch them.
 *
 *   chain.c    names of tokens         draft.c  images to save            writer.c  the thread that publishes them
 *   find.c     looking for a prefix    read.c   the ladder V1..V8         plan.c    what was found, in use and on trial
 *   verdict.c  negative memory         intent.c what is on trial        small.c   records, and the locks of their writers
 *   index.c    what is there (heap.c)  evict.c  what must go              sweep.c   what is left over
 *   scan.c     the index at start      disk.c   the directory             publish.c how an object gets its name
 *   layout.c   what objects must hold  header.c, record.c  bytes          key.c     names
 *   note.c     about models
 *
 * Locks: `lock` alone, and nothing slow under it: no file is touched while it is held. */
#ifndef KV_STORE_H
#define KV_STORE_H

#include "kv/disk.h"
#include "kv/header.h"
#include "kv/heap.h"
#include "kv/key.h"
#include "kv/record.h"

#include <pthread.h>

/* ---- index: index.c; all of it under the store's lock, and no call takes longer than a stem is long ---- */
typedef struct kv_object {
    kv_heap_node node;        /* first: see kv/heap.h */
    kv_heap *heap;            /* the one it is in; NULL: it may not be evicted */
    struct kv_object *next;   /* in its slot */
    struct kv_object *parent; /* the segment below it, known or not; NULL if this one is not known */
    kv_key key;
    bool known; /* false: only a name that children refer to */
    bool logits;
    bool excluded;              /* not to be used or written: suspected, or a file that could not be removed */
    uint64_t doubtful_until_ns; /* not to be used before: perhaps a process died over it (intent.c) */
    uint16_t kind;
    hash_digest digest;
    uint64_t begin, end, bytes, created_ns, lineage, cost_us;
    double hits_short, hits_long; /* decayed to hit_ns */
    uint64_t hit_ns;
    uint32_t references;              /* of plans, and of the writer */
    uint32_t n_children, n_frontiers; /* on top of this segment; frontiers among the children */
} kv_object;

enum { KV_SHARDS = 256 }; /* by the first byte of the key, like the folders on the disk */

typedef struct kv_shard {
    kv_object **slots; /* [n_slots], a power of two */
    size_t n_slots, n;
    kv_heap young, leaves; /* what may be evicted: by age, and once it is old enough, by value */
} kv_shard;

typedef struct kv_index {
    kv_shard shards[KV_SHARDS];
    size_t n;
    uint64_t bytes, ranked_ns;
} kv_index;

kv_object *kv_index_find(const kv_index *index, const kv_key *key);
bool kv_index_add(kv_index *index, const kv_header *header); /* or updates it; false: no memory */
void kv_index_remove(kv_index *index, const kv_key *key);
/* Not to be offered or written again; remembered even if it was not known. */
void kv_index_exclude(kv_index *index, const kv_key *key, uint16_t kind);
/* Whether lookups may offer it; nothing if it is not known. */
void kv_index_suspect(kv_index *index, const kv_key *key, bool excluded);
/* An object with references is not evicted. */
void kv_index_hold(kv_index *index, const kv_key *key, int delta);
void kv_index_free(kv_index *index);                                     /* takes long: not under the lock */
void kv_index_hit(kv_index *index, const kv_key *key, uint64_t time_ns); /* and its whole stem */
size_t kv_index_frontiers_on(const kv_index *index, const kv_key *stem);
/* The least valuable object that may go; *out NULL: there is none. False: call again, it would take too long at once. */
bool kv_index_victim(kv_index *index, uint64_t now_ns, uint64_t min_age_ns, kv_object **out);
/* Values fall at different speeds: the order of the leaves on one shard, anew. */
void kv_index_rank(kv_index *index, uint8_t shard, uint64_t now_ns);
double kv_object_score(const kv_object *object, uint64_t now_ns);
/* The score that an object would have right after being written. */
double kv_fresh_score(uint16_t kind, uint64_t cost_us, uint64_t bytes);

/* ---- negative memory: verdict.c; all of it under the store's lock ---- */
enum { VERDICTS_MAX = 4096, VERDICT_SLOTS = 4096, LINEAGES_MAX = 64, BREAKER_VERDICTS = 3 };

/* (F48) What was written from states of this lineage since then descends from a condemned restore. */
typedef struct kv_bad_lineage {
    uint64_t lineage, since_ns;
} kv_bad_lineage;

typedef struct kv_remembered {
    kv_heap_node node; /* by time */
    struct kv_remembered *next;
    kv_verdict verdict;
} kv_remembered;

typedef struct kv_verdicts {
    kv_remembered *slots[VERDICT_SLOTS];   /* by key */
    kv_heap by_time;                       /* the oldest is on top */
    kv_bad_lineage lineages[LINEAGES_MAX]; /* the last ones, a ring */
    size_t n_lineages;                     /* ever */
} kv_verdicts;

/* ---- what was read of o/xx: scan.c; under the store's lock ---- */
typedef struct kv_listing {
    struct timespec changed; /* of the folder, when it was listed; zero: list it anew, and read all */
    bool settled;            /* long enough ago that a later change must show in its time */
    uint64_t foreign_bytes;
} kv_listing;

/* ---- stems: chain.c ---- */

/* What the segments of one chain hold: their payload digests, known from the restore, or from the writer once it has hashed
 * them. Other kernels give the same tokens the same name and other bytes, and a frontier is good only over the bytes that it
 * was computed from. Shared by a chain and its drafts; under the store's lock. */
typedef struct kv_stem {
    unsigned references;
    struct kv_stem_entry {
        kv_key key; /* zero: not known */
        hash_digest digest;
    } * entries;
    size_t capacity;
} kv_stem;

void kv_stem_release(kv_store *s, kv_stem *stem); /* takes the lock; NULL is fine */
void kv_stem_set(kv_stem *stem, size_t i, const kv_key *key, const hash_digest *digest);
/* The digest of segment i, which has this key; NULL: not known. */
const hash_digest *kv_stem_digest(const kv_stem *stem, size_t i, const kv_key *key);

/* ---- jobs: draft.c, writer.c ---- */
struct kv_draft {
    kv_draft *next;
    kv_store *store;
    kv_chain *chain; /* identity only: may be gone by the time the writer sees it */
    kv_stem *stem;
    kv_extent extent;
    kv_key key, parent;
    kv_key *ancestors; /* [n_ancestors] of a frontier, for its CHAIN section */
    size_t n_ancestors;
    uint64_t lineage;
    uint8_t *image; /* header page and sections, as they will stand in the file */
    uint64_t image_bytes;
    uint64_t offsets[KV_SECTION_TYPES], sizes[KV_SECTION_TYPES];
    bool asked[KV_SECTION_TYPES];
    kv_save_info info;
};

struct kv_store {
    /* Set by kv_store_open(), constant afterwards. */
    kv_options options;
    kv_key secret, root;
    kv_store_record record;
    uint64_t writer_id;
    pthread_t writer, scanner;
    bool has_writer, has_scanner, opened;
    kv_disk disk;        /* has its own rules: kv/disk.h */
    atomic_bool leaving; /* searches give up */

    /* Guarded by `lock`. `changed` is signalled for the writer, and for those who wait for queue or scan. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    kv_index index;
    kv_listing listings[KV_SHARDS];
    kv_verdicts verdicts;
    kv_metrics metrics;
    kv_draft *head, *tail; /* the writer's queue */
    kv_draft *writing;
    bool scanned, stopping, dropping;
    bool figures_wanted;    /* somebody asked for them */
    uint32_t n_holders;     /* the owner, the threads, and who asked: the last one frees */
    int64_t hurry_until_us; /* 0: no hurry */
    uint64_t backoff_until_us, backoff_us;
    uint64_t n_intents; /* ever: the number of the last one */
    bool warned_of_locks;
};

/* ---- read ladder: read.c ---- */
typedef struct kv_loaded {
    kv_header header;
    uint8_t *payload; /* [file_bytes - 4096], 4096-aligned */
    kv_section *sections;
    kv_part part;
} kv_loaded;

/* Reads and checks one object (V1..V8), V4 against `tokens`. On failure acts as the ladder says: removes, quarantines or
 * ignores, counts, logs once. Errors: NOT_FOUND (gone), CORRUPT (any step), IO, NO_MEMORY. */
ds4_status kv_load(kv_loaded *out, kv_store *s, const kv_key *key, const kv_key *parent, uint16_t kind, uint64_t begin,
                   uint64_t end, const uint32_t *tokens, ds4_error *err);
void kv_loaded_free(kv_loaded *loaded);
/* Acts on a finding about an object: out of its place, or never offered again; counts and logs. Takes the lock. */
void kv_reject(kv_store *s, const kv_key *key, uint16_t kind, kv_finding finding);

/* STATS of a section (f32 values): per group largest magnitude and mean square. false: a value is not finite. */
bool kv_section_stats(const void *bytes, size_t size, uint32_t n_groups, float *out);

/* ---- plans: find.c, plan.c ---- */
struct kv_plan {
    kv_store *store;
    uint32_t *tokens; /* [n_tokens] */
    uint64_t n_tokens;
    kv_loaded *segments; /* [n_segments]; their bytes are freed when the plan has succeeded */
    uint64_t n_segments;
    kv_loaded frontier;
    kv_key name;
    kv_locked intent;     /* .fd < 0: none on the disk */
    bool intent_complete; /* it names the bytes that were read */
    uint64_t begun_ns;
    int64_t read_us;
    uint64_t bytes, saved_us;
    bool suspected;
};
void kv_plan_hold(kv_plan *plan, int delta); /* references on all its objects: none of them is evicted */

struct kv_chain {
    kv_store *store;
    uint32_t *tokens; /* [n] */
    kv_key *keys;     /* [n / N] */
    size_t n, capacity;
    kv_stem *stem; /* NULL: no memory for it at the last reset */
    uint64_t lineage;
    bool tainted;
};

/* ---- the others ---- */
void kv_refresh_figures(kv_store *s); /* asks the disk */
void *kv_writer_main(void *store);
void *kv_scanner_main(void *store);
/* Evicts until the draft fits, but nothing that it stands on. False: it is worth less than what is there. Writer thread. */
bool kv_make_room(kv_store *s, const kv_draft *draft, kv_drop *why);
void kv_draft_free(kv_draft *draft);
void kv_count_drop(kv_store *s, kv_drop why);

void kv_verdicts_load(kv_store *s);
void kv_verdicts_free(kv_verdicts *all);
/* Takes the lock. The first asks memory; the second also the disk, where other servers write. */
bool kv_is_condemned(kv_store *s, const kv_key *key, const hash_digest *digest);
bool kv_was_condemned(kv_store *s, const kv_key *key, const hash_digest *digest);
bool kv_breaker_open(kv_store *s); /* takes the lock */
/* Under the lock: does what was written then from a state of this lineage descend from a condemned restore? */
bool kv_is_descendant(const kv_store *s, uint64_t lineage, uint64_t created_ns);
/* A re-made object had the condemned bytes: it was innocent. */
void kv_verdict_lift(kv_store *s, const kv_key *key, const hash_digest *digest);
/* All objects out of their places, verdicts written, descendants too; one log line. */
void kv_condemn_objects(kv_store *s, const kv_intent *intent, uint32_t reason, const char *retry, double cost_s);

/* ---- intents: intent.c ---- */
/* Puts a record on the disk, in place of the one in `file` if there is one. Fills in pid and locked. On failure `file` is as
 * it was. */
ds4_status kv_intent_write(kv_store *s, kv_locked *file, kv_intent *intent, ds4_error *err);
void kv_intent_withdraw(kv_store *s, kv_locked *file); /* KV_LOCKED_NONE is fine */
/* Those of processes that are gone: crashes on use. */
void kv_intents_settle(kv_store *s);

void kv_sweep(kv_store *s); /* before any thread is started */
void kv_trim_quarantine(kv_store *s);
/* The directory is another one, or empty: what was known about its files is void. Writer thread, or a read-only store. */
void kv_directory_renewed(kv_store *s);
void kv_scan(kv_store *s); /* reads every header into the index */
/* Looks for what other servers have written since; gives up at deadline_us (0: never). Helper threads. */
void kv_scan_new(kv_store *s, int64_t deadline_us);

uint64_t kv_now_ns(void); /* wall clock, with the fault point `clock` */

#endif
