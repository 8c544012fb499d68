/* kv/process.h - telling processes apart, over time and across boots: who wrote an intent, and does he live? Any thread. */
#ifndef KV_PROCESS_H
#define KV_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

enum { KV_BOOT_BYTES = 41 };

/* When a process started, in ticks since boot (field 22 of /proc/PID/stat); 0: there is no such process. */
uint64_t kv_process_started(uint64_t pid);
/* The kernel's random id of this boot, "unknown" if it has none. A process number of another boot says nothing. */
void kv_boot_id(char out[KV_BOOT_BYTES]);

#endif
