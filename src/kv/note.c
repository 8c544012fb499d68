/* kv/note.c - what a store's directory remembers about models: 32 bytes of name, two values. Written once, never replaced; a
 * note that does not check out is removed and made anew. */
#include "base/log.h"
#include "kv/store.h"

#include <stdio.h>

static void note_name(const kv_key *name, char out[KV_NAME_BYTES])
{
    char hex[HASH_KEY_HEX];
    hash_key_hex(name, hex);
    snprintf(out, KV_NAME_BYTES, "model/%s", hex);
}

ds4_status kv_note_read(kv_store *s, const kv_key *name, kv_note *out)
{
    char path[KV_NAME_BYTES];
    uint8_t bytes[KV_NOTE_BYTES + 1];
    kv_note note;
    kv_key of;
    size_t n;
    note_name(name, path);
    const ds4_status status = kv_disk_read_small(&s->disk, path, bytes, sizeof bytes, &n, NULL);
    if (status != DS4_OK)
        return status;
    if (!kv_note_decode(&of, &note, bytes, n) || !hash_key_equal(&of, name)) {
        log_warning("kv note damaged name=%.12s", path + 6);
        if (!s->disk.read_only)
            kv_disk_unlink(&s->disk, path, NULL);
        return DS4_ERR_NOT_FOUND;
    }
    *out = note;
    return DS4_OK;
}

void kv_note_write(kv_store *s, const kv_key *name, const kv_note *note)
{
    char path[KV_NAME_BYTES];
    uint8_t bytes[KV_NOTE_BYTES];
    ds4_error err = { 0 };
    if (s->options.read_only || s->disk.read_only)
        return;
    note_name(name, path);
    kv_note_encode(name, note, kv_now_ns(), bytes);
    if (kv_disk_write_once(&s->disk, path, bytes, sizeof bytes, "write.note", &err) != DS4_OK)
        log_warning("kv note not written: %s", err.text);
}
