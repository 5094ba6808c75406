/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the policy share: saturating integer arithmetic, the numbers of one tick
 * (struct now_*, rebuilt from the snapshot by every step) and what is remembered between ticks
 * (struct *_past). Private to policy/.
 *
 * Every byte count is clamped to BYTES_MAX on entry, so that sums and differences of a handful of
 * them cannot overflow; products go through mul_div().
 */
#ifndef MEMD_POLICY_PARTS_H
#define MEMD_POLICY_PARTS_H

#include "policy/fault.h"
#include "policy/policy.h"

#define KIB	  1024ull
#define MIB	  (1024ull * KIB)
#define GIB	  (1024ull * MIB)
#define MSEC	  1000ull
#define SEC	  1000000ull
#define PAGE	  4096ull
#define BYTES_MAX (1ull << 50)
#define PPM	  1000000ull

/* How far ahead the policy looks at most: a slow balloon needs about this long to matter. */
#define LEAD_MOST_US  (10 * SEC)
#define LEAD_LEAST_US (3 * SEC)
/* A guest whose own use grows slower than this, bytes/s, counts as steady. */
#define GROWTH_LEAST (4 * MIB)
/* Balloons closer to their target than this have arrived. */
#define ARRIVED_BYTES MIB

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* low wins when the bounds cross. */
static inline uint64_t clamp_u64(uint64_t v, uint64_t low, uint64_t high)
{
	return max_u64(low, min_u64(v, high));
}

