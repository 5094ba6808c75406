/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of reclaim have in common: a host made short, and orders that are obeyed. */
#ifndef MEMD_TESTS_RECLAIM_SCENE_H
#define MEMD_TESTS_RECLAIM_SCENE_H

#include "tests/unit/policy_scene.h"

static inline const struct pol_action *reclaim_of(const struct scene *s, uint64_t guest)
{
	for (size_t i = 0; i < s->plan->n_actions; i++)
		if (s->plan->actions[i].kind == POL_RECLAIM && s->plan->actions[i].guest == guest)
			return &s->plan->actions[i];
	return NULL;
}

/* All of what is asked is cold; `stays_ppm` of it remains taken. Returns the bytes swapped out. */
static inline uint64_t obey_reclaim(struct scene *s, uint64_t stays_ppm)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->plan->n_actions; i++) {
		const struct pol_action *a = &s->plan->actions[i];
		struct pol_guest *g = scene_find(s, a->guest);
		uint64_t bytes = a->from - a->to;

		if (a->kind != POL_RECLAIM)
			continue;
		g->resident_bytes -= bytes;
		g->reclaimable_bytes -= bytes;
		g->swapped_bytes += bytes;
		s->host.swap_free_bytes -= bytes;
		s->host.available_bytes += bytes - ppm_of(bytes, stays_ppm);
		sum += bytes;
	}
	return sum;
}

static inline uint64_t run_reclaim(struct scene *s, unsigned int ticks)
{
	uint64_t sum = 0;

	while (ticks--) {
		scene_step(s);
		sum += obey_reclaim(s, 0);
	}
	return sum;
}

/* Past the guests' first half minute, then short; PREDICTED below high, the state not yet soft. */
static inline void make_short(struct scene *s, uint64_t available)
{
	scene_run(s, 40);
	s->host.available_bytes = available;
}

#endif
