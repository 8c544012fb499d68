#include "cli/startup.h"

#include "base/fault.h"
#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ds4_status startup(ds4_error *err)
{
#ifdef DS4_KV_FAULTS
    const char *seed = getenv("DS4_KV_SEED");
    const ds4_status status =
        fault_configure(getenv("DS4_KV_FAULT"), seed ? strtoull(seed, NULL, 10) : 1, getenv("DS4_KV_FAULT_LOG"), err);
    if (status != DS4_OK)
        return status;
#endif
    return hash_start(err);
}

const char *startup_default_model(char *out, size_t size)
{
    char program[4096];
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n > 0) {
        program[n] = 0;
        for (int i = 0; i < 2; i++) { /* PREFIX/bin/ds4 -> PREFIX */
            char *slash = strrchr(program, '/');
            if (slash)
                *slash = 0;
        }
        if (snprintf(out, size, "%s/share/ds4/ds4-mini.gguf", program) < (int)size && access(out, R_OK) == 0)
            return out;
    }
    snprintf(out, size, "%s", DS4_DEFAULT_MODEL);
    return out;
}

chat_profile startup_profile(const engine *e)
{
    const engine_about *about = engine_get_about(e);
    const slice texts[3] = { about->name, about->version, about->finetune };
    char *words[3];
    for (int i = 0; i < 3; i++)
        words[i] = strndup(texts[i].data ? texts[i].data : "", texts[i].size);
    const chat_profile profile = chat_profile_detect(words[0], words[1], words[2], about->file_name);
    for (int i = 0; i < 3; i++)
        free(words[i]);
    return profile;
}

void startup_complain(const char *program, const char *file, const char *text)
{
    const char *advice = strstr(text, "; ");
    const int n = advice ? (int)(advice - text) : (int)strlen(text);
    fprintf(stderr, "%s: %s%s%.*s\n", program, file ? file : "", file ? ": " : "", n, text);
    if (advice)
        fprintf(stderr, "%*s  %s\n", (int)strlen(program), "", advice + 2);
}
