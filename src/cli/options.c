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
    printf("  %-30s %s\n  %-30s %s\n", "-h, --help", "this list", "--version", "the program's version");
}

static bool takes_value(option_kind kind)
{
    return kind != OPTION_FLAG && kind != OPTION_UNFLAG && kind != OPTION_IGNORED && kind != OPTION_UNAVAILABLE;
}

static bool read_real(const option_spec *o, const char *text, double *out)
{
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return !errno && end != text && !*end && isfinite(*out) && *out >= o->min && (o->max == 0 || *out <= o->max);
}

/* Decimal digits and nothing else, as the specification has it: no sign, no 0x, no 1e3. */
static bool read_integer(const option_spec *o, const char *text, uint64_t *out)
{
    errno = 0;
    *out = strtoull(text, NULL, 10);
    return !errno && text[0] && !text[strspn(text, "0123456789")] && *out >= (uint64_t)o->min &&
           (o->max == 0 || *out <= (uint64_t)o->max);
}

static int refuse_number(const char *program, const option_spec *o, const char *text)
{
    char line[160];
    if (o->kind == OPTION_REAL)
        snprintf(line, sizeof line, "%s wants a number from %g to %g (got '%.40s')", o->name, o->min, o->max, text);
    else if (o->max == 0)
        snprintf(line, sizeof line, "%s wants an integer of at least %.0f (got '%.40s')", o->name, o->min, text);
    else
        snprintf(line, sizeof line, "%s wants an integer from %.0f to %.0f (got '%.40s')", o->name, o->min, o->max,
                 text);
    return options_wrong(program, "%s", line);
}

static int store(const char *program, const option_spec *o, const char *value)
{
    uint64_t integer = 0;
    char line[160];
    switch (o->kind) {
    case OPTION_FLAG: *(bool *)o->out = true; break;
    case OPTION_UNFLAG: *(bool *)o->out = false; break;
    case OPTION_TEXT: *(const char **)o->out = value; break;
    case OPTION_LIST: {
        option_list *list = o->out;
        if (list->n == sizeof list->items / sizeof list->items[0])
            return options_wrong(program, "%s is repeated too often", o->name);
        list->items[list->n++] = value;
        break;
    }
    case OPTION_U32:
    case OPTION_U64:
        if (!read_integer(o, value, &integer))
            return refuse_number(program, o, value);
        if (o->kind == OPTION_U32)
            *(uint32_t *)o->out = (uint32_t)integer;
        else
            *(uint64_t *)o->out = integer;
        break;
    case OPTION_REAL:
        if (!read_real(o, value, o->out))
            return refuse_number(program, o, value);
        break;
    case OPTION_IGNORED:
    case OPTION_IGNORED_VALUE:
        fprintf(stderr, "%s: %s has no meaning in this build and is ignored\n", program, o->name);
        break;
    case OPTION_UNAVAILABLE:
        snprintf(line, sizeof line, "%s: %s", o->name, o->help);
        return options_wrong(program, "%s", line);
    case OPTION_HEADING: break;
    }
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
        if (strcmp(argv[i], "--version") == 0) {
            printf("%s %s\n", program, DS4_VERSION);
            return EXIT_HELP;
        }
        const option_spec *o = find(specs, argv[i], &value);
        if (!o)
            o = find(options_of_the_reference, argv[i], &value);
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
