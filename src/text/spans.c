#include "text/text.h"

#include <stdlib.h>

enum { SPANS_BYTES_MAX = 1 << 30 };

static ds4_status append(text_spans *spans, text_span span)
{
    if (spans->n == spans->capacity) {
        const size_t capacity = spans->capacity ? 2 * spans->capacity : 16;
        text_span *grown = realloc(spans->items, capacity * sizeof *grown);
        if (!grown)
            return DS4_ERR_NO_MEMORY;
        spans->items = grown;
        spans->capacity = capacity;
    }
    spans->items[spans->n++] = span;
    return DS4_OK;
}

ds4_status text_spans_seal(text_spans *spans)
{
    if (spans->open_text.size == 0)
        return DS4_OK;
    const slice text = arena_copy(&spans->memory, buffer_slice(&spans->open_text));
    if (!text.data)
        return DS4_ERR_NO_MEMORY;
    const ds4_status status = append(spans, (text_span){ .kind = TEXT_SPAN_TEXT, .text = text });
    if (status == DS4_OK)
        buffer_clear(&spans->open_text);
    return status;
}

ds4_status text_spans_control(text_spans *spans, text_special special)
{
    const ds4_status status = text_spans_seal(spans);
    return status == DS4_OK ? append(spans, (text_span){ .kind = TEXT_SPAN_CONTROL, .special = special }) : status;
}

ds4_status text_spans_text(text_spans *spans, slice text)
{
    if (text.size > SPANS_BYTES_MAX - spans->open_text.size)
        return DS4_ERR_NO_SPACE;
    return text.size ? buffer_append_slice(&spans->open_text, text) : DS4_OK;
}

void text_spans_free(text_spans *spans)
{
    arena_free(&spans->memory);
    free(spans->items);
    buffer_free(&spans->open_text);
    *spans = (text_spans){ 0 };
}

ds4_status text_spans_print(const text_spans *spans, buffer *out)
{
    ds4_status status = DS4_OK;
    for (size_t i = 0; status == DS4_OK && i < spans->n; i++) {
        const text_span *span = &spans->items[i];
        if (span->kind == TEXT_SPAN_CONTROL)
            status = buffer_append_text(out, text_special_spelling(span->special));
        else
            status = buffer_append_slice(out, span->text);
    }
    return status == DS4_OK ? buffer_append_slice(out, buffer_slice(&spans->open_text)) : status;
}
