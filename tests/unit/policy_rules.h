/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every plan must keep to, whatever the snapshot: used by the property tests and the fuzzer.
 * Returns the rule that is broken, or NULL.
 */
#ifndef MEMD_TESTS_POLICY_RULES_H
#define MEMD_TESTS_POLICY_RULES_H

#include "policy/parts.h"

static inline const struct pol_guest *rules_guest(const struct pol_host *host, uint64_t id)
{
	for (size_t i = 0; i < host->n_guests; i++)
		if (host->guests[i].id == id)
			return &host->guests[i];
	return NULL;
}

static inline const char *rules_balloon(const struct pol_host *host, const struct pol_plan *plan,
					const struct pol_action *a)
{
	const struct pol_guest *g = rules_guest(host, a->guest);
	uint64_t memory;

	if (!g)
		return "an order for a guest that is not there";
	memory = min_u64(g->memory_bytes, BYTES_MAX);
	if (!g->answering || !g->has_balloon)
		return "an order for a guest to be left alone";
	if (a->to > memory)
		return "a target above the guest's memory";
	if (a->to == 0)
		return "a target of nothing";
	if (a->to2 >= a->to || a->to2 > g->mem_max_bytes || (a->to2 && a->to2 % g->mem_block_bytes))
		return "a memory device's part that is none";
	if (a->reason == POL_WHY_RELEASE && a->to != min_u64(g->actual_bytes, memory))
		return "a release to something else than what the guest has";
	if (a->reason == POL_WHY_HOST_SHORT || a->reason == POL_WHY_FOR_OTHER ||
	    a->reason == POL_WHY_COLLECT) {
		if (a->to >= g->actual_bytes)
			return "taking that does not take";
		if (a->to < a->floor_bytes)
			return "a target below the floor";
		if (pol_has(g->min_bytes) && a->to < min_u64(g->min_bytes, memory))
			return "a target below the configured minimum";
		if (a->gain_bytes > BYTES_MAX)
			return "a gain out of this world";
		if (!(a->rejected & (1u << POL_RUNG_KSM)))
			return "taking that looked at no cheaper rung";
	} else if (a->reason == POL_WHY_TROUBLE || a->reason == POL_WHY_GUEST_NEEDS ||
		   a->reason == POL_WHY_HOST_PLENTY) {
		if (a->to <= a->from)
			return "giving that does not give";
		if (a->reason == POL_WHY_HOST_PLENTY && plan->state != POL_STATE_HIGH)
			return "giving back by a host that has not plenty";
	} else if (a->reason == POL_WHY_DEVICE_STUCK) {
		if (a->to >= g->actual_bytes || a->to < a->floor_bytes)
			return "a stuck memory device's order that takes nothing or too much";
	} else if (a->reason != POL_WHY_RELEASE) {
		return "a balloon order for a strange reason";
	}
	return NULL;
}

static inline const char *rules_reclaim(const struct pol_host *host, const struct pol_action *a)
{
	const struct pol_guest *g = rules_guest(host, a->guest);

	if (!g)
		return "reclaim from a guest that is not there";
	if (!pol_has(g->reclaimable_bytes) || g->pool)
		return "reclaim from a guest that has nothing for it";
	if (a->to >= a->from || a->from > g->resident_bytes)
		return "reclaim of nothing, or from more than is resident";
	if (a->from - a->to > g->reclaimable_bytes)
		return "reclaim of more than can be reclaimed";
	if (a->to < a->floor_bytes)
		return "reclaim below the floor";
	if (pol_has(g->min_bytes) &&
	    a->to < min_u64(min_u64(g->min_bytes, BYTES_MAX), min_u64(g->memory_bytes, BYTES_MAX)))
		return "reclaim below the configured minimum";
	if (a->gain_bytes > a->from - a->to)
		return "a gain above what is reclaimed";
	if (host->reclaim_busy)
		return "reclaim while the last orders are worked on";
	if (!(a->rejected & (1u << POL_RUNG_BALLOON_FREE)))
		return "reclaim that looked at no balloon";
	return NULL;
}

