// SPDX-License-Identifier: Apache-2.0
/*
 * What merging costs. A guest's is switched off when it saves less than KSM's bookkeeping for it
 * takes (64 bytes a scanned page, mm/ksm.c) and its part of ksmd's time and of the copies on write
 * is worth; for an hour, then two and so on, or until it has grown. And what merging saves can be
 * claimed back by writes at any time: that is collected, as far as guests do not miss it.
 */
#include "policy/parts.h"

/* Judged after a trial with so many full scans, KSM being at work, and if it matters at all. */
#define TRIAL_US    (300 * SEC)
#define JUDGE_SCANS 3
#define JUDGE_BYTES (4 * MIB) /* of bookkeeping: 256 MiB scanned */
#define AGAIN	    12	      /* trials */
#define AGAIN_MOST  288
#define GROWN_BYTES (64 * MIB)
/* What one second of CPU time in each hour has to hold: a quarter of a core 900 MiB. */
#define BYTES_PER_CPU MIB
/* A copy on write: fault, copy, and the guest's next miss. */
#define COPY_US 5

/* The fastest breaking seen fades with this; so much of the exposure counts as a burst anyway. */
#define PEAK_TAU_US    (600 * SEC)
#define REACT_US       (10 * SEC)
#define EXPOSURE_PART  10
#define EXPOSURE_LEAST (64 * MIB)

uint64_t merge_worth(uint64_t cpu_us)
{
	return mul_div(cpu_us, BYTES_PER_CPU, SEC);
}

/* A trace of before this was a setting does not tell it. */
static uint64_t trial_us(const struct pol *pol)
{
	uint64_t us = pol->config.ksm_trial_us;

	return pol_has(us) && us ? us : TRIAL_US;
}

static uint64_t window_us(const struct pol *pol)
{
	return max_u64(trial_us(pol) / RATE_WINDOWS, 1);
}

/* KSM is after memory that is new to it: that is paid once, not every hour. */
static bool is_investing(const struct pol *pol)
{
	return !pol->ksm.exhausted && pol->ksm.news <= KSM_NEWS_MEMORY;
}

static void follow_rates(struct pol *pol, const struct pol_ksm *in)
{
	struct merge_past *past = &pol->merge;
	uint64_t cpu = pol_has(in->cpu_us) ? in->cpu_us : 0;
	uint64_t breaks = pol_has(in->cow_breaks) ? in->cow_breaks : 0;
	unsigned int at = past->n_rates % RATE_WINDOWS;

	if (past->rate_us && !is_investing(pol)) {
		past->window_us = add_sat(past->window_us, pol->tick.now_us - past->rate_us);
		/* A patrol that hurries for a short host's sake is not what a guest costs. */
		past->window_cpu = add_sat(past->window_cpu,
					   sub_sat(cpu, past->rate_cpu) /
						   (pol->ksm.exhausted ? ksm_urgency(pol) : 1));
		past->window_breaks =
			add_sat(past->window_breaks, sub_sat(breaks, past->rate_breaks));
	}
	past->rate_us = max_u64(pol->tick.now_us, 1);
	past->rate_cpu = cpu;
	past->rate_breaks = breaks;
	if (past->window_us < window_us(pol))
		return;
	past->cpu_ppm[at] = mul_div(past->window_cpu, PPM, past->window_us);
	past->breaks_per_s[at] = mul_div(past->window_breaks, SEC, past->window_us);
	past->n_rates++;
	past->window_us = past->window_cpu = past->window_breaks = 0;
}

static bool are_rates_known(const struct merge_past *past)
{
	return past->n_rates >= RATE_WINDOWS;
}

struct totals {
	uint64_t rmap, merging;
};

static uint64_t known(uint64_t value)
{
	return pol_has(value) ? bytes_in(value) : 0;
}

/* What ksmd takes when it is not after anything: the least of the last windows. */
static uint64_t steady_ppm(const struct merge_past *past)
{
	uint64_t least = PPM;

	for (unsigned int i = 0; i < RATE_WINDOWS; i++)
		least = min_u64(least, past->cpu_ppm[i]);
	return least;
}

