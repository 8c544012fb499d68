/* JSON read; json_print.c writes it. The parser walks its text with an explicit stack, so that nesting costs memory and not the C stack.
 * Whoever sends the text chooses how many values it holds and what its keys hash to. Hence values of 32 bytes, texts packed
 * without padding, and a keyed hash: no body makes a tree out of proportion, and no choice of keys makes look-up slow. */
#include "base/json.h"

#include "base/arena.h"
#include "base/c_locale.h"

#include <errno.h>
#include <math.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
    TABLE_FROM = 16,   /* members from which on an object gets a hash table */
    ROOM_BYTES = 4096, /* memory taken at once for short texts */
    ROOM_TEXT_MAX = 512
};

/* Members by key: slots hold index + 1, or 0. The secret (SipHash) keeps clients from choosing keys that collide. */
typedef struct member_table {
    unsigned char secret[crypto_shorthash_KEYBYTES];
    size_t n_slots; /* a power of two, at least twice the members */
    uint32_t slots[];
} member_table;

typedef struct container {
    json_value **items; /* [n] */
    slice *keys;        /* [n], of objects */
    member_table *table;
    uint32_t n, capacity;
} container;

struct json_value {
    json_kind kind;
    bool truth;
    union {
        slice text;     /* string, or number as written; with a 0 after it */
        container *box; /* array, object; NULL while empty */
    };
};

typedef struct json_document {
    json_value root; /* first: json_free() gets its address */
    arena memory;
} json_document;

typedef struct parser {
    json_document *document;
    const char *begin, *at, *end;
    const char *problem;
    ds4_status status;
    buffer scratch;
    char *room; /* for short texts */
    size_t room_left;
    json_value *stack[JSON_DEPTH_MAX];
    size_t depth;
    bool has_secret;
    unsigned char secret[crypto_shorthash_KEYBYTES];
} parser;

/* --- small pieces --------------------------------------------------------------------------------------------------- */

