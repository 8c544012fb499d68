/* tests/model/one_change.h - the tiny model with one thing changed, and how it is refused. For one test program each. */
#ifndef TESTS_MODEL_ONE_CHANGE_H
#define TESTS_MODEL_ONE_CHANGE_H

#include "model/network.h"
#include "support/changed_model.h"
#include "support/support.h"
#include "support/tiny_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gguf_file *tiny;

static int open_tiny(void **state)
{
    (void)state;
    test_empty_folder(TEST_SCRATCH);
    tiny_model_write(TEST_SCRATCH "/tiny.gguf", 1);
    return hash_start(NULL) != DS4_OK || gguf_open(&tiny, TEST_SCRATCH "/tiny.gguf", NULL) != DS4_OK;
}

static int close_tiny(void **state)
{
    (void)state;
    gguf_close(tiny);
    return 0;
}

/* Opens the changed model; *bytes is to be freed after it. */
static ds4_status open_changed(const model_change *c, const model_options *options, model **m, char **bytes,
                               ds4_error *err)
{
    size_t size;
    gguf_file *file;
    model_options o = *options;
    o.n_threads = 1;
    *bytes = changed_model(tiny, c, &size);
    assert_int_equal(gguf_open_bytes(&file, *bytes, size, err), DS4_OK);
    return model_open_gguf(m, file, &o, err);
}

static void assert_refused_with(const model_change *c, const model_options *options, const char *words)
{
    model *m;
    char *bytes;
    ds4_error err = { 0 };
    if (open_changed(c, options, &m, &bytes, &err) == DS4_OK)
        fail_msg("%s%s accepted, but should say '%s'", c->key ? c->key : "", c->tensor ? c->tensor : "", words);
    assert_null(m);
    if (!strstr(err.text, words))
        fail_msg("'%s' does not say '%s'", err.text, words);
    free(bytes);
}

static void assert_refused(const model_change *c, const char *words)
{
    const model_options o = model_options_default();
    assert_refused_with(c, &o, words);
}

static void assert_accepted(const model_change *c)
{
    const model_options o = model_options_default();
    model *m;
    char *bytes;
    ds4_error err = { 0 };
    if (open_changed(c, &o, &m, &bytes, &err) != DS4_OK)
        fail_msg("%s", err.text);
    model_close(m);
    free(bytes);
}

#endif
