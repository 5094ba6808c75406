// SPDX-License-Identifier: Apache-2.0
/*
 * Guests' merging seen from the trust domains: what of them is mergeable, whether that can be
 * switched off, where it lies and what it brings.
 */
#include "policy/parts.h"

/* Where nothing is measured: the poorest of ESX's measurements (Waldspurger 2002). */
#define GAIN_FIRST_PPM 70000

bool merge_may(const struct pol_guest *in)
{
	return in->merge_on || (in->marked_bytes != 0 && !FAULT(merge_marked));
}

/*
 * Off, and still marked: firmware and video memory of QEMU's, which no monitor can switch. It would
 * be so again, so it is remembered while the guest is on.
 */
void merge_look_for_marks(struct pol *pol)
{
	for (size_t i = 0; i < pol->n_now; i++) {
		const struct pol_guest *in = pol->now[i].in;

		if (!in->merge_on && pol_has(in->marked_bytes))
			pol->now[i].past->marks_stay = in->marked_bytes != 0;
	}
}

/* Mergeable, and nothing memd can do makes all of it otherwise. */
bool merge_is_stuck(const struct now_guest *guest)
{
	return merge_may(guest->in) && (!guest->in->merge_switch || guest->past->marks_stay);
}

bool merge_has_part(const struct pol_guest *in)
{
	return in->merge_switch || merge_may(in);
}

uint64_t merge_gain(const struct now_guest *guest)
{
	if (guest->past->merge_known)
		return guest->past->merge_gain;
	return ppm_of(guest->held, GAIN_FIRST_PPM);
}

struct merge_domain *merge_domain_find(struct pol *pol, uint32_t domain)
{
	struct merge_past *past = &pol->merge;

	for (size_t i = 0; i < past->n_domains; i++)
		if (past->domains[i].domain == domain)
			return &past->domains[i];
	return NULL;
}

void merge_domains_list(struct pol *pol)
{
	struct merge_past *past = &pol->merge;

	past->n_domains = 0;
	for (size_t i = 0; i < pol->n_now; i++) {
		const struct now_guest *guest = &pol->now[i];
		struct merge_domain *d;

		if (!merge_has_part(guest->in))
			continue;
		d = merge_domain_find(pol, guest->in->domain);
		if (!d) {
			d = &past->domains[past->n_domains++];
			*d = (struct merge_domain){.domain = guest->in->domain};
		}
		d->bound |= guest->in->bound_mask;
		d->nodes |= guest->in->bound_mask | guest->in->seen_mask;
		d->gain = add_sat(d->gain, merge_gain(guest));
		d->mergeable |= merge_may(guest->in);
		d->stuck |= merge_is_stuck(guest);
		if (merge_may(guest->in))
			d->unmerge = add_sat(d->unmerge, bytes_in(guest->in->merging_bytes));
	}
}

/* Is every domain bound to nodes that no other is bound to? */
bool merge_domains_bound_apart(const struct merge_past *past)
{
	uint64_t taken = 0;

	for (size_t i = 0; i < past->n_domains; i++) {
		if (past->domains[i].bound & taken)
			return false;
		taken |= past->domains[i].bound;
	}
	return true;
}

/* Does every domain (or: of those that are mergeable now) lie on nodes where no other does? */
bool merge_domains_lie_apart(const struct merge_past *past, bool mergeable_only)
{
	uint64_t taken = 0;

	for (size_t i = 0; i < past->n_domains; i++) {
		const struct merge_domain *d = &past->domains[i];

		if (mergeable_only && !d->mergeable)
			continue;
		if (d->nodes & taken)
			return false;
		taken |= d->nodes;
	}
	return true;
}

size_t merge_domains_mergeable(const struct merge_past *past)
{
	size_t n = 0;

	for (size_t i = 0; i < past->n_domains; i++)
		n += past->domains[i].mergeable;
	return n;
}

/* Does the guest lie on nodes where nothing of another domain's does? */
bool merge_lies_alone(const struct pol *pol, const struct pol_guest *in)
{
	const struct merge_past *past = &pol->merge;

	for (size_t i = 0; i < past->n_domains; i++)
		if (past->domains[i].domain != in->domain &&
		    past->domains[i].nodes & (in->bound_mask | in->seen_mask))
			return false;
	return true;
}
