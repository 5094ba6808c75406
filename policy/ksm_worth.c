// SPDX-License-Identifier: Apache-2.0
/*
 * What scanning costs and brings. Scanning is an investment: CPU time now for memory later, which
 * lasts until it is written to. So a CPU second is worth as much memory as a core is, for as long
 * as what is merged stays merged (saved pages over the rate of copy-on-write breaks), and less of
 * it when the host is short.
 *
 * Two of the kernel's numbers mislead: pages_sharing still counts what has been written to since
 * ksmd came by, and the first scan of anything new merges nothing, it only learns what holds still.
 */
#include "policy/parts.h"

/* ksmd's allowance is its share of a core, and what it saves up of it in a quiet time. */
#define SAVED_UP_US (60 * SEC)
#define BURST_PPM   900000
#define PATROL_PPM  3000

/* A core's worth of memory when nothing is short, and how long a merged page is taken to last. */
#define CORE_BYTES   (8 * GIB)
#define LASTS_LEAST  (60 * SEC)
#define LASTS_MOST   (1800 * SEC)
#define TRIFLE_BYTES (8 * MIB)
#define TRIFLE_PART  64 /* of what is saved */

#define SETTLING_PART	 16    /* of pages that did not hold still, what may by the next scan */
#define SCANS_CAMPAIGN	 3     /* what one usually takes */
#define NS_FIRST	 3000  /* a page, until measured */
#define NS_MOST		 10000 /* a page where it is weighed: a slower core is worth less memory */
#define COST_CAMPAIGN	 (20 * MSEC) /* CPU time in a window that is enough to measure by */
#define COST_PATROL	 (60 * MSEC)
#define COST_SPAN_US	 (20 * SEC)
#define COST_LEAST	 (10 * MSEC)
#define COST_PAGES	 64
#define SAMPLE_PART	 2	/* of the pages, seen by the patrol before it is believed */
#define TRUST_FIRST_PPM	 500000 /* in what signs promise, until campaigns have shown */
#define TRUST_LEAST_PPM	 20000
#define GROWING_US	 (3 * SEC / 4)
#define BACK_TRIFLE_PART 128
#define BACK_MUCH_PART	 48
#define BACK_ENDS_US	 (15 * SEC) /* reading back has, when nothing came for so long */
/* Of guests' memory not yet scanned, what merging may bring: the middle one of ESX's measurements
 * (nine Linux guests, 18.7 %; Waldspurger 2002). */
#define GAIN_FIRST_PPM 187000

static uint64_t count(uint64_t value)
{
	return pol_has(value) ? value : 0;
}

static struct ksm_mark mark_of(const struct pol_ksm *in, uint64_t now_us)
{
	return (struct ksm_mark){
		.now_us = now_us,
		.cpu_us = count(in->cpu_us),
		.scanned = count(in->pages_scanned),
		.visited = add_sat(count(in->pages_scanned), count(in->pages_skipped)),
		.scans = count(in->full_scans),
		.benefit = add_sat(count(in->pages_sharing), count(in->zero_pages)),
		.zero = count(in->zero_pages),
		.cow = count(in->cow_breaks),
	};
}

/* Totals only rise, and what is told once is told always. */
static bool is_odd(uint64_t before, uint64_t now)
{
	return pol_has(before) != pol_has(now) || now < before;
}

static bool went_back(const struct pol_ksm *last, const struct pol_ksm *in)
{
	return is_odd(last->full_scans, in->full_scans) || is_odd(last->cpu_us, in->cpu_us) ||
	       is_odd(last->pages_scanned, in->pages_scanned) ||
	       is_odd(last->pages_skipped, in->pages_skipped) ||
	       is_odd(last->cow_breaks, in->cow_breaks) ||
	       pol_has(last->zero_pages) != pol_has(in->zero_pages) ||
	       pol_has(last->pages_sharing) != pol_has(in->pages_sharing);
}

