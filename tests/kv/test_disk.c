/* The directory under the store: what is synced, what a file-size limit does, how often folders are listed.
 * P and F numbers: docs/spec/kvstore.md. */
#include "kv/stub_model.h"
#include "support/support.h"

#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int n_listings;

DIR *fdopendir(int fd)
{
    DIR *(*real)(int);
    *(void **)&real = dlsym(RTLD_NEXT, "fdopendir"); /* the form that POSIX gives: ISO C has no cast for it */
    atomic_fetch_add(&n_listings, 1);
    return real(fd);
}

/* Without its STORE no object can be found, without its folder none exists: a power failure must not take them. */
static void what_all_objects_depend_on_is_synced(void **state)
{
    uint32_t tokens[60];
    kv_options o = stub_options();
    kv_store *s;
    (void)state;
    o.dir = TEST_SCRATCH "/a/b/store";
    assert_int_not_equal(kv_store_open(&s, &o, NULL), DS4_OK); /* the path may be mistyped: parents are not made */
    test_empty_folder(TEST_SCRATCH "/a/b");
    stub_n_synced = 0;
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
    assert_true(stub_was_synced(TEST_SCRATCH "/a/b"));
    assert_true(stub_was_synced(TEST_SCRATCH "/a/b/store"));
    assert_true(stub_was_synced(TEST_SCRATCH "/a/b/store/STORE"));
    assert_false(stub_was_synced(TEST_SCRATCH "/a/b/store/o"));
    stub_tokens(tokens, 60, 1);
    stub_save(s, tokens, 20);
    assert_true(stub_was_synced(TEST_SCRATCH "/a/b/store/o"));
    stub_n_synced = 0;
    stub_save(s, tokens, 20); /* nothing new, nothing to wait for */
    assert_int_equal(stub_n_synced, 0);
    kv_store_close(s, 1000000);
}

/* `ulimit -f`: a save that is too long for a file fails, and neither the process nor its signals notice. */
static void a_file_size_limit_is_an_error(void **state)
{
    int how;
    (void)state;
    const pid_t child = fork();
    if (child == 0) {
        uint32_t tokens[60];
        sigset_t pending;
        kv_metrics m;
        const struct rlimit limit = { 8192, RLIM_INFINITY };
        signal(SIGXFSZ, SIG_DFL);
        setrlimit(RLIMIT_FSIZE, &limit);
        kv_store *s = stub_open();
        stub_tokens(tokens, 60, 1);
        stub_save(s, tokens, 40);
        kv_store_metrics(s, &m);
        kv_store_close(s, 1000000);
        sigpending(&pending);
        _exit(m.write_dropped_total[KV_DROP_ERROR] == 1 && m.store_objects == 0 && !sigismember(&pending, SIGXFSZ) ? 0
                                                                                                                   : 1);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
}

/* The oldest go until the rest fits; the folder is listed once, not once for each of them. */
static void quarantine_is_trimmed_in_one_pass(void **state)
{
    enum { FILES = 300, BYTES = 100, FIT = 40 };
    static const char bytes[BYTES];
    char path[512];
    kv_options o = stub_options();
    kv_store *s;
    (void)state;
    o.budget_bytes = UINT64_C(100) * BYTES * FIT; /* quarantine may hold a hundredth */
    assert_int_equal(kv_store_open(&s, &o, NULL), DS4_OK);
    assert_true(kv_flush(s, 10000000));
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/quarantine/%d", stub_dir, i);
        test_write_file(path, bytes, sizeof bytes);
    }
    n_listings = 0;
    kv_trim_quarantine(s);
    assert_int_equal(n_listings, 1);
    assert_int_equal(stub_count_files("quarantine"), FIT);
    snprintf(path, sizeof path, "%s/quarantine/%d", stub_dir, FILES - 1);
    assert_int_equal(access(path, F_OK), 0);
    kv_store_close(s, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, stub_empty)
    const struct CMUnitTest tests[] = {
        TEST(what_all_objects_depend_on_is_synced),
        TEST(a_file_size_limit_is_an_error),
        TEST(quarantine_is_trimmed_in_one_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
