// SPDX-License-Identifier: Apache-2.0
/*
 * When transparent huge pages of guests are better split. They make guests faster while there is
 * memory. Where the kernel swaps guests they cost it: a huge page counts as used when one page of
 * it is, so what is cold in it stays and others' goes, and what it goes to comes back soon.
 */
#include "policy/parts.h"

/* So much of memory, or of swap: then it swaps guests, and not only what nobody needs of them. */
#define MEMORY_PART 16
#define SWAP_PART   4

bool huge_split(const struct pol *pol, const struct pol_host *host)
{
	uint64_t swap = bytes_in(host->swap_bytes), swapped = 0;

	if (!pol->config.huge_split || !pol_has(swap) || !swap ||
	    (!is_pressed(pol) && !FAULT(split_calm)))
		return false;
	for (size_t i = 0; i < pol->n_now; i++)
		if (pol_has(pol->now[i].in->swapped_bytes))
			swapped = add_sat(swapped, bytes_in(pol->now[i].in->swapped_bytes));
	return swapped >= min_u64(pol->tick.memory / MEMORY_PART, swap / SWAP_PART) ||
	       FAULT(split_swap);
}
