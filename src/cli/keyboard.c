#include "cli/keyboard.h"

#include "base/buffer.h"

#include <editline/readline.h>
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_MAX = 1000, ESCAPE = 0x1b, DELETE = 0x7f };

static bool is_person; /* stdin is a terminal; set once */

/* --- signals ------------------------------------------------------------------------------------------------------------------ */

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
/* Set by the handler on one thread, read by callbacks on another: a sig_atomic_t would not do. */
static atomic_int interrupted, ending;

static void on_signal(int number)
{
    if (number != SIGINT)
        ending = number;
    interrupted = 1;
}

void keyboard_catch_signals(void)
{
    const struct sigaction action = { .sa_handler = on_signal };
    struct sigaction before;
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (signals[i] != SIGHUP || (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN))
            sigaction(signals[i], &action, NULL);
}

static void add_signals(sigset_t *set, bool add)
{
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        add ? sigaddset(set, signals[i]) : sigdelset(set, signals[i]);
}

void keyboard_block_signals(bool block)
{
    sigset_t set;
    sigemptyset(&set);
    add_signals(&set, true);
    pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

bool keyboard_interrupted(void)
{
    return interrupted;
}

int keyboard_ending(void)
{
    return ending;
}

void keyboard_clear_interrupt(void)
{
    interrupted = ending != 0;
}

/* --- keys --------------------------------------------------------------------------------------------------------------------- */

/* Keys that were read to see what an Escape begins, and are the editor's. */
static struct {
    wchar_t keys[8];
    size_t n, at;
} pending;

/* One character from the keyboard; -1 at the end of the input and at a signal. Outside of ppoll() the signals are blocked: one that
 * came between a look at `interrupted` and the wait would otherwise be seen only after the next key. */
static int read_character(int fd)
{
    mbstate_t state = { 0 };
    for (;;) {
        struct pollfd input = { .fd = fd, .events = POLLIN };
        sigset_t waiting;
        wchar_t c;
        char byte;
        pthread_sigmask(SIG_SETMASK, NULL, &waiting);
        add_signals(&waiting, false);
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

/* Reads on after an Escape as long as it may become `marker`. True if it did; otherwise `pending` has what was read. */
static bool read_marker(int fd, const char *marker)
{
    pending.n = pending.at = 0;
    for (size_t i = 0; marker[i]; i++) {
        const int c = read_character(fd);
        if (c < 0)
            return false;
        pending.keys[pending.n++] = (wchar_t)c;
        if (c != marker[i])
            return false;
    }
    pending.n = 0;
    return true;
}

static void append_character(buffer *text, wchar_t c)
{
    char bytes[MB_LEN_MAX];
    mbstate_t state = { 0 };
    const size_t n = wcrtomb(bytes, c, &state);
    if (n != (size_t)-1)
        buffer_append(text, bytes, n);
}

/* What the terminal brackets as pasted, up to the closing bracket, goes into the line as it is; of control characters only
 * newline and tab are text. False at the end of the input and at a signal. */
static bool read_pasted(int fd, buffer *text)
{
    int c = read_character(fd);
    while (c >= 0) {
        if (c == ESCAPE && read_marker(fd, "[201~"))
            break;
        if (c == ESCAPE) { /* of another sequence */
            for (; pending.at < pending.n; pending.at++)
                if (pending.keys[pending.at] >= 0x20)
                    append_character(text, pending.keys[pending.at]);
        } else if (c == '\r' || c == '\n') {
            append_character(text, L'\n');
        } else if ((c >= 0x20 && c != 0x7f) || c == '\t') {
            append_character(text, (wchar_t)c);
        }
        c = read_character(fd);
    }
    pending.n = pending.at = 0;
    return c >= 0;
}

/* The editor's next key. Pasted text, and a newline typed with Alt-Enter, go into its line at once, with one character more,
 * which the key that is returned deletes: of all keys that make the editor draw the line anew this one changes nothing. */
static int read_key(FILE *in)
{
    const int fd = fileno(in);
    buffer text = { 0 };
    int key = -1;
    if (pending.at < pending.n)
        return (int)pending.keys[pending.at++];
    const int c = read_character(fd);
    if (c != ESCAPE)
        return c;
    if (read_marker(fd, "[200~")) {
        if (!read_pasted(fd, &text))
            goto out;
    } else if (pending.n == 1 && (pending.keys[0] == L'\r' || pending.keys[0] == L'\n')) {
        pending.n = 0;
        buffer_append_byte(&text, '\n');
    } else {
        return interrupted ? -1 : ESCAPE;
    }
    key = DELETE;
    if (buffer_append_byte(&text, '.') == DS4_OK)
        rl_insert_text(text.data);
out:
    buffer_free(&text);
    return key;
}

/* --- lines -------------------------------------------------------------------------------------------------------------------- */

static const char *history_path(char out[4096])
{
    const char *home = getenv("HOME");
    snprintf(out, 4096, "%s/.ds4_history", home ? home : ".");
    return out;
}

bool keyboard_open(void)
{
    char path[4096];
    is_person = isatty(STDIN_FILENO);
    if (!is_person)
        return false;
    /* What is typed is UTF-8, whatever the environment says: the model reads nothing else. */
    setlocale(LC_CTYPE, "C.UTF-8");
    rl_getc_function = read_key;
    rl_initialize();
    using_history();
    stifle_history(HISTORY_MAX);
    read_history(history_path(path));
    return true;
}

/* One edited line, which may hold newlines. Terminals bracket what is pasted while they are asked to. */
static char *edit_line(const char *prompt)
{
    const char *terminal = getenv("TERM");
    const bool brackets = isatty(STDOUT_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
    if (brackets)
        fputs("\033[?2004h", stdout);
    pending.n = pending.at = 0;
    char *line = readline(prompt);
    if (brackets)
        fputs("\033[?2004l", stdout);
    if (!line)
        putchar('\n');
    fflush(stdout);
    return line;
}

/* A line of a pipe, without its newline. */
static char *read_line(void)
{
    char *line = NULL;
    size_t room = 0;
    const ssize_t n = getline(&line, &room, stdin);
    if (n < 0) {
        free(line);
        return NULL;
    }
    line[strcspn(line, "\n")] = 0;
    return line;
}

char *keyboard_read(void)
{
    char path[4096];
    buffer message = { 0 };
    if (!is_person)
        return read_line();
    for (const char *prompt = "ds4> ";; prompt = "...> ") {
        keyboard_block_signals(true);
        char *line = edit_line(prompt);
        keyboard_block_signals(false);
        const size_t n = line ? strlen(line) : 0;
        const bool more = n && line[n - 1] == '\\';
        const bool good = line && buffer_append(&message, line, n - more) == DS4_OK;
        free(line);
        if (!good) {
            buffer_free(&message);
            return NULL;
        }
        if (!more)
            break;
        buffer_append_byte(&message, '\n');
    }
    if (message.size) {
        add_history(message.data);
        write_history(history_path(path)); /* now: the program may be killed */
    }
    return buffer_take(&message, NULL);
}
