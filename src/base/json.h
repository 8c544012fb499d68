/* base/json.h - JSON texts of strangers, read into a tree of constants; and JSON written straight into a buffer.
 *
 * Reading is RFC 8259 and nothing more (no comments, no trailing commas, no NaN). Beyond it, docs/spec/protocol.md,
 * sections 1.5 and 2.4: key order is kept; of a repeated key the last value stands in the first one's place; a pair of
 * surrogate escapes is one code point, a lone one is U+FFFD; \u0000 is a byte 0 in a length-counted string, in keys
 * too; numbers keep their text, so that integers of any size print as written. Strings are always valid UTF-8 (a raw
 * invalid byte is a syntax error, since a request that is not UTF-8 is not JSON).
 * Why no library: docs/modules/json.md. Threads: a parsed tree is constant and may be read by any number of threads. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buffer.h"

enum { JSON_DEPTH_MAX = 256 }; /* nested arrays and objects; docs/spec/protocol.md, section 4.1 */

/* A value lives until json_free() of the root it was parsed with. Every reader below takes NULL for "absent". */
typedef struct json_value json_value;

typedef enum json_kind {
    JSON_ABSENT, /* the kind of a NULL pointer */
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
} json_kind;

/* Parses `text`, which must be exactly one value; nothing of `text` is kept. *out is the caller's to json_free(), NULL
 * after any error. Errors: ARGUMENT (not JSON, or nested too deep: *error_at is the byte offset, and the text, fit for
 * the client, names it); NO_MEMORY. `error_at` may be NULL. The size of `text` is the caller's to limit: a tree takes up
 * to 40 bytes per byte of text (lists of lists of one digit), as a rule less than twice the text. */
ds4_status json_parse(json_value **out, slice text, size_t *error_at, ds4_error *err);
/* The same for a tree of at most so many bytes; 0: any. One more error: NO_SPACE. */
ds4_status json_parse_bounded(json_value **out, slice text, size_t tree_bytes_max, size_t *error_at, ds4_error *err);
void json_free(json_value *root); /* only what json_parse() gave; NULL is fine */

json_kind json_kind_of(const json_value *value);
const char *json_kind_name(json_kind kind); /* "null", "boolean", "number", "string", "array", "object", "absent" */
bool json_is_null(const json_value *value); /* null or absent: the same for every optional field */

/* Objects. Anything but an object has no members. Look-up takes constant time in large objects, whatever the keys. */
const json_value *json_get(const json_value *object, slice key);          /* NULL if there is none */
const json_value *json_member(const json_value *object, const char *key); /* the same by a C string */
/* Arrays and objects in order: how many, the i-th element or member value (NULL beyond the end), the i-th key. */
size_t json_count(const json_value *value);
const json_value *json_at(const json_value *value, size_t i);
slice json_key_at(const json_value *object, size_t i);

/* Each answers false, and leaves *out alone, unless the value is of that type and fits. */
bool json_string(const json_value *value, slice *out); /* .data is never NULL and has a 0 after its last byte */
bool json_bool(const json_value *value, bool *out);
/* Any number whose value is integral and in range: 3, 3.0 and 3e0 are the same to a client written in JavaScript. */
bool json_int64(const json_value *value, int64_t *out);
bool json_double(const json_value *value, double *out); /* finite only: 1e999 answers false */
slice json_number_text(const json_value *value);        /* as written; empty for other kinds */
bool json_is_integer(const json_value *value); /* a number written without fraction and exponent, of any size */

/* Appends the value as Python's json.dumps(value, ensure_ascii=False) prints it: separators ", " and ": ", escapes only
 * where JSON demands them, integers as written, other numbers as repr(float) (shortest digits that read back:
 * 1.0, 1e-07, 1e+16). A number beyond double is printed as written. Errors: NO_MEMORY, NO_SPACE. */
ds4_status json_print_python(const json_value *value, buffer *out);
ds4_status json_print_compact(const json_value *value, buffer *out); /* the same without spaces */

/* Writing without a tree. All append; errors: NO_MEMORY, NO_SPACE. */
ds4_status json_write_string(buffer *out, slice text);        /* with quotes; invalid UTF-8 becomes U+FFFD */
ds4_status json_write_string_inside(buffer *out, slice text); /* the same without the quotes, to write one in pieces */
ds4_status json_write_double(buffer *out, double value);      /* repr(float); null for infinities and NaN */

/* Bytes of the UTF-8 character at the start of text[0 .. size): 1..4, or 0 if none starts there (invalid, or cut off). */
size_t json_utf8_length(const char *text, size_t size);

#endif
