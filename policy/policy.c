// SPDX-License-Identifier: Apache-2.0
/*
 * One tick: check and clamp the snapshot, match guests with what is remembered of them, sense,
 * decide, and lay the plan out. The order is the policy: who needs memory, what the host needs,
 * who gives it up, then what is left to give back.
 */
#include <errno.h>
#include <stdlib.h>

#include "policy/parts.h"

struct pol *pol_new(const struct pol_config *config, size_t max_guests)
{
	struct pol *pol = calloc(1, sizeof(*pol));
	size_t n = max_guests ? max_guests : 1;

	if (!pol)
		return NULL;
	pol->config = *config;
	pol->max_guests = max_guests;
	pol->max_actions = 3 * max_guests + 5;
	pol->past = calloc(n, sizeof(*pol->past));
	pol->past_next = calloc(n, sizeof(*pol->past_next));
	pol->now = calloc(n, sizeof(*pol->now));
	pol->claims = calloc(n, sizeof(*pol->claims));
	pol->merge.domains = calloc(n, sizeof(*pol->merge.domains));
	pol->plan.views = calloc(n, sizeof(*pol->plan.views));
	if (max_guests < SIZE_MAX / sizeof(*pol->plan.actions) / 3 - 2)
		pol->plan.actions = calloc(pol->max_actions, sizeof(*pol->plan.actions));
	if (!pol->past || !pol->past_next || !pol->now || !pol->claims || !pol->merge.domains ||
	    !pol->plan.views || !pol->plan.actions) {
		pol_free(pol);
		return NULL;
	}
	return pol;
}

void pol_free(struct pol *pol)
{
	if (!pol)
		return;
	free(pol->past);
	free(pol->past_next);
	free(pol->now);
	free(pol->claims);
	free(pol->merge.domains);
	free(pol->plan.views);
	free(pol->plan.actions);
	free(pol);
}

void pol_configure(struct pol *pol, const struct pol_config *config)
{
	pol->config = *config;
}

struct pol_action *plan_add(struct pol *pol, const struct now_guest *guest,
			    enum pol_action_kind kind, enum pol_reason reason, enum pol_rung rung)
{
	/* Three per guest (size, reclaim, merging), four for KSM and one move: there is always
	 * room. */
	struct pol_action *action = &pol->plan.actions[pol->plan.n_actions++];

	*action = (struct pol_action){
		.kind = kind,
		.reason = reason,
		.rung = rung,
		.state = pol->tick.state,
		.available_bytes = pol->tick.available,
		.need_bytes = pol->tick.need,
		.working_set_bytes = POL_ABSENT,
		.hot_bytes = guest ? guest->hot : POL_ABSENT,
	};
	if (guest) {
		action->guest = guest->in->id;
		action->floor_bytes = guest->floor;
		action->entitled_bytes = guest->entitled;
		if (guest->trust == POL_TRUST_OK)
			action->working_set_bytes = guest->past->ws;
	}
	return action;
}

void plan_reject_passive(const struct pol *pol, const struct now_guest *guest,
			 struct pol_action *action)
{
	plan_reject(action, POL_RUNG_REPORTING,
		    guest->in->reporting ? POL_WHY_NOT_ENOUGH : POL_WHY_NOT_OFFERED);
	plan_reject(action, POL_RUNG_KSM,
		    !guest->in->mergeable ? POL_WHY_NOT_OFFERED
		    : pol->ksm.exhausted  ? POL_WHY_KSM_NO_GAIN
					  : POL_WHY_TOO_SLOW);
}

static int check(const struct pol_host *host)
{
	if (!host->memory_bytes || !pol_has(host->memory_bytes))
		return -EINVAL;
	if (!pol_has(host->available_bytes) && !pol_has(host->free_bytes))
		return -EINVAL;
	if (host->n_guests && !host->guests)
		return -EINVAL;
	for (size_t i = 1; i < host->n_guests; i++)
		if (host->guests[i].id <= host->guests[i - 1].id)
			return -EINVAL;
	return 0;
}

/*
 * What guests may be given beyond what is available, see grant_from_swap(): memory that the kernel
 * can have by swapping within about a tick. A byte in swap that is memory itself (zram) frees only
 * a part of one; and of what is free there a quarter at a time, so that it never ends at once.
 */
static uint64_t swap_room(const struct pol *pol, const struct pol_host *host)
{
	uint64_t free = bytes_in(host->swap_free_bytes);

	if (!pol_has(free))
		return 0;
	return ppm_of(min_u64(free / 4, pol->config.step_bytes),
		      FAULT(swap_room_net) ? PPM : reclaim_net_ppm(host));
}

static void begin_tick(struct pol *pol, const struct pol_host *host, uint64_t now_us)
{
	struct now_host *tick = &pol->tick;
	uint64_t available =
		pol_has(host->available_bytes) ? host->available_bytes : host->free_bytes;

	*tick = (struct now_host){
		.now_us = now_us,
		.memory = bytes_in(host->memory_bytes),
	};
	if (pol->host.seen) {
		/* A clock that went back stands still for us. */
		tick->now_us = FAULT(clock_back) ? now_us : max_u64(now_us, pol->host.now_us);
		tick->dt_us = tick->now_us - pol->host.now_us;
	}
	pol->host.now_us = tick->now_us;
	tick->available = min_u64(available, tick->memory);
	tick->swap_room = swap_room(pol, host);
	host_state_marks(&pol->config, tick->memory, &tick->marks);
}

