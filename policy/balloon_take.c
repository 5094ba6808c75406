// SPDX-License-Identifier: Apache-2.0
/*
 * Who gives memory up, and how much. Rung by rung: free memory that the host really holds, from
 * all guests, before anybody's page cache; within a rung by shares with idle tax (share.c); never
 * below a floor, never more than a step per guest and tick, nothing from guests that are young, in
 * trouble, stuck, or were just given something. Page cache that is merged for the most part is left
 * while there is swap. When even that is not enough, guests give up free memory that brings the
 * host nothing, because what lies behind it does.
 */
#include "policy/parts.h"

#define ROUND_BYTES (2 * MIB)
#define MERGED_US   (120 * SEC) /* by then what a new guest has in common is merged */

/* The size at which it lately needed back what was taken is as good as a floor. */
static uint64_t sore_of(const struct now_guest *guest)
{
	if (!guest->past->sore || FAULT(sore))
		return 0;
	return min_u64(guest->past->sore + guest->reserve / 2, guest->memory);
}

/*
 * A hold is absolute while the host is well. Once it is in need, or the guest has freed what it was
 * held back for, a hold leaves it twice its reserve, not all it has: claiming trouble for ever must
 * not pay, and one guest's past trouble must not become another's. When another has trouble now,
 * the reserve is all it leaves.
 */
static uint64_t held_bottom(const struct pol *pol, const struct now_guest *guest)
{
	if (!guest->past->adopted || (guest->young && !is_pressed(pol)) ||
	    (pol->tick.state < POL_STATE_SOFT && !guest->freed))
		return guest->actual;
	if (FAULT(hold_in_need))
		return guest->floor;
	if (pol->tick.starving)
		return min_u64(guest->floor + guest->reserve / 2, guest->memory);
	return clamp_u64(guest->floor + guest->reserve, sore_of(guest), guest->memory);
}

/* The size below which nothing is taken now; the guest's size when nothing is to be taken. */
static uint64_t bottom_of(const struct pol *pol, const struct now_guest *guest, bool gently)
{
	if (FAULT(take_from_stuck) && guest->past->stuck)
		return guest->floor;
	if (FAULT(take_from_needy) && guest->want)
		return guest->floor;
	if (!guest->usable || balloon_is_stuck(guest) || guest->released || guest->want ||
	    guest->grant)
		return guest->actual;
	if (guest->held_back && !guest->liar)
		return gently ? guest->actual : held_bottom(pol, guest);
	/* Its own growth will want it in a moment: as it says, or as the host sees already. */
	if ((guest->past->growth >= GROWTH_LEAST || guest->past->unseen >= 4 * GROWTH_LEAST) &&
	    !is_pressed(pol) && !FAULT(take_from_growing))
		return guest->actual;
	if (gently && !FAULT(collect_gently))
		return guest_comfort(guest);
	return guest->freed ? held_bottom(pol, guest) : guest->floor;
}

