// SPDX-License-Identifier: Apache-2.0
/* See guest_max.h. */
#include "memd/guest_max.h"

#include "memd/config.h"
#include "memd/guest.h"
#include "memd/guest_stats.h"
#include "policy/snapshot.h"

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* POL_ABSENT, the largest value, stays. */
static uint64_t less(uint64_t value, uint64_t by)
{
	return pol_has(value) ? value - least(value, by) : value;
}

static uint64_t at_most(uint64_t value, uint64_t most)
{
	return pol_has(value) ? least(value, most) : value;
}

/* It is one of the device, as far as the device goes. */
static void apply_to_device(uint64_t max_bytes, struct pol_guest *p)
{
	uint64_t over = p->memory_bytes - max_bytes, block = p->mem_block_bytes, kept = 0;

	if (!p->mem_max_bytes || !block) {
		p->memory_bytes = max_bytes;
		return;
	}
	over = (over + block - 1) / block * block;
	if (over < p->mem_max_bytes)
		kept = p->mem_max_bytes - over;
	p->memory_bytes = least(p->memory_bytes - (p->mem_max_bytes - kept), max_bytes);
	p->mem_max_bytes = kept;
	p->mem_size_bytes = least(p->mem_size_bytes, kept);
	p->mem_requested_bytes = least(p->mem_requested_bytes, kept);
}

void guest_max_apply(uint64_t max_bytes, struct pol_guest *p)
{
	uint64_t above, available, free;

	if (max_bytes >= p->memory_bytes)
		return;
	apply_to_device(max_bytes, p);
	above = p->actual_bytes > p->memory_bytes && pol_has(p->actual_bytes)
			? p->actual_bytes - p->memory_bytes
			: 0;
	p->actual_bytes = at_most(p->actual_bytes, p->memory_bytes);
	p->target_bytes = at_most(p->target_bytes, p->memory_bytes);
	/* With deflate-on-oom Linux goes on counting what is in the balloon. */
	p->stat_total_bytes = at_most(p->stat_total_bytes, p->memory_bytes);
	free = pol_has(p->stat_free_bytes) ? least(p->stat_free_bytes, above) : 0;
	available = pol_has(p->stat_available_bytes) ? p->stat_available_bytes : free;
	if (available < above) {
		p->stat_age_us = POL_ABSENT;
		return;
	}
	p->stat_available_bytes = less(p->stat_available_bytes, above);
	p->stat_free_bytes = less(p->stat_free_bytes, above);
	p->stat_cache_bytes = at_most(less(p->stat_cache_bytes, above - free), p->stat_total_bytes);
}

uint64_t guest_max_target(const struct guest *guest, uint64_t to)
{
	const struct config_guest *section = config_find_guest(guest->all->config, guest->name);

	if (!section || guest->mem_max_bytes || to < section->max_bytes ||
	    !pol_has(guest->actual_bytes))
		return to;
	return guest->actual_bytes > to ? guest->actual_bytes : to;
}

bool guest_max_exceeded(const struct guest *guest)
{
	const struct config_guest *section = config_find_guest(guest->all->config, guest->name);
	uint64_t available = guest->stats.available_bytes;

	if (!section || !pol_has(section->max_bytes) || !guest->stats_seen_us ||
	    guest->stats_rejected || !pol_has(available) || !pol_has(guest->actual_bytes))
		return false;
	return guest->actual_bytes - least(guest->actual_bytes, available) > section->max_bytes;
}
