// SPDX-License-Identifier: Apache-2.0
/*
 * Gain and cost are microseconds of processor time, as in numa.c:
 *
 *   gain  the guest's CPU time over a horizon, times the part of its memory that is broken, times
 *         what walking longer through both page tables costs
 *   cost  copying it, and what the calls take
 */
#include "policy/repair.h"

#include "policy/parts.h"

/* The guest is reckoned to go on like this for so long. */
#define HORIZON_US (600 * SEC)
/* A guest with small pages only takes so much longer, ppm of its CPU time. */
#define WALK_PPM 100000ull
/* Copying and mapping: bytes per microsecond, and the rest of a call. */
#define COPY_BYTES_PER_US 1024ull
#define CALL_US		  50ull
#define HUGE_BYTES	  (2 * MIB)
/* It must pay by this factor. */
#define PAY_FACTOR 2
/* Less than that is not worth it. */
#define LEAST_BYTES (32 * MIB)
/* Less than this of a processor is idle. */
#define IDLE_PPM 10000ull
/* Merged pages hold the broken ones apart when they save at least this part of them. */
#define SHARED_PART 16
/* Its size must have been the same for so long. */
#define CALM_US	      (10 * SEC)
#define REST_FIRST_US (60 * SEC)
#define REST_LAST_US  (3600 * SEC)
#define CPU_TAU_US    (10 * SEC)

const char *pol_repair_text(enum pol_repair_why why)
{
	static const char *const texts[] = {
		[POL_REPAIR_NOW] = "its broken huge pages are being made whole again",
		[POL_REPAIR_OFF] = "huge-repair=off in the configuration",
		[POL_REPAIR_NO_HUGE] =
			"no transparent huge pages here, or no MADV_COLLAPSE (Linux 6.1)",
		[POL_REPAIR_SHORT] = "the host is short of memory",
		[POL_REPAIR_PIECES] = "the host has hardly a free huge page",
		[POL_REPAIR_OWN] = "vmm repairs its huge pages by itself",
		[POL_REPAIR_POOL] = "it has huge pages of the pools, which never break",
		[POL_REPAIR_MANAGE] = "manage=no in its section of the configuration",
		[POL_REPAIR_UNKNOWN] = "how much of it is huge pages is not known yet",
		[POL_REPAIR_WHOLE] = "next to nothing of it is broken",
		[POL_REPAIR_SHARED] = "merging has broken it, and saves memory",
		[POL_REPAIR_MOVING] = "its balloon or its memory is on the way",
		[POL_REPAIR_IDLE] = "it hardly runs: huge pages would bring nothing",
		[POL_REPAIR_COST] = "copying it costs more than huge pages would bring",
		[POL_REPAIR_REST] = "repaired of late",
		[POL_REPAIR_TURN] = "it would pay; another guest is being repaired",
	};

	_Static_assert(sizeof(texts) / sizeof(texts[0]) == POL_REPAIR_COUNT,
		       "every verdict has a text");
	return (size_t)why < POL_REPAIR_COUNT ? texts[why] : "unknown";
}

static void follow(const struct pol_repair_host *host, const struct pol_guest *guest,
		   struct pol_repair_past *past)
{
	uint64_t cpu = guest->cpu_us, dt_us = host->now_us - past->at_us;

	if (past->guest != guest->id)
		*past = (struct pol_repair_past){.guest = guest->id};
	if (pol_has(cpu) && past->at_us && cpu >= past->cpu_us && dt_us) {
		uint64_t ppm = min_u64(mul_div(cpu - past->cpu_us, PPM, dt_us), 4096 * PPM);
		uint64_t part = mul_div(past->cpu_ppm, min_u64(dt_us, CPU_TAU_US), CPU_TAU_US);

		past->cpu_ppm -= part;
		past->cpu_ppm += mul_div(ppm, min_u64(dt_us, CPU_TAU_US), CPU_TAU_US);
	}
	past->at_us = pol_has(cpu) ? host->now_us : 0;
	past->cpu_us = cpu;
	if (guest->actual_bytes != past->actual || !past->calm_us)
		past->calm_us = host->now_us;
	past->actual = guest->actual_bytes;
}

/* Once merging is off nothing is merged any more; the kernel goes on counting it until ksmd has
 * been by. */
static uint64_t merged_of(const struct pol_guest *guest)
{
	return guest->merge_on && pol_has(guest->merging_bytes) ? bytes_in(guest->merging_bytes)
								: 0;
}

static enum pol_repair_why host_bar(const struct pol_repair_host *host)
{
	if (!host->on)
		return POL_REPAIR_OFF;
	return host->possible ? POL_REPAIR_NOW : POL_REPAIR_NO_HUGE;
}

