/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decisions: one snapshot of host and guests in, one ordered plan out. No I/O, no clock, no
 * globals, no allocation after pol_new(): the same calls give the same plans, so tests, fuzzers,
 * the simulator and `memctl replay` all use what memd uses.
 *
 * Everything is bytes and microseconds, as in policy/snapshot.h.
 */
#ifndef MEMD_POLICY_H
#define MEMD_POLICY_H

#include "policy/snapshot.h"

/* ---- configuration ---- */

/* Whether KSM is to merge pages of different nodes. */
enum pol_across {
	POL_ACROSS_AUTO, /* by what it saves and what reading on another node costs */
	POL_ACROSS_YES,
	POL_ACROSS_NO,
	POL_ACROSS_KEEP, /* as somebody else has set it */
	POL_ACROSS_COUNT
};

struct pol_config {
	/*
	 * Host states by available memory, parts per million of memory_bytes (ESXi: 6/4/2/1 %):
	 * soft, hard and low begin below the threshold of their name; below `high` memory is wanted
	 * whatever the state.
	 */
	uint32_t high_ppm, soft_ppm, hard_ppm, low_ppm;
	uint32_t hysteresis_ppm; /* a state is left upward only this much above its threshold */
	/*
	 * `high` in bytes is kept between these; all the other thresholds scale with it. Growing
	 * guests and slow balloons need a head start in bytes, not per cent: 6 % is little on a
	 * host of 8 GiB and a waste on one of 1 TiB. high_min_bytes counts at most an eighth of
	 * memory_bytes.
	 */
	uint64_t high_min_bytes, high_max_bytes;
	uint64_t guest_reserve_bytes;	  /* left to a guest above its working set */
	uint32_t guest_reserve_ppm;	  /* the same, of its promised memory; the larger counts */
	uint64_t guest_reserve_max_bytes; /* but never more than this */
	uint64_t guest_min_bytes;	  /* floor when none is configured */
	uint64_t step_bytes;		  /* most one guest's target moves down in a tick */
	uint64_t stats_max_age_us;	  /* older guest numbers count as absent */
	uint64_t trouble_hold_us;	  /* how long nothing is taken from a guest after trouble */
	uint64_t stuck_after_us; /* no progress for this long: the balloon counts as stuck */
	uint32_t idle_tax_ppm;	 /* Waldspurger's tau */
	uint32_t ksm_cpu_ppm;	 /* most of one core that ksmd may take on average; twice when
				  * short, four times when hard pressed */
	uint64_t ksm_trial_us;	 /* a guest's merging is judged when tried for so long */
	bool ksm_manage, balloon_manage;
	bool ksm_anchor;     /* merged pages that many share are kept from being swapped */
	bool huge_split;     /* huge pages of guests are split where the kernel swaps guests */
	bool reclaim_manage; /* cold memory may be swapped out, while there is swap, */
	bool reclaim_blind;  /* and also where what is cold is not seen */
	bool numa_manage;
	uint64_t numa_bytes_per_s; /* at most so much is moved between nodes */
	uint32_t node_reserve_ppm; /* of a node's memory, kept free by placement and moves */
	uint32_t merge_across;	   /* enum pol_across */
};

/* Sensible values for every member. */
void pol_config_default(struct pol_config *config);

/* 0, or -EINVAL with *ret_why (static text) naming the first key of memd.conf(5) that makes no
 * sense.
 */
int pol_config_check(const struct pol_config *config, const char **ret_why);

/* ---- plan ---- */

enum pol_state { POL_STATE_HIGH, POL_STATE_SOFT, POL_STATE_HARD, POL_STATE_LOW };
const char *pol_state_name(enum pol_state state); /* "high" ... "low" */

