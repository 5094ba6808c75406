// SPDX-License-Identifier: Apache-2.0
/*
 * One tree of merged pages for the whole host, or one for each NUMA node (merge_across_nodes)?
 * Across nodes a content is kept once, and guests of the other nodes read it there; within nodes it
 * is kept once for each. Gain and cost are both measured, and set against each other as
 * merge_cost.c does it: processor time spent in each hour has to hold so many bytes.
 *
 * The kernel changes it only while nothing is merged, so everything is unmerged first: that has to
 * fit, on each node what is bound to it; KSM stands still meanwhile and then begins anew. So a
 * change has to pay by far and for a while, and the next one is hours away.
 */
#include "policy/parts.h"

/* How long the kernel's answer is waited for, and a whole change. */
#define NODES_WAIT_US  (10 * SEC)
#define CHANGE_MOST_US (900 * SEC)
#define HOUR_US	       (3600 * SEC)
/* It has to pay so many times over, by at least that much, and for so long. */
#define PAY_FACTOR   2
#define LEAST_BYTES  (64 * MIB)
#define WATCH_US     (600 * SEC)
#define REST_MOST_US (24 * HOUR_US)
/* Unmerging a page, finding it again and merging it. */
#define AGAIN_US 10

/* What is merged, zero pages too. */
static uint64_t merged_bytes(const struct pol_ksm *in)
{
	uint64_t pages = add_sat(pol_has(in->pages_sharing) ? in->pages_sharing : 0,
				 pol_has(in->zero_pages) ? in->zero_pages : 0);

	return min_u64(mul_div(pages, PAGE, 1), BYTES_MAX);
}

/* ---- does unmerging fit ---- */

static uint64_t room_on(const struct pol *pol, const struct pol_host *host, uint64_t nodes)
{
	uint64_t room = 0;

	for (size_t i = 0; i < host->n_nodes && i < POL_NODES_MAX; i++)
		if (host->nodes[i].node < 64 && nodes >> host->nodes[i].node & 1)
			room = add_sat(room, numa_room(&pol->config, &host->nodes[i]));
	return room;
}

/* What guests that are bound to these nodes, or to some of them, have merged. */
static uint64_t bound_to(const struct pol *pol, uint64_t nodes)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < pol->n_now; i++) {
		const struct pol_guest *in = pol->now[i].in;

		if (pol_has(in->bound_mask) && in->bound_mask && !(in->bound_mask & ~nodes) &&
		    pol_has(in->merging_bytes))
			bytes = add_sat(bytes, bytes_in(in->merging_bytes));
	}
	return bytes;
}

/* The numbers of the first that does not fit: all of it, or what is bound to some nodes, which
 * nothing else can give memory to. */
static bool unmerging_fits(const struct pol *pol, const struct pol_host *host,
			   struct pol_across_view *view)
{
	view->nodes = 0;
	view->unmerge_bytes = merged_bytes(&host->ksm);
	view->room_bytes = merge_room(pol);
	if (view->unmerge_bytes > view->room_bytes && !FAULT(unmerge_nodes))
		return false;
	for (size_t i = 0; host->n_nodes > 1 && i < pol->n_now; i++) {
		uint64_t nodes = pol->now[i].in->bound_mask;

		if (!pol_has(nodes) || !nodes)
			continue;
		view->nodes = nodes;
		view->unmerge_bytes = bound_to(pol, nodes);
		view->room_bytes = room_on(pol, host, nodes);
		if (view->unmerge_bytes > view->room_bytes && !FAULT(unmerge_bound))
			return false;
	}
	return true;
}