static void start_anew(struct ksm_past *past)
{
	past->scan = past->before = past->sample = past->begin = past->now;
	past->cost_known = false;
	past->promised = 0;
}

/* ---- the allowance ---- */

uint64_t ksm_urgency(const struct pol *pol)
{
	if (is_pressed(pol))
		return 32;
	return is_short(pol) ? 8 : 1;
}

/* Of a core, on average. */
static uint64_t share_of(const struct pol *pol)
{
	uint64_t times = 1;

	if (is_pressed(pol))
		times = 4;
	else if (is_short(pol))
		times = 2;
	return min_u64(times * pol->config.ksm_cpu_ppm, BURST_PPM);
}

static void spend(struct pol *pol, uint64_t span_us, uint64_t cpu_us)
{
	struct ksm_past *past = &pol->ksm;
	uint64_t share = share_of(pol);
	int64_t most = (int64_t)ppm_of(SAVED_UP_US, share);

	/* A gap in the record, such as a suspended host, fills it no further than quiet does. */
	past->left_us += (int64_t)ppm_of(min_u64(span_us, SAVED_UP_US), share);
	if (!FAULT(ksm_allowance))
		past->left_us -= (int64_t)min_u64(cpu_us, 2 * SAVED_UP_US);
	if (past->left_us > most && !FAULT(ksm_saved_up))
		past->left_us = most;
	if (past->left_us < -most)
		past->left_us = -most;
}

uint64_t ksm_rush_left_us(const struct pol *pol)
{
	/* What is not merged in time is swapped on a host that is short. */
	if (!pol->ksm.growing || (is_short(pol) && !FAULT(ksm_short_rush)))
		return 0;
	return sub_sat(pol->ksm.begin_us + GROWING_US, pol->tick.now_us);
}

/* As what it finds is worth more (price()), it looks more often. */
static uint64_t patrol_ppm(const struct pol *pol)
{
	return FAULT(ksm_patrol_urgent) ? PATROL_PPM : PATROL_PPM * ksm_urgency(pol);
}

uint64_t ksm_duty(const struct pol *pol, bool patrol)
{
	uint64_t share = share_of(pol), full = ppm_of(SAVED_UP_US / 4, share), left, duty;

	if (FAULT(ksm_cap))
		return BURST_PPM;
	if (patrol)
		return FAULT(ksm_patrol) ? share : min_u64(patrol_ppm(pol), share);
	/* What changes under ksmd is scanned for nothing: it waits for the rush to end. */
	if (ksm_rush_left_us(pol))
		return share / 2;
	/* As what was saved up runs out the rate falls to where it only spends what it gets. */
	left = pol->ksm.left_us > 0 ? min_u64((uint64_t)pol->ksm.left_us, full) : 0;
	duty = share / 2 + mul_div(BURST_PPM - share / 2, left, full);
	/* What is merged in time need not be swapped, and be read back by each guest for itself:
	 * a pressed host does not save up. */
	if (is_pressed(pol) && !FAULT(ksm_hard_duty))
		return max_u64(duty, share);
	return duty;
}

/* ---- prices ---- */

/* CPU time per page, from what the kernel counts or, before 6.4, from the share of time it ran. */
static void follow_cost(struct ksm_past *past, const struct pol_ksm *in)
{
	const struct ksm_mark *from = &past->cost, *now = &past->now;
	uint64_t span = now->now_us - from->now_us, cpu = sub_sat(now->cpu_us, from->cpu_us);
	uint64_t pages, ns, *known = &past->ns_per_page[past->exhausted];

	if (!pol_has(in->cpu_us) || in->run != 1) {
		past->cost_known = false;
		return;
	}
	if (past->cost_known) {
		/* A patrol may take less than CPU time is counted in: then it is at most that. */
		if (past->exhausted && span >= COST_SPAN_US)
			cpu = max_u64(cpu, COST_LEAST);
		else if (span < SEC / 2 || cpu < (past->exhausted ? COST_PATROL : COST_CAMPAIGN))
			return;
		if (pol_has(in->pages_scanned)) {
			pages = sub_sat(now->scanned, from->scanned);
		} else {
			uint64_t sleep_us = mul_div(max_u64(count(in->sleep_ms), 1), MSEC, 1);

			pages = mul_div(sub_sat(span, cpu), count(in->pages_to_scan), sleep_us);
		}
		if (pages >= COST_PAGES) {
			ns = clamp_u64(mul_div(cpu, 1000, pages), 50, 10000000);
			*known = *known < 2 * ns && *known ? (*known + ns) / 2 : ns;
		}
	}
	past->cost_known = true;
	past->cost = *now;
}

