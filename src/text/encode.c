/* Text and spans to ids. Only CONTROL spans, and the one explicit exception below, lead to control tokens. */
#include "text/vocabulary.h"

#include <string.h>

typedef struct encoder {
    const text_tokenizer *t;
    bpe_scratch scratch;
    token_list *out;
} encoder;

static ds4_status encode_piece(void *user, slice piece)
{
    encoder *e = user;
    return bpe_encode(e->t, &e->scratch, piece, e->out);
}

static ds4_status encode(encoder *e, slice text)
{
    return split_text(e->t, text, encode_piece, e);
}

static ds4_status done(encoder *e, ds4_status status, ds4_error *err)
{
    bpe_scratch_free(&e->scratch);
    if (status == DS4_ERR_NO_MEMORY)
        return ds4_fail(err, status, "not enough memory to encode the text");
    if (status == DS4_ERR_NO_SPACE)
        return ds4_fail(err, status, "a piece of the text is longer than 1 GiB");
    return status;
}

ds4_status text_encode(const text_tokenizer *t, slice text, token_list *out, ds4_error *err)
{
    encoder e = { .t = t, .out = out };
    return done(&e, encode(&e, text), err);
}

ds4_status text_encode_spans(const text_tokenizer *t, const text_spans *spans, token_list *out, ds4_error *err)
{
    encoder e = { .t = t, .out = out };
    ds4_status status = DS4_OK;
    for (size_t i = 0; status == DS4_OK && i < spans->n; i++) {
        const text_span *span = &spans->items[i];
        switch (span->kind) {
        case TEXT_SPAN_TEXT: status = encode(&e, span->text); break;
        case TEXT_SPAN_CONTROL:
            if (t->specials[span->special] == TEXT_NO_TOKEN) {
                bpe_scratch_free(&e.scratch);
                return ds4_fail(err, DS4_ERR_UNSUPPORTED, "the model has no token %s",
                                text_special_spelling(span->special));
            }
            status = token_list_append(out, t->specials[span->special]);
            break;
        }
    }
    return done(&e, status, err);
}

/* The longest control token that starts at text[at]; TEXT_NO_TOKEN if none does. */
static uint32_t control_at(const text_tokenizer *t, slice text, size_t at)
{
    const uint8_t first = (uint8_t)text.data[at];
    for (uint32_t i = t->scan_from[first]; i < t->scan_from[first + 1]; i++) {
        const slice piece = t->pieces[t->scan[i]];
        if (piece.size <= text.size - at && memcmp(piece.data, text.data + at, piece.size) == 0)
            return t->scan[i];
    }
    return TEXT_NO_TOKEN;
}

ds4_status text_encode_with_specials(const text_tokenizer *t, slice text, token_list *out, ds4_error *err)
{
    encoder e = { .t = t, .out = out };
    ds4_status status = DS4_OK;
    size_t from = 0;
    for (size_t at = 0; status == DS4_OK && at < text.size;) {
        const uint32_t id = control_at(t, text, at);
        if (id == TEXT_NO_TOKEN) {
            at++;
            continue;
        }
        status = encode(&e, (slice){ text.data + from, at - from });
        if (status == DS4_OK)
            status = token_list_append(out, id);
        at += t->pieces[id].size;
        from = at;
    }
    if (status == DS4_OK)
        status = encode(&e, (slice){ text.data + from, text.size - from });
    return done(&e, status, err);
}
