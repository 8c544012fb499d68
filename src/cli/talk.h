/* cli/talk.h - a conversation in a terminal: answers on stdout, everything else on stderr. */
#ifndef CLI_TALK_H
#define CLI_TALK_H

#include "ds4/ds4.h"

typedef struct talk_options {
    const char *system;        /* "" for none */
    ds4_generation generation; /* its callbacks and user are set here */
} talk_options;

/* One question, one answer. Exit code. */
int talk_once(ds4 *d, const talk_options *options, const char *prompt);
/* Until /quit or the end of the input. Exit code. */
int talk_interactively(ds4 *d, const talk_options *options);

#endif
