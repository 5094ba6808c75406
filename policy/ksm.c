// SPDX-License-Identifier: Apache-2.0
/*
 * KSM: on while a guest has mergeable memory, and as fast as it pays (ksm_worth.c). Something new
 * (a guest, more memory in them, pages that writes took out of sharing, a patrol that finds much)
 * starts a campaign, at most of a core for as long as ksmd's allowance lasts and then at its
 * average share, on a hard pressed host at that at least; it goes on until a full scan, the third
 * at the earliest (the first may be half of one, the next only learns which pages hold still),
 * merges less per CPU second than the price. Then a cheap patrol keeps watch. run=0 only with
 * nothing to merge; never run=2, which unmerges and may need more memory than there is.
 *
 * The rate follows from the measured CPU time per scanned page, so that ksmd stays within its share
 * of a core on a machine of any speed. It yields to everybody (nice 5), and on a host that is short
 * everybody waits for memory, busily: while guests start, what merges theirs is then urgent
 * (memd/ksm_nice.h), or it gets next to nothing.
 */
#include "policy/parts.h"

#define PAGES_LEAST    16
#define PAGES_MOST     30000 /* the kernel advisor's own limit */
#define RATE_GAP_US    (2 * SEC)
#define ASK_AGAIN_US   (60 * SEC)
#define ASK_AGAIN_MOST (3600 * SEC)
#define SCANS_LEARNING 2
#define NEW_PART       256
#define GROWN_LEAST    (32 * MIB) /* on campaign: so much more is something new again */
#define STARTS_US      (60 * SEC)
#define URGENT_US      (50 * SEC) /* of that, the time in which most of a guest's memory comes */
#define MEASURE_US     (SEC / 2)
#define WATCH_US       (SEC / 4)

enum mode { MODE_CAMPAIGN, MODE_PRESSURE, MODE_PATROL, MODE_COUNT };

/* pages_first is for kernels that do not tell what a page costs: modest. */
static const struct {
	uint64_t sleep_ms, pages_first;
	enum pol_reason reason;
} modes[MODE_COUNT] = {
	[MODE_CAMPAIGN] = {10, 500, POL_WHY_KSM_GAIN},
	[MODE_PRESSURE] = {10, 500, POL_WHY_KSM_PRESSURE},
	[MODE_PATROL] = {1000, 100, POL_WHY_KSM_NO_GAIN},
};

static uint64_t mergeable_held(const struct pol *pol)
{
	uint64_t held = 0;

	for (size_t i = 0; i < pol->n_now; i++)
		if (pol->now[i].in->mergeable)
			held = add_sat(held, pol->now[i].held);
	return held;
}

/*
 * What guests that just started have, on a hard pressed host: next to all of it is new to ksmd, and
 * the kernel swaps it first, for nobody has used it twice. What they have in common with others
 * then takes room in swap for each of them.
 */
static uint64_t young_held(const struct pol *pol)
{
	uint64_t held = 0;

	for (size_t i = 0; i < pol->n_now; i++)
		if (pol->now[i].in->mergeable &&
		    pol->tick.now_us - pol->now[i].past->reclaim.first_us < STARTS_US)
			held = add_sat(held, pol->now[i].held);
	return held;
}

/* Has one just come? */
static bool is_starting(const struct pol *pol)
{
	for (size_t i = 0; i < pol->n_now; i++) {
		const struct now_guest *guest = &pol->now[i];

		if (guest->in->mergeable &&
		    (!guest->past->reclaim.seen ||
		     pol->tick.now_us - guest->past->reclaim.first_us < URGENT_US))
			return true;
	}
	return false;
}

/* New guests are worth new scans if they are not next to nothing here, the rest if it promises to
 * pay. */
