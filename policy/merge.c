// SPDX-License-Identifier: Apache-2.0
/*
 * Where KSM may merge. Guests of different trust domains are never merged with each other: KSM
 * runs only while all memory that the kernel may merge is of one domain, or each domain's lies on
 * nodes of its own and merge_across_nodes is off, so that the kernel keeps a tree per node
 * (mm/ksm.c). What is not known counts as mergeable and as anywhere. Everything else is only about
 * getting there: nodes where they are apart, else one domain at a time, by what it saves; the
 * others are switched off first, looked at, and only then is the next one switched on.
 *
 * Switching a guest off unmerges it, for which there must be room. When there is none KSM stands
 * still: what it has merged stays merged and nothing is added; but what domains are seen to share
 * then is taken apart, where one of the two can be switched.
 */
#include "policy/parts.h"

/* A turn lasts this long at least, and ends only for a domain that brings twice as much. */
#define TURN_US	   (600 * SEC)
#define TURN_BYTES (64 * MIB)
/* What a guest saves counts as measured when KSM has been at it for this long. */
#define MEASURE_US     (60 * SEC)
#define MORE_BYTES     (16 * MIB)
#define ASK_AGAIN_US   (10 * SEC)
#define ASK_AGAIN_MOST (600 * SEC)
#define ASTRAY_US      (180 * SEC)
/* What domains are seen to share: so long it is left to those that are told off in any case. */
#define CROSSED_US (10 * SEC)

/* May KSM run on what is mergeable now? */
static bool is_safe(const struct pol *pol, const struct pol_ksm *in)
{
	const struct merge_past *past = &pol->merge;

	if (in->unsorted && !FAULT(merge_unsorted))
		return false;
	return merge_domains_mergeable(past) < 2 || FAULT(merge_domains) ||
	       ((in->across_nodes == 0 || FAULT(merge_tree)) &&
		(merge_domains_lie_apart(past, true) || FAULT(merge_apart)));
}

/* ---- what was merged so far ---- */

static void measure(struct pol *pol, const struct pol_ksm *in)
{
	for (size_t i = 0; i < pol->n_now; i++) {
		struct guest_past *past = pol->now[i].past;
		const struct pol_guest *guest = pol->now[i].in;
		bool at_work = in->run == 1 && guest->merge_on && pol_has(guest->marked_bytes) &&
			       guest->marked_bytes && pol_has(guest->ksm_bytes);

		if (!at_work) {
			past->merge_on_us = 0;
			continue;
		}
		if (!past->merge_on_us) {
			past->merge_on_us = max_u64(pol->tick.now_us, 1);
			past->merge_scans = pol_has(in->full_scans) ? in->full_scans : 0;
		}
		if (pol->tick.now_us - past->merge_on_us < MEASURE_US)
			continue;
		past->merge_known = true;
		past->merge_gain = bytes_in(guest->ksm_bytes);
	}
}

/* More of a guest is mergeable than at the last look: that is new to KSM, as a new guest is. */
static void look_for_more(struct pol *pol)
{
	for (size_t i = 0; i < pol->n_now; i++) {
		struct guest_past *past = pol->now[i].past;
		uint64_t marked = bytes_in(pol->now[i].in->marked_bytes);

		if (!pol_has(marked))
			continue;
		if (past->marked_known && marked >= add_sat(past->marked, MORE_BYTES))
			past->ksm_seen = false;
		past->marked_known = true;
		past->marked = marked;
	}
}

/* ---- orders ---- */

uint64_t merge_room(const struct pol *pol)
{
	return sub_sat(pol->tick.available, FAULT(unmerge_high) ? 0 : pol->tick.marks.high);
}

bool merge_may_order(bool same, uint64_t now_us, uint64_t *when_us, uint64_t *wait_us)
{
	if (!same)
		*wait_us = ASK_AGAIN_US;
	else if (now_us - *when_us < *wait_us && !FAULT(merge_ask_again))
		return false;
	else
		*wait_us = min_u64(2 * *wait_us, ASK_AGAIN_MOST);
	*when_us = now_us;
	return true;
}