bool merge_set_nodes(struct pol *pol, const struct pol_host *host, uint64_t to, enum pol_reason why)
{
	const struct pol_ksm *in = &host->ksm;
	struct merge_past *past = &pol->merge;
	bool unmerge = !pol_has(in->pages_shared) || in->pages_shared, same;
	struct pol_across_view numbers = past->view.across;
	struct pol_action *action;

	if (in->across_nodes == to)
		return true;
	if (!pol_has(in->across_nodes))
		return false;
	same = past->asked_nodes && past->nodes_to == to && past->nodes_unmerge == unmerge;
	if (same &&
	    (pol->tick.now_us - past->nodes_us < NODES_WAIT_US || (unmerge && in->run == 2)))
		return true; /* the kernel is at it, page by page */
	if (unmerge && !unmerging_fits(pol, host, &numbers)) {
		numbers.why = POL_ACROSS_NO_ROOM;
		past->view.across = numbers;
		return false;
	}
	if (!merge_may_order(same, pol->tick.now_us, &past->nodes_us, &past->nodes_wait_us))
		return false;
	past->nodes_to = to;
	past->nodes_unmerge = unmerge;
	past->asked_nodes = true;
	action = plan_add(pol, NULL, POL_KSM_NODES, why, POL_RUNG_KSM);
	action->from = in->across_nodes;
	action->to = to;
	action->to2 = unmerge;
	action->cost_us = unmerge ? mul_div(merged_bytes(in) / PAGE, AGAIN_US, 1) : 0;
	if (why == POL_WHY_ACROSS_GAIN)
		action->gain_bytes = numbers.gain_bytes;
	if (why == POL_WHY_ACROSS_FAR)
		action->gain_us = numbers.cost_us;
	return true;
}

/* ---- does it pay ---- */

/* What guests wait for merged pages on other nodes in an hour; POL_ABSENT: not known of any. */
static uint64_t waiting_us(const struct pol *pol)
{
	uint64_t sum = 0;
	bool known = false;

	for (size_t i = 0; i < pol->n_now; i++) {
		const struct now_guest *guest = &pol->now[i];
		uint64_t far = guest->in->far_bytes, all = bytes_in(guest->in->resident_bytes);

		if (!pol_has(far) || !pol_has(all) || !all)
			continue;
		known = true;
		far = mul_div(bytes_in(far), PPM, all);
		sum = add_sat(sum, numa_waiting_us(guest->past->numa.cpu_ppm, HOUR_US, far));
	}
	return known ? sum : POL_ABSENT;
}

/* Why it stays, or POL_ACROSS_CHANGING: the other way pays. */
static enum pol_across_why weigh(struct pol *pol, const struct pol_ksm *in)
{
	struct across_past *past = &pol->merge.across;
	const struct pol_across_view *view = &pol->merge.view.across;
	uint64_t now_us = pol->tick.now_us, cost, gain = view->gain_bytes;
	bool pays;

	if (!pol_has(gain) || !pol_has(view->cost_us)) {
		past->since_us = 0;
		return POL_ACROSS_UNKNOWN;
	}
	cost = merge_worth(view->cost_us);
	if (in->across_nodes)
		pays = cost >= add_sat(mul_div(gain, PAY_FACTOR, 1), LEAST_BYTES);
	else
		pays = gain >= add_sat(mul_div(cost, PAY_FACTOR, 1), LEAST_BYTES);
	if (!pays && !FAULT(across_pays)) {
		past->since_us = 0;
		return POL_ACROSS_FITS;
	}
	if (now_us < past->rest_us && !FAULT(across_rest))
		return POL_ACROSS_REST;
	if (!past->since_us)
		past->since_us = max_u64(now_us, 1);
	if (now_us - past->since_us < WATCH_US && !FAULT(across_watch))
		return POL_ACROSS_WATCH;
	return is_short(pol) && !FAULT(across_short) ? POL_ACROSS_SHORT : POL_ACROSS_CHANGING;
}

/* ---- the change ---- */

static void begin(struct pol *pol, uint64_t to, enum pol_reason reason)
{
	struct across_past *past = &pol->merge.across;

	past->changing = true;
	past->to = to;
	past->reason = reason;
	past->begin_us = pol->tick.now_us;
}

/* By the configuration it may be asked for again soon, by what is measured only much later. */
static void end(struct pol *pol, bool done)
{
	struct across_past *past = &pol->merge.across;

	past->changing = false;
	past->refused = !done;
	past->since_us = 0;
	past->backoff_us = clamp_u64(2 * past->backoff_us, HOUR_US, REST_MOST_US);
	past->rest_us = pol->tick.now_us + past->backoff_us;
	/* All that was merged is to be merged anew, for it may have been unmerged in any case. */
	for (size_t i = 0; i < pol->n_now; i++)
		pol->now[i].past->ksm_seen = false;
}