/* On a hard pressed host guests are given their shares, and what others leave of theirs. */
static inline bool rules_shares(const struct pol_plan *plan)
{
	uint64_t beyond = 0, left = 0;

	if (plan->state < POL_STATE_HARD)
		return true;
	for (size_t i = 0; i < plan->n_actions; i++) {
		const struct pol_action *a = &plan->actions[i];

		if (a->kind == POL_BALLOON && a->reason != POL_WHY_RELEASE && a->to > a->from)
			beyond += sub_sat(a->to, max_u64(a->entitled_bytes, a->from));
	}
	for (size_t i = 0; i < plan->n_views; i++)
		if (pol_has(plan->views[i].entitled_bytes))
			left = add_sat(left, sub_sat(plan->views[i].entitled_bytes,
						     plan->views[i].target_bytes));
	return beyond <= left;
}

static inline bool rules_may_merge(const struct pol_guest *g)
{
	return g->merge_on || g->marked_bytes != 0;
}

/* Could KSM merge pages of two trust domains, if it ran? The guest `also` (0: none) counts as
 * mergeable too. */
static inline bool rules_can_cross(const struct pol_host *host, size_t n, uint64_t also)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++) {
			const struct pol_guest *a = &host->guests[i], *b = &host->guests[k];

			if (a->domain == b->domain || (!rules_may_merge(a) && a->id != also) ||
			    (!rules_may_merge(b) && b->id != also))
				continue;
			if (host->ksm.across_nodes != 0 ||
			    (a->bound_mask | a->seen_mask) & (b->bound_mask | b->seen_mask))
				return true;
		}
	return false;
}

static inline const char *rules_merge(const struct pol_host *host, size_t n,
				      const struct pol_plan *plan, const struct pol_action *a)
{
	const struct pol_guest *g = rules_guest(host, a->guest);
	uint64_t available =
		pol_has(host->available_bytes) ? host->available_bytes : host->free_bytes;

	if (!g)
		return "a merge order for a guest that is not there";
	if (!g->answering || !g->merge_switch)
		return "a merge order for a guest to be left alone";
	if (a->to > 1 || a->to == g->merge_on)
		return "a merge order that changes nothing";
	if (a->to && (host->ksm.unsorted || rules_can_cross(host, n, g->id)))
		return "a guest made mergeable beside another trust domain";
	if (!a->to && pol_has(g->merging_bytes) && g->merging_bytes &&
	    min_u64(g->merging_bytes, BYTES_MAX) > sub_sat(available, plan->high_bytes))
		return "unmerging that does not fit";
	return NULL;
}

static inline const char *rules_nodes(const struct pol_config *config, const struct pol_host *host,
				      const struct pol_plan *plan, const struct pol_action *a)
{
	uint64_t available =
		pol_has(host->available_bytes) ? host->available_bytes : host->free_bytes;
	uint64_t pages = pol_has(host->ksm.pages_sharing) ? host->ksm.pages_sharing : 0;

	if (a->to > 1 || a->to == host->ksm.across_nodes)
		return "merge_across_nodes written what it is already";
	if (config->merge_across == POL_ACROSS_KEEP)
		return "merge_across_nodes written though it is to be kept";
	if ((config->merge_across == POL_ACROSS_YES && !a->to) ||
	    (config->merge_across == POL_ACROSS_NO && a->to))
		return "merge_across_nodes against the configuration";
	if (a->to2 && mul_div(pages, PAGE, 1) > sub_sat(available, plan->high_bytes))
		return "unmerging all that does not fit";
	return NULL;
}

