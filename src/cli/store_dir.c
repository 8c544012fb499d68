#include "cli/store_dir.h"

#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The variable's value if it is an absolute path: the specification has others ignored. */
static const char *absolute(const char *variable)
{
    const char *path = getenv(variable);
    return path && path[0] == '/' ? path : NULL;
}

/* Makes what is missing of `path`, a part at a time, from the one that begins at `from`. */
static ds4_status make_parts(char *path, size_t from, bool *made, ds4_error *err)
{
    for (char *end = path + from;; end++) {
        const char c = *end;
        if (c != '/' && c != 0)
            continue;
        *end = 0;
        *made = mkdir(path, 0700) == 0;
        if (!*made && errno != EEXIST)
            return ds4_fail(err, errno == ENOSPC || errno == EDQUOT ? DS4_ERR_NO_SPACE : DS4_ERR_IO,
                            "%.160s cannot be made: %s", path, strerror(errno));
        if (*made)
            file_sync_parent(path); /* a power failure must not take the whole cache along */
        *end = c;
        if (c == 0)
            return DS4_OK;
    }
}

ds4_status store_dir_default(char out[PATH_MAX], bool *made, ds4_error *err)
{
    const char *cache = absolute("XDG_CACHE_HOME"), *home = absolute("HOME");
    struct stat about;
    *made = false;
    if (!cache && !home)
        return ds4_fail(err, DS4_ERR_NOT_FOUND, "neither XDG_CACHE_HOME nor HOME names a directory");
    if (!cache && stat(home, &about) != 0)
        return ds4_fail(err, DS4_ERR_NOT_FOUND, "HOME (%.160s): %s", home, strerror(errno));
    if (!cache && about.st_uid != geteuid())
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "HOME (%.160s) belongs to another user", home);
    const int n =
        cache ? snprintf(out, PATH_MAX, "%s/ds4/kv", cache) : snprintf(out, PATH_MAX, "%s/.cache/ds4/kv", home);
    if (n < 0 || n >= PATH_MAX)
        return ds4_fail(err, DS4_ERR_UNSUPPORTED, "the path of the cache directory is too long");
    const ds4_status status = make_parts(out, cache ? 1 : strlen(home) + 1, made, err);
    if (status != DS4_OK)
        return status;
    if (stat(out, &about) != 0)
        return ds4_fail_errno(err, out);
    return S_ISDIR(about.st_mode) ? DS4_OK : ds4_fail(err, DS4_ERR_UNSUPPORTED, "%.160s is not a directory", out);
}
