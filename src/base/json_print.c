/* JSON written: trees as Python prints them, and single values straight into a buffer. */
#include "base/json.h"

#include "base/c_locale.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Below a power of two doubles lie twice as dense as above it. So the nearest number of n digits may read back as the
 * neighbour below, and the next one up as the power itself: then that is the shortest, 5.684341886080802e-14 for 2^-44. A
 * digit 9 needs no care: what follows it has fewer digits and was tried before. */
static bool step_up(char *text, double x)
{
    char *last = strchr(text, 'e') - 1;
    if (*last == '9')
        return false;
    ++*last;
    return c_locale_strtod(text, NULL) == x;
}

/* repr(float): the fewest digits that read back as the same double; exponent form below 1e-4 and from 1e16 on. */
static ds4_status print_double(buffer *out, double x)
{
    char digits_text[32], *exponent_at;
    int precision = -1;
    do
        c_locale_snprintf(digits_text, sizeof digits_text, "%.*e", ++precision, x);
    while (c_locale_strtod(digits_text, NULL) != x && !step_up(digits_text, x));
    exponent_at = strchr(digits_text, 'e');
    const int exponent = atoi(exponent_at + 1);
    if (exponent < -4 || exponent >= 16) {
        *exponent_at = 0;
        return buffer_printf(out, "%se%s%02d", digits_text, exponent < 0 ? "-" : "+", abs(exponent));
    }
    const int places = precision - exponent; /* powers of two in this range are exact: none was stepped up */
    return buffer_printf(out, "%.*f", places > 0 ? places : 1, x);
}

static ds4_status print_number(const json_value *value, buffer *out)
{
    double x;
    if (json_is_integer(value) || !json_double(value, &x))
        return buffer_append_slice(out, json_number_text(value));
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
    const json_kind kind = json_kind_of(value);
    ds4_status status = DS4_OK;
    bool truth = false;
    slice text = { 0 };
    if (json_is_null(value))
        return buffer_append_text(out, "null");
    if (json_bool(value, &truth))
        return buffer_append_text(out, truth ? "true" : "false");
    if (kind == JSON_NUMBER)
        return print_number(value, out);
    if (json_string(value, &text))
        return json_write_string(out, text);
    status = buffer_append_byte(out, kind == JSON_OBJECT ? '{' : '[');
    for (size_t i = 0, n = json_count(value); status == DS4_OK && i < n; i++) {
        if (i > 0)
            status = buffer_append_text(out, comma);
        if (status == DS4_OK && kind == JSON_OBJECT) {
            status = json_write_string(out, json_key_at(value, i));
            if (status == DS4_OK)
                status = buffer_append_text(out, colon);
        }
        if (status == DS4_OK)
            status = print(json_at(value, i), out, comma, colon);
    }
    return status == DS4_OK ? buffer_append_byte(out, kind == JSON_OBJECT ? '}' : ']') : status;
}

ds4_status json_print_python(const json_value *value, buffer *out)
{
    return print(value, out, ", ", ": ");
}

ds4_status json_print_compact(const json_value *value, buffer *out)
{
    return print(value, out, ",", ":");
}

ds4_status json_write_double(buffer *out, double value)
{
    return isfinite(value) ? print_double(out, value) : buffer_append_text(out, "null");
}
