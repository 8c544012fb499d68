/* Memory that runs out on purpose: the allocator of the C library with a fuse before it. */
#ifndef TESTS_SERVER_STUB_FUSE_H
#define TESTS_SERVER_STUB_FUSE_H

#include <stdbool.h>

/* Can this build do it? The sanitizers bring an allocator of their own. */
bool fuse_works(void);
/* From now on the n-th allocation fails (1-based), and all that follow when it is for good. 0: none. */
void fuse_set(long n, bool for_good);
long fuse_n_requests(void); /* since the last fuse_set() */
long fuse_n_live(void);     /* allocations that nobody has freed */

#endif
