// SPDX-License-Identifier: Apache-2.0
/*
 * The policy's configuration: defaults for hosts of 4 GiB to 1 TiB, and the check that says which
 * member makes no sense. The parts themselves compute safely with any values: a check that a
 * caller forgot costs sense, never an overflow.
 */
#include <errno.h>

#include "policy/parts.h"

void pol_config_default(struct pol_config *config)
{
	*config = (struct pol_config){
		/* ESXi's states; in bytes `high` is 512 MiB on 4 GiB, 640 MiB on 8 GiB, 16 GiB on
		 * 1 TiB. */
		.high_ppm = 60000,
		.soft_ppm = 40000,
		.hard_ppm = 20000,
		.low_ppm = 10000,
		.hysteresis_ppm = 10000,
		.high_min_bytes = 640 * MIB,
		.high_max_bytes = 16 * GIB,
		/* What a guest can allocate while the loop wakes, decides and its balloon yields:
		 * about three seconds. */
		.guest_reserve_bytes = 48 * MIB,
		.guest_reserve_ppm = 125000,
		.guest_reserve_max_bytes = 2 * GIB,
		.guest_min_bytes = 96 * MIB,
		.step_bytes = 256 * MIB,
		.stats_max_age_us = 10 * SEC,
		.trouble_hold_us = 600 * SEC,
		.stuck_after_us = 5 * SEC,
		.idle_tax_ppm = 750000,
		.ksm_cpu_ppm = 250000,
		.ksm_trial_us = 300 * SEC,
		.ksm_manage = true,
		.ksm_anchor = true,
		.huge_split = true,
		.balloon_manage = true,
		.reclaim_manage = true,
		.numa_manage = true,
		/* Half of what one processor copies, at worst: guests hardly notice. */
		.numa_bytes_per_s = 256 * MIB,
		.node_reserve_ppm = 40000,
		/* What is right depends on what guests have in common and on how far nodes are
		 * apart: that is measured here, and known to nobody beforehand. */
		.merge_across = POL_ACROSS_AUTO,
	};
}

int pol_config_check(const struct pol_config *config, const char **ret_why)
{
	const struct pol_config *c = config;
	const char *why = NULL;

	if (!c->low_ppm)
		why = "low must be above 0";
	else if (c->hard_ppm <= c->low_ppm)
		why = "hard must be above low";
	else if (c->soft_ppm <= c->hard_ppm)
		why = "soft must be above hard";
	else if (c->high_ppm <= c->soft_ppm)
		why = "high must be above soft";
	else if (c->high_ppm > 500000)
		why = "high must be at most 50 %";
	else if (c->hysteresis_ppm > c->high_ppm)
		why = "hysteresis must be at most high";
	else if (c->high_max_bytes < c->high_min_bytes || !c->high_max_bytes)
		why = "high-max must be above 0 and at least high-min";
	else if (c->guest_reserve_ppm > 900000)
		why = "guest-reserve must be at most 90 %";
	else if (c->guest_reserve_max_bytes < c->guest_reserve_bytes)
		why = "guest-reserve-max must be at least guest-reserve-min";
	else if (c->step_bytes < 4 * MIB)
		why = "step must be at least 4 MiB";
	else if (!c->stats_max_age_us)
		why = "stats-max-age must be above 0";
	else if (!c->stuck_after_us)
		why = "stuck-after must be above 0";
	else if (c->idle_tax_ppm > 990000)
		why = "idle-tax must be at most 99 %";
	else if (!c->ksm_cpu_ppm || c->ksm_cpu_ppm > PPM)
		why = "ksm-cpu must be above 0 and at most 100 %";
	else if (!c->ksm_trial_us)
		why = "ksm-trial must be above 0";
	else if (c->numa_bytes_per_s < MIB)
		why = "numa-rate must be at least 1 MiB";
	else if (c->node_reserve_ppm > 500000)
		why = "node-reserve must be at most 50 %";
	else if (c->merge_across >= POL_ACROSS_COUNT)
		why = "merge-across-nodes must be auto, yes, no or keep";
	if (!why)
		return 0;
	*ret_why = why;
	return -EINVAL;
}
