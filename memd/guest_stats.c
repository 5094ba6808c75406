// SPDX-License-Identifier: Apache-2.0
/* Balloon statistics: taken apart, and not believed beyond what the host knows of the guest. */
#include "memd/guest_stats.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "common/clock.h"
#include "common/size.h"

/* They are dated by the hypervisor, on the same host. */
#define AHEAD_S 60

static uint64_t stat(json_object *stats, const char *key, uint64_t max)
{
	uint64_t value;

	return json_get_u64(stats, key, &value) && value <= max ? value : POL_ABSENT;
}

int guest_stats_read(json_object *value, uint64_t memory_bytes, struct guest_stats *ret_stats,
		     char *why, size_t n)
{
	json_object *stats = json_get_obj(value, "stats");
	/* Counters may have run for years; one that cannot be added to any more is nonsense. */
	const uint64_t counter = UINT64_MAX / 4;
	struct guest_stats s = {0};
	uint64_t bound;

	if (!stats || !json_get_u64(value, "last-update", &s.last_update_s))
		return -EINVAL;
	s.total_bytes = stat(stats, "stat-total-memory", counter);
	s.free_bytes = stat(stats, "stat-free-memory", counter);
	s.available_bytes = stat(stats, "stat-available-memory", counter);
	s.cache_bytes = stat(stats, "stat-disk-caches", counter);
	s.swap_in_bytes = stat(stats, "stat-swap-in", counter);
	s.swap_out_bytes = stat(stats, "stat-swap-out", counter);
	s.major_faults = stat(stats, "stat-major-faults", counter);
	s.oom_kills = stat(stats, "stat-oom-kills", counter);
	s.alloc_stalls = stat(stats, "stat-alloc-stalls", counter);
	s.async_scan_bytes = stat(stats, "stat-async-scans", counter);
	s.direct_scan_bytes = stat(stats, "stat-direct-scans", counter);
	s.async_reclaim_bytes = stat(stats, "stat-async-reclaims", counter);
	s.direct_reclaim_bytes = stat(stats, "stat-direct-reclaims", counter);

	bound = pol_has(s.total_bytes) ? s.total_bytes : memory_bytes;
	if (bound > memory_bytes)
		snprintf(why, n, "claims %s of memory and was promised %s",
			 SIZE_TEXT(s.total_bytes), SIZE_TEXT(memory_bytes));
	else if (pol_has(s.free_bytes) && s.free_bytes > bound)
		snprintf(why, n, "claims %s free of %s", SIZE_TEXT(s.free_bytes), SIZE_TEXT(bound));
	else if (pol_has(s.available_bytes) && s.available_bytes > bound)
		snprintf(why, n, "claims %s available of %s", SIZE_TEXT(s.available_bytes),
			 SIZE_TEXT(bound));
	else if (pol_has(s.cache_bytes) && s.cache_bytes > bound)
		snprintf(why, n, "claims %s of disk caches in %s", SIZE_TEXT(s.cache_bytes),
			 SIZE_TEXT(bound));
	else {
		*ret_stats = s;
		return 0;
	}
	return -ERANGE;
}

/* Does the same kernel count on? Only with something counted can that be told. */
static bool went_on(const struct guest_stats *before, const struct guest_stats *now)
{
	const uint64_t counters[][2] = {
		{before->swap_in_bytes, now->swap_in_bytes},
		{before->swap_out_bytes, now->swap_out_bytes},
		{before->major_faults, now->major_faults},
		{before->oom_kills, now->oom_kills},
		{before->alloc_stalls, now->alloc_stalls},
		{before->async_scan_bytes, now->async_scan_bytes},
		{before->direct_scan_bytes, now->direct_scan_bytes},
		{before->async_reclaim_bytes, now->async_reclaim_bytes},
		{before->direct_reclaim_bytes, now->direct_reclaim_bytes},
	};
	bool any = false;

	for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
		if (!pol_has(counters[i][0]))
			continue;
		if (!pol_has(counters[i][1]) || counters[i][1] < counters[i][0])
			return false;
		any |= counters[i][0] > 0;
	}
	return any;
}

void guest_stats_take(struct guest *guest, json_object *value, uint64_t now_us)
{
	struct guest_stats stats;
	char why[GUEST_NOTE_MAX - 32];
	uint64_t before = guest->stats.last_update_s;
	bool known = guest->ticks > 1;
	int r = guest_stats_read(value, guest->memory_bytes, &stats, why, sizeof(why));

	if (r == 0 && stats.last_update_s > (uint64_t)time(NULL) + AHEAD_S) {
		snprintf(why, sizeof(why), "dated %" PRIu64 " s ahead of the host's clock",
			 stats.last_update_s - (uint64_t)time(NULL));
		r = -ERANGE;
	}
	if (r == -ERANGE) {
		unsigned int dropped = 0;

		if (!guest->stats_rejected && log_limit_pass(&guest->limit, &dropped))
			log_warn("guest %s: statistics rejected: %s", guest->name, why);
		guest->stats_rejected = true;
		return;
	}
	if (r < 0)
		return;
	guest->stats_rejected = false;
	guest->stats = stats;
	if (stats.last_update_s == 0)
		return;
	/* Any update ever is the driver's work; a new one dates these numbers by our own clock,
	 * since the wall clocks of host and hypervisor may jump. */
	guest->driver_seen = true;
	if (!known || before == stats.last_update_s)
		return;
	guest->stats_seen_us = now_us;
	/* Those of the same poll may be from just before. */
	if (!guest->emptied_us || guest->emptied_tick == guest->ticks)
		return;
	if (!went_on(&guest->emptied, &stats))
		guest->renew = true;
	guest->emptied_us = 0;
}
