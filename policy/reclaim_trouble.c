// SPDX-License-Identifier: Apache-2.0
/*
 * What stops reclaim: a guest, or the host, that waits for memory or reads back what was swapped
 * out; a guest with nothing left that is cold. How long each counts, and what a guest keeps
 * resident after it. The host sees all of it.
 */
#include "policy/parts.h"

#define WINDOW_US     (2 * SEC) /* of rates; the kernel's pressure totals move every 2 s */
#define EVERY_US      (2 * SEC) /* between orders for one guest */
#define PAUSE_US      (2 * WINDOW_US)
#define HOLD_FIRST_US (30 * SEC)
#define HOLD_MOST_US  (1800 * SEC)

/* Tasks may wait for memory so much of the time before no more is taken. */
static uint64_t pressure_limit(enum pol_state state)
{
	static const uint64_t ppm[] = {
		[POL_STATE_HIGH] = 1000,
		[POL_STATE_SOFT] = 10000,
		[POL_STATE_HARD] = 50000,
		[POL_STATE_LOW] = 200000,
	};

	return ppm[state];
}

/* Bytes a second that a guest may read back: some are always needed after all. */
static uint64_t refault_limit(enum pol_state state, uint64_t resident)
{
	static const uint64_t times[] = {
		[POL_STATE_HIGH] = 1,
		[POL_STATE_SOFT] = 4,
		[POL_STATE_HARD] = 16,
		[POL_STATE_LOW] = 64,
	};

	return times[state] * max_u64(256 * KIB, resident / 2048);
}

/*
 * How long a guest's trouble counts, at most. On a host in want every guest has had some, most of
 * it of the kernel's making; if nothing were taken from all of these, the kernel would swap what
 * comes first, merged pages with it, and for that guests wait.
 */
static uint64_t trouble_lasts_us(const struct pol *pol)
{
	static const uint64_t us[] = {
		[POL_STATE_HIGH] = HOLD_MOST_US,
		[POL_STATE_SOFT] = 60 * SEC,
		[POL_STATE_HARD] = 16 * SEC,
		[POL_STATE_LOW] = 4 * SEC,
	};

	return FAULT(trouble_lasts) ? HOLD_MOST_US : us[pol->tick.state];
}

uint64_t reclaim_resident(const struct now_guest *guest)
{
	return guest->held_known ? min_u64(guest->in->resident_bytes, BYTES_MAX) : 0;
}

uint64_t reclaim_least(const struct now_guest *guest)
{
	return max_u64(guest->min, guest->memory / 8);
}

/*
 * What it had when it read back too much. What a guest needs changes, so that counts for less and
 * less: little by little more is tried again, and if that is too soon it is told by the next
 * trouble.
 */
static uint64_t sore_of(const struct pol *pol, const struct guest_reclaim *past, uint64_t least)
{
	uint64_t whole = min_u64(pol->config.trouble_hold_us, trouble_lasts_us(pol));
	uint64_t left = past->sore ? sub_sat(whole, pol->tick.now_us - past->sore_us) : 0;

	if (left && FAULT(sore_fades))
		return past->sore;
	return add_sat(least, mul_div(sub_sat(past->sore, least), left, whole));
}

/* What is left resident now: after trouble with it, more. */
static uint64_t floor_of(const struct pol *pol, const struct now_guest *guest)
{
	const struct guest_reclaim *past = &guest->past->reclaim;
	uint64_t least = reclaim_least(guest), floor = least;

	/* Until the host is in want, only what is seen to be idle goes. */
	if (pol_has(guest->hot) && !is_pressed(pol) && !FAULT(hot_floor))
		floor = max_u64(floor, guest->hot);
	return max_u64(floor, sore_of(pol, past, least));
}

bool reclaim_on_hold(const struct pol *pol, const struct guest_reclaim *past)
{
	uint64_t most = trouble_lasts_us(pol);

	/* In want what is left is found by asking again: the hand of the clock has to come around
	 * (memd/pageout.h). */
	if (past->hold_why == POL_WHY_NOTHING_LEFT && pol->tick.state >= POL_STATE_SOFT &&
	    !FAULT(nothing_left_waits))
		most = min_u64(most, is_pressed(pol) ? PAUSE_US : 2 * PAUSE_US);
	return pol->tick.now_us < past->hold_us && pol->tick.now_us - past->held_us < most;
}

static void hold(const struct pol *pol, struct guest_reclaim *past, enum pol_reason why)
{
	/* It goes on: the same trouble is not counted again, and a guest that has nothing cold
	 * is not in trouble. */
	if (reclaim_on_hold(pol, past) && (past->hold_why == why || why == POL_WHY_NOTHING_LEFT))
		return;
	if (pol->tick.now_us >= past->hold_us)
		past->backoff_us = past->backoff_us && !FAULT(reclaim_backoff)
					   ? min_u64(2 * past->backoff_us, HOLD_MOST_US)
					   : HOLD_FIRST_US;
	past->held_us = pol->tick.now_us;
	past->hold_us = add_sat(pol->tick.now_us, past->backoff_us);
	past->hold_why = why;
	past->step = 0;
}