static void order(struct pol *pol, struct now_guest *guest, bool on, enum pol_reason why)
{
	struct guest_past *past = guest->past;
	struct pol_action *action;

	if (!guest->in->answering ||
	    !merge_may_order(past->merge_asked && past->merge_to == on, pol->tick.now_us,
			     &past->merge_us, &past->merge_wait_us))
		return;
	past->merge_asked = true;
	past->merge_to = on;
	action = plan_add(pol, guest, POL_MERGE, why, POL_RUNG_KSM);
	action->from = guest->in->merge_on;
	action->to = on;
	action->gain_bytes = on ? merge_gain(guest) : 0;
}

/* Off, if what it unmerges fits into *left. */
static void switch_off(struct pol *pol, struct now_guest *guest, enum pol_reason why,
		       uint64_t *left)
{
	uint64_t bytes = bytes_in(guest->in->merging_bytes);

	guest->past->merge_off = why;
	if (!guest->in->merge_on || !guest->in->merge_switch)
		return;
	guest->past->merge_refused = pol_has(bytes) && bytes > *left && !FAULT(unmerge_fits);
	if (guest->past->merge_refused)
		return;
	if (!FAULT(unmerge_sum))
		*left = sub_sat(*left, pol_has(bytes) ? bytes : 0);
	order(pol, guest, false, why);
}

/* On, if it pays. */
static void switch_on(struct pol *pol, struct now_guest *guest, enum pol_reason why, uint64_t *left)
{
	guest->past->crossed_off = false;
	if (guest->past->cost_off)
		switch_off(pol, guest, POL_WHY_MERGE_COST, left);
	else if (guest->in->merge_switch && !guest->in->merge_on)
		order(pol, guest, true, guest->past->cost_again ? POL_WHY_MERGE_AGAIN : why);
}

/* ---- nodes ---- */

/* Is a tree for each node to be had, as far as the configuration goes? */
static bool may_split(const struct pol *pol, const struct pol_ksm *in)
{
	return pol->config.merge_across != POL_ACROSS_YES &&
	       (pol->config.merge_across != POL_ACROSS_KEEP || in->across_nodes == 0);
}

/*
 * Bound apart, with a tree per node, and still not lying apart, for longer than memd's looks take:
 * touched before it was bound. Then nodes are no help.
 */
static bool is_astray(struct pol *pol, const struct pol_ksm *in)
{
	struct merge_past *past = &pol->merge;

	if (in->across_nodes != 0 || merge_domains_lie_apart(past, false)) {
		past->astray_us = 0;
		return false;
	}
	if (!past->astray_us)
		past->astray_us = max_u64(pol->tick.now_us, 1);
	return pol->tick.now_us - past->astray_us >= ASTRAY_US && !FAULT(merge_astray);
}

/* ---- what is shared across domains ---- */

static bool is_crossed(const struct now_guest *guest)
{
	return pol_has(guest->in->crossed_bytes) && guest->in->crossed_bytes;
}

/*
 * KSM stands still, and pages of different domains are merged all the same: merged before they were
 * sorted, and of a guest that cannot be switched off. Then those stay so until the other side is.
 */
static bool is_seen_crossed(struct pol *pol, bool safe)
{
	struct merge_past *past = &pol->merge;
	bool seen = false;

	for (size_t i = 0; i < pol->n_now; i++)
		seen |= is_crossed(&pol->now[i]);
	if (safe || !seen) {
		past->crossed_us = 0;
		return false;
	}
	if (!past->crossed_us)
		past->crossed_us = max_u64(pol->tick.now_us, 1);
	return pol->tick.now_us - past->crossed_us >= CROSSED_US || FAULT(crossed_waits);
}

