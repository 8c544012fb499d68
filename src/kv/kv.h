/* kv/kv.h - checkpoints of sequences, in one directory. The module's public header.
 *
 * A checkpoint is a chain of immutable segments (rows of N tokens each) and a frontier (the small rolling state at one
 * position). This room stores rows as bytes in a layout it was told; it knows neither model nor engine.
 * Promises: docs/spec/kvstore.md (P1..P17). Format: docs/formats/kv-store.md.
 *
 * The way of a save (engine thread):
 *     kv_chain_extend() with every token the state took in
 *     kv_draft_segment() / kv_draft_frontier(), kv_draft_section() for each section and fill it, kv_draft_submit()
 * The way of a restore:
 *     kv_plan_find()                       an intent record, then reads and checks everything: blocks on the disk
 *     kv_plan_begin()                      the state is about to be touched
 *     ... upload the sections; kv_chain_adopt(); run the first chunk ...
 *     kv_plan_succeed()                    its values were finite
 *  or kv_plan_suspect(), a clean retry, then kv_plan_condemn() if that succeeded, else kv_plan_acquit()
 *     kv_plan_release()                    always
 *
 * Threads: a kv_store may be used by any number of threads at once. A chain, a draft and a plan belong to one thread
 * at a time and must be gone before kv_store_close().
 * Nothing here ever fails a request: every error of kv_plan_find() means "start clean", every error of a save means
 * "not saved"; both have already been counted. */
#ifndef KV_KV_H
#define KV_KV_H

#include "base/hash.h"
#include "ds4/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef hash_key kv_key;          /* names an object: BLAKE2b-256 of the tokens before and in it */
typedef struct kv_store kv_store; /* opaque: kv/store.h */
typedef struct kv_chain kv_chain; /* opaque: kv/chain.c */
typedef struct kv_draft kv_draft; /* opaque: kv/draft.c */
typedef struct kv_plan kv_plan;   /* opaque: kv/plan.c */

/* ---- what is stored: told, not known ---- */

/* Section types; the numbers are in the files. "tail": rows after the last whole segment. */
enum {
    KV_SECTION_TOKENS = 1,   /* u32 ids; written by the store itself */
    KV_SECTION_MEDIA = 2,    /* reserved */
    KV_SECTION_CSA_ROWS = 3, /* segment, or tail in a frontier; layer-major, then row order */
    KV_SECTION_IDX_ROWS = 4, /* the indexer keys of the same rows */
    KV_SECTION_HCA_ROWS = 5,
    KV_SECTION_WINDOW = 6, /* frontier only, like all that follow; logical order, oldest first */
    KV_SECTION_CSA_PEND = 7,
    KV_SECTION_IDX_PEND = 8,
    KV_SECTION_HCA_PEND = 9,
    KV_SECTION_CSA_OVL = 10,
    KV_SECTION_IDX_OVL = 11,
    KV_SECTION_LOGITS = 12,  /* n_vocab f32, optional */
    KV_SECTION_CHAIN = 13,   /* written by the store itself */
    KV_SECTION_ALIAS = 14,   /* reserved */
    KV_SECTION_TOOLMAP = 15, /* reserved */
    KV_SECTION_STATS = 16,   /* written by the store itself */
    KV_SECTION_TYPES = 17
};

/* Codec ids of the header (docs/formats/kv-store.md). This version writes and reads RAW32 and RAW16 as plain bytes. */
enum { KV_CODEC_RAW32 = 0, KV_CODEC_RAW16 = 1, KV_CODEC_V4P = 2 };

/* How one section type is treated; types 3..12 may be described. A type that is not described never occurs. */
typedef struct kv_section_rule {
    bool used;
    bool f32;          /* the bytes are f32: every value must be finite, at save and at load */
    uint32_t n_groups; /* STATS entries (largest magnitude, mean square), normally the layers; 0: none. Needs f32.
                        * Value i of n belongs to group i * n_groups / n, which is its layer when layers are equal. */
} kv_section_rule;

