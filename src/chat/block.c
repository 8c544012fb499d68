/* Tool blocks: docs/spec/protocol.md, sections 3.2 to 3.4. Everything is read from block.bytes, of which block.at bytes
 * are done. */
#include "base/cursor.h"
#include "base/json.h"
#include "chat/parser.h"

#include <string.h>

void block_begin(chat_parser *p, slice bytes, size_t separator)
{
    block_parser *b = &p->block;
    buffer_clear(&b->bytes);
    parser_append(p, &b->bytes, bytes);
    b->separator = b->at = b->tag_end = separator;
    b->state = BLOCK_OPEN;
    b->wrapped = b->marked_open = b->announced = false;
    b->owned = bytes.size > separator + 1 && bytes.data[separator + 1] == TAG_DSML;
    b->n_done = b->n_nested = 0;
}

void block_free(block_parser *b)
{
    buffer_free(&b->bytes);
    buffer_free(&b->call_name);
    buffer_free(&b->key);
    buffer_free(&b->value);
    buffer_free(&b->seen);
    buffer_free(&b->nested);
    json_free(b->schema);
}

static slice rest(const block_parser *b)
{
    return (slice){ b->bytes.data + b->at, b->bytes.size - b->at };
}

/* Appends `text` with the token spelled out, or left out. */
static void append_marked(chat_parser *p, buffer *out, slice text, bool spelled)
{
    size_t from = 0;
    for (size_t at = 0; at <= text.size; at++) {
        if (at < text.size && text.data[at] != TAG_DSML)
            continue;
        parser_append(p, out, (slice){ text.data + from, at - from });
        if (at < text.size && spelled)
            parser_append(p, out, slice_of(text_special_spelling(TEXT_DSML)));
        from = at + 1;
    }
}

/* The block as text, and no other block after it. */
static void give_back_as_content(chat_parser *p)
{
    buffer text = { 0 };
    append_marked(p, &text, buffer_slice(&p->block.bytes), false);
    p->state = STATE_TEXT;
    p->plain = true;
    parser_content(p, buffer_slice(&text));
    buffer_free(&text);
    buffer_clear(&p->block.bytes);
}

/* Not a block after all; true if generation must end: its text is no content, or a part of it was already announced. */
static bool fail_block(chat_parser *p)
{
    if (p->block.owned || p->block.announced) {
        p->broken = true;
        return true;
    }
    give_back_as_content(p);
    return false;
}

/* --- what clients see of a call ------------------------------------------------------------------------------------------ */

static void unescape_attribute(chat_parser *p, buffer *out, slice text)
{
    buffer_clear(out);
    while (text.size > 0) {
        const char *hit = memmem(text.data, text.size, "&quot;", 6);
        const size_t n = hit ? (size_t)(hit - text.data) : text.size;
        append_marked(p, out, (slice){ text.data, n }, true);
        if (hit)
            parser_append(p, out, SLICE("\""));
        const size_t used = hit ? n + 6 : n;
        text = (slice){ text.data + used, text.size - used };
    }
}

static void send_json(chat_parser *p, ds4_status status, buffer *fragment)
{
    if (status != DS4_OK)
        p->no_memory = true;
    parser_event(p, CHAT_EVENT_CALL_DATA, buffer_slice(fragment));
    buffer_free(fragment);
}

/* `{"key":` or `,"key":`, and then `after`. */
static void send_key(chat_parser *p, const char *after)
{
    block_parser *b = &p->block;
    buffer fragment = { 0 };
    ds4_status status = buffer_append_text(&fragment, b->first ? "{" : ",");
    if (status == DS4_OK)
        status = json_write_string(&fragment, buffer_slice(&b->key));
    if (status == DS4_OK)
        status = buffer_printf(&fragment, ":%s", after);
    b->first = false;
    send_json(p, status, &fragment);
}

static void send_text_piece(chat_parser *p, slice text)
{
    buffer fragment = { 0 };
    if (p->block.ignored || text.size == 0)
        return;
    send_json(p, json_write_string_inside(&fragment, text), &fragment);
}

/* What the text holds, or NULL if it is no JSON. */
static json_value *read_json(chat_parser *p, slice text)
{
    json_value *value;
    if (json_parse(&value, text, NULL, NULL) == DS4_ERR_NO_MEMORY)
        p->no_memory = true;
    return value;
}

