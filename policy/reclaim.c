// SPDX-License-Identifier: Apache-2.0
/*
 * The rung below the balloon: memory of guests that is swapped out, cold first, when balloons
 * cannot bring what is needed in time, or have nothing to do with a guest (no driver, no answer).
 * What is used here is seen by the host, so a guest need not answer and cannot lie.
 *
 * After senpai (TMO, ASPLOS'22): ask for a little, look whether anybody has to wait for memory or
 * reads back what was taken, and ask for more only when nobody does. senpai asks all the time, this
 * only when the host is short or may be soon; its pressure of 0.1 % is the limit while the host is
 * not yet in want, and a wait of others is no reason to stop once it is: then it is why there is an
 * order.
 */
#include "policy/parts.h"

#define PATIENCE_US	 (3 * SEC) /* for balloons */
#define YOUNG_US	 (30 * SEC)
#define YOUNG_PRESSED_US (10 * SEC)
#define TICK_MOST	 (512 * MIB) /* of all guests */
#define LEAST		 MIB	     /* worth an order */
#define SWAP_KEPT_PPM	 200000ull   /* of swap is left free, as senpai does */
#define SWAP_KEPT_LOW	 50000ull    /* by a pressed host */
#define NET_LEAST_PPM	 200000ull   /* what must come free of a byte */
#define GAIN_LEAST_PPM	 250000ull   /* of what was promised */
#define US_PER_PAGE	 4ull	     /* before anything was measured */
#define SWAPPED_LEAST	 (16 * MIB)  /* by a kernel that swaps guests */

/* What the rung kept of its promises; all of them as long as nothing was measured. */
static uint64_t kept_of(const struct pol_host *host, enum pol_rung rung)
{
	uint64_t ppm = host->rung_ppm[rung];

	return ppm ? min_u64(ppm, PPM) : PPM;
}

static uint64_t balloons_kept(const struct pol_host *host)
{
	uint64_t kept = 0;

	for (enum pol_rung rung = POL_RUNG_BALLOON_FREE; rung <= POL_RUNG_BALLOON_CACHE; rung++)
		if (pol_has(host->rung_ppm[rung]))
			kept = max_u64(kept, min_u64(host->rung_ppm[rung], PPM));
	return kept ? kept : PPM;
}

/*
 * Of what is resident, not idle. What the host saw counts first: memory that the guest calls used
 * may be cold, and one that says nothing (no driver, no numbers) counts as using all it has.
 */
static uint64_t in_use_of(const struct now_guest *guest)
{
	uint64_t resident = reclaim_resident(guest);

	if (pol_has(guest->hot) && !FAULT(hot_first))
		return min_u64(guest->hot, resident);
	return guest->trust == POL_TRUST_OK ? min_u64(guest->past->ws_late, resident) : resident;
}

static bool has_balloon(const struct now_guest *guest)
{
	return guest->usable && !balloon_is_stuck(guest);
}

/* Host bytes that the guest's balloon can bring within the time it takes to matter. */
static uint64_t balloon_brings(const struct pol *pol, const struct now_guest *guest)
{
	const struct guest_past *past = guest->past;
	uint64_t target = past->target, reach;

	if (!has_balloon(guest))
		return 0;
	if (guest->trust == POL_TRUST_OK && !guest->held_back && !guest->want && !guest->grant)
		target = min_u64(target, balloon_cache_floor(pol, guest, guest->floor, false));
	reach = sub_sat(guest->actual, mul_div(past->speed, pol->tick.lead_us, SEC));
	return balloon_gain(guest, guest->actual, min_u64(max_u64(target, reach), guest->actual));
}

/*
 * Of what is needed, what balloons cannot bring in time. Balloons that have kept less than half of
 * their promises in the time of measuring count for less: slow ones are just slow.
 */
static uint64_t left_by_balloons(const struct pol *pol, const struct pol_host *host, uint64_t need,
				 bool *ret_any)
{
	uint64_t kept = balloons_kept(host), sum = 0;

	*ret_any = false;
	for (size_t i = 0; i < pol->n_now; i++) {
		uint64_t brings = balloon_brings(pol, &pol->now[i]);

		sum = add_sat(sum, brings);
		*ret_any |= brings > 0;
	}
	return sub_sat(need, ppm_of(sum, min_u64(2 * kept, PPM)));
}

