/* Which weights the states of a store belong to: docs/spec/kvstore.md, section 10. P9: another file is never taken for
 * this one; and what was saved before the weights were hashed is found again afterwards. */
#include "base/clock.h"
#include "base/fault.h"
#include "engine/engine.h"
#include "quant/quant.h"
#include "support/changed_model.h"
#include "support/support.h"
#include "support/tiny_model.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N_TOKENS = 60, AT_ONCE = 1 << 30, LATER = 0 };

static char model_path[512], copy_path[512], store_path[512], notes_path[600];

static engine *open_engine(const char *path, uint64_t at_once, bool read_only)
{
    engine *e = NULL;
    ds4_error err = { 0 };
    engine_options o = engine_options_default();
    o.model_path = path;
    o.n_ctx = TINY_CTX;
    o.n_threads = 1;
    o.kv_dir = store_path;
    o.kv_segment_tokens = TINY_SEGMENT;
    o.kv_min_free_bytes = 1;
    o.kv_read_only = read_only;
    o.hash_at_once_bytes = at_once;
    if (engine_open(&e, &o, &err) != DS4_OK)
        fail_msg("%s", err.text);
    assert_non_null(engine_store(e));
    assert_true(kv_flush(engine_store(e), 20 * 1000 * 1000));
    return e;
}

static const uint32_t *some_tokens(void)
{
    static uint32_t tokens[N_TOKENS + 1];
    for (uint32_t i = 0; i <= N_TOKENS; i++)
        tokens[i] = 8 + i * 7 % 256;
    return tokens;
}

static void save(engine *e)
{
    engine_sequence *s = NULL;
    assert_int_equal(engine_sequence_new(&s, e, NULL), DS4_OK);
    engine_work w = { .sequence = s, .tokens = some_tokens(), .n_tokens = N_TOKENS };
    assert_int_equal(engine_step(e, &w, 1, NULL), DS4_OK);
    engine_sequence_save(s, ENGINE_SAVE_TURN, true);
    engine_sequence_free(s);
    assert_true(kv_flush(engine_store(e), 20 * 1000 * 1000));
}

static bool finds_it(engine *e)
{
    kv_plan *plan = NULL;
    const bool found = kv_plan_find(&plan, engine_store(e), some_tokens(), N_TOKENS + 1, 1, 0, NULL) == DS4_OK;
    kv_plan_release(plan);
    return found;
}

/* Opens, asks, closes. */
static bool found_by(const char *path, uint64_t at_once, bool read_only)
{
    engine *e = open_engine(path, at_once, read_only);
    const bool found = finds_it(e);
    engine_close(e);
    return found;
}

static int each_note(void (*visit)(const char *path))
{
    char path[1024];
    int n = 0;
    DIR *d = opendir(notes_path);
    for (const struct dirent *entry; d && (entry = readdir(d));)
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", notes_path, entry->d_name);
            n++;
            if (visit)
                visit(path);
        }
    if (d)
        closedir(d);
    return n;
}

/* The background has come to its end: a note about the file, and one about its weights. */
static void wait_for_notes(int n)
{
    const int64_t until_us = clock_monotonic_us() + 240 * 1000 * 1000; /* it runs at idle priority */
    while (each_note(NULL) < n) {
        assert_true(clock_monotonic_us() < until_us);
        clock_sleep_us(20 * 1000);
    }
}

static void copy_file(const char *from, const char *to)
{
    size_t size;
    char *bytes = test_read_file(from, &size);
    test_write_file(to, bytes, size);
    free(bytes);
}

static int fresh(void **state)
{
    (void)state;
    test_empty_folder(TEST_SCRATCH);
    test_empty_folder(TEST_SCRATCH "/models");
    snprintf(model_path, sizeof model_path, "%s/models/a.gguf", TEST_SCRATCH);
    snprintf(copy_path, sizeof copy_path, "%s/models/b.gguf", TEST_SCRATCH);
    snprintf(store_path, sizeof store_path, "%s/store", TEST_SCRATCH);
    snprintf(notes_path, sizeof notes_path, "%s/model", store_path);
    tiny_model_write(model_path, 1);
#ifdef DS4_KV_FAULTS /* files that were just written are left alone for two seconds: let them be over */
    return fault_configure("clock:skew:10@*", 1, NULL, NULL) == DS4_OK ? 0 : -1;
#else
    return 0;
#endif
}