enum pol_action_kind {
	/*
	 * Bring the guest to `to` bytes; of a guest with a memory device `to2` of them are its
	 * requested size, and the balloon's target is the rest.
	 */
	POL_BALLOON,
	POL_KSM_RUN, /* /sys/kernel/mm/ksm/run: `to` is 0 or 1 */
	/*
	 * pages_to_scan `to`, sleep_millisecs `to2`, smart_scan `to3`; `to4` 1: ksmd is to get the
	 * processor more readily than guests do, 0: as readily as before memd.
	 */
	POL_KSM_RATE,
	POL_MERGE, /* the guest's memory: mergeable (`to` 1) or not (0) */
	/* merge_across_nodes to `to`; `to2` 1: everything has to be unmerged (run=2) before */
	POL_KSM_NODES,
	/*
	 * Bring what is resident of the guest from `from` to `to` bytes, by swapping out; `to2` 1:
	 * memory in use too, if need be, not what is cold alone.
	 */
	POL_RECLAIM,
	/*
	 * Move the guest's memory from the nodes `from` (bits) to node `to`, some `to2` bytes at
	 * `to3` bytes/s, and its threads to the processors there.
	 */
	POL_NUMA_MOVE,
	/* Beside pol_step(): the pool of pages of `to2` bytes on node `to3` to have `to` pages. */
	POL_POOL,
	/*
	 * Beside pol_step(): huge pages of the guest that were broken become whole again, some
	 * `to` bytes at `to3` bytes/s; `from` are huge now; `to2` 1: what is not there stays so.
	 */
	POL_COLLAPSE,
	POL_ACTION_COUNT
};
const char *pol_action_name(enum pol_action_kind kind);

enum pol_reason {
	POL_WHY_NONE,
	POL_WHY_TROUBLE, /* guest showed OOM kill, allocation stall, swap-in or a search for memory
			    in vain: give back at once */
	POL_WHY_GUEST_NEEDS,  /* guest's available memory is under its reserve and the host has some
			       */
	POL_WHY_HOST_SHORT,   /* host under `high`: taken by shares */
	POL_WHY_FOR_OTHER,    /* taken so that `other` can be given */
	POL_WHY_HOST_PLENTY,  /* memory returned: give back */
	POL_WHY_KSM_GAIN,     /* something to merge: new guests, or last scans paid */
	POL_WHY_KSM_PRESSURE, /* host short: scan harder */
	POL_WHY_KSM_NO_GAIN,  /* last full scan brought less than it cost */
	POL_WHY_KSM_NOTHING,  /* no mergeable guest memory */
	POL_WHY_RELEASE, /* balloon stuck or moved by itself: target set to what the guest has */
	/* Only for rejected rungs: */
	POL_WHY_NOT_OFFERED, /* guest or host does not have it */
	POL_WHY_NOT_HELD,    /* the host holds little of it: taking it would free nothing */
	POL_WHY_NOT_ENOUGH,  /* brings less than is needed */
	POL_WHY_TOO_SLOW,    /* works over minutes; the need is now */
	/* A balloon again: */
	POL_WHY_COLLECT, /* before the host is short: free in the guest, not missed, held by the
			    host */
	POL_WHY_DEVICE_STUCK, /* its memory device does not follow: the balloon does the rest */
	/* KSM again: */
	POL_WHY_KSM_LOST,  /* writes took merged pages apart; many of those come back */
	POL_WHY_KSM_FOUND, /* the patrol merges much in the part it sees */
	/* Merging: */
	POL_WHY_DOMAIN_APART,	 /* each trust domain on nodes of its own */
	POL_WHY_DOMAIN_TURN,	 /* the turn of the guest's trust domain */
	POL_WHY_DOMAIN_OTHER,	 /* the turn of another one */
	POL_WHY_DOMAIN_UNSORTED, /* several trust domains are mergeable at once: KSM stands still */
	POL_WHY_DOMAIN_STUCK,	 /* so, and a guest's merging cannot be switched off */
	POL_WHY_NOT_FIT,	 /* unmerging takes more than is free */
	POL_WHY_MERGE_COST,	 /* merging the guest costs more than it saves */
	POL_WHY_MERGE_AGAIN,	 /* the guest has changed: another try */
	POL_WHY_COW_CLIFF,	 /* writes to merged pages could claim back more than there is */
	/* Reclaim: */
	POL_WHY_RECLAIM,      /* balloons bring too little in time */
	POL_WHY_NO_BALLOON,   /* there is no balloon, or none that obeys now */
	POL_WHY_SWAP_FULL,    /* swap is nearly full, or there is none */
	POL_WHY_SWAP_COSTS,   /* what is swapped out takes nearly as much memory as before */
	POL_WHY_GAIN_LOW,     /* its gains stayed below its promises */
	POL_WHY_PRESSURE,     /* tasks wait for memory: no more of it */
	POL_WHY_REFAULTS,     /* the guest reads back what was swapped out */
	POL_WHY_NOTHING_LEFT, /* what was asked for last did not come */
	POL_WHY_AT_FLOOR,     /* no more is resident than must be */
	POL_WHY_HELD_BACK,    /* it was just started, or in trouble lately */
	POL_WHY_NUMA_REMOTE,  /* much of what its vCPUs use lies on another node */
	POL_WHY_NUMA_RESERVE, /* its node has less free than its reserve */
	/* merge_across_nodes: */
	POL_WHY_ACROSS_GAIN,   /* 1: that saves more than reading on other nodes costs */
	POL_WHY_ACROSS_FAR,    /* 0: reading on other nodes costs more than that saves */
	POL_WHY_ACROSS_SET,    /* the configuration says so */
	POL_WHY_ACROSS_CHANGE, /* it is being changed: KSM stands still */
	/* Huge pages: */
	POL_WHY_POOL_PENDING, /* a guest waits for pages of the pool */
	POL_WHY_POOL_SHORT,   /* the host is short: nobody uses them */
	POL_WHY_POOL_IDLE,    /* enlarged for a guest that is gone */
	POL_WHY_POOL_BACK,    /* the host has plenty again: as it was found */
	POL_WHY_HUGE_BROKEN,  /* its huge pages were broken, and it runs enough to miss them */
	/* Merging again: */
	POL_WHY_DOMAIN_CROSSED, /* it shares pages with another trust domain */
	/* Only for rejected rungs again: */
	POL_WHY_CACHE_MERGED, /* the page cache is merged with others' */
	/* Reclaim again: */
	POL_WHY_RECLAIM_AHEAD, /* memory fell faster of late than balloons can give it */
	POL_WHY_BLIND,	       /* what is idle is not seen: the kernel's lists know better */
	/* KSM again: */
	POL_WHY_KSM_BACK, /* what equals merged pages was read back from swap */
	POL_WHY_COUNT
};
/* One sentence in an operator's words, static. */
const char *pol_reason_text(enum pol_reason reason);

