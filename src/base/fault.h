/* base/fault.h - named places where tests make the world fail. They exist only in builds with DS4_KV_FAULTS
 * (CMake preset `faults`); in every other build fault_at() is a constant and leaves no symbol behind.
 *
 * A place asks fault_at("publish.fsync") and acts on the answer; `kill`, `abort` and `delay` have then already
 * happened. The plan comes as text (docs/spec/kvstore.md, section 15):
 *
 *     point:action[:arg[,arg2]][@n][;...]     @n = only the n-th passage (default 1), @* = every one, @pF = probability F
 *
 * A point of "*" matches every point, and its passages are counted over all of them.
 * Actions: kill abort delay:MS, an errno name (EIO ENOSPC ...), a status (STATE_BAD OOM DEVICE_LOST CANCELLED OTHER),
 * short:K flip:BIT zero:OFF nan:LAYER skew:K force busy.
 * Thread rules: any thread may pass a point; configure before threads start or between tests. */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include "ds4/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum fault_kind {
    FAULT_NONE,
    FAULT_ERRNO,  /* `code` is an errno: act as if the system call had failed with it */
    FAULT_STATUS, /* `status`: act as if the step had failed with it */
    FAULT_SHORT,  /* at most `arg` bytes come through */
    FAULT_FLIP,   /* bit `arg` of the bytes is inverted */
    FAULT_ZERO,   /* from offset `arg` on the bytes are zero */
    FAULT_NAN,    /* a value of layer `arg` becomes NaN */
    FAULT_SKEW,   /* a count is off by `arg` */
    FAULT_FORCE   /* take the rare branch */
} fault_kind;

typedef struct fault {
    fault_kind kind;
    int code;
    ds4_status status;
    int64_t arg;
} fault;

#ifdef DS4_KV_FAULTS

fault fault_at(const char *point);

/* For a system call: sets errno and returns true when it is to fail. */
bool fault_errno(const char *point);

/* Replaces the plan; NULL or "" means no faults. `seed` drives @p; `log_path` (or NULL) gets one line per passage. */
ds4_status fault_configure(const char *plan, uint64_t seed, const char *log_path, ds4_error *err);

/* For unit tests: the n-th passage (1-based) of `point` ("*" = any) fails with `code`; earlier plans are dropped. */
void fault_arm(const char *point, int code, unsigned nth);
/* The same, but the passage stops there until fault_release(). fault_wait_held() waits until it does: what a test does between
 * the two happens exactly then, however fast or slow the threads are. */
void fault_hold(const char *point, unsigned nth);
void fault_wait_held(void);
void fault_release(void);
bool fault_disarm(void); /* drops all plans; true if anything fired since the last configure or arm */

#else

static inline fault fault_at(const char *point)
{
    (void)point;
    return (fault){ FAULT_NONE, 0, DS4_OK, 0 };
}

static inline bool fault_errno(const char *point)
{
    (void)point;
    return false;
}

#endif
#endif
