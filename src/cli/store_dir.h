/* cli/store_dir.h - where conversations are kept when nobody names a directory: below the user's cache directory, as the XDG
 * base directory specification has it. */
#ifndef CLI_STORE_DIR_H
#define CLI_STORE_DIR_H

#include "ds4/error.h"

#include <limits.h>
#include <stdbool.h>

/* $XDG_CACHE_HOME/ds4/kv, or $HOME/.cache/ds4/kv where that is not set. What is missing is made, for this user alone (0700),
 * but no HOME is, and nothing in the HOME of somebody else (sudo keeps it). *made: the last part was missing.
 * Errors: NOT_FOUND (no such variable, or HOME is not there), UNSUPPORTED (of another user), IO and NO_SPACE (cannot be made). */
ds4_status store_dir_default(char out[PATH_MAX], bool *made, ds4_error *err);

#endif
