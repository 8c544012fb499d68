#include "cli/startup.h"

#include "base/fault.h"
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Check 38 of docs/spec/weights.md. Model files are all that is mapped, so nothing else can be meant. */
static void on_lost_page(int number)
{
    static const char words[] = "ds4: the model file was truncated while in use\n";
    (void)number;
    if (write(STDERR_FILENO, words, sizeof words - 1) < 0) { /* nobody is left to tell */
    }
    _exit(1);
}

void startup_open_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) /* gets the lowest free number: this one */
            return;
}

ds4_status startup(ds4_error *err)
{
    const struct sigaction action = { .sa_handler = on_lost_page };
    sigaction(SIGBUS, &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a log or a dump that reaches the file-size limit is a write that fails */
#ifdef DS4_KV_FAULTS
    const char *seed = getenv("DS4_KV_SEED");
    const ds4_status status =
        fault_configure(getenv("DS4_KV_FAULT"), seed ? strtoull(seed, NULL, 10) : 1, getenv("DS4_KV_FAULT_LOG"), err);
    if (status != DS4_OK)
        return status;
#endif
    return hash_start(err);
}

bool startup_default_model(const char *program, char *out, size_t size)
{
    char self[PATH_MAX], path[PATH_MAX + sizeof DS4_MODEL_INSTALLED + sizeof DS4_MODEL_BUILT], real[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = 0;
    char *slash = strrchr(self, '/');
    if (slash)
        slash[1] = 0;
    snprintf(path, sizeof path, "%s" DS4_MODEL_INSTALLED, self);
    if (access(path, R_OK) != 0)
        snprintf(path, sizeof path, "%s" DS4_MODEL_BUILT, self);
    const bool found = realpath(path, real) != NULL; /* without its detours */
    snprintf(out, size, "%s", found ? real : path);
    if (!found) {
        char line[128];
        snprintf(line, sizeof line, "the default model cannot be opened: %s; give -m FILE", strerror(errno));
        startup_complain(program, path, line);
    }
    return found;
}

chat_profile startup_profile(const engine *e)
{
    const engine_about *about = engine_get_about(e);
    return chat_profile_detect(about->name, about->version, about->finetune, slice_of(about->file_name));
}

void startup_complain(const char *program, const char *file, const char *text)
{
    const char *advice = strstr(text, "; ");
    const int n = advice ? (int)(advice - text) : (int)strlen(text);
    fprintf(stderr, "%s: %s%s%.*s\n", program, file ? file : "", file ? ": " : "", n, text);
    if (advice)
        fprintf(stderr, "%*s  %s\n", (int)strlen(program), "", advice + 2);
}
