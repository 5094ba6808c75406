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
/*
 * What equals it and is in swap is read back in calm, so much at a time: until ksmd has merged it,
 * it takes the place of what is in memory, which needs room in swap. That is worth it on a host
 * with nothing available, too: for each of these pages one in swap comes free.
 */
#define BACK_PART	16
#define BACK_SHORT_PART 32
#define BACK_SWAP_PART	4
#define BACK_PSI_PPM	100000
#define BACK_TRUST	(PPM / 2)

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

/* Calm: ksmd is on patrol, which means that nothing came of late, and next to nobody waits. */
static bool is_calm(const struct pol *pol)
{
	return (pol->ksm.exhausted && pol->reclaim.psi_ppm < BACK_PSI_PPM) || FAULT(back_calm);
}

static uint64_t may_read_back(const struct pol *pol, const struct pol_host *host)
{
	uint64_t waiting = ksm_back_bytes(pol, &host->ksm), most;

	most = pol->tick.memory / (is_short(pol) ? BACK_SHORT_PART : BACK_PART);
	/* As far as what was read before was merged indeed. */
	most = ppm_of(most, max_u64(pol->ksm.trust_ppm[KSM_NEWS_BACK], BACK_TRUST));
	most = min_u64(most, pol_has(host->swap_free_bytes)
				     ? bytes_in(host->swap_free_bytes) / BACK_SWAP_PART
				     : 0);
	/* What guests have more of meanwhile would count against a reclaim of theirs. */
	if (!pol->merge.view.anchor_grows || !is_calm(pol) || host->reclaim_busy)
		return 0;
	if (FAULT(back_room))
		return most;
	return waiting + LEAST <= most ? most - waiting : 0;
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
	past->view.back_bytes = may_read_back(pol, host);
}
