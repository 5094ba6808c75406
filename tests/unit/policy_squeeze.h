/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that have been taken from, in a scene of the policy's tests. */
#ifndef MEMD_TESTS_POLICY_SQUEEZE_H
#define MEMD_TESTS_POLICY_SQUEEZE_H

#include "tests/unit/policy_scene.h"

/* A guest of 2 GiB squeezed to `actual`, with `available` left. */
static inline void squeeze(struct scene *s, uint64_t id, uint64_t actual, uint64_t available)
{
	struct pol_guest *g = scene_find(s, id);

	g->actual_bytes = actual;
	g->resident_bytes = actual;
	g->stat_total_bytes = actual - 40 * MIB;
	g->stat_available_bytes = available;
	g->stat_free_bytes = available / 2;
	g->stat_cache_bytes = available / 2;
}

#endif
