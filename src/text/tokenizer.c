/* The vocabulary: read from a file whose every entry is checked, then constant. Protocol specification 1.1, 1.2. */
#include "text/vocabulary.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { VOCABULARY_MAX = 1 << 24, MERGES_MAX = 1 << 24 };

/* Types of tokens in the file. */
enum { TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_UNUSED = 5 };

static const char *const spellings[TEXT_N_SPECIALS] = {
    [TEXT_BOS] = "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
    [TEXT_EOS] = "<\uff5cend\u2581of\u2581sentence\uff5c>",
    [TEXT_USER] = "<\uff5cUser\uff5c>",
    [TEXT_ASSISTANT] = "<\uff5cAssistant\uff5c>",
    [TEXT_THINK] = "<think>",
    [TEXT_THINK_END] = "</think>",
    [TEXT_DSML] = "\uff5cDSML\uff5c",
    [TEXT_REMINDER] = "<\uff5clatest_reminder\uff5c>",
    [TEXT_SYSTEM] = "<\uff5cSystem\uff5c>",
};

/* Of the control set by 1.2, whatever type a file gives them. */
static const char *const other_controls[] = {
    "<\uff5caction\uff5c>", "<\uff5cquery\uff5c>",    "<\uff5cauthority\uff5c>",      "<\uff5cdomain\uff5c>",
    "<\uff5ctitle\uff5c>",  "<\uff5cread_url\uff5c>", "<\uff5cdeepseek_image\uff5c>",
};

const char *text_special_spelling(text_special special)
{
    return spellings[special];
}

/* --- strings of the file to ids, while loading --------------------------------------------------------------------- */

typedef struct loader {
    text_tokenizer *t;
    const gguf_file *file;
    slice *strings;  /* [n_tokens] as they stand in the file */
    uint32_t *table; /* [table_size] id + 1 */
    size_t table_size;
    int16_t byte_of[0x200]; /* code point of the printable alphabet -> byte, or -1 */
    buffer joined;          /* scratch: the token that a merge makes */
    ds4_error *err;
} loader;

static uint32_t *slot_of(const loader *l, slice text)
{
    size_t i = (size_t)XXH3_64bits(text.data, text.size) & (l->table_size - 1);
    while (l->table[i] && !slice_equal(l->strings[l->table[i] - 1], text))
        i = (i + 1) & (l->table_size - 1);
    return &l->table[i];
}

static uint32_t id_of(const loader *l, slice text)
{
    const uint32_t found = *slot_of(l, text);
    return found ? found - 1 : TEXT_NO_TOKEN;
}

static ds4_status no_memory(loader *l)
{
    return ds4_fail(l->err, DS4_ERR_NO_MEMORY, "not enough memory for the vocabulary");
}

/* GPT-2's alphabet: printable bytes stand for themselves, the other 68 follow from U+0100 on. */
static void make_alphabet(loader *l)
{
    int next = 0x100;
    memset(l->byte_of, 0xff, sizeof l->byte_of);
    for (int b = 0; b < 256; b++) {
        const bool plain = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        l->byte_of[plain ? b : next++] = (int16_t)b;
    }
}

/* The next code point below U+0200 of well-formed UTF-8; -1 for others. Moves *at on. */
static int code_point(slice text, size_t *at)
{
    const uint8_t *b = (const uint8_t *)text.data + *at;
    const size_t n = json_utf8_length((const char *)b, text.size - *at);
    *at += n ? n : 1;
    return n == 1 ? b[0] : n == 2 && b[0] < 0xc8 ? (b[0] & 31) << 6 | (b[1] & 63) : -1;
}

/* The bytes that a token's string stands for; false if it has a character outside the alphabet. */
static bool decode_piece(loader *l, slice text, slice *out)
{
    char *bytes = arena_alloc(&l->t->memory, text.size + 1);
    size_t n = 0;
    out->data = NULL;
    if (!bytes)
        return true; /* the caller sees NULL */
    for (size_t at = 0; at < text.size;) {
        const int c = code_point(text, &at);
        if (c < 0 || l->byte_of[c] < 0)
            return false;
        bytes[n++] = (char)l->byte_of[c];
    }
    *out = (slice){ bytes, n };
    return true;
}

