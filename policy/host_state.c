// SPDX-License-Identifier: Apache-2.0
/*
 * The host's state and need. States are ESX's (Waldspurger 2002, 6.3): soft, hard and low are
 * entered below the threshold of their name at once and left only past the hysteresis; whatever
 * the state, memory is wanted from below `high` until clear above it. A balloon frees some tens
 * of MiB a second on a slow host and a guest can allocate more, so the policy acts on what will be
 * available when the balloons can have helped: waiting for the threshold would mean swap.
 */
#include "policy/parts.h"

#define WARY_US	      (60 * SEC)  /* a fast fall is remembered for about so long, */
#define WARY_AHEAD_US (5 * SEC)	  /* and one that lasts so long is prepared for */
#define READY_US      (300 * SEC) /* so long it is worth having swapped out what is cold */

void host_state_marks(const struct pol_config *config, uint64_t memory_bytes,
		      struct marks *ret_marks)
{
	uint64_t memory = min_u64(memory_bytes, BYTES_MAX);
	uint64_t plain = max_u64(ppm_of(memory, config->high_ppm), 1);
	uint64_t least = min_u64(config->high_min_bytes, memory / 8);
	uint64_t high =
		min_u64(clamp_u64(plain, least, max_u64(config->high_max_bytes, least)), memory);
	struct marks m = {
		.high = high,
		.soft = mul_div(ppm_of(memory, config->soft_ppm), high, plain),
		.hard = mul_div(ppm_of(memory, config->hard_ppm), high, plain),
		.low = mul_div(ppm_of(memory, config->low_ppm), high, plain),
		.hysteresis = mul_div(ppm_of(memory, config->hysteresis_ppm), high, plain),
	};

	m.soft = min_u64(m.soft, m.high);
	m.hard = min_u64(m.hard, m.soft);
	m.low = min_u64(m.low, m.hard);
	m.hysteresis = min_u64(m.hysteresis, m.high);
	m.goal = m.high + m.hysteresis + m.hysteresis / 2;
	m.ease = max_u64(m.goal, add_sat(m.high, m.high));
	m.plenty = m.ease + m.hysteresis;
	*ret_marks = m;
}

enum pol_state host_state_next(const struct marks *marks, enum pol_state before,
			       uint64_t available_bytes)
{
	const uint64_t above = FAULT(hysteresis) ? 0 : marks->hysteresis;
	/* Entered below, and left at or above; ballooning is not over before `high` is back. */
	const struct {
		enum pol_state state;
		uint64_t enter, leave;
	} steps[] = {
		{POL_STATE_SOFT, marks->soft, max_u64(marks->soft + above, marks->high)},
		{POL_STATE_HARD, marks->hard, marks->hard + above},
		{POL_STATE_LOW, marks->low, marks->low + above},
	};
	enum pol_state state = POL_STATE_HIGH;

	for (unsigned int i = 0; i < 3; i++)
		if (available_bytes < (before >= steps[i].state ? steps[i].leave : steps[i].enter))
			state = steps[i].state;
	return state;
}

/*
 * How fast memory would fall without the balloons: what they returned is added back, or the flow
 * they bring would count twice, as a slower fall and as coming. Rises within two ticks, fades over
 * a few seconds.
 */
static void follow_fall(struct host_past *past, const struct now_host *tick, uint64_t returned)
{
	uint64_t lost, rate, most, tau = 4 * SEC;

	if (!past->seen || tick->dt_us < 100 * MSEC)
		return;
	if (FAULT(fall_returned))
		returned = 0;
	lost = sub_sat(add_sat(past->available, returned), tick->available);
	rate = min_u64(mul_div(lost, SEC, tick->dt_us), BYTES_MAX);
	if (rate > past->fall)
		tau = 3 * SEC / 2;
	past->fall = ewma(past->fall, rate, tick->dt_us, tau);
	past->fall_most = max_u64(past->fall, ewma(past->fall_most, 0, tick->dt_us, WARY_US));
	/* A huge one is no reason to remember it for longer. */
	most = 2 * mul_div(tick->marks.ease - tick->marks.soft, SEC, WARY_AHEAD_US);
	past->fall_long = max_u64(past->fall, ewma(past->fall_long, 0, tick->dt_us, READY_US));
	past->fall_long = min_u64(past->fall_long, FAULT(ready_most) ? UINT64_MAX : most);
}

/* Balloons that free much in little time let the host wait longer. */
static uint64_t lead_of(const struct pol *pol)
{
	uint64_t yield = 0;

	for (size_t i = 0; i < pol->n_now; i++)
		if (pol->now[i].usable)
			yield = add_sat(yield, balloon_yield(pol, &pol->now[i]));
	if (!yield)
		return LEAD_MOST_US;
	return clamp_u64(SEC + mul_div(pol->tick.marks.goal, SEC, yield), LEAD_LEAST_US,
			 LEAD_MOST_US);
}

