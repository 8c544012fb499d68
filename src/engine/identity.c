/* engine/identity.c - which weights a store's states were computed with.
 *
 * The name of the weights is their hash, but hashing 80 GB takes minutes. So a store keeps notes:
 *     file note      stamp and samples of a model file  ->  hash of its weights, and the name that its states have here
 *     weights note   hash of some weights               ->  the name that their states have here
 * A file without a note gets a provisional name, which is the key of its file note. When its weights have been hashed in the
 * background, the weights note says which name stays: the one that these weights had already, else the provisional one. So
 * nothing that was saved in the meantime is lost, and another file with the same weights finds it.
 *
 * (1) A name never stands for two sets of weights (P9): a provisional one contains device, inode, size and both times of the
 *     file beside 64 KiB of every tensor; a note about weights is written from the bytes themselves, and never replaced.
 * (2) Nothing is noted about a file that changed while it was read, or so shortly before that its times might not show it. */
#include "engine/identity.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define SETTLED_NS INT64_C(2000000000) /* the coarsest file times in use are two seconds apart */
enum { PROGRESS_US = 10 * 1000 * 1000 };

/* A model file as it was when it was opened. */
typedef struct model_file {
    hash_key stamp, name; /* name: of the file note, and provisional */
    int64_t newest_ns;    /* its last change */
    bool on_disk;         /* false: nothing can be noted about it */
} model_file;

struct identity {
    /* Constant. */
    const model *model;
    kv_store *store;
    model_file seen;
    pthread_t thread;
    bool started;
    /* Background thread only. */
    int64_t begun_us, told_us;
    /* Guarded by `lock`; `changed` is signalled when they change. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping, ended;
    bool abandoned; /* nobody waits for the thread any more: it frees the job */
};

static int64_t now_ns(void)
{
    const fault f = fault_at("clock");
    return clock_unix_ns() + (f.kind == FAULT_SKEW ? f.arg * INT64_C(1000000000) : 0);
}

static ds4_status look(model_file *out, const model *m, ds4_error *err)
{
    hash_stream stream;
    hash_key samples;
    *out = (model_file){ 0 };
    hash_stream_begin(&stream, NULL);
    out->on_disk = gguf_stamp(model_gguf(m), &stream, &out->newest_ns);
    hash_stream_end(&stream, &out->stamp);
    const ds4_status status = model_sampled_hash(m, &samples, err);
    hash_stream_begin(&stream, NULL);
    hash_stream_add(&stream, "ds4 file 1", 10);
    hash_stream_add(&stream, out->stamp.bytes, sizeof out->stamp.bytes);
    hash_stream_add(&stream, samples.bytes, sizeof samples.bytes);
    hash_stream_end(&stream, &out->name);
    return status;
}

/* (2) Is the file what it was, and old enough that a change would show? */
static bool is_unchanged(const model_file *seen, const model *m, int64_t since_ns)
{
    hash_stream stream;
    hash_key now;
    int64_t newest_ns;
    hash_stream_begin(&stream, NULL);
    const bool on_disk = gguf_stamp(model_gguf(m), &stream, &newest_ns);
    hash_stream_end(&stream, &now);
    return on_disk && hash_key_equal(&now, &seen->stamp) && seen->newest_ns <= since_ns - SETTLED_NS;
}

/* The name that these weights have in the store; if they have none, `name` is it from now on. */
static hash_key name_of_weights(kv_store *store, const hash_key *weights, const hash_key *name)
{
    kv_note note = { *weights, *name };
    hash_stream stream;
    hash_key key;
    hash_stream_begin(&stream, NULL);
    hash_stream_add(&stream, "ds4 weights 1", 13);
    hash_stream_add(&stream, weights->bytes, sizeof weights->bytes);
    hash_stream_end(&stream, &key);
    if (kv_note_read(store, &key, &note) != DS4_OK) {
        kv_note_write(store, &key, &note);
        kv_note_read(store, &key, &note); /* another server may have been first */
    }
    return hash_key_equal(&note.weights, weights) ? note.id : *name;
}

/* Hashes the weights and notes what follows; `name`: theirs, if they have none yet, NULL: their hash. */
static ds4_status find_out(hash_key *out, const model_file *seen, const model *m, kv_store *store, const hash_key *name,
                           model_go_on_fn *go_on, void *user, ds4_error *err)
{
    hash_key weights;
    const int64_t begun_ns = now_ns();
    if (fault_errno("identity.hash"))
        return ds4_fail_errno(err, "hash the model");
    const ds4_status status = model_weights_hash(m, &weights, go_on, user, err);
    if (status != DS4_OK)
        return status;
    if (name && !is_unchanged(seen, m, begun_ns))
        return ds4_fail(err, DS4_ERR_IO, "the model file was changed");
    *out = name_of_weights(store, &weights, name ? name : &weights);
    const kv_note note = { weights, *out };
    if (is_unchanged(seen, m, begun_ns))
        kv_note_write(store, &seen->name, &note);
    return DS4_OK;
}

/* ---- in the background ---- */

