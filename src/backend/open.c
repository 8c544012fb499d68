/* backend/open.c - backends by name. */
#include "backend/backend.h"

#include <string.h>

static const struct {
    const char *name;
    ds4_status (*open)(backend **out, const backend_options *options, ds4_error *err);
} known[] = {
    { "cpu", backend_cpu_open },
};

ds4_status backend_open(backend **out, const char *name, const backend_options *options, ds4_error *err)
{
    *out = NULL;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].open(out, options, err);
    return ds4_fail(err, DS4_ERR_ARGUMENT, "there is no backend '%.40s'", name);
}
