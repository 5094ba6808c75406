// SPDX-License-Identifier: Apache-2.0
/* Steps that do not count; see outlook.h. */
#include "policy/outlook.h"

#include <stdlib.h>
#include <string.h>

#include "policy/parts.h"

/* A guest takes its memory up at so much a second, as fast as a guest that boots and loads does. */
#define MORE_PER_S (256 * MIB)
#define GIVE_PER_S (370 * MIB) /* a balloon gives back faster than it takes */
#define QUIET	   20	       /* seconds without an order: nothing more will come */
#define SECONDS	   600

struct pol *pol_copy(const struct pol *from)
{
	struct pol *to = pol_new(&from->config, from->max_guests), own;

	if (!to)
		return NULL;
	own = *to;
	*to = *from;
	/* The arrays are its own. Of what is in them only the past outlives a step. */
	to->past = own.past;
	to->past_next = own.past_next;
	to->now = own.now;
	to->claims = own.claims;
	to->merge.domains = own.merge.domains;
	to->plan = own.plan;
	to->n_now = 0;
	to->merge.n_domains = 0;
	memcpy(to->past, from->past, from->n_past * sizeof(*from->past));
	return to;
}

const char *pol_keep_text(enum pol_keep keep)
{
	static const char *const texts[] = {
		[POL_KEEP_NONE] = "more could be taken, if the host needed it",
		[POL_KEEP_ALONE] = "its balloon is left alone",
		[POL_KEEP_TROUBLE] = "it is in trouble now: it is given memory",
		[POL_KEEP_STUCK] = "its balloon does not follow",
		[POL_KEEP_DOUBT] = "its statistics are missing or cannot be believed",
		[POL_KEEP_YOUNG] = "it has just started: nothing is taken for a while",
		[POL_KEEP_HELD] = "it was short of memory, or was given some, a while ago",
		[POL_KEEP_FLOOR] = "it is at its floor: what it uses, and a reserve",
		[POL_KEEP_CACHE] =
			"its page cache, and what it fills now and then, are left to it while "
			"swap has room",
	};
	_Static_assert(sizeof(texts) / sizeof(texts[0]) == POL_KEEP_COUNT,
		       "every reason has a text");

	return (unsigned int)keep < POL_KEEP_COUNT ? texts[keep] : "unknown";
}

/* Of size; spare: what it could give, without the page cache that is left to it. */
static enum pol_keep keep_of(const struct now_guest *guest, uint64_t size, uint64_t spare)
{
	const struct guest_past *past = guest->past;

	if (!guest->usable)
		return POL_KEEP_ALONE;
	if (guest->distress || guest->urgent)
		return POL_KEEP_TROUBLE;
	if (balloon_is_stuck(guest))
		return POL_KEEP_STUCK;
	if (guest->trust != POL_TRUST_OK)
		return POL_KEEP_DOUBT;
	if (!past->adopted || guest->young)
		return POL_KEEP_YOUNG;
	if (guest->held_back)
		return POL_KEEP_HELD;
	if (spare >= balloon_least(guest))
		return POL_KEEP_NONE;
	return sub_sat(size, guest->floor) < balloon_least(guest) ? POL_KEEP_FLOOR : POL_KEEP_CACHE;
}

void pol_spare(const struct pol *pol, size_t place, struct pol_spare *ret_spare)
{
	const struct now_guest *guest = &pol->now[place];
	uint64_t size = guest->usable ? min_u64(guest->past->target, guest->actual) : 0;
	uint64_t end = balloon_cache_floor(pol, guest, guest->floor, true);
	uint64_t bytes = sub_sat(size, end);
	enum pol_keep keep = keep_of(guest, size, bytes);

	*ret_spare = (struct pol_spare){.keep = keep};
	if (keep == POL_KEEP_NONE) {
		ret_spare->guest_bytes = bytes;
		ret_spare->host_bytes = balloon_gain(guest, size, end);
	}
	ret_spare->swap_bytes =
		min_u64(reclaim_spare(guest, ret_spare->host_bytes), pol->reclaim.room);
	ret_spare->swap_gain_bytes = reclaim_gain(pol, ret_spare->swap_bytes);
}

uint64_t pol_swap_room(const struct pol *pol, uint64_t *ret_us_per_gib)
{
	*ret_us_per_gib = pol->reclaim.us_per_gib;
	return pol->reclaim.room;
}

/* ---- the days to come ---- */

/* The guest's numbers after its size has changed: free memory goes first, then cache. */
static void resize(struct pol_guest *guest, uint64_t to)
{
	uint64_t from = guest->actual_bytes, free = guest->stat_free_bytes, gone;

	guest->actual_bytes = to;
	if (!pol_has(free) || !pol_has(guest->stat_available_bytes))
		return;
	if (to >= from) {
		guest->stat_free_bytes += to - from;
		guest->stat_available_bytes += to - from;
	} else {
		gone = from - to;
		guest->stat_free_bytes -= min_u64(gone, free);
		guest->stat_available_bytes = sub_sat(guest->stat_available_bytes, gone);
		if (pol_has(guest->stat_cache_bytes))
			guest->stat_cache_bytes =
				sub_sat(guest->stat_cache_bytes, sub_sat(gone, free));
	}
	/* With deflate-on-oom the guest's kernel counts the balloon as used, not as gone. */
	if (!guest->deflate_on_oom && pol_has(guest->stat_total_bytes))
		guest->stat_total_bytes = sub_sat(guest->stat_total_bytes + to, from);
}

