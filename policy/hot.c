// SPDX-License-Identifier: Apache-2.0
/*
 * The working set as the host's kernel sees it: memory that was touched of late, by the accessed
 * bits that the processor sets (DAMON, or the generations of the multi-generational LRU). It needs
 * no word of the guest, so it cannot lie, but for touching what it has no use for; and it sees cold
 * memory that the guest itself takes for used, and hot cache that it would call available.
 *
 * It is a look at one time. What it found idle may have come into use since, so the older the look,
 * the less of that counts as idle; what the guest has taken up since counts as in use.
 */
#include "policy/parts.h"

/* Touched within less than this is what a moment's sample shows, not what a guest works with. */
#define WINDOW_LEAST_US (5 * SEC)
/* A look so old tells nothing any more. */
#define AGE_MOST_US (300 * SEC)

void hot_sense(struct now_guest *guest)
{
	const struct pol_guest *in = guest->in;
	uint64_t resident = bytes_in(in->resident_bytes), hot = bytes_in(in->hot_bytes), idle;

	guest->hot = POL_ABSENT;
	if (!guest->held_known || !pol_has(hot) || !pol_has(in->hot_us) ||
	    in->hot_us < WINDOW_LEAST_US || !pol_has(in->hot_age_us))
		return;
	if (in->hot_age_us >= AGE_MOST_US && !FAULT(hot_age))
		return;
	idle = sub_sat(resident, hot);
	if (!FAULT(hot_fades))
		idle -= mul_div(idle, min_u64(in->hot_age_us, AGE_MOST_US), AGE_MOST_US);
	guest->hot = resident - idle;
}
