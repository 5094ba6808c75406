/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small model of a host and its guests for the policy's tests: guests that use, cache and free
 * memory, balloons of a given speed that share one CPU, statistics that arrive late, and a host
 * whose available memory is what is left. Integers, deterministic, steps of 100 ms.
 */
#ifndef MEMD_TESTS_POLICY_WORLD_H
#define MEMD_TESTS_POLICY_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "policy/parts.h"

#define WORLD_MAX  16
#define SUBSTEP_US 100000ull
#define KEEP_BYTES (16 * MIB) /* a guest's kernel does not let free memory fall below */

enum world_kind { WORLD_HONEST, WORLD_LIAR, WORLD_STUCK, WORLD_SILENT };

struct world_guest {
	enum world_kind kind;
	uint64_t memory, actual, target;
	uint64_t used, cache, touched; /* touched: free in the guest, held by the host */
	uint64_t grow_per_s, grow_to, grow_at_us, shrink_at_us, shrink_to;
	bool grew; /* reached grow_to */
	uint64_t grew_us;
	uint64_t ooms, stalls, least_available, swapped;
	uint64_t stat_at_us, stat_free, stat_available, stat_cache, stat_ooms, stat_stalls;
	bool has_target;
};

struct world {
	uint64_t memory, own;				       /* of the host; used by itself */
	uint64_t inflate_per_s, deflate_per_s, balloons_per_s; /* each, each, all inflating */
	uint64_t stats_every_us;
	bool reporting;
	struct world_guest guests[WORLD_MAX];
	size_t n;

	uint64_t now_us, swapped;
	struct pol *pol;
	struct pol_guest in[WORLD_MAX];
	struct pol_host host;
	const struct pol_plan *plan;
	/* results */
	uint64_t actions, low_ticks, low_run, low_run_most, least_available, moved;
};

static inline uint64_t world_free(const struct world_guest *g)
{
	uint64_t use = g->used + g->cache;

	return g->actual > use ? g->actual - use : 0;
}

static inline uint64_t world_available(const struct world_guest *g)
{
	uint64_t sum = world_free(g) + g->cache * 9 / 10;

	return sum > KEEP_BYTES ? sum - KEEP_BYTES : 0;
}

static inline uint64_t world_held(const struct world_guest *g)
{
	return g->used + g->cache + g->touched;
}

static inline uint64_t world_host_available(struct world *w)
{
	uint64_t sum = w->own;

	for (size_t i = 0; i < w->n; i++)
		sum += world_held(&w->guests[i]);
	sum -= sum > w->swapped ? w->swapped : sum;
	/* What does not fit is swapped and stays so. */
	if (sum > w->memory) {
		w->swapped += sum - w->memory;
		sum = w->memory;
	}
	return w->memory - sum;
}

/* Takes up to `bytes` from free memory, then cache; returns what was got. */
static inline uint64_t world_allocate(struct world_guest *g, uint64_t bytes)
{
	uint64_t free = world_free(g), got = 0, part;

	if (free > KEEP_BYTES) {
		part = bytes < free - KEEP_BYTES ? bytes : free - KEEP_BYTES;
		g->touched -= (uint64_t)((double)g->touched * (double)part / (double)free);
		got += part;
	}
	part = bytes - got < g->cache * 9 / 10 ? bytes - got : g->cache * 9 / 10;
	g->cache -= part;
	return got + part;
}

static inline void world_work(struct world *w, struct world_guest *g)
{
	uint64_t bytes = g->grow_per_s * SUBSTEP_US / SEC, got;

	if (g->shrink_at_us && w->now_us >= g->shrink_at_us && g->used > g->shrink_to) {
		if (!w->reporting)
			g->touched += g->used - g->shrink_to;
		g->used = g->shrink_to;
		g->grow_per_s = 0;
	}
	if (g->grow_per_s && w->now_us >= g->grow_at_us && g->used < g->grow_to) {
		if (bytes > g->grow_to - g->used)
			bytes = g->grow_to - g->used;
		got = world_allocate(g, bytes);
		g->used += got;
		if (got < bytes)
			g->ooms++;
		if (g->used >= g->grow_to && !g->grew) {
			g->grew = true;
			g->grew_us = w->now_us - g->grow_at_us;
		}
	}
	if (world_available(g) < g->least_available)
		g->least_available = world_available(g);
}

static inline void world_balloons(struct world *w)
{
	uint64_t busy = 0, each;

	for (size_t i = 0; i < w->n; i++)
		busy += w->guests[i].target < w->guests[i].actual;
	each = busy ? w->balloons_per_s / busy : 0;
	each = (each < w->inflate_per_s ? each : w->inflate_per_s) * SUBSTEP_US / SEC;
	for (size_t i = 0; i < w->n; i++) {
		struct world_guest *g = &w->guests[i];
		uint64_t bytes, most = w->deflate_per_s * SUBSTEP_US / SEC;

		if (g->kind == WORLD_STUCK)
			continue;
		if (g->target < g->actual) {
			bytes = g->actual - g->target < each ? g->actual - g->target : each;
			bytes = world_allocate(g, bytes);
			g->actual -= bytes;
			w->moved += bytes;
		} else {
			bytes = g->target - g->actual < most ? g->target - g->actual : most;
			g->actual += bytes;
			w->moved += bytes;
		}
	}
}

