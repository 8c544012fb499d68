/* base/clock.h - time. Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

int64_t clock_monotonic_us(void); /* microseconds since some fixed moment; never goes back */
int64_t clock_unix_ns(void);      /* wall clock; may jump: never use it to measure */
void clock_sleep_us(int64_t us);

/* A condition variable that waits by the monotonic clock: setting the wall clock neither stretches nor cuts a wait. */
void clock_cond_init(pthread_cond_t *cond);
/* Waits under `lock` until signalled, or until clock_monotonic_us() is `deadline_us`; false when that was it. */
bool clock_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t deadline_us);

#endif