static void send_value(chat_parser *p, slice text, bool as_json)
{
    buffer fragment = { 0 };
    json_value *value = as_json ? read_json(p, text) : NULL;
    send_key(p, "");
    const ds4_status status = value ? json_print_compact(value, &fragment) : json_write_string(&fragment, text);
    json_free(value);
    send_json(p, status, &fragment);
}

/* --- parameters ------------------------------------------------------------------------------------------------------------- */

bool block_has_seen(const block_parser *b, slice key)
{
    cursor in = { (const uint8_t *)b->seen.data, b->seen.size };
    const uint8_t *text;
    uint32_t n;
    while (cursor_u32(&in, &n) && cursor_take(&in, n, &text))
        if (slice_equal((slice){ (const char *)text, n }, key))
            return true;
    return false;
}

const json_value *block_properties(const block_parser *b)
{
    return json_member(json_member(b->schema, "parameters"), "properties");
}

static void find_schema(chat_parser *p)
{
    block_parser *b = &p->block;
    json_free(b->schema);
    b->schema = NULL;
    for (size_t i = 0; i < p->options.n_tools; i++)
        if (slice_equal(p->options.tools[i].name, buffer_slice(&b->call_name)) &&
            json_parse(&b->schema, p->options.tools[i].schema, NULL, NULL) == DS4_ERR_NO_MEMORY)
            p->no_memory = true;
}

/* Does the schema of the present call say that the key is a string? */
static bool schema_says_text(const block_parser *b)
{
    slice type;
    return json_string(json_member(json_get(block_properties(b), buffer_slice(&b->key)), "type"), &type) &&
           slice_equal(type, SLICE("string"));
}

static void begin_value(chat_parser *p, const tag *t)
{
    block_parser *b = &p->block;
    b->marked = t->marked;
    b->kind = !t->is_text.data ? VALUE_UNSAID : slice_equal(t->is_text, SLICE("true")) ? VALUE_TEXT : VALUE_JSON;
    b->begun = b->looked = false;
    b->json = (json_scan){ 0 };
    buffer_clear(&b->value);
    b->state = BLOCK_VALUE;
}

static void begin_parameter(chat_parser *p, const tag *t)
{
    block_parser *b = &p->block;
    unescape_attribute(p, &b->key, t->key);
    b->ignored = block_has_seen(b, buffer_slice(&b->key));
    if (buffer_append_u32(&b->seen, (uint32_t)b->key.size) != DS4_OK)
        p->no_memory = true;
    parser_append(p, &b->seen, buffer_slice(&b->key));
    begin_value(p, t);
}

/* A parameter inside a parameter: `before` is what separates it from what the object has so far. */
static void begin_nested(chat_parser *p, const tag *t, const char *before)
{
    block_parser *b = &p->block;
    buffer key = { 0 };
    unescape_attribute(p, &key, t->key);
    if (buffer_append_text(&b->nested, before) != DS4_OK ||
        json_write_string(&b->nested, buffer_slice(&key)) != DS4_OK || buffer_append_byte(&b->nested, ':') != DS4_OK)
        p->no_memory = true;
    buffer_free(&key);
    begin_value(p, t);
}

static void end_nested(chat_parser *p)
{
    block_parser *b = &p->block;
    if (buffer_append_byte(&b->nested, '}') != DS4_OK)
        p->no_memory = true;
    if (--b->n_nested > 0)
        return;
    if (!b->ignored)
        send_value(p, buffer_slice(&b->nested), true);
    b->state = BLOCK_INVOKE;
}

/* A decoded piece of the present value. */
static void take_value(chat_parser *p, slice text)
{
    block_parser *b = &p->block;
    if (b->kind != VALUE_TEXT || b->n_nested > 0) {
        for (size_t i = 0; b->kind != VALUE_TEXT && i < text.size; i++)
            json_scan_feed(&b->json, text.data[i]);
        parser_append(p, &b->value, text);
        return;
    }
    if (!b->begun && !b->ignored)
        send_key(p, "\"");
    b->begun = true;
    send_text_piece(p, text);
}

static bool is_json(chat_parser *p, slice text)
{
    json_value *value = read_json(p, text);
    json_free(value);
    return value != NULL;
}