size_t json_utf8_length(const char *text, size_t size)
{
    const uint8_t *at = (const uint8_t *)text;
    uint8_t low = 0x80, high = 0xbf;
    size_t n;
    if (size == 0)
        return 0;
    if (at[0] < 0x80)
        return 1;
    if (at[0] >= 0xc2 && at[0] <= 0xdf)
        n = 2;
    else if ((at[0] & 0xf0) == 0xe0)
        n = 3, low = at[0] == 0xe0 ? 0xa0 : low, high = at[0] == 0xed ? 0x9f : high;
    else if (at[0] >= 0xf0 && at[0] <= 0xf4)
        n = 4, low = at[0] == 0xf0 ? 0x90 : low, high = at[0] == 0xf4 ? 0x8f : high;
    else
        return 0;
    if (size < n || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

static bool wrong(parser *p, const char *problem)
{
    if (p->status == DS4_OK) {
        p->status = DS4_ERR_ARGUMENT;
        p->problem = problem;
    }
    return false;
}

static bool no_memory(parser *p)
{
    p->status = DS4_ERR_NO_MEMORY;
    return false;
}

static void skip_space(parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
        p->at++;
}

static size_t left(const parser *p)
{
    return (size_t)(p->end - p->at);
}

/* A copy with a 0 after it, without the padding that an allocation of its own would have. */
static bool keep_text(parser *p, slice text, slice *out)
{
    char *copy;
    if (text.size > ROOM_TEXT_MAX) {
        *out = arena_copy(&p->document->memory, text);
        return out->data || no_memory(p);
    }
    if (p->room_left < text.size + 1) {
        p->room = arena_alloc(&p->document->memory, ROOM_BYTES);
        p->room_left = p->room ? ROOM_BYTES : 0;
        if (!p->room)
            return no_memory(p);
    }
    copy = p->room;
    if (text.size)
        memcpy(copy, text.data, text.size);
    p->room += text.size + 1; /* the memory came zeroed */
    p->room_left -= text.size + 1;
    *out = (slice){ copy, text.size };
    return true;
}

/* --- strings and numbers --------------------------------------------------------------------------------------------- */

static bool hex4(parser *p, uint32_t *out)
{
    *out = 0;
    if (left(p) < 4)
        return wrong(p, "a \\u escape is cut off");
    for (int i = 0; i < 4; i++, p->at++) {
        const char c = *p->at;
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0)
            return wrong(p, "a \\u escape needs four hexadecimal digits");
        *out = *out * 16 + (uint32_t)digit;
    }
    return true;
}

static ds4_status append_code_point(buffer *out, uint32_t c)
{
    char bytes[4];
    size_t n;
    if (c < 0x80)
        bytes[0] = (char)c, n = 1;
    else if (c < 0x800)
        bytes[0] = (char)(0xc0 | c >> 6), bytes[1] = (char)(0x80 | (c & 63)), n = 2;
    else if (c < 0x10000)
        bytes[0] = (char)(0xe0 | c >> 12), bytes[1] = (char)(0x80 | (c >> 6 & 63)), bytes[2] = (char)(0x80 | (c & 63)),
        n = 3;
    else
        bytes[0] = (char)(0xf0 | c >> 18), bytes[1] = (char)(0x80 | (c >> 12 & 63)),
        bytes[2] = (char)(0x80 | (c >> 6 & 63)), bytes[3] = (char)(0x80 | (c & 63)), n = 4;
    return buffer_append(out, bytes, n);
}

/* After "\u": a pair of surrogates is one code point, a lone one is U+FFFD. */
static bool unicode_escape(parser *p)
{
    uint32_t c, low;
    if (!hex4(p, &c))
        return false;
    if (c >= 0xd800 && c <= 0xdbff) {
        const char *here = p->at;
        if (left(p) >= 6 && p->at[0] == '\\' && p->at[1] == 'u') {
            p->at += 2;
            if (!hex4(p, &low))
                return false;
            if (low >= 0xdc00 && low <= 0xdfff) {
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            } else {
                c = 0xfffd;
                p->at = here; /* the second escape stands for itself */
            }
        } else {
            c = 0xfffd;
        }
    } else if (c >= 0xdc00 && c <= 0xdfff) {
        c = 0xfffd;
    }
    return append_code_point(&p->scratch, c) == DS4_OK || no_memory(p);
}

static bool escape(parser *p)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (left(p) == 0)
        return wrong(p, "a string is not closed");
    const char c = *p->at++;
    if (c == 'u')
        return unicode_escape(p);
    const char *found = c ? strchr(from, c) : NULL;
    if (!found) {
        p->at--;
        return wrong(p, "unknown escape in a string");
    }
    return buffer_append_byte(&p->scratch, (uint8_t)to[found - from]) == DS4_OK || no_memory(p);
}

/* *p->at is the opening quote. */
static bool parse_string(parser *p, slice *out)
{
    const char *open = p->at++;
    buffer_clear(&p->scratch);
    for (;;) {
        const char *from = p->at;
        while (p->at < p->end && *p->at != '"' && *p->at != '\\') {
            if ((unsigned char)*p->at < 0x20)
                return wrong(p, "a control character must be escaped in a string");
            const size_t n = json_utf8_length(p->at, left(p));
            if (n == 0)
                return wrong(p, "the text is not valid UTF-8");
            p->at += n;
        }
        if (buffer_append(&p->scratch, from, (size_t)(p->at - from)) != DS4_OK)
            return no_memory(p);
        if (left(p) == 0) {
            p->at = open;
            return wrong(p, "a string is not closed");
        }
        if (*p->at++ == '"')
            break;
        if (!escape(p))
            return false;
    }
    return keep_text(p, buffer_slice(&p->scratch), out);
}

static bool digits(parser *p)
{
    const char *from = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
        p->at++;
    return p->at > from || wrong(p, "a number needs a digit here");
}

