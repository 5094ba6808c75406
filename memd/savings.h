/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is saved, each byte once: KSM's saving shared out to the guests by what they have merged,
 * the balloons', and what guests have reported free.
 */
#ifndef MEMD_SAVINGS_H
#define MEMD_SAVINGS_H

#include <stdint.h>

#include "memd/guest.h"
#include "policy/policy.h"

struct savings {
	uint64_t ksm_bytes;	  /* the guests' part of what KSM saves */
	uint64_t ksm_other_bytes; /* the rest of (pages_sharing + zero pages) * page */
	uint64_t balloon_bytes, reported_bytes;
	uint64_t mem_bytes;   /* unplugged from virtio-mem devices */
	uint64_t total_bytes; /* ksm + balloon + reported + virtio-mem */
};

/*
 * Set each guest's ksm_bytes, balloon_bytes, reported_bytes and mem_bytes from its footprint of
 * this tick, and their sums. A guest that cannot be looked at keeps nothing but a balloon the host
 * sees.
 *
 * KSM: the sum of ksm_merging_pages over all processes is pages_shared + pages_sharing, while
 * pages_sharing is what is saved (mm/ksm.c stable_tree_append), hence the factor between them.
 * own_bytes of it are memd's own mappings (anchor.h), which save nothing.
 */
void savings_count(struct guests *guests, const struct pol_ksm *ksm, uint64_t page_bytes,
		   uint64_t own_bytes, struct savings *ret_savings);

#endif
