/* Any bytes as JSON: refused at a position inside the text, or printed to a text that reads back to the same print. */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_value *first, *second;
    buffer a = { 0 }, b = { 0 };
    size_t at = 0;
    if (json_parse(&first, (slice){ (const char *)data, size }, &at, NULL) != DS4_OK) {
        if (at > size)
            abort();
        return 0;
    }
    if (json_print_python(first, &a) != DS4_OK || json_parse(&second, buffer_slice(&a), NULL, NULL) != DS4_OK ||
        json_print_python(second, &b) != DS4_OK)
        abort();
    if (a.size != b.size || memcmp(a.data, b.data, a.size) != 0)
        abort();
    json_free(first);
    json_free(second);
    buffer_free(&a);
    buffer_free(&b);
    return 0;
}