/* turn: where page cache has a pace, it is this guest's. */
static void prepare(const struct pol *pol, struct now_guest *guest, bool gently, bool turn)
{
	struct take *take = &guest->take;
	uint64_t bottom = bottom_of(pol, guest, gently), out, room;

	*take = (struct take){.turn = turn};
	if (!guest->usable)
		return;
	take->base = min_u64(guest->past->target, guest->actual);
	/* Without haste a few large orders, not many small ones. */
	take->least = max_u64(balloon_least(guest), guest->memory / (gently ? 32 : 128));
	if (is_pressed(pol))
		take->least = balloon_least(guest);
	if (turn)
		take->least = min_u64(take->least,
				      max_u64(balloon_least(guest), balloon_cache_most(pol)));
	/* A balloon with much still to do is not given more to do. */
	out = guest->actual - take->base;
	room = out <= pol->config.step_bytes / 2 ? pol->config.step_bytes - out : 0;
	if (FAULT(step))
		room = guest->memory;
	if (FAULT(take_pending))
		room = pol->config.step_bytes;
	take->bottom = balloon_cache_floor(pol, guest, bottom, turn);
	take->most = min_u64(room, sub_sat(take->base, take->bottom));
	if (turn && !FAULT(cache_order))
		take->most =
			min_u64(take->most, add_sat(sub_sat(take->base, balloon_free_end(guest)),
						    balloon_cache_most(pol)));
	if (take->most < take->least) {
		take->most = 0;
		return;
	}
	take->gain = balloon_gain(guest, take->base, take->base - take->most);
	if (guest->trust != POL_TRUST_OK)
		return;
	take->free_most = min_u64(take->most, sub_sat(take->base, balloon_free_end(guest)));
	take->gain_free = balloon_gain(guest, take->base, take->base - take->free_most);
	take->free_rejected = POL_WHY_NOT_ENOUGH;
	if (take->gain_free < take->least || take->gain_free < take->free_most / 8) {
		take->gain_free = 0;
		take->free_rejected = POL_WHY_NOT_HELD;
		/* No cache within reach either, and others are about to bring something: balloons
		 * share the host's processors, a lot moved for nothing would hold those up. */
		if (is_pressed(pol) && pol->tick.coming && take->gain < take->most / 16)
			take->most = take->gain = 0;
	}
}

/*
 * Whose turn it is where page cache has a pace: of those that have some to give, first those that
 * have little of it merged, then whoever had it longest ago. Not by what they have: a guest that
 * claims to have cache, and has not, must not keep others from their turn.
 */
static struct now_guest *next_in_turn(const struct pol *pol)
{
	struct now_guest *next = NULL;

	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];

		if (!guest->take.paced || guest->take.turn)
			continue;
		if (next && (guest->take.last > next->take.last ||
			     (guest->take.last == next->take.last &&
			      guest->past->turn_us >= next->past->turn_us)))
			continue;
		next = guest;
	}
	return next;
}

/* The size below which its balloon takes page cache. */
static uint64_t cache_begin(const struct now_guest *guest)
{
	return min_u64(guest->take.base, balloon_free_end(guest));
}

/* Has the guest, as prepared for its turn, page cache that is worth it? */
static bool has_paced(const struct pol *pol, const struct now_guest *guest)
{
	uint64_t begin = cache_begin(guest), gain;

	if (!guest->take.most)
		return false;
	/* What is a new guest's alone may be merged in a moment. */
	if (guest->in->mergeable && !FAULT(cache_new) &&
	    pol->tick.now_us - guest->past->reclaim.first_us < MERGED_US)
		return false;
	gain = balloon_gain(guest, begin, guest->take.bottom);
	/* All of it for next to nothing is too much to ask while the kernel swaps. */
	return gain >= guest->take.least &&
	       (gain >= sub_sat(begin, guest->take.bottom) / 16 || FAULT(cache_last_pays));
}

static void prepare_for_turn(const struct pol *pol, struct now_guest *guest)
{
	enum cache_way way = balloon_cache_way(pol, guest);

	guest->take.turn = guest->take.paced = false;
	if (guest->trust != POL_TRUST_OK || (way != CACHE_PACED && way != CACHE_PACED_LAST))
		return;
	prepare(pol, guest, false, true);
	guest->take.turn = false;
	guest->take.paced = has_paced(pol, guest);
	guest->take.last = way == CACHE_PACED_LAST && !FAULT(cache_first);
}

/* Lets some have their turn, for as much as the pace allows; of the others free memory only. */
static void take_turns(struct pol *pol)
{
	uint64_t left = FAULT(cache_pace) ? UINT64_MAX : balloon_cache_credit(pol);
	uint64_t most = min_u64(balloon_cache_most(pol), pol->config.step_bytes);
	struct now_guest *next;

	for (size_t i = 0; i < pol->n_now; i++)
		prepare_for_turn(pol, &pol->now[i]);
	for (; left && (next = next_in_turn(pol)); left = sub_sat(left, most))
		next->take.turn = true;
	for (size_t i = 0; i < pol->n_now; i++)
		if (!pol->now[i].take.turn)
			prepare(pol, &pol->now[i], false, false);
}

