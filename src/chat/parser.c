/* Sampled tokens to reasoning and content: docs/spec/protocol.md, sections 3.1, 3.3, 3.5. */
#include "chat/parser.h"

#include <stdlib.h>
#include <string.h>

void parser_event(chat_parser *p, chat_event_kind kind, slice text)
{
    const chat_event event = { .kind = kind, .index = p->n_calls, .text = text };
    if (text.size > 0 || kind == CHAT_EVENT_CALL_BEGIN || kind == CHAT_EVENT_CALL_END)
        p->on_event(p->user, &event);
}

void parser_append(chat_parser *p, buffer *to, slice text)
{
    if (text.size && buffer_append_slice(to, text) != DS4_OK)
        p->no_memory = true;
}

/* --- stop sequences: 3.5 --------------------------------------------------------------------------------------------- */

/* The first place of `pending` where a stop sequence stands (true), or could stand once more bytes come (false);
 * the end if there is none. Earliest wins, so a later whole one waits for an earlier one that may still be completed. */
static bool find_stop(const chat_parser *p, size_t *at)
{
    for (*at = 0; *at < p->pending.size; ++*at) {
        const char *here = p->pending.data + *at;
        const size_t left = p->pending.size - *at;
        bool begun = false;
        for (size_t i = 0; i < p->options.n_stops; i++) {
            const slice stop = p->options.stops[i];
            if (stop.size == 0 || memcmp(here, stop.data, left < stop.size ? left : stop.size) != 0)
                continue;
            if (left >= stop.size)
                return true;
            begun = true;
        }
        if (begun)
            return false;
    }
    return false;
}

/* Sends what cannot become part of a stop sequence. Stop sequences are valid UTF-8, so the cut is between characters. */
static void run_stops(chat_parser *p)
{
    size_t at;
    p->stopped = find_stop(p, &at);
    parser_event(p, CHAT_EVENT_CONTENT, (slice){ p->pending.data, at });
    buffer_consume(&p->pending, p->stopped ? p->pending.size : at);
}

void parser_content(chat_parser *p, slice text)
{
    if (p->stopped)
        return;
    if (p->options.n_stops == 0) {
        parser_event(p, CHAT_EVENT_CONTENT, text);
        return;
    }
    parser_append(p, &p->pending, text);
    run_stops(p);
}

/* No more content comes: a stop sequence that was begun is none, but a whole one behind it may now count. */
static void flush_pending(chat_parser *p)
{
    while (!p->stopped && p->pending.size) {
        /* Pending begins with what was begun: its first character is content, then the rest is looked at again. */
        const size_t n = json_utf8_length(p->pending.data, p->pending.size);
        parser_event(p, CHAT_EVENT_CONTENT, (slice){ p->pending.data, n ? n : 1 });
        buffer_consume(&p->pending, n ? n : 1);
        run_stops(p);
    }
}

/* --- content ----------------------------------------------------------------------------------------------------------- */

/* The fence around the next line, if this one ends here. A fence is closed by as many back-ticks or more, alone on a line. */
static uint8_t fence_after(const chat_parser *p)
{
    if (!p->line_start || p->n_ticks < 3)
        return p->fence;
    if (p->fence == 0)
        return p->n_ticks;
    return p->n_ticks >= p->fence ? 0 : p->fence;
}

/* Follows lines and code fences over text that turned out to be content. */
static void track_lines(chat_parser *p, slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        const char c = text.data[i];
        if (c == '\n') {
            p->fence = fence_after(p);
            p->line_start = true;
            p->n_ticks = 0;
        } else if (p->line_start && c == '`') {
            p->n_ticks = (uint8_t)(p->n_ticks + (p->n_ticks < UINT8_MAX));
        } else if (p->line_start && c != ' ' && c != '\t') {
            if (p->fence == 0) /* here the language is named */
                p->fence = fence_after(p);
            p->line_start = false;
        }
    }
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* The first n bytes of the tail are content. */
static void release(chat_parser *p, size_t n)
{
    const slice text = { p->tail.data, n };
    if (n == 0)
        return;
    track_lines(p, text);
    for (size_t i = 0; i < n; i++) {
        if (p->n_last == sizeof p->last)
            memmove(p->last, p->last + 1, --p->n_last);
        p->last[p->n_last++] = text.data[i];
    }
    parser_content(p, text);
    buffer_consume(&p->tail, n);
}