/* What is saved under a provisional name is found by the next start, before and after the weights have been hashed, by the
 * same file, by a copy of it, and by a store that may not write. */
static void what_was_saved_early_is_found_later(void **state)
{
    (void)state;
    engine *e = open_engine(model_path, LATER, false);
    save(e);
    wait_for_notes(2);
    assert_true(finds_it(e));
    engine_close(e);
    assert_true(found_by(model_path, LATER, false));
    copy_file(model_path, copy_path);
    assert_true(found_by(copy_path, LATER, true)); /* it has to hash the copy, and notes nothing */
    assert_int_equal(each_note(NULL), 2);
    assert_true(found_by(copy_path, AT_ONCE, false));
}

/* A copy is provisional for itself: what another file with the same bytes saved, it finds when that is known. */
static void a_copy_is_known_at_the_next_start(void **state)
{
    (void)state;
    engine *e = open_engine(model_path, AT_ONCE, false);
    save(e);
    engine_close(e);
    const int n_before = each_note(NULL);
    copy_file(model_path, copy_path);
    e = open_engine(copy_path, LATER, false);
    assert_false(finds_it(e));
    wait_for_notes(n_before + 1);
    engine_close(e);
    assert_true(found_by(copy_path, LATER, false));
}

/* P9, wherever the difference is and whatever the times of the file say. */
static void changed_weights_are_others(void **state)
{
    struct stat before;
    (void)state;
    engine *e = open_engine(model_path, LATER, false);
    save(e);
    wait_for_notes(2);
    engine_close(e);
    assert_int_equal(stat(model_path, &before), 0);
    size_t size;
    char *bytes = test_read_file(model_path, &size);
    const int fd = open(model_path, O_WRONLY);
    bytes[size - 5] ^= 4; /* a mantissa bit of the last tensor */
    assert_int_equal(pwrite(fd, bytes + size - 5, 1, (off_t)size - 5), 1);
    const struct timespec times[2] = { before.st_atim, before.st_mtim };
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
    free(bytes);
    assert_false(found_by(model_path, LATER, false));
    assert_false(found_by(model_path, AT_ONCE, false));
    tiny_model_write(model_path, 2);
    assert_false(found_by(model_path, LATER, false));
    assert_false(found_by(model_path, AT_ONCE, false));
    tiny_model_write(model_path, 1); /* the same bytes in a new file */
    assert_true(found_by(model_path, AT_ONCE, false));
}

#ifdef DS4_KV_FAULTS /* the clock can be set: files that were just written are noted */

/* A file that was only touched costs a hash, not its checkpoints. */
static void a_touched_file_is_hashed_again(void **state)
{
    (void)state;
    engine *e = open_engine(model_path, AT_ONCE, false);
    save(e);
    engine_close(e);
    wait_for_notes(2);
    assert_int_equal(utimensat(AT_FDCWD, model_path, NULL, 0), 0);
    assert_true(found_by(model_path, AT_ONCE, false));
    wait_for_notes(3);
}

static void flip_a_byte(const char *path)
{
    size_t size;
    char *bytes = test_read_file(path, &size);
    bytes[size / 2] ^= 1;
    test_write_file(path, bytes, size);
    free(bytes);
}

static void damage(const char *path)
{
    flip_a_byte(path);
}

static void cut(const char *path)
{
    assert_int_equal(truncate(path, 100), 0);
}

static void empty(const char *path)
{
    assert_int_equal(truncate(path, 0), 0);
}

/* Notes that do not check out are made anew. */
static void damaged_notes_cost_a_hash(void **state)
{
    static void (*const how[])(const char *path) = { damage, cut, empty };
    (void)state;
    engine *e = open_engine(model_path, AT_ONCE, false);
    save(e);
    engine_close(e);
    wait_for_notes(2);
    for (size_t i = 0; i < sizeof how / sizeof how[0]; i++) {
        each_note(how[i]);
        assert_true(found_by(model_path, AT_ONCE, false));
        wait_for_notes(2);
    }
}

static char notes[4][1024];
static int n_notes;

static void remember_note(const char *path)
{
    for (int i = 0; i < n_notes; i++)
        if (strcmp(notes[i], path) == 0)
            return;
    assert_true(n_notes < 4);
    snprintf(notes[n_notes++], sizeof notes[0], "%s", path);
}

