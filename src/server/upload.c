#include "server/upload.h"

upload upload_new(upload_sum *sum, size_t bytes_max)
{
    return (upload){ .bytes = buffer_bounded(bytes_max), .sum = sum };
}

/* Adds what the body will have grown by. A failed append leaves it counted until upload_free(), which follows. */
static bool count(upload *b, size_t size)
{
    const size_t after = b->bytes.size + size, more = after > UPLOAD_LONG ? after - b->counted : 0;
    size_t sum = atomic_load_explicit(&b->sum->bytes, memory_order_relaxed);
    do {
        if (more > b->sum->bytes_max - sum)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->sum->bytes, &sum, sum + more, memory_order_relaxed,
                                                    memory_order_relaxed));
    b->counted += more;
    return true;
}

upload_result upload_append(upload *b, const char *bytes, size_t size)
{
    if (size > b->bytes.size_max - b->bytes.size)
        return UPLOAD_TOO_LONG;
    if (!count(b, size))
        return UPLOAD_SUM_FULL;
    return buffer_append(&b->bytes, bytes, size) == DS4_OK ? UPLOAD_TAKEN : UPLOAD_NO_MEMORY;
}

void upload_free(upload *b)
{
    buffer_free(&b->bytes);
    if (b->sum)
        atomic_fetch_sub_explicit(&b->sum->bytes, b->counted, memory_order_relaxed);
    b->counted = 0;
}
