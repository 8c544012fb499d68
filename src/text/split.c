/* Pre-tokenisation: docs/spec/protocol.md, section 1.3, exactly. */
#include "text/vocabulary.h"

/* Unicode White_Space, written out: PCRE2's \s adds U+180E. */
#define SPACE "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"

static const char *const patterns[N_PASSES] = {
    "\\p{N}{1,3}",
    "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*"
    "|[" SPACE "]*[\\r\\n]+"
    "|[" SPACE "]+(?![^" SPACE "])"
    "|[" SPACE "]+",
};

ds4_status split_open(text_tokenizer *t, ds4_error *err)
{
    /* PCRE2 gives up after ten million steps unless told otherwise, and a long enough run of spaces takes more. The
     * patterns cannot backtrack out of proportion: the work is bounded by the length of the text. */
    t->limits = pcre2_match_context_create(NULL);
    if (!t->limits)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for the split patterns");
    pcre2_set_match_limit(t->limits, UINT32_MAX);
    for (size_t i = 0; i < N_PASSES; i++) {
        int code;
        size_t at;
        t->passes[i] =
            pcre2_compile((PCRE2_SPTR)patterns[i], PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
        if (!t->passes[i])
            return ds4_fail(err, DS4_ERR_UNSUPPORTED, "PCRE2 refuses split pattern %zu at %zu (error %d)", i + 1, at,
                            code);
        pcre2_jit_compile(t->passes[i], PCRE2_JIT_COMPLETE); /* where there is no JIT, it is interpreted */
    }
    return DS4_OK;
}

void split_close(text_tokenizer *t)
{
    for (size_t i = 0; i < N_PASSES; i++)
        pcre2_code_free(t->passes[i]);
    pcre2_match_context_free(t->limits);
}

typedef struct splitter {
    const text_tokenizer *t;
    pcre2_match_data *match[N_PASSES];
    split_fn *piece;
    void *user;
} splitter;

/* Matches and the stretches between them go on to the next pass, each by itself. */
static ds4_status run_pass(splitter *s, size_t pass, slice text)
{
    size_t at = 0;
    ds4_status status = DS4_OK;
    if (text.size == 0)
        return DS4_OK;
    if (pass == N_PASSES)
        return s->piece(s->user, text);
    while (status == DS4_OK && at < text.size) {
        const int n = pcre2_match(s->t->passes[pass], (PCRE2_SPTR)text.data, text.size, at, PCRE2_NO_UTF_CHECK,
                                  s->match[pass], s->t->limits);
        if (n == PCRE2_ERROR_NOMEMORY)
            return DS4_ERR_NO_MEMORY;
        if (n <= 0) /* no match; or beyond 4 G steps, and then the rest is one piece: still the same bytes */
            break;
        const size_t *range = pcre2_get_ovector_pointer(s->match[pass]);
        const size_t begin = range[0], end = range[1];
        status = run_pass(s, pass + 1, (slice){ text.data + at, begin - at });
        if (status == DS4_OK)
            status = run_pass(s, pass + 1, (slice){ text.data + begin, end - begin });
        at = end; /* every alternative takes a character at least */
    }
    return status == DS4_OK ? run_pass(s, pass + 1, (slice){ text.data + at, text.size - at }) : status;
}

/* Bytes that are not UTF-8 belong to no class: a run of them is a piece of its own. */
static ds4_status run_valid_parts(splitter *s, slice text)
{
    size_t from = 0, at = 0;
    ds4_status status = DS4_OK;
    while (status == DS4_OK && at < text.size) {
        size_t n = json_utf8_length(text.data + at, text.size - at);
        if (n > 0) {
            at += n;
            continue;
        }
        status = run_pass(s, 0, (slice){ text.data + from, at - from });
        for (from = at; at < text.size && json_utf8_length(text.data + at, text.size - at) == 0;)
            at++;
        if (status == DS4_OK)
            status = s->piece(s->user, (slice){ text.data + from, at - from });
        from = at;
    }
    return status == DS4_OK ? run_pass(s, 0, (slice){ text.data + from, at - from }) : status;
}

ds4_status split_text(const text_tokenizer *t, slice text, split_fn *piece, void *user)
{
    splitter s = { .t = t, .piece = piece, .user = user };
    ds4_status status = DS4_OK;
    for (size_t i = 0; i < N_PASSES; i++) {
        s.match[i] = pcre2_match_data_create(1, NULL);
        if (!s.match[i])
            status = DS4_ERR_NO_MEMORY;
    }
    if (status == DS4_OK)
        status = run_valid_parts(&s, text);
    for (size_t i = 0; i < N_PASSES; i++)
        pcre2_match_data_free(s.match[i]);
    return status;
}