/* The shape of the stored state. Everything but rules and callback goes into each header and must be equal on load. */
typedef struct kv_layout {
    uint32_t n_layers, n_csa_layers, n_hca_layers, n_window_layers;
    uint32_t row_width, rope_width, index_width, window;
    uint32_t csa_ratio, hca_ratio, n_vocab, numerics_version;
    uint16_t codecs[6]; /* CSA, indexer, HCA, window, pending, logits */
    kv_section_rule rules[KV_SECTION_TYPES];
    /* The row algebra (V6): the exact byte count of a section, 0 if it must be absent.
     * Types 3..5: the rows that tokens [begin, end) complete, begin being a multiple of N. Types 6..11: the state at
     * position `end`; `begin` is the end of the stem. Not asked for LOGITS (n_vocab * 4 or absent).
     * Called from any thread, so it must be a pure function; `user` must live until kv_store_close() has returned true. */
    size_t (*section_bytes)(void *user, uint32_t type, uint64_t begin, uint64_t end);
    /* V7 of the sections that are not f32: whether the bytes hold values that can be computed with. NULL: not asked. Pure, any
     * thread. */
    bool (*section_valid)(void *user, uint32_t type, const void *bytes, size_t size);
    void *user;
} kv_layout;

/* ---- the store ---- */

typedef enum kv_durability {
    KV_DURABILITY_NONE, /* power loss may cost the last saves, nothing else */
    KV_DURABILITY_DATA, /* fdatasync of each object */
    KV_DURABILITY_FULL  /* and of its directory */
} kv_durability;

typedef struct kv_options {
    const char *dir; /* copied; made (0700) if absent; its parent must exist */
    kv_layout layout;
    uint8_t fingerprint[32]; /* identity of weights, tokenizer, numerics: other states are never used (P9) */
    /* Or what fills it in, when the directory has been opened and its notes can be read. An error ends kv_store_open(). */
    ds4_status (*identify)(void *user, kv_store *store, uint8_t fingerprint[32], ds4_error *err);
    void *identify_user;
    uint32_t segment_tokens; /* N >= 1: a multiple of every compression ratio, which the caller vouches for */
    uint64_t budget_bytes;   /* 0: min(32 GiB, 10 % of the file system, 25 % of what is free) */
    uint64_t min_free_bytes; /* what we leave free on the file system. 0: max(5 GiB, 5 %); 1: practically none */
    kv_durability durability;
    bool read_only;           /* nothing is written, not even intents */
    bool trust_group;         /* also load objects that belong to other users */
    uint32_t crash_strikes;   /* crashes in the middle of a restore that make it guilty; 0: 1 */
    uint32_t queue_jobs_max;  /* 0: 64 */
    uint64_t queue_bytes_max; /* 0: 512 MiB */
    int64_t evict_min_age_us; /* younger objects are not evicted; negative: 60 s */
    int64_t recreate_us;      /* a directory that vanished is looked for at most this often; negative: 10 s */
} kv_options;

kv_options kv_options_default(void); /* dir, layout, fingerprint and segment_tokens are the caller's to fill in */

/* Opens or makes the directory, settles the intents of dead processes (later each lookup does that), starts the writer
 * thread, and reads the index in the background. A directory that cannot be written is opened read-only with one warning in
 * the log.
 * Errors: ARGUMENT (options; not a directory; cannot be made), UNSUPPORTED (writable by group or world, owned by
 * somebody else, or of a later version: run without cache), IO, NO_MEMORY. */
ds4_status kv_store_open(kv_store **out, const kv_options *options, ds4_error *err);

/* The process is about to close the store, by `until_us` (clock_monotonic_us()): searches under way give up at their next step,
 * and kv_store_close() waits no longer than that. NULL is fine. */
void kv_store_hurry(kv_store *store, int64_t until_us);

