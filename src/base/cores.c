#include "base/cores.h"

#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { CPUS_MAX = 4096 };

/* Reads the first line of root/path; false if there is none. */
static bool first_line(const char *root, const char *path, char *line, int size)
{
    char name[PATH_MAX];
    if (snprintf(name, sizeof name, "%s/%s", root, path) >= (int)sizeof name)
        return false;
    FILE *file = fopen(name, "re");
    if (!file)
        return false;
    const bool good = fgets(line, size, file) != NULL;
    fclose(file);
    return good;
}

/* Two processors of one core share its arithmetic units, and kernels keep those busy: the second adds little. A core counts
 * with the first of its processors (lists are ascending: "0-1", "0,64"); where that is not ours, it counts with each. */
static bool is_second_of_core(const char *root, unsigned cpu, const cpu_set_t *ours, size_t set_size)
{
    char path[96], line[64];
    unsigned first;
    snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
    if (!first_line(root, path, line, sizeof line) || sscanf(line, "%u", &first) != 1 || first >= CPUS_MAX)
        return false;
    return first != cpu && CPU_ISSET_S(first, set_size, ours);
}

static uint32_t physical_cores(const char *root)
{
    cpu_set_t set[CPUS_MAX / CPU_SETSIZE];
    uint32_t n = 0;
    CPU_ZERO_S(sizeof set, set);
    if (sched_getaffinity(0, sizeof set, set) != 0)
        return 1;
    for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++)
        n += CPU_ISSET_S(cpu, sizeof set, set) && !is_second_of_core(root, cpu, set, sizeof set);
    return n;
}

/* Processors' worth of time that the control group `path` allows; UINT32_MAX without a limit. A part counts as a whole. */
static uint32_t quota_of(const char *root, const char *path)
{
    char name[PATH_MAX], line[64];
    uint64_t quota, period;
    if (snprintf(name, sizeof name, "sys/fs/cgroup%s/cpu.max", path) >= (int)sizeof name ||
        !first_line(root, name, line, sizeof line) || sscanf(line, "%" SCNu64 " %" SCNu64, &quota, &period) != 2 ||
        period == 0)
        return UINT32_MAX; /* "max 100000" is not a number */
    const uint64_t n = quota / period + (quota % period != 0);
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

/* The least that this process's control group and those above it allow (version 2 of control groups). */
static uint32_t cgroup_quota(const char *root)
{
    char line[PATH_MAX];
    uint32_t least = UINT32_MAX;
    /* Only a system that has version 2 alone puts it into the first line; another one sets no cpu.max there. */
    if (!first_line(root, "proc/self/cgroup", line, sizeof line) || strncmp(line, "0::/", 4) != 0)
        return least;
    char *path = line + 3;
    path[strcspn(path, "\n")] = 0;
    for (;;) {
        const uint32_t quota = quota_of(root, path);
        least = quota < least ? quota : least;
        char *slash = strrchr(path, '/');
        if (!slash)
            return least;
        *slash = 0;
    }
}

uint32_t cores_usable_below(const char *root)
{
    const uint32_t n = physical_cores(root), quota = cgroup_quota(root), least = n < quota ? n : quota;
    return least ? least : 1;
}

uint32_t cores_usable(void)
{
    return cores_usable_below("");
}
