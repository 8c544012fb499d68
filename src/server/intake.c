#include "server/intake.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdlib.h>

struct intake {
    pthread_t thread;
    bool long_bodies;     /* constant */
    pthread_mutex_t lock; /* guards what follows; taken alone */
    pthread_cond_t wake;
    stream *head, *tail;
    size_t n; /* with the one that is being read */
    bool stopping;
};

/* The next one, or NULL at the end. */
static stream *take(intake *in)
{
    pthread_mutex_lock(&in->lock);
    while (!in->head && !in->stopping)
        pthread_cond_wait(&in->wake, &in->lock);
    stream *st = in->stopping ? NULL : in->head;
    if (st)
        in->head = st->next_read;
    pthread_mutex_unlock(&in->lock);
    return st;
}

static void *work(void *argument)
{
    intake *in = argument;
    for (stream *st; (st = take(in)) != NULL;) {
        if (!stream_is_gone(st))
            completion_prepare(st);
        stream_drop(st);
#ifdef __GLIBC__
        /* What lies above the freed tree of a long body keeps its memory from the system: often hundreds of megabytes. */
        if (in->long_bodies)
            malloc_trim(0);
#endif
        pthread_mutex_lock(&in->lock);
        in->n--;
        pthread_mutex_unlock(&in->lock);
    }
    return NULL;
}

ds4_status intake_open(intake **out, bool long_bodies, ds4_error *err)
{
    intake *in = calloc(1, sizeof *in);
    *out = NULL;
    if (!in)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    in->long_bodies = long_bodies;
    pthread_mutex_init(&in->lock, NULL);
    pthread_cond_init(&in->wake, NULL);
    if (pthread_create(&in->thread, NULL, work, in) != 0) {
        pthread_cond_destroy(&in->wake);
        pthread_mutex_destroy(&in->lock);
        free(in);
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "cannot start a thread that reads requests");
    }
    *out = in;
    return DS4_OK;
}

void intake_close(intake *in)
{
    if (!in)
        return;
    pthread_mutex_lock(&in->lock);
    in->stopping = true;
    pthread_cond_signal(&in->wake);
    pthread_mutex_unlock(&in->lock);
    pthread_join(in->thread, NULL);
    for (stream *st = in->head, *next; st; st = next) {
        next = st->next_read;
        stream_drop(st);
    }
    pthread_cond_destroy(&in->wake);
    pthread_mutex_destroy(&in->lock);
    free(in);
}

void intake_add(intake *in, stream *st)
{
    stream_hold(st);
    st->next_read = NULL;
    pthread_mutex_lock(&in->lock);
    if (in->head)
        in->tail->next_read = st;
    else
        in->head = st;
    in->tail = st;
    in->n++;
    pthread_cond_signal(&in->wake);
    pthread_mutex_unlock(&in->lock);
}

size_t intake_count(intake *in)
{
    pthread_mutex_lock(&in->lock);
    const size_t n = in->n;
    pthread_mutex_unlock(&in->lock);
    return n;
}
