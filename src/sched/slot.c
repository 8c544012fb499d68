#include "sched/slot.h"

/* How far a state may be rewound without a checkpoint (docs/spec/model.md, section 11.3). The engine has the
 * last word; this only keeps hopeless candidates out. */
enum { REWIND_MAX = 8 };

/* At least one token is always left to evaluate: its logits are the proof that the state works. */
static uint32_t reusable(const slot *s, const uint32_t *prompt, uint32_t n_prompt)
{
    if (!s->sequence)
        return 0;
    const uint32_t length = engine_sequence_length(s->sequence);
    uint32_t n = (uint32_t)token_list_common_prefix(engine_sequence_tokens(s->sequence), length, prompt, n_prompt);
    if (n == n_prompt)
        n = n_prompt - 1;
    return length - n <= REWIND_MAX ? n : 0;
}

slot *slot_choose(slot *slots, size_t n_slots, const uint32_t *prompt, uint32_t n_prompt, uint32_t *n_live)
{
    slot *best = NULL, *oldest = NULL;
    *n_live = 0;
    for (size_t i = 0; i < n_slots; i++) {
        slot *s = &slots[i];
        if (s->job)
            continue;
        const uint32_t n = reusable(s, prompt, n_prompt);
        if (n > *n_live) {
            *n_live = n;
            best = s;
        }
        const bool empty = !s->sequence || engine_sequence_length(s->sequence) == 0;
        const uint64_t age = empty ? 0 : s->last_use;
        if (!oldest || age < (oldest->sequence && engine_sequence_length(oldest->sequence) ? oldest->last_use : 0))
            oldest = s;
    }
    return best ? best : oldest;
}

void slot_save_displaced(slot *s, const sched_options *options)
{
    if (engine_sequence_length(s->sequence) >= options->min_cached_tokens)
        engine_sequence_save(s->sequence, ENGINE_SAVE_DISPLACED, true);
}

void slot_drop_plan(slot *s, librarian *l)
{
    if (!s->plan)
        return;
    librarian_judge(l, s->plan, s->stage == PLAN_PROVEN ? LIBRARIAN_RELEASE : LIBRARIAN_ACQUIT, 0, DS4_OK, NULL);
    s->plan = NULL;
    s->stage = PLAN_NONE;
}
