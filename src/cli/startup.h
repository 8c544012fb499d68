/* cli/startup.h - what every program does before it works: hashes, signals, fault plans of test builds, the default model. */
#ifndef CLI_STARTUP_H
#define CLI_STARTUP_H

#include "chat/chat.h"
#include "engine/engine.h"

#include <stdbool.h>
#include <stddef.h>

/* First of all. Opens /dev/null on what of stdin, stdout and stderr was closed: the next socket or file would get their number, and
 * the log with it. Keeps the allocator from reserving 64 MiB of addresses for each thread, which a limit (ulimit -v) counts. */
void startup_process(void);
/* Prepares hashing and a last word for a model file that is cut off while it is mapped, and in builds with fault points reads DS4_KV_FAULT, DS4_KV_FAULT_LOG and DS4_KV_SEED. */
ds4_status startup(ds4_error *err);
/* The embedded model, looked for from the program's own place: share/ds4/ds4-mini.gguf of the prefix where it is installed,
 * or models/ds4-mini.gguf of the source tree in whose build folder it is. False after saying that it is not there. */
bool startup_default_model(const char *program, char *out, size_t size);
/* The prompt profile that the model's own words ask for. */
chat_profile startup_profile(const engine *e);
/* "ds4: FILE: text" on stderr, advice after the first "; " on a line of its own. */
void startup_complain(const char *program, const char *file, const char *text);

#endif