uint64_t ksm_page_ns(const struct pol *pol)
{
	return pol->ksm.ns_per_page[0] ? pol->ksm.ns_per_page[0] : NS_FIRST;
}

uint64_t ksm_scan_cost_us(const struct pol *pol, uint64_t held)
{
	return mul_div(held / PAGE, ksm_page_ns(pol), 1000);
}

/* The same where it is set against memory. */
static uint64_t fair_cost_us(const struct pol *pol, uint64_t held)
{
	return min_u64(ksm_scan_cost_us(pol, held), mul_div(held / PAGE, NS_MOST, 1000));
}

/* What a CPU second must bring, bytes. */
static uint64_t price(const struct pol *pol)
{
	const struct ksm_past *past = &pol->ksm;
	uint64_t broken = sub_sat(past->now.cow, past->before.cow);
	uint64_t span = past->now.now_us - past->before.now_us;
	uint64_t lasts = broken ? mul_div(past->now.benefit, span, broken) : LASTS_MOST;
	uint64_t bytes = mul_div(CORE_BYTES, SEC, clamp_u64(lasts, LASTS_LEAST, LASTS_MOST));

	return bytes / ksm_urgency(pol);
}

uint64_t ksm_threshold(const struct pol *pol, uint64_t held, enum ksm_news news)
{
	uint64_t cost_us = SCANS_CAMPAIGN * fair_cost_us(pol, held);
	uint64_t trifle = mul_div(pol->ksm.now.benefit, PAGE, 1) / TRIFLE_PART;

	/* That is known page by page, and comes in lots that memory bounds. */
	if (news == KSM_NEWS_BACK)
		trifle = pol->tick.memory / BACK_TRIFLE_PART;
	return max_u64(mul_div(price(pol), cost_us, SEC), max_u64(TRIFLE_BYTES, trifle));
}

/* ---- yields ---- */

/* What a campaign brought of what its sign promised is how far the sign is trusted next time. */
static void learn(struct ksm_past *past)
{
	uint64_t back = past->now.benefit, *trust = &past->trust_ppm[past->news];

	if (past->news == KSM_NEWS_MEMORY || !past->promised)
		return;
	/* At its beginning what was lost was still counted. */
	if (past->news == KSM_NEWS_LOST)
		back = add_sat(back, past->promised);
	back = sub_sat(back, past->begin.benefit);
	*trust = (*trust + min_u64(mul_div(back, PPM, past->promised), PPM)) / 2;
	*trust = FAULT(ksm_trust) ? TRUST_FIRST_PPM : max_u64(*trust, TRUST_LEAST_PPM);
}

/*
 * Did the last full scan pay, and will the next? What has held still for two scans is merged, so
 * the next one can only bring what did not. The kernel counts zero pages among those until it comes
 * by again (their rmap_items go no earlier), and that is none of them.
 */
static bool is_paying(const struct pol *pol, const struct pol_ksm *in, uint64_t held)
{
	const struct ksm_past *past = &pol->ksm;
	uint64_t restless =
		sub_sat(count(in->pages_volatile), sub_sat(past->now.zero, past->scan.zero));
	uint64_t next = mul_div(restless / SETTLING_PART, PAGE, 1);
	uint64_t gained = mul_div(past->gain_pages, PAGE, 1);
	uint64_t cost_us = fair_cost_us(pol, held), spent_us = min_u64(past->gain_us, cost_us);

	if (!pol_has(in->cpu_us) || !spent_us)
		return gained >= MIB;
	if (FAULT(ksm_pays))
		return true;
	return mul_div(gained, SEC, spent_us) >= price(pol) &&
	       mul_div(next, SEC, cost_us) >= price(pol);
}

