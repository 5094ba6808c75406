// SPDX-License-Identifier: Apache-2.0
/*
 * Merged pages that many share are to stay in memory where the kernel swaps. It swaps such a page
 * once for all who map it, but each of them reads back a copy of its own (mm/ksm.c,
 * ksm_might_need_to_copy): with a hundred sharers a page freed costs up to a hundred. Whose pages
 * are of several trust domains is left alone: a page held for one must not be merged with
 * another's.
 */
#include "policy/parts.h"

/* Held from half of the memory in use on: on a host with more room nothing is swapped. */
#define BEGIN_PART 2
#define END_PART   4 /* let go with three quarters available */
#define MOST_PART  16
#define MOST	   (512 * MIB)

static bool may_anchor(const struct pol *pol, const struct pol_host *host)
{
	const struct pol_ksm *in = &host->ksm;
	const struct merge_past *past = &pol->merge;

	if (!pol->config.ksm_anchor || in->run != 1 || !pol_has(host->swap_bytes) ||
	    !host->swap_bytes)
		return false;
	/* One domain, or none: so are all guests of one. */
	if ((past->n_domains > 1 || in->unsorted || past->forbid) && !FAULT(anchor_domains))
		return false;
	/* With a tree per node a copy merges only with its own node's pages. */
	return host->n_nodes < 2 || in->across_nodes != 0;
}

void merge_anchor(struct pol *pol, const struct pol_host *host)
{
	struct merge_past *past = &pol->merge;
	uint64_t memory = pol->tick.memory, available = pol->tick.available;
	uint64_t enough = past->anchored ? memory - memory / END_PART : memory / BEGIN_PART;

	past->anchored = may_anchor(pol, host) && (available < enough || FAULT(anchor_room));
	past->view.anchor_bytes = past->anchored ? min_u64(memory / MOST_PART, MOST) : 0;
}