static void look_for_new(struct pol *pol, uint64_t held)
{
	struct ksm_past *past = &pol->ksm;
	enum ksm_news news = KSM_NEWS_MEMORY;
	uint64_t young = young_held(pol);
	bool is_new = false;
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];

		if (!guest->in->mergeable)
			continue;
		is_new |= !guest->past->ksm_seen && guest->memory >= held / NEW_PART;
		guest->past->ksm_seen = true;
	}
	past->held = min_u64(past->held, held);
	past->young = min_u64(past->young, young);
	if (is_pressed(pol) && !FAULT(ksm_young))
		is_new |= young - past->young > GROWN_LEAST;
	if (!is_new && past->exhausted) {
		uint64_t backlog = ksm_backlog(pol, held, &news);

		is_new = backlog >= ksm_threshold(pol, held, news);
	} else if (!is_new) {
		is_new = held - past->held > max_u64(GROWN_LEAST, past->held / 32);
	}
	if (!is_new)
		return;
	past->growing = !past->exhausted && past->held;
	ksm_begin(pol, news, held);
	past->young = young;
}

/* What a page costs, and not only how long ksmd ran and slept. */
static bool can_measure(const struct pol_ksm *in)
{
	return pol_has(in->cpu_us) && pol_has(in->pages_scanned);
}

static uint64_t pages_for(const struct pol *pol, enum mode mode)
{
	const struct ksm_past *past = &pol->ksm;
	uint64_t duty = ksm_duty(pol, mode == MODE_PATROL), work_ns, ns;

	ns = past->ns_per_page[mode == MODE_PATROL];
	/* A patrol's page costs more: what it skips is not counted. */
	if (!ns && mode == MODE_PATROL)
		ns = 2 * past->ns_per_page[0];
	else if (!ns && can_measure(&past->last))
		ns = ksm_page_ns(pol);
	if (!ns)
		return modes[mode].pages_first;
	work_ns = mul_div(modes[mode].sleep_ms * MSEC * 1000, duty, PPM - duty);
	return clamp_u64(work_ns / ns, PAGES_LEAST,
			 FAULT(ksm_pages_most) ? UINT64_MAX : PAGES_MOST);
}

static bool is_near(uint64_t a, uint64_t b)
{
	return a <= b + b / 4 && b <= a + a / 4;
}