static uint64_t rate(uint64_t before, uint64_t after, uint64_t unit, uint64_t span_us)
{
	return pol_has(before) && pol_has(after) ? mul_div(sub_sat(after, before), unit, span_us)
						 : 0;
}

/* Tasks that memd keeps waiting by its own reclaim, and itself as it reads back, are not counted.
 */
void reclaim_follow_host(struct pol *pol, const struct pol_host *host)
{
	struct reclaim_past *past = &pol->reclaim;
	uint64_t span = pol->tick.now_us - past->mark_us, stalls, work;

	if (past->seen && span < WINDOW_US)
		return;
	if (past->seen) {
		stalls = rate(past->psi_us, host->psi_some_us, PPM, span);
		work = add_sat(rate(past->work_us, host->reclaim_us, PPM, span),
			       rate(past->back_us, host->ksm.back_us, PPM, span));
		/* It is told when it is over, in another window perhaps than its stalls. */
		past->psi_ppm = sub_sat(stalls, add_sat(work, past->ours_ppm));
		past->ours_ppm = min_u64(work, sub_sat(add_sat(work, past->ours_ppm), stalls));
		/* When guests start tasks wait whatever is asked of one: it passes, and tells
		 * nothing of how the next time will be. */
		if (past->psi_ppm > pressure_limit(pol->tick.state))
			past->pause_us = add_sat(pol->tick.now_us, PAUSE_US);
	}
	past->seen = true;
	past->mark_us = pol->tick.now_us;
	past->psi_us = host->psi_some_us;
	past->work_us = host->reclaim_us;
	past->back_us = host->ksm.back_us;
}

/* New rates of the guest: does it suffer from what was taken? */
static void judge(const struct pol *pol, const struct now_guest *guest, uint64_t span_us)
{
	struct guest_reclaim *past = &guest->past->reclaim;
	uint64_t resident = reclaim_resident(guest), refaults, psi;

	refaults = rate(past->refault, guest->in->refault_bytes, SEC, span_us);
	psi = rate(past->psi_us, guest->in->psi_some_us, PPM, span_us);
	if (refaults > refault_limit(pol->tick.state, resident) && !FAULT(reclaim_refaults)) {
		/* It needs as much as it has now, and what it will have read back in a while. */
		past->sore = min_u64(add_sat(resident, refaults), guest->memory);
		past->sore_us = pol->tick.now_us;
		hold(pol, past, POL_WHY_REFAULTS);
	} else if (psi > pressure_limit(pol->tick.state) && !FAULT(reclaim_guest_psi)) {
		hold(pol, past, POL_WHY_PRESSURE);
	}
}

/* Did the last order bring what it asked for? The next one is larger if so. */
static void settle_order(struct pol *pol, const struct now_guest *guest)
{
	struct guest_reclaim *past = &guest->past->reclaim;
	uint64_t resident = reclaim_resident(guest);

	if (!past->order_us || pol->tick.now_us - past->order_us < EVERY_US)
		return;
	past->order_us = 0;
	if (sub_sat(past->base, resident) < past->asked / 8 && !FAULT(reclaim_nothing_left)) {
		hold(pol, past, POL_WHY_NOTHING_LEFT);
		return;
	}
	pol->reclaim.served_us = pol->tick.now_us;
	if (past->hold_why == POL_WHY_NOTHING_LEFT)
		past->hold_us = min_u64(past->hold_us, pol->tick.now_us);
	past->step = min_u64(2 * past->step, pol->config.step_bytes);
	if (pol->tick.now_us >= add_sat(past->hold_us, past->backoff_us))
		past->backoff_us = 0;
}

void reclaim_follow_guest(struct pol *pol, const struct pol_host *host, struct now_guest *guest)
{
	struct guest_reclaim *past = &guest->past->reclaim;
	uint64_t now_us = pol->tick.now_us, span = now_us - past->mark_us;

	if (!past->seen)
		past->first_us = now_us;
	if (!past->seen || span >= WINDOW_US) {
		if (past->seen)
			judge(pol, guest, span);
		past->seen = true;
		past->mark_us = now_us;
		past->refault = guest->in->refault_bytes;
		past->psi_us = guest->in->psi_some_us;
	}
	/* What an order for cold memory brings, if it may end at all, says nothing of one for any.
	 */
	if (past->patient && is_pressed(pol) && !FAULT(reclaim_hurried))
		past->order_us = 0;
	if (!host->reclaim_busy)
		settle_order(pol, guest);
	past->floor = min_u64(floor_of(pol, guest), guest->memory);
}