struct pol_action {
	enum pol_action_kind kind;
	uint64_t guest;	   /* id, 0 for host actions */
	uint64_t from, to; /* bytes (balloon), value (KSM) */
	uint64_t to2;	   /* POL_KSM_RATE: sleep_millisecs; POL_BALLOON: see there */
	uint64_t to3;	   /* POL_KSM_RATE: smart_scan, where the kernel has it */
	uint64_t to4;	   /* POL_KSM_RATE: see there */
	enum pol_rung rung;
	enum pol_reason reason;
	uint64_t other;	     /* POL_WHY_FOR_OTHER: the guest it is for, else 0 */
	uint64_t gain_bytes; /* host memory expected to become free (0 when giving) */
	uint64_t cost_us;    /* host CPU expected to be spent */
	/* the inputs it used */
	enum pol_state state;
	uint64_t available_bytes;   /* host */
	uint64_t need_bytes;	    /* host: wanted free and missing */
	uint64_t floor_bytes;	    /* guest: no rung may cross it */
	uint64_t working_set_bytes; /* guest: estimate, POL_ABSENT when unknown */
	uint64_t hot_bytes;	    /* guest: in use as the host saw it, POL_ABSENT when unknown */
	uint64_t entitled_bytes;    /* guest: its share after idle tax */
	uint32_t rejected;	    /* bits 1 << enum pol_rung: cheaper rungs looked at and left */
	enum pol_reason rejected_why[POL_RUNG_COUNT];
	/* CPU time that is expected to be spared: the guest in ten minutes (POL_NUMA_MOVE,
	 * POL_COLLAPSE), all guests in an hour (POL_KSM_NODES). */
	uint64_t gain_us;
};

/* Whether a guest's own numbers can be used. */
enum pol_trust {
	POL_TRUST_OK,
	POL_TRUST_ABSENT, /* it never sent any, or not the ones needed */
	POL_TRUST_STALE,  /* older than stats_max_age_us */
	POL_TRUST_BACK,	  /* its counters went back: it was restarted, or lies */
	POL_TRUST_LIES,	  /* they contradict each other or what the host knows */
	POL_TRUST_COUNT
};
/* One sentence in an operator's words, static. */
const char *pol_trust_text(enum pol_trust trust);