static bool parse_number(parser *p, json_value *v)
{
    const char *from = p->at;
    if (*p->at == '-')
        p->at++;
    if (p->at < p->end && *p->at == '0')
        p->at++;
    else if (!digits(p))
        return false;
    if (p->at < p->end && *p->at == '.') {
        p->at++;
        if (!digits(p))
            return false;
    }
    if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
        p->at++;
        if (p->at < p->end && (*p->at == '+' || *p->at == '-'))
            p->at++;
        if (!digits(p))
            return false;
    }
    v->kind = JSON_NUMBER;
    return keep_text(p, (slice){ from, (size_t)(p->at - from) }, &v->text);
}

/* --- containers ------------------------------------------------------------------------------------------------------ */

static size_t slot_of(const member_table *table, slice key)
{
    unsigned char digest[crypto_shorthash_BYTES];
    uint64_t hash;
    crypto_shorthash(digest, (const unsigned char *)key.data, key.size, table->secret);
    memcpy(&hash, digest, sizeof hash);
    return (size_t)hash & (table->n_slots - 1);
}

/* The member's index + 1, or 0. */
static size_t find_member(const container *object, slice key)
{
    const member_table *table = object->table;
    if (!table) {
        for (size_t i = 0; i < object->n; i++)
            if (slice_equal(object->keys[i], key))
                return i + 1;
        return 0;
    }
    for (size_t i = slot_of(table, key);; i = (i + 1) & (table->n_slots - 1)) {
        const uint32_t index = table->slots[i];
        if (index == 0 || slice_equal(object->keys[index - 1], key))
            return index;
    }
}

static void table_add(container *object, size_t index)
{
    member_table *table = object->table;
    size_t i = slot_of(table, object->keys[index]);
    while (table->slots[i])
        i = (i + 1) & (table->n_slots - 1);
    table->slots[i] = (uint32_t)index + 1;
}

static bool make_table(parser *p, container *object)
{
    const size_t n_slots = 2 * (size_t)object->capacity;
    object->table = arena_alloc(&p->document->memory, sizeof *object->table + n_slots * sizeof object->table->slots[0]);
    if (!object->table)
        return no_memory(p);
    if (!p->has_secret)
        randombytes_buf(p->secret, sizeof p->secret);
    p->has_secret = true;
    memcpy(object->table->secret, p->secret, sizeof p->secret);
    object->table->n_slots = n_slots;
    for (size_t i = 0; i < object->n; i++)
        table_add(object, i);
    return true;
}

/* Doubling in an arena leaves the old arrays behind: twice the memory at most. */
static bool make_room(parser *p, container *box, bool object)
{
    arena *memory = &p->document->memory;
    if (box->n < box->capacity)
        return true;
    const size_t capacity = box->capacity ? 2 * (size_t)box->capacity : 2;
    json_value **items = arena_alloc_array(memory, capacity, sizeof *items);
    slice *keys = object ? arena_alloc_array(memory, capacity, sizeof *keys) : NULL;
    if (!items || (object && !keys) || capacity > UINT32_MAX / 4)
        return no_memory(p);
    if (box->n)
        memcpy(items, box->items, box->n * sizeof *items);
    if (keys && box->n)
        memcpy(keys, box->keys, box->n * sizeof *keys);
    box->items = items;
    box->keys = keys;
    box->capacity = (uint32_t)capacity;
    return !object || capacity < TABLE_FROM || make_table(p, box);
}

/* A new value inside the container on top of the stack. NULL: no memory. */
static json_value *add_item(parser *p, json_value *top, slice key)
{
    arena *memory = &p->document->memory;
    json_value *v = arena_alloc(memory, sizeof *v);
    container *box = top->box ? top->box : (top->box = arena_alloc(memory, sizeof *box));
    const bool object = top->kind == JSON_OBJECT;
    if (!v || !box || !make_room(p, box, object)) {
        no_memory(p);
        return NULL;
    }
    const size_t old = object ? find_member(box, key) : 0;
    if (old) { /* the last value in the first place */
        box->items[old - 1] = v;
        return v;
    }
    box->items[box->n] = v;
    if (object) {
        box->keys[box->n] = key;
        if (box->table)
            table_add(box, box->n);
    }
    box->n++;
    return v;
}