/* --- reading --------------------------------------------------------------------------------------------------------- */

static ds4_status check_kind(loader *l, const char *pre_override)
{
    static const char *const known[] = { "joyai-llm", "deepseek-v3", "deepseek-v4" };
    char shown[GGUF_SHOW_BYTES];
    slice kind, pre;
    ds4_status status = gguf_get_string(l->file, "tokenizer.ggml.model", &kind, l->err);
    if (status == DS4_OK && !slice_equal(kind, SLICE("gpt2")))
        return ds4_fail(l->err, DS4_ERR_UNSUPPORTED,
                        "tokenizer.ggml.model is '%s'; this program knows gpt2 (byte-level BPE)",
                        gguf_show(kind, shown));
    if (status == DS4_OK && pre_override)
        pre = slice_of(pre_override);
    else if (status == DS4_OK)
        status = gguf_get_string(l->file, "tokenizer.ggml.pre", &pre, l->err);
    if (status != DS4_OK)
        return status;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (slice_equal(pre, slice_of(known[i])))
            return DS4_OK;
    return ds4_fail(l->err, DS4_ERR_UNSUPPORTED,
                    "tokenizer.ggml.pre is '%s'; this program knows joyai-llm, deepseek-v3 and deepseek-v4 "
                    "(--tokenizer-pre overrides)",
                    gguf_show(pre, shown));
}

static ds4_status array_of(loader *l, const char *key, gguf_value_type type, const gguf_value **out)
{
    *out = gguf_value_find(l->file, key);
    if (!*out)
        return ds4_fail(l->err, DS4_ERR_NOT_FOUND, "metadata key '%s' is missing", key);
    if ((*out)->type != GGUF_ARRAY || (type == GGUF_STRING) != ((*out)->element_type == GGUF_STRING))
        return ds4_fail(l->err, DS4_ERR_UNSUPPORTED, "metadata key '%s' is not an array of %s", key,
                        type == GGUF_STRING ? "strings" : "numbers");
    return DS4_OK;
}

static ds4_status read_strings(loader *l, hash_stream *hash)
{
    const gguf_value *list;
    size_t position = 0;
    text_tokenizer *t = l->t;
    ds4_status status = array_of(l, "tokenizer.ggml.tokens", GGUF_STRING, &list);
    if (status != DS4_OK)
        return status;
    if (list->n == 0 || list->n > VOCABULARY_MAX)
        return ds4_fail(l->err, DS4_ERR_CORRUPT, "a vocabulary of %" PRIu64 " tokens is not possible", list->n);
    t->n_tokens = (uint32_t)list->n;
    for (l->table_size = 16; l->table_size < 2 * list->n; l->table_size *= 2)
        ;
    l->strings = calloc(list->n, sizeof *l->strings);
    l->table = calloc(l->table_size, sizeof *l->table);
    t->pieces = arena_alloc_array(&t->memory, list->n, sizeof *t->pieces);
    t->control = arena_alloc_array(&t->memory, list->n, 1);
    if (!l->strings || !l->table || !t->pieces || !t->control)
        return no_memory(l);
    for (uint32_t id = 0; id < t->n_tokens && gguf_next_string(list, &position, &l->strings[id]); id++) {
        if (!gguf_utf8_valid(l->strings[id]))
            return ds4_fail(l->err, DS4_ERR_CORRUPT, "token %" PRIu32 " is not valid UTF-8", id);
        hash_stream_add_u64(hash, l->strings[id].size);
        hash_stream_add(hash, l->strings[id].data, l->strings[id].size);
        uint32_t *slot = slot_of(l, l->strings[id]);
        if (!*slot) /* of equal strings the first one counts: fillers repeat in some files */
            *slot = id + 1;
    }
    return DS4_OK;
}