/* Drains the writer's queue, newest frontiers with their segments first, until the queue is empty or `drain_us` have
 * passed; what is left is dropped. NULL is fine.
 * True: everything is freed. False: a disk that does not answer keeps a thread or a holder; one log line says so. The store then
 * frees itself if the disk ever answers, and until then `layout.user` must live on. Waits two seconds for them at least,
 * unless kv_store_hurry() says otherwise. */
bool kv_store_close(kv_store *store, int64_t drain_us);

/* For a thread that may be in a call here when the store is closed: the memory stays until it lets go. NULL is fine. */
kv_store *kv_store_hold(kv_store *store);
void kv_store_let_go(kv_store *store);

/* Waits until the background index is complete and everything submitted so far is published or dropped.
 * False when timeout_us passed first. */
bool kv_flush(kv_store *store, int64_t timeout_us);

/* The first 12 hex digits of the store's id, and whether it can be written; for start-up lines. */
void kv_store_describe(kv_store *store, char *out, size_t size);
bool kv_store_is_read_only(kv_store *store);

/* ---- notes: what the directory remembers about models ---- */

/* To the store both values are just bytes; src/engine/identity.c says what they mean. */
typedef struct kv_note {
    kv_key weights, id;
} kv_note;

/* NOT_FOUND (also when it is damaged: it is then removed), IO. Blocks on the disk, like the next. */
ds4_status kv_note_read(kv_store *store, const kv_key *name, kv_note *out);
/* Never replaces what is there. A failure costs the note, and a line in the log. */
void kv_note_write(kv_store *store, const kv_key *name, const kv_note *note);

/* ---- chains: the names of a token list, computed as it grows ---- */

/* A chain holds a copy of its tokens and one key for each whole segment. Keep one beside each sequence: what the
 * sequence's state has taken in, the chain has been extended with, no more and no less.
 * It also carries the lineage: which restore the state descends from (F48). A new or reset chain is its own. */
ds4_status kv_chain_new(kv_chain **out, kv_store *store, ds4_error *err); /* NO_MEMORY */
void kv_chain_free(kv_chain *chain);                                      /* NULL is fine */
ds4_status kv_chain_extend(kv_chain *chain, const uint32_t *tokens, size_t n,
                           ds4_error *err);                 /* NO_MEMORY: unchanged */
void kv_chain_truncate(kv_chain *chain, uint64_t n_tokens); /* after a rewind; beyond the end: nothing */
void kv_chain_reset(kv_chain *chain);                       /* to empty: a new lineage, and no longer tainted */
/* Becomes the chain of the restored state: the plan's tokens and lineage. NO_MEMORY: the chain is reset. */
ds4_status kv_chain_adopt(kv_chain *chain, const kv_plan *plan, ds4_error *err);
/* The state turned out to be non-finite: every draft is refused until kv_chain_reset() (F47). */
void kv_chain_taint(kv_chain *chain);

uint64_t kv_chain_segments(const kv_chain *chain); /* whole segments */
/* Hints, from memory only: is there no need to save this? False also when we do not know. Any N; never blocks long.
 * A segment that the state computed itself is to be saved even if the store has one of this name: the writer compares the
 * bytes, mends or replaces what differs, and only then knows what a frontier may be saved over. */
bool kv_chain_has_segment(kv_chain *chain, uint64_t i_segment);
bool kv_chain_has_frontier(kv_chain *chain); /* at the chain's length */
/* The key of the frontier at the chain's length. */
kv_key kv_chain_frontier_key(kv_chain *chain);

/* ---- saving ---- */

/* A draft is the image of one object in memory. Fill its sections, then submit it. Never touches the disk.
 * Errors: NO_SPACE (the queue is full, the store is read-only or backing off: skip this save), ARGUMENT (the position
 * disagrees with the chain; F8), STATE_BAD (tainted), NO_MEMORY. *out is NULL after any error. */
