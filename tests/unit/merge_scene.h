/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests whose merging can be switched, on a kernel that follows orders as a real one does, for
 * tests of where KSM may merge. At each step it is seen to that no two trust domains are merged.
 */
#ifndef MEMD_TESTS_MERGE_SCENE_H
#define MEMD_TESTS_MERGE_SCENE_H

#include "tests/unit/policy_scene.h"

/* The kernel sees a guest's switch a tick late, as memd's looks do. */
static inline void merge_scene_follow(struct scene *s)
{
	for (size_t i = 0; i < s->host.n_guests; i++) {
		struct pol_guest *g = &s->guests[i];

		g->marked_bytes = g->merge_on ? g->memory_bytes : 0;
		if (!g->merge_on)
			g->merging_bytes = g->ksm_bytes = 0;
	}
	if (s->host.ksm.run == 2)
		s->host.ksm.pages_shared = s->host.ksm.pages_sharing = 0;
	for (size_t i = 0; i < s->plan->n_actions; i++) {
		const struct pol_action *a = &s->plan->actions[i];
		struct pol_guest *g = scene_find(s, a->guest);

		if (a->kind == POL_MERGE) {
			g->merge_on = a->to;
			g->marked_bytes = POL_ABSENT;
		}
		if (a->kind == POL_KSM_NODES) {
			/* One step each: run=2, which takes a while, then the value. */
			if (a->to2)
				s->host.ksm.run = 2;
			else if (!s->host.ksm.pages_shared)
				s->host.ksm.across_nodes = a->to;
		}
	}
}

/* What must never be: KSM at work while two domains are mergeable on one tree. */
static inline void merge_scene_assert_isolated(const struct scene *s)
{
	if (s->host.ksm.run != 1)
		return;
	assert_false(s->host.ksm.unsorted);
	for (size_t i = 0; i < s->host.n_guests; i++)
		for (size_t k = 0; k < i; k++) {
			const struct pol_guest *a = &s->guests[i], *b = &s->guests[k];

			if (a->domain == b->domain || (!a->merge_on && !a->marked_bytes) ||
			    (!b->merge_on && !b->marked_bytes))
				continue;
			if (s->host.ksm.across_nodes != 0 ||
			    (a->bound_mask | a->seen_mask) & (b->bound_mask | b->seen_mask))
				fail_msg("guests %llu and %llu of different domains",
					 (unsigned long long)a->id, (unsigned long long)b->id);
		}
}

static inline void merge_scene_run(struct scene *s, unsigned int ticks)
{
	while (ticks--) {
		scene_step(s);
		/* The plan has been carried out: guests have it still to follow. */
		merge_scene_assert_isolated(s);
		merge_scene_follow(s);
	}
}

static inline void merge_scene_open(struct scene *s, size_t n)
{
	scene_open_merging(s, n);
	s->config.balloon_manage = false;
	pol_configure(s->pol, &s->config);
	for (size_t i = 0; i < n; i++)
		s->guests[i].bound_mask = s->guests[i].seen_mask = 1;
}

static inline unsigned int merge_scene_count(const struct scene *s, enum pol_action_kind kind)
{
	unsigned int n = 0;

	for (size_t i = 0; i < s->plan->n_actions; i++)
		n += s->plan->actions[i].kind == kind;
	return n;
}

#endif
