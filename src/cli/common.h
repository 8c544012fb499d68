/* cli/common.h - the options that the programs share, so that what one of them advises the others know, too. */
#ifndef CLI_COMMON_H
#define CLI_COMMON_H

#include "chat/chat.h"
#include "cli/options.h"
#include "engine/engine.h"
#include "model/model.h"

#include <limits.h>

typedef struct common_options {
    engine_options engine; /* complete after common_settle() */
    uint32_t space_mb, min_cached_tokens, prefill_chunk, loop_tokens;
    const char *model, *change_dir;
    int backend, kv_rounding, kv_rows, index_rounding, act, profile, log_level; /* which word */
    bool parity, cpu, verbose, no_store;
    /* Set by common_settle(). */
    char model_path[PATH_MAX], store_path[PATH_MAX];
    bool store_is_default, store_is_new;
} common_options;

common_options common_options_default(void);

/* Rows of a table of options; c: common_options *. */
/* clang-format off */
#define COMMON_MODEL_OPTIONS(c)                                                                                        \
    { OPTION_TEXT, "--model", "-m", "FILE", "GGUF file (default: ds4-mini)", &(c)->model, 0, 0 },                      \
    { OPTION_U32, "--threads", "-t", "N", "kernel threads (one per physical core)", &(c)->engine.n_threads, 1, 64 },   \
    { OPTION_WORD, "--backend", NULL, "cpu", "the only one of this build", &(c)->backend, 0, 0 },                      \
    { OPTION_FLAG, "--cpu", NULL, NULL, NULL, &(c)->cpu, 0, 0 },                                                       \
    { OPTION_WORD, "--kv-rounding", NULL, "official|none", "FP8 rounding of cached rows (official)",                   \
      &(c)->kv_rounding, 0, 0 },                                                                                       \
    { OPTION_WORD, "--index-rounding", NULL, "official|none", "FP4 rounding of the indexer (official)",                \
      &(c)->index_rounding, 0, 0 },                                                                                    \
    { OPTION_WORD, "--kv-rows", NULL, "auto|f32", "cached rows packed where both are official, or in f32 (auto)",       \
      &(c)->kv_rows, 0, 0 },                                                                                           \
    { OPTION_WORD, "--act", NULL, "q8|f32", "activations against 8-bit weights (q8)", &(c)->act, 0, 0 },               \
    { OPTION_FLAG, "--parity", NULL, NULL, "none, none and f32 of these three: for comparing with references",         \
      &(c)->parity, 0, 0 },                                                                                            \
    { OPTION_TEXT, "--kernels", NULL, "NAME", "scalar, avx2, avx512 or neon (the best that runs here)",                \
      &(c)->engine.kernels, 0, 0 }

#define COMMON_TEXT_OPTIONS(c)                                                                                         \
    { OPTION_U32, "--ctx", "-c", "N", "context in tokens (32768, or the trained context)",                             \
      &(c)->engine.n_ctx, 16, 1 << 30 },                                                                               \
    { OPTION_LIMIT, "--loop-guard", NULL, "N|none", "end an answer that repeats itself for N tokens (1024)",           \
      &(c)->loop_tokens, 64, 1 << 30 },                                                                                \
    { OPTION_U32, "--prefill-chunk", NULL, "N", "tokens of a prompt per step (512)", &(c)->prefill_chunk, 1, 65536 },  \
    { OPTION_TEXT, "--tokenizer-pre", NULL, "NAME", "overrides tokenizer.ggml.pre",                                    \
      &(c)->engine.tokenizer_pre, 0, 0 },                                                                              \
    { OPTION_WORD, "--prompt-profile", NULL, "auto|v4|v4-0731|v4.1", "template of the prompt (auto)",                  \
      &(c)->profile, 0, 0 },                                                                                           \
    { OPTION_TEXT, "--chdir", NULL, "DIR", "change to DIR before loading", &(c)->change_dir, 0, 0 }

