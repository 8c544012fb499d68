/* base/cores.h - how many processor cores this process may keep busy. Any thread. */
#ifndef BASE_CORES_H
#define BASE_CORES_H

#include <stdint.h>

/* The physical cores among the processors that this process may run on, and no more than its control group's quota of
 * processor time allows. At least 1. */
uint32_t cores_usable(void);

/* The same with every file read below `root` instead of "/"; for tests. */
uint32_t cores_usable_below(const char *root);

#endif