/*
 * The most balloons that are asked for memory in one tick: each is a command to a hypervisor, and
 * what is not sent must not count as asked. What is given is not bounded: once per guest at most.
 */
#define POL_TAKES_MAX 128
/* And the most guests of which memory is swapped out at a time. */
#define POL_RECLAIMS_MAX 64

/* What the policy thinks of each guest this tick, for `memctl guests` and `explain`. */
struct pol_view {
	uint64_t guest;
	uint64_t floor_bytes;	    /* what it has when its numbers cannot be trusted */
	uint64_t working_set_bytes; /* POL_ABSENT: unknown */
	uint64_t entitled_bytes;    /* POL_ABSENT: left alone */
	uint64_t target_bytes;	    /* after this plan */
	bool trouble, stuck, stats_trusted;
	bool device_stuck; /* its memory device: the balloon is used instead */
	enum pol_trust trust;
	enum pol_reason merge_off;   /* why its merging is to be off, POL_WHY_NONE: it is not */
	bool merge_refused;	     /* it cannot be switched off now: unmerging does not fit */
	enum pol_reason reclaim_off; /* why nothing is reclaimed from it, POL_WHY_NONE: it may be */
	uint64_t resident_floor_bytes; /* and no less than this is left resident */
	uint64_t swap_most_bytes;      /* so much of it may be in swap, whatever happens */
	uint64_t hot_bytes;	       /* of that, in use as the host saw it; POL_ABSENT: unknown */
	enum pol_numa_why numa;	       /* why it stays where it is */
	uint64_t local_ppm;	       /* of its accesses, as far as is known; else POL_ABSENT */
};

enum pol_merge_mode {
	POL_MERGE_COMMON, /* all mergeable guests are of one trust domain */
	POL_MERGE_NODES,  /* each domain within its own nodes, merge_across_nodes off */
	POL_MERGE_TURNS	  /* one domain at a time */
};
const char *pol_merge_mode_name(enum pol_merge_mode mode); /* "common", "nodes", "turns" */

/* Why merge_across_nodes is as it is. */
enum pol_across_why {
	POL_ACROSS_NONE,     /* there is nothing to choose: one node, or KSM is not ours */
	POL_ACROSS_KEPT,     /* merge-across-nodes=keep */
	POL_ACROSS_SET,	     /* merge-across-nodes says yes or no, and so it is */
	POL_ACROSS_DOMAINS,  /* trust domains decide */
	POL_ACROSS_UNKNOWN,  /* not measured yet, or not of late */
	POL_ACROSS_FITS,     /* the other way would not pay */
	POL_ACROSS_WATCH,    /* it would, and is watched for a while */
	POL_ACROSS_REST,     /* it would, but was changed of late */
	POL_ACROSS_SHORT,    /* it would, but the host is short of memory */
	POL_ACROSS_NO_ROOM,  /* what has to be unmerged first does not fit */
	POL_ACROSS_CHANGING, /* under way */
	POL_ACROSS_REFUSED,  /* the kernel does not do it */
	POL_ACROSS_WHY_COUNT
};
/* One sentence in an operator's words, static; and a word for scripts. */
const char *pol_across_text(enum pol_across_why why);
const char *pol_across_name(enum pol_across_why why);

struct pol_across_view {
	enum pol_across_why why;
	/* As measured last: saved by merging across nodes beyond merging within them, and the CPU
	 * time an hour that reading there costs. POL_ABSENT: not known. */
	uint64_t gain_bytes, cost_us;
	/* POL_ACROSS_NO_ROOM: so much would have to be unmerged, and so much may be; of what is
	 * bound to these nodes (bits), 0: in all. */
	uint64_t unmerge_bytes, room_bytes, nodes;
};