#define COMMON_STORE_OPTIONS(c)                                                                                        \
    { OPTION_HEADING, "Conversations on disk: private data, in $XDG_CACHE_HOME/ds4/kv or ~/.cache/ds4/kv",             \
      NULL, NULL, NULL, NULL, 0, 0 },                                                                                  \
    { OPTION_FLAG, "--no-kv-disk", NULL, NULL, "keep none", &(c)->no_store, 0, 0 },                                    \
    { OPTION_TEXT, "--kv-disk-dir", "--kv-dir", "DIR", "keep them in DIR; made if only its last part is missing",      \
      &(c)->engine.kv_dir, 0, 0 },                                                                                     \
    { OPTION_U32, "--kv-disk-space-mb", NULL, "N",                                                                     \
      "budget in MiB (32 GiB, a tenth of the disk, a quarter of what is free)", &(c)->space_mb, 1, 1 << 30 },          \
    { OPTION_U64, "--kv-min-free", NULL, "BYTES", "left free on the disk (5 GiB, or 5 %)",                             \
      &(c)->engine.kv_min_free_bytes, 0, 0 },                                                                          \
    { OPTION_U32, "--kv-segment", NULL, "N", "tokens per segment (1024)",                                              \
      &(c)->engine.kv_segment_tokens, 1, 1 << 20 },                                                                    \
    { OPTION_U32, "--kv-cache-min-tokens", NULL, "N", "the smallest checkpoint that is worth keeping (8)" ,            \
      &(c)->min_cached_tokens, 1, 1 << 30 },                                                                           \
    { OPTION_U32, "--kv-crash-strikes", NULL, "N", "crashes while restoring that make a checkpoint guilty (1)",        \
      &(c)->engine.kv_crash_strikes, 1, 100 },                                                                         \
    { OPTION_U32, "--kv-shutdown-ms", NULL, "N", "how long saving may take at the end (3000)",                         \
      &(c)->engine.kv_shutdown_ms, 0, 3600000 },                                                                       \
    { OPTION_FLAG, "--kv-read-only", NULL, NULL, "use checkpoints, write none", &(c)->engine.kv_read_only, 0, 0 }

#define COMMON_LOG_OPTIONS(c, level)                                                                                   \
    { OPTION_WORD, "--log-level", NULL, "error|warning|info|debug", level, &(c)->log_level, 0, 0 },                    \
    { OPTION_FLAG, "--verbose", "-v", NULL, "the next level that says more: info, or debug", &(c)->verbose, 0, 0 }

/* Rows of a table of rules: what has no meaning beside --no-kv-disk. */
#define COMMON_STORE_RULES                                                                                             \
    { "--kv-disk-dir", RULE_EXCLUDES, "--no-kv-disk" },                                                                \
    { "--kv-disk-space-mb", RULE_EXCLUDES, "--no-kv-disk" },                                                           \
    { "--kv-min-free", RULE_EXCLUDES, "--no-kv-disk" },                                                                \
    { "--kv-segment", RULE_EXCLUDES, "--no-kv-disk" },                                                                 \
    { "--kv-cache-min-tokens", RULE_EXCLUDES, "--no-kv-disk" },                                                        \
    { "--kv-crash-strikes", RULE_EXCLUDES, "--no-kv-disk" },                                                           \
    { "--kv-shutdown-ms", RULE_EXCLUDES, "--no-kv-disk" },                                                             \
    { "--kv-read-only", RULE_EXCLUDES, "--no-kv-disk" }

/* clang-format on */

/* Level of the log, working directory, model file, numerics. 0, or complains like options_parse(). */
int common_settle(const char *program, common_options *c);
/* The directory of the store: the named one, the default one (made if it is missing), or none, which is said on stderr. Only for
 * a program that is about to keep conversations. 0, or complains. */
int common_settle_store(const char *program, common_options *c);
/* For programs that open a model alone. */
model_options common_model_options(const common_options *c);
/* The profile of the prompt: the one that was asked for, or what the model's own words say. */
chat_profile common_profile(const common_options *c, const engine *e);

#endif
