/* Messages to prompt: docs/spec/protocol.md, sections 2.2 to 2.9. First the messages become turns, then the turns
 * become spans. */
#include "chat/template.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum turn_kind { TURN_USER, TURN_ASSISTANT, TURN_REMINDER, TURN_SYSTEM } turn_kind;

/* A piece of a user turn. */
typedef struct block {
    const chat_message *message;
    size_t i_text; /* of texts; unused for results */
    bool is_result;
    uint32_t rank; /* of results: index of the call they answer */
} block;

typedef struct turn {
    turn_kind kind;
    const chat_message *message; /* of all but user turns */
    size_t first_block, n_blocks;
} turn;

typedef struct renderer {
    const chat_prompt *prompt;
    text_spans *out;
    turn *turns;
    size_t n_turns;
    block *blocks;
    size_t n_blocks;
    size_t n_leading; /* messages before the first turn: system and developer ones among them make the system block */
    bool tools_present;
    size_t last_user; /* index + 1 of the last turn of a user, 0 if there is none */
} renderer;

static bool is_system(const chat_message *m)
{
    return m->role == CHAT_SYSTEM || m->role == CHAT_DEVELOPER;
}

static bool is_blank(slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] == 0 || !strchr(" \t\r\n\v\f", text.data[i]))
            return false;
    return true;
}

/* 2.3: an empty system message contributes nothing, wherever it stands. */
static bool is_empty_system(const chat_message *m)
{
    for (size_t i = 0; i < m->n_texts; i++)
        if (m->texts[i].size > 0)
            return false;
    return is_system(m);
}

/* --- messages to turns ----------------------------------------------------------------------------------------------- */

static void add_turn(renderer *r, turn_kind kind, const chat_message *m)
{
    r->turns[r->n_turns++] = (turn){ .kind = kind, .message = m, .first_block = r->n_blocks };
    if (kind == TURN_USER || kind == TURN_SYSTEM)
        r->last_user = r->n_turns;
}

/* 2.2 (2), (4): neighbours share a turn. */
static void add_to_user_turn(renderer *r, const chat_message *m)
{
    if (r->n_turns == 0 || r->turns[r->n_turns - 1].kind != TURN_USER)
        add_turn(r, TURN_USER, NULL);
    turn *t = &r->turns[r->n_turns - 1];
    const bool result = m->role == CHAT_TOOL;
    for (size_t i = 0; i < (result || m->n_texts == 0 ? 1 : m->n_texts); i++) {
        r->blocks[r->n_blocks++] = (block){ .message = m, .i_text = i, .is_result = result };
        t->n_blocks++;
    }
    r->tools_present = r->tools_present || result;
}

static void make_turns(renderer *r)
{
    const chat_prompt *p = r->prompt;
    while (r->n_leading < p->n_messages &&
           (is_system(&p->messages[r->n_leading]) || p->messages[r->n_leading].role == CHAT_REMINDER))
        r->n_leading++;
    r->tools_present = p->n_tools > 0;
    for (size_t i = 0; i < p->n_messages; i++) {
        const chat_message *m = &p->messages[i];
        if (is_empty_system(m) || (i < r->n_leading && is_system(m)))
            continue;
        if (m->role == CHAT_ASSISTANT)
            add_turn(r, TURN_ASSISTANT, m);
        else if (m->role == CHAT_REMINDER)
            add_turn(r, TURN_REMINDER, m);
        else if (is_system(m) && p->profile == CHAT_V4_1)
            add_turn(r, TURN_SYSTEM, m);
        else
            add_to_user_turn(r, m);
        r->tools_present = r->tools_present || m->n_calls > 0;
    }
}

/* The ids of the calls that results may answer, sorted. A client decides how many there are of either, so neither is
 * searched from end to end. */
typedef struct call_index {
    slice id;
    uint32_t index;
} call_index;

