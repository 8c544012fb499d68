#include "kv/process.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file of the kernel's, cut at `size`; empty if it cannot be read. */
static void read_text(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "re");
    const size_t n = file ? fread(out, 1, size - 1, file) : 0;
    if (file)
        fclose(file);
    out[n] = 0;
}

uint64_t kv_process_started(uint64_t pid)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%" PRIu64 "/stat", pid);
    read_text(path, line, sizeof line);
    const char *at = strrchr(line, ')'); /* the name before it may hold anything */
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

void kv_boot_id(char out[KV_BOOT_BYTES])
{
    read_text("/proc/sys/kernel/random/boot_id", out, KV_BOOT_BYTES);
    out[strcspn(out, "\n")] = 0;
    if (!out[0])
        snprintf(out, KV_BOOT_BYTES, "unknown");
}
