/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot to start from in the policy's tests: a host of 8 GiB and guests of 2 GiB that are
 * idle, answer and send good numbers. Tests change what they are about and step the policy;
 * balloons obey at once unless told otherwise.
 */
#ifndef MEMD_TESTS_POLICY_SCENE_H
#define MEMD_TESTS_POLICY_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "policy/parts.h"
#include "tests/unit/policy_guest.h"

#ifndef SCENE_MAX
#define SCENE_MAX 16
#endif

struct scene {
	struct pol_config config;
	struct pol *pol;
	struct pol_host host;
	struct pol_guest guests[SCENE_MAX];
	const struct pol_plan *plan;
	uint64_t now_us, smart_scan, urgent;
	bool obey; /* balloons reach their target within the tick, and the host gains from it */
};

static inline void scene_open(struct scene *s, size_t n_guests)
{
	*s = (struct scene){.now_us = 5000 * SEC};
	pol_config_default(&s->config);
	s->config.ksm_manage = false;
	s->pol = pol_new(&s->config, SCENE_MAX);
	assert_non_null(s->pol);
	s->host = (struct pol_host){
		.memory_bytes = 8 * GIB,
		.free_bytes = 4 * GIB,
		.available_bytes = 4 * GIB,
		.psi_some_us = POL_ABSENT,
		.psi_full_us = POL_ABSENT,
		.guests = s->guests,
		.n_guests = n_guests,
	};
	for (size_t i = 0; i < n_guests; i++)
		s->guests[i] = scene_guest(i + 1);
}

/* Swap on a disk, guests without balloons and numbers of their own that hold all they have. */
static inline void scene_open_silent(struct scene *s, size_t n_guests)
{
	scene_open(s, n_guests);
	s->host.swap_bytes = s->host.swap_free_bytes = 4 * GIB;
	for (size_t i = 0; i < n_guests; i++) {
		s->guests[i].has_balloon = false;
		s->guests[i].stat_age_us = POL_ABSENT;
		s->guests[i].reclaimable_bytes = s->guests[i].resident_bytes;
		s->guests[i].psi_some_us = POL_ABSENT;
	}
}

/* KSM is managed and stands still. */
static inline void scene_open_ksm(struct scene *s, size_t n_guests)
{
	scene_open(s, n_guests);
	s->config.ksm_manage = true;
	pol_configure(s->pol, &s->config);
	s->host.ksm = (struct pol_ksm){
		.present = true,
		.mergeable_any = n_guests > 0,
		.pages_to_scan = 100,
		.sleep_ms = 20,
		.zero_pages = POL_ABSENT,
	};
}

/* And all guests' memory is marked mergeable, on one tree of KSM's. */
static inline void scene_open_merging(struct scene *s, size_t n_guests)
{
	scene_open_ksm(s, n_guests);
	s->host.ksm.across_nodes = 1;
	for (size_t i = 0; i < n_guests; i++) {
		s->guests[i].merge_switch = s->guests[i].merge_on = true;
		s->guests[i].marked_bytes = s->guests[i].memory_bytes;
	}
}

/* Next to nothing free, the rest of what is available is cache, and KSM has merged so much. */
static inline void scene_cache_merged(struct pol_guest *guest, uint64_t merged)
{
	guest->stat_free_bytes = 16 * MIB;
	guest->stat_cache_bytes = guest->stat_available_bytes;
	guest->ksm_bytes = guest->merging_bytes = merged;
}

static inline void scene_close(struct scene *s)
{
	pol_free(s->pol);
}

static inline struct pol_guest *scene_find(struct scene *s, uint64_t id)
{
	for (size_t i = 0; i < s->host.n_guests; i++)
		if (s->guests[i].id == id)
			return &s->guests[i];
	return NULL;
}

/* The balloon takes free memory, then cache; all of it was held. */
static inline void scene_obey(struct scene *s, const struct pol_action *a)
{
	struct pol_guest *g = scene_find(s, a->guest);

	if (a->to < g->actual_bytes) {
		uint64_t bytes = g->actual_bytes - a->to;
		uint64_t free = min_u64(bytes, g->stat_free_bytes);

		g->stat_free_bytes -= free;
		g->stat_cache_bytes = sub_sat(g->stat_cache_bytes, bytes - free);
		g->stat_available_bytes = sub_sat(g->stat_available_bytes, bytes);
		g->resident_bytes -= min_u64(bytes, g->resident_bytes);
		s->host.available_bytes += bytes;
	} else {
		g->stat_free_bytes += a->to - g->actual_bytes;
		g->stat_available_bytes += a->to - g->actual_bytes;
	}
	if (!g->deflate_on_oom)
		g->stat_total_bytes = a->to - 40 * MIB;
	g->actual_bytes = a->to;
}

/* One step a second later. */
static inline void scene_step(struct scene *s)
{
	s->now_us += SEC;
	assert_int_equal(pol_step(s->pol, &s->host, s->now_us, &s->plan), 0);
	for (size_t i = 0; i < s->plan->n_actions; i++) {
		const struct pol_action *a = &s->plan->actions[i];

		if (a->kind == POL_BALLOON) {
			scene_find(s, a->guest)->target_bytes = a->to;
			if (s->obey)
				scene_obey(s, a);
		} else if (a->kind == POL_KSM_RUN) {
			s->host.ksm.run = a->to;
		} else if (a->kind == POL_KSM_RATE) {
			s->host.ksm.pages_to_scan = a->to;
			s->host.ksm.sleep_ms = a->to2;
			s->smart_scan = a->to3;
			s->urgent = a->to4;
		}
	}
}

static inline void scene_run(struct scene *s, unsigned int ticks)
{
	while (ticks--)
		scene_step(s);
}

/* Past the time in which nothing is taken from guests just seen. */
static inline void scene_settle(struct scene *s)
{
	scene_run(s, 30);
}

/* The plan's balloon action for a guest; NULL: none. */
static inline const struct pol_action *scene_action(const struct scene *s, uint64_t guest)
{
	for (size_t i = 0; i < s->plan->n_actions; i++)
		if (s->plan->actions[i].kind == POL_BALLOON && s->plan->actions[i].guest == guest)
			return &s->plan->actions[i];
	return NULL;
}

static inline const struct pol_action *scene_kind(const struct scene *s, enum pol_action_kind kind)
{
	for (size_t i = 0; i < s->plan->n_actions; i++)
		if (s->plan->actions[i].kind == kind)
			return &s->plan->actions[i];
	return NULL;
}

static inline const struct pol_view *scene_view(const struct scene *s, uint64_t guest)
{
	for (size_t i = 0; i < s->plan->n_views; i++)
		if (s->plan->views[i].guest == guest)
			return &s->plan->views[i];
	return NULL;
}

/* How much of what was planned is taken from, or given to, all guests. */
static inline uint64_t scene_taken(const struct scene *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->plan->n_actions; i++)
		if (s->plan->actions[i].kind == POL_BALLOON)
			sum += sub_sat(s->plan->actions[i].from, s->plan->actions[i].to);
	return sum;
}

#endif
