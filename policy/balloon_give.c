// SPDX-License-Identifier: Apache-2.0
/*
 * Who is given memory: first and at once guests in trouble, then guests whose available memory is
 * below their reserve, and slowly everybody when the host has had plenty for a while. All grants
 * of a tick together stay below what is free now (xapi's squeezed: free first, then give); what is
 * missing is asked of others in the same plan, but only up to the receiver's share, so that a
 * guest that lies about its need gains no more than it is entitled to.
 */
#include "policy/parts.h"

#define GIVE_LEAD_US	(4 * SEC)  /* until the next grant can have arrived */
#define LATE_US		(30 * SEC) /* a give is there by then */
#define GIFT_HOLD_US	(60 * SEC) /* nothing is taken from who was just given and uses it, */
#define REGRET_HOLD_US	(10 * SEC) /* nor, twice so long at first, from who needed it back */
#define HOLD_MOST_US	(600 * SEC)
#define REGRET_US	(30 * SEC) /* needed back within this: should not have been taken */
#define CALM_US		(30 * SEC)
#define PLENTY_HOLD_US	(15 * SEC)
#define PLENTY_AHEAD_US (60 * SEC)  /* at the present rate of fall it must last so long */
#define PLENTY_TICKS	32	    /* a phase of giving back is spread over so many ticks */
#define GIFT_LASTS_US	(300 * SEC) /* a gift needed back within this was given in vain */
#define DOUBT_MOST	4	    /* how often the two times of calm are doubled */
#define ROUND_BYTES	(2 * MIB)

/* Also to a guest whose monitor is late: its balloon moves all the same. What one has that says
 * nothing for long is not known. */
static bool may_be_on_its_way(const struct pol *pol, const struct now_guest *guest)
{
	const struct guest_past *past = guest->past;

	if (!past->met || past->stuck)
		return false;
	return guest->usable || (guest->in->has_balloon && !FAULT(grant_late) &&
				 pol->tick.now_us - past->asked_us < LATE_US);
}

/* Grants on their way: the host's free memory has not shrunk by them yet. */
static uint64_t outstanding(const struct pol *pol)
{
	uint64_t sum = 0;

	if (FAULT(grant_outstanding))
		return 0;
	for (size_t i = 0; i < pol->n_now; i++) {
		const struct now_guest *guest = &pol->now[i];

		if (may_be_on_its_way(pol, guest))
			sum = add_sat(sum, sub_sat(guest->past->target, guest->actual));
	}
	return sum;
}

static void set_want(struct now_guest *guest, uint64_t want, enum pol_reason reason)
{
	guest->want = min_u64(round_up(want, ROUND_BYTES), guest->memory - guest->past->target);
	if (FAULT(max))
		guest->want = round_up(want, ROUND_BYTES);
	guest->grant_reason = reason;
}

/* What the guest lacks: signs of trouble, or little available once its balloon has arrived. */
static void wish(const struct pol *pol, struct now_guest *guest)
{
	uint64_t target = guest->past->target, step = pol->config.step_bytes;
	uint64_t have, least, comfort, growth, grows;
	bool pressed = is_pressed(pol);

	guest->want = 0;
	if (!guest->usable || target >= guest->memory)
		return;
	if (guest->distress && !FAULT(distress)) {
		set_want(guest,
			 max_u64(guest->grave ? 4 * step : step, sub_sat(guest->floor, target)),
			 POL_WHY_TROUBLE);
		return;
	}
	if (guest->trust != POL_TRUST_OK && !FAULT(wish_untrusted))
		return;
	growth = guest->past->growth >= GROWTH_LEAST ? guest->past->growth : 0;
	grows = mul_div(growth, GIVE_LEAD_US, SEC);
	have = sub_sat(add_sat(guest->available, target),
		       add_sat(guest->actual_late, guest->past->unseen));
	/* A quarter below the reserve that taking stops at, so that the two do not chase each
	 * other; and a hard pressed host may have taken half of it. */
	least = pressed ? guest->reserve / 2 : guest->reserve * 3 / 4;
	if (FAULT(wish_reserve))
		least = 0;
	if (have >= least && have >= add_sat(guest->reserve / 2, grows)) {
		/* Not in need yet, but what is being taken from it had better stay. */
		if (growth >= 4 * GROWTH_LEAST && target + ARRIVED_BYTES < guest->actual)
			set_want(guest, guest->actual - target, POL_WHY_GUEST_NEEDS);
		return;
	}
	/* What a short host gives beyond the reserve is missing where it is needed. */
	comfort = guest->reserve + max_u64(pol->host.is_short ? 0 : guest->reserve, grows);
	if (guest->urgent)
		comfort = add_sat(comfort, step);
	/* `have` hides how far below nothing it is. */
	comfort = add_sat(comfort, add_sat(guest->actual_late, guest->past->unseen));
	set_want(guest, sub_sat(comfort, add_sat(guest->available, target)), POL_WHY_GUEST_NEEDS);
}