static ds4_status read_types(loader *l, hash_stream *hash)
{
    const gguf_value *list;
    text_tokenizer *t = l->t;
    ds4_status status = array_of(l, "tokenizer.ggml.token_type", GGUF_INT32, &list);
    if (status == DS4_OK && list->n != t->n_tokens)
        return ds4_fail(l->err, DS4_ERR_CORRUPT, "%" PRIu64 " token types for %" PRIu32 " tokens", list->n,
                        t->n_tokens);
    for (uint32_t id = 0; status == DS4_OK && id < t->n_tokens; id++) {
        int64_t type;
        status = gguf_element_i64(list, id, &type, l->err);
        if (status != DS4_OK)
            return status;
        hash_stream_add_u64(hash, (uint64_t)type);
        t->control[id] = type == TYPE_CONTROL || type == TYPE_USER_DEFINED;
        const bool literal = t->control[id] || type == TYPE_UNUSED || !decode_piece(l, l->strings[id], &t->pieces[id]);
        if (literal)
            t->pieces[id] = arena_copy(&t->memory, l->strings[id]);
        if (!t->pieces[id].data)
            return no_memory(l);
    }
    return status;
}

static ds4_status find_specials(loader *l)
{
    text_tokenizer *t = l->t;
    for (int i = 0; i < TEXT_N_SPECIALS; i++) {
        const uint32_t id = id_of(l, slice_of(spellings[i]));
        t->specials[i] = id;
        if (id == TEXT_NO_TOKEN && i < TEXT_N_REQUIRED)
            return ds4_fail(l->err, DS4_ERR_UNSUPPORTED, "the vocabulary has no token '%s'", spellings[i]);
        if (id == TEXT_NO_TOKEN)
            continue;
        t->control[id] = 1;
        t->pieces[id] = arena_copy(&t->memory, l->strings[id]); /* its spelling, whatever its type was */
    }
    for (size_t i = 0; i < sizeof other_controls / sizeof other_controls[0]; i++) {
        const uint32_t id = id_of(l, slice_of(other_controls[i]));
        if (id != TEXT_NO_TOKEN)
            t->control[id] = 1;
    }
    return DS4_OK;
}

static ds4_status find_bytes(loader *l)
{
    for (int c = 0; c < 0x200; c++) {
        char text[2] = { (char)c };
        if (l->byte_of[c] < 0)
            continue;
        if (c >= 0x80)
            text[0] = (char)(0xc0 | c >> 6), text[1] = (char)(0x80 | (c & 63));
        const uint32_t id = id_of(l, (slice){ text, c < 0x80 ? 1 : 2 });
        const slice piece = id == TEXT_NO_TOKEN ? (slice){ 0 } : l->t->pieces[id];
        if (id == TEXT_NO_TOKEN || l->t->control[id] || piece.size != 1 || (uint8_t)piece.data[0] != l->byte_of[c])
            return ds4_fail(l->err, DS4_ERR_CORRUPT, "the vocabulary has no plain token for byte 0x%02x",
                            l->byte_of[c]);
        l->t->by_byte[l->byte_of[c]] = id;
    }
    return DS4_OK;
}

