// SPDX-License-Identifier: Apache-2.0
/*
 * When a balloon may go for a guest's page cache. Where others map the same pages it frees nothing;
 * where the kernel's own lists choose what is swapped they let go of what is not read, and leave
 * what is. There balloons wait until a quarter of swap is used. Then they take cache at a pace, one
 * guest after the other, and of those first that have little merged: taken from all at once, when
 * swap is nearly full, it keeps the host's processors from its guests for a minute, for a balloon
 * moves page by page, on both sides.
 */
#include "policy/parts.h"

#define UNSERVED_US (30 * SEC) /* meanwhile the kernel swaps by itself */
#define ROUND_S	    512ull     /* at that pace balloons take as much as the host has, */
#define HASTE	    4ull       /* and so many times as fast when swap is scarce, */
#define ORDER_US    (2 * SEC)  /* by orders that last so long; as much as may be made up for */
#define ORDER_LEAST (8 * MIB)

/*
 * What the host holds of the guest's alone, beyond what the guest uses, is cache. That leaves out
 * what of the memory in use is merged, and takes the hypervisor's own for the guest's: on small
 * guests the one makes up for the other.
 */
static uint64_t private_cache(const struct now_guest *guest, uint64_t used, uint64_t merged)
{
	uint64_t swapped = bytes_in(guest->in->swapped_bytes);
	uint64_t held = bytes_in(guest->in->resident_bytes) + (pol_has(swapped) ? swapped : 0);

	if (FAULT(cache_private))
		return 0;
	return sub_sat(sub_sat(held, merged), add_sat(used, balloon_backed_free(guest)));
}

/* Programs and their files are alike in guests far more than data is, so what KSM saves counts as
 * cache first, as far as that leaves room for what is the guest's alone. */
uint64_t balloon_cache_ppm(const struct now_guest *guest)
{
	uint64_t used = sub_sat(guest->actual_then, guest->available), cache, merged;

	if (!guest->held_known || !pol_has(guest->in->ksm_bytes) || FAULT(cache_merged))
		return PPM;
	cache = min_u64(sub_sat(guest->held, used), sub_sat(guest->available, guest->free));
	merged = bytes_in(guest->in->ksm_bytes);
	/* Not what has become the zero page: free memory, more often than not. */
	if (pol_has(guest->in->merging_bytes))
		merged = min_u64(merged, guest->in->merging_bytes);
	merged = min_u64(merged, sub_sat(cache, private_cache(guest, used, merged)));
	return PPM - mul_div(merged, PPM, cache);
}

static bool is_unserved(const struct pol *pol)
{
	return is_pressed(pol) && pol->tick.now_us - pol->reclaim.served_us >= UNSERVED_US &&
	       !FAULT(cache_unserved);
}

/* Blind, and not looked into yet: what of it can be swapped is told in a moment. */
static bool is_unknown(const struct pol *pol, const struct now_guest *guest)
{
	return reclaim_is_blind(pol, guest) && !pol_has(guest->in->reclaimable_bytes) &&
	       !FAULT(cache_unknown);
}

/* The kernel swaps by itself; not if there is no room left for that, or it has swapped next to
 * nothing for a while with the host at its end. */
static bool is_kernels(const struct pol *pol, const struct now_guest *guest)
{
	enum pol_reason off = guest->past->reclaim.off;

	if (off != POL_WHY_BLIND && (off != POL_WHY_SWAP_FULL || !reclaim_is_blind(pol, guest)) &&
	    !is_unknown(pol, guest))
		return false;
	return pol->reclaim.fill < SWAP_SPENT &&
	       (pol->tick.now_us - pol->reclaim.swaps_us < UNSERVED_US ||
		FAULT(cache_kernel_idle)) &&
	       !FAULT(cache_blind);
}

enum cache_way balloon_cache_way(const struct pol *pol, const struct now_guest *guest)
{
	const struct reclaim_past *swap = &pol->reclaim;
	bool pays = balloon_cache_ppm(guest) >= ppm_of(swap->net_ppm, swap->kept_ppm) / 2;

	if (FAULT(cache_pays))
		return CACHE_TAKEN;
	/* Nothing is known of it, nor of swap and kernel when memd has just started. */
	if (!guest->past->reclaim.seen && reclaim_is_blind(pol, guest) && !FAULT(cache_first_tick))
		return CACHE_LEFT;
	if (is_kernels(pol, guest)) {
		if (swap->fill == SWAP_WIDE || (swap->fill == SWAP_FILLING && !pays))
			return CACHE_LEFT;
		/* The want of one that is nearly out of memory does not wait. */
		if (pol->tick.starving && !FAULT(cache_want))
			return CACHE_TAKEN;
		if (is_unknown(pol, guest))
			return CACHE_LEFT;
		return pays ? CACHE_PACED : CACHE_PACED_LAST;
	}
	/* Swap that is nearly full, a guest that cannot be swapped, a host in want whose swapping
	 * has come to an end: then little is better than nothing. */
	return pays || swap->fill >= SWAP_SCARCE ||
			       guest->past->reclaim.off == POL_WHY_NOT_OFFERED || is_unserved(pol)
		       ? CACHE_TAKEN
		       : CACHE_LEFT;
}

uint64_t balloon_cache_floor(const struct pol *pol, const struct now_guest *guest, uint64_t floor,
			     bool in_time)
{
	const struct guest_past *past = guest->past;
	uint64_t filled = max_u64(past->filled_peak[0], past->filled_peak[1]);
	enum cache_way way = balloon_cache_way(pol, guest);

	if (guest->trust != POL_TRUST_OK || way == CACHE_TAKEN || (in_time && way != CACHE_LEFT))
		return floor;
	/* What is free between two programs is not: the next one would push cache out for it, and
	 * with each of them a little more would be taken for free memory. But another's want
	 * is worse. */
	if (!pol->tick.starving && !FAULT(cache_ratchet))
		floor = max_u64(floor, filled + balloon_kept_free(guest));
	return max_u64(floor, balloon_free_end(guest));
}

static uint64_t pace_of(const struct pol *pol)
{
	return max_u64(pol->tick.memory / ROUND_S, MIB) *
	       (pol->reclaim.fill >= SWAP_SCARCE ? HASTE : 1);
}

uint64_t balloon_cache_credit(const struct pol *pol)
{
	uint64_t us = sub_sat(pol->tick.now_us, pol->reclaim.cache_us);

	return mul_div(pace_of(pol), min_u64(us, ORDER_US), SEC);
}

uint64_t balloon_cache_most(const struct pol *pol)
{
	return max_u64(mul_div(pace_of(pol), ORDER_US, SEC), ORDER_LEAST);
}

void balloon_cache_took(struct pol *pol, uint64_t bytes)
{
	uint64_t *until_us = &pol->reclaim.cache_us;

	*until_us = max_u64(*until_us, sub_sat(pol->tick.now_us, ORDER_US));
	*until_us = add_sat(*until_us, mul_div(bytes, SEC, pace_of(pol)));
}