/* Grants decided in this tick, and those on their way. */
static uint64_t granted(const struct pol *pol)
{
	uint64_t sum = outstanding(pol);

	for (size_t i = 0; i < pol->n_now; i++)
		sum = add_sat(sum, pol->now[i].grant);
	return sum;
}

/* Of one urgency, in proportion to what each may have when there is not enough for all. */
static void grant_from(struct pol *pol, bool urgent, uint64_t guard)
{
	bool pressed = is_pressed(pol);
	uint64_t have = sub_sat(pol->tick.available, add_sat(guard, granted(pol))), wanted = 0;

	if (FAULT(grant_free))
		have = BYTES_MAX;
	if (FAULT(grant_guard))
		have = sub_sat(pol->tick.available, granted(pol));

	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < pol->n_now; i++) {
			struct now_guest *guest = &pol->now[i];
			uint64_t bytes = pressed ? guest->claim : guest->want;

			if (!bytes || (guest->distress || guest->urgent) != urgent)
				continue;
			if (pass == 0) {
				wanted = add_sat(wanted, bytes);
				continue;
			}
			if (wanted > have)
				bytes = mul_div(bytes, have, wanted);
			if (bytes == guest->want || bytes >= balloon_least(guest))
				guest->grant = bytes;
		}
	}
}

/*
 * The host has nothing left, and a guest would be killed for lack of what is its share: then the
 * host's kernel had better swap. It finds what is cold, and a guest's kernel that kills does not
 * ask. Only as far as the guest uses what it has, which the host sees.
 *
 * This is the one exception to "what is given is free now": here it is free once the kernel has
 * swapped for it. It is kept because the rule without it kills: over the simulator's days
 * `database`, `batch` and `liars` have 59 to 204 kills in guests each instead of none, while it
 * swaps two to six times as much for it. So all grants together are bounded by what is available
 * and swap_room, and all but those on this rung by what is available.
 */
static void grant_from_swap(struct pol *pol, uint64_t guard)
{
	uint64_t have = add_sat(pol->tick.available, pol->tick.swap_room);

	if (!is_pressed(pol))
		return;
	have = sub_sat(have, add_sat(guard, granted(pol)));
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];
		uint64_t bytes;

		if (!guest->usable || !guest->starves)
			continue;
		bytes = min_u64(sub_sat(guest->claim, guest->grant), have);
		if (bytes < balloon_least(guest))
			continue;
		guest->grant += bytes;
		guest->from_swap = true;
		have -= bytes;
	}
}

/* Shares that nobody claims: guests that hold less than they may and want no more. */
static uint64_t unclaimed(const struct pol *pol)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < pol->n_now; i++) {
		const struct now_guest *guest = &pol->now[i];

		if (guest->usable && !guest->want)
			sum = add_sat(sum, sub_sat(guest->entitled,
						   max_u64(guest->past->target, guest->actual)));
	}
	return sum;
}

/*
 * On a hard pressed host a guest may claim its share. Beyond that it is lent what others leave of
 * theirs, when it would be killed for lack of it: not on its word alone, the host must see that it
 * uses what it has. Returns how much is lent.
 */
static uint64_t lend(struct pol *pol)
{
	uint64_t left, sum = 0;

	if (!is_pressed(pol))
		return 0;
	left = unclaimed(pol);
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];
		uint64_t bytes = min_u64(guest->want - guest->claim, left);

		if (!bytes || !guest->starves)
			continue;
		guest->claim += bytes;
		left -= bytes;
		sum = add_sat(sum, bytes);
	}
	return sum;
}

uint64_t give_decide(struct pol *pol, uint64_t *ret_other)
{
	const struct now_host *tick = &pol->tick;
	uint64_t claims = 0, most = 0, left;

	*ret_other = 0;
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];

		wish(pol, guest);
		if (!guest->want)
			continue;
		guest->claim = min_u64(guest->want, sub_sat(guest->entitled, guest->past->target));
		if (FAULT(share_bound))
			guest->claim = guest->want;
		claims = add_sat(claims, guest->claim);
		if (guest->claim > most) {
			most = guest->claim;
			*ret_other = guest->in->id;
		}
	}
	claims = add_sat(claims, lend(pol));
	if (FAULT(urgent_first))
		grant_from(pol, false, tick->marks.hard);
	grant_from(pol, true, tick->marks.low / 4);
	grant_from_swap(pol, tick->marks.low / 4);
	grant_from(pol, false, tick->marks.hard);

	left = sub_sat(tick->predicted, claims);
	if (!claims || (!pol->host.is_short && left >= tick->marks.high))
		return 0;
	return min_u64(claims, sub_sat(tick->marks.goal, left));
}