static int compare_ids(slice a, slice b)
{
    const size_t n = a.size < b.size ? a.size : b.size;
    const int order = n ? memcmp(a.data, b.data, n) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_calls(const void *a, const void *b)
{
    const call_index *x = a, *y = b;
    const int order = compare_ids(x->id, y->id);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

/* Among the results of one turn; of equal rank, as they came. Blocks of one message are neighbours in memory. */
static int compare_results(const void *a, const void *b)
{
    const block *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return (x->message > y->message) - (x->message < y->message);
}

/* 2.2 (3): unknown ids count as call 0, a repeated id keeps its last index. */
static uint32_t rank_of(const call_index *calls, size_t n, slice id)
{
    size_t low = 0, high = n; /* the first whose id is greater is in low .. high */
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (compare_ids(calls[middle].id, id) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return id.size > 0 && low > 0 && slice_equal(calls[low - 1].id, id) ? calls[low - 1].index : 0;
}

/* Sorts the results among the places that results have; texts stay. `scratch` has room for n. */
static void sort_results(block *blocks, size_t n, const call_index *calls, size_t n_calls, block *scratch)
{
    size_t n_results = 0;
    for (size_t i = 0; i < n; i++)
        if (blocks[i].is_result) {
            scratch[n_results] = blocks[i];
            scratch[n_results].rank = rank_of(calls, n_calls, blocks[i].message->call_id);
            n_results++;
        }
    qsort(scratch, n_results, sizeof *scratch, compare_results);
    for (size_t i = 0, k = 0; i < n; i++)
        if (blocks[i].is_result)
            blocks[i] = scratch[k++];
}

/* The calls of the nearest assistant turn that made some order the results of the turns after it. */
static ds4_status order_results(renderer *r)
{
    call_index *calls = NULL;
    block *scratch = calloc(r->n_blocks + 1, sizeof *scratch);
    size_t n_calls = 0;
    ds4_status status = scratch ? DS4_OK : DS4_ERR_NO_MEMORY;
    for (size_t i = 0; status == DS4_OK && i < r->n_turns; i++) {
        const turn *t = &r->turns[i];
        if (t->kind == TURN_ASSISTANT && t->message->n_calls > 0) {
            free(calls);
            n_calls = t->message->n_calls;
            calls = calloc(n_calls, sizeof *calls);
            if (!calls) {
                status = DS4_ERR_NO_MEMORY;
                break;
            }
            for (size_t k = 0; k < n_calls; k++)
                calls[k] = (call_index){ t->message->calls[k].id, (uint32_t)k };
            qsort(calls, n_calls, sizeof *calls, compare_calls);
        } else if (t->kind == TURN_USER) {
            sort_results(r->blocks + t->first_block, t->n_blocks, calls, n_calls, scratch);
        }
    }
    free(calls);
    free(scratch);
    return status;
}

/* --- turns to spans ---------------------------------------------------------------------------------------------------- */

static ds4_status put_texts(renderer *r, const chat_message *m, const char *between)
{
    ds4_status status = DS4_OK;
    for (size_t i = 0; status == DS4_OK && i < m->n_texts; i++) {
        if (i > 0)
            status = text_spans_text(r->out, slice_of(between));
        if (status == DS4_OK)
            status = text_spans_text(r->out, m->texts[i]);
    }
    return status;
}

/* The closing tag as text of a result is written so that it does not look like one. */
static ds4_status put_result_text(renderer *r, slice text)
{
    static const char close[] = "</tool_result>";
    ds4_status status = DS4_OK;
    while (status == DS4_OK && text.size > 0) {
        const char *hit = memmem(text.data, text.size, close, sizeof close - 1);
        const size_t n = hit ? (size_t)(hit - text.data) : text.size;
        status = text_spans_text(r->out, (slice){ text.data, n });
        if (status == DS4_OK && hit)
            status = text_spans_text(r->out, SLICE("&lt;/tool_result>"));
        const size_t used = hit ? n + sizeof close - 1 : n;
        text = (slice){ text.data + used, text.size - used };
    }
    return status;
}

static ds4_status put_result(renderer *r, const chat_message *m)
{
    ds4_status status = text_spans_text(r->out, SLICE("<tool_result>"));
    for (size_t i = 0; status == DS4_OK && i < m->n_texts; i++) {
        if (i > 0)
            status = text_spans_text(r->out, SLICE("\n\n"));
        if (status == DS4_OK)
            status = put_result_text(r, m->texts[i]);
    }
    return status == DS4_OK ? text_spans_text(r->out, SLICE("</tool_result>")) : status;
}

static ds4_status put_user(renderer *r, const turn *t)
{
    ds4_status status = text_spans_control(r->out, TEXT_USER);
    for (size_t i = 0; status == DS4_OK && i < t->n_blocks; i++) {
        const block *b = &r->blocks[t->first_block + i];
        if (i > 0)
            status = text_spans_text(r->out, SLICE("\n\n"));
        if (status != DS4_OK)
            break;
        if (b->is_result)
            status = put_result(r, b->message);
        else if (b->message->n_texts > 0)
            status = text_spans_text(r->out, b->message->texts[b->i_text]);
    }
    return status;
}

static ds4_status put_assistant(renderer *r, const turn *t, bool before_last_user, bool prefill)
{
    const chat_message *m = t->message;
    const bool thinking = r->prompt->mode != CHAT_THINK_NONE && (r->tools_present || !before_last_user);
    ds4_status status = text_spans_control(r->out, TEXT_ASSISTANT);
    if (status == DS4_OK && thinking) {
        status = text_spans_control(r->out, TEXT_THINK);
        if (status == DS4_OK && !is_blank(m->reasoning))
            status = text_spans_text(r->out, m->reasoning);
    }
    if (status == DS4_OK)
        status = text_spans_control(r->out, TEXT_THINK_END);
    if (status == DS4_OK)
        status = put_texts(r, m, "");
    if (status == DS4_OK && m->n_calls > 0)
        status = dsml_render_calls(r->out, r->prompt->profile, m->calls, m->n_calls);
    if (status == DS4_OK && !prefill)
        status = text_spans_control(r->out, TEXT_EOS);
    return status;
}

static ds4_status put_tools(renderer *r)
{
    const chat_prompt *p = r->prompt;
    ds4_status status = text_spans_text(r->out, SLICE("\n\n"));
    if (status == DS4_OK)
        status = template_text(r->out, p->profile, template_tools_head);
    for (size_t i = 0; status == DS4_OK && i < p->n_tools; i++) {
        if (i > 0)
            status = text_spans_text(r->out, SLICE("\n"));
        if (status == DS4_OK)
            status = text_spans_text(r->out, p->tools[i].schema);
    }
    return status == DS4_OK ? template_text(r->out, p->profile, template_tools_tail) : status;
}

static ds4_status put_effort(renderer *r, bool has_block)
{
    const chat_prompt *p = r->prompt;
    const bool thinking = p->mode != CHAT_THINK_NONE;
    if (p->profile == CHAT_V4_1) {
        char line[128] = "";
        if (!has_block && !thinking)
            return DS4_OK;
        if (thinking)
            snprintf(line, sizeof line,
                     "Reasoning Effort: %" PRIu32
                     " (range 1-100, the higher the value, the more thorough the reasoning)\n\n",
                     p->effort ? p->effort : 50);
        const ds4_status status = text_spans_control(r->out, TEXT_SYSTEM);
        return status == DS4_OK ? text_spans_text(r->out, slice_of(line)) : status;
    }
    if (p->mode == CHAT_THINK_MAX)
        return text_spans_text(r->out, slice_of(p->profile == CHAT_V4 ? template_effort_high : template_effort_max));
    if (p->mode == CHAT_THINK_HIGH && p->profile == CHAT_V4_0731)
        return text_spans_text(r->out, slice_of(template_effort_high));
    return DS4_OK;
}

/* Effort text, system block, tools, response format: 2.3, 2.4. */
static ds4_status put_head(renderer *r)
{
    const chat_prompt *p = r->prompt;
    bool any = p->n_tools > 0 || p->response_format.size > 0, first = true;
    for (size_t i = 0; i < r->n_leading; i++)
        any = any || (is_system(&p->messages[i]) && !is_empty_system(&p->messages[i]));
    ds4_status status = text_spans_control(r->out, TEXT_BOS);
    if (status == DS4_OK)
        status = put_effort(r, any);
    for (size_t i = 0; status == DS4_OK && i < r->n_leading; i++) {
        if (!is_system(&p->messages[i]) || is_empty_system(&p->messages[i]))
            continue;
        if (!first)
            status = text_spans_text(r->out, SLICE("\n\n"));
        if (status == DS4_OK)
            status = put_texts(r, &p->messages[i], "\n\n");
        first = false;
    }
    if (status == DS4_OK && p->n_tools > 0)
        status = put_tools(r);
    if (status == DS4_OK && p->response_format.size > 0) {
        status = text_spans_text(r->out, SLICE("\n\n"));
        if (status == DS4_OK)
            status = template_text(r->out, p->profile, template_format_head);
        if (status == DS4_OK)
            status = text_spans_text(r->out, p->response_format);
    }
    return status;
}

static ds4_status put_turn(renderer *r, size_t i, bool prefill)
{
    const turn *t = &r->turns[i];
    ds4_status status;
    switch (t->kind) {
    case TURN_USER: return put_user(r, t);
    case TURN_ASSISTANT: return put_assistant(r, t, i + 1 < r->last_user, prefill);
    case TURN_REMINDER: status = text_spans_control(r->out, TEXT_REMINDER); break;
    default: status = text_spans_control(r->out, TEXT_SYSTEM); break;
    }
    return status == DS4_OK ? put_texts(r, t->message, "\n\n") : status;
}

static ds4_status put_all(renderer *r, chat_rendered *about)
{
    const chat_prompt *p = r->prompt;
    const turn *last = r->n_turns ? &r->turns[r->n_turns - 1] : NULL;
    const bool ends_with_assistant = last && last->kind == TURN_ASSISTANT;
    about->prefill = ends_with_assistant && last->message->n_calls == 0 && !p->omit_generation_header;
    about->thinking_open = !ends_with_assistant && p->mode != CHAT_THINK_NONE && !p->omit_generation_header;
    ds4_status status = put_head(r);
    for (size_t i = 0; status == DS4_OK && i < r->n_turns; i++)
        status = put_turn(r, i, about->prefill && i + 1 == r->n_turns);
    if (status == DS4_OK && !ends_with_assistant && !p->omit_generation_header) {
        status = text_spans_control(r->out, TEXT_ASSISTANT);
        if (status == DS4_OK)
            status = text_spans_control(r->out, p->mode == CHAT_THINK_NONE ? TEXT_THINK_END : TEXT_THINK);
    }
    return status;
}

ds4_status chat_render(const chat_prompt *prompt, text_spans *out, chat_rendered *about, ds4_error *err)
{
    renderer r = { .prompt = prompt, .out = out };
    chat_rendered unused;
    size_t n_blocks = 0;
    ds4_status status = DS4_OK;
    for (size_t i = 0; i < prompt->n_messages; i++)
        n_blocks += prompt->messages[i].n_texts + 1;
    if (prompt->n_messages > 0 && prompt->messages[prompt->n_messages - 1].n_calls > 0 &&
        !prompt->omit_generation_header)
        return ds4_fail(err, DS4_ERR_ARGUMENT, "the last message calls tools; send their results after it");
    r.turns = calloc(prompt->n_messages + 1, sizeof *r.turns);
    r.blocks = calloc(n_blocks + 1, sizeof *r.blocks);
    if (!r.turns || !r.blocks) {
        status = DS4_ERR_NO_MEMORY;
    } else {
        make_turns(&r);
        status = order_results(&r);
        if (status == DS4_OK)
            status = put_all(&r, about ? about : &unused);
    }
    free(r.turns);
    free(r.blocks);
    if (status == DS4_ERR_NO_MEMORY)
        return ds4_fail(err, status, "not enough memory for the prompt");
    if (status == DS4_ERR_NO_SPACE)
        return ds4_fail(err, status, "the prompt is longer than 1 GiB");
    return status;
}
