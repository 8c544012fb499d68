/* chat/grammar.c - which tokens continue a legal tool block: protocol specification 3.2.
 *
 * The legal texts are those that dsml.c would write, so that a sampled block equals its later rendering byte for byte. They
 * are few and short, hence no trie of token ids is kept: a token is legal if the structure at hand with its bytes
 * appended still begins a legal text, which most tokens fail at their first byte.
 * Promises, kept by tests/chat/test_grammar.c: (1) there is always a legal token: a legal text that is not whole
 * goes on with a byte or with the DSML token, and every vocabulary has those; (2) whatever is chosen among the legal ones,
 * the structure reads, and payload alone can spoil a call. */
#include "chat/parser.h"

#include <string.h>

/* Of a parameter's name. Each byte that is not UTF-8 becomes three, and the tag must stay below TAG_BYTES_MAX. */
enum { KEY_BYTES_MAX = 1024 };

/* A text that is compared with the grammar from its start on. */
typedef struct match {
    slice text;
    size_t at;
    chat_profile profile;
} match;

/* NONE: it is not this. MORE: the text ends inside, legally. */
static tag_scan take(match *m, slice wanted)
{
    const size_t left = m->text.size - m->at, n = left < wanted.size ? left : wanted.size;
    if (n && memcmp(m->text.data + m->at, wanted.data, n) != 0)
        return TAG_NONE;
    m->at += n;
    return n < wanted.size ? TAG_MORE : TAG_FOUND;
}

/* The same for a text of template.h. */
static tag_scan take_template(match *m, const char *text)
{
    tag_scan found = TAG_FOUND;
    for (; found == TAG_FOUND && *text; text++) {
        const char c = *text;
        if (c == T_DSML[0])
            found = take(m, SLICE("\xff"));
        else if (c == T_BLOCK[0])
            found = take(m, m->profile == CHAT_V4_1 ? SLICE(" calls") : SLICE("tool_calls"));
        else if (c == T_TAG[0])
            found = take(m, m->profile == CHAT_V4_1 ? SLICE(" ") : SLICE(""));
        else
            found = take(m, (slice){ text, 1 });
    }
    return found;
}

/* Is what is left of the text the beginning of `next`? */
static bool fits_next(match m, slice next)
{
    return take(&m, next) != TAG_NONE && m.at == m.text.size;
}

/* After a tag comes the next one on a new line. */
static bool fits_tag(match m, const char *text)
{
    const tag_scan found = take_template(&m, text);
    return found == TAG_MORE || (found == TAG_FOUND && fits_next(m, SLICE("\n<")));
}

/* Nothing is generated after the end of the block. */
static bool fits_end(match m)
{
    return take_template(&m, "\n</" T_DSML T_BLOCK ">") != TAG_NONE && m.at == m.text.size;
}

static bool fits_call(const chat_parser *p, match m)
{
    const tag_scan found = take_template(&m, "\n<" T_DSML T_TAG "invoke name=\"");
    for (size_t i = 0; found == TAG_FOUND && i < p->options.n_tools; i++) {
        match name = m;
        tag_scan same = take(&name, p->options.tools[i].name);
        if (same == TAG_FOUND)
            same = take(&name, SLICE("\">"));
        /* What follows depends on the tool, whose schema is not at hand yet; the end of a line always fits. */
        if (same == TAG_MORE || (same == TAG_FOUND && fits_next(name, SLICE("\n\n"))))
            return true;
    }
    return found == TAG_MORE;
}

static bool fits_between(const chat_parser *p, match m)
{
    const uint32_t n = p->block.n_done;
    return (n > 0 && fits_end(m)) || ((n == 0 || !p->options.one_call) && fits_call(p, m));
}

/* JSON after `scan`, and once it may end there, the closing tag and the beginning of what follows it. */
static bool fits_json(json_scan scan, match m)
{
    for (; m.at < m.text.size; m.at++) {
        const char c = m.text.data[m.at];
        if (c == '<' && json_scan_complete(&scan))
            return fits_tag(m, "</" T_DSML T_TAG "parameter>");
        /* The token's byte is payload inside a string only when it comes as its spelling. */
        if (c == TAG_DSML || !json_scan_feed(&scan, c))
            return false;
    }
    return true;
}

/* What stands between a key and the value, and what a token holds of the value. `property` NULL: nothing is known of the
 * type. */
static bool fits_kind(match m, const json_value *property)
{
    slice type;
    const bool known = json_string(json_member(property, "type"), &type);
    const bool text = known && slice_equal(type, SLICE("string"));
    match other = m;
    if (!(known && !text) && take(&other, SLICE("\" string=\"true\">")) != TAG_NONE)
        return true;
    if (known && text)
        return false;
    const tag_scan found = take(&m, SLICE("\" string=\"false\">"));
    return found == TAG_MORE || (found == TAG_FOUND && fits_json((json_scan){ 0 }, m));
}

/* A key has an end, and so has a model that goes round in circles: at the limit even a repeated one may be closed, which
 * the parser ignores. */
