#include "sched/stub_client.h"

#include "base/clock.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

/* All tokens of a client that wants one only. */
static bool is_wanted(void *user, uint32_t id)
{
    const client *c = user;
    return id == c->only;
}

static void on_start(void *user, uint32_t n_prompt, uint32_t n_cached, sched_steer *steer)
{
    client *c = user;
    (void)n_prompt;
    pthread_mutex_lock(&c->lock);
    if (c->only)
        steer->choice = (engine_choice){ .greedy = true, .allows = is_wanted, .user = c };
    c->n_starts++;
    c->started_at = stub.n_steps;
    c->n_cached = n_cached;
    pthread_mutex_unlock(&c->lock);
}

static void on_token(void *user, const sched_token *token, sched_steer *steer)
{
    client *c = user;
    pthread_mutex_lock(&c->lock);
    c->steps[c->n_out] = stub.n_steps;
    c->out[c->n_out++] = token->id;
    steer->finish = c->n_out == c->finish_after;
    if (c->only)
        steer->choice = (engine_choice){ .greedy = true, .allows = is_wanted, .user = c };
    pthread_cond_broadcast(&c->done_now);
    pthread_mutex_unlock(&c->lock);
}

static void on_done(void *user, const sched_result *result)
{
    client *c = user;
    pthread_mutex_lock(&c->lock);
    assert_false(c->done);
    c->done = true;
    c->result = *result;
    pthread_cond_broadcast(&c->done_now);
    pthread_mutex_unlock(&c->lock);
}

client *client_new(uint64_t seed, uint32_t n_prompt)
{
    client *c = calloc(1, sizeof *c);
    test_random r = test_random_seeded(seed);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->done_now, NULL);
    c->n_prompt = n_prompt;
    for (uint32_t i = 0; i < n_prompt; i++)
        c->prompt[i] = test_random_below(&r, STUB_VOCAB);
    return c;
}

void client_free(client *c)
{
    sched_ticket_release(c->ticket);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->done_now);
    free(c);
}

sched_request request_of(client *c, uint32_t max_tokens)
{
    sched_request r = { .prompt = c->prompt,
                        .n_prompt = c->n_prompt,
                        .max_tokens = max_tokens,
                        .sampling = engine_sampling_default(),
                        .user = c,
                        .on_start = on_start,
                        .on_token = on_token,
                        .on_done = on_done };
    r.sampling.temperature = 0;
    return r;
}

void submit(sched *s, client *c, uint32_t max_tokens)
{
    const sched_request r = request_of(c, max_tokens);
    assert_int_equal(sched_submit(s, &r, &c->ticket, NULL), DS4_OK);
}

void wait_done(client *c)
{
    pthread_mutex_lock(&c->lock);
    while (!c->done)
        pthread_cond_wait(&c->done_now, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

void wait_entered(unsigned n_steps)
{
    while (stub.n_entered < n_steps)
        clock_sleep_us(500);
}

client *ask(sched *s, uint64_t seed, uint32_t n_prompt, uint32_t max_tokens)
{
    client *c = client_new(seed, n_prompt);
    submit(s, c, max_tokens);
    wait_done(c);
    return c;
}

void assert_right(const client *c, uint32_t n)
{
    uint32_t *all = malloc((c->n_prompt + n) * sizeof *all);
    memcpy(all, c->prompt, c->n_prompt * sizeof *all);
    assert_int_equal(c->n_out, n);
    for (uint32_t i = 0; i < n; i++) {
        all[c->n_prompt + i] = stub_next(all, c->n_prompt + i);
        assert_int_equal(c->out[i], all[c->n_prompt + i]);
    }
    free(all);
}

sched *open_sched(uint32_t n_slots)
{
    sched *s = NULL;
    sched_options o = sched_options_default();
    o.n_slots = n_slots;
    o.prefill_chunk = 100;
    o.prefill_quantum = 30;
    o.min_cached_tokens = 64;
    o.patience_us = INT64_C(600) * 1000 * 1000; /* a busy machine is no disk that hangs */
    assert_int_equal(sched_open(&s, stub_engine(), &o, NULL), DS4_OK);
    return s;
}

void end(sched *s, client *c)
{
    client_free(c);
    sched_close(s, 0);
}

void put_checkpoint(uint32_t n_tokens)
{
    stub.has_store = true;
    stub.checkpoint = n_tokens;
}

void break_at(uint32_t position, uint32_t times, ds4_status how)
{
    stub.fail_position = position;
    stub.fail_times = times;
    stub.item_status = how;
}

int fresh_world(void **state)
{
    (void)state;
    stub_reset();
    return 0;
}
