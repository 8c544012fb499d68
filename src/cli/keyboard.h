/* cli/keyboard.h - messages from the person, one at a time: line editing, history, pasted text of several lines; and the signals
 * that mean "stop". Input that is no terminal is read a line at a time and leaves no history. Main thread, but for
 * keyboard_interrupted(). */
#ifndef CLI_KEYBOARD_H
#define CLI_KEYBOARD_H

#include <stdbool.h>

/* Prepares editing and reads the history. True if a person sits there. */
bool keyboard_open(void);
/* The next message, the caller's to free(); may be empty. NULL at the end of the input, and when Ctrl-C dropped what had been
 * typed, or a signal ends the program: keyboard_interrupted() tells. */
char *keyboard_read(void);

/* From now on Ctrl-C (SIGINT) stops what runs, SIGTERM and SIGHUP end the program, too; a SIGHUP that was ignored stays so. */
void keyboard_catch_signals(void);
/* Keeps these signals from this thread, and from those that it starts meanwhile; or lets them in. */
void keyboard_block_signals(bool block);
bool keyboard_interrupted(void); /* one of them came; any thread */
int keyboard_ending(void);       /* SIGTERM or SIGHUP if it came, or 0 */
void keyboard_clear_interrupt(void);

#endif