static struct share_claim claim_of(const struct now_guest *guest, uint64_t taken, uint64_t limit)
{
	return (struct share_claim){
		.held = sub_sat(guest->held, taken),
		.working_set = guest->trust == POL_TRUST_OK ? guest->past->ws_late : guest->held,
		.shares = guest->shares,
		.limit = min_u64(limit, sub_sat(guest->held, taken)),
	};
}

/* The least the guest must give up for the host to gain `gain`. */
static uint64_t bytes_for(const struct now_guest *guest, uint64_t gain)
{
	uint64_t low = 0, high = guest->take.most, base = guest->take.base;

	while (high - low > PAGE) {
		uint64_t middle = low + (high - low) / 2;

		if (balloon_gain(guest, base, base - middle) >= gain)
			high = middle;
		else
			low = middle;
	}
	return high;
}

static void add_take(struct pol *pol, struct now_guest *guest, enum pol_reason reason,
		     uint64_t other)
{
	const struct take *take = &guest->take;
	bool cache = take->bytes > take->free_most || take->free_rejected == POL_WHY_NOT_HELD;
	uint64_t to = take->base - take->bytes;
	struct pol_action *action =
		plan_add(pol, guest, POL_BALLOON, reason,
			 cache ? POL_RUNG_BALLOON_CACHE : POL_RUNG_BALLOON_FREE);

	action->from = guest->past->target;
	action->to = to;
	action->other = reason == POL_WHY_FOR_OTHER ? other : 0;
	action->gain_bytes = balloon_gain(guest, take->base, to);
	action->cost_us = mul_div(take->bytes, SEC, guest->past->speed);
	plan_reject_passive(pol, guest, action);
	if (cache)
		plan_reject(action, POL_RUNG_BALLOON_FREE,
			    take->free_rejected ? take->free_rejected : POL_WHY_NOT_HELD);
	guest->past->plenty_given = guest->past->comfort_given = 0;
	guest->past->taken_us = pol->tick.now_us;
	balloon_ask(&pol->tick, guest, to);
}

/* Spreads over one rung; returns what is still missing. */
static uint64_t spread_free(struct pol *pol, uint64_t need)
{
	uint64_t sum;

	for (size_t i = 0; i < pol->n_now; i++)
		pol->claims[i] = claim_of(&pol->now[i], 0, pol->now[i].take.gain_free);
	sum = share_spread(&pol->config, pol->claims, pol->n_now, need);
	for (size_t i = 0; i < pol->n_now; i++)
		pol->now[i].take.part = pol->now[i].take.part_free = pol->claims[i].part;
	return sub_sat(need, sum);
}

static uint64_t spread_cache(struct pol *pol, uint64_t need)
{
	uint64_t sum;

	for (size_t i = 0; i < pol->n_now; i++) {
		const struct take *take = &pol->now[i].take;

		pol->claims[i] = claim_of(&pol->now[i], take->part_free,
					  sub_sat(take->gain, take->part_free));
	}
	sum = share_spread(&pol->config, pol->claims, pol->n_now, need);
	for (size_t i = 0; i < pol->n_now; i++)
		pol->now[i].take.part += pol->claims[i].part;
	return sub_sat(need, sum);
}

/* Turns host bytes into guest bytes, whole orders only: parts too small for an order are added
 * up and asked of the next guest that has it. */