static void clamp_guest(const struct pol *pol, const struct pol_guest *in, struct now_guest *guest)
{
	uint64_t memory = bytes_in(in->memory_bytes), actual = bytes_in(in->actual_bytes);
	uint64_t resident = bytes_in(in->resident_bytes), swapped = bytes_in(in->swapped_bytes);

	*guest = (struct now_guest){.in = in, .past = guest->past, .entitled = POL_ABSENT};
	guest->usable = pol->config.balloon_manage && (in->answering || FAULT(unanswering)) &&
			in->has_balloon && pol_has(memory) && memory && pol_has(actual) && actual;
	guest->memory = pol_has(memory) ? memory : 0;
	guest->actual = pol_has(actual) ? min_u64(actual, guest->memory) : guest->memory;
	if (FAULT(actual_bound) && pol_has(actual))
		guest->actual = actual;
	guest->min = pol_has(in->min_bytes) ? in->min_bytes : pol->config.guest_min_bytes;
	guest->min = min_u64(guest->min, guest->memory);
	guest->shares = pol_has(in->shares) ? in->shares : 1000;
	guest->held_known = pol_has(resident) && resident;
	guest->held = guest->actual;
	if (guest->held_known)
		guest->held = min_u64(resident + (pol_has(swapped) ? swapped : 0), guest->actual);
	hot_sense(guest);
	guest->floor = guest->actual;
	guest->trust = in->answering ? POL_TRUST_ABSENT : POL_TRUST_STALE;
}

/* Both lists are sorted by id: what is remembered moves over, new guests start clean. */
static void match_guests(struct pol *pol, const struct pol_host *host)
{
	struct guest_past *swap = pol->past;
	size_t n = host->n_guests < pol->max_guests ? host->n_guests : pol->max_guests, old = 0;

	for (size_t i = 0; i < n; i++) {
		const struct pol_guest *in = &host->guests[i];
		struct guest_past *past = &pol->past_next[i];

		while (old < pol->n_past && pol->past[old].id < in->id)
			old++;
		if (old < pol->n_past && pol->past[old].id == in->id)
			*past = pol->past[old];
		else
			*past = (struct guest_past){.id = in->id};
		pol->now[i].past = past;
		clamp_guest(pol, in, &pol->now[i]);
	}
	pol->past = pol->past_next;
	pol->past_next = swap;
	pol->n_past = pol->n_now = n;
}

/*
 * Host memory the guest takes up, what its balloon returned meanwhile not set off. The host sees
 * at once what the guest's next numbers will tell: what the latest do not tell yet is at most what
 * it took up since the look before them.
 */
static void follow_intake(const struct now_host *tick, struct now_guest *guest, uint64_t freed)
{
	struct guest_past *past = guest->past;
	uint64_t rate = 0, rise = 0;

	if (past->held) {
		rate = mul_div(sub_sat(add_sat(guest->held, freed), past->held), SEC, tick->dt_us);
		rise = sub_sat(guest->held, past->held);
	}
	if (tick->dt_us >= 100 * MSEC)
		past->intake = ewma(past->intake, rate, tick->dt_us,
				    rate > past->intake ? 3 * SEC / 2 : 4 * SEC);
	past->unseen = add_sat(past->unseen, rise);
	if (guest->fresh)
		past->unseen = min_u64(sub_sat(past->unseen, guest->grew), rise);
	if (guest->trust != POL_TRUST_OK || !guest->held_known)
		past->unseen = 0;
	past->held = guest->held_known ? guest->held : 0;
}

/* Everything known of the guests; returns what their balloons freed since the last tick. */
static uint64_t sense_guests(struct pol *pol)
{
	uint64_t returned = 0;

	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];
		struct guest_past *past = guest->past;
		uint64_t freed;

		if (!guest->usable) {
			/* Left alone; its balloon's clock stands still meanwhile. */
			past->progress_us = pol->tick.now_us;
			past->actual = guest->actual;
			past->held = past->intake = past->unseen = 0;
			continue;
		}
		if (!past->met)
			balloon_adopt(&pol->tick, guest);
		guest_sense(&pol->config, &pol->tick, guest);
		freed = balloon_follow(&pol->config, &pol->tick, guest);
		follow_intake(&pol->tick, guest, freed);
		returned = add_sat(returned, freed);
		guest_conclude(&pol->tick, guest);
	}
	return returned;
}

/* Somebody is nearly out of memory, and its balloon has some of it that it would give back. */
static bool anybody_starves(const struct pol *pol)
{
	for (size_t i = 0; i < pol->n_now; i++)
		if (pol->now[i].starves && pol->now[i].past->target < pol->now[i].memory &&
		    (!balloon_is_owed(&pol->now[i]) || FAULT(owed_starves)))
			return true;
	return false;
}

