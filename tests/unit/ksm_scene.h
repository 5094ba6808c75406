/* SPDX-License-Identifier: Apache-2.0 */
/* A ksmd that works as fast as it is set to, for tests of how KSM is driven. */
#ifndef MEMD_TESTS_KSM_SCENE_H
#define MEMD_TESTS_KSM_SCENE_H

#include "tests/unit/policy_scene.h"

/* A ksmd on a machine where a page costs us_per_page; what it finds is up to the test. */
struct ksmd {
	uint64_t us_per_page, pages; /* mergeable, a full scan each */
	uint64_t left, left_us;	     /* pages of the scan, time of the cycle under way */
	uint64_t used_us;	     /* in the last tick */
};

static inline void ksm_scene_tick(struct scene *s, struct ksmd *d)
{
	struct pol_ksm *k = &s->host.ksm;
	uint64_t wake_us = k->pages_to_scan * d->us_per_page, cycle_us, wakes, pages;

	d->used_us = 0;
	if (k->run != 1)
		return;
	cycle_us = wake_us + k->sleep_ms * 1000;
	d->left_us += SEC;
	wakes = d->left_us / cycle_us;
	d->left_us %= cycle_us;
	pages = wakes * k->pages_to_scan;
	d->used_us = pages * d->us_per_page;
	k->cpu_us += d->used_us;
	if (pol_has(k->pages_scanned))
		k->pages_scanned += pages;
	d->left += pages;
	k->full_scans += d->left / d->pages;
	d->left %= d->pages;
}

static inline void ksm_scene_run(struct scene *s, struct ksmd *d, unsigned int ticks)
{
	while (ticks--) {
		scene_step(s);
		ksm_scene_tick(s, d);
	}
}

/* Two guests whose campaign is over. */
static inline void ksm_scene_patrol(struct scene *s, struct ksmd *d)
{
	*d = (struct ksmd){.us_per_page = 5, .pages = 2 * GIB / PAGE};
	scene_open_ksm(s, 2);
	s->guests[0].resident_bytes = s->guests[1].resident_bytes = GIB;
	ksm_scene_run(s, d, 5);
	s->host.ksm.pages_sharing = GIB / PAGE;
	ksm_scene_run(s, d, 200);
	assert_true(s->pol->ksm.exhausted);
}

/* CPU time a second, on average over n ticks. */
static inline uint64_t ksm_scene_mean_us(struct scene *s, struct ksmd *d, unsigned int n)
{
	uint64_t used = 0;

	for (unsigned int t = 0; t < n; t++) {
		ksm_scene_run(s, d, 1);
		used += d->used_us;
	}
	return used / n;
}

static inline unsigned int ksm_scene_count_kind(const struct scene *s)
{
	unsigned int n = 0;

	for (size_t i = 0; i < s->plan->n_actions; i++)
		n += s->plan->actions[i].kind != POL_BALLOON;
	return n;
}

#endif