static void round_parts(struct pol *pol, bool desperate)
{
	uint64_t carry = 0;

	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];
		struct take *take = &guest->take;

		if (!take->most)
			continue;
		if (take->part || carry) {
			uint64_t gain = min_u64(take->part + carry, take->gain);
			uint64_t bytes = round_up(bytes_for(guest, gain), ROUND_BYTES);

			bytes = min_u64(bytes, take->most);
			if (gain && bytes >= take->least) {
				carry = sub_sat(
					take->part + carry,
					balloon_gain(guest, take->base, take->base - bytes));
				take->bytes = bytes;
			} else {
				carry += take->part;
			}
		}
		/* Nothing to gain this tick, but further down there is. */
		if (desperate && take->bytes < take->most &&
		    balloon_gain(guest, take->base - take->most, take->bottom) >= take->least)
			take->bytes = take->most;
	}
}

/*
 * More orders than may be sent in a tick: those of the guests stay that bring most, and of the
 * others nothing is asked, nor remembered as asked. False: there are no more than that.
 */
static bool leave_out(struct pol *pol)
{
	uint64_t low = 0, high = 0;
	size_t n = 0, equal = 0;

	for (size_t i = 0; i < pol->n_now; i++) {
		const struct take *take = &pol->now[i].take;
		uint64_t gain = balloon_gain(&pol->now[i], take->base, take->base - take->bytes);

		/* One that only digs for what lies behind comes last. */
		pol->claims[i].part = take->bytes ? gain + 1 : 0;
		high = max_u64(high, pol->claims[i].part);
		n += take->bytes > 0;
	}
	if (n <= POL_TAKES_MAX || FAULT(takes_most))
		return false;
	/* The least that no more than so many are above. */
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		n = 0;
		for (size_t i = 0; i < pol->n_now; i++)
			n += pol->claims[i].part > middle;
		if (n <= POL_TAKES_MAX)
			high = middle;
		else
			low = middle + 1;
	}
	n = 0;
	for (size_t i = 0; i < pol->n_now; i++)
		n += pol->claims[i].part > high;
	for (size_t i = 0; i < pol->n_now; i++) {
		struct take *take = &pol->now[i].take;
		uint64_t part = pol->claims[i].part;

		take->bytes = take->part = take->part_free = 0;
		if (part > high || (part && part == high && equal++ < POL_TAKES_MAX - n))
			continue;
		take->most = take->free_most = take->gain = take->gain_free = 0;
	}
	return true;
}

/* Free memory, like a balloon that reports: guests keep twice their reserve. */
static void ease_decide(struct pol *pol, uint64_t ease)
{
	if (!ease)
		return;
	for (size_t i = 0; i < pol->n_now; i++)
		prepare(pol, &pol->now[i], true, false);
	do {
		spread_free(pol, ease);
		round_parts(pol, false);
	} while (leave_out(pol));
	for (size_t i = 0; i < pol->n_now; i++)
		if (pol->now[i].take.bytes)
			add_take(pol, &pol->now[i], POL_WHY_COLLECT, 0);
}

void take_decide(struct pol *pol, uint64_t need, uint64_t host_need, uint64_t other, uint64_t ease)
{
	uint64_t missing, taken = 0;

	if (!need) {
		ease_decide(pol, ease);
		return;
	}
	take_turns(pol);
	do {
		missing = FAULT(free_first) ? need : spread_free(pol, need);
		if (missing)
			missing = spread_cache(pol, missing);
		/* What brings nothing at once is only taken when the host is short already. */
		round_parts(pol, missing >= 4 * MIB && pol->tick.available < pol->tick.marks.high);
		/* The parts of those left out are asked of the others. */
	} while (leave_out(pol));
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];

		if (!guest->take.bytes)
			continue;
		if (guest->take.turn) {
			guest->past->turn_us = pol->tick.now_us;
			balloon_cache_took(pol, sub_sat(cache_begin(guest),
							guest->take.base - guest->take.bytes));
		}
		add_take(pol, guest,
			 taken < host_need || !other ? POL_WHY_HOST_SHORT : POL_WHY_FOR_OTHER,
			 other);
		taken = add_sat(taken, pol->plan.actions[pol->plan.n_actions - 1].gain_bytes);
	}
}
