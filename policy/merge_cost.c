// SPDX-License-Identifier: Apache-2.0
/*
 * What merging costs. A guest's is switched off when it saves less than KSM's bookkeeping for it
 * takes (64 bytes a scanned page, mm/ksm.c) and its part of ksmd's time and of the copies on write
 * is worth; for an hour, then two and so on, or until it has grown. And what merging saves can be
 * claimed back by writes at any time: so much has to be there.
 */
#include "policy/parts.h"

/* Judged after so long and so many full scans with KSM at work, and if it matters at all. */
#define JUDGE_US    (300 * SEC)
#define JUDGE_SCANS 3
#define JUDGE_BYTES (4 * MIB) /* of bookkeeping: 256 MiB scanned */
#define AGAIN_US    (3600 * SEC)
#define AGAIN_MOST  (24 * 3600 * SEC)
#define GROWN_BYTES (64 * MIB)
/* What one second of CPU time in each hour has to hold: a quarter of a core 900 MiB. */
#define BYTES_PER_CPU MIB
/* A copy on write: fault, copy, and the guest's next miss. */
#define COPY_US 5
#define RATE_US (60 * SEC)

/* The fastest breaking seen fades with this; so much of the exposure counts as a burst anyway. */
#define PEAK_TAU_US    (600 * SEC)
#define REACT_US       (10 * SEC)
#define EXPOSURE_PART  10
#define EXPOSURE_LEAST (64 * MIB)

static void follow_rates(struct merge_past *past, const struct pol_ksm *in, uint64_t now_us)
{
	uint64_t cpu = pol_has(in->cpu_us) ? in->cpu_us : 0;
	uint64_t breaks = pol_has(in->cow_breaks) ? in->cow_breaks : 0;
	uint64_t span = now_us - past->rate_us;

	if (past->rate_us && span < RATE_US)
		return;
	if (past->rate_us) {
		past->cpu_ppm[past->n_cpu++ % RATE_WINDOWS] =
			mul_div(sub_sat(cpu, past->rate_cpu), PPM, span);
		past->breaks_per_s = mul_div(sub_sat(breaks, past->rate_breaks), SEC, span);
	}
	past->rate_us = max_u64(now_us, 1);
	past->rate_cpu = cpu;
	past->rate_breaks = breaks;
}

struct totals {
	uint64_t rmap, merging;
};

static uint64_t known(uint64_t value)
{
	return pol_has(value) ? bytes_in(value) : 0;
}

/* What ksmd takes when it is not after something new: the least of the last minutes. */
static uint64_t steady_ppm(const struct merge_past *past)
{
	uint64_t least = PPM;

	if (past->n_cpu < RATE_WINDOWS)
		return 0;
	for (unsigned int i = 0; i < RATE_WINDOWS; i++)
		least = min_u64(least, past->cpu_ppm[i]);
	return least;
}

/* Bytes that the guest has to save for its merging to pay. */
static uint64_t cost_of(const struct merge_past *past, const struct pol_guest *in,
			const struct totals *all)
{
	uint64_t rmap = known(in->rmap_bytes);
	uint64_t cpu_us = mul_div(steady_ppm(past), 3600, 1); /* in an hour */
	uint64_t copies = mul_div(past->breaks_per_s, 3600ull * COPY_US, 1);

	cpu_us = mul_div(cpu_us, rmap, all->rmap);
	cpu_us = add_sat(cpu_us, mul_div(copies, known(in->merging_bytes), all->merging));
	return add_sat(rmap, mul_div(cpu_us, BYTES_PER_CPU, SEC));
}

static bool is_judged(const struct pol *pol, const struct now_guest *guest,
		      const struct pol_ksm *in)
{
	const struct guest_past *past = guest->past;

	return guest->in->merge_switch && guest->in->merge_on && past->merge_on_us &&
	       pol->tick.now_us - past->merge_on_us >= JUDGE_US && pol_has(in->full_scans) &&
	       sub_sat(in->full_scans, past->merge_scans) >= JUDGE_SCANS &&
	       pol_has(guest->in->rmap_bytes) && guest->in->rmap_bytes >= JUDGE_BYTES;
}

