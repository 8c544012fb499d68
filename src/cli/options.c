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
        printf(strlen(left) > 30 ? "  %s\n  %30s %s\n" : "  %-30s%s %s\n", left, "", o->help);
    }
    printf("  %-30s %s\n  %-30s %s\n", "-h, --help", "this list", "--version", "the program's version");
}

static bool takes_value(option_kind kind)
{
    return kind != OPTION_FLAG && kind != OPTION_UNFLAG && kind != OPTION_IGNORED && kind != OPTION_UNAVAILABLE;
}

/* Does the option take `next`, the argument after it, as its value? An ignored flag never swallows another option. */
static bool takes_next(option_kind kind, const char *next)
{
    const bool is_option = next && next[0] == '-' && next[1] && (next[1] < '0' || next[1] > '9');
    return takes_value(kind) && next && !((kind == OPTION_IGNORED_VALUE || kind == OPTION_IGNORED_MAYBE) && is_option);
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
        snprintf(line, sizeof line, "%s must be a number between %g and %g (got '%.40s')", o->name, o->min, o->max,
                 text);
    else if (o->max == 0)
        snprintf(line, sizeof line, "%s must be an integer of at least %.0f (got '%.40s')", o->name, o->min, text);
    else
        snprintf(line, sizeof line, "%s must be an integer between %.0f and %.0f (got '%.40s')", o->name, o->min,
                 o->max, text);
    return options_wrong(program, "%s", line);
}

/* The index of `text` among "a|b|c", or -1. */
static int read_word(const char *words, const char *text)
{
    const size_t n = strlen(text);
    for (int i = 0; *words; i++) {
        const size_t size = strcspn(words, "|");
        if (size == n && memcmp(words, text, n) == 0)
            return i;
        words += size + (words[size] == '|');
    }
    return -1;
}

/* "--act fp8: use q8 or f32" */
static int refuse_word(const char *program, const option_spec *o, const char *text)
{
    char line[200];
    size_t n = (size_t)snprintf(line, sizeof line, "%s %.40s: use ", o->name, text);
    for (const char *at = o->value; *at; at++) {
        const char *between = *at != '|' ? NULL : strchr(at + 1, '|') ? ", " : " or ";
        n += (size_t)snprintf(line + n, sizeof line - n, "%.*s", between ? 4 : 1, between ? between : at);
    }
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
    case OPTION_WORD:
        *(int *)o->out = read_word(o->value, value);
        if (*(int *)o->out < 0)
            return refuse_word(program, o, value);
        break;
    case OPTION_U32:
    case OPTION_LIMIT:
    case OPTION_U64:
        if (o->kind == OPTION_LIMIT && strcmp(value, "none") == 0)
            integer = UINT32_MAX;
        else if (!read_integer(o, value, &integer))
            return refuse_number(program, o, value);
        if (o->kind == OPTION_U64)
            *(uint64_t *)o->out = integer;
        else
            *(uint32_t *)o->out = (uint32_t)integer;
        break;
    case OPTION_REAL:
        if (!read_real(o, value, o->out))
            return refuse_number(program, o, value);
        break;
    case OPTION_IGNORED:
    case OPTION_IGNORED_VALUE:
        fprintf(stderr, "%s: %s has no meaning in this build and is ignored\n", program, o->name);
        break;
    case OPTION_IGNORED_MAYBE:
        fprintf(stderr, "%s: %s%s%s has no meaning in this build and is ignored\n", program, o->name, value ? " " : "",
                value ? value : "");
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

/* Edits (a letter added, dropped, changed) that turn `a` into `b`; SIZE_MAX for names too long to be one of ours. */
static size_t distance(const char *a, size_t n_a, const char *b)
{
    enum { N_MAX = 48 };
    size_t row[N_MAX + 1];
    const size_t n_b = strlen(b);
    if (n_a > N_MAX || n_b > N_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= n_b; j++)
        row[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            const size_t changed = diagonal + (a[i - 1] != b[j - 1]);
            const size_t moved = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);
            diagonal = row[j];
            row[j] = changed < moved ? changed : moved;
        }
    }
    return row[n_b];
}

