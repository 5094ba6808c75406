// SPDX-License-Identifier: Apache-2.0
/*
 * XAPI's squeezed (ocaml/squeezed/lib/squeeze.ml): every guest gets the same fraction gamma of its
 * range between dynamic_min and dynamic_max, so that what is left is the host's target. Freeing
 * comes first, giving when nothing is left to free; a balloon without progress for 5 s is left out
 * until it moves, and after 20 s the guest is called uncooperative. Once in 10 s it looks whether
 * the memory is balanced and, when it is not, goes on until it is.
 *
 * In Xen memory given to a domain is the domain's. Here a guest may not have touched what it was
 * given: that counts as given, not as free, or guests could be handed the same page twice.
 * A guest without a configured minimum has no range: dynamic_min is dynamic_max.
 */
#include "policy/law.h"
#include "policy/parts.h"

#define EVERY_US	  (10 * SEC)
#define STUCK_US	  (5 * SEC)
#define UNCOOPERATIVE_US  (20 * SEC)
#define INACCURACY	  (4 * KIB)
#define TOLERANCE	  (512 * KIB) /* a target met to this counts as met */
#define HOST_TARGET_BYTES (9 * MIB)   /* low-memory pool of 1 MiB and 8 MiB */

struct squeezed_guest {
	uint64_t id;
	bool known, stuck, active;
	uint64_t actual, progress_us;
	uint64_t least, most, target; /* dynamic_min, dynamic_max, and what gamma makes of them */
};

struct squeezed {
	struct law_peer peer;
	bool began, running;
	uint64_t next_us;
};

static bool has_hit(uint64_t actual, uint64_t target, uint64_t tolerance)
{
	return (actual > target ? actual - target : target - actual) <= tolerance;
}

/* Stuckness_monitor.update */
static void follow(struct squeezed_guest *guest, const struct pol_guest *in, uint64_t now_us)
{
	uint64_t actual = min_u64(in->actual_bytes, BYTES_MAX);
	uint64_t target = pol_has(in->target_bytes) ? in->target_bytes : actual;
	bool request = !has_hit(actual, target, INACCURACY);

	if (!guest->known) {
		guest->known = true;
		guest->actual = actual;
		guest->progress_us = now_us;
	}
	if (request && (target > actual ? actual > guest->actual : actual < guest->actual)) {
		guest->progress_us = now_us;
		guest->stuck = false;
	}
	guest->actual = actual;
	/* The daemon sleeps while all is balanced: a new request starts the clock. */
	if (!request && !guest->stuck)
		guest->progress_us = now_us;
	if (request && now_us - guest->progress_us > STUCK_US)
		guest->stuck = true;
}

static void sense(struct squeezed *squeezed, const struct pol_host *host, uint64_t now_us)
{
	for (size_t i = 0; i < law_guests(&squeezed->peer, host); i++) {
		struct squeezed_guest *guest = law_row(&squeezed->peer, i);
		const struct pol_guest *in = &host->guests[i];
		bool can = in->answering && in->has_balloon && pol_has(in->actual_bytes) &&
			   in->actual_bytes && pol_has(in->memory_bytes);

		guest->active = false;
		if (!can)
			continue;
		follow(guest, in, now_us);
		guest->active = !guest->stuck;
		guest->most = min_u64(in->memory_bytes, BYTES_MAX);
		guest->least =
			pol_has(in->min_bytes) ? min_u64(in->min_bytes, guest->most) : guest->most;
		squeezed->peer.plan.views[i].stuck =
			guest->stuck && now_us - guest->progress_us > UNCOOPERATIVE_US;
	}
}

/* What guests were given and have not touched is not free. */
static int64_t free_memory(const struct squeezed *squeezed, const struct pol_host *host)
{
	int64_t free = (int64_t)law_host_free(host);

	for (size_t i = 0; i < law_guests(&squeezed->peer, host); i++) {
		const struct pol_guest *in = &host->guests[i];
		uint64_t held = pol_has(in->resident_bytes) ? in->resident_bytes : in->actual_bytes;

		if (pol_has(in->actual_bytes))
			free -= (int64_t)sub_sat(min_u64(in->actual_bytes, BYTES_MAX),
						 min_u64(held, BYTES_MAX));
	}
	return free;
}

/* compute_target_adjustments */
static void set_targets(struct squeezed *squeezed, const struct pol_host *host)
{
	size_t n = law_guests(&squeezed->peer, host);
	int64_t surplus = free_memory(squeezed, host) - (int64_t)HOST_TARGET_BYTES;
	uint64_t range = 0, spread;

	for (size_t i = 0; i < n; i++) {
		const struct squeezed_guest *guest = law_row(&squeezed->peer, i);

		if (!guest->active)
			continue;
		surplus += (int64_t)sub_sat(guest->actual, guest->least + 2 * INACCURACY);
		range = add_sat(range, guest->most - guest->least);
	}
	spread = min_u64(surplus > 0 ? (uint64_t)surplus : 0, range);
	for (size_t i = 0; i < n; i++) {
		struct squeezed_guest *guest = law_row(&squeezed->peer, i);

		guest->target = guest->least + mul_div(guest->most - guest->least, spread, range);
		guest->target -= guest->target % PAGE;
	}
}

/* One iteration: frees, or if there is nothing to free, gives. False: balanced. */
static bool iterate(struct squeezed *squeezed, const struct pol_host *host)
{
	size_t n = law_guests(&squeezed->peer, host);
	bool freeing = false, busy = false;

	set_targets(squeezed, host);
	for (size_t i = 0; i < n; i++) {
		const struct squeezed_guest *guest = law_row(&squeezed->peer, i);

		if (!guest->active)
			continue;
		busy |= !has_hit(guest->actual, guest->target, TOLERANCE);
		freeing |= guest->target < guest->actual &&
			   !has_hit(guest->actual, guest->target, TOLERANCE);
	}
	for (size_t i = 0; i < n; i++) {
		const struct squeezed_guest *guest = law_row(&squeezed->peer, i);
		uint64_t asked = host->guests[i].target_bytes;

		if (!guest->active || has_hit(guest->actual, guest->target, TOLERANCE) ||
		    freeing != (guest->target < guest->actual))
			continue;
		if (!pol_has(asked) || !has_hit(asked, guest->target, TOLERANCE))
			law_order(&squeezed->peer, host, i, guest->target);
	}
	return busy;
}

static void *squeezed_open(const struct pol_config *config, size_t max_guests)
{
	return law_peer_new(sizeof(struct squeezed), sizeof(struct squeezed_guest), config,
			    max_guests);
}

static int squeezed_step(void *state, const struct pol_host *host, uint64_t now_us,
			 const struct pol_plan **ret_plan)
{
	struct squeezed *squeezed = state;
	int r = law_peer_begin(&squeezed->peer, host);

	if (r < 0)
		return r;
	sense(squeezed, host, now_us);
	if (squeezed->running || !squeezed->began || now_us >= squeezed->next_us) {
		squeezed->began = true;
		squeezed->running = iterate(squeezed, host);
		squeezed->next_us = now_us + EVERY_US;
	}
	*ret_plan = &squeezed->peer.plan;
	return 0;
}

const struct law law_squeezed = {
	.name = "squeezed",
	.text = "XAPI's squeezed: all guests at the same fraction of their range",
	.open = squeezed_open,
	.close = law_peer_free,
	.configure = law_peer_configure,
	.step = squeezed_step,
};