/* Only white space stands before `at` in the tail. Is what follows the first thing on its line, outside a fence? */
static bool at_line_start(const chat_parser *p, size_t at)
{
    const bool line_end = at > 0 && memchr(p->tail.data, '\n', at);
    return line_end ? fence_after(p) == 0 : p->fence == 0 && p->line_start && p->n_ticks == 0;
}

/* Where the white space that ends at `at` begins. */
static size_t before_space(const chat_parser *p, size_t at)
{
    while (at > 0 && is_space(p->tail.data[at - 1]))
        at--;
    return at;
}

static void open_block(chat_parser *p, size_t at)
{
    flush_pending(p);
    if (p->stopped)
        return;
    p->state = STATE_BLOCK;
    block_begin(p, buffer_slice(&p->tail), at);
    buffer_clear(&p->tail);
}

/* A mark that begins no tag means nothing, like other control tokens inside an answer. */
static void drop_mark(chat_parser *p, size_t at)
{
    memmove(p->tail.data + at, p->tail.data + at + 1, p->tail.size - at - 1);
    p->tail.size--;
}

/* The tail's white space and '<' are at `at`. FOUND: something was done about them. NONE: the '<' is text. MORE: wait. */
static tag_scan run_tag(chat_parser *p, size_t at)
{
    const slice text = { p->tail.data + at, p->tail.size - at };
    const size_t slash = text.size > 1 && text.data[1] == '/';
    tag t;
    if (!p->options.allow_tools) /* the token may be refused here */
        return text.size == 1 + slash ? TAG_MORE : TAG_NONE;
    if (text.size == 1 + slash)
        return TAG_MORE;
    const bool marked = text.data[1 + slash] == TAG_DSML;
    if (!marked && !(p->options.repair && at_line_start(p, at)))
        return TAG_NONE;
    const tag_scan found = tag_read(text, &t);
    p->mark_held = found == TAG_MORE && marked;
    if (found == TAG_MORE)
        return found;
    /* What begins with the token is a block even if it cannot be read. */
    const bool opens =
        found == TAG_FOUND && !t.closing && (t.name == TAG_CALLS || (t.name == TAG_INVOKE && t.key.size > 0));
    if ((marked && !slash) || opens) {
        open_block(p, at);
        return TAG_FOUND;
    }
    if (!marked || found == TAG_NONE)
        return TAG_NONE;
    /* 3.4: a closing tag without an opening one is ignored. */
    release(p, at);
    buffer_consume(&p->tail, t.size);
    return TAG_FOUND;
}

/* Decides about the tail as far as it can. What is content leaves it before anything behind is looked at, so that lines and
 * fences are known. */
static void run_text(chat_parser *p)
{
    size_t at = 0;
    p->mark_held = false;
    while (!p->plain && !p->stopped && at < p->tail.size) {
        const char c = p->tail.data[at];
        if (c == TAG_DSML) {
            drop_mark(p, at);
        } else if (c == '<') {
            const size_t from = before_space(p, at);
            release(p, from);
            at -= from;
            const tag_scan found = p->stopped ? TAG_MORE : run_tag(p, at);
            if (found == TAG_MORE || p->state != STATE_TEXT)
                return;
            at = found == TAG_FOUND ? 0 : at + 1;
        } else {
            at++;
        }
    }
    /* White space could be the separator of a block. */
    release(p, p->plain ? p->tail.size : before_space(p, p->tail.size));
}

/* --- reasoning -------------------------------------------------------------------------------------------------------------- */

/* All text goes on as it comes, but for a '<' that is the first thing on its line: it waits in the tail, since the token may
 * follow it. */