static void judge(struct pol *pol, struct now_guest *guest, const struct pol_ksm *in,
		  const struct totals *all)
{
	struct guest_past *past = guest->past;
	uint64_t now_us = pol->tick.now_us;

	if (past->cost_off) {
		if (now_us - past->cost_us < past->cost_wait_us &&
		    guest->held <= add_sat(past->cost_held + past->cost_held / 4, GROWN_BYTES))
			return;
		past->cost_off = false;
		past->cost_again = true;
		return;
	}
	if (!is_judged(pol, guest, in))
		return;
	if (known(guest->in->ksm_bytes) >= cost_of(&pol->merge, guest->in, all)) {
		past->cost_again = false; /* it pays: the next try is the first again */
		past->cost_wait_us = 0;
		return;
	}
	past->cost_off = true;
	past->cost_us = now_us;
	past->cost_wait_us = clamp_u64(2 * past->cost_wait_us, AGAIN_US, AGAIN_MOST);
	past->cost_held = guest->held;
}

void merge_cost(struct pol *pol, const struct pol_ksm *in)
{
	struct totals all = {0};

	follow_rates(&pol->merge, in, pol->tick.now_us);
	for (size_t i = 0; i < pol->n_now; i++) {
		all.rmap = add_sat(all.rmap, known(pol->now[i].in->rmap_bytes));
		all.merging = add_sat(all.merging, known(pol->now[i].in->merging_bytes));
	}
	for (size_t i = 0; i < pol->n_now; i++)
		judge(pol, &pol->now[i], in, &all);
}

static void follow_breaks(struct merge_past *past, const struct pol_ksm *in, uint64_t now_us)
{
	uint64_t span = now_us - past->cow_us, rate = 0;

	if (!pol_has(in->cow_breaks)) {
		past->counted = false;
		past->cow_peak = 0;
		return;
	}
	if (past->counted && span < 100 * MSEC)
		return;
	if (past->counted) {
		rate = mul_div(sub_sat(in->cow_breaks, past->cow_breaks), PAGE * SEC, span);
		rate = min_u64(rate, BYTES_MAX);
		past->cow_peak = rate >= past->cow_peak
					 ? rate
					 : ewma(past->cow_peak, rate, span, PEAK_TAU_US);
	}
	past->counted = true;
	past->cow_us = now_us;
	past->cow_breaks = in->cow_breaks;
}

void merge_guard(struct pol *pol, const struct pol_host *host)
{
	const struct pol_ksm *in = &host->ksm;
	struct merge_past *past = &pol->merge;
	struct now_host *tick = &pol->tick;
	uint64_t pages = add_sat(pol_has(in->pages_sharing) ? in->pages_sharing : 0,
				 pol_has(in->zero_pages) ? in->zero_pages : 0);
	uint64_t exposure = min_u64(mul_div(pages, PAGE, 1), BYTES_MAX), burst, reserve, cover;

	follow_breaks(past, in, tick->now_us);
	burst = min_u64(exposure, mul_div(past->cow_peak, REACT_US, SEC));
	reserve = min_u64(exposure, mul_div(past->cow_peak, tick->lead_us, SEC));
	if (reserve < tick->marks.hysteresis)
		reserve = 0;
	if (reserve && pol->host.seen)
		tick->need = max_u64(tick->need,
				     sub_sat(add_sat(tick->marks.high, reserve), tick->available));
	burst = max_u64(burst, exposure / EXPOSURE_PART);
	cover = tick->available;
	if (pol_has(host->swap_free_bytes))
		cover = add_sat(cover, bytes_in(host->swap_free_bytes));
	if (past->cliff)
		past->cliff = cover < add_sat(burst, burst / 2);
	else
		past->cliff = cover < burst;
	past->cliff &= exposure >= EXPOSURE_LEAST;
	past->view.exposure_bytes = exposure;
	past->view.cow_bytes_per_s = past->cow_peak;
	past->view.cow_reserve_bytes = reserve;
	past->view.cliff = past->cliff;
}