static inline void world_stats(struct world *w, struct world_guest *g)
{
	if (g->kind == WORLD_SILENT || w->now_us < g->stat_at_us + w->stats_every_us)
		return;
	g->stat_at_us = w->now_us;
	g->stat_free = world_free(g);
	g->stat_available = world_available(g);
	g->stat_cache = g->cache;
	g->stat_ooms = g->ooms;
	g->stat_stalls = g->stalls;
	if (g->kind == WORLD_LIAR) {
		g->stat_free = g->stat_available = MIB;
		g->stat_ooms = w->now_us / SEC;
	}
}

static inline void world_snapshot(struct world *w)
{
	for (size_t i = 0; i < w->n; i++) {
		const struct world_guest *g = &w->guests[i];
		struct pol_guest *in = &w->in[i];
		bool silent = g->kind == WORLD_SILENT;

		*in = (struct pol_guest){
			.id = i + 1,
			.memory_bytes = g->memory,
			.min_bytes = POL_ABSENT,
			.shares = 1000,
			.answering = true,
			.has_balloon = true,
			.reporting = w->reporting,
			.mergeable = true,
			.actual_bytes = g->actual,
			.target_bytes = g->has_target ? g->target : POL_ABSENT,
			.resident_bytes = world_held(g),
			.cpu_us = w->now_us / 100,
			.stat_total_bytes = silent ? POL_ABSENT : g->actual - 20 * MIB,
			.stat_free_bytes = silent ? POL_ABSENT : g->stat_free,
			.stat_available_bytes = silent ? POL_ABSENT : g->stat_available,
			.stat_cache_bytes = silent ? POL_ABSENT : g->stat_cache,
			.stat_swap_in_bytes = 0,
			.stat_swap_out_bytes = 0,
			.stat_major_faults = 0,
			.stat_oom_kills = g->stat_ooms,
			.stat_alloc_stalls = g->stat_stalls,
			.stat_age_us = silent ? POL_ABSENT : w->now_us - g->stat_at_us,
		};
	}
	w->host.memory_bytes = w->memory;
	w->host.available_bytes = w->host.free_bytes = world_host_available(w);
	w->host.swap_bytes = w->host.swap_free_bytes = 4 * GIB;
	w->host.psi_some_us = w->host.psi_full_us = POL_ABSENT;
	w->host.guests = w->in;
	w->host.n_guests = w->n;
}

/* One second: ten substeps of the model, one of the policy. Returns the number of actions. */
static inline size_t world_tick(struct world *w, bool verbose)
{
	uint64_t left;

	for (unsigned int s = 0; s < SEC / SUBSTEP_US; s++) {
		w->now_us += SUBSTEP_US;
		for (size_t i = 0; i < w->n; i++)
			world_work(w, &w->guests[i]);
		world_balloons(w);
		for (size_t i = 0; i < w->n; i++)
			world_stats(w, &w->guests[i]);
		left = world_host_available(w);
		if (left < w->least_available)
			w->least_available = left;
	}
	world_snapshot(w);
	if (pol_step(w->pol, &w->host, w->now_us, &w->plan) < 0)
		return SIZE_MAX;
	w->low_run = w->plan->state == POL_STATE_LOW ? w->low_run + 1 : 0;
	w->low_ticks += w->plan->state == POL_STATE_LOW;
	if (w->low_run > w->low_run_most)
		w->low_run_most = w->low_run;
	for (size_t i = 0; i < w->plan->n_actions; i++) {
		const struct pol_action *a = &w->plan->actions[i];

		if (a->kind != POL_BALLOON)
			continue;
		w->guests[a->guest - 1].target = a->to;
		w->guests[a->guest - 1].has_target = true;
		w->actions++;
		if (verbose)
			printf("  %4llu s %s g%llu %llu -> %llu MiB, floor %llu ent %lld why %d "
			       "(avail %llu need %llu)\n",
			       (unsigned long long)(w->now_us / SEC), pol_state_name(a->state),
			       (unsigned long long)a->guest, (unsigned long long)(a->from / MIB),
			       (unsigned long long)(a->to / MIB),
			       (unsigned long long)(a->floor_bytes / MIB),
			       (long long)(a->entitled_bytes / MIB), a->reason,
			       (unsigned long long)(a->available_bytes / MIB),
			       (unsigned long long)(a->need_bytes / MIB));
	}
	return w->plan->n_actions;
}

static inline struct world_guest *world_add(struct world *w, enum world_kind kind, uint64_t memory,
					    uint64_t used, uint64_t cache, uint64_t touched)
{
	struct world_guest *g = &w->guests[w->n++];

	*g = (struct world_guest){
		.kind = kind,
		.memory = memory,
		.actual = memory,
		.target = memory,
		.used = used,
		.cache = cache,
		.touched = touched,
		.least_available = UINT64_MAX,
	};
	return g;
}

/* The lab's host: 8 GiB, one emulated CPU, balloons of 30 to 100 MiB/s. */
static inline void world_lab(struct world *w)
{
	static struct pol_config config;

	memset(w, 0, sizeof(*w));
	pol_config_default(&config);
	w->pol = pol_new(&config, WORLD_MAX);
	w->memory = 8 * GIB;
	w->own = 500 * MIB;
	w->inflate_per_s = 60 * MIB;
	w->deflate_per_s = 370 * MIB;
	w->balloons_per_s = 120 * MIB;
	w->stats_every_us = SEC;
	w->least_available = UINT64_MAX;
	w->now_us = 1000 * SEC;
}

#endif
