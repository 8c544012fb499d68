#include "chat/tag.h"

#include <string.h>

typedef struct reader {
    slice text;
    size_t at;
} reader;

/* Does `word` stand here? MORE when the text ends inside it. */
static tag_scan take(reader *r, const char *word)
{
    const size_t n = strlen(word), left = r->text.size - r->at, have = left < n ? left : n;
    if (memcmp(r->text.data + r->at, word, have) != 0)
        return TAG_NONE;
    if (have < n)
        return TAG_MORE;
    r->at += n;
    return TAG_FOUND;
}

static void skip_blanks(reader *r)
{
    while (r->at < r->text.size && strchr(" \t\r\n", r->text.data[r->at]) && r->text.data[r->at])
        r->at++;
}

/* The mark in all its forms: the token, its spelling with bars missing or doubled, or nothing. */
static tag_scan skip_mark(reader *r, tag *out)
{
    static const char *const parts[] = { "\xff", "\uff5c", "DSML", " " };
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < 4; i++) {
            const tag_scan found = take(r, parts[i]);
            if (found == TAG_MORE)
                return TAG_MORE;
            if (found == TAG_FOUND) {
                out->marked = out->marked || i == 0;
                moved = true;
            }
        }
    }
    return TAG_FOUND;
}

static tag_scan read_name(reader *r, tag *out)
{
    static const struct {
        const char *word;
        tag_name name;
    } names[] = {
        { "tool_calls", TAG_CALLS }, { "calls", TAG_CALLS }, { "invoke", TAG_INVOKE }, { "parameter", TAG_PARAMETER }
    };
    tag_scan best = TAG_NONE;
    for (size_t i = 0; i < 4; i++) {
        const tag_scan found = take(r, names[i].word);
        if (found == TAG_FOUND) {
            out->name = names[i].name;
            return TAG_FOUND;
        }
        if (found == TAG_MORE)
            best = TAG_MORE;
    }
    return best;
}

/* A quote of any kind; typographic ones come from models that write prose. */
static tag_scan take_quote(reader *r, const char **kind)
{
    static const char *const quotes[] = { "\"", "'", "\u201c", "\u201d" };
    tag_scan best = TAG_NONE;
    for (size_t i = 0; i < 4; i++) {
        const tag_scan found = take(r, quotes[i]);
        if (found == TAG_FOUND) {
            *kind = i < 2 ? quotes[i] : "\u201d";
            return TAG_FOUND;
        }
        if (found == TAG_MORE)
            best = TAG_MORE;
    }
    return best;
}

static tag_scan read_attribute(reader *r, tag *out)
{
    const size_t begin = r->at;
    const char *quote;
    while (r->at < r->text.size &&
           ((r->text.data[r->at] >= 'a' && r->text.data[r->at] <= 'z') || r->text.data[r->at] == '_'))
        r->at++;
    const slice key = { r->text.data + begin, r->at - begin };
    skip_blanks(r);
    tag_scan found = take(r, "=");
    if (key.size == 0 || found != TAG_FOUND)
        return key.size == 0 ? TAG_NONE : found;
    skip_blanks(r);
    found = take_quote(r, &quote);
    if (found != TAG_FOUND)
        return found;
    const char *from = r->text.data + r->at;
    const char *end = memmem(from, r->text.size - r->at, quote, strlen(quote));
    const slice value = { from, end ? (size_t)(end - from) : r->text.size - r->at };
    /* Without the token this may be prose that mentions a tag: it is not held back beyond its line. */
    if (!out->marked && memchr(value.data, '\n', value.size))
        return TAG_NONE;
    if (!end)
        return TAG_MORE;
    r->at += value.size + strlen(quote);
    if (slice_equal(key, SLICE("name")))
        out->key = value;
    else if (slice_equal(key, SLICE("string")))
        out->is_text = value;
    return TAG_FOUND;
}

static tag_scan read_all(reader *r, tag *out)
{
    tag_scan found = take(r, "<");
    if (found != TAG_FOUND)
        return found;
    if (take(r, "/") == TAG_FOUND)
        out->closing = true;
    found = skip_mark(r, out);
    if (found == TAG_FOUND)
        found = read_name(r, out);
    if (found != TAG_FOUND)
        return found;
    for (int i = 0; i <= TAG_ATTRIBUTES_MAX; i++) {
        skip_blanks(r);
        if (r->at == r->text.size)
            return TAG_MORE;
        if (take(r, ">") == TAG_FOUND) {
            out->size = r->at;
            return TAG_FOUND;
        }
        found = read_attribute(r, out);
        if (found != TAG_FOUND)
            return found;
    }
    return TAG_NONE;
}

tag_scan tag_read(slice text, tag *out)
{
    reader r = { text, 0 };
    *out = (tag){ 0 };
    const tag_scan found = read_all(&r, out);
    if ((found == TAG_MORE && text.size >= TAG_BYTES_MAX) || (found == TAG_FOUND && out->size > TAG_BYTES_MAX))
        return TAG_NONE;
    return found;
}
