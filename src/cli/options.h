/* cli/options.h - command lines by table: "--name VALUE", "--name=VALUE", short names; usage text from the same table.
 * Errors are printed to stderr with the name of the program; the caller exits with what options_parse() says. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum option_kind {
    OPTION_FLAG,   /* bool: true */
    OPTION_UNFLAG, /* bool: false */
    OPTION_TEXT,   /* const char * */
    OPTION_LIST,   /* option_list: may be repeated */
    OPTION_WORD,   /* int: which of the words in `value`, "official|none" */
    OPTION_U32,    /* uint32_t, min..max */
    OPTION_LIMIT,  /* the same, or "none": UINT32_MAX */
    OPTION_U64,
    OPTION_REAL,    /* double */
    OPTION_IGNORED, /* accepted without a value, has no meaning here: one warning */
    OPTION_IGNORED_VALUE,
    OPTION_IGNORED_MAYBE, /* once took a value and no longer does: one that follows is ignored with it */
    OPTION_UNAVAILABLE,   /* refused; `help` says why */
    OPTION_HEADING        /* of the usage text */
} option_kind;

typedef struct option_list {
    const char *items[64];
    size_t n;
} option_list;

typedef struct option_spec {
    option_kind kind;
    const char *name;  /* "--ctx"; of a heading: its text */
    const char *other; /* "-c", a second name, or NULL */
    const char *value; /* "N"; NULL for flags */
    const char *help;
    void *out;
    double min, max; /* of numbers; max 0: no limit */
} option_spec;

/* Flags that other programs of this family know; options_parse() looks here last. cli/reference.c */
extern const option_spec options_of_the_reference[];

/* 0: go on; otherwise the process exits with that value minus 1 (help: 0, wrong use: 2). Ends at the entry with a NULL name. */
int options_parse(const char *program, const char *usage, const option_spec *specs, int argc, char **argv);
/* "--ctx" for "unknown option ..." messages from the caller; prints and returns exit code 2 + 1. */
int options_wrong(const char *program, const char *format, const char *what);
/* Was the option given? For options that have a meaning only beside others, or not beside others. After options_parse(). */
bool options_given(const option_spec *specs, int argc, char **argv, const char *name);

/* Two options of one command line: the first needs the second, or cannot stand beside it. */
typedef struct option_rule {
    const char *name;
    enum { RULE_NEEDS, RULE_EXCLUDES } kind;
    const char *other;
} option_rule;
/* Like options_parse(): 0, or complains about the first broken rule. Ends at the rule with a NULL name. */
int options_check(const char *program, const option_spec *specs, const option_rule *rules, int argc, char **argv);

#endif
