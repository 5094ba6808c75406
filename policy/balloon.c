// SPDX-License-Identifier: Apache-2.0
/*
 * What one guest's balloon does: progress towards its target, the speed learned from it, balloons
 * that are stuck (no progress for stuck_after_us, as in xapi's squeezed) or move by themselves, and
 * how much host memory a change of size frees.
 */
#include "policy/parts.h"

#define SPEED_FIRST	 (32 * MIB) /* bytes/s before anything was measured */
#define SPEED_LEAST	 MIB
#define BACKOFF_FIRST_US (30 * SEC)
#define BACKOFF_MOST_US	 (1800 * SEC)
#define HYPERVISOR_OWN	 (64 * MIB) /* at most, of what is resident: QEMU with TCG has 30 */

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* Changes when anything about the guest does. */
static uint64_t life_of(const struct pol_guest *in)
{
	const uint64_t numbers[] = {in->cpu_us,
				    in->resident_bytes,
				    in->stat_free_bytes,
				    in->stat_available_bytes,
				    in->stat_cache_bytes,
				    in->stat_swap_in_bytes,
				    in->stat_major_faults,
				    in->actual_bytes};
	uint64_t digest = 0;

	for (unsigned int i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		digest = (digest ^ numbers[i]) * 0x9e3779b97f4a7c15ull;
	return digest;
}

static void settle(struct guest_past *past, uint64_t target)
{
	past->target = target;
	past->arrived = true;
	past->mark_us = 0;
}

/*
 * `target` was reached or given up, and the guest's size is now something else: someone else moved
 * it, the guest was restarted, or it deflated its balloon because it ran out of memory.
 */
static void moved_by_itself(const struct pol_config *config, const struct now_host *tick,
			    struct now_guest *guest)
{
	struct guest_past *past = guest->past;

	if (guest->actual > past->target && past->asked) {
		/* The device still holds our old target: the next configuration change would
		 * inflate to it again, so it must be told. */
		if (guest->in->deflate_on_oom && guest->actual < guest->memory)
			guest->distress = guest->grave = true;
		/* With all of it there is nothing more to give, and it may still turn out to have
		 * been reset. */
		guest_hold(tick, past,
			   guest->in->deflate_on_oom ? config->trouble_hold_us : 30 * SEC);
		guest->released = !FAULT(moved_release);
		guest->release = guest->actual;
		if (FAULT(moved_hold))
			past->hold_us = 0;
	}
	settle(past, guest->actual);
}

static void found_stuck(const struct now_host *tick, struct now_guest *guest)
{
	struct guest_past *past = guest->past;
	bool delivered = guest->in->target_bytes == past->target && !FAULT(stuck_release);

	past->stuck = true;
	past->backoff_us = past->backoff_us ? min_u64(2 * past->backoff_us, BACKOFF_MOST_US)
					    : BACKOFF_FIRST_US;
	past->retry_us = tick->now_us + (FAULT(stuck_backoff) ? 0 : past->backoff_us);
	past->life = FAULT(stuck_corpse) ? 0 : life_of(guest->in);
	if (guest->actual > past->target) {
		/* An order that never left needs no taking back. */
		if (delivered) {
			guest->released = true;
			guest->release = guest->actual;
		}
		settle(past, guest->actual);
	}
	/* Stuck on the way up, the offer stands for now: it is the guest's memory. It only does not
	 * count as granted any more. */
}

bool balloon_is_owed(const struct now_guest *guest)
{
	const struct guest_past *past = guest->past;

	return past->stuck && !past->arrived && past->target > guest->actual;
}

bool balloon_is_stuck(const struct now_guest *guest)
{
	return guest->past->stuck && (!balloon_is_owed(guest) || FAULT(owed_taken));
}

/*
 * Another try. What was to be given is decided anew, by what the guest has and what is free now; a
 * device that was told is not to go there by itself, when nobody reckons with it any more.
 */
static void retry(struct now_guest *guest)
{
	struct guest_past *past = guest->past;

	if (!past->arrived) {
		if (guest->in->target_bytes == past->target && !FAULT(owed_release)) {
			guest->released = true;
			guest->release = guest->actual;
		}
		settle(past, guest->actual);
	}
	past->stuck = false;
}

/* An order that got lost on the way to a guest in distress is not the balloon's fault. */
static bool is_retry_due(const struct now_host *tick, const struct now_guest *guest)
{
	const struct guest_past *past = guest->past;

	if (!past->stuck || (!past->arrived && FAULT(owed_retry)))
		return false;
	if (balloon_is_owed(guest) && guest->distress && guest->in->target_bytes != past->target &&
	    !FAULT(owed_distress))
		return true;
	return tick->now_us >= past->retry_us && past->life != life_of(guest->in);
}

static void measure_speed(const struct now_host *tick, struct guest_past *past, uint64_t actual)
{
	uint64_t span, moved;

	if (!past->mark_us) {
		past->mark_us = max_u64(tick->now_us, 1);
		past->mark_actual = actual;
		return;
	}
	span = tick->now_us - past->mark_us;
	moved = distance(actual, past->mark_actual);
	if (span < SEC / 2 || moved < 2 * MIB)
		return;
	past->speed = (past->speed + max_u64(mul_div(moved, SEC, span), SPEED_LEAST)) / 2;
	past->mark_us = tick->now_us;
	past->mark_actual = actual;
}

/* It arrived within a tick or two: it is so fast at least. */
static void measure_arrival(const struct now_host *tick, struct guest_past *past, uint64_t actual)
{
	uint64_t moved = distance(actual, past->asked_actual), rate;

	rate = mul_div(moved, SEC, max_u64(tick->now_us - past->asked_us, 100 * MSEC));
	if (rate > past->speed)
		past->speed = (past->speed + rate) / 2;
}

static void follow_order(const struct pol_config *config, const struct now_host *tick,
			 struct now_guest *guest)
{
	struct guest_past *past = guest->past;
	uint64_t gap = distance(guest->actual, past->target);

	if (gap <= ARRIVED_BYTES) {
		measure_arrival(tick, past, guest->actual);
		settle(past, past->target);
		past->stuck = false;
		past->backoff_us = 0;
		return;
	}
	measure_speed(tick, past, guest->actual);
	if (gap + ARRIVED_BYTES <= past->gap) {
		past->gap = gap;
		past->progress_us = tick->now_us;
		past->stuck = false;
	} else if (!past->stuck && !FAULT(stuck) &&
		   tick->now_us - past->progress_us >= config->stuck_after_us) {
		if (!mem_device_give_up(tick, guest))
			found_stuck(tick, guest);
	}
}

uint64_t balloon_follow(const struct pol_config *config, const struct now_host *tick,
			struct now_guest *guest)
{
	struct guest_past *past = guest->past;
	uint64_t echo = guest->in->target_bytes, freed = 0;

	/* A target that is none of ours: someone used memd's hand for something else. */
	if (pol_has(echo) && echo != past->echo && echo != past->target &&
	    echo != past->target_before && echo <= guest->memory) {
		past->target = past->target_before = echo;
		past->arrived = false;
		past->gap = distance(guest->actual, echo);
		past->progress_us = tick->now_us;
		past->stuck = false;
	}
	past->echo = echo;

	if (!past->arrived) {
		if (guest->actual < past->actual)
			freed = balloon_gain(guest, past->actual, guest->actual);
		follow_order(config, tick, guest);
	} else if (distance(guest->actual, past->target) > ARRIVED_BYTES) {
		moved_by_itself(config, tick, guest);
	}
	if (is_retry_due(tick, guest))
		retry(guest);
	past->actual = guest->actual;
	return freed;
}

/*
 * What a guest reports as free goes by itself within seconds; what seems to be held of it then is
 * the hypervisor's own memory, unless it is most of it: then reporting does not work.
 */
uint64_t balloon_backed_free(const struct now_guest *guest)
{
	uint64_t in_use = guest->actual_then - guest->free, more, backed;

	if (!guest->held_known || FAULT(gain_held))
		return guest->free;
	more = sub_sat(guest->held, in_use);
	backed = min_u64(more, guest->free);
	if (guest->in->reporting &&
	    (guest->young || more <= HYPERVISOR_OWN || backed < guest->free / 2) &&
	    !FAULT(gain_reported))
		return 0;
	return backed;
}

uint64_t balloon_kept_free(const struct now_guest *guest)
{
	return guest->memory / 64;
}

static uint64_t takeable_free(const struct now_guest *guest)
{
	return sub_sat(guest->free, balloon_kept_free(guest));
}

/*
 * Host bytes freed on the way from the size when the guest measured to `size`. The balloon takes
 * free pages first, of which the host may hold few (never touched, or reported), then page cache,
 * which it holds unless others do, too.
 */
static uint64_t freed_at(const struct now_guest *guest, uint64_t size)
{
	uint64_t depth = sub_sat(guest->actual_then, size);
	uint64_t free = takeable_free(guest), backed = balloon_backed_free(guest);

	if (guest->trust != POL_TRUST_OK)
		return mul_div(depth, min_u64(guest->held, guest->actual), guest->actual);
	if (depth <= free)
		return mul_div(depth, backed, guest->free);
	return min_u64(mul_div(free, backed, guest->free) +
			       ppm_of(depth - free, balloon_cache_ppm(guest)),
		       guest->held_known ? guest->held : UINT64_MAX);
}

uint64_t balloon_free_end(const struct now_guest *guest)
{
	return sub_sat(guest->actual_then, takeable_free(guest));
}

uint64_t balloon_gain(const struct now_guest *guest, uint64_t from, uint64_t to)
{
	/* Pages of the pool stay in the pool: no byte becomes available to anybody else. */
	if (guest->in->pool && !FAULT(pool_gain))
		return 0;
	return sub_sat(freed_at(guest, to), freed_at(guest, from));
}

uint64_t balloon_coming(const struct now_guest *guest, uint64_t lead_us)
{
	const struct guest_past *past = guest->past;
	uint64_t reach;

	if (past->stuck || past->target >= guest->actual)
		return 0;
	reach = mul_div(past->speed, lead_us, SEC);
	return balloon_gain(guest, guest->actual,
			    max_u64(past->target, sub_sat(guest->actual, reach)));
}

uint64_t balloon_yield(const struct pol *pol, const struct now_guest *guest)
{
	uint64_t speed = guest->past->speed, size = sub_sat(guest->actual, speed);

	if (balloon_is_stuck(guest) || guest->trust != POL_TRUST_OK ||
	    size < balloon_cache_floor(pol, guest, guest->floor, false))
		return 0;
	return balloon_gain(guest, guest->actual, size);
}

uint64_t balloon_least(const struct now_guest *guest)
{
	return max_u64(4 * MIB, guest->memory / 512);
}

void balloon_ask(const struct now_host *tick, struct now_guest *guest, uint64_t target)
{
	struct guest_past *past = guest->past;
	bool same_way =
		!past->arrived && (target < guest->actual) == (past->target < guest->actual);

	past->asked = true;
	past->asked_us = tick->now_us;
	past->asked_actual = guest->actual;
	past->target_before = past->target;
	past->target = target;
	past->gap = distance(guest->actual, target);
	/* More of the same does not excuse a balloon that has not moved. */
	if (!same_way || FAULT(stuck_excuse)) {
		past->progress_us = tick->now_us;
		past->mark_us = 0;
		past->stuck = false;
	}
	past->arrived = past->gap <= ARRIVED_BYTES;
}

void balloon_adopt(const struct now_host *tick, struct now_guest *guest)
{
	struct guest_past *past = guest->past;

	past->actual = guest->actual;
	past->target_before = guest->actual;
	past->echo = guest->in->target_bytes;
	past->met = true;
	past->speed = SPEED_FIRST;
	past->progress_us = tick->now_us;
	settle(past, guest->actual);
}
