#include "base/fault.h"

#ifdef DS4_KV_FAULTS

#include "base/c_locale.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RULES_MAX = 64, POINT_MAX = 48 };

typedef enum rule_action { ACT_KILL, ACT_ABORT, ACT_DELAY, ACT_HOLD, ACT_ANSWER } rule_action;

typedef struct rule {
    char point[POINT_MAX];
    rule_action action;
    fault answer;
    uint64_t nth;       /* 0: every passage */
    double probability; /* > 0: instead of nth */
    uint64_t passages;
} rule;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Guarded by `lock`. Test builds only, so process-wide state is acceptable here. */
static rule rules[RULES_MAX];
static size_t n_rules;
static uint64_t random_state = 1;
static bool fired;
static int log_fd = -1;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER; /* one of these changed */
static bool is_held, may_pass;

static const struct {
    const char *word;
    int code;
} errno_words[] = { { "ENOENT", ENOENT }, { "EACCES", EACCES }, { "EMFILE", EMFILE }, { "ELOOP", ELOOP },
                    { "EIO", EIO },       { "EROFS", EROFS },   { "ENOSPC", ENOSPC }, { "EDQUOT", EDQUOT },
                    { "EEXIST", EEXIST }, { "ENOMEM", ENOMEM }, { "EINTR", EINTR },   { "EINVAL", EINVAL } };

static const struct {
    const char *word;
    ds4_status status;
} status_words[] = { { "STATE_BAD", DS4_ERR_STATE_BAD },
                     { "OOM", DS4_ERR_NO_MEMORY },
                     { "DEVICE_LOST", DS4_ERR_DEVICE_LOST },
                     { "CANCELLED", DS4_ERR_CANCELLED },
                     { "OTHER", DS4_ERR_IO } };

static const struct {
    const char *word;
    fault_kind kind;
} kind_words[] = { { "short", FAULT_SHORT }, { "flip", FAULT_FLIP },   { "zero", FAULT_ZERO }, { "nan", FAULT_NAN },
                   { "skew", FAULT_SKEW },   { "force", FAULT_FORCE }, { "busy", FAULT_FORCE } };

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static bool set_action(rule *r, const char *word, int64_t arg)
{
    r->answer.arg = arg;
    if (strcmp(word, "kill") == 0)
        return r->action = ACT_KILL, true;
    if (strcmp(word, "abort") == 0)
        return r->action = ACT_ABORT, true;
    if (strcmp(word, "delay") == 0)
        return r->action = ACT_DELAY, true;
    r->action = ACT_ANSWER;
    for (size_t i = 0; i < COUNT(errno_words); i++)
        if (strcmp(word, errno_words[i].word) == 0)
            return r->answer.kind = FAULT_ERRNO, r->answer.code = errno_words[i].code, true;
    for (size_t i = 0; i < COUNT(status_words); i++)
        if (strcmp(word, status_words[i].word) == 0)
            return r->answer.kind = FAULT_STATUS, r->answer.status = status_words[i].status, true;
    for (size_t i = 0; i < COUNT(kind_words); i++)
        if (strcmp(word, kind_words[i].word) == 0)
            return r->answer.kind = kind_words[i].kind, true;
    return false;
}

/* One rule "point:action[:arg][@n]"; the text is the caller's scratch copy. */
static bool parse_rule(char *text, rule *out)
{
    rule r = { .nth = 1 };
    char *at = strchr(text, '@');
    if (at) {
        *at++ = 0;
        if (strcmp(at, "*") == 0)
            r.nth = 0;
        else if (*at == 'p')
            r.probability = c_locale_strtod(at + 1, NULL);
        else
            r.nth = strtoull(at, NULL, 10);
        if (r.nth == 0 && strcmp(at, "*") != 0)
            return false;
    }
    char *action = strchr(text, ':');
    if (!action)
        return false;
    *action++ = 0;
    char *arg = strchr(action, ':');
    if (arg)
        *arg++ = 0;
    if (strlen(text) >= sizeof r.point || !set_action(&r, action, arg ? strtoll(arg, NULL, 10) : 0))
        return false;
    strcpy(r.point, text);
    *out = r;
    return true;
}