/* The longest option of which `text` is the beginning, or that is the beginning of it. NULL: there is none. */
static const char *longest_beginning(const option_spec *specs, const char *text, size_t n)
{
    enum { N_MIN = 6 }; /* "--" and a few letters */
    const char *longest = NULL;
    size_t most = N_MIN - 1;
    for (const option_spec *o = specs; o->name; o++) {
        const size_t n_name = o->help && o->kind != OPTION_HEADING ? strlen(o->name) : 0,
                     shared = n < n_name ? n : n_name;
        if (shared > most && strncmp(text, o->name, shared) == 0) {
            longest = o->name;
            most = shared;
        }
    }
    return longest;
}

static int refuse_unknown(const char *program, const option_spec *specs, const char *text)
{
    char line[160];
    const char *nearest = NULL;
    const size_t n = strcspn(text, "=");
    size_t least = n / 3 < 2 ? 2 : n / 3; /* more than that is another word */
    if (text[0] != '-')
        return options_wrong(program, "unexpected argument '%s'", text);
    for (const option_spec *o = specs; o->name; o++) {
        const size_t d = o->help && o->kind != OPTION_HEADING ? distance(text, n, o->name) : SIZE_MAX;
        if (d <= least && (d < least || !nearest)) {
            nearest = o->name;
            least = d;
        }
    }
    if (!nearest)
        nearest = longest_beginning(specs, text, n);
    snprintf(line, sizeof line, "unknown option %.60s%s%s%s", text, nearest ? "; did you mean " : "",
             nearest ? nearest : "", nearest ? "?" : "");
    return options_wrong(program, "%s", line);
}

/* The spec of argv[*i] and its value (or NULL); *i moves on to the last argument that belongs to it. */
static const option_spec *next_option(const option_spec *specs, int argc, char **argv, int *i, const char **value)
{
    const option_spec *o = find(specs, argv[*i], value);
    if (!o)
        o = find(options_of_the_reference, argv[*i], value);
    if (o && !*value && *i + 1 < argc && takes_next(o->kind, argv[*i + 1]))
        *value = argv[++*i];
    return o;
}

int options_parse(const char *program, const char *usage, const option_spec *specs, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value, *text = argv[i];
        if (strcmp(text, "-h") == 0 || strcmp(text, "--help") == 0) {
            print_help(usage, specs);
            return EXIT_HELP;
        }
        if (strcmp(text, "--version") == 0) {
            printf("%s %s\n", program, DS4_VERSION);
            return EXIT_HELP;
        }
        const option_spec *o = next_option(specs, argc, argv, &i, &value);
        if (!o)
            return refuse_unknown(program, specs, text);
        if (value && !takes_value(o->kind))
            return options_wrong(program, "%s takes no value", o->name);
        if (!value && takes_value(o->kind) && o->kind != OPTION_IGNORED_MAYBE)
            return options_wrong(program, "%s needs a value", o->name);
        const int status = store(program, o, value);
        if (status != GO_ON)
            return status;
    }
    return GO_ON;
}

bool options_given(const option_spec *specs, int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++) {
        const char *value;
        const option_spec *o = next_option(specs, argc, argv, &i, &value);
        if (o && strcmp(o->name, name) == 0)
            return true;
    }
    return false;
}

int options_check(const char *program, const option_spec *specs, const option_rule *rules, int argc, char **argv)
{
    for (const option_rule *r = rules; r->name; r++) {
        char line[160];
        if (!options_given(specs, argc, argv, r->name) ||
            options_given(specs, argc, argv, r->other) == (r->kind == RULE_NEEDS))
            continue;
        snprintf(line, sizeof line, r->kind == RULE_NEEDS ? "%s needs %s" : "%s has no meaning beside %s", r->name,
                 r->other);
        return options_wrong(program, "%s", line);
    }
    return GO_ON;
}