/* Where KSM may merge now. */
struct pol_merge_view {
	enum pol_merge_mode mode;
	bool stopped;	     /* it must not run: */
	enum pol_reason why; /* this is why */
	uint64_t guest;	 /* of several domains that are mergeable at once: one of the wrong one */
	bool has_domain; /* POL_MERGE_TURNS: */
	uint32_t domain; /* whose turn it is */
	uint64_t exposure_bytes;    /* what writes could claim back: all that merging saves */
	uint64_t cow_bytes_per_s;   /* so fast they did at most of late */
	uint64_t cow_reserve_bytes; /* collected for that, above `high` */
	bool cliff;		    /* it could be more than there is: no gifts to guests */
	uint64_t anchor_bytes;	    /* of merged pages to be kept in memory at most; 0: none */
	bool anchor_grows;	    /* others beside those that are kept already */
	uint64_t back_bytes; /* of what equals them may be read back from swap now; 0: none */
	struct pol_across_view across;
};

struct pol_plan {
	enum pol_state state;
	uint64_t need_bytes;	    /* host memory wanted free and missing */
	struct pol_action *actions; /* in the order to carry out: taking first, then giving */
	size_t n_actions;
	struct pol_view *views; /* one per guest of the snapshot (up to max_guests), same order */
	size_t n_views;
	/* The thresholds in force on this host, and how fast its available memory falls. */
	uint64_t high_bytes, soft_bytes, hard_bytes, low_bytes;
	uint64_t fall_bytes_per_s;
	struct pol_merge_view merge;
	bool split_huge;   /* guests' transparent huge pages are better split now */
	uint64_t again_us; /* look again in so long, if no tick is due before; else POL_ABSENT */
	enum pol_numa_why numa; /* of the whole host; POL_NUMA_FREE: guests are moved if it pays */
};

/* ---- placement ---- */

enum pol_place_pages { POL_PLACE_SMALL, POL_PLACE_2M, POL_PLACE_1G };

struct pol_place_want {
	uint64_t memory_bytes, cpus;
	enum pol_place_pages pages; /* of the pools; POL_PLACE_SMALL: ordinary memory */
	bool has_domain;
	uint32_t domain;  /* guests of others must not be met where KSM keeps to nodes */
	uint64_t partner; /* guest whose company is worth most (it shares), 0: none */
};

enum pol_place_why {
	POL_PLACE_OK,
	POL_PLACE_NO_MEMORY, /* the nodes have not so much free above their reserves */
	POL_PLACE_NO_POOL,   /* their pools of that page size have not */
	POL_PLACE_NO_CPU,    /* there is no node with a processor */
	POL_PLACE_DOMAIN,    /* what is free lies on nodes of other trust domains */
	POL_PLACE_COUNT
};
/* One sentence in an operator's words, static. */
const char *pol_place_text(enum pol_place_why why);

struct pol_place {
	enum pol_place_why why;
	uint32_t nodes;			    /* bits by number; 0: nowhere */
	uint64_t bytes[POL_PLACE_NODES];    /* how much on each, by number */
	bool crowded;			    /* more vCPUs than these nodes have processors */
	uint64_t room_bytes, missing_bytes; /* over all nodes allowed; what it lacks */
	/* Where it does not fit into one node: the guest whose move makes it; 0: none does. */
	uint64_t move_guest, move_bytes;
	uint32_t move_from, move_to;
};

/*
 * Where a new guest of this size goes: into one node if it fits with the reserve left, else into
 * the fewest and nearest. A function of the snapshot alone. -EINVAL: no memory wanted, or no nodes.
 */
int pol_place(const struct pol_config *config, const struct pol_host *host,
	      const struct pol_place_want *want, struct pol_place *ret_place);

/* ---- the policy ---- */

struct pol;

/* State for up to max_guests; the plan's arrays live in it. NULL: out of memory. */
struct pol *pol_new(const struct pol_config *config, size_t max_guests);
void pol_free(struct pol *pol);

/* New configuration from the next step on; history is kept. */
void pol_configure(struct pol *pol, const struct pol_config *config);

/*
 * After a step: none of its orders to guests is carried out, as in a dry run. They are then made
 * again; else guests would seem not to follow, and be left alone. What the policy thinks of when it
 * took and gave what stays.
 */
void pol_not_done(struct pol *pol);

/*
 * One tick. now_us is monotonic and never goes back. *ret_plan points into pol, valid until the
 * next step. Guests beyond max_guests are left alone. -EINVAL: host numbers make no sense (memory
 * 0, or guests not sorted by id); the state is then unchanged.
 */
int pol_step(struct pol *pol, const struct pol_host *host, uint64_t now_us,
	     const struct pol_plan **ret_plan);

#endif
