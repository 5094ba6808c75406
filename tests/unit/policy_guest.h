/* SPDX-License-Identifier: Apache-2.0 */
/* The guest that the policy's tests and its fuzzer start from. */
#ifndef MEMD_TESTS_POLICY_GUEST_H
#define MEMD_TESTS_POLICY_GUEST_H

#include "policy/parts.h"

/* A guest of 2 GiB with all of it: 600 MiB in use, 400 MiB cache, the rest free and held. */
static inline struct pol_guest scene_guest(uint64_t id)
{
	return (struct pol_guest){
		.id = id,
		.memory_bytes = 2 * GIB,
		.min_bytes = POL_ABSENT,
		.shares = 1000,
		.answering = true,
		.has_balloon = true,
		.mergeable = true,
		.actual_bytes = 2 * GIB,
		.target_bytes = POL_ABSENT,
		.resident_bytes = 2 * GIB,
		.stat_total_bytes = 2 * GIB - 40 * MIB,
		.stat_free_bytes = 1048 * MIB,
		.stat_available_bytes = 1448 * MIB,
		.stat_cache_bytes = 400 * MIB,
		.stat_oom_kills = 0,
		.stat_alloc_stalls = 0,
		.stat_age_us = 0,
	};
}

#endif
