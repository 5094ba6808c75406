/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeded random histories for the policy's property tests: hosts of all sizes, guests that behave,
 * lie, hang, vanish and return, values up to 2^64-2. MEMD_SEED repeats one run, MEMD_STEPS sets how
 * many.
 */
#ifndef MEMD_TESTS_POLICY_HISTORY_H
#define MEMD_TESTS_POLICY_HISTORY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/policy_rules.h"

#define GUESTS 12

static uint64_t rng;

/* splitmix64 */
static inline uint64_t any(void)
{
	uint64_t z = rng += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static inline uint64_t below(uint64_t n)
{
	return n ? any() % n : 0;
}

static inline bool once_in(uint64_t n)
{
	return below(n) == 0;
}

/* Values nobody should send. */
static inline uint64_t extreme(void)
{
	static const uint64_t values[] = {
		0,	    1,		2,	    4095,	    4096,
		MIB,	    INT64_MAX,	1ull << 63, UINT64_MAX - 1, UINT64_MAX,
		1ull << 50, 1ull << 62, UINT32_MAX, 1ull << 32,
	};

	return once_in(4) ? any() : values[below(sizeof(values) / sizeof(values[0]))];
}

static inline void random_config(struct pol_config *config)
{
	const char *why;

	pol_config_default(config);
	if (once_in(3)) {
		config->low_ppm = 1 + (uint32_t)below(50000);
		config->hard_ppm = config->low_ppm + 1 + (uint32_t)below(50000);
		config->soft_ppm = config->hard_ppm + 1 + (uint32_t)below(50000);
		config->high_ppm = config->soft_ppm + 1 + (uint32_t)below(50000);
		config->hysteresis_ppm = (uint32_t)below(config->high_ppm);
		config->guest_reserve_ppm = (uint32_t)below(900000);
		config->guest_min_bytes = below(4 * GIB);
		config->step_bytes = 4 * MIB + below(GIB);
		config->trouble_hold_us = once_in(4) ? UINT64_MAX - 1 : below(1000 * SEC);
		config->stuck_after_us = 1 + below(30 * SEC);
		config->idle_tax_ppm = (uint32_t)below(990001);
		config->ksm_cpu_ppm = 1 + (uint32_t)below(PPM);
		config->ksm_trial_us = once_in(4) ? UINT64_MAX : 1 + below(1000 * SEC);
		config->ksm_manage = !once_in(4);
		config->balloon_manage = !once_in(8);
		config->ksm_anchor = !once_in(4);
		config->huge_split = !once_in(4);
		config->merge_across = (uint32_t)below(POL_ACROSS_COUNT);
	}
	assert_int_equal(pol_config_check(config, &why), 0);
}

struct history {
	struct pol_host host;
	struct pol_guest guests[GUESTS];
	struct pol_config config;
	uint64_t now_us, next_id;
	bool wild; /* extremes may appear anywhere */
};

static inline struct pol_guest random_guest(struct history *h)
{
	uint64_t memory = (128 + below(8192)) * MIB, used = below(memory), cache, device;

	if (once_in(20))
		memory = (1 + below(1024)) * GIB;
	cache = below(memory - used);
	device = once_in(3) ? below(memory / (4 * MIB)) * 2 * MIB : 0;
	return (struct pol_guest){
		.id = h->next_id++,
		.memory_bytes = memory,
		.min_bytes = once_in(3) ? below(memory) : POL_ABSENT,
		.shares = once_in(3) ? below(5000) : 1000,
		.answering = !once_in(10),
		.has_balloon = !once_in(10),
		.deflate_on_oom = once_in(2),
		.reporting = once_in(2),
		.mergeable = once_in(2),
		.domain = once_in(2) ? 0 : (uint32_t)below(3),
		.merge_switch = !once_in(4),
		.merge_on = once_in(2),
		.marked_bytes = once_in(4)   ? POL_ABSENT
				: once_in(2) ? 0
					     : memory,
		.bound_mask = once_in(4) ? POL_ABSENT : 1ull << below(3),
		.seen_mask = once_in(4) ? POL_ABSENT : 1ull << below(3),
		.merging_bytes = once_in(4) ? 0 : below(memory / 2),
		.ksm_bytes = below(memory / 4),
		.rmap_bytes = below(memory / 64),
		.mem_max_bytes = device,
		.mem_size_bytes = device,
		.mem_requested_bytes = device,
		.mem_block_bytes = 2 * MIB,
		.actual_bytes = memory,
		.target_bytes = POL_ABSENT,
		.resident_bytes =
			once_in(5) ? POL_ABSENT : used + cache + below(memory - used - cache),
		.stat_total_bytes = memory,
		.stat_free_bytes = memory - used - cache,
		.stat_available_bytes = memory - used - cache / 2,
		.stat_cache_bytes = cache,
		.stat_oom_kills = once_in(2) ? POL_ABSENT : below(10),
		.stat_alloc_stalls = once_in(2) ? POL_ABSENT : below(1000),
		.stat_age_us = once_in(10) ? POL_ABSENT : below(3 * SEC),
		.reclaimable_bytes = once_in(4)	  ? POL_ABSENT
				     : once_in(4) ? 0
						  : below(memory),
		.refault_bytes = once_in(4) ? POL_ABSENT : 0,
		.psi_some_us = once_in(2) ? POL_ABSENT : 0,
		.hot_bytes = once_in(2)	  ? POL_ABSENT
			     : once_in(8) ? extreme()
					  : below(memory),
		.hot_us = once_in(8) ? extreme() : 10 * SEC,
		.hot_age_us = once_in(8) ? extreme() : below(400 * SEC),
		.reclaim_blind = once_in(3),
	};
}

static inline void start(struct history *h)
{
	memset(h, 0, sizeof(*h));
	h->next_id = 1 + below(1000);
	h->now_us = once_in(10) ? UINT64_MAX - 1000 * SEC : below(1ull << 50);
	h->wild = once_in(2);
	random_config(&h->config);
	h->host.memory_bytes = (2 + below(64)) * GIB;
	h->host.available_bytes = below(h->host.memory_bytes);
	h->host.free_bytes = h->host.available_bytes / 2;
	h->host.psi_some_us = h->host.psi_full_us = POL_ABSENT;
	h->host.swap_bytes = once_in(2) ? 0 : below(8 * GIB);
	h->host.swap_free_bytes = once_in(10) ? POL_ABSENT : below(h->host.swap_bytes + 1);
	h->host.swap_cost_ppm = once_in(3) ? POL_ABSENT : below(PPM);
	for (size_t i = 0; i < POL_RUNG_COUNT; i++)
		h->host.rung_ppm[i] = once_in(2) ? POL_ABSENT : below(2 * PPM);
	h->host.ksm.present = !once_in(4);
	h->host.ksm.mergeable_any = !once_in(4);
	h->host.ksm.run = below(3);
	h->host.ksm.pages_to_scan = below(5000);
	h->host.ksm.sleep_ms = below(200);
	h->host.ksm.across_nodes = once_in(3) ? 0 : once_in(2) ? 1 : POL_ABSENT;
	h->host.ksm.pages_shared = once_in(2) ? 0 : below(100000);
	h->host.ksm.pages_sharing = h->host.ksm.pages_shared * below(10);
	h->host.ksm.back_bytes = once_in(4) ? POL_ABSENT : below(GIB);
	h->host.ksm.across_gain_bytes = once_in(4) ? POL_ABSENT : below(8 * GIB);
	h->host.ksm.unsorted = once_in(20);
	h->host.guests = h->guests;
	h->host.n_guests = below(GUESTS + 1);
	for (size_t i = 0; i < h->host.n_guests; i++)
		h->guests[i] = random_guest(h);
}

static inline void disturb_guest(struct pol_guest *g, bool wild)
{
	uint64_t *words = (uint64_t *)(void *)&g->actual_bytes;
	size_t n = (sizeof(*g) - offsetof(struct pol_guest, actual_bytes)) / sizeof(uint64_t);

	/* The balloon follows, if it feels like it. */
	if (pol_has(g->target_bytes) && g->target_bytes <= g->memory_bytes && !once_in(4)) {
		if (once_in(2))
			g->actual_bytes = g->target_bytes;
		else
			g->actual_bytes = g->actual_bytes / 2 + g->target_bytes / 2;
		g->stat_total_bytes = g->actual_bytes;
	}
	/* So does its memory device. */
	if (g->mem_max_bytes && once_in(4)) {
		g->mem_requested_bytes = below(g->mem_max_bytes / (2 * MIB) + 1) * 2 * MIB;
		if (once_in(2))
			g->mem_size_bytes = g->mem_requested_bytes;
	}
	if (once_in(3)) {
		g->stat_available_bytes = below(min_u64(g->actual_bytes, 1ull << 40) + 1);
		g->stat_free_bytes = g->stat_available_bytes / (1 + below(4));
		g->stat_cache_bytes = g->stat_available_bytes - g->stat_free_bytes;
	}
	if (once_in(30))
		g->stat_oom_kills++;
	if (once_in(20))
		g->stat_alloc_stalls += below(100);
	if (once_in(20)) {
		g->stat_scanned_bytes += below(GIB);
		g->stat_reclaimed_bytes += below(128 * MIB);
	}
	if (once_in(20))
		g->stat_swap_in_bytes += below(64 * MIB);
	if (once_in(20))
		g->stat_major_faults += below(10000);
	if (once_in(30))
		g->answering = !g->answering;
	if (once_in(30))
		g->has_balloon = !g->has_balloon;
	if (once_in(60))
		g->reclaim_blind = !g->reclaim_blind;
	/* The kernel comes to say what the monitor does, or somebody else has a hand in it. */
	if (once_in(4))
		g->marked_bytes = once_in(20) ? POL_ABSENT : g->merge_on ? g->memory_bytes : 0;
	if (once_in(60))
		g->merge_on = !g->merge_on;
	if (once_in(30))
		g->merging_bytes = below(min_u64(g->memory_bytes, BYTES_MAX));
	if (once_in(4) && pol_has(g->refault_bytes))
		g->refault_bytes += below(MIB);
	if (once_in(4) && pol_has(g->psi_some_us))
		g->psi_some_us += below(20 * MSEC);
	if (wild && once_in(10))
		words[below(n)] = extreme();
	if (wild && once_in(60))
		g->memory_bytes = extreme();
	if (wild && once_in(60))
		g->shares = extreme();
	if (wild && once_in(60))
		g->mem_max_bytes = extreme();
	if (wild && once_in(60))
		g->mem_block_bytes = extreme();
}

/* Up to four nodes, and where the guests are on them, some of it out of this world. */
static inline void disturb_nodes(struct history *h)
{
	struct pol_host *host = &h->host;

	if (once_in(50))
		host->n_nodes = below(5);
	if (once_in(20))
		host->numa_balancing = once_in(3) ? POL_ABSENT : below(3);
	for (uint32_t i = 0; i < host->n_nodes; i++) {
		struct pol_node *node = &host->nodes[i];

		node->node = i;
		node->memory_bytes = once_in(40) ? extreme() : host->memory_bytes / host->n_nodes;
		node->free_bytes = once_in(40) ? extreme() : below(host->memory_bytes);
		node->cache_bytes = once_in(4) ? extreme() : 0;
		node->cpus = once_in(4) ? 0 : once_in(20) ? extreme() : 4;
		for (size_t k = 0; k < POL_PLACE_NODES; k++)
			node->distance[k] = once_in(20) ? extreme() : 10 + below(40);
	}
	for (size_t i = 0; i < host->n_guests; i++) {
		struct pol_guest *g = &h->guests[i];

		g->cpu_us += once_in(3) ? 0 : below(2 * SEC);
		if (once_in(200)) {
			g->far_bytes = once_in(4) ? POL_ABSENT : below(4 * GIB);
			g->crossed_bytes = once_in(4) ? POL_ABSENT : below(2) * below(GIB);
		}
		if (once_in(100)) {
			g->numa_bar = once_in(2) ? POL_NUMA_FREE
						 : (enum pol_numa_why)below(POL_NUMA_COUNT);
			g->cpu_node = once_in(4) ? POL_ABSENT : below(5);
			g->cpu_node_ppm = once_in(4) ? extreme() : below(PPM + 1);
			g->huge_bytes = once_in(4) ? extreme() : below(g->memory_bytes);
			g->vcpus = once_in(4) ? extreme() : 1 + below(4);
			for (size_t k = 0; k < POL_PLACE_NODES; k++)
				g->node_bytes[k] = once_in(10)	 ? extreme()
						   : once_in(10) ? POL_ABSENT
								 : below(GIB);
		}
		if (once_in(30))
			g->numa_moving = once_in(8);
	}
}

static inline void disturb(struct history *h)
{
	struct pol_host *host = &h->host;
	uint64_t *ksm_words =
		(uint64_t *)(void *)((char *)&host->ksm + offsetof(struct pol_ksm, run));

	h->now_us = add_sat(h->now_us, once_in(50) ? below(100 * SEC) : SEC / 2 + below(SEC));
	host->available_bytes =
		once_in(4) ? below(host->memory_bytes)
			   : sub_sat(host->available_bytes + below(200 * MIB), below(200 * MIB));
	if (h->wild && once_in(40))
		host->available_bytes = extreme();
	if (h->wild && once_in(200))
		host->memory_bytes = max_u64(extreme() / 2, 1);
	host->reclaim_busy = once_in(4);
	if (h->wild && once_in(20))
		host->swap_free_bytes = extreme();
	if (h->wild && once_in(40))
		host->swap_cost_ppm = extreme();
	if (h->wild && once_in(40))
		host->rung_ppm[below(POL_RUNG_COUNT)] = extreme();
	host->ksm.cpu_us += below(SEC);
	host->ksm.pages_scanned += below(100000);
	host->ksm.full_scans += once_in(10);
	host->ksm.pages_sharing += below(2000);
	if (pol_has(host->ksm.back_bytes) && once_in(5))
		host->ksm.back_bytes += below(64 * MIB);
	if (once_in(10))
		host->ksm.unsorted = once_in(8);
	if (h->wild && once_in(20))
		ksm_words[below(12)] = extreme();
	for (size_t i = 0; i < host->n_guests; i++)
		disturb_guest(&h->guests[i], h->wild);
	disturb_nodes(h);
	if (host->n_guests && once_in(40)) {
		size_t gone = below(host->n_guests);

		memmove(&h->guests[gone], &h->guests[gone + 1],
			(host->n_guests - gone - 1) * sizeof(h->guests[0]));
		host->n_guests--;
	}
	if (host->n_guests < GUESTS && once_in(30))
		h->guests[host->n_guests++] = random_guest(h);
}

static inline void obey_ksm(struct history *h, const struct pol_action *a)
{
	struct pol_ksm *ksm = &h->host.ksm;

	for (size_t k = 0; a->kind == POL_MERGE && k < h->host.n_guests; k++) {
		if (h->guests[k].id != a->guest)
			continue;
		h->guests[k].merge_on = a->to;
		h->guests[k].marked_bytes = a->to ? h->guests[k].memory_bytes : 0;
	}
	if (a->kind == POL_KSM_NODES) {
		ksm->across_nodes = a->to;
		ksm->pages_shared = 0;
	}
	if (a->kind == POL_KSM_RUN)
		ksm->run = a->to;
	if (a->kind == POL_KSM_RATE) {
		ksm->pages_to_scan = a->to;
		ksm->sleep_ms = a->to2;
	}
}

/* All of it is cold, and goes. */
static inline void obey_reclaim(struct history *h, const struct pol_action *a)
{
	for (size_t k = 0; a->kind == POL_RECLAIM && k < h->host.n_guests; k++) {
		struct pol_guest *g = &h->guests[k];
		uint64_t bytes = a->from - a->to;

		if (g->id != a->guest)
			continue;
		g->resident_bytes -= bytes;
		g->reclaimable_bytes -= bytes;
		g->swapped_bytes += bytes;
		h->host.swap_free_bytes -= bytes;
		h->host.available_bytes += a->gain_bytes;
	}
}

static inline void obey(struct history *h, const struct pol_plan *plan)
{
	for (size_t i = 0; i < plan->n_actions; i++) {
		const struct pol_action *a = &plan->actions[i];

		if (once_in(20))
			continue; /* lost on the way */
		for (size_t k = 0; a->kind == POL_BALLOON && k < h->host.n_guests; k++)
			if (h->guests[k].id == a->guest)
				h->guests[k].target_bytes = a->to;
		obey_ksm(h, a);
		obey_reclaim(h, a);
	}
}

static inline uint64_t steps_wanted(uint64_t n)
{
	const char *text = getenv("MEMD_STEPS");

	return text ? strtoull(text, NULL, 0) : n;
}

static inline uint64_t first_seed(void)
{
	const char *text = getenv("MEMD_SEED");

	return text ? strtoull(text, NULL, 0) : 1;
}

#endif