/*
 * Gifts are what is given ahead of need, to put guests at ease or because there is plenty. Those
 * that the host needs back soon were given in vain, and moving memory costs guests and host
 * processor time: the next ones wait for a calm twice as long. One that lasts restores confidence
 * by a step.
 */
static void follow_gifts(struct pol *pol)
{
	struct host_past *past = &pol->host;
	uint64_t age = pol->tick.now_us - past->gift_us;

	if (!past->gift_us || (!pol->tick.need && age < GIFT_LASTS_US))
		return;
	if (age >= GIFT_LASTS_US)
		past->gift_doubt -= past->gift_doubt > 0;
	else if (past->gift_doubt < DOUBT_MOST && !FAULT(gift_doubt))
		past->gift_doubt++;
	past->gift_us = 0;
}

/* Given back and not yet in use: it may be claimed at any time. */
static uint64_t unused_gift(const struct now_guest *guest)
{
	uint64_t given = add_sat(guest->past->plenty_given, guest->past->comfort_given);

	if (!guest->held_known)
		return given;
	return min_u64(given, sub_sat(guest->past->target, guest->held));
}

/* What merging has freed can be claimed back at any time, and there is nothing else for that. */
static bool at_cliff(const struct pol *pol)
{
	return pol->merge.cliff && !FAULT(cow_gift);
}

void give_comfort_decide(struct pol *pol)
{
	const struct now_host *tick = &pol->tick;
	uint64_t budget = sub_sat(tick->available, add_sat(tick->marks.goal, granted(pol)));

	follow_gifts(pol);
	if (pol->host.is_short || at_cliff(pol) ||
	    tick->now_us - pol->host.calm_since_us < CALM_US << pol->host.gift_doubt)
		return;
	for (size_t i = 0; i < pol->n_now; i++)
		if (pol->now[i].usable)
			budget = sub_sat(budget, unused_gift(&pol->now[i]));
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];
		uint64_t target = guest->past->target, lacks;

		if (!guest->usable || guest->trust != POL_TRUST_OK || guest->want ||
		    guest->released || guest->take.bytes || guest->past->stuck ||
		    guest->actual_late != guest->actual_then)
			continue;
		lacks = min_u64(sub_sat(guest_comfort(guest), target), budget);
		if (lacks < guest->reserve / 4 || lacks < balloon_least(guest))
			continue;
		guest->grant = lacks;
		guest->grant_reason = POL_WHY_GUEST_NEEDS;
		guest->comfort = true;
		budget -= lacks;
	}
}

/* Giving back begins above this, and leaves it: what is collected for merged pages' sake, too, and
 * would be collected again. */
static uint64_t plenty_of(const struct pol *pol)
{
	const struct marks *m = &pol->tick.marks;

	return max_u64(m->plenty, m->high + m->hysteresis + pol->merge.view.cow_reserve_bytes);
}

static bool follow_plenty(struct pol *pol)
{
	struct host_past *past = &pol->host;
	const struct now_host *tick = &pol->tick;

	if (tick->need || tick->ease || tick->available < tick->marks.ease || at_cliff(pol)) {
		past->plenty = false;
		for (size_t i = 0; i < pol->n_now; i++)
			if (pol->now[i].past)
				pol->now[i].past->plenty_given = 0;
		return false;
	}
	if (!past->plenty) {
		if (tick->available < plenty_of(pol))
			return false;
		past->plenty = true;
		past->plenty_since_us = tick->now_us;
		past->plenty_step = 0;
	}
	/* What goes on falling will not be plenty for long: to give now is to take back soon. */
	if (sub_sat(tick->available, mul_div(past->fall, PLENTY_AHEAD_US, SEC)) <
		    tick->marks.plenty &&
	    !FAULT(plenty_fall))
		past->plenty_since_us = tick->now_us;
	return tick->now_us - past->plenty_since_us >= PLENTY_HOLD_US << past->gift_doubt ||
	       FAULT(plenty_hold);
}

/* What the host needed a moment ago it may need again. */
static bool lately_taken(const struct pol *pol, const struct guest_past *past)
{
	return past->taken_us && pol->tick.now_us - past->taken_us < REGRET_US;
}

static uint64_t missing_of(const struct pol *pol, const struct now_guest *guest)
{
	if (!guest->usable || guest->want || guest->grant || guest->released || guest->take.bytes ||
	    !guest->past->adopted || guest->past->stuck || lately_taken(pol, guest->past))
		return 0;
	return sub_sat(guest->memory, max_u64(guest->past->target, guest->actual));
}