static inline const char *rules_numa(const struct pol_config *config, const struct pol_host *host,
				     size_t n, const struct pol_action *a)
{
	const struct pol_guest *g = rules_guest(host, a->guest);
	const struct pol_node *to = NULL;

	for (size_t i = 0; i < host->n_nodes; i++)
		if (host->nodes[i].node == a->to)
			to = &host->nodes[i];
	if (!config->numa_manage)
		return "a move though moves are off";
	if (host->numa_balancing == 1)
		return "a move beside the kernel's balancing";
	if (!g || g->numa_bar != POL_NUMA_FREE)
		return "a move of a guest to be left alone";
	for (size_t i = 0; i < n; i++)
		if (host->guests[i].numa_moving)
			return "a move while one is under way";
	if (!to || !to->cpus || a->from & 1ull << a->to)
		return "a move to nowhere";
	if (a->to2 > numa_room(config, to))
		return "a move into a node without room";
	if (a->reason == POL_WHY_NUMA_REMOTE && a->gain_us < a->cost_us)
		return "a move that does not pay";
	return NULL;
}

/* Grants on the swap rung may go beyond what is free by so much, all of them together. */
static inline uint64_t rules_swap_room(const struct pol_config *config, const struct pol_host *host)
{
	uint64_t room =
		pol_has(host->swap_free_bytes)
			? min_u64(min_u64(host->swap_free_bytes, BYTES_MAX) / 4, config->step_bytes)
			: 0;
	uint64_t cost = pol_has(host->swap_cost_ppm) ? host->swap_cost_ppm : 0;

	return ppm_of(room, sub_sat(PPM, cost));
}

/* Only a pressed host swaps for a guest, and only for one that uses all it has, as the host itself
 * sees, but for a part of its reserve. */
static inline bool rules_may_swap_for(const struct pol_config *config, const struct pol_host *host,
				      const struct pol_plan *plan, const struct pol_action *a)
{
	const struct pol_guest *g = rules_guest(host, a->guest);
	uint64_t reserve = max_u64(config->guest_reserve_bytes, config->guest_reserve_max_bytes);
	uint64_t swapped = g && pol_has(g->swapped_bytes) ? g->swapped_bytes : 0;

	if (plan->state < POL_STATE_HARD || a->to <= a->from || !g || !pol_has(g->resident_bytes))
		return false;
	return add_sat(add_sat(min_u64(g->resident_bytes, BYTES_MAX), min_u64(swapped, BYTES_MAX)),
		       reserve / 4) >=
	       min_u64(min_u64(g->actual_bytes, BYTES_MAX), min_u64(g->memory_bytes, BYTES_MAX));
}

