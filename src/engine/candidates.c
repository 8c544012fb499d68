#include "engine/candidates.h"

#include <string.h>

candidate candidate_of(float logit, uint32_t id)
{
    const float canonical = logit + 0.0f; /* -0 and 0 are equal */
    uint32_t bits;
    memcpy(&bits, &canonical, sizeof bits);
    /* As unsigned numbers, the bits of positive floats ascend with their value and those of negative ones descend. */
    const uint32_t descending = bits & 0x80000000 ? bits : ~bits & 0x7fffffff;
    return (candidate)descending << 32 | id;
}

static void swap(candidate *a, candidate *b)
{
    const candidate c = *a;
    *a = *b;
    *b = c;
}

/* Moves c[i] down to where no child is larger. */
static void sift_down(candidate *c, size_t n, size_t i)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && c[child + 1] > c[child])
            child++;
        if (c[child] <= c[i])
            return;
        swap(&c[child], &c[i]);
    }
}

void candidates_select(candidate *c, size_t n, size_t n_best)
{
    if (n_best == 0)
        return;
    /* A heap of the best so far, its root the worst of them. */
    for (size_t i = n_best / 2; i-- > 0;)
        sift_down(c, n_best, i);
    for (size_t i = n_best; i < n; i++)
        if (c[i] < c[0]) {
            swap(&c[i], &c[0]);
            sift_down(c, n_best, 0);
        }
    for (size_t left = n_best - 1; left > 0; left--) {
        swap(&c[0], &c[left]);
        sift_down(c, left, 0);
    }
}

/* By bytes, the lowest first; each pass keeps the order of the one before. */
void candidates_sort(candidate *c, size_t n, candidate *scratch)
{
    enum { DIGITS = sizeof(candidate), VALUES = 256 };
    size_t counts[DIGITS][VALUES] = { 0 };
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < DIGITS; d++)
            counts[d][c[i] >> (8 * d) & 255]++;
    candidate *from = c, *to = scratch;
    for (size_t d = 0; d < DIGITS; d++) {
        size_t *count = counts[d], begin = 0;
        if (n && count[from[0] >> (8 * d) & 255] == n)
            continue; /* all have the same digit: the upper bytes of ids */
        for (size_t v = 0; v < VALUES; v++) {
            const size_t size = count[v];
            count[v] = begin;
            begin += size;
        }
        for (size_t i = 0; i < n; i++)
            to[count[from[i] >> (8 * d) & 255]++] = from[i];
        candidate *other = from;
        from = to;
        to = other;
    }
    if (from != c)
        memcpy(c, from, n * sizeof *c);
}
