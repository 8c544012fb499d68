/* ds4/error.h - how every fallible call of ds4 answers: a code for the program, a line for the person.
 * Thread rules: a ds4_error belongs to the caller; no call here keeps state. */
#ifndef DS4_ERROR_H
#define DS4_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#define DS4_API __attribute__((visibility("default"))) /* a symbol of libds4; all others stay inside */

typedef enum ds4_status {
    DS4_OK = 0,
    DS4_ERR_ARGUMENT = 1,    /* a value that the caller chose is out of range */
    DS4_ERR_NOT_FOUND = 2,   /* a miss: ordinary life, not worth a log line */
    DS4_ERR_NO_MEMORY = 3,   /* host or device */
    DS4_ERR_NO_SPACE = 4,    /* disk full, quota, or our own budget */
    DS4_ERR_IO = 5,          /* the system refused; the text holds its words */
    DS4_ERR_CORRUPT = 6,     /* bytes contradict themselves or their checksum */
    DS4_ERR_UNSUPPORTED = 7, /* well-formed, but of another version or shape */
    DS4_ERR_CANCELLED = 8,   /* asked to stop: a verdict on nothing */
    DS4_ERR_STATE_BAD = 9,   /* this sequence's state cannot be computed on */
    DS4_ERR_DEVICE_LOST = 10 /* the backend has to be made anew */
} ds4_status;                /* numbers are stable: they appear in logs and in files */

typedef struct ds4_error {
    ds4_status status;
    char text[240]; /* one line: what, where, and if we know it what to do */
} ds4_error;

/* Fills *err unless it is NULL, and returns `status`: failing is one statement.
 * Control bytes in the formatted text are replaced by '?', so that a hostile name cannot forge a log line. */
DS4_API ds4_status ds4_fail(ds4_error *err, ds4_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Status and last words from errno: ENOSPC and EDQUOT are NO_SPACE, ENOMEM is NO_MEMORY, ENOENT is NOT_FOUND, the
 * rest is IO. The text becomes "what: strerror". */
DS4_API ds4_status ds4_fail_errno(ds4_error *err, const char *what);

/* The stable lower-case word of a status ("ok", "state_bad", ...), for logs and files. Never NULL. */
DS4_API const char *ds4_status_word(ds4_status status);

#ifdef __cplusplus
}
#endif
#endif
