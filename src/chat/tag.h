/* chat/tag.h - internal: one tag of a tool block, in its canonical form or one of the forms of 3.4.
 * In the text here the DSML token is the byte 0xFF, which valid UTF-8 never holds. */
#ifndef CHAT_TAG_H
#define CHAT_TAG_H

#include "base/buffer.h"

#define TAG_DSML '\xff'
enum { TAG_BYTES_MAX = 4096, TAG_ATTRIBUTES_MAX = 4 }; /* a longer tag is none */

typedef enum tag_name { TAG_CALLS, TAG_INVOKE, TAG_PARAMETER } tag_name;

typedef struct tag {
    tag_name name;
    bool closing;
    bool marked;   /* carried the DSML token itself */
    slice key;     /* attribute `name`, quotes still escaped; .data NULL if absent */
    slice is_text; /* attribute `string`; .data NULL if absent */
    size_t size;   /* bytes of the tag */
} tag;

typedef enum tag_scan { TAG_FOUND, TAG_MORE, TAG_NONE } tag_scan;

/* Is there a tag at the start of `text`? MORE: what is there could become one. The answer depends on the bytes of the tag
 * only, however many follow: a text that was FOUND or NONE stays so when it grows. */
tag_scan tag_read(slice text, tag *out);

#endif