static void end_parameter(chat_parser *p)
{
    block_parser *b = &p->block;
    const slice value = buffer_slice(&b->value);
    if (b->n_nested > 0) {
        const bool as_json = b->kind != VALUE_TEXT && is_json(p, value);
        if (as_json)
            parser_append(p, &b->nested, value);
        else if (json_write_string(&b->nested, value) != DS4_OK)
            p->no_memory = true;
        b->state = BLOCK_NESTED;
        return;
    }
    if (b->kind == VALUE_TEXT) {
        take_value(p, (slice){ "", 0 }); /* an empty one begins here */
        if (!b->ignored)
            parser_event(p, CHAT_EVENT_CALL_DATA, SLICE("\""));
    } else if (!b->ignored) {
        send_value(p, value, b->kind == VALUE_JSON || (!schema_says_text(b) && is_json(p, value)));
    }
    b->state = BLOCK_INVOKE;
}

/* 3.4: a value that begins with a parameter's tag is an object. MORE: that cannot be said yet. Of plain names a text may
 * well begin with one, so there only other values are looked at. */
static tag_scan look_for_nested(chat_parser *p)
{
    block_parser *b = &p->block;
    const slice text = rest(b);
    size_t n = 0;
    tag t;
    b->looked = true;
    if (!b->marked && b->kind == VALUE_TEXT)
        return TAG_NONE;
    while (n < text.size && strchr(" \t\r\n", text.data[n]) && text.data[n])
        n++;
    const tag_scan found = n < text.size ? tag_read((slice){ text.data + n, text.size - n }, &t) : TAG_MORE;
    b->looked = found != TAG_MORE;
    if (found != TAG_FOUND || t.closing || t.name != TAG_PARAMETER || !t.key.data || t.marked != b->marked ||
        b->n_nested == NESTING_MAX)
        return found == TAG_MORE ? TAG_MORE : TAG_NONE;
    b->at += n + t.size;
    if (b->n_nested++ == 0)
        buffer_clear(&b->nested);
    begin_nested(p, &t, "{");
    return TAG_FOUND;
}

/* Takes payload up to the closing tag, or up to what may be the start of one. False: more bytes are needed. */
static bool run_value(chat_parser *p)
{
    block_parser *b = &p->block;
    while (!b->looked)
        if (look_for_nested(p) == TAG_MORE)
            return false;
    for (;;) {
        const slice text = rest(b);
        size_t n = 0;
        while (n < text.size && text.data[n] != '<' && text.data[n] != '&' && text.data[n] != TAG_DSML)
            n++;
        if (n > 0)
            take_value(p, (slice){ text.data, n });
        b->at += n;
        if (n == text.size)
            return false;
        const slice here = rest(b);
        if (here.data[0] == TAG_DSML) {
            take_value(p, slice_of(text_special_spelling(TEXT_DSML)));
            b->at++;
            continue;
        }
        tag t;
        tag_scan found = TAG_NONE;
        if (here.data[0] == '<') {
            found = here.size == 1 ? TAG_MORE : here.data[1] != '/' ? TAG_NONE : tag_read(here, &t);
            /* A tag that began with the token ends with it: its plain spelling is payload. */
            if (found == TAG_FOUND && (!t.closing || t.name != TAG_PARAMETER || t.marked != b->marked))
                found = TAG_NONE;
            if (found == TAG_MORE && b->marked && here.size > 2 && here.data[2] != TAG_DSML)
                found = TAG_NONE;
            if (found == TAG_FOUND) {
                b->at += t.size;
                b->tag_end = b->at;
                end_parameter(p);
                return true;
            }
        } else {
            size_t n_amps, size;
            found = dsml_escaped_close(here, &n_amps, &size);
            if (found == TAG_FOUND) { /* one level down */
                const size_t skip = n_amps ? sizeof "&amp;" - 1 : sizeof "&lt;" - 1;
                take_value(p, n_amps ? SLICE("&") : SLICE("<"));
                take_value(p, (slice){ here.data + skip, size - skip });
                b->at += size;
                continue;
            }
        }
        if (found == TAG_MORE)
            return false;
        take_value(p, (slice){ here.data, 1 });
        b->at++;
    }
}

/* --- tags ------------------------------------------------------------------------------------------------------------------- */

static bool is_declared(const chat_parser *p, slice name)
{
    for (size_t i = 0; i < p->options.n_tools; i++)
        if (slice_equal(p->options.tools[i].name, name))
            return true;
    return false;
}

