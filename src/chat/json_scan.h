/* chat/json_scan.h - internal: JSON byte by byte, to say which byte may come next (RFC 8259). It keeps no
 * values; base/json.h reads whole texts. A scan is a plain value: copy it to try something. */
#ifndef CHAT_JSON_SCAN_H
#define CHAT_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>

enum { JSON_SCAN_DEPTH_MAX = 64, JSON_SCAN_BLANKS_MAX = 64 /* in a row; more is a model going round in circles */ };

typedef enum json_scan_state {
    SCAN_VALUE,       /* a value must begin */
    SCAN_FIRST_VALUE, /* ... or the array ends */
    SCAN_KEY,         /* a key must begin */
    SCAN_FIRST_KEY,   /* ... or the object ends */
    SCAN_COLON,
    SCAN_AFTER, /* a value has ended: a comma or the end of what holds it */
    SCAN_STRING,
    SCAN_ESCAPE, /* after a backslash */
    SCAN_HEX,
    SCAN_WORD,  /* inside true, false, null */
    SCAN_MINUS, /* numbers: after the sign */
    SCAN_ZERO,
    SCAN_INTEGER,
    SCAN_DOT,
    SCAN_FRACTION,
    SCAN_E,
    SCAN_E_SIGN,
    SCAN_EXPONENT,
    SCAN_BAD
} json_scan_state;

/* Zeroed: before the first byte. */
typedef struct json_scan {
    uint8_t state; /* json_scan_state */
    uint8_t depth;
    uint8_t n_left; /* hex digits that are missing */
    uint8_t n_blanks;
    bool is_key;      /* the string at hand is a key */
    uint64_t objects; /* bit d: what is open at depth d is an object, not an array */
    const char *word; /* what is missing of a word */
} json_scan;

/* Takes one byte. False: no JSON text continues so; the scan then stays bad. */
bool json_scan_feed(json_scan *s, char c);
/* Could the text end here? */
bool json_scan_complete(const json_scan *s);
/* Inside a string that is a value: what stands there is payload (3.2). */
bool json_scan_in_payload(const json_scan *s);

#endif