/*
 * What a pressed host changes about floors: a liar's is its share, and in state low half of the
 * reserves must do for others while a guest has next to nothing: they are there for a need that may
 * come, and one has come.
 */
static void lower_floors(struct pol *pol)
{
	pol->tick.starving =
		pol->tick.state == POL_STATE_LOW && anybody_starves(pol) && !FAULT(starving);
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];

		if (guest->liar && is_pressed(pol) && !FAULT(liar_floor))
			guest->floor = clamp_u64(guest->entitled, guest->min, guest->actual);
		if (pol->tick.starving && guest->usable && guest->trust == POL_TRUST_OK)
			guest->floor = clamp_u64(guest->past->ws + guest->reserve / 2, guest->min,
						 guest->memory);
	}
}

static void fill_views(struct pol *pol)
{
	for (size_t i = 0; i < pol->n_now; i++) {
		const struct now_guest *guest = &pol->now[i];
		const struct guest_past *past = guest->past;

		pol->plan.views[i] = (struct pol_view){
			.guest = guest->in->id,
			.floor_bytes = guest->floor,
			.working_set_bytes = guest->trust == POL_TRUST_OK ? past->ws : POL_ABSENT,
			.entitled_bytes = guest->entitled,
			.target_bytes = guest->usable ? past->target : guest->actual,
			.trouble = guest->usable && pol->tick.now_us < past->trouble_us,
			.stuck = guest->usable && past->stuck,
			.device_stuck = guest->usable && past->device_stuck,
			.stats_trusted = guest->trust == POL_TRUST_OK,
			.trust = guest->trust,
			.merge_off = past->merge_off,
			.merge_refused = past->merge_refused,
			.reclaim_off = past->reclaim.off,
			.resident_floor_bytes = past->reclaim.floor,
			.swap_most_bytes = guest->memory - reclaim_least(guest),
			.hot_bytes = guest->hot,
			.numa = past->numa.why,
			.local_ppm = past->numa.local_ppm,
		};
	}
	pol->plan.n_views = pol->n_now;
}

/* What others are asked to give of their reserves: what the starving lack, not what the host would
 * like to have. */
static uint64_t starving_need(const struct pol *pol)
{
	uint64_t sum =
		sub_sat(pol->tick.marks.low + pol->tick.marks.hysteresis, pol->tick.available);

	for (size_t i = 0; i < pol->n_now; i++)
		if (pol->now[i].starves)
			sum = add_sat(sum, pol->now[i].want);
	return sum;
}

static void decide_balloons(struct pol *pol, const struct pol_host *host)
{
	struct now_host *tick = &pol->tick;
	uint64_t extra, other, need;

	for (size_t i = 0; i < pol->n_now; i++)
		if (pol->now[i].usable)
			tick->coming =
				add_sat(tick->coming, balloon_coming(&pol->now[i], tick->lead_us));
	share_entitle(pol);
	lower_floors(pol);
	extra = give_decide(pol, &other);
	if (FAULT(coming))
		tick->coming = 0;
	if (FAULT(take_first))
		give_plan(pol);
	need = sub_sat(add_sat(tick->need, extra), tick->coming);
	if (tick->starving)
		need = min_u64(need, starving_need(pol));
	take_decide(pol, need, sub_sat(tick->need, tick->coming), extra ? other : 0,
		    sub_sat(tick->ease, tick->coming));
	reclaim_decide(pol, host, add_sat(tick->need, extra));
	give_comfort_decide(pol);
	give_back_decide(pol);
	give_plan(pol);
	mem_device_plan(pol);
}

void pol_not_done(struct pol *pol)
{
	for (size_t i = 0; i < pol->n_past; i++) {
		struct guest_past *past = &pol->past[i];

		past->target = past->target_before = past->actual;
		past->arrived = true;
		past->asked = false;
		past->mark_us = 0;
		past->reclaim.order_us = 0;
	}
}

int pol_step(struct pol *pol, const struct pol_host *host, uint64_t now_us,
	     const struct pol_plan **ret_plan)
{
	int r = check(host);

	if (r < 0)
		return r;
	pol->plan.n_actions = 0;
	pol->plan.again_us = POL_ABSENT;
	begin_tick(pol, host, now_us);
	match_guests(pol, host);
	host_state_sense(pol, sense_guests(pol));
	merge_decide(pol, host);
	ksm_decide(pol, host);
	decide_balloons(pol, host);
	numa_decide(pol, host);
	fill_views(pol);

	pol->plan.state = pol->tick.state;
	pol->plan.need_bytes = pol->tick.need;
	pol->plan.high_bytes = pol->tick.marks.high;
	pol->plan.soft_bytes = pol->tick.marks.soft;
	pol->plan.hard_bytes = pol->tick.marks.hard;
	pol->plan.low_bytes = pol->tick.marks.low;
	pol->plan.fall_bytes_per_s = pol->host.fall;
	pol->plan.merge = pol->merge.view;
	pol->plan.split_huge = huge_split(pol, host);
	*ret_plan = &pol->plan;
	return 0;
}