ds4_status kv_draft_segment(kv_draft **out, kv_chain *chain, uint64_t i_segment, ds4_error *err);
/* The frontier at `position`, which must be the chain's length and at least 1. `logits`: a LOGITS section will come. */
ds4_status kv_draft_frontier(kv_draft **out, kv_chain *chain, uint64_t position, bool logits, ds4_error *err);

/* Where to put the bytes of one section: exactly `size` bytes, 4096-aligned, zeroed, valid until the draft is submitted
 * or dropped. `size` is what the caller's own counters say; if the layout says otherwise the draft is refused
 * (ARGUMENT, F8). Every section whose size is not 0 has to be asked for, once. Size 0 is fine (*out is NULL) where the
 * layout agrees. */
ds4_status kv_draft_section(kv_draft *draft, uint32_t type, size_t size, void **out, ds4_error *err);

typedef enum kv_reason {
    KV_REASON_SEGMENT,
    KV_REASON_ANCHOR,
    KV_REASON_PROMPT,
    KV_REASON_TURN,
    KV_REASON_DISPLACED,
    KV_REASON_EXIT
} kv_reason;

typedef struct kv_save_info {
    kv_reason reason;
    uint64_t cost_us; /* what computing these tokens took (segment: its N tokens; frontier: the tail) */
    int64_t stall_us; /* how long the engine thread was held up by the export; for the log */
} kv_save_info;

/* Hands the draft to the writer thread, which checks, hashes and publishes it. Takes the draft in every case.
 * A full queue: a frontier replaces an older queued frontier of the same chain, a segment is dropped.
 * Errors: ARGUMENT (a section is missing; F8), NO_SPACE (dropped). */
ds4_status kv_draft_submit(kv_draft *draft, const kv_save_info *info, ds4_error *err);
void kv_draft_drop(kv_draft *draft); /* NULL is fine */

/* ---- restoring ---- */

typedef struct kv_section {
    uint32_t type;
    const void *bytes; /* 4096-aligned */
    size_t size;
} kv_section;

/* One verified object of a plan; lives until kv_plan_release(). */
typedef struct kv_part {
    kv_key key;
    hash_digest digest;              /* of the payload */
    uint64_t token_begin, token_end; /* a segment's tokens; a frontier: end of the stem, and the position */
    const kv_section *sections;      /* [n_sections], by ascending type; absent sections are not listed */
    uint32_t n_sections;
} kv_part;

/* The section of that type, or NULL. */
const kv_section *kv_part_section(const kv_part *part, uint32_t type);

/* Finds the longest checkpoint that is a prefix of tokens[n] (at position n itself only if it holds logits) and at least
 * min_tokens long, reads it and checks every byte. Objects that fail are removed from their place and the next best
 * checkpoint is tried. An intent record stands from before the first read until the verdict, and references are held until
 * kv_plan_release(): nothing of the plan is evicted.
 * `deadline_us`: clock_monotonic_us() after which it gives up between two reads; 0: none.
 * Errors: NOT_FOUND (a miss, the reason is in the log and the text), IO, NO_MEMORY, CANCELLED (deadline). All of them
 * mean: start clean. */
ds4_status kv_plan_find(kv_plan **out, kv_store *store, const uint32_t *tokens, size_t n, uint64_t min_tokens,
                        int64_t deadline_us, ds4_error *err);

uint64_t kv_plan_tokens(const kv_plan *plan);           /* the position that is restored */
const uint32_t *kv_plan_token_ids(const kv_plan *plan); /* [kv_plan_tokens()] */
uint64_t kv_plan_segments(const kv_plan *plan);
const kv_part *kv_plan_segment(const kv_plan *plan, uint64_t i_segment);
const kv_part *kv_plan_frontier(const kv_plan *plan);
/* One line for logs and errors: "n=81920 stem=80 tail=0 key=3fa9c1d2e4b0". */
void kv_plan_describe(const kv_plan *plan, char *out, size_t size);