/* A note under the name of another model's: by a mistake in copying, or on purpose. */
static void a_note_of_another_file_is_not_believed(void **state)
{
    (void)state;
    engine *e = open_engine(model_path, AT_ONCE, false);
    save(e);
    engine_close(e);
    n_notes = 0;
    assert_int_equal(each_note(remember_note), 2);
    tiny_model_write(copy_path, 2); /* of the same shape */
    assert_false(found_by(copy_path, AT_ONCE, false));
    assert_int_equal(each_note(remember_note), 4);
    for (int i = 0; i < 2; i++) {
        copy_file(notes[i], notes[2]);
        copy_file(notes[i], notes[3]);
        assert_false(found_by(copy_path, AT_ONCE, false));
    }
    assert_true(found_by(model_path, AT_ONCE, false));
}

/* 105 seconds for 81 GB once: what is noted is not hashed again, what is long not before it is served, and without a store
 * nothing is. */
static void nothing_is_hashed_twice_or_first(void **state)
{
    (void)state;
    engine *e = open_engine(model_path, AT_ONCE, false);
    save(e);
    engine_close(e);
    assert_int_equal(fault_configure("identity.hash:EIO@*,clock:skew:10@*", 1, NULL, NULL), DS4_OK);
    assert_true(found_by(model_path, AT_ONCE, false));
    copy_file(model_path, copy_path);
    e = open_engine(copy_path, LATER, false);
    assert_false(finds_it(e));
    save(e);
    assert_true(finds_it(e));
    engine_close(e);
    assert_true(found_by(copy_path, LATER, false)); /* still provisional, and still its own */
    engine_options o = engine_options_default();
    o.model_path = copy_path;
    assert_int_equal(engine_open(&e, &o, NULL), DS4_OK);
    assert_int_equal(strlen(engine_get_about(e)->fingerprint), 12);
    engine_close(e);
}

/* Times of a file that is still being written might not show the last change: nothing is noted about it. */
static void a_file_that_was_just_written_is_not_noted(void **state)
{
    (void)state;
    assert_int_equal(fault_configure("clock:skew:1@*", 1, NULL, NULL), DS4_OK);
    engine *e = open_engine(model_path, AT_ONCE, false);
    save(e);
    engine_close(e);
    assert_int_equal(each_note(NULL), 1); /* that of the weights: it is about bytes, not about a file */
    assert_true(found_by(model_path, AT_ONCE, false));
}

#endif

/* A tensor of 2 GiB, of which the disk holds nothing: hashing it takes seconds. */
static void a_big_model_starts_at_once(void **state)
{
    gguf_file *file;
    const uint64_t dims[1] = { UINT64_C(1) << 29 };
    size_t size;
    (void)state;
    assert_int_equal(gguf_open(&file, model_path, NULL), DS4_OK);
    const model_change change = { .tensor = "blk.99.padding.weight",
                                  .new_tensor = { .type = QUANT_F32, .n_dims = 1, .dims = dims, .n_bytes = 32 } };
    char *bytes = changed_model(file, &change, &size);
    gguf_close(file);
    test_write_file(copy_path, bytes, size);
    free(bytes);
    if (truncate(copy_path, (off_t)(size - 32 + 4 * dims[0])) != 0)
        skip(); /* the file system of the build folder has no files that long */
    const engine_options defaults = engine_options_default();
    engine *e = open_engine(copy_path, defaults.hash_at_once_bytes, false);
    save(e);
    assert_true(finds_it(e));
    assert_int_equal(each_note(NULL), 0);
    engine_close(e); /* and ends as soon */
    assert_true(found_by(copy_path, defaults.hash_at_once_bytes, false));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, fresh)
    const struct CMUnitTest tests[] = {
        TEST(what_was_saved_early_is_found_later),
        TEST(a_copy_is_known_at_the_next_start),
        TEST(changed_weights_are_others),
#ifdef DS4_KV_FAULTS
        TEST(a_touched_file_is_hashed_again),
        TEST(damaged_notes_cost_a_hash),
        TEST(a_note_of_another_file_is_not_believed),
        TEST(nothing_is_hashed_twice_or_first),
        TEST(a_file_that_was_just_written_is_not_noted),
#endif
        TEST(a_big_model_starts_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
