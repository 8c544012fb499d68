/* JSON in and out. The parser walks its text with an explicit stack, so that nesting costs memory and not the C stack. */
#include "base/json.h"

#include "base/arena.h"
#include "base/hash.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { TABLE_FROM = 16 /* members from which on an object gets a hash table */ };

struct json_value {
    json_kind kind;
    bool truth;
    slice text;                /* string (with a 0 after it), or number as written */
    struct json_value **items; /* [n] */
    slice *keys;               /* [n], of objects */
    size_t n, capacity;
    uint32_t *table; /* [table_size] of index + 1, a power of two at least twice n; NULL for small objects */
    size_t table_size;
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
    json_value *stack[JSON_DEPTH_MAX];
    size_t depth;
    uint64_t seed;
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
    *out = arena_copy(&p->document->memory, (slice){ p->scratch.data ? p->scratch.data : "", p->scratch.size });
    return out->data || no_memory(p);
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
    v->text = arena_copy(&p->document->memory, (slice){ from, (size_t)(p->at - from) });
    return v->text.data || no_memory(p);
}

/* --- containers ------------------------------------------------------------------------------------------------------ */

static uint64_t hash_of(slice key)
{
    return XXH3_64bits(key.data, key.size);
}

/* The member's index + 1, or 0. */
static size_t find_member(const json_value *object, slice key)
{
    if (!object->table) {
        for (size_t i = 0; i < object->n; i++)
            if (slice_equal(object->keys[i], key))
                return i + 1;
        return 0;
    }
    for (size_t i = hash_of(key) & (object->table_size - 1);; i = (i + 1) & (object->table_size - 1)) {
        const uint32_t index = object->table[i];
        if (index == 0 || slice_equal(object->keys[index - 1], key))
            return index;
    }
}

static void table_add(json_value *object, size_t index)
{
    size_t i = hash_of(object->keys[index]) & (object->table_size - 1);
    while (object->table[i])
        i = (i + 1) & (object->table_size - 1);
    object->table[i] = (uint32_t)index + 1;
}

/* Doubling in an arena leaves the old arrays behind: twice the memory at most. */
static bool make_room(parser *p, json_value *v)
{
    arena *memory = &p->document->memory;
    if (v->n < v->capacity)
        return true;
    const size_t capacity = v->capacity ? 2 * v->capacity : 4;
    json_value **items = arena_alloc_array(memory, capacity, sizeof *items);
    slice *keys = v->kind == JSON_OBJECT ? arena_alloc_array(memory, capacity, sizeof *keys) : NULL;
    if (!items || (v->kind == JSON_OBJECT && !keys) || capacity > UINT32_MAX / 4)
        return no_memory(p);
    if (v->n)
        memcpy(items, v->items, v->n * sizeof *items);
    if (keys && v->n)
        memcpy(keys, v->keys, v->n * sizeof *keys);
    v->items = items;
    v->keys = keys;
    v->capacity = capacity;
    if (v->kind == JSON_OBJECT && capacity >= TABLE_FROM) {
        v->table_size = 2 * capacity;
        v->table = arena_alloc_array(memory, v->table_size, sizeof *v->table);
        if (!v->table)
            return no_memory(p);
        for (size_t i = 0; i < v->n; i++)
            table_add(v, i);
    }
    return true;
}

