/* server/upload.h - the body of a request while it is received and read. It has a limit of its own, and long bodies share a limit
 * on their sum: without it, as many bodies as there are connections could be held at once.
 *
 * A body counts towards the sum from its first byte beyond UPLOAD_LONG until upload_free(), whoever has it then. */
#ifndef SERVER_UPLOAD_H
#define SERVER_UPLOAD_H

#include "base/buffer.h"

#include <stdatomic.h>

enum { UPLOAD_LONG = 256 * 1024 }; /* takes a noticeable time to read: these wait for each other, not the short ones */

/* Of all long bodies. Threads: any. */
typedef struct upload_sum {
    atomic_size_t bytes;
    size_t bytes_max;
} upload_sum;

typedef struct upload {
    buffer bytes;
    size_t counted; /* of `sum` */
    upload_sum *sum;
} upload;

typedef enum upload_result {
    UPLOAD_TAKEN,
    UPLOAD_TOO_LONG, /* longer than its own limit */
    UPLOAD_SUM_FULL, /* others hold too much now */
    UPLOAD_NO_MEMORY
} upload_result;

/* `bytes_max` of this body, at most sum->bytes_max. */
upload upload_new(upload_sum *sum, size_t bytes_max);
/* A refused append changes nothing. */
upload_result upload_append(upload *b, const char *bytes, size_t size);
void upload_free(upload *b);

#endif
