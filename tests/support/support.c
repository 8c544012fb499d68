#include "support/support.h"

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

test_random test_random_seeded(uint64_t seed)
{
    return (test_random){ seed * 0x9E3779B97F4A7C15u + 0x1234567u };
}

uint64_t test_random_u64(test_random *r)
{
    if (r->state == 0)
        r->state = 0x9E3779B97F4A7C15u;
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * 0x2545F4914F6CDD1Du;
}

uint32_t test_random_below(test_random *r, uint32_t n)
{
    return (uint32_t)((test_random_u64(r) >> 32) % n);
}

float test_random_normal(test_random *r)
{
    const double u = ((double)(test_random_u64(r) >> 11) + 0.5) / 9007199254740992.0;
    const double v = ((double)(test_random_u64(r) >> 11) + 0.5) / 9007199254740992.0;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

float *test_random_f32(size_t n, uint64_t seed)
{
    test_random r = test_random_seeded(seed);
    float *out = malloc((n ? n : 1) * sizeof *out);
    for (size_t i = 0; i < n; i++)
        out[i] = test_random_normal(&r);
    return out;
}

static void die(const char *what, const char *path)
{
    perror(path);
    fprintf(stderr, "test support: cannot %s %s\n", what, path);
    abort();
}

static int remove_entry(const char *path, const struct stat *about, int type, struct FTW *where)
{
    (void)about, (void)type, (void)where;
    return remove(path);
}

void test_remove_tree(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_empty_folder(const char *path)
{
    char part[1024];
    test_remove_tree(path);
    snprintf(part, sizeof part, "%s", path);
    for (char *at = part + 1; *at; at++)
        if (*at == '/') {
            *at = 0;
            mkdir(part, 0700);
            *at = '/';
        }
    if (mkdir(path, 0700) != 0)
        die("make folder", path);
    return path;
}

char *test_read_file(const char *path, size_t *size)
{
    FILE *in = fopen(path, "rb");
    if (!in || fseek(in, 0, SEEK_END) != 0)
        die("read", path);
    const long n = ftell(in);
    rewind(in);
    char *bytes = malloc((size_t)n + 1);
    if (!bytes || fread(bytes, 1, (size_t)n, in) != (size_t)n)
        die("read", path);
    bytes[n] = 0;
    fclose(in);
    if (size)
        *size = (size_t)n;
    return bytes;
}

void test_write_file(const char *path, const void *bytes, size_t size)
{
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(bytes, 1, size, out) != size || fclose(out) != 0)
        die("write", path);
}
