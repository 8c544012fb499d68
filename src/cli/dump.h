/* cli/dump.h - what `ds4` can print about a model and a prompt without a conversation. */
#ifndef CLI_DUMP_H
#define CLI_DUMP_H

#include "cli/common.h"

/* The tokens of the prompt as written, specials recognised: the id list, then a line per token. Exit code. */
int dump_tokens(const common_options *c, const char *prompt);
/* Name, sizes, layers, tensor types. Exit code. */
int dump_model(const common_options *c);

typedef struct dump_logprobs_options {
    const char *system, *prompt, *out_path; /* "-": stdout */
    bool think, raw;                        /* raw: no chat template around the prompt */
    uint32_t n_tokens, n_top;
} dump_logprobs_options;
/* JSON of a greedy continuation of the raw prompt, or of a chat with it, with the n_top alternatives of every token. */
int dump_logprobs(const common_options *c, const dump_logprobs_options *options);

#endif
