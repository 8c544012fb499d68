#include "kv/process.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file of the kernel's, cut at `size`; empty if it cannot be read. */
static void read_text(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "re");
    const size_t n = file ? fread(out, 1, size - 1, file) : 0;
    if (file)
        fclose(file);
    out[n] = 0;
}

/* Fields 3 and 22 of /proc/PID/stat; false if they cannot be had. */
static bool read_stat(uint64_t pid, char *state, uint64_t *started)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%" PRIu64 "/stat", pid);
    read_text(path, line, sizeof line);
    const char *at = strrchr(line, ')'); /* the name before it may hold anything */
    if (!at || at[1] != ' ')
        return false;
    *state = at[2];
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    *started = at ? strtoull(at, NULL, 10) : 0;
    return at != NULL;
}

uint64_t kv_process_started(void)
{
    char state;
    uint64_t started;
    return read_stat((uint64_t)getpid(), &state, &started) ? started : 0;
}

bool kv_process_lives(uint64_t pid, uint64_t started)
{
    char state;
    uint64_t since;
    if (pid == 0 || pid > INT32_MAX || (kill((pid_t)pid, 0) != 0 && errno == ESRCH))
        return false;
    if (!read_stat(pid, &state, &since))
        return true;
    return state != 'Z' && state != 'X' && (started == 0 || since == started);
}

void kv_boot_id(char out[KV_BOOT_BYTES])
{
    read_text("/proc/sys/kernel/random/boot_id", out, KV_BOOT_BYTES);
    out[strcspn(out, "\n")] = 0;
    if (!out[0])
        snprintf(out, KV_BOOT_BYTES, "unknown");
}