static bool go_on(void *user, uint64_t n_done)
{
    identity *job = user;
    const int64_t now_us = clock_monotonic_us();
    const uint64_t n_bytes = gguf_file_bytes(model_gguf(job->model));
    pthread_mutex_lock(&job->lock);
    const bool stopping = job->stopping;
    pthread_mutex_unlock(&job->lock);
    if (now_us - job->told_us >= PROGRESS_US) {
        job->told_us = now_us;
        log_info("kv identity hashed=%.0f%% rate=%.2fG/s", 100.0 * (double)n_done / (double)n_bytes,
                 (double)n_done / 1e3 / (double)(now_us - job->begun_us));
    }
    return !stopping;
}

/* (2) A file that was just written is left alone for a moment. False: stopping. */
static bool wait_until_settled(identity *job)
{
    const int64_t wait_us = (job->seen.newest_ns + SETTLED_NS - now_ns()) / 1000 + 1;
    const int64_t until_us = clock_monotonic_us() + (wait_us < SETTLED_NS / 1000 ? wait_us : SETTLED_NS / 1000);
    pthread_mutex_lock(&job->lock);
    while (!job->stopping && wait_us > 0 && clock_cond_wait(&job->changed, &job->lock, until_us))
        continue;
    const bool stopping = job->stopping;
    pthread_mutex_unlock(&job->lock);
    return !stopping;
}

static void run(identity *job)
{
    ds4_error err = { 0 };
    hash_key name;
    if (!wait_until_settled(job))
        return;
    job->begun_us = job->told_us = clock_monotonic_us();
    const ds4_status status = find_out(&name, &job->seen, job->model, job->store, &job->seen.name, go_on, job, &err);
    const double took_s = (double)(clock_monotonic_us() - job->begun_us) / 1e6;
    if (status == DS4_OK)
        log_info("kv identity ready took=%.1fs%s", took_s,
                 hash_key_equal(&name, &job->seen.name)
                     ? ""
                     : " note=\"checkpoints of another file with these weights are used from the next start on\"");
    else if (status != DS4_ERR_CANCELLED)
        log_warning("kv identity unknown class=%s why=\"%s\"", ds4_status_word(status), err.text);
}

static void free_job(identity *job)
{
    pthread_cond_destroy(&job->changed);
    pthread_mutex_destroy(&job->lock);
    free(job);
}

static void *work(void *argument)
{
    identity *job = argument;
    kv_store *store = job->store;
#ifdef SCHED_IDLE /* only what nobody else wants: kernels wait for each other */
    const struct sched_param none = { 0 };
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
#endif
    run(job);
    pthread_mutex_lock(&job->lock);
    job->ended = true;
    const bool abandoned = job->abandoned;
    pthread_cond_broadcast(&job->changed);
    pthread_mutex_unlock(&job->lock);
    if (abandoned)
        free_job(job);
    kv_store_let_go(store);
    return NULL;
}

void identity_start(identity *job)
{
    kv_store_hold(job->store);
    job->started = pthread_create(&job->thread, NULL, work, job) == 0;
    if (!job->started) {
        kv_store_let_go(job->store);
        log_warning("kv identity stays provisional: no thread");
        return;
    }
    log_info("kv identity=provisional bytes=%.1fG note=\"the model is being hashed in the background\"",
             (double)gguf_file_bytes(model_gguf(job->model)) / 1e9);
}

bool identity_stop(identity *job, int64_t until_us)
{
    if (!job)
        return true;
    if (!job->started) {
        free_job(job);
        return true;
    }
    const pthread_t thread = job->thread;
    pthread_mutex_lock(&job->lock);
    job->stopping = true;
    pthread_cond_broadcast(&job->changed);
    while (!job->ended && clock_cond_wait(&job->changed, &job->lock, until_us))
        continue;
    const bool ended = job->ended;
    job->abandoned = !ended;
    pthread_mutex_unlock(&job->lock);
    if (!ended) {
        pthread_detach(thread);
        return false;
    }
    pthread_join(thread, NULL);
    free_job(job);
    return true;
}

/* ---- at start ---- */

static ds4_status new_job(identity **out, const model_file *seen, const model *m, kv_store *store, ds4_error *err)
{
    identity *job = calloc(1, sizeof *job);
    if (!job)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for the identity of the model");
    job->model = m;
    job->store = store;
    job->seen = *seen;
    pthread_mutex_init(&job->lock, NULL);
    clock_cond_init(&job->changed);
    *out = job;
    return DS4_OK;
}

ds4_status identity_find(hash_key *out, identity **job, const model *m, kv_store *store, uint64_t at_once_bytes,
                         ds4_error *err)
{
    model_file seen;
    kv_note note;
    *job = NULL;
    ds4_status status = look(&seen, m, err);
    if (status != DS4_OK)
        return status;
    if (seen.on_disk && kv_note_read(store, &seen.name, &note) == DS4_OK) {
        *out = note.id;
        return DS4_OK;
    }
    const uint64_t n_bytes = gguf_file_bytes(model_gguf(m));
    const bool read_only = kv_store_is_read_only(store);
    if (!seen.on_disk || n_bytes <= at_once_bytes || read_only) {
        if (n_bytes > at_once_bytes)
            log_info("kv identity bytes=%.1fG note=\"the model is hashed first: a read-only store has no note of it\"",
                     (double)n_bytes / 1e9);
        return find_out(out, &seen, m, store, NULL, NULL, NULL, err);
    }
    *out = seen.name;
    return new_job(job, &seen, m, store, err);
}