ds4_status fault_configure(const char *plan, uint64_t seed, const char *log_path, ds4_error *err)
{
    ds4_status status = DS4_OK;
    pthread_mutex_lock(&lock);
    n_rules = 0;
    fired = false;
    random_state = (seed ? seed : 1) * UINT64_C(0x9E3779B97F4A7C15); /* small seeds begin with small numbers */
    if (log_fd >= 0)
        close(log_fd);
    log_fd = log_path ? open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    char *copy = strdup(plan ? plan : ""), *rest = copy;
    for (char *text; copy && (text = strsep(&rest, ";,"));) {
        if (!*text)
            continue;
        if (n_rules == RULES_MAX || !parse_rule(text, &rules[n_rules])) {
            status = ds4_fail(err, DS4_ERR_ARGUMENT, "fault plan: cannot understand '%s'", text);
            break;
        }
        n_rules++;
    }
    free(copy);
    pthread_mutex_unlock(&lock);
    return status;
}

static double random_unit(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state >> 11) / 9007199254740992.0;
}

static bool is_due(rule *r, const char *point)
{
    if (strcmp(r->point, "*") != 0 && strcmp(r->point, point) != 0)
        return false;
    r->passages++;
    if (r->probability > 0)
        return random_unit() < r->probability;
    return r->nth == 0 || r->passages == r->nth;
}

static void hold(void)
{
    pthread_mutex_lock(&lock);
    is_held = true;
    pthread_cond_broadcast(&turned);
    while (!may_pass)
        pthread_cond_wait(&turned, &lock);
    is_held = false;
    pthread_mutex_unlock(&lock);
}

fault fault_at(const char *point)
{
    fault answer = { FAULT_NONE, 0, DS4_OK, 0 };
    rule due = { 0 };
    bool found = false;
    pthread_mutex_lock(&lock);
    if (log_fd >= 0)
        dprintf(log_fd, "%s\n", point);
    for (size_t i = 0; i < n_rules; i++)
        if (is_due(&rules[i], point) && !found) {
            due = rules[i];
            found = fired = true;
        }
    pthread_mutex_unlock(&lock);
    if (!found)
        return answer;
    switch (due.action) {
    case ACT_KILL: raise(SIGKILL); break;
    case ACT_ABORT: abort();
    case ACT_DELAY: clock_sleep_us(due.answer.arg * 1000); break;
    case ACT_HOLD: hold(); break;
    case ACT_ANSWER: answer = due.answer; break;
    }
    return answer;
}

bool fault_errno(const char *point)
{
    const fault f = fault_at(point);
    if (f.kind != FAULT_ERRNO)
        return false;
    errno = f.code;
    return true;
}

static void set_only_rule(const char *point, rule r)
{
    pthread_mutex_lock(&lock);
    rules[0] = r;
    snprintf(rules[0].point, sizeof rules[0].point, "%s", point);
    n_rules = 1;
    fired = false;
    may_pass = false;
    pthread_mutex_unlock(&lock);
}

void fault_arm(const char *point, int code, unsigned nth)
{
    set_only_rule(point, (rule){ .action = ACT_ANSWER, .answer = { .kind = FAULT_ERRNO, .code = code }, .nth = nth });
}

void fault_hold(const char *point, unsigned nth)
{
    set_only_rule(point, (rule){ .action = ACT_HOLD, .nth = nth });
}

void fault_wait_held(void)
{
    pthread_mutex_lock(&lock);
    while (!is_held)
        pthread_cond_wait(&turned, &lock);
    pthread_mutex_unlock(&lock);
}

void fault_release(void)
{
    pthread_mutex_lock(&lock);
    may_pass = true;
    pthread_cond_broadcast(&turned);
    pthread_mutex_unlock(&lock);
}

bool fault_disarm(void)
{
    pthread_mutex_lock(&lock);
    const bool answer = fired;
    n_rules = 0;
    fired = false;
    pthread_mutex_unlock(&lock);
    return answer;
}

#else

typedef int fault_is_compiled_out; /* ISO C wants a translation unit to declare something */

#endif
