/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Live processes as a source of pages for estimate: which regions KSM could merge, which pages are
 * present, and their contents. Absent and swapped pages are never touched; pages that are read
 * count as used (mark_page_accessed), nothing else changes for the process. Source:
 * Documentation/admin-guide/mm/pagemap.rst, mm/ksm.c vma_ksm_compatible().
 */
#ifndef MEMD_ESTIMATE_LIVE_H
#define MEMD_ESTIMATE_LIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "memd/estimate.h"

/* Private memory not marked mergeable is looked at from regions of this size on. */
#define ESTIMATE_REGION_MIN_BYTES (2ULL << 20)

struct estimate_live;

/* What smaps says of a process's memory that KSM can or could merge, present only. */
struct estimate_memory {
	uint64_t marked_bytes;	 /* in regions that are marked mergeable */
	uint64_t unmarked_bytes; /* private and anonymous in regions that could be */
	uint64_t shared_bytes;	 /* shared memory, which KSM never merges */
	uint64_t hugetlb_bytes;	 /* nor huge pages of the pool */
};

/* -ENOMEM. */
int estimate_live_open(int rootfd, struct estimate_live **ret_live);
void estimate_live_close(struct estimate_live *live); /* NULL is fine */

/*
 * One more process; the n-th added is number n - 1 of the source. only_marked: leave out what is
 * not marked mergeable. 0; -ESRCH; -EACCES, -EPERM: not allowed to look into it; -EIO: its smaps
 * are not as documented; -ENOMEM; -EMFILE.
 */
int estimate_live_add(struct estimate_live *live, pid_t pid, bool only_marked,
		      struct estimate_memory *ret_memory);

/*
 * nodes: pages on different NUMA nodes are not merged (merge_across_nodes is 0), which costs a
 * move_pages(2) query for each page read. The source lives as long as live.
 */
void estimate_live_source(struct estimate_live *live, bool nodes,
			  struct estimate_source *ret_source);

#endif