static bool fits_free_key(const chat_parser *p, match m)
{
    const size_t begin = m.at;
    while (m.at < m.text.size && m.text.data[m.at] != '"') {
        const unsigned char c = (unsigned char)m.text.data[m.at++];
        if (c < ' ' || c == '<' || c == '>' || c == '&' || c == 0xff)
            return false;
    }
    const slice key = { m.text.data + begin, m.at - begin };
    if (key.size > KEY_BYTES_MAX || m.at == m.text.size)
        return key.size <= KEY_BYTES_MAX;
    return key.size > 0 && (key.size == KEY_BYTES_MAX || !block_has_seen(&p->block, key)) &&
           fits_kind(m, json_get(block_properties(&p->block), key));
}

/* Keys are the declared ones, unless the schema welcomes others or declares none; with quotes, which an attribute cannot
 * hold as they are, they are not offered. */
static bool fits_parameter(const chat_parser *p, match m)
{
    const block_parser *b = &p->block;
    const json_value *properties = block_properties(b);
    const json_value *more = json_member(json_member(b->schema, "parameters"), "additionalProperties");
    bool open = false;
    const tag_scan found = take_template(&m, "\n<" T_DSML T_TAG "parameter name=\"");
    if (found == TAG_NONE)
        return false;
    if (json_kind_of(properties) != JSON_OBJECT || json_kind_of(more) == JSON_OBJECT ||
        (json_bool(more, &open) && open))
        return found == TAG_MORE || fits_free_key(p, m);
    for (size_t i = 0; i < json_count(properties); i++) {
        const slice key = json_key_at(properties, i);
        match name = m;
        if (block_has_seen(b, key) || key.size > KEY_BYTES_MAX || memchr(key.data, '"', key.size))
            continue;
        const tag_scan same = found == TAG_MORE ? TAG_MORE : take(&name, key);
        if (same == TAG_MORE || (same == TAG_FOUND && fits_kind(name, json_at(properties, i))))
            return true;
    }
    return false;
}

/* Without parameters an empty line stands between the tags (2.5). */
static bool fits_inside(const chat_parser *p, match m)
{
    const bool none = p->block.seen.size == 0;
    return fits_parameter(p, m) || fits_tag(m, none ? "\n\n</" T_DSML T_TAG "invoke>" : "\n</" T_DSML T_TAG "invoke>");
}

/* A value that may hold anything: in it only a closing tag that has come as far as the token is structure. */
static bool is_payload(const block_parser *b)
{
    return b->kind == VALUE_TEXT || b->json.state == SCAN_BAD || json_scan_in_payload(&b->json);
}

static bool fits(const chat_parser *p, slice text)
{
    const match m = { text, 0, p->options.profile };
    if (p->state == STATE_TEXT)
        return fits_tag(m, "<" T_DSML T_BLOCK ">");
    switch (p->block.state) {
    case BLOCK_BETWEEN: return fits_between(p, m);
    case BLOCK_INVOKE: return fits_inside(p, m);
    default: return is_payload(&p->block) ? fits_tag(m, "</" T_DSML T_TAG "parameter>") : fits_json(p->block.json, m);
    }
}

/* Is the next token bound to the grammar? The structure at hand is then in `next`. */
static bool find_structure(chat_parser *p)
{
    const block_parser *b = &p->block;
    slice text = buffer_slice(&p->tail);
    if (!p->options.grammar || !chat_parser_wants_greedy(p))
        return false;
    if (p->state == STATE_TEXT) {
        const char *begin = text.size ? memchr(text.data, '<', text.size) : NULL;
        if (!begin || begin + 1 == text.data + text.size || begin[1] == '/') /* a closing tag opens nothing */
            return false;
        text = (slice){ begin, (size_t)(text.data + text.size - begin) };
    } else {
        if (!b->marked_open || b->state == BLOCK_OPEN || b->state == BLOCK_NESTED ||
            (b->state == BLOCK_VALUE && (b->n_nested || !b->marked || b->kind == VALUE_UNSAID)))
            return false;
        const size_t from = b->state == BLOCK_VALUE ? b->at : b->tag_end;
        text = (slice){ b->bytes.data + from, b->bytes.size - from };
        if (b->state == BLOCK_VALUE && is_payload(b) && (text.size < 3 || memcmp(text.data, "</\xff", 3) != 0))
            return false;
    }
    buffer_clear(&p->next);
    parser_append(p, &p->next, text);
    parser_append(p, &p->next, (slice){ (const char *)p->filter.held, p->filter.n_held });
    p->n_structure = p->next.size;
    return !p->no_memory;
}

bool chat_parser_allows(chat_parser *p, uint32_t id)
{
    const bool mark = id == text_special_id(p->tokenizer, TEXT_DSML);
    if (!p->ready) {
        p->bound = find_structure(p);
        p->ready = true;
    }
    if (!p->bound)
        return true;
    const slice piece = mark ? SLICE("\xff") : text_piece(p->tokenizer, id);
    if (piece.size == 0 || (!mark && (text_is_control(p->tokenizer, id) || memchr(piece.data, TAG_DSML, piece.size))))
        return false;
    p->next.size = p->n_structure;
    parser_append(p, &p->next, piece);
    return fits(p, buffer_slice(&p->next));
}
