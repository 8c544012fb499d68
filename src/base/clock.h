/* base/clock.h - time. Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_monotonic_us(void); /* microseconds since some fixed moment; never goes back */
int64_t clock_unix_ns(void);      /* wall clock; may jump: never use it to measure */
void clock_sleep_us(int64_t us);

#endif