static void feed_reasoning(chat_parser *p, slice text)
{
    size_t from = 0;
    if (p->tail.size)
        p->line_start = false; /* the '<' that waits is text */
    parser_append(p, &p->tail, text);
    for (size_t at = text.size < p->tail.size; at < p->tail.size; at++) {
        if (at + 1 == p->tail.size && p->tail.data[at] == '<' && at_line_start(p, 0))
            break;
        from = at + 1;
        track_lines(p, (slice){ p->tail.data + at, 1 });
    }
    parser_event(p, CHAT_EVENT_REASONING, (slice){ p->tail.data, from });
    buffer_consume(&p->tail, from);
}

static void end_reasoning(chat_parser *p)
{
    parser_event(p, CHAT_EVENT_REASONING, buffer_slice(&p->tail));
    buffer_clear(&p->tail);
    p->state = STATE_TEXT;
    p->line_start = true;
    p->fence = 0;
    p->n_ticks = 0;
}

/* --- tokens -------------------------------------------------------------------------------------------------------------- */

static void feed_text(chat_parser *p, slice text)
{
    if (p->stopped)
        return; /* the rest of the token that completed a stop sequence */
    if (p->state == STATE_THINKING) {
        feed_reasoning(p, text);
    } else if (p->state == STATE_TEXT) {
        parser_append(p, &p->tail, text);
        run_text(p);
    } else if (p->state == STATE_BLOCK) {
        parser_append(p, &p->block.bytes, text);
    }
}

/* Through the UTF-8 filter. `end`: an incomplete character can no longer be completed. */
static void feed_bytes(chat_parser *p, slice bytes, bool end)
{
    buffer_clear(&p->clean);
    if (text_utf8_feed(&p->filter, bytes, &p->clean) != DS4_OK ||
        (end && text_utf8_finish(&p->filter, &p->clean) != DS4_OK))
        p->no_memory = true;
    if (p->clean.size)
        feed_text(p, buffer_slice(&p->clean));
}

/* No block may come. Where one begins the answer ends, if there is any content; else it begins anew. */
static void refuse_block(chat_parser *p)
{
    buffer_clear(&p->tail);
    p->refused = true;
    p->escapes = p->n_last == 0;
    flush_pending(p);
    p->stopped = p->n_last > 0;
}

static void feed_mark(chat_parser *p)
{
    static const char mark[1] = { TAG_DSML };
    feed_bytes(p, (slice){ "", 0 }, true);
    if (p->state == STATE_THINKING && p->tail.size) {
        p->escapes = true;
        p->refused = !p->options.allow_tools;
        buffer_clear(&p->tail);
    } else if (chat_parser_watches(p)) {
        refuse_block(p);
    } else if (p->state == STATE_BLOCK || (p->state == STATE_TEXT && p->options.allow_tools && !p->plain)) {
        feed_text(p, (slice){ mark, 1 });
    }
}

/* What a parameter holds is the client's: a control token there is what it looks like. */
static bool in_value(const chat_parser *p)
{
    return p->state == STATE_BLOCK && p->block.state == BLOCK_VALUE;
}

ds4_status chat_parser_feed(chat_parser *p, uint32_t id, chat_verdict *verdict, ds4_error *err)
{
    const text_tokenizer *t = p->tokenizer;
    const bool first = !p->started;
    p->started = true;
    p->ready = p->escapes = false;
    *verdict = CHAT_GO_ON;
    if (p->state == STATE_THINKING)
        p->n_reasoning_tokens += id != text_special_id(t, TEXT_EOS);
    if (id == text_special_id(t, TEXT_EOS)) {
        *verdict = CHAT_STOP_EOS;
    } else if (in_value(p) && id != text_special_id(t, TEXT_DSML)) {
        feed_bytes(p, text_piece(t, id), false);
    } else if (id == text_special_id(t, TEXT_THINK_END)) {
        feed_bytes(p, (slice){ "", 0 }, true);
        if (p->state == STATE_THINKING) {
            end_reasoning(p);
            p->n_reasoning_tokens--;
        }
    } else if (id == text_special_id(t, TEXT_THINK) && first && p->state == STATE_THINKING) {
        /* swallowed: the header has opened reasoning already */
    } else if (id == text_special_id(t, TEXT_DSML)) {
        feed_mark(p);
    } else if (!text_is_control(t, id)) {
        feed_bytes(p, text_piece(t, id), false);
    }                 /* other control tokens have no meaning inside an answer */
    if (p->no_memory) /* the block's bytes may be incomplete */
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for the answer");
    if (p->state == STATE_BLOCK && *verdict == CHAT_GO_ON && block_run(p)) {
        p->state = p->state == STATE_BLOCK ? STATE_AFTER : p->state;
        *verdict = CHAT_STOP_TOOLS;
    }
    if (p->stopped && *verdict == CHAT_GO_ON)
        *verdict = CHAT_STOP_TEXT;
    return p->no_memory ? ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for the answer") : DS4_OK;
}

