/* ds4/ds4.h - the public C API of libds4: load a model, hold conversations, keep their state on disk.
 *
 * Small on purpose: everything is an opaque handle, every struct is filled by its _default() function, every fallible
 * call returns a ds4_status (ds4/error.h). Strings are UTF-8 with a terminating 0 unless a size stands beside them.
 *
 * Threads: a ds4 may be used by any number of threads at once; requests run together in one batch. Callbacks run on the
 * engine's thread: they must be quick and must not call ds4_chat() or ds4_close(). */
#ifndef DS4_DS4_H
#define DS4_DS4_H

#include "ds4/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library's version, "0.1.0". */
DS4_API const char *ds4_version(void);

typedef struct ds4 ds4; /* a loaded model with its scheduler and store */

/* What the programs know as flags is named in parentheses where a message may advise it. */
typedef struct ds4_options {
    const char *model_path; /* a GGUF file; required */
    uint32_t n_ctx;         /* longest conversation in tokens, at most the trained context; 0: 32768, or that (--ctx) */
    uint32_t n_threads;     /* 0: automatic */
    uint32_t n_sequences;   /* conversations kept in memory and decoded together; default 4 */
    uint32_t prefill_chunk; /* tokens of a prompt per step; 0: default */
    uint32_t loop_tokens;   /* an answer that repeats itself so long ends; 0: 1024, UINT32_MAX: never (--loop-guard) */
    const char *kernels;    /* "scalar", "avx2", "avx512" or "neon"; NULL: the best that runs here (--kernels) */
    const char *tokenizer_pre;  /* overrides tokenizer.ggml.pre; NULL: what the file says (--tokenizer-pre) */
    const char *prompt_profile; /* "v4", "v4-0731" or "v4.1"; NULL: what the file's words say (--prompt-profile) */
    /* Numerics; false: as the official model computes. (--kv-rounding none, --index-rounding none, --act f32) */
    bool kv_unrounded, index_unrounded, act_f32;
    bool kv_rows_f32; /* cached rows in f32 (3.5 times the memory) although both roundings would let them be packed */
    /* Conversations on disk: private data. */
    const char *kv_disk_dir;    /* where they are kept; made (0700) if only its last part is missing. NULL: nowhere */
    uint64_t kv_disk_bytes;     /* budget of that directory; 0: default */
    uint64_t kv_min_free_bytes; /* left free on its disk; 0: default */
    uint32_t kv_segment_tokens, kv_min_tokens, kv_crash_strikes; /* 0: default */
    uint32_t kv_shutdown_ms;                                     /* how long ds4_close() may save; default 3000 */
    bool kv_read_only;                                           /* use what is there, write nothing */
} ds4_options;

DS4_API ds4_options ds4_options_default(void);

/* Loads the model and starts the engine's thread. *out is NULL after any error.
 * Errors: NOT_FOUND, IO, CORRUPT, UNSUPPORTED (the file), ARGUMENT (options), NO_MEMORY; the text names the file. */
DS4_API ds4_status ds4_open(ds4 **out, const ds4_options *options, ds4_error *err);
/* What became of the options. */
typedef struct ds4_about {
    uint32_t n_ctx, n_ctx_trained; /* n_ctx_trained 0: the file does not say */
    bool kv_in_use, kv_read_only;  /* not in use although a directory was named: the log says why */
} ds4_about;

DS4_API void ds4_get_about(const ds4 *d, ds4_about *out);
/* Cancels what runs, saves resident conversations, frees. NULL is fine.
 * Waits for kv_shutdown_ms, at least two seconds, for a cache directory that does not answer; then leaves the threads that it
 * keeps, and the memory that they may touch. */
DS4_API void ds4_close(ds4 *d);

/* One message of a conversation. */
typedef enum ds4_role { DS4_SYSTEM, DS4_USER, DS4_ASSISTANT } ds4_role;

typedef struct ds4_message {
    ds4_role role;
    const char *text;
    const char *reasoning; /* of an assistant, or NULL */
} ds4_message;

typedef enum ds4_text_kind { DS4_TEXT_REASONING, DS4_TEXT_CONTENT } ds4_text_kind;

typedef struct ds4_generation {
    bool think;          /* default true */
    uint32_t max_tokens; /* default: what the context holds */
    /* Tokens after which reasoning ends, where it can; 0: half of the context, at most 32768; UINT32_MAX: never. (--think-budget) */
    uint32_t think_budget;
    float temperature;  /* 0..2, default 1; 0: the most likely token */
    float top_p, min_p; /* 0..1, defaults 1 and 0.05 */
    uint64_t seed;      /* default: another one at each call of ds4_generation_default(); 0 is a seed like any other */
    void *user;         /* handed to on_text */
    /* A piece of the answer, valid UTF-8, not terminated. Return false to stop. NULL: only the result is wanted. */
    bool (*on_text)(void *user, ds4_text_kind kind, const char *text, size_t size);
    /* The prompt is being read: n_done of n_prompt tokens. Return false to stop. May be NULL. Both callbacks are called on
     * the engine's thread: they should return soon. */
    bool (*on_prompt)(void *user, uint32_t n_done, uint32_t n_prompt);
} ds4_generation;

DS4_API ds4_generation ds4_generation_default(void);

typedef struct ds4_result {
    char *content;                            /* the whole answer, terminated; free() it */
    char *reasoning;                          /* likewise; "" when there was none */
    uint32_t n_prompt, n_cached, n_generated; /* tokens; cached ones of the prompt were not evaluated again, and the
                                                 end mark of the answer does not count as generated */
    bool complete;                            /* the model ended its turn by itself */
    bool looped;                              /* ended because it repeated itself: the same tokens again and again */
} ds4_result;

/* Answers a conversation whose last message is the user's; returns when the answer is complete.
 * There are no tools here, so the token that begins a tool call is never sampled.
 * *result is the caller's to free with ds4_result_free(), also after an error (it holds what there was).
 * Errors: ARGUMENT (no message, too long: the text says the numbers; a number out of its range), CANCELLED (on_text said stop, or ds4_close()),
 * STATE_BAD, NO_MEMORY. */
DS4_API ds4_status ds4_chat(ds4 *d, const ds4_message *messages, size_t n_messages, const ds4_generation *generation,
                            ds4_result *result, ds4_error *err);
DS4_API void ds4_result_free(ds4_result *result);

/* Token ids of a text, as a model sees it inside a message: control tokens cannot be produced.
 * Writes up to `room` ids; *n is how many there are. Errors: NO_MEMORY. */
DS4_API ds4_status ds4_tokenize(ds4 *d, const char *text, size_t size, uint32_t *ids, size_t room, size_t *n,
                                ds4_error *err);

#ifdef __cplusplus
}
#endif
#endif