uint64_t reclaim_net_ppm(const struct pol_host *host)
{
	return sub_sat(PPM, pol_has(host->swap_cost_ppm) ? host->swap_cost_ppm : 0);
}

/* Bytes that may go to swap, *ret_net: and what of each comes free. */
static uint64_t swap_room(const struct pol *pol, const struct pol_host *host, uint64_t *ret_net)
{
	uint64_t swap = bytes_in(host->swap_bytes), free = bytes_in(host->swap_free_bytes);

	*ret_net = reclaim_net_ppm(host);
	if (!pol_has(swap) || !pol_has(free))
		return 0;
	if (FAULT(reclaim_swap_kept))
		return min_u64(free, swap);
	return sub_sat(min_u64(free, swap),
		       ppm_of(swap, is_pressed(pol) ? SWAP_KEPT_LOW : SWAP_KEPT_PPM));
}

static enum swap_fill fill_of(const struct pol_host *host)
{
	uint64_t swap = bytes_in(host->swap_bytes), free = bytes_in(host->swap_free_bytes);

	if (!pol_has(swap) || !pol_has(free) || free <= ppm_of(swap, SWAP_KEPT_LOW) + LEAST)
		return SWAP_SPENT;
	if (free <= ppm_of(swap, SWAP_KEPT_PPM) + LEAST)
		return SWAP_SCARCE;
	return free < swap / 4 * 3 ? SWAP_FILLING : SWAP_WIDE;
}

/* Why nothing is reclaimed from anybody. */
static enum pol_reason host_off(const struct pol *pol, const struct pol_host *host, uint64_t room,
				uint64_t net)
{
	if (!pol->config.reclaim_manage)
		return POL_WHY_NOT_OFFERED;
	if (room < LEAST)
		return POL_WHY_SWAP_FULL;
	if (net < NET_LEAST_PPM && !FAULT(reclaim_swap_costs))
		return POL_WHY_SWAP_COSTS;
	return kept_of(host, POL_RUNG_RECLAIM) < GAIN_LEAST_PPM && !is_pressed(pol) &&
			       !FAULT(reclaim_gain_low)
		       ? POL_WHY_GAIN_LOW
		       : POL_WHY_NONE;
}

static bool is_held_back(const struct pol *pol, const struct now_guest *guest)
{
	const struct guest_past *past = guest->past;
	uint64_t young = is_pressed(pol) ? YOUNG_PRESSED_US : YOUNG_US;

	if (pol->tick.now_us - past->reclaim.first_us < young && !FAULT(reclaim_young))
		return true;
	if ((guest->starves || guest->distress || guest->grant ||
	     pol->tick.now_us < past->trouble_us) &&
	    !FAULT(reclaim_needy))
		return true;
	return guest->usable && guest->trust == POL_TRUST_OK && guest->held_back &&
	       !is_pressed(pol) && !FAULT(reclaim_held_back);
}

bool reclaim_is_blind(const struct pol *pol, const struct now_guest *guest)
{
	return guest->in->reclaim_blind && !pol->config.reclaim_blind && !pol_has(guest->hot) &&
	       !FAULT(reclaim_blind);
}

static enum pol_reason guest_off(const struct pol *pol, const struct now_guest *guest)
{
	const struct guest_reclaim *past = &guest->past->reclaim;
	uint64_t reclaimable = guest->in->reclaimable_bytes;

	if (!pol_has(reclaimable) || !reclaimable || !guest->held_known || !guest->memory ||
	    guest->in->pool)
		return POL_WHY_NOT_OFFERED;
	/* Going round page after page takes what is used next as soon as what is idle, and leaves
	 * merged pages alone, of which the kernel swaps one for many guests. */
	if (reclaim_is_blind(pol, guest))
		return POL_WHY_BLIND;
	if (reclaim_on_hold(pol, past))
		return past->hold_why;
	if (pol->tick.now_us < pol->reclaim.pause_us && !pol_has(guest->in->psi_some_us) &&
	    !is_pressed(pol) && !FAULT(reclaim_pause))
		return POL_WHY_PRESSURE;
	if (is_held_back(pol, guest))
		return POL_WHY_HELD_BACK;
	return reclaim_resident(guest) < past->floor + LEAST && !FAULT(reclaim_floor)
		       ? POL_WHY_AT_FLOOR
		       : POL_WHY_NONE;
}

