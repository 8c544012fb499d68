#include "cli/talk.h"

#include "base/clock.h"
#include "base/log.h"
#include "cli/startup.h"
#include "cli/text_file.h"

#include <editline/readline.h>
#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_MAX = 1000 };

static const char program[] = "ds4";
/* Set by the handler on one thread, read by callbacks on another: a sig_atomic_t would not do. */
static atomic_int interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

void talk_block_interrupts(bool block)
{
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &interrupt, NULL);
}

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
    return !interrupted;
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
        return !interrupted;
    }
    if (s->reasoning && s->terminal)
        fputs("\033[0m\n", stderr);
    s->reasoning = false;
    s->any = true;
    fwrite(text, 1, size, stdout);
    fflush(stdout);
    return !interrupted;
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
    free((char *)c->messages[c->n].text);
    free((char *)c->messages[c->n].reasoning);
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
    interrupted = 0;
    talk_block_interrupts(false);
    const ds4_status status = ds4_chat(c->d, c->messages, c->n, &g, &result, &err);
    clear_progress(&s);
    if (s.reasoning && s.terminal)
        fputs("\033[0m\n", stderr);
    log_info("answer prompt=%u cached=%u generated=%u complete=%d took=%.2fs", result.n_prompt, result.n_cached,
             result.n_generated, result.complete, (double)(clock_monotonic_us() - s.begun_us) / 1e6);
    if (s.any)
        putchar('\n');
    int code = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        startup_complain(program, "the answer cannot be written", strerror(errno));
        code = 1;
    }
    if (status == DS4_ERR_CANCELLED)
        fputs("(stopped)\n", stderr);
    else if (status != DS4_OK)
        startup_complain(program, NULL, err.text), code = 1;
    else if (!result.complete)
        fputs("(cut off: the limit of tokens is reached)\n", stderr);
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
    const struct sigaction action = { .sa_handler = on_interrupt };
    sigaction(SIGINT, &action, NULL);
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
    if (interrupted)
        code = 130;
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
         "  Ctrl-C stops an answer.");
}

/* True if the line was a command; *quit then says whether to leave. `said`: what /read found to say. */
static bool command(conversation *c, const char *line, bool *quit, char **said)
{
    if (line[0] != '/')
        return false;
    if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0)
        *quit = true;
    else if (strcmp(line, "/help") == 0)
        print_help();
    else if (strcmp(line, "/think") == 0 || strcmp(line, "/nothink") == 0)
        c->options.generation.think = line[1] == 't';
    else if (strcmp(line, "/new") == 0)
        while (c->n > (c->options.system[0] ? 1 : 0))
            drop_last(c);
    else if (strncmp(line, "/read ", 6) == 0)
        *said = text_file_read(program, line + 6);
    else
        fprintf(stderr, "there is no command %s; /help lists them\n", line);
    return true;
}

static const char *history_path(char out[4096])
{
    const char *home = getenv("HOME");
    snprintf(out, 4096, "%s/.ds4_history", home ? home : ".");
    return out;
}

/* One character from the keyboard; -1 at the end of the input and at Ctrl-C. Outside of ppoll() SIGINT is blocked: one that came
 * between a look at `interrupted` and the wait would otherwise be seen only after the next key. */
static int read_key(FILE *in)
{
    mbstate_t state = { 0 };
    for (;;) {
        struct pollfd input = { .fd = fileno(in), .events = POLLIN };
        sigset_t waiting;
        wchar_t c;
        char byte;
        pthread_sigmask(SIG_SETMASK, NULL, &waiting);
        sigdelset(&waiting, SIGINT);
        if (ppoll(&input, 1, NULL, &waiting) < 0) {
            if (errno == EINTR && !interrupted)
                continue; /* another signal: the window has another size */
            return -1;
        }
        if (read(input.fd, &byte, 1) != 1)
            return -1;
        const size_t n = mbrtowc(&c, &byte, 1, &state);
        if (n == (size_t)-1)
            return L'\ufffd';
        if (n != (size_t)-2)
            return (int)c;
    }
}

int talk_interactively(ds4 *d, const talk_options *options)
{
    conversation c = begin(d, options);
    char path[4096];
    bool quit = false;
    setlocale(LC_CTYPE,
              "C.UTF-8"); /* what is typed is UTF-8, whatever the environment says: the model reads nothing else */
    rl_getc_function = read_key;
    rl_initialize();
    using_history();
    stifle_history(HISTORY_MAX);
    read_history(history_path(path));
    if (isatty(STDIN_FILENO))
        puts("Talk to the model; /help lists commands.");
    while (!quit) {
        interrupted = 0;
        talk_block_interrupts(true);
        char *line = readline("ds4> "), *said = NULL;
        if (!line && interrupted) { /* Ctrl-C drops what was typed so far */
            putchar('\n');
            continue;
        }
        if (!line)
            break;
        if (line[0]) {
            add_history(line);
            write_history(path); /* now: the program may be killed */
            if (!command(&c, line, &quit, &said))
                said = strdup(line);
        }
        if (said && add(&c, DS4_USER, said, NULL))
            answer(&c);
        free(said);
        free(line);
    }
    if (isatty(STDIN_FILENO))
        putchar('\n');
    end(&c);
    return 0;
}
