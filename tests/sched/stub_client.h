/* tests/sched/stub_client.h - a client of the scheduler without a network: it notes what it is told, and knows what the stub
 * engine should have said. */
#ifndef TESTS_SCHED_STUB_CLIENT_H
#define TESTS_SCHED_STUB_CLIENT_H

#include "sched/stub_engine.h"

#include <pthread.h>

enum { OUT_MAX = 512 };

typedef struct client {
    pthread_mutex_t lock;
    pthread_cond_t done_now;
    uint32_t prompt[STUB_CTX];
    uint32_t n_prompt;
    uint32_t out[OUT_MAX];
    unsigned steps[OUT_MAX]; /* [n_out] the step that each came from */
    unsigned started_at;     /* steps before it left the queue */
    uint32_t n_out, n_starts, n_cached, finish_after;
    uint32_t only; /* steer every token to this one; 0: none */
    bool done, cancel_at_first;
    sched_ticket *ticket;
    sched_result result;
} client;

client *client_new(uint64_t seed, uint32_t n_prompt); /* a prompt that follows from the seed */
void client_free(client *c);                          /* releases its ticket, too */
sched_request request_of(client *c, uint32_t max_tokens);
void submit(sched *s, client *c, uint32_t max_tokens);
void wait_done(client *c);
void wait_entered(unsigned n_steps); /* until so many steps have begun */
/* A new client that has got its answer. */
client *ask(sched *s, uint64_t seed, uint32_t n_prompt, uint32_t max_tokens);
/* The output is what an engine that never failed would have said. */
void assert_right(const client *c, uint32_t n);

/* Chunks of 100 tokens, quanta of 30, checkpoints from 64 tokens on. */
sched *open_sched(uint32_t n_slots);
/* The only client goes, and the scheduler with it. */
void end(sched *s, client *c);

void put_checkpoint(uint32_t n_tokens);
/* Items that hold this position fail, that many times. */
void break_at(uint32_t position, uint32_t times, ds4_status how);
/* A setup function for cmocka. */
int fresh_world(void **state);

#endif
