#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GO_ON = 0, EXIT_HELP = 1, EXIT_WRONG = 3 };

int options_wrong(const char *program, const char *format, const char *what)
{
    fprintf(stderr, "%s: ", program);
    fprintf(stderr, format, what);
    fprintf(stderr, "\n%*s  `%s --help` lists the options.\n", (int)strlen(program), "", program);
    return EXIT_WRONG;
}

static void print_help(const char *usage, const option_spec *specs)
{
    fputs(usage, stdout);
    for (const option_spec *o = specs; o->name; o++) {
        char left[64];
        if (o->kind == OPTION_HEADING) {
            printf("\n%s\n", o->name);
            continue;
        }
        if (!o->help)
            continue;
        snprintf(left, sizeof left, "%s%s%s%s%s", o->other ? o->other : "", o->other ? ", " : "", o->name,
                 o->value ? " " : "", o->value ? o->value : "");
        printf("  %-30s %s\n", left, o->help);
    }
}

static bool takes_value(option_kind kind)
{
    return kind != OPTION_FLAG && kind != OPTION_UNFLAG && kind != OPTION_IGNORED;
}

static bool read_number(const option_spec *o, const char *text, double *out)
{
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    if (errno || end == text || *end || !isfinite(*out) || *out < o->min || (o->max != 0 && *out > o->max))
        return false;
    return o->kind == OPTION_REAL || *out == floor(*out);
}

static int store(const char *program, const option_spec *o, const char *value)
{
    double number;
    switch (o->kind) {
    case OPTION_FLAG: *(bool *)o->out = true; return GO_ON;
    case OPTION_UNFLAG: *(bool *)o->out = false; return GO_ON;
    case OPTION_TEXT: *(const char **)o->out = value; return GO_ON;
    case OPTION_LIST: {
        option_list *list = o->out;
        if (list->n == sizeof list->items / sizeof list->items[0])
            return options_wrong(program, "%s is repeated too often", o->name);
        list->items[list->n++] = value;
        return GO_ON;
    }
    case OPTION_IGNORED:
    case OPTION_IGNORED_VALUE:
        fprintf(stderr, "%s: %s has no meaning in this build and is ignored\n", program, o->name);
        return GO_ON;
    default: break;
    }
    if (!read_number(o, value, &number)) {
        char text[160];
        if (o->max != 0)
            snprintf(text, sizeof text, "%s wants a number from %g to %g (got '%.40s')", o->name, o->min, o->max,
                     value);
        else
            snprintf(text, sizeof text, "%s wants a number from %g (got '%.40s')", o->name, o->min, value);
        return options_wrong(program, "%s", text);
    }
    if (o->kind == OPTION_U32)
        *(uint32_t *)o->out = (uint32_t)number;
    else if (o->kind == OPTION_U64)
        *(uint64_t *)o->out = (uint64_t)number;
    else
        *(double *)o->out = number;
    return GO_ON;
}

/* The spec of argument `text`; `--name=value` leaves *value after the sign. */
static const option_spec *find(const option_spec *specs, const char *text, const char **value)
{
    const size_t n = strcspn(text, "=");
    *value = text[n] && strncmp(text, "--", 2) == 0 ? text + n + 1 : NULL;
    for (const option_spec *o = specs; o->name; o++) {
        if (o->kind == OPTION_HEADING)
            continue;
        if (strncmp(o->name, text, n) == 0 && o->name[n] == 0 && (text[n] == 0 || *value))
            return o;
        if (o->other && strcmp(o->other, text) == 0)
            return o;
    }
    return NULL;
}

int options_parse(const char *program, const char *usage, const option_spec *specs, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value;
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
            print_help(usage, specs);
            return EXIT_HELP;
        }
        const option_spec *o = find(specs, argv[i], &value);
        if (!o)
            return options_wrong(program, argv[i][0] == '-' ? "unknown option %s" : "unexpected argument '%s'",
                                 argv[i]);
        if (value && !takes_value(o->kind))
            return options_wrong(program, "%s takes no value", o->name);
        if (!value && takes_value(o->kind)) {
            if (i + 1 == argc)
                return options_wrong(program, "%s needs a value", o->name);
            value = argv[++i];
        }
        const int status = store(program, o, value);
        if (status != GO_ON)
            return status;
    }
    return GO_ON;
}
