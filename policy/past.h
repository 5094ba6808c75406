/* SPDX-License-Identifier: Apache-2.0 */
/* What the policy remembers between ticks, of the host and of each guest. Private to policy/. */
#ifndef MEMD_POLICY_PAST_H
#define MEMD_POLICY_PAST_H

#include "policy/policy.h"

#define ACTUAL_RING 16

/* Of a guest's memory that goes to the host's swap; see reclaim.c. */
struct guest_reclaim {
	bool seen;
	bool patient;			   /* the order that is open is for cold memory alone */
	uint64_t first_us;		   /* first seen */
	uint64_t mark_us, refault, psi_us; /* totals that its rates are measured from */
	uint64_t order_us, base, asked;	   /* the order that is open (0: none): resident then, and
					      bytes asked for */
	uint64_t step;			   /* most of the next order, 0: begin anew */
	uint64_t held_us, hold_us;	   /* nothing is asked, since and until */
	uint64_t backoff_us;		   /* how long the last hold was to be */
	enum pol_reason hold_why;
	uint64_t sore, sore_us; /* resident when it read back too much, and when that was */
	enum pol_reason off;	/* see pol_view */
	uint64_t floor;
};

struct guest_past {
	uint64_t id;
	/* Flags side by side, without padding: a thousand guests have two of these each. */
	bool met;     /* it could be used once */
	bool adopted; /* a trusted sample was seen */
	bool sampled; /* what is below of its own numbers is valid */
	bool asked;   /* its balloon was, ever */
	bool arrived, stuck;
	bool device_stuck;
	bool ksm_seen;
	uint64_t young_us; /* until then nothing is taken unless the host is hard pressed */

	/* balloon */
	uint64_t target, target_before;	 /* asked now, and before that */
	uint64_t actual;		 /* last tick */
	uint64_t echo;			 /* the target the snapshot showed last */
	uint64_t asked_us, asked_actual; /* when last, and its size then */
	uint64_t gap;			 /* least distance to the target yet */
	uint64_t progress_us;		 /* when it last shrank */
	uint64_t speed;			 /* bytes/s, learned */
	uint64_t held;			 /* last tick, 0: not known */
	uint64_t intake;		 /* bytes/s of host memory that it takes up */
	uint64_t unseen;		 /* taken up since it measured last, as far as known */
	uint64_t mark_us, mark_actual;	 /* where the speed is measured from; 0: not moving */
	uint64_t retry_us, backoff_us;
	uint64_t life; /* digest of its numbers when found stuck: nothing is retried on a corpse */
	uint64_t device_retry_us, device_backoff_us;
	uint64_t plenty_given;	/* given back because the host had plenty, */
	uint64_t comfort_given; /* or to put it at ease; since it was last taken from */

	/* its own numbers */
	uint64_t lies_since_us; /* 0: not lying */
	uint64_t sample_us;	/* when the latest new sample was seen, */
	uint64_t sent_us;	/* and when the guest sent it */
	uint64_t stat[5];	/* total, free, available, cache, and a digest of the counters */
	uint64_t swap_in, swap_out, faults, ooms, stalls, scanned, reclaimed;
	uint64_t size_most, size_likely; /* when it measured the latest sample */
	uint64_t used, used_then;	 /* latest sample, and the guest's size then */
	uint64_t ws_fast, ws_slow;
	uint64_t ws_peak[2], peak_us; /* the most since then, and for as long before */
	uint64_t filled_peak[2];      /* the same, with page cache: all that was not free */
	uint64_t ws;		      /* the working set, for the floor */
	uint64_t ws_late;	      /* in use of late: not idle */
	uint64_t growth;	      /* bytes/s by which its own available memory falls */
	uint64_t ring_us[ACTUAL_RING], ring_actual[ACTUAL_RING];
	unsigned int ring_n, ring_at;

