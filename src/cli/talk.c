#include "cli/talk.h"

#include "base/clock.h"
#include "base/log.h"
#include "cli/keyboard.h"
#include "cli/startup.h"
#include "cli/text_file.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char program[] = "ds4";

/* --- what is shown while an answer comes ------------------------------------------------------------------------------------ */

typedef struct screen {
    bool terminal;  /* stderr is one: progress and dimmed reasoning */
    bool progress;  /* a progress line stands there */
    bool reasoning; /* the last text was reasoning */
    bool any;
    int64_t begun_us;
} screen;

static void clear_progress(screen *s)
{
    if (s->progress)
        fputs("\r\033[K", stderr);
    s->progress = false;
}

static bool on_prompt(void *user, uint32_t n_done, uint32_t n_prompt)
{
    screen *s = user;
    const double seconds = (double)(clock_monotonic_us() - s->begun_us) / 1e6;
    if (s->terminal && seconds > 0.5 && n_done < n_prompt) {
        fprintf(stderr, "\rreading the prompt: %u of %u tokens (%u %%), %.0f tokens/s\033[K", n_done, n_prompt,
                (unsigned)(100.0 * n_done / n_prompt), n_done / seconds);
        fflush(stderr);
        s->progress = true;
    }
    return !keyboard_interrupted();
}

static bool on_text(void *user, ds4_text_kind kind, const char *text, size_t size)
{
    screen *s = user;
    clear_progress(s);
    if (kind == DS4_TEXT_REASONING) {
        if (s->terminal) {
            if (!s->reasoning)
                fputs("\033[2m", stderr);
            fwrite(text, 1, size, stderr);
        }
        s->reasoning = true;
        return !keyboard_interrupted();
    }
    if (s->reasoning && s->terminal)
        fputs("\033[0m\n", stderr);
    s->reasoning = false;
    s->any = true;
    fwrite(text, 1, size, stdout);
    fflush(stdout);
    return !keyboard_interrupted();
}

/* --- the conversation --------------------------------------------------------------------------------------------------------- */

typedef struct conversation {
    ds4 *d;
    talk_options options;
    ds4_message *messages;
    size_t n, capacity;
} conversation;

static bool add(conversation *c, ds4_role role, const char *text, const char *reasoning)
{
    if (c->n == c->capacity) {
        const size_t capacity = c->capacity ? 2 * c->capacity : 16;
        ds4_message *grown = realloc(c->messages, capacity * sizeof *grown);
        if (!grown)
            return false;
        c->messages = grown;
        c->capacity = capacity;
    }
    char *kept = strdup(text), *kept_reasoning = reasoning ? strdup(reasoning) : NULL;
    if (!kept || (reasoning && !kept_reasoning)) {
        free(kept);
        free(kept_reasoning);
        return false;
    }
    c->messages[c->n++] = (ds4_message){ role, kept, kept_reasoning };
    return true;
}

static void drop_last(conversation *c)
{
    c->n--;
    free((void *)(uintptr_t)c->messages[c->n].text); /* ours: add() copied them */
    free((void *)(uintptr_t)c->messages[c->n].reasoning);
}

/* The answer to what was added last. What an interrupted answer said stays part of the conversation. */
static int answer(conversation *c)
{
    screen s = { .terminal = isatty(STDERR_FILENO), .begun_us = clock_monotonic_us() };
    ds4_generation g = c->options.generation;
    ds4_result result;
    ds4_error err = { 0 };
    g.user = &s;
    g.on_text = on_text;
    g.on_prompt = on_prompt;
    const ds4_status status = ds4_chat(c->d, c->messages, c->n, &g, &result, &err);
    clear_progress(&s);
    if (s.reasoning && s.terminal)
        fputs("\033[0m\n", stderr);
    if (s.any)
        putchar('\n');
    int code = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        startup_complain(program, "the answer cannot be written", strerror(errno));
        code = 1;
    }
    log_info("answer prompt=%u cached=%u generated=%u complete=%d took=%.2fs", result.n_prompt, result.n_cached,
             result.n_generated, result.complete, (double)(clock_monotonic_us() - s.begun_us) / 1e6);
    if (status == DS4_ERR_CANCELLED)
        fputs("(stopped)\n", stderr);
    else if (status != DS4_OK)
        startup_complain(program, NULL, err.text), code = 1;
    else if (result.looped)
        fputs("(ended: the answer only repeated itself)\n", stderr);
    else if (!result.complete)
        fputs("(truncated: token limit reached)\n", stderr);
    if ((status == DS4_OK || status == DS4_ERR_CANCELLED) && result.content && result.content[0]) {
        if (!add(c, DS4_ASSISTANT, result.content, result.reasoning))
            code = 1;
    } else {
        drop_last(c); /* a question without an answer would confuse the next turn */
    }
    ds4_result_free(&result);
    return code;
}

