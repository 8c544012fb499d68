/* cli/text_file.h - a small text from a file that the user named. */
#ifndef CLI_TEXT_FILE_H
#define CLI_TEXT_FILE_H

/* The whole file with a terminating 0, the caller's to free(); NULL after a complaint in the name of `program`: it cannot be
 * read, is empty, longer than 64 MiB, or not text (holds a byte 0). */
char *text_file_read(const char *program, const char *path);

#endif
