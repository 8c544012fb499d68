/* kv/disk.h - the directory of a store: every system call on it is in disk.c, small.c or publish.c, with its fault point.
 * A directory descriptor is held, names are relative to it, links are never followed. The directory may vanish, be emptied
 * or be replaced at any time; kv_disk_revalidate() notices. Calls may come from any thread. */
#ifndef KV_DISK_H
#define KV_DISK_H

#include "kv/kv.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>

typedef struct kv_disk {
    /* Constant. */
    char *path;
    bool trust_group;
    /* Change only when a directory goes or comes back. */
    atomic_bool read_only, gone;
    /* Guarded by `lock`, which is held only to copy or swap them. */
    pthread_mutex_t lock;
    int root; /* -1: none */
    dev_t device;
    ino_t inode;
    /* Who has set `looking` looks after the directory, and nobody waits for that: the others go by the last answer. */
    atomic_bool looking;
    int64_t tried_us; /* when a directory that went away was last looked for; 0: all is well */
    /* Writer thread only. */
    bool no_tmpfile; /* O_TMPFILE does not work here */
} kv_disk;

enum { KV_NAME_BYTES = 96 };
/* "o/3f/3fa9....s" */
void kv_object_name(const kv_key *key, uint16_t kind, char out[KV_NAME_BYTES]);

/* Opens or makes the directory and its folders. Errors as kv_store_open(). */
ds4_status kv_disk_open(kv_disk *d, const char *path, bool read_only, bool trust_group, ds4_error *err);
void kv_disk_close(kv_disk *d);
/* True while the directory is there. If it vanished, was emptied or replaced, it is made or opened again, at most every
 * `recreate_us`; folders that were removed are made again at once. *anew: everything known about its objects is void. */
bool kv_disk_revalidate(kv_disk *d, int64_t recreate_us, bool *anew);
/* A duplicate of the root descriptor for one operation, or -1. Close it. */
int kv_disk_root(kv_disk *d);

/* Whole small files: the new content, or what was there before. `point`: the fault point ("write.poison"). */
ds4_status kv_disk_write_small(kv_disk *d, const char *name, const void *bytes, size_t size, const char *point,
                               ds4_error *err);
/* The same for a file in the root that must outlive a power failure (STORE): synced, with its name, before this returns.
 * Never replaces: OK too when somebody else was first. */
ds4_status kv_disk_write_once(kv_disk *d, const char *name, const void *bytes, size_t size, const char *point,
                              ds4_error *err);
/* Reads at most `size` bytes; *n is what there was. NOT_FOUND, IO. */
ds4_status kv_disk_read_small(kv_disk *d, const char *name, void *out, size_t size, size_t *n, ds4_error *err);
ds4_status kv_disk_append(kv_disk *d, const char *name, const void *bytes, size_t size, const char *point,
                          ds4_error *err);
bool kv_disk_unlink(kv_disk *d, const char *name, const char *point);
/* Out of its place, into quarantine/ if that is possible. False: it is still there. */
bool kv_disk_quarantine(kv_disk *d, const kv_key *key, uint16_t kind);
/* From a name in tmp/ to the real one; never replaces (as linkat(), with its errno). */
int kv_disk_name_once(int root, const char *temporary, const char *name);

/* A file that its writer keeps locked while it is at work: temporaries, and intents while a checkpoint is on trial. The kernel
 * lets go of the lock when the process ends, however it ends. */
typedef enum kv_lock {
    KV_LOCK_MINE,   /* nobody else holds it */
    KV_LOCK_BUSY,   /* its writer is at work */
    KV_LOCK_UNKNOWN /* this file system has no locks, or cannot tell */
} kv_lock;
typedef struct kv_locked {
    int fd; /* -1: none */
    kv_lock lock;
    char name[KV_NAME_BYTES];
} kv_locked;
#define KV_LOCKED_NONE ((kv_locked){ .fd = -1, .lock = KV_LOCK_UNKNOWN })

/* A new, empty file in tmp/, locked where there are locks. */
ds4_status kv_locked_create(kv_locked *out, kv_disk *d, ds4_error *err);
/* Fills it and moves it to its real name, replacing what is there; it stays locked. */
ds4_status kv_locked_publish(kv_locked *file, kv_disk *d, const char *name, const void *bytes, size_t size,
                             const char *point, ds4_error *err);
/* Opens what somebody wrote and tries to lock it (a read-only directory: only asks). NOT_FOUND also if it was removed
 * meanwhile. */
ds4_status kv_locked_open(kv_locked *out, kv_disk *d, const char *name, ds4_error *err);
ds4_status kv_locked_read(kv_locked *file, void *out, size_t size, size_t *n, ds4_error *err);
void kv_locked_close(kv_locked *file); /* lets go of the lock; KV_LOCKED_NONE is fine */
/* Takes its name away, or at least its content, and closes it. False: neither could be done. */
bool kv_locked_remove(kv_locked *file, kv_disk *d);

/* After a folder got a new entry that must outlive a power failure ("o", "."). Errors are ignored. */
void kv_disk_sync_folder(int root, const char *folder);

/* Around a write: beyond the file-size limit it fails with EFBIG, and the signal that the kernel sends with it is taken. */
typedef struct kv_size_limit {
    sigset_t mask;
    bool was_pending;
} kv_size_limit;
kv_size_limit kv_disk_expect_size_limit(void);
void kv_disk_size_limit_over(const kv_size_limit *held);

/* Publishes an image under the object's name, or leaves the directory as it was. *taken: something else has the name, and
 * stays; that is no error. */
ds4_status kv_disk_publish(kv_disk *d, const kv_key *key, uint16_t kind, const uint8_t *image, uint64_t size,
                           kv_durability durability, bool *taken, ds4_error *err);

/* Opens an object for reading and gives its size. NOT_FOUND, CORRUPT (not a regular file of ours), IO. */
ds4_status kv_disk_open_object(kv_disk *d, const kv_key *key, uint16_t kind, bool trust_group, int *fd, uint64_t *size,
                               ds4_error *err);
/* Exactly `size` bytes; CORRUPT when there are fewer. */
ds4_status kv_disk_read(int fd, uint64_t offset, void *out, size_t size, const char *point, ds4_error *err);

/* Calls `visit` with each name in a folder ("o/3f", "poison"); stops when it answers false. */
typedef bool kv_visit_fn(void *user, const char *folder, const char *name);
void kv_disk_list(kv_disk *d, const char *folder, kv_visit_fn *visit, void *user);

/* When each folder o/00 .. o/ff last got or lost an entry; zero: it is not there. */
void kv_disk_object_folders(kv_disk *d, struct timespec changed[256]);

uint64_t kv_disk_free_bytes(kv_disk *d, uint64_t *total); /* of the file system; 0 if it cannot be said */
bool kv_disk_stat(kv_disk *d, const char *name, struct stat *out);

#endif