/* The most to ask of the guest now. */
static uint64_t most_of(const struct pol *pol, struct now_guest *guest)
{
	struct guest_reclaim *past = &guest->past->reclaim;
	uint64_t resident = reclaim_resident(guest), most;

	if (past->off != POL_WHY_NONE || past->order_us)
		return 0;
	if (!past->step)
		past->step = clamp_u64(resident / (is_pressed(pol) ? 16 : 64), 4 * MIB,
				       pol->config.step_bytes);
	most = min_u64(past->step, max_u64(resident / 8, 4 * MIB));
	most = min_u64(most, FAULT(reclaim_floor) ? resident : sub_sat(resident, past->floor));
	return FAULT(reclaim_bound) ? most : min_u64(most, bytes_in(guest->in->reclaimable_bytes));
}

uint64_t reclaim_spare(const struct now_guest *guest, uint64_t balloon_bytes)
{
	const struct guest_reclaim *past = &guest->past->reclaim;
	uint64_t spare = sub_sat(reclaim_resident(guest), add_sat(past->floor, balloon_bytes));

	if (past->off != POL_WHY_NONE || !pol_has(guest->in->reclaimable_bytes))
		return 0;
	return min_u64(spare, sub_sat(bytes_in(guest->in->reclaimable_bytes), balloon_bytes));
}

uint64_t reclaim_gain(const struct pol *pol, uint64_t bytes)
{
	return ppm_of(ppm_of(bytes, pol->reclaim.net_ppm), pol->reclaim.kept_ppm);
}

uint64_t reclaim_cost_us(const struct pol *pol, uint64_t bytes)
{
	return mul_div(bytes, pol->reclaim.us_per_gib, GIB);
}

/* What of it memd's own reclaim has measured so far. */
static uint64_t price_of(const struct pol_host *host)
{
	if (host->reclaim_bytes >= 16 * MIB && pol_has(host->reclaim_bytes) &&
	    pol_has(host->reclaim_us))
		return mul_div(GIB, host->reclaim_us, host->reclaim_bytes);
	return GIB / PAGE * US_PER_PAGE;
}

static void add_order(struct pol *pol, struct now_guest *guest, enum pol_reason why, uint64_t bytes,
		      uint64_t net)
{
	struct guest_reclaim *past = &guest->past->reclaim;
	enum pol_reason balloon = has_balloon(guest) ? POL_WHY_NOT_ENOUGH : POL_WHY_NO_BALLOON;
	struct pol_action *action = plan_add(pol, guest, POL_RECLAIM, why,
					     is_pressed(pol) ? POL_RUNG_SWAP : POL_RUNG_RECLAIM);

	action->from = reclaim_resident(guest);
	action->to = action->from - bytes;
	action->to2 = is_pressed(pol);
	action->floor_bytes = past->floor;
	/* What is promised; what is kept of it is learned by that. */
	action->gain_bytes = ppm_of(bytes, net);
	action->cost_us = reclaim_cost_us(pol, bytes);
	plan_reject_passive(pol, guest, action);
	plan_reject(action, POL_RUNG_BALLOON_FREE, balloon);
	plan_reject(action, POL_RUNG_BALLOON_CACHE,
		    has_balloon(guest) && balloon_cache_way(pol, guest) == CACHE_LEFT
			    ? POL_WHY_CACHE_MERGED
			    : balloon);
	if (is_pressed(pol))
		plan_reject(action, POL_RUNG_RECLAIM, POL_WHY_TOO_SLOW);
	past->order_us = max_u64(pol->tick.now_us, 1);
	past->patient = !action->to2;
	past->base = action->from;
	past->asked = bytes;
}

/*
 * Of more guests than can be asked at once those that follow the last one asked, and of the others
 * nothing. Parts too small for an order count when the large ones bring too little: of many guests
 * all may be. False: there are no more than that.
 */
static bool choose(struct pol *pol, uint64_t need)
{
	uint64_t least = LEAST, sum = 0;
	size_t n = 0, begin = 0;

	for (size_t i = 0; i < pol->n_now; i++)
		if (pol->claims[i].part >= least)
			sum = add_sat(sum, pol->claims[i].part);
	if (sum < need / 2)
		least = 1;
	for (size_t i = 0; i < pol->n_now; i++)
		n += pol->claims[i].part >= least;
	if (n <= POL_RECLAIMS_MAX || FAULT(reclaims_most))
		return false;
	while (begin < pol->n_now && pol->now[begin].in->id <= pol->reclaim.last &&
	       !FAULT(reclaims_turn))
		begin++;
	n = 0;
	for (size_t k = 0; k < pol->n_now; k++) {
		size_t i = (begin + k) % pol->n_now;

		if (n == POL_RECLAIMS_MAX || pol->claims[i].part < least) {
			pol->claims[i].limit = 0;
			continue;
		}
		n++;
		pol->reclaim.last = pol->now[i].in->id;
	}
	return true;
}