/* Whether to ask for what was asked before and did not come true: seldom, and ever more so. */
static bool may_ask(bool same, uint64_t now_us, uint64_t *when_us, uint64_t *wait_us)
{
	if (!same)
		*wait_us = ASK_AGAIN_US;
	else if (now_us - *when_us < *wait_us && !FAULT(ksm_ask_again))
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

static enum pol_reason reason_of(const struct ksm_past *past, enum mode mode)
{
	if (mode == MODE_CAMPAIGN && past->news == KSM_NEWS_LOST)
		return POL_WHY_KSM_LOST;
	if (mode == MODE_CAMPAIGN && past->news == KSM_NEWS_FOUND)
		return POL_WHY_KSM_FOUND;
	if (mode == MODE_CAMPAIGN && past->news == KSM_NEWS_BACK)
		return POL_WHY_KSM_BACK;
	return modes[mode].reason;
}

/*
 * What smart_scan skips cannot be found by what is new. A patrol has time, and the first scans of a
 * campaign only learn what is new, which is never skipped; nor is what was read back.
 */
static bool may_skip(const struct ksm_past *past, enum mode mode)
{
	return mode == MODE_PATROL || past->scans_since < SCANS_LEARNING ||
	       past->news == KSM_NEWS_BACK || FAULT(ksm_skip);
}

/*
 * The scans that merge what guests that start bring, on a host that is short: the kernel swaps it
 * within seconds. Those after that find what held still only of late, and other news (what writes
 * took apart, what the patrol found, what was read back) can wait; guests have the processor first.
 */
static bool is_urgent(const struct pol *pol, enum mode mode)
{
	const struct ksm_past *past = &pol->ksm;

	return mode == MODE_PRESSURE && past->news != KSM_NEWS_BACK && !FAULT(ksm_urgent) &&
	       (is_starting(pol) || FAULT(ksm_urgent_all)) &&
	       (past->scans_since < KSM_SCANS_LEAST || FAULT(ksm_urgent_on));
}

/* Stopped, ksmd yields again; what it is to do at its next start is said anew. */
static void end_urgency(struct ksm_past *past)
{
	past->asked_rate &= !past->urgent;
	past->urgent = false;
}

static void set_rate(struct pol *pol, const struct pol_ksm *in, enum mode mode, uint64_t gain_bytes,
		     uint64_t cost_us)
{
	struct ksm_past *past = &pol->ksm;
	uint64_t pages = pages_for(pol, mode), sleep_ms = modes[mode].sleep_ms;
	bool smart = may_skip(past, mode), urgent = is_urgent(pol, mode);
	bool same = past->asked_rate && past->urgent == urgent &&
		    (past->smart == smart || !in->smart_scan);
	struct pol_action *action;

	if (same && in->sleep_ms == sleep_ms && pol_has(in->pages_to_scan) &&
	    is_near(in->pages_to_scan, pages))
		return;
	/* A rate that still holds what was asked for is trimmed now and then, not every tick. */
	if (same && in->sleep_ms == sleep_ms && past->sleep_ms == sleep_ms &&
	    in->pages_to_scan == past->pages && pol->tick.now_us - past->rate_us < RATE_GAP_US &&
	    pages < 4 * past->pages && past->pages < 4 * pages)
		return;
	same = same && past->sleep_ms == sleep_ms && is_near(past->pages, pages);
	if (!may_ask(same, pol->tick.now_us, &past->rate_us, &past->rate_wait_us))
		return;
	past->asked_rate = true;
	past->pages = pages;
	past->sleep_ms = sleep_ms;
	/* measure anew */
	past->cost = past->now;
	past->cost_known = true;
	action = plan_add(pol, NULL, POL_KSM_RATE, reason_of(past, mode), POL_RUNG_KSM);
	action->from = in->pages_to_scan;
	action->to = pages;
	action->to2 = sleep_ms;
	action->to3 = past->smart = smart;
	action->to4 = past->urgent = urgent;
	action->gain_bytes = gain_bytes;
	action->cost_us = cost_us;
}

/*
 * The rate of a first campaign is a guess, and the scan that may be a campaign's last can end at
 * any time in a tick: ksmd would go on at full speed until the next.
 */
static void look_again(struct pol *pol, const struct pol_ksm *in, uint64_t held)
{
	const struct ksm_past *past = &pol->ksm;

	if (!past->ns_per_page[0] && can_measure(in) &&
	    pol->tick.now_us - past->rate_us < MEASURE_US)
		pol->plan.again_us = MEASURE_US;
	else if (ksm_rush_left_us(pol))
		pol->plan.again_us = ksm_rush_left_us(pol);
	else if (ksm_may_end(pol, held, 2 * SEC))
		pol->plan.again_us = WATCH_US;
}

void ksm_decide(struct pol *pol, const struct pol_host *host)
{
	const struct pol_ksm *in = &host->ksm;
	struct ksm_past *past = &pol->ksm;
	uint64_t held = mergeable_held(pol), gain, cost;
	enum ksm_news news;
	enum mode mode = MODE_CAMPAIGN;

	if (!pol->config.ksm_manage || !in->present) {
		past->seen = false;
		return;
	}
	if (!ksm_follow(pol, in, held))
		return;
	look_for_new(pol, held);
	if (pol->merge.forbid && !FAULT(ksm_forbidden)) { /* has been stopped */
		end_urgency(past);
		return;
	}
	if (!in->mergeable_any) {
		end_urgency(past);
		set_run(pol, in, 0, POL_WHY_KSM_NOTHING, 0, 0);
		return;
	}
	if (past->exhausted)
		mode = MODE_PATROL;
	else if (is_short(pol))
		mode = MODE_PRESSURE;
	gain = past->scans_since ? mul_div(past->gain_pages, PAGE, 1)
				 : ksm_backlog(pol, held, &news);
	if (mode == MODE_PATROL)
		gain = 0;
	cost = ksm_scan_cost_us(pol, held);
	/* The rate first: never start at whatever rate was left there. */
	if (FAULT(ksm_rate_first))
		set_run(pol, in, 1, reason_of(past, mode), gain, cost);
	set_rate(pol, in, mode, gain, cost);
	set_run(pol, in, 1, reason_of(past, mode), gain, cost);
	if (mode != MODE_PATROL)
		look_again(pol, in, held);
}