	uint64_t taken_us;   /* last time */
	uint64_t turn_us;    /* its page cache last had its turn, where there is a pace */
	uint64_t sore;	     /* the size at which it needed back what was taken, and */
	uint64_t sore_us;    /* how long that counts */
	uint64_t regret_us;  /* how long to leave it alone when it needs that back soon */
	uint64_t hold_us;    /* nothing is taken before, */
	uint64_t hold_used;  /* while it uses about as much as it did then */
	uint64_t trouble_us; /* shown as in trouble until */

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
	uint64_t cost_held;		/* held then, and what unmerging gave it */
	uint64_t cost_merging;		/* what of it was merged at the last look since */
	uint64_t mean_saved;		/* by merging, over the last half of a trial */
	bool marks_stay;		/* off, and some of it is mergeable all the same */
	bool crossed_off;		/* off because of what it shared with another domain */
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
	uint64_t fall_most;	/* of late, */
	uint64_t fall_long;	/* and over some minutes */
	uint64_t calm_since_us; /* not short since */
	bool plenty;
	uint64_t plenty_since_us;
	uint64_t plenty_step; /* bytes a tick in this phase of giving back, 0: not yet known */
	uint64_t gift_us; /* the last gift that has neither lasted nor been needed back; 0: none */
	unsigned int gift_doubt; /* how often the calm before a gift is doubled */
};

/* KSM's counters at one moment; what the kernel does not tell is 0 in each. */
struct ksm_mark {
	uint64_t now_us, cpu_us, scanned, visited, scans, cow;
	uint64_t benefit, zero; /* saved pages, and how many of them were zero */
};

/* Why KSM is on its campaign. */
enum ksm_news {
	KSM_NEWS_NONE,
	KSM_NEWS_MEMORY,
	KSM_NEWS_LOST,
	KSM_NEWS_FOUND,
	KSM_NEWS_BACK,
	KSM_NEWS_COUNT
};

struct ksm_past {
	bool asked_run, asked_rate;
	bool smart, urgent;
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
	uint64_t held;			    /* mergeable bytes when something new last appeared, */
	uint64_t young;			    /* and of guests that had just started */
	/* Pages read back from swap so far, when the last were (back_scans: in full scans), and
	 * those that ksmd must have seen. */
	uint64_t back, back_us, back_scans, back_seen;
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

enum swap_fill {
	SWAP_WIDE,
	SWAP_FILLING, /* more than a quarter used */
	SWAP_SCARCE,  /* what is free is kept from all but a pressed host */
	SWAP_SPENT,   /* and from that; or there is none, or memd does not swap at all */
};

struct reclaim_past {
	bool seen;
	uint64_t mark_us, psi_us, work_us, back_us; /* totals that the rate is measured from */
	uint64_t ours_ppm;			    /* of memd's own work, more than stalls then */
	uint64_t psi_ppm;	/* of the time, tasks of the host wait for memory */
	uint64_t pause_us;	/* for that, nothing is asked before of guests that have
				   no number of their own */
	uint64_t left_since_us; /* balloons have not been enough since; 0: they are */
	uint64_t swaps_us;	/* the kernel last was seen to swap guests by itself, or had
				   no reason to */
	uint64_t served_us;	/* what was asked for came, or they lacked nothing */
	enum swap_fill fill;
	uint64_t cache_us;	    /* what its pace allows of page cache was taken up to then */
	uint64_t room;		    /* of swap, that may be used, */
	uint64_t net_ppm, kept_ppm; /* what comes free of a byte, and what of that came */
	uint64_t us_per_gib;	    /* its price */
	uint64_t last;		    /* of more guests than can be asked at once, the last asked */
};

#define RATE_WINDOWS 5

struct merge_past {
	bool has_active;
	uint32_t active; /* the domain whose turn it is */
	uint64_t active_us;
	bool asked_nodes, nodes_unmerge; /* merge_across_nodes, and run=2 before it */
	uint64_t nodes_to, nodes_us, nodes_wait_us;
	uint64_t astray_us;  /* bound apart, but not lying so, since; 0: not */
	uint64_t crossed_us; /* pages are seen to be shared by domains since; 0: they are not */
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
	uint64_t cow_peak;			 /* bytes/s, fading */
	bool cliff;				 /* writes could claim back more than there is */
	uint64_t rate_us, rate_cpu, rate_breaks; /* at the last tick */
	uint64_t window_us, window_cpu, window_breaks; /* so far in the present window */
	uint64_t cpu_ppm[RATE_WINDOWS];		       /* of ksmd, in the last windows */
	uint64_t breaks_per_s[RATE_WINDOWS];	       /* of all guests, likewise */
	unsigned int n_rates;

	bool forbid;		/* this tick: KSM must not run */
	bool anchored;		/* merged pages are kept in memory, */
	uint32_t anchor_domain; /* of guests of this domain */
	struct pol_merge_view view;
	struct merge_domain *domains; /* scratch, one per guest */
	size_t n_domains;
};

#endif
