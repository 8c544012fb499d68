/* kv/process.h - telling processes apart, over time and across boots: who wrote this, and does he live? Any thread. */
#ifndef KV_PROCESS_H
#define KV_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

enum { KV_BOOT_BYTES = 41 };

/* When this process started, in ticks since boot (field 22 of /proc/PID/stat); 0: unknown. */
uint64_t kv_process_started(void);
/* Does the process that had this number and started then (0: unknown) still run? One that has ended but was not waited
 * for (a zombie) does not. In doubt it does: to be taken for dead has consequences. */
bool kv_process_lives(uint64_t pid, uint64_t started);
/* The kernel's random id of this boot, "unknown" if it has none. A process number of another boot says nothing. */
void kv_boot_id(char out[KV_BOOT_BYTES]);

#endif
