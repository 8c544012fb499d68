/* Whose intents speak for a crash: those of processes that are gone, and of nobody else. P3; P and F numbers:
 * docs/spec/kvstore.md. */
#include "base/fault.h"
#include "kv/stub_model.h"
#include "support/support.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Another server, in a process of its own. */
typedef struct peer {
    pid_t pid;
    int said, told; /* our ends: what it said, and how it is told to go on */
} peer;

enum { PEER_NO_NAMESPACE = 'n', PEER_ON_TRIAL = 't', PEER_DONE = 'd' };

static void say(int fd, char word)
{
    if (write(fd, &word, 1) != 1)
        _exit(3);
}

static char hear(int fd)
{
    char word = 0;
    return read(fd, &word, 1) == 1 ? word : 0;
}

/* Restores, waits with the checkpoint on trial, and lets it pass. */
static void live(const uint32_t *tokens, int said, int told)
{
    kv_store *s = stub_open();
    kv_plan *plan = stub_begin(s, tokens, 60);
    say(said, PEER_ON_TRIAL);
    if (hear(told) == 0)
        _exit(2);
    kv_plan_succeed(plan, 0);
    kv_plan_release(plan);
    kv_store_close(s, 0);
    say(said, PEER_DONE);
    _exit(0);
}

/* `apart`: with process ids of its own, as in another container. */
static peer start_peer(const uint32_t *tokens, bool apart)
{
    int said[2], told[2];
    peer p;
    assert_int_equal(pipe(said), 0);
    assert_int_equal(pipe(told), 0);
    p.pid = fork();
    if (p.pid == 0) {
        close(said[0]);
        close(told[1]);
        if (apart) {
            /* Root needs no user namespace of its own, and would be somebody else in it. */
            if (unshare(geteuid() == 0 ? CLONE_NEWPID : CLONE_NEWUSER | CLONE_NEWPID) != 0) {
                say(said[1], PEER_NO_NAMESPACE);
                _exit(0);
            }
            const pid_t inside = fork(); /* the first process of the new namespace */
            if (inside == 0)
                live(tokens, said[1], told[0]);
            int how;
            waitpid(inside, &how, 0);
            _exit(0);
        }
        live(tokens, said[1], told[0]);
    }
    close(said[1]);
    close(told[0]);
    p.said = said[0];
    p.told = told[1];
    return p;
}

static void end_peer(peer *p)
{
    close(p->said);
    close(p->told);
    waitpid(p->pid, NULL, 0);
}

static void a_living_restore_is_left_alone(bool apart)
{
    uint32_t tokens[60];
    kv_store_close(stub_open_saved(tokens), 1000000);
    peer p = start_peer(tokens, apart);
    const char word = hear(p.said);
    if (word == PEER_NO_NAMESPACE) {
        end_peer(&p);
        skip();
    }
    assert_int_equal(word, PEER_ON_TRIAL);
    kv_store *s = stub_open(); /* each start and each lookup settles intents */
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    assert_int_equal(stub_count_files("intent"), 1);
    assert_int_equal(stub_count_files("quarantine"), 0);
    say(p.told, 'g');
    assert_int_equal(hear(p.said), PEER_DONE);
    assert_int_equal(stub_count_files("intent"), 0);
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    kv_store_close(s, 0);
    end_peer(&p);
}

static void a_restore_of_another_process_is_left_alone(void **state)
{
    (void)state;
    a_living_restore_is_left_alone(false);
}

/* In containers process ids mean nothing to each other. */
static void a_restore_in_another_pid_namespace_is_left_alone(void **state)
{
    (void)state;
    a_living_restore_is_left_alone(true);
}

/* No minute to wait: the kernel gives the lock back with the process. */
static void a_peer_that_dies_is_noticed_at_the_next_lookup(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store_close(stub_open_saved(tokens), 1000000); /* no threads when the peer is forked */
    peer p = start_peer(tokens, false);
    assert_int_equal(hear(p.said), PEER_ON_TRIAL);
    kv_store *s = stub_open();
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    kill(p.pid, SIGKILL);
    waitpid(p.pid, NULL, 0);
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    assert_int_equal(stub_count_files("intent"), 0);
    assert_int_equal(stub_count_files("quarantine"), 3);
    kv_store_close(s, 0);
    end_peer(&p);
}

/* A temporary file is swept up when nobody writes it any more, not before. */
static void temporaries_of_the_living_stay(void **state)
{
    kv_disk d;
    kv_locked file;
    (void)state;
    kv_store_close(stub_open(), 0);
    assert_int_equal(kv_disk_open(&d, stub_dir, false, false, NULL), DS4_OK);
    assert_int_equal(kv_locked_create(&file, &d, NULL), DS4_OK);
    kv_store_close(stub_open(), 0);
    assert_int_equal(stub_count_files("tmp"), 1);
    kv_locked_close(&file);
    kv_store_close(stub_open(), 0);
    assert_int_equal(stub_count_files("tmp"), 0);
    kv_disk_close(&d);
}