/* Go on with what has begun. */
static enum pol_across_why go_on(struct pol *pol, const struct pol_host *host)
{
	struct across_past *past = &pol->merge.across;

	if (host->ksm.across_nodes == past->to) {
		end(pol, true);
		return past->reason == POL_WHY_ACROSS_SET ? POL_ACROSS_SET : POL_ACROSS_FITS;
	}
	if (pol->tick.now_us - past->begin_us > CHANGE_MOST_US) {
		end(pol, false);
		return POL_ACROSS_REFUSED;
	}
	/* It stands still first: what is unmerged must not be merged again. */
	if (host->ksm.run == 1 && !FAULT(across_stands_still))
		return POL_ACROSS_CHANGING;
	if (merge_set_nodes(pol, host, past->to, past->reason))
		return POL_ACROSS_CHANGING;
	if (pol->merge.view.across.why != POL_ACROSS_NO_ROOM)
		return POL_ACROSS_CHANGING; /* asked again a little later */
	end(pol, false);
	return POL_ACROSS_NO_ROOM;
}

/* What the configuration wants; POL_ABSENT: what pays. */
static uint64_t wanted(const struct pol *pol)
{
	if (pol->config.merge_across == POL_ACROSS_YES)
		return 1;
	return pol->config.merge_across == POL_ACROSS_NO ? 0 : POL_ABSENT;
}

static enum pol_across_why decide(struct pol *pol, const struct pol_host *host)
{
	struct merge_past *past = &pol->merge;
	const struct pol_ksm *in = &host->ksm;
	/* Of domains that could not be kept apart by nodes. */
	bool no_room = past->view.across.why == POL_ACROSS_NO_ROOM;
	uint64_t to = wanted(pol);
	enum pol_across_why why = POL_ACROSS_NO_ROOM;

	if (pol->config.merge_across == POL_ACROSS_KEEP || past->view.mode == POL_MERGE_NODES) {
		past->across.changing = false;
		return past->view.mode == POL_MERGE_NODES ? POL_ACROSS_DOMAINS : POL_ACROSS_KEPT;
	}
	if (past->across.changing)
		return go_on(pol, host);
	if (to == in->across_nodes)
		return POL_ACROSS_SET;
	if (pol_has(to)) {
		if (past->across.refused && pol->tick.now_us < past->across.rest_us)
			why = POL_ACROSS_REFUSED;
		else
			begin(pol, to, POL_WHY_ACROSS_SET);
	} else if (past->n_domains > 1) {
		/* Only the one whose turn it is has been measured. */
		return no_room ? POL_ACROSS_NO_ROOM : POL_ACROSS_DOMAINS;
	} else {
		why = weigh(pol, in);
		if (why == POL_ACROSS_CHANGING)
			begin(pol, !in->across_nodes,
			      in->across_nodes ? POL_WHY_ACROSS_FAR : POL_WHY_ACROSS_GAIN);
	}
	if (!past->across.changing)
		return why;
	/* Before KSM is stopped for it: does it fit? */
	if (in->pages_shared && !unmerging_fits(pol, host, &past->view.across)) {
		past->across.changing = false;
		return POL_ACROSS_NO_ROOM;
	}
	return go_on(pol, host);
}

bool merge_across(struct pol *pol, const struct pol_host *host)
{
	struct pol_across_view *view = &pol->merge.view.across;
	size_t with_memory = 0;

	for (size_t i = 0; i < host->n_nodes && i < POL_NODES_MAX; i++)
		with_memory +=
			pol_has(host->nodes[i].memory_bytes) && host->nodes[i].memory_bytes > 0;
	view->gain_bytes = pol_has(host->ksm.across_gain_bytes)
				   ? bytes_in(host->ksm.across_gain_bytes)
				   : POL_ABSENT;
	view->cost_us = waiting_us(pol);
	if (!pol_has(host->ksm.across_nodes) || with_memory < 2) {
		view->why = POL_ACROSS_NONE;
		pol->merge.across.changing = false;
		return false;
	}
	view->why = decide(pol, host);
	return pol->merge.across.changing;
}