bool ksm_may_end(const struct pol *pol, uint64_t held, uint64_t within_us)
{
	const struct ksm_past *past = &pol->ksm;
	uint64_t seen = past->now.visited - past->scan.visited;
	uint64_t span = past->now.now_us - past->scan.now_us;

	return past->scans_since + 1 >= KSM_SCANS_LEAST && seen &&
	       mul_div(sub_sat(held / PAGE, seen), span, seen) <= within_us;
}

/*
 * What was read back from swap is merged when ksmd has seen it twice at most (newer ones compare
 * its checksum first, mm/ksm.c), of which the third end of a scan after it is a sure sign. What the
 * patrol has seen to is no reason to believe less in the rest.
 */
static void follow_back(struct pol *pol, const struct pol_ksm *in)
{
	struct ksm_past *past = &pol->ksm;
	uint64_t back = count(in->back_bytes) / PAGE, *trust = &past->trust_ppm[KSM_NEWS_BACK];
	bool seen = past->now.scans - past->back_scans >= KSM_SCANS_LEAST;

	if (back != past->back) {
		past->back_scans = past->now.scans;
		past->back_us = pol->tick.now_us;
		seen = false;
	}
	past->back = back;
	if (seen && back > past->back_seen && past->exhausted)
		*trust = (3 * *trust + PPM) / 4;
	if (seen || back < past->back_seen)
		past->back_seen = back;
}

uint64_t ksm_back_bytes(const struct pol *pol, const struct pol_ksm *in)
{
	return sub_sat(count(in->back_bytes), mul_div(pol->ksm.back_seen, PAGE, 1));
}

/* Reading goes on for a while; one campaign is for all of it, or for much. */
static uint64_t back_pages(const struct pol *pol)
{
	const struct ksm_past *past = &pol->ksm;
	uint64_t pages = past->back - past->back_seen;

	if (pol->tick.now_us - past->back_us < BACK_ENDS_US &&
	    pages < pol->tick.memory / PAGE / BACK_MUCH_PART && !FAULT(back_ends))
		return 0;
	return pages;
}

static void follow_scans(struct pol *pol, const struct pol_ksm *in, uint64_t held)
{
	struct ksm_past *past = &pol->ksm;
	uint64_t scans = past->now.scans - past->scan.scans;

	if (!pol_has(in->full_scans) || !scans)
		return;
	past->gain_pages = sub_sat(past->now.benefit, past->scan.benefit) / scans;
	past->gain_us = sub_sat(past->now.cpu_us, past->scan.cpu_us) / scans;
	past->scans_since = add_sat(past->scans_since, scans);
	if (!past->exhausted && past->scans_since >= KSM_SCANS_LEAST && !is_paying(pol, in, held)) {
		learn(past);
		past->exhausted = true;
		past->sample = past->now;
		past->cost_known = false;
		past->scan = past->now; /* what was lost before has been looked for */
		past->back_seen = past->back;
	}
	past->before = past->scan;
	past->scan = past->now;
}

/* The patrol's sample is renewed when it has seen all. */
static void follow_sample(struct ksm_past *past, uint64_t held)
{
	if (past->now.visited - past->sample.visited >= held / PAGE)
		past->sample = past->now;
}

