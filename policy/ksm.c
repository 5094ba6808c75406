// SPDX-License-Identifier: Apache-2.0
/*
 * KSM: on while a guest has mergeable memory, and as fast as it pays. Something new (a guest, or
 * more memory in them) starts a campaign; it goes on until a full scan, the third at the earliest
 * (the first two only learn which pages hold still), merges less per CPU second than the price,
 * which falls as the host runs short. Then a cheap patrol keeps watch. run=0 only with nothing to
 * merge; never run=2, which unmerges and may need more memory than there is.
 *
 * The rate follows from the measured CPU time per scanned page, so that ksmd stays under its share
 * of a core on a machine of any speed.
 */
#include "policy/parts.h"

#define SCANS_LEAST	3
#define WINDOW_FIRST_US (2 * SEC)
#define WINDOW_US	(5 * SEC)
#define WINDOW_PAGES	256
#define PAGES_LEAST	16
#define PAGES_MOST	30000 /* the kernel advisor's own limit */
#define ASK_AGAIN_US	(60 * SEC)
#define ASK_AGAIN_MOST	(3600 * SEC)
/* Of guests' memory not yet scanned, what merging may bring: the poorest of ESX's measurements
 * (five Linux guests, 7 %; Waldspurger 2002). Only for the expected gain shown. */
#define GAIN_FIRST_PPM 70000

enum mode { MODE_CAMPAIGN, MODE_PRESSURE, MODE_PATROL, MODE_COUNT };

/* Without a measurement: modest rates, 25,000 pages a second at most. */
static const struct {
	uint64_t sleep_ms, pages_first;
	enum pol_reason reason;
} modes[MODE_COUNT] = {
	[MODE_CAMPAIGN] = {20, 500, POL_WHY_KSM_GAIN},
	[MODE_PRESSURE] = {10, 500, POL_WHY_KSM_PRESSURE},
	[MODE_PATROL] = {500, 500, POL_WHY_KSM_NO_GAIN},
};

static uint64_t cpu_share(const struct pol_config *config, enum mode mode)
{
	switch (mode) {
	case MODE_PRESSURE:
		return min_u64(2 * (uint64_t)config->ksm_cpu_ppm, 900000);
	case MODE_PATROL:
		return config->ksm_cpu_ppm / 16;
	default:
		return min_u64(config->ksm_cpu_ppm, 900000);
	}
}

/* What a CPU second must bring, bytes. */
static uint64_t price(enum pol_state state, bool is_short)
{
	if (state >= POL_STATE_HARD)
		return 64 * KIB;
	return is_short || state == POL_STATE_SOFT ? 256 * KIB : MIB;
}

static uint64_t benefit_pages(const struct pol_ksm *in)
{
	return add_sat(pol_has(in->pages_sharing) ? in->pages_sharing : 0,
		       pol_has(in->zero_pages) ? in->zero_pages : 0);
}

/* CPU per page, from what the kernel counts or, before 6.4, from the share of time it ran. */
static void measure_cost(struct ksm_past *past, const struct pol_ksm *in, uint64_t now_us)
{
	uint64_t span = now_us - past->window_us, cpu, pages;

	if (!pol_has(in->cpu_us) || in->run != 1) {
		past->running = false;
		return;
	}
	cpu = sub_sat(in->cpu_us, past->window_cpu);
	if (past->running) {
		if (span < (past->ns_per_page ? WINDOW_US : WINDOW_FIRST_US))
			return;
		if (pol_has(in->pages_scanned)) {
			pages = sub_sat(in->pages_scanned, past->window_scanned);
		} else {
			uint64_t idle = sub_sat(span, cpu);
			uint64_t sleep = pol_has(in->sleep_ms) ? in->sleep_ms : 20;

			pages = pol_has(in->pages_to_scan)
					? mul_div(idle, in->pages_to_scan,
						  max_u64(mul_div(sleep, MSEC, 1), 1))
					: 0;
		}
		if (cpu && pages >= WINDOW_PAGES) {
			uint64_t ns = clamp_u64(mul_div(cpu, 1000, pages), 50, 10000000);

			past->ns_per_page = past->ns_per_page ? (past->ns_per_page + ns) / 2 : ns;
		}
	}
	past->running = true;
	past->window_us = now_us;
	past->window_cpu = in->cpu_us;
	past->window_scanned = pol_has(in->pages_scanned) ? in->pages_scanned : 0;
}

/* After each full scan: did it pay? */
static void count_scans(struct pol *pol, const struct pol_ksm *in)
{
	struct ksm_past *past = &pol->ksm;
	uint64_t benefit = benefit_pages(in), scans, cpu;
	bool pays;

	if (!pol_has(in->full_scans))
		return;
	cpu = pol_has(in->cpu_us) ? in->cpu_us : 0;
	scans = sub_sat(in->full_scans, past->scans);
	if (past->counted && in->full_scans == past->scans)
		return;
	if (past->counted && scans) {
		uint64_t spent = sub_sat(cpu, past->scan_cpu);
		uint64_t gained = mul_div(sub_sat(benefit, past->scan_benefit), PAGE, 1);

		past->gain_pages = sub_sat(benefit, past->scan_benefit) / scans;
		past->scans_since = add_sat(past->scans_since, scans);
		pays = spent ? mul_div(gained, SEC, spent) >=
				       price(pol->tick.state, pol->host.is_short)
			     : gained >= MIB;
		if (pays)
			past->exhausted = false;
		else if (past->scans_since >= SCANS_LEAST)
			past->exhausted = true;
	}
	past->counted = true;
	past->scans = in->full_scans;
	past->scan_benefit = benefit;
	past->scan_cpu = cpu;
}