static merge_slot *merge_slot_of(const text_tokenizer *t, uint64_t pair)
{
    size_t i = (size_t)(pair * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (t->n_slots - 1);
    while (t->merges[i].pair != UINT64_MAX && t->merges[i].pair != pair)
        i = (i + 1) & (t->n_slots - 1);
    return &t->merges[i];
}

const merge_slot *merge_find(const text_tokenizer *t, uint32_t left, uint32_t right)
{
    const merge_slot *slot = merge_slot_of(t, (uint64_t)left << 32 | right);
    return slot->pair == UINT64_MAX ? NULL : slot;
}

/* Are the bytes of `id` those of its parts? Not if the file marks one of them as unused, which is then literal text. */
static bool is_joined(const text_tokenizer *t, uint32_t left, uint32_t right, uint32_t id)
{
    const slice a = t->pieces[left], b = t->pieces[right], whole = t->pieces[id];
    return whole.size == a.size + b.size && slice_equal((slice){ whole.data, a.size }, a) &&
           slice_equal((slice){ whole.data + a.size, b.size }, b);
}

/* "A B": the space between is the only one, for the alphabet has none. */
static ds4_status add_merge(loader *l, slice rule, uint32_t rank)
{
    char shown[GGUF_SHOW_BYTES];
    const char *space = rule.size > 1 ? memchr(rule.data + 1, ' ', rule.size - 1) : NULL;
    if (!space)
        return ds4_fail(l->err, DS4_ERR_CORRUPT, "merge %" PRIu32 " is not two tokens ('%s')", rank,
                        gguf_show(rule, shown));
    const size_t n_left = (size_t)(space - rule.data), n_right = rule.size - n_left - 1;
    buffer_clear(&l->joined);
    if (buffer_append(&l->joined, rule.data, n_left) != DS4_OK ||
        buffer_append(&l->joined, space + 1, n_right) != DS4_OK)
        return no_memory(l);
    const uint32_t left = id_of(l, (slice){ rule.data, n_left }), right = id_of(l, (slice){ space + 1, n_right });
    const uint32_t id = id_of(l, buffer_slice(&l->joined));
    if (left == TEXT_NO_TOKEN || right == TEXT_NO_TOKEN || id == TEXT_NO_TOKEN)
        return ds4_fail(l->err, DS4_ERR_CORRUPT, "merge %" PRIu32 " ('%s') names a token that is not in the vocabulary",
                        rank, gguf_show(rule, shown));
    /* Left out, whatever a file says: text must never become a control token, and must come back as it was. */
    if (l->t->control[id] || l->t->control[left] || l->t->control[right] || !is_joined(l->t, left, right, id))
        return DS4_OK;
    merge_slot *slot = merge_slot_of(l->t, (uint64_t)left << 32 | right);
    if (slot->pair == UINT64_MAX) /* of equal rules the first, which has the lower rank */
        *slot = (merge_slot){ (uint64_t)left << 32 | right, rank, id };
    return DS4_OK;
}

static ds4_status read_merges(loader *l, hash_stream *hash)
{
    const gguf_value *list;
    text_tokenizer *t = l->t;
    size_t position = 0;
    slice rule;
    ds4_status status = array_of(l, "tokenizer.ggml.merges", GGUF_STRING, &list);
    if (status != DS4_OK)
        return status;
    if (list->n > MERGES_MAX)
        return ds4_fail(l->err, DS4_ERR_CORRUPT, "%" PRIu64 " merges are not possible", list->n);
    for (t->n_slots = 16; t->n_slots < 2 * list->n; t->n_slots *= 2)
        ;
    t->merges = malloc(t->n_slots * sizeof *t->merges);
    if (!t->merges)
        return no_memory(l);
    for (size_t i = 0; i < t->n_slots; i++)
        t->merges[i].pair = UINT64_MAX;
    for (uint32_t rank = 0; status == DS4_OK && gguf_next_string(list, &position, &rule); rank++) {
        hash_stream_add_u64(hash, rule.size);
        hash_stream_add(hash, rule.data, rule.size);
        status = add_merge(l, rule, rank);
    }
    return status;
}

/* Control tokens by first byte, longest first: for the few callers that may recognise spellings. */
static int compare_scan(const void *a, const void *b, void *arg)
{
    const text_tokenizer *t = arg;
    const slice x = t->pieces[*(const uint32_t *)a], y = t->pieces[*(const uint32_t *)b];
    const uint8_t cx = (uint8_t)x.data[0], cy = (uint8_t)y.data[0];
    return cx != cy ? (cx < cy ? -1 : 1) : x.size != y.size ? (x.size > y.size ? -1 : 1) : 0;
}

static ds4_status make_scan(loader *l)
{
    text_tokenizer *t = l->t;
    for (uint32_t id = 0; id < t->n_tokens; id++)
        t->n_scan += t->control[id] && t->pieces[id].size > 0;
    t->scan = arena_alloc_array(&t->memory, t->n_scan, sizeof *t->scan);
    if (!t->scan)
        return no_memory(l);
    size_t n = 0;
    for (uint32_t id = 0; id < t->n_tokens; id++)
        if (t->control[id] && t->pieces[id].size > 0)
            t->scan[n++] = id;
    qsort_r(t->scan, n, sizeof *t->scan, compare_scan, t);
    for (size_t i = 0, byte = 0; byte <= 256; byte++) {
        while (i < n && (uint8_t)t->pieces[t->scan[i]].data[0] < byte)
            i++;
        t->scan_from[byte] = (uint32_t)i;
    }
    return DS4_OK;
}

/* --- the public functions -------------------------------------------------------------------------------------------- */

ds4_status text_tokenizer_open(text_tokenizer **out, const gguf_file *file, const char *pre_override, ds4_error *err)
{
    hash_stream hash;
    loader l = { .t = calloc(1, sizeof *l.t), .file = file, .err = err };
    *out = NULL;
    if (!l.t)
        return no_memory(&l);
    make_alphabet(&l);
    hash_stream_begin(&hash, NULL);
    ds4_status status = check_kind(&l, pre_override);
    if (status == DS4_OK)
        status = read_strings(&l, &hash);
    if (status == DS4_OK)
        status = read_types(&l, &hash);
    if (status == DS4_OK)
        status = find_specials(&l);
    if (status == DS4_OK)
        status = find_bytes(&l);
    if (status == DS4_OK)
        status = read_merges(&l, &hash);
    if (status == DS4_OK)
        status = make_scan(&l);
    if (status == DS4_OK && order_open(l.t) != DS4_OK)
        status = no_memory(&l);
    if (status == DS4_OK)
        status = split_open(l.t, err);
    hash_stream_end(&hash, &l.t->vocabulary);
    free(l.strings);
    free(l.table);
    buffer_free(&l.joined);
    if (status != DS4_OK) {
        text_tokenizer_close(l.t);
        return status;
    }
    *out = l.t;
    return DS4_OK;
}

void text_tokenizer_close(text_tokenizer *t)
{
    if (!t)
        return;
    split_close(t);
    free(t->merges);
    arena_free(&t->memory);
    free(t);
}

uint32_t text_n_tokens(const text_tokenizer *t)
{
    return t->n_tokens;
}

uint32_t text_special_id(const text_tokenizer *t, text_special special)
{
    return t->specials[special];
}

bool text_is_control(const text_tokenizer *t, uint32_t id)
{
    return id < t->n_tokens && t->control[id];
}

slice text_piece(const text_tokenizer *t, uint32_t id)
{
    return id < t->n_tokens ? t->pieces[id] : (slice){ "", 0 };
}

void text_fingerprint(const text_tokenizer *t, hash_stream *into)
{
    /* Letters, digits, punctuation, scripts, white space: what a change of the split would show up in. */
    static const char probe[] =
        "Hello, world! don't 12345  x=1;\n\n\t\u4f60\u597d\uff0c na\u00efve\u2026 \u0661\u0662\u0663\u0664 "
        "\U0001f469\u200d\U0001f4bb </think> foo_bar(baz)\r\n";
    token_list ids = { 0 };
    hash_stream_add(into, t->vocabulary.bytes, sizeof t->vocabulary.bytes);
    for (int i = 0; i < TEXT_N_SPECIALS; i++)
        hash_stream_add_u64(into, t->specials[i]);
    if (text_encode(t, SLICE(probe), &ids, NULL) == DS4_OK)
        for (size_t i = 0; i < ids.n; i++)
            hash_stream_add_u64(into, ids.ids[i]);
    token_list_free(&ids);
}