static void spread(struct pol *pol, enum pol_reason why, uint64_t need, uint64_t net)
{
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];
		uint64_t resident = reclaim_resident(guest);

		pol->claims[i] = (struct share_claim){
			.held = resident,
			.working_set = in_use_of(guest),
			.shares = guest->shares,
			.limit = most_of(pol, guest),
		};
	}
	share_spread(&pol->config, pol->claims, pol->n_now, need);
	/* What others are left out with is asked of these. */
	if (choose(pol, need))
		share_spread(&pol->config, pol->claims, pol->n_now, need);
	for (size_t i = 0; i < pol->n_now; i++) {
		uint64_t bytes = min_u64(pol->claims[i].part, need) / PAGE * PAGE;

		if (bytes < LEAST)
			continue;
		add_order(pol, &pol->now[i], why, bytes, net);
		need -= bytes;
	}
}

/* It may not swap guests at all: swappiness, limits of cgroups. */
static void follow_kernel(struct pol *pol, const struct pol_host *host)
{
	uint64_t swapped = sub_sat(bytes_in(host->swap_bytes), bytes_in(host->swap_free_bytes));

	if (pol->tick.state < POL_STATE_LOW || swapped >= SWAPPED_LEAST)
		pol->reclaim.swaps_us = pol->tick.now_us;
}

/* Besides what is needed now and what balloons are about to bring. */
static uint64_t missing_to_ready(const struct pol *pol)
{
	const struct now_host *tick = &pol->tick;
	uint64_t missing = sub_sat(tick->ready, tick->predicted);

	if (missing < tick->marks.hysteresis)
		return 0;
	return sub_sat(missing, add_sat(tick->need, tick->coming));
}

void reclaim_decide(struct pol *pol, const struct pol_host *host, uint64_t need)
{
	struct reclaim_past *past = &pol->reclaim;
	uint64_t net, room = swap_room(pol, host, &net), lacks, left, kept;
	enum pol_reason off = host_off(pol, host, room, net), why;
	bool any;

	reclaim_follow_host(pol, host);
	past->room = off == POL_WHY_NONE ? room : 0;
	past->fill = off == POL_WHY_NONE || off == POL_WHY_SWAP_FULL ? fill_of(host) : SWAP_SPENT;
	follow_kernel(pol, host);
	past->net_ppm = net;
	past->kept_ppm = kept_of(host, POL_RUNG_RECLAIM);
	past->us_per_gib = price_of(host);
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];

		reclaim_follow_guest(pol, host, guest);
		guest->past->reclaim.off = off != POL_WHY_NONE ? off : guest_off(pol, guest);
	}
	lacks = left_by_balloons(pol, host, need, &any);
	if (lacks < LEAST) {
		past->left_since_us = 0;
		past->served_us = pol->tick.now_us;
	} else if (!past->left_since_us) {
		past->left_since_us = max_u64(pol->tick.now_us, 1);
	}
	left = add_sat(lacks, missing_to_ready(pol));
	if (left < LEAST)
		return;
	why = lacks < LEAST ? POL_WHY_RECLAIM_AHEAD : POL_WHY_RECLAIM;
	if (lacks >= LEAST && any && !is_pressed(pol) && !FAULT(reclaim_patience) &&
	    pol->tick.now_us - past->left_since_us < PATIENCE_US)
		return;
	if (off == POL_WHY_NONE && host->reclaim_busy)
		past->served_us = pol->tick.now_us;
	if (off != POL_WHY_NONE || host->reclaim_busy)
		return;
	/* So much must go for that to come free, as far as such promises were kept. */
	kept = max_u64(kept_of(host, POL_RUNG_RECLAIM), GAIN_LEAST_PPM);
	left = mul_div(mul_div(left, PPM, net), PPM, kept);
	spread(pol, why, min_u64(left, min_u64(room, TICK_MOST)), net);
}
