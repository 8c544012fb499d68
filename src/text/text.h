/* text/text.h - the public header of the tokenizer module: text to token ids and back.
 * Source of every rule: docs/spec/protocol.md, section 1 (byte-level BPE, three-pass split, injection safety).
 * Threads: a text_tokenizer is immutable after text_tokenizer_open() and may be used by any number of threads at once.
 * Everything else here belongs to one thread at a time. */
#ifndef TEXT_TEXT_H
#define TEXT_TEXT_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/hash.h"
#include "base/tokens.h"
#include "gguf/gguf.h"

typedef struct text_tokenizer text_tokenizer;

/* The special tokens of section 1.2. Their ids are looked up by spelling at load, never assumed. */
typedef enum text_special {
    TEXT_BOS,
    TEXT_EOS,
    TEXT_USER,
    TEXT_ASSISTANT,
    TEXT_THINK,
    TEXT_THINK_END,
    TEXT_DSML,
    TEXT_REMINDER, /* optional in a file, as all that follow */
    TEXT_SYSTEM,
    TEXT_N_SPECIALS
} text_special;

enum { TEXT_N_REQUIRED = TEXT_DSML + 1 };
#define TEXT_NO_TOKEN UINT32_MAX

/* The exact spelling, for humans and for the GGUF lookup. */
const char *text_special_spelling(text_special special);

/* Reads the tokenizer from the metadata of `file`, which must outlive it. `pre_override` (or NULL) replaces
 * tokenizer.ggml.pre (--tokenizer-pre). Errors: CORRUPT (contradictions), UNSUPPORTED (another kind or split, a missing
 * required special), NO_MEMORY; the text names key, token or value. */
ds4_status text_tokenizer_open(text_tokenizer **out, const gguf_file *file, const char *pre_override, ds4_error *err);
void text_tokenizer_close(text_tokenizer *tokenizer); /* NULL is fine */

uint32_t text_n_tokens(const text_tokenizer *tokenizer);
uint32_t text_special_id(const text_tokenizer *tokenizer,
                         text_special special);                     /* TEXT_NO_TOKEN if the file has none */
bool text_is_control(const text_tokenizer *tokenizer, uint32_t id); /* the control set of section 1.2 */

/* The tokenizer part of the state's identity (docs/spec/kvstore.md, section 10): vocabulary, merges, specials and the
 * ids of a fixed probe text. */
void text_fingerprint(const text_tokenizer *tokenizer, hash_stream *into);

/* What rendering produces. CONTROL spans are the only way to a control token; TEXT is never scanned for spellings
 * (section 1.4, injection safety). */
typedef enum text_span_kind { TEXT_SPAN_CONTROL, TEXT_SPAN_TEXT } text_span_kind;

typedef struct text_span {
    text_span_kind kind;
    text_special special; /* CONTROL */
    slice text;           /* TEXT; the list's memory */
} text_span;

/* A growing list of spans; adjacent TEXT is joined, whatever its origin, so that ids equal those of the joined text.
 * A zeroed list is valid. Appends copy. Errors: NO_MEMORY, NO_SPACE (over 1 GiB). */
typedef struct text_spans {
    arena memory;
    text_span *items; /* [n] */
    size_t n, capacity;
    buffer open_text; /* TEXT being joined; becomes an item at the next CONTROL or at text_spans_seal() */
} text_spans;

ds4_status text_spans_control(text_spans *spans, text_special special);
ds4_status text_spans_text(text_spans *spans, slice text);
ds4_status text_spans_seal(text_spans *spans); /* call before reading items; appending may go on afterwards */
void text_spans_free(text_spans *spans);
/* The rendered text with specials spelled out: for people, and for test vectors. */
ds4_status text_spans_print(const text_spans *spans, buffer *out);

/* Appends the ids of sealed spans. A CONTROL whose token the file lacks is UNSUPPORTED. */
ds4_status text_encode_spans(const text_tokenizer *tokenizer, const text_spans *spans, token_list *out, ds4_error *err);
/* Appends the ids of external text: never an id of the control set, whatever the bytes are. */
ds4_status text_encode(const text_tokenizer *tokenizer, slice text, token_list *out, ds4_error *err);
/* The explicit exception (--dump-tokens, --raw-prompt, parse_special): longest special at each position is recognised. */
ds4_status text_encode_with_specials(const text_tokenizer *tokenizer, slice text, token_list *out, ds4_error *err);

/* The bytes of one token: literal for specials, inverse printable mapping otherwise; empty for ids out of range.
 * Lives as long as the tokenizer. */
slice text_piece(const text_tokenizer *tokenizer, uint32_t id);

/* Makes `set`, of text_n_tokens() ids, that of the tokens whose bytes `fits` accepts; tokens of the control set and those
 * without bytes are never in it. `fits` is asked about a few beginnings of tokens instead of each token, so whatever it refuses
 * it must refuse with any bytes behind, too. */
typedef bool text_fits_fn(void *user, slice bytes);
void text_tokens_that_fit(const text_tokenizer *tokenizer, text_fits_fn *fits, void *user, token_set *set);

/* Streaming UTF-8 (section 1.5): holds an incomplete tail of at most 3 bytes, replaces what can never become valid by
 * U+FFFD, one per maximal invalid subpart. A zeroed stream is valid. */
typedef struct text_utf8 {
    uint8_t held[4];
    uint8_t n_held;
} text_utf8;

/* Appends to `out` whatever of (held + bytes) is complete. */
ds4_status text_utf8_feed(text_utf8 *stream, slice bytes, buffer *out);
/* End of the text: an incomplete tail becomes one U+FFFD. */
ds4_status text_utf8_finish(text_utf8 *stream, buffer *out);

#endif