/* New guests, or clearly more memory in them, are worth new scans. */
static uint64_t look_for_new(struct pol *pol)
{
	struct ksm_past *past = &pol->ksm;
	uint64_t held = 0, much = max_u64(pol->tick.memory / 20, 64 * MIB);
	bool is_new = false;

	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];

		if (!guest->in->mergeable)
			continue;
		held = add_sat(held, guest->held);
		is_new |= !guest->past->ksm_seen;
		guest->past->ksm_seen = true;
	}
	if (held < past->held)
		past->held = held;
	if (is_new || held > add_sat(past->held, much)) {
		past->held = held;
		past->scans_since = 0;
		past->exhausted = false;
	}
	return held;
}

static uint64_t pages_for(const struct pol *pol, enum mode mode)
{
	uint64_t share = cpu_share(&pol->config, mode), work_ns;

	if (!pol->ksm.ns_per_page)
		return modes[mode].pages_first;
	work_ns = mul_div(modes[mode].sleep_ms * MSEC * 1000, share, PPM - share);
	return clamp_u64(work_ns / pol->ksm.ns_per_page, PAGES_LEAST, PAGES_MOST);
}

static bool is_near(uint64_t a, uint64_t b)
{
	return a <= b + b / 3 && b <= a + a / 3;
}

/* Whether to ask for what was asked before and did not come true: seldom, and ever more so. */
static bool may_ask(bool same, uint64_t now_us, uint64_t *when_us, uint64_t *wait_us)
{
	if (!same)
		*wait_us = ASK_AGAIN_US;
	else if (now_us - *when_us < *wait_us)
		return false;
	else
		*wait_us = min_u64(2 * *wait_us, ASK_AGAIN_MOST);
	*when_us = now_us;
	return true;
}

static void set_run(struct pol *pol, const struct pol_ksm *in, uint64_t run, enum pol_reason reason,
		    uint64_t gain_bytes, uint64_t cost_us)
{
	struct ksm_past *past = &pol->ksm;
	struct pol_action *action;

	if (in->run == run || (!run && in->run != 1) ||
	    !may_ask(past->asked_run && past->run == run, pol->tick.now_us, &past->run_us,
		     &past->run_wait_us))
		return;
	past->asked_run = true;
	past->run = run;
	action = plan_add(pol, NULL, POL_KSM_RUN, reason, POL_RUNG_KSM);
	action->from = in->run;
	action->to = run;
	action->gain_bytes = gain_bytes;
	action->cost_us = cost_us;
}

static void set_rate(struct pol *pol, const struct pol_ksm *in, enum mode mode, uint64_t gain_bytes,
		     uint64_t cost_us)
{
	struct ksm_past *past = &pol->ksm;
	uint64_t pages = pages_for(pol, mode), sleep_ms = modes[mode].sleep_ms;
	bool same;
	struct pol_action *action;

	if (in->sleep_ms == sleep_ms && pol_has(in->pages_to_scan) &&
	    is_near(in->pages_to_scan, pages))
		return;
	same = past->asked_rate && past->sleep_ms == sleep_ms && is_near(past->pages, pages);
	if (!may_ask(same, pol->tick.now_us, &past->rate_us, &past->rate_wait_us))
		return;
	past->asked_rate = true;
	past->pages = pages;
	past->sleep_ms = sleep_ms;
	past->running = false; /* measure anew */
	action = plan_add(pol, NULL, POL_KSM_RATE, modes[mode].reason, POL_RUNG_KSM);
	action->from = in->pages_to_scan;
	action->to = pages;
	action->to2 = sleep_ms;
	action->gain_bytes = gain_bytes;
	action->cost_us = cost_us;
}

void ksm_decide(struct pol *pol, const struct pol_host *host)
{
	const struct pol_ksm *in = &host->ksm;
	struct ksm_past *past = &pol->ksm;
	bool is_short = pol->host.is_short || pol->tick.state >= POL_STATE_SOFT;
	uint64_t held = look_for_new(pol), gain, cost;
	enum mode mode = MODE_CAMPAIGN;

	if (!pol->config.ksm_manage || !in->present)
		return;
	measure_cost(past, in, pol->tick.now_us);
	count_scans(pol, in);
	if (!in->mergeable_any) {
		set_run(pol, in, 0, POL_WHY_KSM_NOTHING, 0, 0);
		return;
	}
	if (past->exhausted)
		mode = MODE_PATROL;
	else if (is_short)
		mode = MODE_PRESSURE;
	gain = past->scans_since ? mul_div(past->gain_pages, PAGE, 1)
				 : ppm_of(held, GAIN_FIRST_PPM);
	if (mode == MODE_PATROL)
		gain = 0;
	/* Of one pass over what there is. */
	cost = mul_div(held / PAGE, past->ns_per_page, 1000);
	/* The rate first: never start at whatever rate was left there. */
	set_rate(pol, in, mode, gain, cost);
	set_run(pol, in, 1, modes[mode].reason, gain, cost);
}
