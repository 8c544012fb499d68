/* The plain tokens by their bytes: which of them go on from some place is then a matter of a few questions. */
#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b, void *arg)
{
    const text_tokenizer *t = arg;
    const slice x = t->pieces[*(const uint32_t *)a], y = t->pieces[*(const uint32_t *)b];
    const int order = memcmp(x.data, y.data, x.size < y.size ? x.size : y.size);
    return order ? order : (x.size > y.size) - (x.size < y.size);
}

ds4_status order_open(text_tokenizer *t)
{
    t->sorted = arena_alloc_array(&t->memory, t->n_tokens, sizeof *t->sorted);
    if (!t->sorted)
        return DS4_ERR_NO_MEMORY;
    for (uint32_t id = 0; id < t->n_tokens; id++)
        if (!t->control[id] && t->pieces[id].size > 0)
            t->sorted[t->n_sorted++] = id;
    qsort_r(t->sorted, t->n_sorted, sizeof *t->sorted, compare, t);
    return DS4_OK;
}

static bool begins(const text_tokenizer *t, size_t i, slice prefix)
{
    const slice piece = t->pieces[t->sorted[i]];
    return piece.size >= prefix.size && memcmp(piece.data, prefix.data, prefix.size) == 0;
}

/* The first place behind `from`, which begins with the prefix, that does not. */
static size_t after_prefix(const text_tokenizer *t, size_t from, slice prefix)
{
    size_t inside = from, step = 1;
    while (inside + step < t->n_sorted && begins(t, inside + step, prefix)) {
        inside += step;
        step *= 2;
    }
    size_t outside = inside + step < t->n_sorted ? inside + step : t->n_sorted;
    while (outside - inside > 1) {
        const size_t middle = inside + (outside - inside) / 2;
        if (begins(t, middle, prefix))
            inside = middle;
        else
            outside = middle;
    }
    return outside;
}

void text_tokens_that_fit(const text_tokenizer *t, text_fits_fn *fits, void *user, token_set *set)
{
    token_set_fill(set, false);
    for (size_t i = 0; i < t->n_sorted;) {
        const slice piece = t->pieces[t->sorted[i]];
        if (fits(user, piece)) {
            token_set_put(set, t->sorted[i++], true);
            continue;
        }
        /* The shortest beginning that does not fit takes all its tokens with it. */
        size_t good = 0, bad = piece.size;
        while (bad - good > 1) {
            const size_t middle = good + (bad - good) / 2;
            if (fits(user, (slice){ piece.data, middle }))
                good = middle;
            else
                bad = middle;
        }
        i = after_prefix(t, i, (slice){ piece.data, bad });
    }
}
