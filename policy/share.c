// SPDX-License-Identifier: Apache-2.0
/*
 * Shares with an idle tax (Waldspurger, OSDI 2002, 5.2): who is worth how much memory. A guest
 * pays per page in use 1 and per idle page k = 1/(1-tau); its rho = S / (P (f + k (1-f))) is shares
 * over taxed pages. Memory is revoked where rho is least.
 *
 * With the working set W = f P the taxed pages are W + k (P - W), linear in P, so revoking page by
 * page from the least rho ends where all have one level L of taxed bytes per share:
 * P(L) = L S below the working set, W + (L S - W)/k above it. Both the entitlement and the taking
 * search that level, bounded per guest.
 */
#include "policy/parts.h"

#define SHARES_UNIT 1000
#define SHARES_MOST 100000
#define PRECISION   PAGE

/* The size at which a guest's taxed bytes per share are `level` (bytes per SHARES_UNIT). */
static uint64_t size_at(const struct pol_config *config, uint64_t level, uint64_t shares,
			uint64_t working_set)
{
	uint64_t taxed = mul_div(level, FAULT(shares) ? 1000 : clamp_u64(shares, 1, SHARES_MOST),
				 SHARES_UNIT);

	if (taxed <= working_set)
		return taxed;
	return add_sat(working_set,
		       ppm_of(taxed - working_set,
			      sub_sat(PPM, FAULT(idle_tax) ? 0 : config->idle_tax_ppm)));
}

/* No guest's taxed bytes per share are above this: 1 share, all idle, taxed 99.9999 %. */
static uint64_t top_level(uint64_t most_bytes)
{
	return mul_div(most_bytes, SHARES_UNIT * PPM, 1);
}

static uint64_t entitled_at(const struct pol *pol, const struct now_guest *guest, uint64_t level)
{
	/* A guest whose numbers are not trusted counts as using all it has: no tax, no favour. */
	uint64_t working_set = guest->trust == POL_TRUST_OK ? guest->past->ws_late : guest->memory;

	if (FAULT(share_untrusted) && guest->trust != POL_TRUST_OK)
		working_set = 0;

	return clamp_u64(size_at(&pol->config, level, guest->shares, working_set), guest->min,
			 guest->memory);
}

void share_entitle(struct pol *pol)
{
	uint64_t held = 0, top = 0, low = 0, high, divide;

	for (size_t i = 0; i < pol->n_now; i++) {
		const struct now_guest *guest = &pol->now[i];

		if (!guest->usable)
			continue;
		held = add_sat(held, guest->held);
		top = max_u64(top, guest->memory);
	}
	/* All that guests have and that is left. What the host wants free is not set off: a share
	 * is what a guest may claim when it must, and then the host's comfort comes second. */
	divide = add_sat(held, pol->tick.available);
	high = top_level(top);
	while (high - low > PRECISION) {
		uint64_t level = low + (high - low) / 2, sum = 0;

		for (size_t i = 0; i < pol->n_now && sum <= divide; i++)
			if (pol->now[i].usable)
				sum = add_sat(sum, entitled_at(pol, &pol->now[i], level));
		if (sum <= divide)
			low = level;
		else
			high = level;
	}
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];

		guest->entitled = guest->usable ? entitled_at(pol, guest, low) : POL_ABSENT;
	}
}

static uint64_t part_at(const struct pol_config *config, const struct share_claim *claim,
			uint64_t level)
{
	uint64_t size = size_at(config, level, claim->shares, claim->working_set);

	return min_u64(sub_sat(claim->held, size), claim->limit);
}

uint64_t share_spread(const struct pol_config *config, struct share_claim *claims, size_t n,
		      uint64_t need)
{
	uint64_t top = 0, low = 0, high, sum = 0;

	for (size_t i = 0; i < n; i++) {
		top = max_u64(top, claims[i].held);
		sum = add_sat(sum, claims[i].limit);
	}
	/* The highest level that still brings enough; all of it when nothing does. */
	high = sum < need || !need ? 0 : top_level(top);
	while (high - low > PRECISION) {
		uint64_t level = low + (high - low) / 2;

		sum = 0;
		for (size_t i = 0; i < n && sum < need; i++)
			sum = add_sat(sum, part_at(config, &claims[i], level));
		if (sum >= need)
			low = level;
		else
			high = level;
	}
	sum = 0;
	for (size_t i = 0; i < n; i++) {
		claims[i].part = need ? part_at(config, &claims[i], low) : 0;
		sum = add_sat(sum, claims[i].part);
	}
	return sum;
}
