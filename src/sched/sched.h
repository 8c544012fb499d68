/* sched/sched.h - public header of the scheduler: requests in, tokens out. It owns the engine thread.
 *
 * One thread steps the engine. Requests are admitted from a bounded queue, matched with what is already computed (a
 * resident sequence, or a checkpoint on disk), prefilled in chunks beside the decoding of others, and retried once from
 * a clean state when work on a restored state fails (docs/spec/kvstore.md, section 7).
 *
 * Threads: every call here may be made from any thread. Callbacks run on the engine thread: they must not block, and
 * must not call back into the scheduler except sched_cancel(). */
#ifndef SCHED_SCHED_H
#define SCHED_SCHED_H

#include "engine/engine.h"

typedef struct sched sched;
typedef struct sched_ticket sched_ticket; /* one request, from submit to release */

typedef struct sched_options {
    uint32_t n_slots;           /* resident sequences decoded together (--batched-session) */
    uint32_t max_queue;         /* waiting requests beyond the slots; more are refused. 0: no limit */
    uint32_t prefill_chunk;     /* tokens of one prefill slice when nobody decodes */
    uint32_t prefill_quantum;   /* the same while others decode (--mixed-prefill-quantum) */
    uint32_t min_cached_tokens; /* smallest checkpoint worth saving or restoring (--kv-cache-min-tokens) */
    uint32_t loop_tokens; /* an answer that repeats itself for so many tokens ends (sched/loop.h); UINT32_MAX: never */
    int64_t patience_us;  /* a search may take half the time of prefilling, but always this long */
} sched_options;

sched_options sched_options_default(void);

/* An alternative at one position; logprob is the log-softmax of the raw logits. */
typedef struct sched_alternative {
    uint32_t id;
    float logprob;
} sched_alternative;

typedef struct sched_token {
    uint32_t id;
    float logprob;                /* only if n_logprobs was asked for, else 0 */
    const sched_alternative *top; /* [n_top], most likely first */
    uint32_t n_top;
} sched_token;

/* What the owner of the request wants of the next token. Zeroed before every on_token(). */
typedef struct sched_steer {
    bool finish; /* stop: the request is done (EOS, closed tool block, stop sequence) */
    bool force;  /* the next token is force_id, whatever the logits say */
    uint32_t force_id;
    engine_choice choice; /* else: how it is chosen; .allows is called on the engine thread */
} sched_steer;

typedef enum sched_finish {
    SCHED_FINISH_STEERED, /* the owner said finish */
    SCHED_FINISH_LENGTH,  /* max_tokens were generated */
    SCHED_FINISH_CONTEXT, /* the context is full */
    SCHED_FINISH_LOOP,    /* it repeats itself: `loop_period` tokens again and again */
    SCHED_FINISH_CANCELLED,
    SCHED_FINISH_ERROR /* `status` and `error` say which */
} sched_finish;

typedef enum sched_source { SCHED_SOURCE_NONE, SCHED_SOURCE_LIVE, SCHED_SOURCE_DISK } sched_source;

typedef struct sched_result {
    sched_finish finish;
    ds4_status status; /* DS4_OK unless finish is ERROR */
    char error[240];
    uint32_t n_prompt;    /* tokens of the prompt */
    uint32_t n_cached;    /* of these, not evaluated in this request */
    uint32_t n_written;   /* of the others, given to the store: a later request finds them there */
    uint32_t n_generated; /* tokens given to on_token() */
    uint32_t loop_period; /* 0 unless finish is LOOP */
    sched_source source;  /* where the cached tokens came from */
    bool retried_clean;   /* a restored state failed and the request was served from a clean one */
    int64_t queue_us, prefill_us, decode_us;
} sched_result;

typedef struct sched_request {
    const uint32_t *prompt; /* [n_prompt], copied */
    uint32_t n_prompt;      /* 1 .. context - 1 */
    /* Positions inside the prompt where a later request will probably leave it (before the last user turn, before the
     * generation header's last token): frontiers are saved there. Ascending, copied; may be empty. */
    const uint32_t *anchors;
    uint32_t n_anchors;
    uint32_t max_tokens;      /* clamped to the room in the context */
    engine_sampling sampling; /* copied, biases too */
    uint32_t n_logprobs;      /* 0..20 alternatives for every token; also needs want_logprobs */
    bool want_logprobs;
    bool no_cache; /* cache_prompt:false: neither reuse nor store */

    void *user; /* handed to the callbacks; must stay valid until on_done() has returned */
    /* The request left the queue and its plan is made: n_cached of n_prompt tokens need no work. May be called a second
     * time with n_cached = 0 when a restored state was dropped; `steer` is then what was asked of the next token before.
     * NULL is fine for every callback but on_done. */
    void (*on_start)(void *user, uint32_t n_prompt, uint32_t n_cached, sched_steer *steer);
    void (*on_prefill)(void *user, uint32_t n_done, uint32_t n_prompt);
    void (*on_token)(void *user, const sched_token *token, sched_steer *steer);
    /* Exactly once, and nothing after it. */
    void (*on_done)(void *user, const sched_result *result);
} sched_request;

/* Starts the engine thread. The scheduler uses `e` and its store until sched_close(); nobody else may. */
ds4_status sched_open(sched **out, engine *e, const sched_options *options, ds4_error *err);

/* Queues a request. Errors: ARGUMENT (empty prompt, prompt longer than the context: text says both numbers),
 * NO_SPACE (queue full), CANCELLED (draining), NO_MEMORY (an idle state is then given up, so that trying again can help).
 * After DS4_OK on_done() will be called. */
ds4_status sched_submit(sched *s, const sched_request *request, sched_ticket **out, ds4_error *err);
/* Memory is short: the least recently used idle sequence is freed, after the step that is running. False: there is none.
 * Waits for the engine thread, so not for callbacks, and not for threads that must not wait. */
bool sched_make_room(sched *s);
/* Asks for an early end: on_done() follows soon with CANCELLED (or with the result that came first). The scheduler must
 * still be open. */
void sched_cancel(sched_ticket *ticket);
/* Gives the ticket back; any time, also before on_done() (the request keeps running; only the handle is gone). */
void sched_ticket_release(sched_ticket *ticket);

/* No new requests; running ones end by themselves, or are cancelled after grace_us. Returns when idle. */
void sched_drain(sched *s, int64_t grace_us);
/* Saves the frontiers of all resident sequences (bounded by save_us), stops the threads, frees. Drain first. A disk that
 * does not answer is left after save_us, or two seconds; what is left then is in the hands of kv_store_close(). */
void sched_close(sched *s, int64_t save_us);

typedef struct sched_metrics {
    uint64_t n_queued, n_running; /* now */
    uint64_t refused_total, finished_total, cancelled_total, failed_total;
    uint64_t prefill_tokens_total, decode_tokens_total, reused_live_tokens_total, reused_disk_tokens_total;
    uint64_t live_starts_total; /* requests that went on from what an earlier one left in memory */
    uint64_t loops_total;       /* of the finished ones, those that repeated themselves */
    uint64_t retries_clean_total;
    uint64_t states_given_up_total;   /* idle sequences freed because memory was short */
    uint64_t searches_given_up_total; /* the directory did not answer in time */
    int64_t prefill_us_total, decode_us_total;
} sched_metrics;

void sched_get_metrics(sched *s, sched_metrics *out);

#endif
