/* base/log.h - lines for the operator, on stderr: one event, one line, key=value, stable words, no text of users.
 * Any thread; a line is written with one call, so lines never mix. A line that stderr cannot take at once (a full
 * pipe) is dropped and counted; the next one says how many. Set the level before threads start. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

typedef enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG } log_level;

void log_set_level(log_level level);
log_level log_get_level(void);

/* Writes "HH:MM:SS.mmm LEVEL text\n" (UTC). Control bytes in the text become '?'. */
void log_line(log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)

#endif
