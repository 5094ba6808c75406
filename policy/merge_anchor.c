// SPDX-License-Identifier: Apache-2.0
/*
 * Merged pages that many share are to stay in memory where the kernel swaps. It swaps such a page
 * once for all who map it, but each of them reads back a copy of its own (mm/ksm.c,
 * ksm_might_need_to_copy): with a hundred sharers a page freed costs up to a hundred. They belong
 * to one trust domain: a page held for it must never be merged with another's.
 */
#include "policy/parts.h"

/* Held from half of the memory in use on: on a host with more room nothing is swapped. */
#define BEGIN_PART 2
#define END_PART   4 /* let go with three quarters available */
#define MOST_PART  16
#define MOST	   (512 * MIB)
#define LEAST	   MIB

/* May what is held stay so: swap, and guests of the same one domain as it is of? */
static bool may_hold(const struct pol *pol, const struct pol_host *host, bool changing)
{
	const struct merge_past *past = &pol->merge;
	const struct pol_ksm *in = &host->ksm;

	if (!pol->config.ksm_anchor || !pol_has(host->swap_bytes) || !host->swap_bytes)
		return false;
	/* All is unmerged, or about to be. */
	if (changing || (in->run != 0 && in->run != 1))
		return false;
	/* With a tree per node a copy merges only with its own node's pages. */
	if (host->n_nodes > 1 && in->across_nodes == 0)
		return false;
	if (FAULT(anchor_domains))
		return true;
	return past->n_domains == 1 && (!past->anchored || FAULT(anchor_other_domain) ||
					past->anchor_domain == past->domains[0].domain);
}

void merge_anchor(struct pol *pol, const struct pol_host *host, bool changing)
{
	struct merge_past *past = &pol->merge;
	uint64_t memory = pol->tick.memory, available = pol->tick.available;
	uint64_t enough = past->anchored ? memory - memory / END_PART : memory / BEGIN_PART;

	past->anchored = may_hold(pol, host, changing) && memory / MOST_PART >= LEAST &&
			 (available < enough || FAULT(anchor_room));
	if (!past->anchored)
		return;
	if (past->n_domains)
		past->anchor_domain = past->domains[0].domain;
	past->view.anchor_bytes = min_u64(memory / MOST_PART, MOST);
	/* While ksmd stands still what is held stays merged, and nothing new would be. */
	past->view.anchor_grows = host->ksm.run == 1 && !host->ksm.unsorted && !past->forbid;
}
