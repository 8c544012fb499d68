/* chat/grammar.c - which tokens may come next: docs/spec/protocol.md, section 3.2.
 *
 * The legal texts are those that dsml.c would write, so that a sampled block equals its later rendering byte for byte. They
 * are few and short, hence no automaton over token ids is kept: a token is legal if the structure at hand with its bytes
 * appended still begins a legal text, which most tokens fail at their first byte.
 * Promises, kept by tests/chat/test_grammar.c: (1) there is always a legal token: a legal text that is not whole
 * goes on with a byte or with the DSML token, and every vocabulary has those; (2) whatever is chosen among the legal ones,
 * the block reads, its calls are declared and have their required parameters, and it ends with its closing tag or goes on;
 * (3) the DSML token comes only where it is structure, so that no client ever sees one. */
#include "chat/parser.h"

#include <string.h>

#define PARAMETER_HEAD "\n<" T_DSML T_TAG "parameter name=\""

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

/* Can the grammar write this key of a schema? Quotes cannot stand in an attribute as they are, and what reads as their escape
 * would come back as another key. */
static bool is_writable(slice key)
{
    return key.size <= KEY_BYTES_MAX && !memchr(key.data, '"', key.size) && !memmem(key.data, key.size, "&quot;", 6);
}

/* May the key have other keys than those of `properties`? */
static bool is_open(const json_value *parameters)
{
    const json_value *more = json_member(parameters, "additionalProperties");
    bool yes = false;
    return json_kind_of(json_member(parameters, "properties")) != JSON_OBJECT || json_kind_of(more) == JSON_OBJECT ||
           (json_bool(more, &yes) && yes);
}

/* Is this entry of `required` a key that the grammar can write, and one that is not there yet? */
static bool is_missing(const block_parser *b, const json_value *parameters, const json_value *entry, slice *key)
{
    return json_string(entry, key) && is_writable(*key) && !(b && block_has_seen(b, *key)) &&
           (is_open(parameters) || json_get(json_member(parameters, "properties"), *key));
}