/* Where the tag begins that is held with its mark. */
static size_t before_tag(const chat_parser *p)
{
    const char *begin = memchr(p->tail.data, '<', p->tail.size);
    return (size_t)(begin - p->tail.data);
}

ds4_status chat_parser_finish(chat_parser *p, bool cut, chat_outcome *outcome, ds4_error *err)
{
    feed_bytes(p, (slice){ "", 0 }, true);
    if (p->state == STATE_THINKING)
        end_reasoning(p);
    if (p->state == STATE_BLOCK)
        block_finish(p, cut);
    if (p->state == STATE_TEXT) {
        if (p->mark_held) /* a tag that is not whole: of a block, unless it closes none */
            p->broken = !cut && p->tail.data[before_tag(p) + 1] == TAG_DSML;
        else if (!cut || !p->block_expected)
            release(p, p->tail.size);
    }
    flush_pending(p);
    if (p->broken)
        *outcome = CHAT_OUTCOME_BROKEN;
    else if (cut)
        *outcome = CHAT_OUTCOME_LENGTH;
    else
        *outcome = p->state == STATE_AFTER ? CHAT_OUTCOME_TOOL_CALLS : CHAT_OUTCOME_STOP;
    return p->no_memory ? ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory for the answer") : DS4_OK;
}

/* --- the public functions -------------------------------------------------------------------------------------------------- */

ds4_status chat_parser_new(chat_parser **out, const text_tokenizer *tokenizer, const chat_parser_options *options,
                           chat_event_fn *on_event, void *user, ds4_error *err)
{
    chat_parser *p = calloc(1, sizeof *p);
    *out = p;
    if (!p)
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    p->tokenizer = tokenizer;
    p->options = *options;
    p->options.allow_tools = options->allow_tools && (options->n_tools > 0 || options->repair);
    p->on_event = on_event;
    p->user = user;
    p->state = options->thinking_open ? STATE_THINKING : STATE_TEXT;
    p->line_start = true;
    if (token_set_new(&p->allowed, text_n_tokens(tokenizer)) != DS4_OK) {
        chat_parser_free(p);
        *out = NULL;
        return ds4_fail(err, DS4_ERR_NO_MEMORY, "not enough memory");
    }
    return DS4_OK;
}

void chat_parser_free(chat_parser *p)
{
    if (!p)
        return;
    buffer_free(&p->clean);
    buffer_free(&p->tail);
    buffer_free(&p->pending);
    buffer_free(&p->next);
    token_set_free(&p->allowed);
    block_free(&p->block);
    free(p);
}

bool chat_parser_wants_greedy(const chat_parser *p)
{
    return p->mark_held || (p->state == STATE_BLOCK && block_wants_greedy(p));
}

bool chat_parser_in_reasoning(const chat_parser *p)
{
    return p->state == STATE_THINKING;
}

bool chat_parser_watches(const chat_parser *p)
{
    const bool text = p->state == STATE_TEXT || p->state == STATE_THINKING;
    return !p->options.allow_tools && text && p->filter.n_held == 0 && before_space(p, p->tail.size) > 0;
}

bool chat_parser_escapes(const chat_parser *p)
{
    return p->escapes;
}

void chat_parser_expect_block(chat_parser *p)
{
    p->block_expected = true;
}

uint32_t chat_parser_n_calls(const chat_parser *p)
{
    return p->n_calls;
}

uint32_t chat_parser_n_reasoning_tokens(const chat_parser *p)
{
    return p->n_reasoning_tokens;
}