static bool literal(parser *p, const char *word, json_value *v, json_kind kind, bool truth)
{
    const size_t n = strlen(word);
    if (left(p) < n || memcmp(p->at, word, n) != 0)
        return wrong(p, "this is not a JSON value");
    p->at += n;
    v->kind = kind;
    v->truth = truth;
    return true;
}

/* A value whose first byte is *p->at; containers are only opened. */
static bool begin_value(parser *p, json_value *v)
{
    if (left(p) == 0)
        return wrong(p, "the text ends where a value should stand");
    switch (*p->at) {
    case '{':
    case '[':
        if (p->depth == JSON_DEPTH_MAX)
            return wrong(p, "nested too deep (the limit is 256)");
        v->kind = *p->at++ == '{' ? JSON_OBJECT : JSON_ARRAY;
        p->stack[p->depth++] = v;
        return true;
    case '"': v->kind = JSON_STRING; return parse_string(p, &v->text);
    case 't': return literal(p, "true", v, JSON_BOOL, true);
    case 'f': return literal(p, "false", v, JSON_BOOL, false);
    case 'n': return literal(p, "null", v, JSON_NULL, false);
    default:
        if (*p->at == '-' || (*p->at >= '0' && *p->at <= '9'))
            return parse_number(p, v);
        return wrong(p, "this is not a JSON value");
    }
}

/* The next item of the container on top, or its end. `first`: nothing of it has been read. */
static bool next_item(parser *p, bool first)
{
    json_value *top = p->stack[p->depth - 1];
    const char close = top->kind == JSON_OBJECT ? '}' : ']';
    slice key = { 0 };
    skip_space(p);
    if (left(p) == 0)
        return wrong(p, top->kind == JSON_OBJECT ? "an object is not closed" : "an array is not closed");
    if (*p->at == close) {
        p->at++;
        p->depth--;
        return true;
    }
    if (!first) {
        if (*p->at != ',')
            return wrong(p, "a comma or the end of the container is expected");
        p->at++;
        skip_space(p);
    }
    if (top->kind == JSON_OBJECT) {
        if (left(p) == 0 || *p->at != '"')
            return wrong(p, "a member name in quotes is expected");
        if (!parse_string(p, &key))
            return false;
        skip_space(p);
        if (left(p) == 0 || *p->at != ':')
            return wrong(p, "a colon is expected");
        p->at++;
        skip_space(p);
    }
    json_value *v = add_item(p, top, key);
    return v && begin_value(p, v);
}

static bool parse_document(parser *p)
{
    skip_space(p);
    if (!begin_value(p, &p->document->root))
        return false;
    while (p->depth > 0) {
        const json_value *top = p->stack[p->depth - 1];
        if (!next_item(p, !top->box))
            return false;
    }
    skip_space(p);
    return left(p) == 0 || wrong(p, "something follows the value");
}

ds4_status json_parse(json_value **out, slice text, size_t *error_at, ds4_error *err)
{
    return json_parse_bounded(out, text, 0, error_at, err);
}

ds4_status json_parse_bounded(json_value **out, slice text, size_t tree_bytes_max, size_t *error_at, ds4_error *err)
{
    json_document *document = calloc(1, sizeof *document);
    parser *p = calloc(1, sizeof *p);
    ds4_status status = DS4_ERR_NO_MEMORY;
    *out = NULL;
    if (error_at)
        *error_at = 0;
    if (!text.data)
        text = SLICE("");
    if (document && p) {
        *p = (parser){ .document = document, .begin = text.data, .at = text.data, .end = text.data + text.size };
        document->memory.size_max = tree_bytes_max;
        parse_document(p);
        status = p->status == DS4_ERR_NO_MEMORY && document->memory.over ? DS4_ERR_NO_SPACE : p->status;
        if (error_at)
            *error_at = (size_t)(p->at - p->begin);
        buffer_free(&p->scratch);
    }
    if (status == DS4_OK)
        *out = &document->root;
    else if (status == DS4_ERR_ARGUMENT)
        ds4_fail(err, status, "%s, at byte %zu", p->problem, (size_t)(p->at - p->begin));
    else if (status == DS4_ERR_NO_SPACE)
        ds4_fail(err, status, "its values take more than %zu bytes", tree_bytes_max);
    else
        ds4_fail(err, status, "not enough memory for this JSON text");
    if (status != DS4_OK && document) {
        arena_free(&document->memory);
        free(document);
    }
    free(p);
    return status;
}