/* Resident and private; 0: not known. */
static uint64_t memory_of(const struct pol_guest *guest)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < POL_PLACE_NODES; i++)
		if (pol_has(guest->node_bytes[i]))
			sum += bytes_in(guest->node_bytes[i]);
	/* A kernel without nodes. */
	return sum || !pol_has(guest->resident_bytes) ? sum : bytes_in(guest->resident_bytes);
}

/* A target need not be a whole number of what the balloon, or the memory device, moves. */
static bool is_moving(const struct pol_repair_host *host, const struct pol_guest *guest,
		      const struct pol_repair_past *past)
{
	uint64_t target = guest->target_bytes, actual = guest->actual_bytes, gap = 0;

	if (pol_has(target) && pol_has(actual))
		gap = target > actual ? target - actual : actual - target;
	return guest->numa_moving || host->now_us - past->calm_us < CALM_US ||
	       gap > (FAULT(repair_slack) ? 0 : ARRIVED_BYTES);
}

/* What stands against it apart from its price. */
static enum pol_repair_why bar(const struct pol_repair_host *host, const struct pol_guest *guest,
			       const struct pol_repair_past *past, bool ours, bool managed,
			       uint64_t broken)
{
	uint64_t merged = merged_of(guest);

	if (guest->pool)
		return POL_REPAIR_POOL;
	if (ours)
		return POL_REPAIR_OWN;
	if (!managed && !FAULT(repair_manage))
		return POL_REPAIR_MANAGE;
	if (!memory_of(guest) || !pol_has(guest->huge_bytes))
		return POL_REPAIR_UNKNOWN;
	/* One merged page keeps all of a huge page broken. */
	if (merged && merged >= (broken + merged) / SHARED_PART && !FAULT(repair_shared))
		return POL_REPAIR_SHARED;
	if (broken < LEAST_BYTES)
		return POL_REPAIR_WHOLE;
	if (is_moving(host, guest, past) && !FAULT(repair_moving))
		return POL_REPAIR_MOVING;
	if ((host->state != POL_STATE_HIGH || host->spare_bytes < LEAST_BYTES) &&
	    !FAULT(repair_short))
		return POL_REPAIR_SHORT;
	if (pol_has(host->free_huge_bytes) && host->free_huge_bytes < LEAST_BYTES &&
	    !FAULT(repair_pieces))
		return POL_REPAIR_PIECES;
	if (past->cpu_ppm < IDLE_PPM && !FAULT(repair_idle))
		return POL_REPAIR_IDLE;
	return POL_REPAIR_NOW;
}

enum pol_repair_why pol_repair_judge(const struct pol_repair_host *host,
				     const struct pol_guest *guest, bool ours, bool managed,
				     struct pol_repair_past *past, uint64_t *ret_bytes,
				     uint64_t *ret_gain_us, uint64_t *ret_cost_us)
{
	uint64_t all = memory_of(guest), huge = bytes_in(guest->huge_bytes), broken, gain, cost;

	follow(host, guest, past);
	*ret_bytes = *ret_gain_us = *ret_cost_us = 0;
	broken = pol_has(huge) ? sub_sat(sub_sat(all, huge), merged_of(guest)) : 0;
	past->why = host_bar(host);
	if (past->why == POL_REPAIR_NOW)
		past->why = bar(host, guest, past, ours, managed, broken);
	if (past->why != POL_REPAIR_NOW)
		return past->why;
	broken = min_u64(broken, host->spare_bytes);
	if (pol_has(host->free_huge_bytes))
		broken = min_u64(broken, host->free_huge_bytes);
	gain = mul_div(mul_div(past->cpu_ppm, HORIZON_US, PPM), mul_div(broken, WALK_PPM, all),
		       PPM);
	cost = broken / COPY_BYTES_PER_US + broken / HUGE_BYTES * CALL_US;
	*ret_bytes = broken;
	*ret_gain_us = gain;
	*ret_cost_us = cost;
	if (gain / PAY_FACTOR < cost && !FAULT(repair_pays))
		past->why = POL_REPAIR_COST;
	else if (host->now_us < past->rest_us && !FAULT(repair_rest))
		past->why = POL_REPAIR_REST;
	else if (host->busy && !FAULT(repair_turn))
		past->why = POL_REPAIR_TURN;
	return past->why;
}

void pol_repair_tell(struct pol_repair_past *past, uint64_t asked_bytes, uint64_t got_bytes,
		     uint64_t now_us)
{
	bool well = got_bytes >= asked_bytes / 2;

	past->backoff_us =
		well ? REST_FIRST_US : clamp_u64(2 * past->backoff_us, REST_FIRST_US, REST_LAST_US);
	past->rest_us = now_us + past->backoff_us;
}