static inline uint64_t sub_sat(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static inline uint64_t add_sat(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - 1 - b || b == UINT64_MAX ? UINT64_MAX - 1 : a + b;
}

/* a * b / c without overflow on the way, saturating; c = 0 gives 0. */
static inline uint64_t mul_div(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t product;

	if (!c)
		return 0;
	if (!__builtin_mul_overflow(a, b, &product))
		return product / c;
	unsigned __int128 wide = (unsigned __int128)a * b / c;
	return wide > UINT64_MAX - 1 ? UINT64_MAX - 1 : (uint64_t)wide;
}

static inline uint64_t ppm_of(uint64_t bytes, uint64_t ppm)
{
	return mul_div(bytes, ppm, PPM);
}

static inline uint64_t round_up(uint64_t v, uint64_t unit)
{
	return (v + unit - 1) / unit * unit;
}

/* A snapshot's byte count made safe; absent stays absent. */
static inline uint64_t bytes_in(uint64_t v)
{
	return pol_has(v) ? min_u64(v, BYTES_MAX) : POL_ABSENT;
}

/*
 * One step of an exponentially weighted average: `old` moves towards `new` with time constant
 * tau_us; what is left closes at once when it no longer matters, so constant input settles.
 */
static inline uint64_t ewma(uint64_t old, uint64_t new, uint64_t dt_us, uint64_t tau_us)
{
	uint64_t gap = old > new ? old - new : new - old;
	uint64_t part = mul_div(gap, min_u64(dt_us, tau_us), tau_us);

	if (gap < 64 * KIB)
		return new;
	return old > new ? old - part : old + part;
}

/* ---- one tick ---- */

struct marks {
	uint64_t high, soft, hard, low, hysteresis;
	uint64_t goal;	 /* what taking aims at: clear above `high` */
	uint64_t ease;	 /* free memory that guests do not miss is collected up to this */
	uint64_t plenty; /* giving back starts above this; in between nothing moves */
};

struct now_host {
	uint64_t now_us, dt_us; /* dt 0: first tick, or no time passed */
	uint64_t memory, available;
	uint64_t swap_room; /* what guests may be given for which the host has to swap */
	struct marks marks;
	enum pol_state state;
	uint64_t lead_us;   /* how long the balloons need to matter: looked so far ahead */
	uint64_t predicted; /* available then, at the present rate of fall */
	uint64_t need;	    /* to reach the goal */
	uint64_t ease;	    /* more, if guests have it free and the host holds it */
	uint64_t coming;    /* from balloons on their way */
	bool starving;	    /* state low, and a guest has next to nothing */
};

struct guest_past;
struct share_claim;

struct now_guest {
	const struct pol_guest *in;
	struct guest_past *past;
	bool usable; /* answers, has a balloon, and its sizes make sense */

	/* sizes, clamped */
	uint64_t memory, actual, min, shares;
	uint64_t held; /* host memory (and swap) behind it; actual when not known */
	bool held_known;

	/* its own numbers, when trusted; measured when `actual` was actual_then */
	enum pol_trust trust;
	bool fresh; /* not seen before */
	uint64_t free, available, actual_then;
	uint64_t grew;	      /* more in use than in the sample before */
	uint64_t actual_late; /* at most; if the balloon moved just then, more likely this */
	uint64_t reserve, floor;

	/* signals of this tick */
	bool distress;	/* new sign that it suffers: give at once, */
	bool grave;	/* and a lot */
	bool urgent;	/* nearly out of memory */
	bool starves;	/* either, and the host sees that it uses what it has */
	bool liar;	/* its numbers have contradicted each other for a while */
	bool held_back; /* nothing is to be taken: recent trouble, gift or start */
	bool freed;	/* so, but it has freed since what it was held back for */

	/* shares */
	uint64_t entitled;

	/* decisions, bytes of the guest's memory */
	uint64_t want, claim, grant; /* wished, covered by its share, given */
	enum pol_reason grant_reason;
	bool from_swap;	  /* part of the grant is memory that the host has to swap for */
	bool comfort;	  /* granted to put it at ease, it could do without */
	bool resplit;	  /* its memory device is stuck: the balloon has to do the rest */
	uint64_t release; /* target to set because the balloon is stuck or moved by itself */
	bool released;
	struct take {
		uint64_t base, most;	  /* taken from this size, at most so much this tick */
		uint64_t least;		  /* less is not worth an order */
		uint64_t free_most;	  /* of `most`, from free memory */
		uint64_t gain_free, gain; /* host bytes those bring: free only, all */
		uint64_t part_free, part; /* host bytes asked for: on the free rung, in all */
		uint64_t bytes;		  /* result: bytes of the guest's memory */
		enum pol_reason free_rejected;
	} take;
};

/* ---- between ticks ---- */

#define ACTUAL_RING 16

/* Of a guest's memory that goes to the host's swap; see reclaim.c. */
struct guest_reclaim {
	bool seen;
	uint64_t first_us;		   /* first seen */
	uint64_t mark_us, refault, psi_us; /* totals that its rates are measured from */
	uint64_t order_us, base, asked;	   /* the order that is open (0: none): resident then, and
					      bytes asked for */
	uint64_t step;			   /* most of the next order, 0: begin anew */
	uint64_t hold_us, backoff_us;	   /* nothing is asked before; how long the last hold was */
	enum pol_reason hold_why;
	uint64_t sore, sore_us; /* resident when it read back too much, and how long that counts */
	enum pol_reason off;	/* see pol_view */
	uint64_t floor;
};

struct guest_past {
	uint64_t id;
	bool met;	   /* it could be used once */
	bool adopted;	   /* a trusted sample was seen */
	uint64_t young_us; /* until then nothing is taken unless the host is hard pressed */

	/* balloon */
	uint64_t target, target_before; /* asked now, and before that */
	uint64_t actual;		/* last tick */
	uint64_t echo;			/* the target the snapshot showed last */
	bool asked;			/* ever; when last, and its size then: */
	uint64_t asked_us, asked_actual;
	bool arrived;
	uint64_t gap;		       /* least distance to the target yet */
	uint64_t progress_us;	       /* when it last shrank */
	uint64_t speed;		       /* bytes/s, learned */
	uint64_t held;		       /* last tick, 0: not known */
	uint64_t intake;	       /* bytes/s of host memory that it takes up */
	uint64_t unseen;	       /* taken up since it measured last, as far as known */
	uint64_t mark_us, mark_actual; /* where the speed is measured from; 0: not moving */
	bool stuck;
	uint64_t retry_us, backoff_us;
	uint64_t life; /* digest of its numbers when found stuck: nothing is retried on a corpse */
	bool device_stuck;
	uint64_t device_retry_us, device_backoff_us;
	uint64_t plenty_given;	/* given back because the host had plenty, */
	uint64_t comfort_given; /* or to put it at ease; since it was last taken from */

	/* its own numbers */
	bool sampled;
	uint64_t lies_since_us; /* 0: not lying */
	uint64_t sample_us;	/* when the latest new sample was seen, */
	uint64_t sent_us;	/* and when the guest sent it */
	uint64_t stat[5];	/* total, free, available, cache, and a digest of the counters */
	uint64_t swap_in, swap_out, faults, ooms, stalls;
	uint64_t size_most, size_likely; /* when it measured the latest sample */
	uint64_t used, used_then;	 /* latest sample, and the guest's size then */
	uint64_t ws_fast, ws_slow;
	uint64_t ws;	  /* the working set, for the floor */
	uint64_t ws_late; /* in use of late: not idle */
	uint64_t growth;  /* bytes/s by which its own available memory falls */
	uint64_t ring_us[ACTUAL_RING], ring_actual[ACTUAL_RING];
	unsigned int ring_n, ring_at;

	uint64_t taken_us;   /* last time */
	uint64_t sore;	     /* the size at which it needed back what was taken, and */
	uint64_t sore_us;    /* how long that counts */
	uint64_t regret_us;  /* how long to leave it alone when it needs that back soon */
	uint64_t hold_us;    /* nothing is taken before, */
	uint64_t hold_used;  /* while it uses about as much as it did then */
	uint64_t trouble_us; /* shown as in trouble until */

	bool ksm_seen;
	struct guest_reclaim reclaim;

	/* merging */
	bool merge_asked, merge_to;	  /* ordered last, and what */
	uint64_t merge_us, merge_wait_us; /* when, and before ordering the same again */
	uint64_t merge_on_us;		  /* found mergeable, with KSM at work, since; 0: not */
	bool merge_known;		  /* merge_gain is measured */
	uint64_t merge_gain;		  /* bytes saved when it was last mergeable */
	uint64_t merge_scans;		  /* full scans when merge_on_us began */
	bool marked_known;
	uint64_t marked;		/* what was mergeable of it at the last look */
	bool cost_off;			/* merging it does not pay */
	bool cost_again;		/* the time for that is over */
	uint64_t cost_us, cost_wait_us; /* off since, and before another try */
	uint64_t cost_held;		/* held then */
	uint64_t mean_saved;		/* by merging, over the last half of a trial */
	bool marks_stay;		/* off, and some of it is mergeable all the same */
	enum pol_reason merge_off;	/* see pol_view */
	bool merge_refused;

	struct numa_past {
		uint64_t cpu_us, at_us; /* its CPU time then; at_us 0: not known */
		uint64_t cpu_ppm;	/* of one processor that it takes */
		bool watched;		/* since since_us a move to node `to` would have paid */
		uint32_t to;
		uint64_t since_us;
		uint64_t rest_us, backoff_us; /* not moved before; how long the next rest is */
		uint64_t spare_us; /* since then it would be the one to leave its node; 0: not */
		enum pol_numa_why why; /* see pol_view */
		uint64_t local_ppm;
	} numa;
};

struct host_past {
	bool seen;
	uint64_t now_us, available;
	enum pol_state state;
	bool is_short;		/* fell below `high`, and is not clear above it again */
	uint64_t fall;		/* bytes/s */
	uint64_t fall_most;	/* of late */
	uint64_t calm_since_us; /* not short since */
	bool plenty;
	uint64_t plenty_since_us;
	uint64_t plenty_step; /* bytes a tick in this phase of giving back, 0: not yet known */
};

/* KSM's counters at one moment; what the kernel does not tell is 0 in each. */
struct ksm_mark {
	uint64_t now_us, cpu_us, scanned, visited, scans, cow;
	uint64_t benefit, zero; /* saved pages, and how many of them were zero */
};

/* Why KSM is on its campaign. */
enum ksm_news { KSM_NEWS_NONE, KSM_NEWS_MEMORY, KSM_NEWS_LOST, KSM_NEWS_FOUND, KSM_NEWS_COUNT };

struct ksm_past {
	bool asked_run, asked_rate;
	bool smart;
	uint64_t run, pages, sleep_ms;	    /* asked for */
	uint64_t run_us, rate_us;	    /* when */
	uint64_t run_wait_us, rate_wait_us; /* before asking the same again */

	bool seen; /* all below is valid */
	struct pol_ksm last;
	struct ksm_mark now;

	int64_t left_us;	 /* of ksmd's allowance; below 0: overdrawn */
	struct ksm_mark cost;	 /* start of the window in which a page's price is measured */
	bool cost_known;	 /* that window is valid */
	uint64_t ns_per_page[2]; /* on campaign, on patrol; 0: not known yet */

	struct ksm_mark scan;	/* at the end of the last full scan */
	struct ksm_mark before; /* at the end of the one before that */
	struct ksm_mark sample; /* start of the patrol's sample */
	uint64_t scans_since;	/* full scans since something new appeared */
	uint64_t gain_pages;	/* of the last full scan */
	uint64_t gain_us;	/* CPU time that it took */
	bool exhausted;		/* the last full scan did not pay: on patrol */

	enum ksm_news news;
	struct ksm_mark begin; /* of the campaign */
	uint64_t begin_us;     /* of its last news */
	bool growing;	       /* those were more memory, while it was on */
	uint64_t promised;     /* pages that it is to bring, where its sign told a number */
	uint64_t trust_ppm[KSM_NEWS_COUNT]; /* of what signs promised, what campaigns brought */
	uint64_t held;			    /* mergeable bytes when something new last appeared */
};

/* A trust domain as of this tick. */
struct merge_domain {
	uint32_t domain;
	bool stuck;	  /* has mergeable memory that cannot be switched off */
	bool mergeable;	  /* the kernel may merge some of it now */
	uint64_t bound;	  /* nodes it is bound to, a mask */
	uint64_t nodes;	  /* these and those with its pages on them */
	uint64_t gain;	  /* bytes saved, or expected to be */
	uint64_t unmerge; /* bytes that switching it off takes */
};

struct reclaim_past {
	bool seen;
	uint64_t mark_us, psi_us, work_us; /* totals that the rate is measured from */
	uint64_t psi_ppm;		   /* of the time, tasks of the host wait for memory */
	uint64_t left_since_us;		   /* balloons have not been enough since; 0: they are */
};

#define RATE_WINDOWS 5

struct merge_past {
	bool has_active;
	uint32_t active; /* the domain whose turn it is */
	uint64_t active_us;
	bool asked_nodes, nodes_unmerge; /* merge_across_nodes, and run=2 before it */
	uint64_t nodes_to, nodes_us, nodes_wait_us;
	uint64_t astray_us; /* bound apart, but not lying so, since; 0: not */
	struct across_past {
		bool changing; /* to `to`, since begin_us */
		uint64_t to, begin_us;
		enum pol_reason reason;
		uint64_t since_us;	      /* a change would have paid since; 0: it would not */
		uint64_t rest_us, backoff_us; /* none before; how long the next rest is */
		bool refused;		      /* the last one did not come about */
	} across;

	/* merge_cost.c */
	bool counted; /* the figures below are valid */
	uint64_t cow_us, cow_breaks;
	uint64_t cow_peak; /* bytes/s, fading */
	bool cliff;
	uint64_t rate_us, rate_cpu, rate_breaks;       /* at the last tick */
	uint64_t window_us, window_cpu, window_breaks; /* so far in the present window */
	uint64_t cpu_ppm[RATE_WINDOWS];		       /* of ksmd, in the last windows */
	uint64_t breaks_per_s[RATE_WINDOWS];	       /* of all guests, likewise */
	unsigned int n_rates;

	bool forbid; /* this tick: KSM must not run */
	struct pol_merge_view view;
	struct merge_domain *domains; /* scratch, one per guest */
	size_t n_domains;
};

struct pol {
	struct pol_config config;
	struct host_past host;
	struct ksm_past ksm;
	struct merge_past merge;
	struct reclaim_past reclaim;
	size_t max_guests, n_past;
	struct guest_past *past, *past_next; /* sorted by id; swapped every step */
	struct now_guest *now;
	struct share_claim *claims; /* scratch, one per guest */
	size_t n_now;
	struct now_host tick;
	struct pol_plan plan;
	size_t max_actions;
};

/* ---- host_state.c ---- */

/* The thresholds in bytes for a host of memory_bytes. */
void host_state_marks(const struct pol_config *config, uint64_t memory_bytes,
		      struct marks *ret_marks);

/* The state after `before`: downward at once, upward only past the hysteresis. */
enum pol_state host_state_next(const struct marks *marks, enum pol_state before,
			       uint64_t available_bytes);

/* Fills state, predicted, need and ease of pol->tick; returned: host bytes that balloons freed
 * since the last tick. */
void host_state_sense(struct pol *pol, uint64_t returned_bytes);

/* ---- guest_floor.c ---- */

/* Reads one guest's numbers: trust, working set, reserve, floor, distress. */
void guest_sense(const struct pol_config *config, const struct now_host *tick,
		 struct now_guest *guest);

/* Nothing is taken from the guest for a time. */
void guest_hold(const struct now_host *tick, struct guest_past *past, uint64_t for_us);

/* After balloon_follow(): trouble, urgency, and whether anything may be taken. */
void guest_conclude(const struct now_host *tick, struct now_guest *guest);

/* The size that leaves the guest at ease: what it used of late and twice its reserve. */
uint64_t guest_comfort(const struct now_guest *guest);

/* ---- balloon.c ---- */

/* Follows the guest's balloon since the last tick: progress, arrival, stuck, moved by itself.
 * Returns the host bytes it freed meanwhile. */
uint64_t balloon_follow(const struct pol_config *config, const struct now_host *tick,
			struct now_guest *guest);

/* Host bytes freed when the guest's size goes from `from` to `to`. */
uint64_t balloon_gain(const struct now_guest *guest, uint64_t from, uint64_t to);

/* Host bytes still to come from a balloon on its way, within lead_us at its learned speed. */
uint64_t balloon_coming(const struct now_guest *guest, uint64_t lead_us);

/* Host bytes a second that the balloon can free at best. */
uint64_t balloon_yield(const struct now_guest *guest);

/* First sight: what the guest has is its target. */
void balloon_adopt(const struct now_host *tick, struct now_guest *guest);

/* Smallest change worth an order. */
uint64_t balloon_least(const struct now_guest *guest);

/* Records a new target. */
void balloon_ask(const struct now_host *tick, struct now_guest *guest, uint64_t target);

/* ---- mem_device.c ---- */

/* No progress for too long: was it the memory device? Then the balloon does the rest. */
bool mem_device_give_up(const struct now_host *tick, struct now_guest *guest);

/* Says in each order how much of it is the memory device's, and orders what was resplit. */
void mem_device_plan(struct pol *pol);

/* ---- share.c ---- */

/* Fills `entitled` of all usable guests. */
void share_entitle(struct pol *pol);

/*
 * Spreads `need` over n claims, so that what the guests hold, idle memory taxed, becomes equal per
 * share, or as near as their limits allow. Fills `part` of each; returns their sum.
 */
struct share_claim {
	uint64_t held, working_set, shares;
	uint64_t limit; /* the most it can bring */
	uint64_t part;
};
uint64_t share_spread(const struct pol_config *config, struct share_claim *claims, size_t n,
		      uint64_t need);

/* ---- balloon_give.c ---- */

/* Decides what guests in need get now. Returns what others should be asked for on top of the
 * host's need, and for whom. */
uint64_t give_decide(struct pol *pol, uint64_t *ret_other);

/* Once the host is well again: puts squeezed guests at ease. */
void give_comfort_decide(struct pol *pol);

/* Decides what is given back because the host has had plenty for a while. */
void give_back_decide(struct pol *pol);

/* Adds what was decided, and releases, to the plan. */
void give_plan(struct pol *pol);

/* ---- balloon_take.c ---- */

/* Shares out the taking of `need` host bytes and adds it to the plan: for the host up to
 * host_need, for the guest `other` beyond. When that is nothing, collects up to `ease` of what
 * guests have free and do not miss. */
void take_decide(struct pol *pol, uint64_t need, uint64_t host_need, uint64_t other, uint64_t ease);

/* ---- reclaim.c ---- */

/* Orders what is to be swapped out of the `need` host bytes that balloons cannot bring in time. */
void reclaim_decide(struct pol *pol, const struct pol_host *host, uint64_t need);

/* ---- ksm_worth.c ---- */

/*
 * Follows KSM's counters: ksmd's allowance, the price of a page, the yield of full scans and of the
 * patrol. held: mergeable bytes of all guests. False: a counter went back, so that nothing can be
 * said of this tick and what is measured starts anew.
 */
bool ksm_follow(struct pol *pol, const struct pol_ksm *in, uint64_t held);

/* Something to merge appeared: full scans count from now. */
void ksm_begin(struct pol *pol, enum ksm_news news, uint64_t held);

/* Bytes that scanning everything could bring now, on patrol; *ret_news: by what sign. */
uint64_t ksm_backlog(const struct pol *pol, uint64_t held, enum ksm_news *ret_news);

/* Bytes that a campaign must promise to be begun: worth its CPU time, and not a trifle. */
uint64_t ksm_threshold(const struct pol *pol, uint64_t held);

/* CPU time of one full scan. */
uint64_t ksm_scan_cost_us(const struct pol *pol, uint64_t held);

/* CPU time that a page of a campaign takes, as far as is known, ns. */
uint64_t ksm_page_ns(const struct pol *pol);

/* Is a full scan within_us of its end, by its pace, that may be the campaign's last? */
bool ksm_may_end(const struct pol *pol, uint64_t held, uint64_t within_us);

/* How long guests' memory must not grow any more before it is scanned at full rate; 0: it may. */
uint64_t ksm_rush_left_us(const struct pol *pol);

/* The share of a core that ksmd may take now, ppm. */
uint64_t ksm_duty(const struct pol *pol, bool patrol);

/* ---- ksm.c ---- */

/* Adds KSM's actions to the plan. */
void ksm_decide(struct pol *pol, const struct pol_host *host);

/* ---- merge.c ---- */

/*
 * Where KSM may merge: guests' merging on and off, merge_across_nodes. Sets pol->merge.forbid when
 * KSM must not run at all, and then stops it; comes before ksm_decide(), which honours that.
 */
void merge_decide(struct pol *pol, const struct pol_host *host);

/* Host memory that unmerging may take now. */
uint64_t merge_room(const struct pol *pol);

/* May it be ordered now? Not the same again and again: each time later, from 10 s on. */
bool merge_may_order(bool same, uint64_t now_us, uint64_t *when_us, uint64_t *wait_us);

/* ---- merge_across.c ---- */

/* Have the kernel keep one tree for all nodes (to 1) or one for each (0): true: it does, or is
 * about to. */
bool merge_set_nodes(struct pol *pol, const struct pol_host *host, uint64_t to,
		     enum pol_reason why);

/*
 * Whether pages of different nodes are to be merged, unless trust domains decide that; fills the
 * view. True: it is being changed, and KSM has to stand still meanwhile.
 */
bool merge_across(struct pol *pol, const struct pol_host *host);

/* ---- merge_domain.c ---- */

/* May the kernel merge some of it now, as far as is known? */
bool merge_may(const struct pol_guest *in);

/* Has it, or can it have, a part in merging? */
bool merge_has_part(const struct pol_guest *in);

/* Remembers of guests that are off whether something of them stays mergeable. */
void merge_look_for_marks(struct pol *pol);

/* Mergeable, and nothing memd can do makes all of it otherwise. */
bool merge_is_stuck(const struct now_guest *guest);

/* Bytes that merging it saves, or can be expected to. */
uint64_t merge_gain(const struct now_guest *guest);

/* Fills pol->merge.domains. */
void merge_domains_list(struct pol *pol);

/* One of them; NULL: no guest of it has a part. */
struct merge_domain *merge_domain_find(struct pol *pol, uint32_t domain);

/* Is every domain bound to nodes that no other is bound to? */
bool merge_domains_bound_apart(const struct merge_past *past);

/* Does every domain (or: of those that are mergeable now) lie on nodes where no other does? */
bool merge_domains_lie_apart(const struct merge_past *past, bool mergeable_only);

/* How many are mergeable now. */
size_t merge_domains_mergeable(const struct merge_past *past);

/* Does the guest lie on nodes where nothing of another domain's does? */
bool merge_lies_alone(const struct pol *pol, const struct pol_guest *in);

/* ---- merge_cost.c ---- */

/* Which guests' merging does not pay: fills cost_off. */
void merge_cost(struct pol *pol, const struct pol_ksm *in);

/* The bytes that CPU time spent in each hour has to hold: what it is worth. */
uint64_t merge_worth(uint64_t cpu_us);

/* What writes could claim back, and what is kept for that: raises the tick's need, fills the view
 * and says in pol->merge.cliff whether anything more may be merged. */
void merge_guard(struct pol *pol, const struct pol_host *host);

/* ---- numa.c, node.c ---- */

/* Adds the move that pays most to the plan, if one does and none is under way. */
void numa_decide(struct pol *pol, const struct pol_host *host);

/* What of the node may be used: free and files that can be dropped less the reserve; 0: not known.
 */
uint64_t numa_room(const struct pol_config *config, const struct pol_node *node);

/* The same of what is free alone: huge pages find a place in nothing else. */
uint64_t numa_free_room(const struct pol_config *config, const struct pol_node *node);

/* What is missing of the reserve; 0: nothing, or not known. */
uint64_t numa_lack(const struct pol_config *config, const struct pol_node *node);

/* Between two nodes as the firmware tells it, 10: the same; unknown ones are taken for 20. */
uint64_t numa_distance(const struct pol_node *from, uint32_t to);

/* Of the CPU time of so many processors (ppm of one) in a span, what goes into waiting for memory
 * when accesses take so much longer than near ones. */
uint64_t numa_waiting_us(uint64_t cpu_ppm, uint64_t span_us, uint64_t penalty_ppm);

/* ---- policy.c ---- */

/* The next free action of the plan, filled with the tick's inputs and, if not NULL, the guest's. */
struct pol_action *plan_add(struct pol *pol, const struct now_guest *guest,
			    enum pol_action_kind kind, enum pol_reason reason, enum pol_rung rung);

/* Why memory is taken though page reporting and merging free some: they come before all else. */
void plan_reject_passive(const struct pol *pol, const struct now_guest *guest,
			 struct pol_action *action);

static inline void plan_reject(struct pol_action *action, enum pol_rung rung, enum pol_reason why)
{
	action->rejected |= 1u << rung;
	action->rejected_why[rung] = why;
}

#endif