/* Off, those that would be on, until KSM may run. */
static void take_apart(struct pol *pol, bool crossed, uint64_t *left)
{
	const struct merge_past *past = &pol->merge;

	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];

		if (!guest->in->merge_switch ||
		    (past->has_active && guest->in->domain != past->active))
			continue;
		if (crossed && is_crossed(guest) && !FAULT(crossed_undone)) {
			guest->past->crossed_off = true;
			switch_off(pol, guest, POL_WHY_DOMAIN_CROSSED, left);
		} else if (guest->past->crossed_off && !guest->in->merge_on) {
			guest->past->merge_off = POL_WHY_DOMAIN_CROSSED;
		}
	}
}

/* ---- turns ---- */

/* Whether d should begin rather than best: one that cannot be switched off leaves no choice. */
static bool is_first(const struct merge_domain *d, const struct merge_domain *best)
{
	if (d->stuck != best->stuck)
		return d->stuck;
	if (d->gain != best->gain)
		return d->gain > best->gain;
	return d->domain < best->domain;
}

static void begin_turn(struct pol *pol)
{
	struct merge_past *past = &pol->merge;
	const struct merge_domain *best = &past->domains[0];

	for (size_t i = 1; i < past->n_domains; i++)
		if (is_first(&past->domains[i], best))
			best = &past->domains[i];
	past->has_active = true;
	past->active = best->domain;
	past->active_us = pol->tick.now_us;
}

/* Would d rather have the turn? */
static bool is_due(const struct pol *pol, const struct merge_domain *d,
		   const struct merge_domain *active)
{
	if (active->stuck)
		return false;
	/* Nothing is lost, and without it KSM would stand still. */
	if (d->stuck && !active->unmerge)
		return true;
	return (pol->tick.now_us - pol->merge.active_us >= TURN_US || FAULT(turn_lasts)) &&
	       d->gain >= add_sat(2 * active->gain, TURN_BYTES) &&
	       (active->unmerge <= merge_room(pol) || FAULT(turn_fits));
}

static void choose_domain(struct pol *pol)
{
	struct merge_past *past = &pol->merge;
	const struct merge_domain *active = NULL, *next = NULL;

	if (past->has_active)
		active = merge_domain_find(pol, past->active);
	if (!active) {
		begin_turn(pol);
		return;
	}
	for (size_t i = 0; i < past->n_domains; i++) {
		const struct merge_domain *d = &past->domains[i];

		if (d != active && is_due(pol, d, active) && (!next || is_first(d, next)))
			next = d;
	}
	if (!next)
		return;
	past->active = next->domain;
	past->active_us = pol->tick.now_us;
}

static void take_turns(struct pol *pol, const struct pol_ksm *in, bool crossed)
{
	struct merge_past *past = &pol->merge;
	uint64_t left = merge_room(pol);
	bool others = in->unsorted;

	choose_domain(pol);
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];

		if (!merge_has_part(guest->in) || guest->in->domain == past->active)
			continue;
		others |= merge_may(guest->in);
		switch_off(pol, guest, POL_WHY_DOMAIN_OTHER, &left);
	}
	if (others)
		take_apart(pol, crossed, &left);
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];

		if (merge_has_part(guest->in) && guest->in->domain == past->active &&
		    (!others || FAULT(merge_order)))
			switch_on(pol, guest, POL_WHY_DOMAIN_TURN, &left);
	}
}

/* No turns: every guest, as far as it pays. */
static void all_on(struct pol *pol, enum pol_reason why)
{
	uint64_t left = merge_room(pol);

	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];

		if (pol->merge.n_domains < 2 || merge_lies_alone(pol, guest->in))
			switch_on(pol, guest, why, &left);
		else if (!merge_may(guest->in))
			guest->past->merge_off = POL_WHY_DOMAIN_OTHER;
	}
}

/* ---- the whole ---- */

