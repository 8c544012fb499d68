/* Any text: no control token comes out, and decoding gives the bytes back (docs/spec/protocol.md, section 1.4). */
#include "support/byte_tokenizer.h"
#include "text/text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const text_tokenizer *the_tokenizer(void)
{
    static const char *const merges[] = { "t h",      "th i", "thi n", "thin k",       "< /",
                                          "\u0120 a", "a a",  "aa aa", "\u00ef \u00bd" };
    static byte_tokenizer t;
    if (!t.tokenizer)
        byte_tokenizer_open(&t, merges, sizeof merges / sizeof merges[0]);
    return t.tokenizer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const text_tokenizer *t = the_tokenizer();
    token_list ids = { 0 };
    buffer back = { 0 }, whole = { 0 }, cut = { 0 };
    text_utf8 a = { 0 }, b = { 0 };
    if (text_encode(t, (slice){ (const char *)data, size }, &ids, NULL) != DS4_OK)
        abort();
    for (size_t i = 0; i < ids.n; i++) {
        if (text_is_control(t, ids.ids[i]))
            abort();
        buffer_append_slice(&back, text_piece(t, ids.ids[i]));
        text_utf8_feed(&a, text_piece(t, ids.ids[i]), &cut);
    }
    text_utf8_finish(&a, &cut);
    text_utf8_feed(&b, (slice){ (const char *)data, size }, &whole);
    text_utf8_finish(&b, &whole);
    if (back.size != size || (size && memcmp(back.data, data, size) != 0))
        abort();
    if (cut.size != whole.size || (cut.size && memcmp(cut.data, whole.data, cut.size) != 0))
        abort();
    token_list_free(&ids);
    buffer_free(&back);
    buffer_free(&whole);
    buffer_free(&cut);
    return 0;
}