bool ksm_follow(struct pol *pol, const struct pol_ksm *in, uint64_t held)
{
	struct ksm_past *past = &pol->ksm;
	bool odd = past->seen && went_back(&past->last, in) && !FAULT(ksm_odd);
	struct ksm_mark before = past->now;

	past->now = mark_of(in, pol->tick.now_us);
	past->last = *in;
	if (!past->seen) {
		past->left_us = (int64_t)ppm_of(SAVED_UP_US, share_of(pol));
		for (size_t i = 0; i < KSM_NEWS_COUNT; i++)
			if (!past->trust_ppm[i])
				past->trust_ppm[i] = i == KSM_NEWS_BACK ? PPM : TRUST_FIRST_PPM;
	}
	if (!past->seen || odd) {
		past->seen = true;
		start_anew(past);
		return !odd;
	}
	spend(pol, past->now.now_us - before.now_us, past->now.cpu_us - before.cpu_us);
	follow_cost(past, in);
	follow_back(pol, in);
	follow_scans(pol, in, held);
	if (past->exhausted)
		follow_sample(past, held);
	return true;
}

/*
 * What the patrol finds in the part that it sees is taken for the whole. Its find is what savings
 * rose by and what it noticed as lost meanwhile, which is that same part of what was lost in the
 * round before; of the one to two rounds that are known half is a cautious guess.
 */
static uint64_t found_pages(const struct ksm_past *past, uint64_t pages)
{
	const struct ksm_mark *now = &past->now, *from = &past->sample;
	uint64_t visited = now->visited - from->visited;
	uint64_t lost =
		mul_div(sub_sat(from->cow, past->before.cow) / 2, visited, max_u64(pages, 1));

	if (visited < max_u64(pages / SAMPLE_PART, COST_PAGES))
		return 0;
	return mul_div(sub_sat(add_sat(now->benefit, lost), from->benefit), pages, visited);
}

/* Since the patrol came by twice. */
static uint64_t lost_pages(const struct ksm_past *past)
{
	return past->now.cow - past->before.cow;
}

void ksm_begin(struct pol *pol, enum ksm_news news, uint64_t held)
{
	struct ksm_past *past = &pol->ksm;

	if (past->exhausted || past->news == KSM_NEWS_NONE)
		past->cost_known = false;
	past->news = news;
	past->begin = past->now;
	past->begin_us = past->now.now_us;
	past->promised = 0;
	if (news == KSM_NEWS_LOST)
		past->promised = lost_pages(past);
	else if (news == KSM_NEWS_FOUND)
		past->promised = found_pages(past, held / PAGE);
	else if (news == KSM_NEWS_BACK)
		past->promised = past->back - past->back_seen;
	past->scans_since = 0;
	past->exhausted = false;
	past->held = held;
}

/*
 * Four signs: memory that guests took up since, by what merging brings of all they have; pages
 * that writes took out of sharing since the patrol came by twice; what the patrol finds; and what
 * was read back from swap because it equals what is merged.
 */
uint64_t ksm_backlog(const struct pol *pol, uint64_t held, enum ksm_news *ret_news)
{
	const struct ksm_past *past = &pol->ksm;
	uint64_t saved = mul_div(past->now.benefit, PAGE, 1);
	uint64_t part = clamp_u64(mul_div(saved, PPM, max_u64(held, 1)), GAIN_FIRST_PPM, PPM);
	uint64_t grown = ppm_of(sub_sat(held, past->held), part);
	uint64_t lost = ppm_of(lost_pages(past), past->trust_ppm[KSM_NEWS_LOST]);
	uint64_t found = ppm_of(found_pages(past, held / PAGE), past->trust_ppm[KSM_NEWS_FOUND]);

	uint64_t back = mul_div(back_pages(pol), PAGE, 1);

	/* Trust says how much of that is read at all (merge_anchor.c). */
	lost = mul_div(lost, PAGE, 1);
	found = mul_div(found, PAGE, 1);
	*ret_news = KSM_NEWS_MEMORY;
	if (max_u64(lost, found) > grown)
		*ret_news = lost > found ? KSM_NEWS_LOST : KSM_NEWS_FOUND;
	grown = max_u64(grown, max_u64(lost, found));
	if (back > grown)
		*ret_news = KSM_NEWS_BACK;
	return max_u64(grown, back);
}