static conversation begin(ds4 *d, const talk_options *options)
{
    conversation c = { .d = d, .options = *options };
    keyboard_catch_signals();
    if (options->system[0])
        add(&c, DS4_SYSTEM, options->system, NULL);
    return c;
}

static void end(conversation *c)
{
    while (c->n)
        drop_last(c);
    free(c->messages);
}

int talk_once(ds4 *d, const talk_options *options, const char *prompt)
{
    conversation c = begin(d, options);
    int code = add(&c, DS4_USER, prompt, NULL) ? answer(&c) : 1;
    if (keyboard_interrupted())
        code = 128 + (keyboard_ending() ? keyboard_ending() : SIGINT);
    end(&c);
    return code;
}

/* --- commands -------------------------------------------------------------------------------------------------------------------- */

static void print_help(void)
{
    puts("  /help        this list\n"
         "  /think       reason before answering\n"
         "  /nothink     answer at once\n"
         "  /new         forget the conversation\n"
         "  /read FILE   say what stands in a file\n"
         "  /quit        leave (so does Ctrl-D)\n"
         "  Ctrl-C stops an answer. Alt-Enter, or \\ at the end of a line, begins a new line of the same message; "
         "pasted text may\n"
         "  have any number. A message may begin with // or with a path; with /word after a space.");
}

/* Is it a command, known or not? A text of several lines is none, and neither is a path or a comment: "/a/b", "// c". */
static bool is_command(const char *line)
{
    return line[0] == '/' && line[1] && !line[strcspn(line, "\n")] && line[1 + strcspn(line + 1, "/ ")] != '/';
}

/* The file's text, the caller's to free(); "~/" is the home directory, as in a shell. NULL after a complaint. */
static char *read_file(const char *path)
{
    char full[PATH_MAX];
    const char *home = getenv("HOME");
    path += strspn(path, " ");
    if (!*path) {
        fputs("/read needs the name of a file: /read FILE\n", stderr);
        return NULL;
    }
    snprintf(full, sizeof full, "%s%s", path[0] == '~' && path[1] == '/' && home ? home : "",
             path[0] == '~' && path[1] == '/' && home ? path + 1 : path);
    return text_file_read(program, full);
}

/* Does what the line asks for; *quit says whether to leave. `said`: what /read found to say. */
static void command(conversation *c, char *line, bool *quit, char **said)
{
    for (size_t n = strlen(line); n && line[n - 1] == ' '; n--)
        line[n - 1] = 0;
    if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0)
        *quit = true;
    else if (strcmp(line, "/help") == 0)
        print_help();
    else if (strcmp(line, "/think") == 0 || strcmp(line, "/nothink") == 0)
        c->options.generation.think = line[1] == 't';
    else if (strcmp(line, "/new") == 0)
        while (c->n > (c->options.system[0] ? 1 : 0))
            drop_last(c);
    else if (strncmp(line, "/read", 5) == 0 && (line[5] == ' ' || !line[5]))
        *said = read_file(line + 5);
    else
        fprintf(stderr, "there is no command %s; /help lists them (a space before it makes it a message)\n", line);
}

int talk_interactively(ds4 *d, const talk_options *options)
{
    conversation c = begin(d, options);
    const bool person = keyboard_open();
    bool quit = false;
    int code = 0;
    if (person)
        puts("Talk to the model; /help lists commands.");
    while (!quit && !keyboard_ending()) {
        keyboard_clear_interrupt();
        char *line = keyboard_read(), *said = NULL;
        if (!line && person && keyboard_interrupted()) /* Ctrl-C drops what was typed so far */
            continue;
        if (!line)
            break;
        if (is_command(line))
            command(&c, line, &quit, &said);
        else if (line[0])
            said = strdup(line);
        if (said && add(&c, DS4_USER, said, NULL))
            answer(&c);
        free(said);
        free(line);
        if (!person && keyboard_interrupted())
            break;
    }
    if (!person && keyboard_interrupted())
        code = 130;
    if (keyboard_ending())
        code = 128 + keyboard_ending();
    end(&c);
    return code;
}
