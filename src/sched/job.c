#include "sched/job.h"

#include "base/clock.h"
#include "sched/slot.h"

#include <stdlib.h>
#include <string.h>

static void job_free(job *j)
{
    engine_sampler_free(j->sampler);
    token_list_free(&j->history);
    free(j->anchors);
    free(j->biases);
    free(j);
}

/* A copy of n items, something to free() even for none; NULL when there is no memory. */
static void *copy_items(const void *items, size_t n, size_t size)
{
    void *copy = malloc(n ? n * size : 1);
    if (copy && n)
        memcpy(copy, items, n * size);
    return copy;
}

ds4_status job_new(job **out, sched *owner, const sched_request *request, uint32_t n_vocab, ds4_error *err)
{
    *out = NULL;
    job *j = calloc(1, sizeof *j);
    if (!j)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "no memory for a request");
    j->owner = owner;
    j->request = *request;
    j->submitted_us = clock_monotonic_us();
    atomic_init(&j->cancelled, false);
    atomic_init(&j->references, 2);
    ds4_status status = engine_sampling_check(&request->sampling, n_vocab, err);
    if (status == DS4_OK) {
        status = token_list_append_all(&j->history, request->prompt, request->n_prompt);
        j->anchors = copy_items(request->anchors, request->n_anchors, sizeof *request->anchors);
        j->biases = copy_items(request->sampling.biases, request->sampling.n_biases, sizeof *request->sampling.biases);
        if (!j->anchors || !j->biases)
            status = DS4_ERR_NO_MEMORY;
        if (status != DS4_OK)
            ds4_fail(err, status, "no memory for a request of %u tokens", request->n_prompt);
    }
    if (status != DS4_OK) {
        job_free(j);
        return status;
    }
    j->request.prompt = NULL;
    j->request.anchors = j->anchors;
    j->request.sampling.biases = j->biases;
    *out = j;
    return DS4_OK;
}

ds4_status job_ready(job *j, uint32_t n_vocab, ds4_error *err)
{
    if (j->sampler)
        return DS4_OK;
    const ds4_status status = engine_sampler_new(&j->sampler, &j->request.sampling, n_vocab, err);
    if (status == DS4_OK)
        engine_sampler_note(j->sampler, j->history.ids, j->history.n, false);
    return status;
}

void job_unref(job *j)
{
    if (atomic_fetch_sub_explicit(&j->references, 1, memory_order_acq_rel) == 1)
        job_free(j);
}

uint32_t job_n_missing(const job *j)
{
    return (uint32_t)j->history.n - engine_sequence_length(j->slot->sequence);
}

uint32_t job_next_anchor(const job *j, uint32_t p)
{
    for (uint32_t i = 0; i < j->request.n_anchors; i++)
        if (j->anchors[i] > p)
            return j->anchors[i];
    return UINT32_MAX;
}

bool job_has_anchor(const job *j, uint32_t p)
{
    for (uint32_t i = 0; i < j->request.n_anchors; i++)
        if (j->anchors[i] == p)
            return true;
    return false;
}