/* False: nobody declared a tool of that name. */
static bool begin_call(chat_parser *p, const tag *t)
{
    block_parser *b = &p->block;
    unescape_attribute(p, &b->call_name, t->key);
    if (!p->options.repair && !is_declared(p, buffer_slice(&b->call_name)))
        return false;
    find_schema(p);
    buffer_clear(&b->seen);
    b->first = b->announced = true;
    b->state = BLOCK_INVOKE;
    parser_event(p, CHAT_EVENT_CALL_BEGIN, buffer_slice(&b->call_name));
    return true;
}

static void end_call(chat_parser *p)
{
    block_parser *b = &p->block;
    parser_event(p, CHAT_EVENT_CALL_DATA, b->first ? SLICE("{}") : SLICE("}"));
    parser_event(p, CHAT_EVENT_CALL_END, (slice){ "", 0 });
    p->n_calls++;
    b->n_done++;
    b->state = BLOCK_BETWEEN;
}

typedef enum progress { PROGRESS, NEED_MORE, BLOCK_ENDED, BLOCK_BAD } progress;

static progress take_tag(chat_parser *p, const tag *t)
{
    block_parser *b = &p->block;
    const bool opens_call = !t->closing && t->name == TAG_INVOKE && t->key.size > 0;
    if (b->state == BLOCK_OPEN && !t->closing && t->name == TAG_CALLS) {
        b->wrapped = true;
        b->marked_open = t->marked;
        b->state = BLOCK_BETWEEN;
    } else if ((b->state == BLOCK_OPEN || b->state == BLOCK_BETWEEN) && opens_call) {
        return begin_call(p, t) ? PROGRESS : BLOCK_BAD;
    } else if (b->state == BLOCK_BETWEEN && t->closing && t->name == TAG_CALLS && b->n_done > 0) {
        return BLOCK_ENDED;
    } else if (b->state == BLOCK_INVOKE && !t->closing && t->name == TAG_PARAMETER && t->key.data) {
        begin_parameter(p, t);
    } else if (b->state == BLOCK_NESTED && t->name == TAG_PARAMETER && (t->closing || t->key.data)) {
        if (t->closing)
            end_nested(p);
        else
            begin_nested(p, t, ",");
    } else if (b->state == BLOCK_INVOKE && t->closing && t->name == TAG_INVOKE) {
        end_call(p);
    } else {
        return BLOCK_BAD;
    }
    return PROGRESS;
}

static progress run_structure(chat_parser *p)
{
    block_parser *b = &p->block;
    tag t;
    while (b->at < b->bytes.size && strchr(" \t\r\n", b->bytes.data[b->at]) && b->bytes.data[b->at])
        b->at++;
    if (b->at == b->bytes.size)
        return NEED_MORE;
    const bool may_end =
        !b->wrapped && b->state == BLOCK_BETWEEN; /* whatever follows calls without a wrapper ends them */
    switch (tag_read(rest(b), &t)) {
    case TAG_MORE: return NEED_MORE;
    case TAG_NONE: return may_end ? BLOCK_ENDED : BLOCK_BAD;
    default: break;
    }
    b->at += t.size;
    b->tag_end = b->at;
    const progress made = take_tag(p, &t);
    return made == BLOCK_BAD && may_end ? BLOCK_ENDED : made;
}

bool block_run(chat_parser *p)
{
    for (;;) {
        if (p->block.state == BLOCK_VALUE) {
            if (!run_value(p))
                return false;
            continue;
        }
        switch (run_structure(p)) {
        case PROGRESS: break;
        case NEED_MORE: return false;
        case BLOCK_ENDED: return true;
        case BLOCK_BAD: return fail_block(p);
        }
    }
}

void block_finish(chat_parser *p, bool cut)
{
    block_parser *b = &p->block;
    if (b->state == BLOCK_BETWEEN && b->n_done > 0)
        p->state = STATE_AFTER; /* only the closing tag is missing */
    else if (!b->owned && !b->announced)
        give_back_as_content(p);
    else if (!cut)
        p->broken = true;
}

bool block_wants_greedy(const chat_parser *p)
{
    const block_parser *b = &p->block;
    if (b->state != BLOCK_VALUE)
        return true;
    const slice held = rest(b); /* what may become the closing tag, or the tag of a parameter inside */
    const char *tag_at = held.size ? memchr(held.data, '<', held.size) : NULL;
    if (tag_at && tag_at + 1 < held.data + held.size)
        return true;
    /* What is no JSON becomes a string: then it is payload too. */
    return b->kind != VALUE_TEXT && b->json.state != SCAN_BAD && !json_scan_in_payload(&b->json);
}