/* As if another server had put other bytes in the object's place, or this one did not know which they are. */
static void forget_digest(kv_store *s, const kv_key *key)
{
    pthread_mutex_lock(&s->lock);
    kv_index_find(&s->index, key)->digest = (hash_digest){ 0 };
    pthread_mutex_unlock(&s->lock);
}

/* The record names the bytes that are used, whatever the index thought of them before they were read. */
static void an_intent_names_what_is_read(void **state)
{
    uint32_t tokens[60];
    char path[4096];
    size_t size;
    kv_intent intent;
    kv_plan *plan;
    static const hash_digest none;
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    const kv_key first = kv_key_segment(&s->secret, &s->root, tokens, N);
    const kv_key second = kv_key_segment(&s->secret, &first, tokens + N, N);
    forget_digest(s, &second);
    assert_int_equal(kv_plan_find(&plan, s, tokens, 60, 1, 0, NULL), DS4_OK);
    assert_int_equal(stub_count_files("intent"), 1); /* before anything is begun */
    assert_int_equal(kv_plan_begin(plan, NULL), DS4_OK);
    assert_int_equal(stub_count_files("intent"), 1);
    snprintf(path, sizeof path, "%s/%s", stub_dir, plan->intent.name);
    uint8_t *bytes = (uint8_t *)test_read_file(path, &size);
    assert_int_equal(kv_intent_decode(&intent, bytes, size, NULL), DS4_OK);
    assert_int_equal(intent.n_objects, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_false(hash_digest_equal(&intent.objects[i].digest, &none));
    assert_true(hash_digest_equal(&intent.objects[1].digest, &plan->segments[1].header.payload));
    free(intent.objects);
    free(bytes);
    kv_plan_release(plan);
    kv_store_close(s, 0);
}

#ifdef DS4_KV_FAULTS

/* A process that looks for a checkpoint, with a fault plan, and dies over it. */
static void die_with(const char *faults, const uint32_t *tokens)
{
    int how;
    const pid_t child = fork();
    if (child == 0) {
        kv_plan *plan;
        kv_store *s = stub_open();
        if (fault_configure(faults, 1, NULL, NULL) == DS4_OK &&
            kv_plan_find(&plan, s, tokens, 60, 1, 0, NULL) == DS4_OK && kv_plan_begin(plan, NULL) == DS4_OK)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

/* A checkpoint can also kill by being read, by its size for example, or by what the checks do with it. */
static void dying_before_the_state_is_touched_counts(void **state)
{
    static const char *const points[] = { "read.header:kill", "read.frn:kill", "read.seg:kill@2",
                                          "restore.after_verify:kill", "restore.after_intent:kill" };
    (void)state;
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        uint32_t tokens[60];
        stub_empty(NULL);
        kv_store_close(stub_open_saved(tokens), 1000000);
        die_with(points[i], tokens);
        if (stub_count_files("intent") != 1)
            fail_msg("%s left no intent", points[i]);
        kv_store *s = stub_open();
        assert_int_equal(stub_restored(s, tokens, 60), 0);
        assert_int_equal(stub_count_files("intent"), 0);
        assert_int_equal(stub_count_files("quarantine"), 3);
        assert_int_equal(stub_count_files("poison"), 4);
        kv_store_close(s, 0);
    }
}

/* It died before it had read the headers of what another server wrote: which bytes these were is looked up afterwards. */
static void unknown_bytes_are_condemned_too(void **state)
{
    uint32_t tokens[60];
    int how;
    (void)state;
    kv_store_close(stub_open_saved(tokens), 1000000);
    const pid_t child = fork();
    if (child == 0) {
        kv_plan *plan;
        kv_store *s = stub_open();
        assert_true(kv_flush(s, 10000000));
        const kv_key first = kv_key_segment(&s->secret, &s->root, tokens, N);
        forget_digest(s, &first);
        fault_configure("read.frn:kill", 1, NULL, NULL);
        kv_plan_find(&plan, s, tokens, 60, 1, 0, NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    kv_store *s = stub_open();
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    assert_int_equal(stub_count_files("quarantine"), 3);
    assert_int_equal(stub_count_files("poison"), 4);
    kv_store_close(s, 0);
}

/* Without locks nothing tells a crash from a server at work: for a minute the checkpoint is neither used nor condemned. */
static void without_locks_it_rests_for_a_minute(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *first = stub_open_saved(tokens);
    stub_save(first, tokens, 45); /* the one that is used; the shorter one stands on the same segments */
    kv_store_close(first, 1000000);
    die_with("lock:EINVAL@*", tokens);
    for (int with_locks = 0; with_locks < 2; with_locks++) {
        assert_int_equal(fault_configure(with_locks ? NULL : "lock:EINVAL@*", 1, NULL, NULL), DS4_OK);
        kv_store *s = stub_open();
        assert_int_equal(stub_restored(s, tokens, 60), 0);
        assert_int_equal(stub_count_files("intent"), 1);
        assert_int_equal(stub_count_files("quarantine"), 0);
        kv_store_close(s, 0);
    }
    assert_int_equal(fault_configure("clock:skew:61@*", 1, NULL, NULL), DS4_OK);
    kv_store *s = stub_open();
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    assert_int_equal(stub_count_files("intent"), 0);
    assert_int_equal(stub_count_files("quarantine"), 3);
    kv_store_close(s, 0);
    fault_configure(NULL, 1, NULL, NULL);
}

/* The same for a frontier that stands on no segment. */
static void without_locks_a_short_one_rests_too(void **state)
{
    uint32_t tokens[60];
    (void)state;
    stub_tokens(tokens, 60, 1);
    kv_store *s = stub_open();
    stub_save(s, tokens, N - 1);
    kv_store_close(s, 1000000);
    die_with("lock:EINVAL@*", tokens);
    s = stub_open();
    assert_int_equal(stub_restored(s, tokens, 60), 0);
    assert_int_equal(stub_count_files("quarantine"), 0);
    kv_store_close(s, 0);
}

/* And if its server lives, the checkpoint is offered again when the minute is over. */
static void without_locks_the_innocent_come_back(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *s = stub_open_saved(tokens), *other = stub_open();
    assert_int_equal(fault_configure("lock:EINVAL@*", 1, NULL, NULL), DS4_OK);
    kv_plan *plan = stub_begin(s, tokens, 60);
    assert_int_equal(stub_restored(other, tokens, 60), 0);
    kv_plan_succeed(plan, 0);
    kv_plan_release(plan);
    assert_int_equal(fault_configure("clock:skew:61@*", 1, NULL, NULL), DS4_OK);
    assert_int_equal(stub_restored(other, tokens, 60), 40);
    fault_configure(NULL, 1, NULL, NULL);
    kv_store_close(other, 0);
    kv_store_close(s, 0);
}

/* What this process itself has on trial is neither doubtful nor, however long the trial takes, a crash. */
static void without_locks_a_server_knows_its_own_intents(void **state)
{
    static const char *const faults[] = { "lock:EINVAL@*", "lock:EINVAL@*;clock:skew:61@*" };
    uint32_t tokens[60];
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    assert_int_equal(fault_configure(faults[0], 1, NULL, NULL), DS4_OK);
    kv_plan *plan = stub_begin(s, tokens, 60);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        assert_int_equal(fault_configure(faults[i], 1, NULL, NULL), DS4_OK);
        assert_int_equal(stub_restored(s, tokens, 60), 40); /* another request with this beginning */
        assert_int_equal(stub_count_files("intent"), 1);
        assert_int_equal(stub_count_files("quarantine"), 0);
    }
    kv_plan_succeed(plan, 0);
    kv_plan_release(plan);
    fault_configure(NULL, 1, NULL, NULL);
    kv_store_close(s, 0);
}

/* A record that cannot be removed says nothing any more. */
static void an_intent_that_stays_condemns_nobody(void **state)
{
    uint32_t tokens[60];
    (void)state;
    kv_store *s = stub_open_saved(tokens);
    assert_int_equal(fault_configure("intent.unlink:EIO@*", 1, NULL, NULL), DS4_OK);
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    fault_configure(NULL, 1, NULL, NULL);
    assert_int_equal(stub_count_files("intent"), 1);
    kv_store_close(s, 1000000);
    s = stub_open();
    assert_int_equal(stub_count_files("intent"), 0);
    assert_int_equal(stub_restored(s, tokens, 60), 40);
    kv_store_close(s, 0);
}

#endif

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, stub_empty)
    const struct CMUnitTest tests[] = {
        TEST(a_restore_of_another_process_is_left_alone),
        TEST(a_restore_in_another_pid_namespace_is_left_alone),
        TEST(a_peer_that_dies_is_noticed_at_the_next_lookup),
        TEST(temporaries_of_the_living_stay),
        TEST(an_intent_names_what_is_read),
#ifdef DS4_KV_FAULTS
        TEST(dying_before_the_state_is_touched_counts),
        TEST(unknown_bytes_are_condemned_too),
        TEST(without_locks_it_rests_for_a_minute),
        TEST(without_locks_a_short_one_rests_too),
        TEST(without_locks_the_innocent_come_back),
        TEST(without_locks_a_server_knows_its_own_intents),
        TEST(an_intent_that_stays_condemns_nobody),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