static inline const char *rules_check(const struct pol_config *config, const struct pol_host *host,
				      const struct pol_plan *plan, size_t max_guests)
{
	size_t n = host->n_guests < max_guests ? host->n_guests : max_guests;
	uint64_t given = 0, from_swap = 0, reclaimed = 0;
	uint64_t free = pol_has(host->available_bytes) ? host->available_bytes : host->free_bytes;
	bool gave = false, stopped = false;

	if (plan->n_views != n)
		return "views do not match the guests";
	if (plan->state > POL_STATE_LOW)
		return "no such state";
	if (plan->n_actions > 3 * n + 5)
		return "more actions than guests";
	for (size_t i = 0; i < plan->n_actions; i++) {
		const struct pol_action *a = &plan->actions[i];
		const char *broken = NULL;

		if (a->reason == POL_WHY_NONE || a->reason >= POL_WHY_COUNT ||
		    a->rung >= POL_RUNG_COUNT || a->state != plan->state)
			return "an action without reason, rung or state";
		switch (a->kind) {
		case POL_BALLOON:
			if (!config->balloon_manage)
				return "a balloon order though balloons are off";
			broken = rules_balloon(host, plan, a);
			if (a->reason == POL_WHY_HOST_SHORT || a->reason == POL_WHY_FOR_OTHER ||
			    a->reason == POL_WHY_COLLECT) {
				if (gave)
					broken = "taking after giving";
			} else {
				gave = true;
			}
			if (a->reason != POL_WHY_RELEASE && a->to > a->from)
				given = add_sat(given, a->to - a->from);
			if (a->rung == POL_RUNG_SWAP) {
				from_swap = add_sat(from_swap, sub_sat(a->to, a->from));
				if (!rules_may_swap_for(config, host, plan, a))
					broken = "a host made to swap without need";
			}
			for (size_t k = 0; k < i; k++)
				if (plan->actions[k].kind == POL_BALLOON &&
				    plan->actions[k].guest == a->guest)
					broken = "two orders for one guest";
			break;
		case POL_RECLAIM:
			if (!config->reclaim_manage)
				return "reclaim though it is off";
			broken = rules_reclaim(host, a);
			reclaimed = add_sat(reclaimed, sub_sat(a->from, a->to));
			break;
		case POL_MERGE:
			broken = rules_merge(host, n, plan, a);
			break;
		case POL_KSM_NODES:
			broken = rules_nodes(config, host, plan, a);
			break;
		case POL_KSM_RUN:
			stopped |= a->to == 0;
			if (a->to > 1)
				broken = "KSM run neither 0 nor 1";
			if (a->to && (host->ksm.unsorted || rules_can_cross(host, n, 0)))
				broken = "KSM started beside two trust domains";
			if (a->to == host->ksm.run)
				broken = "KSM written what it is already";
			break;
		case POL_KSM_RATE:
			if (a->to < 16 || a->to > 30000 || a->to2 < 10 || a->to2 > 1000)
				broken = "a KSM rate out of bounds";
			if (a->to4 && a->reason != POL_WHY_KSM_PRESSURE)
				broken = "ksmd urgent on a host that is not short";
			break;
		case POL_NUMA_MOVE:
			broken = rules_numa(config, host, n, a);
			break;
		default:
			broken = "no such action";
		}
		if (a->kind != POL_BALLOON && a->kind != POL_RECLAIM && a->kind != POL_NUMA_MOVE &&
		    (!config->ksm_manage || !host->ksm.present))
			broken = "KSM touched though it is not ours";
		if (broken)
			return broken;
	}
	if (!rules_shares(plan))
		return "a hard pressed host giving more than shares and what is left of them";
	if (host->ksm.run == 1 && host->ksm.present && config->ksm_manage && !stopped &&
	    (host->ksm.unsorted || rules_can_cross(host, n, 0)))
		return "KSM runs on beside two trust domains";
	if (plan->merge.anchor_bytes &&
	    (!config->ksm_anchor || host->ksm.run > 1 || rules_can_cross(host, n, 0)))
		return "merged pages held though they are not to be, or of two trust domains";
	if (plan->merge.anchor_grows &&
	    (!plan->merge.anchor_bytes || plan->merge.stopped || host->ksm.unsorted))
		return "more merged pages held while KSM stands still";
	if (plan->merge.back_bytes &&
	    (!plan->merge.anchor_grows || !pol_has(host->swap_free_bytes) ||
	     plan->merge.back_bytes > host->swap_free_bytes / 4 ||
	     plan->merge.back_bytes > host->memory_bytes / 16))
		return "more read back from swap than there is room for";
	/* What is given is free now, but for grants on the swap rung: those may go beyond it by
	 * what swapping can free of a quarter of the swap space left, and by a step at most. */
	if (given - from_swap > free)
		return "more given than is free";
	if (given > add_sat(free, from_swap ? rules_swap_room(config, host) : 0))
		return "more given than is free and swap has room for";
	if (reclaimed > min_u64(host->swap_free_bytes, host->swap_bytes))
		return "more reclaimed than swap has room for";
	for (size_t i = 0; i < n; i++) {
		const struct pol_view *v = &plan->views[i];

		if (v->guest != host->guests[i].id)
			return "a view of another guest";
		if (v->trust >= POL_TRUST_COUNT || v->stats_trusted != (v->trust == POL_TRUST_OK))
			return "a view that contradicts itself";
		if (v->floor_bytes > BYTES_MAX ||
		    (pol_has(v->working_set_bytes) && v->working_set_bytes > BYTES_MAX))
			return "a view out of this world";
	}
	return NULL;
}

#endif
