/* Who lives decides whose checkpoints are condemned. */
#include "kv/process.h"
#include "support/support.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void the_living_and_the_dead(void **state)
{
    siginfo_t how;
    char boot[KV_BOOT_BYTES];
    const uint64_t me = (uint64_t)getpid(), started = kv_process_started();
    (void)state;
    assert_true(started > 0);
    assert_true(kv_process_lives(me, started));
    assert_true(kv_process_lives(me, 0));
    assert_false(kv_process_lives(me, started + 1)); /* its number was given away again */
    assert_false(kv_process_lives(0, 0));
    assert_false(kv_process_lives(INT32_MAX, 0));
    assert_false(kv_process_lives((uint64_t)1 << 40, 0));
    kv_boot_id(boot);
    assert_int_equal(strlen(boot), 36);

    const pid_t child = fork();
    if (child == 0)
        _exit(0);
    assert_int_equal(waitid(P_PID, (id_t)child, &how, WEXITED | WNOWAIT), 0);
    assert_false(kv_process_lives((uint64_t)child, 0)); /* a zombie: a supervisor may be slow to notice */
    waitpid(child, NULL, 0);
    assert_false(kv_process_lives((uint64_t)child, 0));
}

/* Without descriptors nothing can be read about a process; that is not its death. */
static void in_doubt_it_lives(void **state)
{
    struct rlimit before, none;
    (void)state;
    const uint64_t started = kv_process_started();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    const bool lives = kv_process_lives((uint64_t)getpid(), started + 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(lives);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_living_and_the_dead),
                                        cmocka_unit_test(in_doubt_it_lives) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