void json_free(json_value *root)
{
    json_document *document = (json_document *)root;
    if (!document)
        return;
    arena_free(&document->memory);
    free(document);
}

/* --- readers --------------------------------------------------------------------------------------------------------- */

json_kind json_kind_of(const json_value *value)
{
    return value ? value->kind : JSON_ABSENT;
}

const char *json_kind_name(json_kind kind)
{
    static const char *const names[] = { "absent", "null", "boolean", "number", "string", "array", "object" };
    return (unsigned)kind < sizeof names / sizeof names[0] ? names[kind] : "unknown";
}

bool json_is_null(const json_value *value)
{
    return !value || value->kind == JSON_NULL;
}

/* NULL for all but arrays and objects with something in them. */
static const container *box_of(const json_value *value)
{
    const json_kind kind = json_kind_of(value);
    return kind == JSON_ARRAY || kind == JSON_OBJECT ? value->box : NULL;
}

const json_value *json_get(const json_value *object, slice key)
{
    const container *box = json_kind_of(object) == JSON_OBJECT ? box_of(object) : NULL;
    const size_t index = box ? find_member(box, key) : 0;
    return index ? box->items[index - 1] : NULL;
}

const json_value *json_member(const json_value *object, const char *key)
{
    return json_get(object, slice_of(key));
}

size_t json_count(const json_value *value)
{
    const container *box = box_of(value);
    return box ? box->n : 0;
}

const json_value *json_at(const json_value *value, size_t i)
{
    const container *box = box_of(value);
    return box && i < box->n ? box->items[i] : NULL;
}

slice json_key_at(const json_value *object, size_t i)
{
    const container *box = json_kind_of(object) == JSON_OBJECT ? box_of(object) : NULL;
    return box && i < box->n ? box->keys[i] : (slice){ "", 0 };
}

bool json_string(const json_value *value, slice *out)
{
    if (json_kind_of(value) != JSON_STRING)
        return false;
    *out = value->text;
    return true;
}

bool json_bool(const json_value *value, bool *out)
{
    if (json_kind_of(value) != JSON_BOOL)
        return false;
    *out = value->truth;
    return true;
}

bool json_is_integer(const json_value *value)
{
    return json_kind_of(value) == JSON_NUMBER && !memchr(value->text.data, '.', value->text.size) &&
           !memchr(value->text.data, 'e', value->text.size) && !memchr(value->text.data, 'E', value->text.size);
}

bool json_int64(const json_value *value, int64_t *out)
{
    if (json_kind_of(value) != JSON_NUMBER)
        return false;
    if (json_is_integer(value)) {
        errno = 0;
        const long long n = strtoll(value->text.data, NULL, 10); /* a 0 stands after the text */
        if (errno)
            return false;
        *out = n;
        return true;
    }
    const double x = c_locale_strtod(value->text.data, NULL);
    if (!(x >= -0x1p53 && x <= 0x1p53) || x != floor(x))
        return false;
    *out = (int64_t)x;
    return true;
}

bool json_double(const json_value *value, double *out)
{
    if (json_kind_of(value) != JSON_NUMBER)
        return false;
    const double x = c_locale_strtod(value->text.data, NULL);
    if (!isfinite(x))
        return false;
    *out = x;
    return true;
}

slice json_number_text(const json_value *value)
{
    return json_kind_of(value) == JSON_NUMBER ? value->text : (slice){ "", 0 };
}