/* One that is of the wrong domain, those that cannot be switched off first. */
static void name_culprit(struct pol *pol, struct pol_merge_view *view)
{
	const struct merge_past *past = &pol->merge;

	view->why = POL_WHY_DOMAIN_UNSORTED;
	for (size_t i = 0; i < pol->n_now; i++) {
		const struct now_guest *guest = &pol->now[i];
		const struct pol_guest *in = guest->in;

		if (!merge_may(in) || (past->has_active && in->domain == past->active))
			continue;
		if (guest->past->merge_refused) {
			view->why = POL_WHY_NOT_FIT;
			view->guest = in->id;
			return;
		}
		if (merge_is_stuck(guest) || !in->answering) {
			view->why = POL_WHY_DOMAIN_STUCK;
			view->guest = in->id;
		} else if (!view->guest) {
			view->guest = in->id;
		}
	}
}

/* The order, whose reason is still to be found; NULL: it stands still already. */
static struct pol_action *stop_ksm(struct pol *pol, const struct pol_ksm *in)
{
	struct pol_action *action;

	/* What was asked for before is void: the next start is a new wish. */
	pol->ksm.asked_run = false;
	if (in->run != 1)
		return NULL;
	action = plan_add(pol, NULL, POL_KSM_RUN, POL_WHY_DOMAIN_UNSORTED, POL_RUNG_KSM);
	action->from = in->run;
	action->to = 0;
	return action;
}

void merge_decide(struct pol *pol, const struct pol_host *host)
{
	const struct pol_ksm *in = &host->ksm;
	struct merge_past *past = &pol->merge;
	struct pol_merge_view *view = &past->view;
	struct pol_action *stop = NULL;
	bool safe, crossed, changing;

	*view = (struct pol_merge_view){
		.mode = POL_MERGE_COMMON,
		.across = {.gain_bytes = POL_ABSENT, .cost_us = POL_ABSENT}};
	past->forbid = false;
	for (size_t i = 0; i < pol->n_now; i++) {
		pol->now[i].past->merge_off = POL_WHY_NONE;
		pol->now[i].past->merge_refused = false;
	}
	if (!pol->config.ksm_manage || !in->present) {
		past->cliff = past->anchored = false;
		return;
	}
	merge_guard(pol, host);
	measure(pol, in);
	look_for_more(pol);
	merge_cost(pol, in);
	merge_look_for_marks(pol);
	merge_domains_list(pol);
	safe = is_safe(pol, in);
	crossed = is_seen_crossed(pol, safe);
	past->forbid = !safe;
	if (past->forbid)
		stop = stop_ksm(pol, in);
	if (past->n_domains < 2) {
		past->has_active = false;
	} else if (may_split(pol, in) && merge_domains_bound_apart(past) && !is_astray(pol, in) &&
		   merge_set_nodes(pol, host, 0, POL_WHY_DOMAIN_APART)) {
		view->mode = POL_MERGE_NODES;
		past->has_active = false;
	} else {
		view->mode = POL_MERGE_TURNS;
	}
	if (view->mode == POL_MERGE_TURNS) {
		take_turns(pol, in, crossed);
	} else if (safe && (past->n_domains < 2 || in->across_nodes == 0)) {
		all_on(pol,
		       view->mode == POL_MERGE_NODES ? POL_WHY_DOMAIN_APART : POL_WHY_DOMAIN_TURN);
	} else if (view->mode == POL_MERGE_NODES && in->across_nodes == 0) {
		uint64_t left = merge_room(pol);

		take_apart(pol, crossed, &left);
	}
	changing = merge_across(pol, host);
	if (changing && !past->forbid) {
		past->forbid = true;
		stop = stop_ksm(pol, in);
	}
	merge_anchor(pol, host, changing);
	view->has_domain = past->has_active;
	view->domain = past->active;
	view->stopped = past->forbid;
	if (!past->forbid)
		return;
	if (safe)
		view->why = POL_WHY_ACROSS_CHANGE;
	else
		name_culprit(pol, view);
	if (stop)
		stop->reason = view->why;
}