static uint64_t mean_breaks(const struct merge_past *past)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < RATE_WINDOWS; i++)
		sum = add_sat(sum, past->breaks_per_s[i]);
	return sum / RATE_WINDOWS;
}

/* The guest's part of what is counted for all of them, as bytes that this has to save. */
static uint64_t shared_cost(const struct merge_past *past, const struct pol_guest *in,
			    const struct totals *all)
{
	uint64_t cpu_us, copies;

	if (!are_rates_known(past))
		return 0;
	cpu_us = mul_div(steady_ppm(past), 3600, 1); /* in an hour */
	copies = mul_div(mean_breaks(past), 3600ull * COPY_US, 1);
	cpu_us = mul_div(cpu_us, known(in->rmap_bytes), all->rmap);
	cpu_us = add_sat(cpu_us, mul_div(copies, known(in->merging_bytes), all->merging));
	return merge_worth(cpu_us);
}

static bool is_judged(const struct pol *pol, const struct now_guest *guest,
		      const struct pol_ksm *in)
{
	const struct guest_past *past = guest->past;

	return guest->in->merge_switch && guest->in->merge_on && past->merge_on_us &&
	       pol->tick.now_us - past->merge_on_us >= trial_us(pol) && pol_has(in->full_scans) &&
	       sub_sat(in->full_scans, past->merge_scans) >= JUDGE_SCANS &&
	       pol_has(guest->in->rmap_bytes) && guest->in->rmap_bytes >= JUDGE_BYTES;
}

/* What it saves on average: pages that are always rewritten are merged for a moment each time. */
static uint64_t mean_saved(const struct pol *pol, const struct now_guest *guest)
{
	struct guest_past *past = guest->past;
	uint64_t now = known(guest->in->ksm_bytes), half = trial_us(pol) / 2;

	if (!past->merge_on_us || pol->tick.now_us - past->merge_on_us < half)
		past->mean_saved = now; /* what merging has only begun to save says nothing */
	else
		past->mean_saved = ewma(past->mean_saved, now, pol->tick.dt_us, max_u64(half, 1));
	return past->mean_saved;
}

static void give_up(struct pol *pol, struct now_guest *guest)
{
	struct guest_past *past = guest->past;
	uint64_t trial = trial_us(pol);

	past->cost_off = !FAULT(merge_pays);
	past->cost_us = pol->tick.now_us;
	past->cost_wait_us = clamp_u64(add_sat(past->cost_wait_us, past->cost_wait_us),
				       mul_div(trial, AGAIN, 1), mul_div(trial, AGAIN_MOST, 1));
	if (FAULT(merge_again_later))
		past->cost_wait_us = mul_div(trial, AGAIN, 1);
	past->cost_held = guest->held;
	past->cost_merging = known(guest->in->merging_bytes);
}

/*
 * Has it changed since it was given up? Not by what the host fails to see for a moment, nor by
 * unmerging, which gives it pages that were zero: those leave the count as it gets them. But the
 * last merged pages leave it only when ksmd comes by, and what it grows until then is its growing.
 */
static bool has_grown(struct now_guest *guest)
{
	struct guest_past *past = guest->past;
	uint64_t merging = known(guest->in->merging_bytes), rise;

	if (!guest->held_known && !FAULT(merge_grown_seen))
		return false;
	rise = sub_sat(guest->held, past->cost_held);
	if (!guest->in->merge_on && !FAULT(merge_grown_meanwhile))
		rise = min_u64(rise, sub_sat(past->cost_merging, merging));
	if (guest->in->merge_on || past->cost_merging)
		past->cost_held = add_sat(past->cost_held, rise);
	past->cost_merging = merging;
	return !guest->in->merge_on && !merging &&
	       guest->held > add_sat(past->cost_held + past->cost_held / 4, GROWN_BYTES);
}

/* Is the time over for which it is off, or has it changed? */
static void look_again(struct pol *pol, struct now_guest *guest)
{
	struct guest_past *past = guest->past;
	bool grown = has_grown(guest);

	if (pol->tick.now_us - past->cost_us < past->cost_wait_us && !FAULT(merge_again) && !grown)
		return;
	past->cost_off = false;
	past->cost_again = true;
}