/* A second of its balloon; returns what the host gains. */
static uint64_t move(const struct now_guest *now, struct pol_guest *guest)
{
	uint64_t actual = guest->actual_bytes, to = now->past->target, gain = 0;

	if (!now->usable || !pol_has(actual) || actual == to || now->past->stuck)
		return 0;
	if (to > actual) {
		to = min_u64(to, actual + GIVE_PER_S);
	} else {
		to = max_u64(to, sub_sat(actual, max_u64(now->past->speed, MIB)));
		gain = balloon_gain(now, actual, to);
		if (pol_has(guest->resident_bytes)) {
			gain = min_u64(gain, guest->resident_bytes);
			guest->resident_bytes -= gain;
		}
	}
	guest->mem_size_bytes = guest->mem_requested_bytes;
	resize(guest, to);
	return gain;
}

static struct pol_guest *find(struct pol_guest *guests, size_t n, uint64_t id)
{
	for (size_t i = 0; i < n; i++)
		if (guests[i].id == id)
			return &guests[i];
	return NULL;
}

/* What was ordered of the guest goes to swap. */
static void swap_out(const struct pol *pol, uint64_t ordered, struct pol_host *host,
		     struct pol_guest *guest, struct pol_outlook *out)
{
	/* So much of what was promised came of late: the rest stayed where it was. */
	uint64_t bytes = ppm_of(ordered, pol->reclaim.kept_ppm);

	bytes = min_u64(min_u64(bytes, guest->resident_bytes), guest->reclaimable_bytes);
	bytes = min_u64(bytes, host->swap_free_bytes);
	guest->resident_bytes -= bytes;
	guest->reclaimable_bytes -= bytes;
	guest->swapped_bytes =
		add_sat(pol_has(guest->swapped_bytes) ? guest->swapped_bytes : 0, bytes);
	host->swap_free_bytes -= bytes;
	out->swapped_bytes += bytes;
	out->swap_us += reclaim_cost_us(pol, bytes);
	bytes = ppm_of(bytes, pol->reclaim.net_ppm);
	host->available_bytes = add_sat(host->available_bytes, bytes);
	host->free_bytes = add_sat(host->free_bytes, bytes);
}

/*
 * The orders that are worked on as it begins are done after a second, all that is left of them.
 * Here no others are: each is done at once.
 */
static void end_swapping(const struct pol *pol, struct pol_host *host, struct pol_guest *guests,
			 struct pol_outlook *out)
{
	for (size_t i = 0; i < pol->n_now && host->reclaim_busy; i++) {
		const struct guest_reclaim *past = &pol->now[i].past->reclaim;
		uint64_t done = sub_sat(past->base, reclaim_resident(&pol->now[i]));

		if (past->order_us && pol_has(guests[i].reclaimable_bytes))
			swap_out(pol, sub_sat(past->asked, done), host, &guests[i], out);
	}
	host->reclaim_busy = false;
}

/* The orders reach the guests. Returns how many there were. */
static size_t deliver(const struct pol *pol, struct pol_host *host, struct pol_guest *guests,
		      struct pol_outlook *out)
{
	const struct pol_plan *plan = &pol->plan;
	size_t orders = 0;

	for (size_t i = 0; i < plan->n_actions; i++) {
		const struct pol_action *action = &plan->actions[i];
		struct pol_guest *guest = find(guests, host->n_guests, action->guest);

		if (!guest)
			continue;
		if (action->kind == POL_RECLAIM) {
			swap_out(pol, action->from - action->to, host, guest, out);
		} else if (action->kind == POL_BALLOON) {
			guest->target_bytes = action->to;
			guest->mem_requested_bytes = action->to2;
		} else {
			continue;
		}
		orders++;
	}
	return orders;
}

/* A second: the new guest takes what there is, others' statistics are as fresh as they are now,
 * where there are any. Returns what was taken; the rest waits. */
static uint64_t live(struct pol_host *host, struct pol_guest *guests, uint64_t *more)
{
	uint64_t part = min_u64(min_u64(*more, MORE_PER_S), host->available_bytes);

	*more -= part;
	host->available_bytes = sub_sat(host->available_bytes, part);
	host->free_bytes = sub_sat(host->free_bytes, part);
	for (size_t i = 0; i < host->n_guests; i++)
		if (pol_has(guests[i].stat_age_us))
			guests[i].stat_age_us = 0;
	return part;
}

int pol_outlook(struct pol *pol, struct pol_host *host, struct pol_guest *guests, uint64_t now_us,
		uint64_t more, struct pol_outlook *ret_outlook)
{
	struct pol_outlook out = {.least_bytes = host->available_bytes};
	uint64_t quiet = 0;

	for (uint64_t second = 1; second <= SECONDS && quiet < QUIET; second++) {
		uint64_t taken = live(host, guests, &more);
		const struct pol_plan *plan;
		int r;

		out.least_bytes = min_u64(out.least_bytes, host->available_bytes);
		r = pol_step(pol, host, now_us + second * SEC, &plan);
		if (r < 0)
			return r;
		if (plan->state > out.worst)
			out.worst = plan->state;
		end_swapping(pol, host, guests, &out);
		quiet = deliver(pol, host, guests, &out) || taken ? 0 : quiet + 1;
		if (!quiet)
			out.seconds = second;
		for (size_t i = 0; i < pol->n_now; i++) {
			uint64_t gain = move(&pol->now[i], &guests[i]);

			host->available_bytes = add_sat(host->available_bytes, gain);
			host->free_bytes = add_sat(host->free_bytes, gain);
		}
	}
	out.end = pol->tick.state;
	out.end_bytes = host->available_bytes;
	out.missing_bytes = add_sat(more, sub_sat(pol->tick.marks.high, host->available_bytes));
	out.fits = !out.missing_bytes && out.end == POL_STATE_HIGH;
	*ret_outlook = out;
	return 0;
}
