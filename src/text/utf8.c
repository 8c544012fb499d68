/* Streaming UTF-8: docs/spec/protocol.md, section 1.5. */
#include "text/text.h"

#define REPLACEMENT "\xef\xbf\xbd"

typedef enum step { STEP_MORE, STEP_CHARACTER, STEP_BAD } step;

/* What `n` bytes are: the beginning of a character, a whole one, or neither. Bounds of the second byte keep out overlong
 * forms, surrogates and what lies beyond U+10FFFF (Unicode standard, table 3-7). */
static step classify(const uint8_t *b, size_t n)
{
    const uint8_t first = b[0];
    const size_t need = first < 0x80                     ? 1
                        : first >= 0xc2 && first <= 0xdf ? 2
                        : (first & 0xf0) == 0xe0         ? 3
                        : first >= 0xf0 && first <= 0xf4 ? 4
                                                         : 0;
    if (need == 0)
        return STEP_BAD;
    if (n > 1) {
        const uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
        const uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
        if (b[1] < low || b[1] > high)
            return STEP_BAD;
    }
    for (size_t i = 2; i < n; i++)
        if ((b[i] & 0xc0) != 0x80)
            return STEP_BAD;
    return n == need ? STEP_CHARACTER : STEP_MORE;
}

ds4_status text_utf8_feed(text_utf8 *s, slice bytes, buffer *out)
{
    ds4_status status = DS4_OK;
    for (size_t i = 0; status == DS4_OK && i < bytes.size;) {
        s->held[s->n_held++] = (uint8_t)bytes.data[i];
        switch (classify(s->held, s->n_held)) {
        case STEP_MORE: i++; break;
        case STEP_CHARACTER:
            status = buffer_append(out, s->held, s->n_held);
            s->n_held = 0;
            i++;
            break;
        case STEP_BAD:
            /* What was held is a maximal invalid part; the byte that ended it is looked at again, alone. */
            status = buffer_append_text(out, REPLACEMENT);
            i += s->n_held == 1;
            s->n_held = 0;
            break;
        }
    }
    return status;
}

ds4_status text_utf8_finish(text_utf8 *s, buffer *out)
{
    if (s->n_held == 0)
        return DS4_OK;
    s->n_held = 0;
    return buffer_append_text(out, REPLACEMENT);
}