/* From here on the state may be touched: if the process dies before the verdict, the next one knows why. Sees to it that the
 * intent record, which kv_plan_find() wrote, names the bytes that were read. On any error the plan must not be used (release
 * it and start clean). In a read-only store it does nothing. */
ds4_status kv_plan_begin(kv_plan *plan, ds4_error *err);
/* Finite values came out of the restored state: forgets the intent, notes the use, and frees the sections, which must have
 * been copied by now; a later verdict needs none of them. upload_us is for the log. */
void kv_plan_succeed(kv_plan *plan, int64_t upload_us);
/* Work on the restored state failed and a clean retry is about to start: one log line, and an intent on the disk until the
 * verdict, should the process not live to see it. */
void kv_plan_suspect(kv_plan *plan, ds4_status why, const char *detail);
/* Guilty: the clean retry succeeded (it took cost_us). All objects of the plan, and what was written from states
 * restored from it, leave their place and are remembered; the plan itself too (P3). */
void kv_plan_condemn(kv_plan *plan, ds4_status why, int64_t cost_us);
/* No verdict: cancelled, out of memory, or the clean retry failed alike. Forgets the intent; the objects stay in use. */
void kv_plan_acquit(kv_plan *plan);
void kv_plan_release(kv_plan *plan); /* NULL is fine. Without a verdict it counts as acquitted. */

/* ---- figures ---- */

enum { KV_STEPS = 10 }; /* V1..V9 of the read ladder at their numbers */
typedef enum kv_drop {
    KV_DROP_QUEUE,
    KV_DROP_COUNTERS,
    KV_DROP_NONFINITE,
    KV_DROP_TAINTED,
    KV_DROP_NO_STEM,
    KV_DROP_BUDGET,
    KV_DROP_FLOOR,
    KV_DROP_BACKOFF,
    KV_DROP_ERROR,
    KV_DROP_READ_ONLY,
    KV_DROP_SHUTDOWN,
    KV_DROPS
} kv_drop;
const char *kv_drop_word(kv_drop why); /* "queue", "counters", ... */
typedef enum kv_evict { KV_EVICT_BUDGET, KV_EVICT_FLOOR, KV_EVICT_ORPHAN, KV_EVICTS } kv_evict;
const char *kv_evict_word(kv_evict why);

/* Names: those of docs/spec/kvstore.md, section 14, with ds4_kv_ in front. *_total only grow. */
typedef struct kv_metrics {
    uint64_t lookup_exact_total, lookup_clean_total; /* lookup_total{result} */
    uint64_t restore_us_total, restores_total;       /* reading and checking */
    uint64_t restore_bytes_total, restored_tokens_total, saved_prefill_us_total;
    uint64_t object_rejected_total[KV_STEPS]; /* {step}; [0] is unused */
    uint64_t retry_clean_guilty_total, retry_clean_acquitted_total;
    uint64_t poisoned_total; /* verdicts on objects */
    uint64_t write_bytes_segment_total, write_bytes_frontier_total;
    uint64_t write_objects_total;
    uint64_t write_dropped_total[KV_DROPS]; /* {why} */
    uint64_t save_stall_us_total;
    uint64_t evicted_total[KV_EVICTS];                                /* {why} */
    uint64_t queue_bytes, queue_jobs;                                 /* now */
    uint64_t store_bytes, store_objects, foreign_bytes, budget_bytes; /* now */
    uint64_t free_bytes;     /* on the disk, as the store's own thread last saw it */
    uint64_t poison_records; /* now */
    uint64_t intents;        /* now: checkpoints of this server on trial, from the first read to the verdict */
    bool breaker_open, read_only, available; /* now; available: the directory is there */
} kv_metrics;

/* From memory: never waits for the disk. Figures that are the disk's are a moment old; asking has them looked up again. */
void kv_store_metrics(kv_store *store, kv_metrics *out);

#endif
