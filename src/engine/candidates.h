/* engine/candidates.h - token ids in the order in which the sampler looks at them: larger logit first, of equal ones the
 * smaller id. A candidate is one number whose ascending order is that order, so no comparison needs a function, and no two
 * are equal. Pure functions, any thread. */
#ifndef ENGINE_CANDIDATES_H
#define ENGINE_CANDIDATES_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t candidate;

candidate candidate_of(float logit, uint32_t id); /* `logit` is finite */

static inline uint32_t candidate_id(candidate c)
{
    return (uint32_t)c;
}

/* Moves the first n_best <= n of the order to the front of c [n], sorted; the others follow in any order. Costs n steps and
 * n_best log n_best more, unless c happens to be in nearly reverse order. */
void candidates_select(candidate *c, size_t n, size_t n_best);
/* Sorts c [n]; scratch [n]. */
void candidates_sort(candidate *c, size_t n, candidate *scratch);

#endif