void give_back_decide(struct pol *pol)
{
	struct host_past *past = &pol->host;
	uint64_t missing = 0, unused = 0, budget;

	if (!follow_plenty(pol))
		return;
	for (size_t i = 0; i < pol->n_now; i++) {
		missing = add_sat(missing, missing_of(pol, &pol->now[i]));
		if (pol->now[i].usable)
			unused = add_sat(unused, unused_gift(&pol->now[i]));
	}
	if (!missing)
		return;
	if (!past->plenty_step)
		past->plenty_step = max_u64(missing / PLENTY_TICKS, 4 * MIB);
	budget = sub_sat(pol->tick.available,
			 add_sat(add_sat(plenty_of(pol), unused), granted(pol)));
	if (FAULT(plenty_room))
		budget = missing;
	for (size_t i = 0; i < pol->n_now && budget; i++) {
		struct now_guest *guest = &pol->now[i];
		uint64_t lacks = missing_of(pol, guest), least = balloon_least(guest);
		uint64_t bytes = round_up(mul_div(past->plenty_step, lacks, missing), ROUND_BYTES);

		bytes = max_u64(bytes, least);
		if (bytes + least > lacks)
			bytes = lacks;
		if (!lacks || bytes > budget)
			continue;
		guest->grant = bytes;
		guest->grant_reason = POL_WHY_HOST_PLENTY;
		budget -= bytes;
	}
}

/*
 * Who was just given is left alone for a while; who needed back what was taken shortly before, ever
 * longer: its floor is not what its numbers say.
 */
static void leave_alone(const struct pol *pol, struct guest_past *past)
{
	uint64_t now_us = pol->tick.now_us;
	bool regret = past->taken_us && now_us - past->taken_us < REGRET_US && !FAULT(regret);

	if (past->taken_us)
		past->regret_us = regret ? min_u64(2 * past->regret_us, HOLD_MOST_US) : 0;
	past->regret_us = max_u64(past->regret_us, REGRET_HOLD_US);
	/* Its own clock: a hold after trouble is long, and what it used then it may have freed. */
	if (regret) {
		past->sore = past->target;
		past->sore_us = now_us + past->regret_us;
		guest_hold(&pol->tick, past, past->regret_us);
	}
	past->taken_us = 0; /* one regret for each time */
	if (!FAULT(gift_hold))
		guest_hold(&pol->tick, past, GIFT_HOLD_US);
}

static void add_grant(struct pol *pol, struct now_guest *guest)
{
	struct guest_past *past = guest->past;
	struct pol_action *action = plan_add(pol, guest, POL_BALLOON, guest->grant_reason,
					     guest->from_swap ? POL_RUNG_SWAP : POL_RUNG_NONE);

	action->from = past->target;
	action->to = min_u64(past->target + guest->grant, guest->memory);
	if (FAULT(max))
		action->to = past->target + guest->grant;
	action->cost_us = mul_div(guest->grant, SEC, past->speed);
	if (guest->grant_reason == POL_WHY_HOST_PLENTY || guest->comfort)
		pol->host.gift_us = max_u64(pol->tick.now_us, 1);
	if (guest->grant_reason == POL_WHY_HOST_PLENTY) {
		past->plenty_given = add_sat(past->plenty_given, guest->grant);
	} else if (guest->comfort) {
		past->comfort_given = add_sat(past->comfort_given, guest->grant);
		guest_hold(&pol->tick, past, GIFT_HOLD_US);
	} else {
		leave_alone(pol, past);
	}
	balloon_ask(&pol->tick, guest, action->to);
}

void give_plan(struct pol *pol)
{
	/* In trouble first. */
	static const enum pol_reason order[] = {POL_WHY_TROUBLE, POL_WHY_GUEST_NEEDS,
						POL_WHY_HOST_PLENTY};

	for (size_t k = 0; k < sizeof(order) / sizeof(order[0]); k++)
		for (size_t i = 0; i < pol->n_now; i++)
			if (pol->now[i].grant &&
			    pol->now[i].grant_reason == order[FAULT(trouble_first) ? 2 - k : k])
				add_grant(pol, &pol->now[i]);
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];
		struct pol_action *action;

		if (!guest->released || guest->grant)
			continue;
		action = plan_add(pol, guest, POL_BALLOON, POL_WHY_RELEASE, POL_RUNG_NONE);
		action->from = pol_has(guest->in->target_bytes) ? guest->in->target_bytes
								: guest->past->target_before;
		action->to = guest->release;
		/* It is the target already, and what made it so stays known. */
	}
}
