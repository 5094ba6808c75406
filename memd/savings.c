// SPDX-License-Identifier: Apache-2.0
/* Savings per guest and in sum; see savings.h for what counts. */
#include "memd/savings.h"

static uint64_t known(uint64_t value)
{
	return pol_has(value) ? value : 0;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* a * b / c without overflow; c is not 0. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c)
{
	return (uint64_t)((unsigned __int128)a * b / c);
}

static uint64_t ksm_of(const struct guest *guest, const struct pol_ksm *ksm)
{
	uint64_t sharing = known(ksm->pages_sharing), shared = known(ksm->pages_shared);
	uint64_t bytes = 0;

	if (!guest->foot_valid)
		return 0;
	if (sharing + shared > 0)
		bytes = scale(known(guest->foot.ksm_merging_bytes), sharing, sharing + shared);
	return bytes + known(guest->foot.ksm_zero_bytes);
}

/* Promised memory that the host does not hold for the guest in any form. */
static uint64_t unheld(const struct guest *guest)
{
	if (!guest->foot_valid)
		return guest->memory_bytes;
	return minus(guest->memory_bytes,
		     known(guest->foot.resident_bytes) + known(guest->foot.swapped_bytes));
}

static void count_guest(struct guest *guest, const struct pol_ksm *ksm)
{
	uint64_t base = minus(guest->memory_bytes, guest->mem_max_bytes);
	uint64_t unplugged = minus(guest->mem_most_bytes, guest->mem_size_bytes);
	uint64_t ballooned =
		pol_has(guest->actual_bytes)
			? minus(base, minus(guest->actual_bytes, guest->mem_size_bytes))
			: 0;

	guest->ksm_bytes = ksm_of(guest, ksm);
	/* vmm knows what it gave back; of QEMU's balloon the part that the host does not hold. */
	if (guest->ours && pol_has(guest->returned_balloon_bytes))
		guest->balloon_bytes = min(guest->returned_balloon_bytes, ballooned);
	else
		guest->balloon_bytes = min(ballooned, unheld(guest));
	/* What was never plugged is not saved; nor what was and was not used, which vmm knows. */
	if (guest->ours && pol_has(guest->returned_mem_bytes))
		unplugged = min(guest->returned_mem_bytes,
				minus(guest->mem_max_bytes, guest->mem_size_bytes));
	guest->mem_bytes = min(unplugged, minus(unheld(guest), guest->balloon_bytes));
	guest->reported_bytes = 0;
	if (guest->ours && pol_has(guest->returned_reported_bytes))
		guest->reported_bytes =
			min(guest->returned_reported_bytes,
			    minus(unheld(guest), guest->balloon_bytes + guest->mem_bytes));
}

void savings_count(struct guests *guests, const struct pol_ksm *ksm, uint64_t page_bytes,
		   uint64_t own_bytes, struct savings *ret_savings)
{
	struct savings s = {0};
	uint64_t whole = (known(ksm->pages_sharing) + known(ksm->zero_pages)) * page_bytes;

	for (size_t i = 0; i < guests->n; i++) {
		struct guest *guest = guests->v[i];

		if (!guest->known)
			continue;
		count_guest(guest, ksm);
		s.ksm_bytes += guest->ksm_bytes;
		s.balloon_bytes += guest->balloon_bytes;
		s.reported_bytes += guest->reported_bytes;
		s.mem_bytes += guest->mem_bytes;
	}
	/* The files are read one after the other while ksmd runs: the parts may pass the whole. */
	s.ksm_other_bytes = minus(minus(whole, own_bytes), s.ksm_bytes);
	s.total_bytes = s.ksm_bytes + s.balloon_bytes + s.reported_bytes + s.mem_bytes;
	*ret_savings = s;
}
