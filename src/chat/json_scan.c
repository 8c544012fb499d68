#include "chat/json_scan.h"

#include <string.h>

static bool go(json_scan *s, json_scan_state state)
{
    s->state = (uint8_t)state;
    return state != SCAN_BAD;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool open(json_scan *s, bool object)
{
    if (s->depth == JSON_SCAN_DEPTH_MAX)
        return go(s, SCAN_BAD);
    const uint64_t bit = UINT64_C(1) << s->depth++;
    s->objects = object ? s->objects | bit : s->objects & ~bit;
    return go(s, object ? SCAN_FIRST_KEY : SCAN_FIRST_VALUE);
}

static bool in_object(const json_scan *s)
{
    return s->depth > 0 && (s->objects >> (s->depth - 1) & 1);
}

static bool close(json_scan *s, char c)
{
    if (s->depth == 0 || in_object(s) != (c == '}'))
        return go(s, SCAN_BAD);
    s->depth--;
    return go(s, SCAN_AFTER);
}

static bool begin_string(json_scan *s, bool key)
{
    s->is_key = key;
    return go(s, SCAN_STRING);
}

static bool begin_word(json_scan *s, const char *rest)
{
    s->word = rest;
    return go(s, SCAN_WORD);
}

static bool begin_value(json_scan *s, char c)
{
    switch (c) {
    case '{': return open(s, true);
    case '[': return open(s, false);
    case '"': return begin_string(s, false);
    case 't': return begin_word(s, "rue");
    case 'f': return begin_word(s, "alse");
    case 'n': return begin_word(s, "ull");
    case '-': return go(s, SCAN_MINUS);
    case '0': return go(s, SCAN_ZERO);
    default: return go(s, is_digit(c) ? SCAN_INTEGER : SCAN_BAD);
    }
}

static bool after_value(json_scan *s, char c)
{
    if (c == ',' && s->depth > 0)
        return go(s, in_object(s) ? SCAN_KEY : SCAN_VALUE);
    return c == '}' || c == ']' ? close(s, c) : go(s, SCAN_BAD);
}

/* Between values: blanks are legal here. */
static bool feed_structure(json_scan *s, char c)
{
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
        return ++s->n_blanks <= JSON_SCAN_BLANKS_MAX || go(s, SCAN_BAD);
    s->n_blanks = 0;
    switch (s->state) {
    case SCAN_FIRST_VALUE: return c == ']' ? close(s, c) : begin_value(s, c);
    case SCAN_VALUE: return begin_value(s, c);
    case SCAN_FIRST_KEY:
        if (c == '}')
            return close(s, c);
        /* fall through */
    case SCAN_KEY: return c == '"' ? begin_string(s, true) : go(s, SCAN_BAD);
    case SCAN_COLON: return go(s, c == ':' ? SCAN_VALUE : SCAN_BAD);
    default: return after_value(s, c);
    }
}

static bool feed_string(json_scan *s, char c)
{
    if (s->state == SCAN_ESCAPE) {
        s->n_left = 4;
        return go(s, c == 'u' ? SCAN_HEX : c && strchr("\"\\/bfnrt", c) ? SCAN_STRING : SCAN_BAD);
    }
    if (s->state == SCAN_HEX)
        return go(s, !is_hex(c) ? SCAN_BAD : --s->n_left ? SCAN_HEX : SCAN_STRING);
    if (c == '"')
        return go(s, s->is_key ? SCAN_COLON : SCAN_AFTER);
    return go(s, c == '\\' ? SCAN_ESCAPE : (unsigned char)c < ' ' ? SCAN_BAD : SCAN_STRING);
}

static bool feed_number(json_scan *s, char c)
{
    const bool e = c == 'e' || c == 'E';
    switch (s->state) {
    case SCAN_MINUS: return go(s, c == '0' ? SCAN_ZERO : is_digit(c) ? SCAN_INTEGER : SCAN_BAD);
    case SCAN_DOT: return go(s, is_digit(c) ? SCAN_FRACTION : SCAN_BAD);
    case SCAN_E:
        if (c == '+' || c == '-')
            return go(s, SCAN_E_SIGN);
        /* fall through */
    case SCAN_E_SIGN: return go(s, is_digit(c) ? SCAN_EXPONENT : SCAN_BAD);
    default: break; /* the number could end here */
    }
    if (is_digit(c) && s->state != SCAN_ZERO)
        return true;
    if (c == '.' && (s->state == SCAN_ZERO || s->state == SCAN_INTEGER))
        return go(s, SCAN_DOT);
    if (e && s->state != SCAN_EXPONENT)
        return go(s, SCAN_E);
    s->state = SCAN_AFTER;
    return feed_structure(s, c);
}

bool json_scan_feed(json_scan *s, char c)
{
    switch (s->state) {
    case SCAN_BAD: return false;
    case SCAN_STRING:
    case SCAN_ESCAPE:
    case SCAN_HEX: return feed_string(s, c);
    case SCAN_WORD:
        if (*s->word != c)
            return go(s, SCAN_BAD);
        return *++s->word || go(s, SCAN_AFTER);
    default: return s->state >= SCAN_MINUS ? feed_number(s, c) : feed_structure(s, c);
    }
}

bool json_scan_complete(const json_scan *s)
{
    return s->depth == 0 && (s->state == SCAN_AFTER || s->state == SCAN_ZERO || s->state == SCAN_INTEGER ||
                             s->state == SCAN_FRACTION || s->state == SCAN_EXPONENT);
}

bool json_scan_in_payload(const json_scan *s)
{
    return !s->is_key && (s->state == SCAN_STRING || s->state == SCAN_ESCAPE || s->state == SCAN_HEX);
}
