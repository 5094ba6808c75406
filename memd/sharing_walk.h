/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One process for sharing.c: its mergeable mappings (/proc/PID/smaps) and the frames that they map
 * (/proc/PID/pagemap), of which only those that may be merged ones are collected.
 * Source: Documentation/filesystems/proc.rst, Documentation/admin-guide/mm/pagemap.rst.
 */
#ifndef MEMD_SHARING_WALK_H
#define MEMD_SHARING_WALK_H

#include <stdint.h>

#include "memd/sharing.h"
#include "memd/sharing_frame.h"

/* So much of the process under way is done. 0 to go on; else the walk ends with it. */
typedef int (*walk_fn)(void *ctx, uint64_t done_pages, uint64_t all_pages);

struct walk {
	int rootfd;
	struct frames *frames;
	walk_fn fn; /* called every now and then */
	void *ctx;
	uint64_t walked_pages;
	uint64_t zero_frame; /* known to be the zero page, POL_ABSENT: none yet */
};

/*
 * Walk a process: its frames go to walk->frames under that owner; of *part the numbers that the
 * kernel tells by process are set (record_pages, zero_pages, metadata_bytes), and single_pages is
 * what smaps says of merged pages, or POL_ABSENT. Nothing is left of a process that cannot be
 * walked to its end. -ESRCH: gone, or not the one meant; -EPERM: frames are hidden; what fn says;
 * -ENOMEM; -errno.
 */
int walk_process(struct walk *walk, const struct sharing_target *target, uint32_t owner,
		 struct sharing_part *part);

/* Does it merge, or has KSM put zero pages into it? False too when the kernel does not say. */
bool walk_merges(int rootfd, pid_t pid);

#endif