/* What will be gone by then. A guest cannot take up more than its size. */
static uint64_t fall_ahead(const struct pol *pol)
{
	uint64_t lead_us = pol->tick.lead_us, fall = pol->host.fall, known = 0, ahead = 0;

	for (size_t i = 0; i < pol->n_now; i++) {
		const struct now_guest *guest = &pol->now[i];
		uint64_t size = guest->actual;

		if (!guest->usable || !guest->held_known)
			continue;
		size = max_u64(size, guest->past->target);
		known = add_sat(known, guest->past->intake);
		ahead = add_sat(ahead, min_u64(mul_div(guest->past->intake, lead_us, SEC),
					       sub_sat(size, guest->held)));
	}
	ahead = add_sat(ahead, mul_div(sub_sat(fall, known), lead_us, SEC));
	return min_u64(ahead, mul_div(fall, lead_us, SEC));
}

/* What is to be there for a fall that lasts a while, of which so much is given meanwhile. */
static uint64_t prepared_for(const struct marks *m, uint64_t fall, uint64_t gives)
{
	uint64_t taken = mul_div(sub_sat(fall, gives), WARY_AHEAD_US, SEC);

	return min_u64(add_sat(m->soft, taken), m->ease);
}

/*
 * Where memory fell of late faster than balloons give it, the next fall has to be met from what is
 * there: more is kept, up to what is collected in good times. Raises the goal; says whether.
 */
static bool wary(struct pol *pol)
{
	struct marks *m = &pol->tick.marks;
	uint64_t speed = 0, goal;
	bool any = false;

	for (size_t i = 0; i < pol->n_now; i++) {
		any |= pol->now[i].usable;
		if (pol->now[i].usable && !balloon_is_stuck(&pol->now[i]))
			speed = add_sat(speed, pol->now[i].past->speed);
	}
	goal = prepared_for(m, pol->host.fall_most, speed);
	if (!any || goal <= m->goal)
		return false;
	m->goal = goal;
	return true;
}

/* What the guest's balloon frees in a second, while it has not reached the floor. */
static uint64_t gives_per_s(const struct pol *pol, const struct now_guest *guest)
{
	uint64_t floor;

	if (!guest->usable || balloon_is_stuck(guest) || guest->trust != POL_TRUST_OK ||
	    (guest->held_back && !FAULT(ready_held)))
		return 0;
	floor = FAULT(ready_floor) ? 0 : balloon_cache_floor(pol, guest, guest->floor, false);
	if (guest->actual <= floor)
		return 0;
	return balloon_gain(guest, guest->actual,
			    max_u64(sub_sat(guest->actual, guest->past->speed), floor));
}

/*
 * Guests that start take memory faster than any rung can bring it, once balloons are near their
 * floors. When there is none left, the kernel swaps what comes first, merged pages too, and
 * everybody waits for that. So what is cold had better be out before the next ones come: as much as
 * such a fall takes, up to what is collected in good times.
 */
static uint64_t keep_ready(const struct pol *pol)
{
	uint64_t gives = 0;

	if (FAULT(ready))
		return 0;
	/* In calm nobody is asked. */
	for (size_t i = 0; i < pol->n_now && gives < pol->host.fall_long; i++)
		gives = add_sat(gives, gives_per_s(pol, &pol->now[i]));
	return prepared_for(&pol->tick.marks, pol->host.fall_long, gives);
}

void host_state_sense(struct pol *pol, uint64_t returned_bytes)
{
	struct now_host *tick = &pol->tick;
	struct host_past *past = &pol->host;
	const struct marks *m = &tick->marks;
	uint64_t ahead;

	follow_fall(past, tick, returned_bytes);
	tick->state =
		host_state_next(m, past->seen ? past->state : POL_STATE_HIGH, tick->available);

	/* A small or a distant fall is not worth anybody's memory. */
	tick->lead_us = lead_of(pol);
	ahead = FAULT(foresight) ? 0 : fall_ahead(pol);
	if (ahead < m->hysteresis || tick->available > 4 * m->high)
		ahead = 0;
	tick->predicted = sub_sat(tick->available, ahead);
	if (tick->predicted < m->high)
		past->is_short = true;
	else if (tick->predicted >= m->high + m->hysteresis || FAULT(short_hysteresis))
		past->is_short = false;
	if (wary(pol) && tick->predicted + m->hysteresis < m->goal)
		past->is_short = true;
	if (past->is_short || !past->seen)
		past->calm_since_us = tick->now_us;
	tick->need = past->is_short ? sub_sat(m->goal, tick->predicted) : 0;
	tick->ready = keep_ready(pol);
	tick->ease = sub_sat(m->ease, tick->predicted);
	if (tick->ease < m->hysteresis)
		tick->ease = 0;

	past->seen = true;
	past->state = tick->state;
	past->available = tick->available;
}