/* Does a call of this schema lack a required parameter? `b` NULL: it has none yet. */
static bool lacks_required(const block_parser *b, const json_value *schema)
{
    const json_value *parameters = json_member(schema, "parameters"), *required = json_member(parameters, "required");
    slice key;
    for (size_t i = 0; i < json_count(required); i++)
        if (is_missing(b, parameters, json_at(required, i), &key))
            return true;
    return false;
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

static bool fits_key(match m, slice key, const json_value *property)
{
    const tag_scan same = take(&m, key);
    return same == TAG_MORE || (same == TAG_FOUND && fits_kind(m, property));
}

/* Keys are the declared ones. Where the schema welcomes others, or declares none, any may follow once the required ones are
 * there: before that a model that invents keys would never come to them. */
static bool fits_parameter(const chat_parser *p, match m)
{
    const block_parser *b = &p->block;
    const json_value *parameters = json_member(b->schema, "parameters"), *properties = block_properties(b);
    const json_value *required = json_member(parameters, "required");
    const bool open = is_open(parameters);
    const tag_scan found = take_template(&m, PARAMETER_HEAD);
    slice key;
    if (found == TAG_NONE)
        return false;
    if (open && !lacks_required(b, b->schema))
        return found == TAG_MORE || fits_free_key(p, m);
    for (size_t i = 0; i < json_count(properties); i++) {
        key = json_key_at(properties, i);
        if (is_writable(key) && !block_has_seen(b, key) &&
            (found == TAG_MORE || fits_key(m, key, json_at(properties, i))))
            return true;
    }
    for (size_t i = 0; open && i < json_count(required); i++)
        if (is_missing(b, parameters, json_at(required, i), &key) &&
            (found == TAG_MORE || fits_key(m, key, json_get(properties, key))))
            return true;
    return false;
}

/* Without parameters an empty line stands between the tags (2.5). */
static bool fits_inside(const chat_parser *p, match m)
{
    const bool none = p->block.seen.size == 0;
    return fits_parameter(p, m) ||
           (!lacks_required(&p->block, p->block.schema) &&
            fits_tag(m, none ? "\n\n</" T_DSML T_TAG "invoke>" : "\n</" T_DSML T_TAG "invoke>"));
}

/* The end of a line always fits behind the tag of a call. An empty line says that there are no parameters. */
static bool fits_call_end(match m, slice schema)
{
    json_value *value = NULL;
    if (fits_next(m, SLICE("\n")))
        return true;
    const bool empty =
        fits_next(m, SLICE("\n\n")) && json_parse(&value, schema, NULL, NULL) == DS4_OK && !lacks_required(NULL, value);
    json_free(value);
    return empty;
}

static bool fits_call(const chat_parser *p, match m)
{
    const tag_scan found = take_template(&m, "\n<" T_DSML T_TAG "invoke name=\"");
    for (size_t i = 0; found == TAG_FOUND && i < p->options.n_tools; i++) {
        match name = m;
        tag_scan same = take(&name, p->options.tools[i].name);
        if (same == TAG_FOUND)
            same = take(&name, SLICE("\">"));
        if (same == TAG_MORE || (same == TAG_FOUND && fits_call_end(name, p->options.tools[i].schema)))
            return true;
    }
    return found == TAG_MORE;
}

static bool fits_between(const chat_parser *p, match m)
{
    const uint32_t n = p->block.n_done;
    return (n > 0 && fits_end(m)) || ((n == 0 || !p->options.one_call) && fits_call(p, m));
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
    if (p->free_key_at)
        return fits_free_key(p, (match){ text, p->free_key_at, p->options.profile });
    switch (p->block.state) {
    case BLOCK_BETWEEN: return fits_between(p, m);
    case BLOCK_INVOKE: return fits_inside(p, m);
    default: return is_payload(&p->block) ? fits_tag(m, "</" T_DSML T_TAG "parameter>") : fits_json(p->block.json, m);
    }
}

/* What the next token may be. */
enum {
    ANY,          /* anything */
    ANY_UNMARKED, /* anything but the DSML token, which would begin nothing here */
    ANY_ANEW,     /* nor what is left of a block that was refused */
    PAYLOAD,      /* of a parameter: neither that token nor the end of the turn */
    CLOSING,      /* the same behind "</": there the token begins the closing tag */
    STRUCTURE     /* what `fits` allows */
};

static uint8_t find_freedom_in_text(const chat_parser *p, slice *structure)
{
    const slice tail = buffer_slice(&p->tail);
    const char *begin = tail.size ? memchr(tail.data, '<', tail.size) : NULL;
    const size_t at = begin ? (size_t)(begin - tail.data) : 0;
    if (!begin || p->plain)
        return ANY_UNMARKED;
    if (at + 1 == tail.size)
        return p->filter.n_held == 0 ? ANY : ANY_UNMARKED;
    if (!p->mark_held || begin[1] == '/') /* a closing tag opens nothing */
        return ANY_UNMARKED;
    *structure = (slice){ begin, tail.size - at };
    return STRUCTURE;
}

static uint8_t find_freedom_in_block(const block_parser *b, slice *structure)
{
    const bool value = b->state == BLOCK_VALUE;
    if (!b->owned)
        return ANY_UNMARKED;
    if (!b->marked_open || b->state == BLOCK_OPEN || b->state == BLOCK_NESTED ||
        (value && (b->n_nested || !b->marked || b->kind == VALUE_UNSAID)))
        return ANY;
    const size_t from = value ? b->at : b->tag_end;
    *structure = (slice){ b->bytes.data + from, b->bytes.size - from };
    if (value && is_payload(b) && !b->looked) /* held back: blanks, and what may become a tag */
        while (structure->size && strchr(" \t\r\n", structure->data[0]) && structure->data[0])
            structure->data++, structure->size--;
    if (!value || !is_payload(b) || (structure->size >= 3 && memcmp(structure->data, "</\xff", 3) == 0))
        return STRUCTURE;
    const bool json = b->kind == VALUE_JSON && b->json.state != SCAN_BAD; /* a string ends before its value does */
    return !json && slice_equal(*structure, SLICE("</")) ? CLOSING : PAYLOAD;
}

static uint8_t find_freedom_without_tools(const chat_parser *p, slice *structure)
{
    if (!p->refused || p->state != STATE_TEXT)
        return ANY_UNMARKED;
    if (p->tail.size == 0) /* what is held is in no scrap */
        *structure = (slice){ p->last, p->n_last };
    return ANY_ANEW;
}

/* The structure at hand is then in `next`. */
static uint8_t find_freedom(chat_parser *p)
{
    slice structure = { 0 };
    uint8_t freedom = ANY;
    if (p->options.allow_tools && !p->options.grammar)
        return ANY;
    if (!p->options.allow_tools)
        freedom = find_freedom_without_tools(p, &structure);
    else if (p->state == STATE_THINKING)
        freedom = p->tail.size && p->filter.n_held == 0 ? ANY : ANY_UNMARKED; /* behind a '<' that begins its line */
    else if (p->state == STATE_TEXT)
        freedom = find_freedom_in_text(p, &structure);
    else if (p->state == STATE_BLOCK)
        freedom = find_freedom_in_block(&p->block, &structure);
    if (freedom == CLOSING && p->filter.n_held)
        freedom = PAYLOAD;
    if (freedom != STRUCTURE && freedom != ANY_ANEW)
        return freedom;
    buffer_clear(&p->next);
    parser_append(p, &p->next, structure);
    parser_append(p, &p->next, (slice){ (const char *)p->filter.held, p->filter.n_held });
    p->n_structure = p->next.size;
    return freedom;
}

/* Nearly every token continues a key that may be any: what stands before it is read once. 0: it is no such key. */
static size_t find_free_key(const chat_parser *p)
{
    const block_parser *b = &p->block;
    match m = { buffer_slice(&p->next), 0, p->options.profile };
    const bool inside = p->freedom == STRUCTURE && p->state == STATE_BLOCK && b->state == BLOCK_INVOKE &&
                        is_open(json_member(b->schema, "parameters")) && !lacks_required(b, b->schema);
    return inside && take_template(&m, PARAMETER_HEAD) == TAG_FOUND ? m.at : 0;
}

static void make_ready(chat_parser *p)
{
    if (p->ready)
        return;
    p->freedom = find_freedom(p);
    p->free_key_at = find_free_key(p);
    p->ready = true;
}

static bool fits_bytes(void *user, slice bytes)
{
    chat_parser *p = user;
    p->next.size = p->n_structure;
    parser_append(p, &p->next, bytes);
    return fits(p, buffer_slice(&p->next));
}

/* The byte that stands for the DSML token comes from that token only. */
static bool fits_plain(void *user, slice bytes)
{
    return !memchr(bytes.data, TAG_DSML, bytes.size) && fits_bytes(user, bytes);
}

/* What a model writes of the tags of a block that was refused; at most SCRAP_BYTES_MAX each. */
static const char *const scraps[] = { "_calls", "calls>", "name=\"", "string=\"", "\">" };

/* After such a block the answer begins with a word, and so is not empty; and it holds no scraps. */
static bool fits_anew(void *user, slice bytes)
{
    chat_parser *p = user;
    if (p->n_last == 0 && bytes.size && memchr("<> \n\t\r", bytes.data[0], 6))
        return false;
    p->next.size = p->n_structure;
    parser_append(p, &p->next, bytes);
    for (size_t i = 0; i < sizeof scraps / sizeof scraps[0]; i++)
        if (memmem(p->next.data, p->next.size, scraps[i], strlen(scraps[i])))
            return false;
    return true;
}

/* The end of this turn, or the beginning of another. */
static const text_special turn_ends[] = { TEXT_EOS, TEXT_BOS, TEXT_USER, TEXT_ASSISTANT, TEXT_REMINDER, TEXT_SYSTEM };
enum { N_TURN_ENDS = sizeof turn_ends / sizeof turn_ends[0] };

static bool ends_turn(const text_tokenizer *t, uint32_t id)
{
    for (size_t i = 0; i < N_TURN_ENDS; i++)
        if (id == text_special_id(t, turn_ends[i]))
            return true;
    return false;
}

bool chat_parser_allows(chat_parser *p, uint32_t id)
{
    const text_tokenizer *t = p->tokenizer;
    const bool mark = id == text_special_id(t, TEXT_DSML), end = ends_turn(t, id);
    make_ready(p);
    if (id >= text_n_tokens(t))
        return false;
    switch (p->freedom) {
    case ANY: return true;
    case ANY_UNMARKED: return !mark;
    case ANY_ANEW: return text_is_control(t, id) ? end && p->n_last > 0 : fits_anew(p, text_piece(t, id));
    case PAYLOAD: return !mark && !end;
    case CLOSING: return !end;
    default: break;
    }
    const slice piece = text_piece(t, id);
    return mark ? fits_bytes(p, SLICE("\xff")) : piece.size && !text_is_control(t, id) && fits_plain(p, piece);
}

const token_set *chat_parser_allowed(chat_parser *p)
{
    const uint32_t mark = text_special_id(p->tokenizer, TEXT_DSML);
    make_ready(p);
    if (p->freedom == STRUCTURE)
        text_tokens_that_fit(p->tokenizer, fits_plain, p, &p->allowed);
    else if (p->freedom == ANY_ANEW)
        text_tokens_that_fit(p->tokenizer, fits_anew, p, &p->allowed);
    else
        token_set_fill(&p->allowed, true);
    token_set_put(&p->allowed, mark, chat_parser_allows(p, mark));
    for (size_t i = 0; i < N_TURN_ENDS; i++) {
        const uint32_t end = text_special_id(p->tokenizer, turn_ends[i]);
        token_set_put(&p->allowed, end, chat_parser_allows(p, end));
    }
    return &p->allowed;
}
