/* cli/dump.h - what `ds4` can print about a model and a prompt without a conversation. */
#ifndef CLI_DUMP_H
#define CLI_DUMP_H

#include <stdint.h>

/* The tokens of the prompt as written, specials recognised: the id list, then a line per token. Exit code. */
int dump_tokens(const char *model_path, const char *prompt);
/* Name, sizes, layers, tensor types. Exit code. */
int dump_model(const char *model_path);
/* JSON of a greedy continuation of the raw prompt, or of a chat with it, with the n_top alternatives of every token. */
int dump_logprobs(const char *model_path, uint32_t n_ctx, uint32_t n_threads, const char *system, const char *prompt,
                  int think, int raw, uint32_t n_tokens, uint32_t n_top, const char *out_path);

#endif