/* A new value inside the container on top of the stack. NULL: no memory. */
static json_value *add_item(parser *p, json_value *container, slice key)
{
    json_value *v = arena_alloc(&p->document->memory, sizeof *v);
    if (!v || !make_room(p, container)) {
        no_memory(p);
        return NULL;
    }
    const size_t old = container->kind == JSON_OBJECT ? find_member(container, key) : 0;
    if (old) { /* the last value in the first place */
        container->items[old - 1] = v;
        return v;
    }
    container->items[container->n] = v;
    if (container->kind == JSON_OBJECT) {
        container->keys[container->n] = key;
        if (container->table)
            table_add(container, container->n);
    }
    container->n++;
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
    json_value *container = p->stack[p->depth - 1];
    const char close = container->kind == JSON_OBJECT ? '}' : ']';
    slice key = { 0 };
    skip_space(p);
    if (left(p) == 0)
        return wrong(p, container->kind == JSON_OBJECT ? "an object is not closed" : "an array is not closed");
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
    if (container->kind == JSON_OBJECT) {
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
    json_value *v = add_item(p, container, key);
    return v && begin_value(p, v);
}

static bool parse_document(parser *p)
{
    skip_space(p);
    if (!begin_value(p, &p->document->root))
        return false;
    while (p->depth > 0) {
        const json_value *top = p->stack[p->depth - 1];
        if (!next_item(p, top->n == 0))
            return false;
    }
    skip_space(p);
    return left(p) == 0 || wrong(p, "something follows the value");
}

ds4_status json_parse(json_value **out, slice text, size_t *error_at, ds4_error *err)
{
    json_document *document = calloc(1, sizeof *document);
    parser *p = calloc(1, sizeof *p);
    ds4_status status = DS4_ERR_NO_MEMORY;
    *out = NULL;
    if (error_at)
        *error_at = 0;
    if (document && p) {
        *p = (parser){ .document = document, .begin = text.data, .at = text.data, .end = text.data + text.size };
        if (!text.data)
            p->begin = p->at = p->end = "";
        parse_document(p);
        status = p->status;
        if (error_at)
            *error_at = (size_t)(p->at - p->begin);
        buffer_free(&p->scratch);
    }
    if (status == DS4_OK)
        *out = &document->root;
    else if (status == DS4_ERR_ARGUMENT)
        ds4_fail(err, status, "%s, at byte %zu", p->problem, (size_t)(p->at - p->begin));
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

const json_value *json_get(const json_value *object, slice key)
{
    if (json_kind_of(object) != JSON_OBJECT)
        return NULL;
    const size_t index = find_member(object, key);
    return index ? object->items[index - 1] : NULL;
}

const json_value *json_member(const json_value *object, const char *key)
{
    return json_get(object, slice_of(key));
}

size_t json_count(const json_value *value)
{
    return value ? value->n : 0;
}

const json_value *json_at(const json_value *value, size_t i)
{
    return value && i < value->n ? value->items[i] : NULL;
}

slice json_key_at(const json_value *object, size_t i)
{
    return json_kind_of(object) == JSON_OBJECT && i < object->n ? object->keys[i] : (slice){ "", 0 };
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
    const double x = strtod(value->text.data, NULL);
    if (!(x >= -0x1p53 && x <= 0x1p53) || x != floor(x))
        return false;
    *out = (int64_t)x;
    return true;
}

bool json_double(const json_value *value, double *out)
{
    if (json_kind_of(value) != JSON_NUMBER)
        return false;
    const double x = strtod(value->text.data, NULL);
    if (!isfinite(x))
        return false;
    *out = x;
    return true;
}

slice json_number_text(const json_value *value)
{
    return json_kind_of(value) == JSON_NUMBER ? value->text : (slice){ "", 0 };
}

/* --- printing -------------------------------------------------------------------------------------------------------- */

/* repr(float): the fewest digits that read back as the same double; exponent form below 1e-4 and from 1e16 on. */
static ds4_status print_double(buffer *out, double x)
{
    char digits_text[32], *exponent_at;
    int precision = 0;
    do
        snprintf(digits_text, sizeof digits_text, "%.*e", precision, x);
    while (strtod(digits_text, NULL) != x && ++precision < 17);
    exponent_at = strchr(digits_text, 'e');
    const int exponent = atoi(exponent_at + 1);
    if (exponent < -4 || exponent >= 16) {
        *exponent_at = 0;
        return buffer_printf(out, "%se%s%02d", digits_text, exponent < 0 ? "-" : "+", abs(exponent));
    }
    const int places = precision - exponent;
    return buffer_printf(out, "%.*f", places > 0 ? places : 1, x);
}

static ds4_status print_number(const json_value *value, buffer *out)
{
    double x;
    if (json_is_integer(value) || !json_double(value, &x))
        return buffer_append_slice(out, value->text);
    return print_double(out, x);
}

ds4_status json_write_string_inside(buffer *out, slice text)
{
    ds4_status status = DS4_OK;
    size_t from = 0;
    for (size_t i = 0; status == DS4_OK && i < text.size;) {
        const unsigned char c = (unsigned char)text.data[i];
        const size_t n = json_utf8_length(text.data + i, text.size - i);
        if (n > 0 && c >= 0x20 && c != '"' && c != '\\') {
            i += n;
            continue;
        }
        status = buffer_append(out, text.data + from, i - from);
        if (status != DS4_OK)
            break;
        switch (n ? c : 0x80) {
        case '"': status = buffer_append_text(out, "\\\""); break;
        case '\\': status = buffer_append_text(out, "\\\\"); break;
        case '\b': status = buffer_append_text(out, "\\b"); break;
        case '\f': status = buffer_append_text(out, "\\f"); break;
        case '\n': status = buffer_append_text(out, "\\n"); break;
        case '\r': status = buffer_append_text(out, "\\r"); break;
        case '\t': status = buffer_append_text(out, "\\t"); break;
        case 0x80: status = buffer_append_text(out, "\xef\xbf\xbd"); break; /* a byte that is not UTF-8 */
        default: status = buffer_printf(out, "\\u%04x", c);
        }
        from = ++i;
    }
    if (status == DS4_OK && text.size > from)
        status = buffer_append(out, text.data + from, text.size - from);
    return status;
}

ds4_status json_write_string(buffer *out, slice text)
{
    ds4_status status = buffer_append_byte(out, '"');
    if (status == DS4_OK)
        status = json_write_string_inside(out, text);
    return status == DS4_OK ? buffer_append_byte(out, '"') : status;
}

static ds4_status print(const json_value *value, buffer *out, const char *comma, const char *colon)
{
    /* Nesting is at most JSON_DEPTH_MAX, checked by the parser: recursion is bounded. */
    ds4_status status = DS4_OK;
    switch (json_kind_of(value)) {
    case JSON_ABSENT:
    case JSON_NULL: return buffer_append_text(out, "null");
    case JSON_BOOL: return buffer_append_text(out, value->truth ? "true" : "false");
    case JSON_NUMBER: return print_number(value, out);
    case JSON_STRING: return json_write_string(out, value->text);
    default: break;
    }
    status = buffer_append_byte(out, value->kind == JSON_OBJECT ? '{' : '[');
    for (size_t i = 0; status == DS4_OK && i < value->n; i++) {
        if (i > 0)
            status = buffer_append_text(out, comma);
        if (status == DS4_OK && value->kind == JSON_OBJECT) {
            status = json_write_string(out, value->keys[i]);
            if (status == DS4_OK)
                status = buffer_append_text(out, colon);
        }
        if (status == DS4_OK)
            status = print(value->items[i], out, comma, colon);
    }
    return status == DS4_OK ? buffer_append_byte(out, value->kind == JSON_OBJECT ? '}' : ']') : status;
}

ds4_status json_print_python(const json_value *value, buffer *out)
{
    return print(value, out, ", ", ": ");
}

ds4_status json_print_compact(const json_value *value, buffer *out)
{
    return print(value, out, ",", ":");
}

ds4_status json_write_int(buffer *out, int64_t value)
{
    return buffer_printf(out, "%" PRId64, value);
}

ds4_status json_write_uint(buffer *out, uint64_t value)
{
    return buffer_printf(out, "%" PRIu64, value);
}

ds4_status json_write_double(buffer *out, double value)
{
    return isfinite(value) ? print_double(out, value) : buffer_append_text(out, "null");
}

ds4_status json_write_bool(buffer *out, bool value)
{
    return buffer_append_text(out, value ? "true" : "false");
}
