/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which 2 MiB of another process are a huge page. Kernels from 6.7 on tell by PAGEMAP_SCAN; with
 * older ones, those count whose frames lie together (memd/pagemap.h), as those of a huge page do
 * for a while after it was split. Source: Documentation/admin-guide/mm/pagemap.rst,
 * include/uapi/linux/fs.h.
 */
#ifndef MEMD_HUGE_LOOK_H
#define MEMD_HUGE_LOOK_H

#include <stdbool.h>
#include <stdint.h>

#define HUGE_UNIT_BYTES (2ULL << 20)

struct huge_look {
	int pagemap; /* /proc/PID/pagemap, the caller's */
	bool old;    /* this kernel has no PAGEMAP_SCAN: found out by asking */
};

/* start: an address, aligned to 2 MiB. False also where nobody may know. */
bool huge_look_is_huge(struct huge_look *look, uint64_t start);

#endif