/* A guest that is judged, and what it saves beside what it costs. */
struct verdict {
	struct now_guest *guest;
	uint64_t saved, cost;
};

/* Less saved for what it costs? */
static bool is_poorer(const struct verdict *a, const struct verdict *b)
{
	return mul_div(a->saved, PPM, max_u64(a->cost, 1)) <
	       mul_div(b->saved, PPM, max_u64(b->cost, 1));
}

/*
 * A guest's bookkeeping is known to be its own: one that does not save that is given up. Of CPU
 * time and copies only the sum is known: a single guest that has all its pages rewritten may be
 * what makes them too dear for all. So of those that do not pay by their part of it just the
 * poorest is given up, and then it is measured anew.
 */
static void judge(struct pol *pol, struct now_guest *guest, const struct pol_ksm *in,
		  const struct totals *all, struct verdict *worst)
{
	struct guest_past *past = guest->past;
	uint64_t own = known(guest->in->rmap_bytes);
	struct verdict this = {
		.guest = guest,
		.saved = mean_saved(pol, guest),
		.cost = add_sat(own, shared_cost(&pol->merge, guest->in, all)),
	};

	if (!is_judged(pol, guest, in))
		return;
	if (this.saved >= this.cost) {
		if (!are_rates_known(&pol->merge))
			return;
		past->cost_again = false; /* it pays: the next try is the first again */
		past->cost_wait_us = 0;
		return;
	}
	if (this.saved < own)
		give_up(pol, guest);
	else if (!worst->guest || is_poorer(&this, worst))
		*worst = this;
}

void merge_cost(struct pol *pol, const struct pol_ksm *in)
{
	struct verdict worst = {0};
	struct totals all = {0};

	follow_rates(pol, in);
	for (size_t i = 0; i < pol->n_now; i++) {
		all.rmap = add_sat(all.rmap, known(pol->now[i].in->rmap_bytes));
		all.merging = add_sat(all.merging, known(pol->now[i].in->merging_bytes));
	}
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];

		if (guest->past->cost_off)
			look_again(pol, guest);
		else
			judge(pol, guest, in, &all, &worst);
	}
	if (!worst.guest)
		return;
	give_up(pol, worst.guest);
	pol->merge.n_rates = 0;
	pol->merge.window_us = pol->merge.window_cpu = pol->merge.window_breaks = 0;
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
	uint64_t exposure = min_u64(mul_div(pages, PAGE, 1), BYTES_MAX), burst, reserve, cover,
		 lacks;

	follow_breaks(past, in, tick->now_us);
	burst = min_u64(exposure, mul_div(past->cow_peak, REACT_US, SEC));
	reserve = min_u64(exposure, mul_div(past->cow_peak, tick->lead_us, SEC));
	if (reserve < tick->marks.hysteresis || FAULT(cow_reserve))
		reserve = 0;
	/* It may never come: collected from what guests do not miss, no more. What does come is a
	 * fall of available memory like any other (host_state.c). */
	lacks = sub_sat(add_sat(tick->marks.high, reserve), tick->available);
	if (reserve && pol->host.seen && lacks >= tick->marks.hysteresis)
		tick->ease = max_u64(tick->ease, lacks);
	if (FAULT(take_for_cow))
		tick->need = max_u64(tick->need, tick->ease);
	if (!FAULT(cow_burst))
		burst = max_u64(burst, exposure / EXPOSURE_PART);
	cover = tick->available;
	if (pol_has(host->swap_free_bytes))
		cover = add_sat(cover, bytes_in(host->swap_free_bytes));
	if (past->cliff)
		past->cliff = cover < add_sat(burst, FAULT(cow_hysteresis) ? 0 : burst / 2);
	else
		past->cliff = cover < burst;
	past->cliff &= exposure >= EXPOSURE_LEAST && !FAULT(cow_cliff);
	past->view.exposure_bytes = exposure;
	past->view.cow_bytes_per_s = past->cow_peak;
	past->view.cow_reserve_bytes = reserve;
	past->view.cliff = past->cliff;
}
