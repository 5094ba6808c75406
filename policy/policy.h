/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decisions: one snapshot of host and guests in, one ordered plan out. No I/O, no clock, no
 * globals, no allocation after pol_new(): the same calls give the same plans, so tests, fuzzers,
 * the simulator and `memctl replay` all use what memd uses.
 *
 * Everything is bytes and microseconds. POL_ABSENT is "not known", which is not zero.
 * Numbers that come from a guest are untrusted: pol_step() clamps them against what the host sees.
 */
#ifndef MEMD_POLICY_H
#define MEMD_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POL_ABSENT UINT64_MAX

static inline bool pol_has(uint64_t value)
{
	return value != POL_ABSENT;
}

#define POL_NODES_MAX 16
#define POL_NAME_MAX  64
/* Nodes that placement weighs: those numbered below this. */
#define POL_PLACE_NODES 8

/* ---- the ladder ---- */

/* Rungs of the ladder, cheapest first: which one an action stands on or rejected. */
enum pol_rung {
	POL_RUNG_NONE,
	POL_RUNG_REPORTING,
	POL_RUNG_KSM,
	POL_RUNG_BALLOON_FREE,	/* of memory the guest has free */
	POL_RUNG_BALLOON_CACHE, /* of the guest's page cache */
	POL_RUNG_SWAP,		/* memory of the guest, cold or not, to the host's swap */
	/* Comes before the balloon; numbered last for the sake of recorded traces. */
	POL_RUNG_MEM_DEVICE, /* memory that the guest's virtio-mem device can unplug */
	/* Comes after the balloon and before POL_RUNG_SWAP: cold memory alone. */
	POL_RUNG_RECLAIM,
	POL_RUNG_COUNT
};
const char *pol_rung_name(enum pol_rung rung);

/* ---- snapshot ---- */

struct pol_node {
	uint32_t node;
	uint64_t memory_bytes, free_bytes;
	uint64_t cache_bytes; /* of files, which the kernel can drop */
	uint64_t cpus;	      /* processors on it; 0: none, or not known */
	/* To the node of each number, 10 is itself; 0 or POL_ABSENT: not known. */
	uint64_t distance[POL_PLACE_NODES];
	/* Free in its pools of huge pages, for pol_place() alone; POL_ABSENT: it has no such. */
	uint64_t pool_2m_bytes, pool_1g_bytes;
};

/* Why a guest stays on the nodes where it is, and what is thought of the host as a whole. */
enum pol_numa_why {
	POL_NUMA_FREE, /* nothing stands against a move */
	/* Told by the snapshot: */
	POL_NUMA_UNKNOWN, /* not looked at yet, or it cannot be */
	POL_NUMA_MANAGE,  /* manage=no in its section */
	POL_NUMA_BOUND,	  /* its memory is bound to nodes by somebody else */
	POL_NUMA_PINNED,  /* its threads are pinned to processors by somebody else */
	POL_NUMA_POOL,	  /* its memory is of the hugetlb pool */
	POL_NUMA_SPLIT,	  /* it has NUMA nodes of its own */
	POL_NUMA_BEYOND,  /* some of it is on a node of POL_PLACE_NODES or above */
	/* Of the host: */
	POL_NUMA_OFF,	    /* numa=off */
	POL_NUMA_ONE,	    /* at most one node has memory */
	POL_NUMA_BALANCING, /* the kernel's automatic balancing is on */
	/* Judged: */
	POL_NUMA_LOCAL,	 /* it is where its processors are */
	POL_NUMA_IDLE,	 /* it hardly runs: there is nothing to gain */
	POL_NUMA_ROOM,	 /* no node has room for it */
	POL_NUMA_COST,	 /* moving costs more than it brings */
	POL_NUMA_WATCH,	 /* it would pay; watched for a while before it is done */
	POL_NUMA_TURN,	 /* another one is being moved */
	POL_NUMA_REST,	 /* moved of late */
	POL_NUMA_MOVING, /* under way */
	POL_NUMA_COUNT
};
/* One sentence in an operator's words, static. */
const char *pol_numa_text(enum pol_numa_why why);
/* A word for scripts, static. */
const char *pol_numa_name(enum pol_numa_why why);

/* KSM as the kernel reports it (Documentation/admin-guide/mm/ksm.rst); counters are totals. */
struct pol_ksm {
	bool present;	    /* /sys/kernel/mm/ksm can be read and written, and is ours to set */
	bool advisor;	    /* kernel has advisor_mode (6.8+) */
	bool smart_scan;    /* kernel has smart_scan (6.7+) */
	bool mergeable_any; /* some guest has mergeable memory */
	/* Trust domains are in use, and a process that may hold a guest's mergeable memory has not
	 * told yet what it is. */
	bool unsorted;
	uint64_t run; /* 0, 1, 2 */
	uint64_t pages_to_scan;
	uint64_t sleep_ms;
	uint64_t pages_shared, pages_sharing, pages_unshared, pages_volatile;
	uint64_t zero_pages; /* ksm_zero_pages (6.6+), else POL_ABSENT */
	uint64_t full_scans;
	uint64_t pages_scanned; /* 6.4+, else POL_ABSENT */
	uint64_t pages_skipped; /* by smart_scan, not counted as scanned; 6.7+, else POL_ABSENT */
	uint64_t cow_breaks;	/* vmstat cow_ksm, pages */
	uint64_t cpu_us;	/* ksmd utime + stime */
	uint64_t across_nodes;	/* merge_across_nodes: 0, 1; POL_ABSENT: a kernel without NUMA */
	/* What one tree for all nodes saves, or would, more than one for each; POL_ABSENT: not
	 * measured of late. */
	uint64_t across_gain_bytes;
};

struct pol_guest {
	uint64_t id; /* stable for the guest's life, never reused */
	char name[POL_NAME_MAX];

	/* configuration */
	uint64_t memory_bytes; /* promised: the most it may have (base memory + plugged) */
	uint64_t min_bytes;    /* configured floor, POL_ABSENT: none */
	uint64_t shares;       /* relative worth of its memory, 1000 is normal */

	/* what it can do */
	bool answering;	  /* its monitor answered within the deadline this tick */
	bool has_balloon; /* a balloon whose driver runs in the guest */
	bool deflate_on_oom;
	bool reporting; /* free page reporting is on */
	bool mergeable;
	bool pool; /* of the host's hugetlb pool: what it gives up goes there, not to others */
	uint32_t domain;	    /* trust domain: guests of different ones are never merged */
	bool merge_switch;	    /* memd may switch its merging off and on */
	bool merge_on;		    /* its monitor says that some of its memory is mergeable */
	enum pol_numa_why numa_bar; /* why it is not to be moved between nodes */
	bool numa_moving;	    /* it is being moved */

	/*
	 * Its virtio-mem device, 0: none. What of it is unplugged is memory that the guest does not
	 * have, like what is in the balloon: memory_bytes is base and max, actual_bytes base and
	 * size less what is inflated.
	 */
	uint64_t mem_max_bytes, mem_size_bytes, mem_requested_bytes;
	uint64_t mem_block_bytes; /* unit of mem_requested_bytes */

	/* the balloon, as the hypervisor tells it */
	uint64_t actual_bytes; /* memory_bytes - inflated */
	uint64_t target_bytes; /* what we asked for last; POL_ABSENT: we never asked */

	/* what the host sees; trusted */
	uint64_t resident_bytes, swapped_bytes, saved_bytes;
	uint64_t cpu_us; /* total of the process */

	/* what the guest says (virtio 1.2 5.5.6.3); untrusted. Counters are totals since its boot.
	 */
	uint64_t stat_total_bytes, stat_free_bytes, stat_available_bytes, stat_cache_bytes;
	uint64_t stat_swap_in_bytes, stat_swap_out_bytes, stat_major_faults;
	uint64_t stat_oom_kills, stat_alloc_stalls; /* Linux 6.12+ */
	uint64_t stat_age_us; /* since the guest sent them; POL_ABSENT: never */

	/* merging, as the host's kernel has it */
	/* What the host's kernel has marked mergeable of its process; POL_ABSENT: not looked at
	 * since that was last changed. */
	uint64_t marked_bytes;
	/* Nodes (bits) that its memory is bound to, POL_ABSENT: not all of it; and that it has
	 * pages on, POL_ABSENT: not known. Merged pages may lie elsewhere than they are bound to.
	 */
	uint64_t bound_mask, seen_mask;
	uint64_t merging_bytes; /* its pages that KSM has replaced: what unmerging takes at most */
	uint64_t ksm_bytes;	/* what it saves by KSM */
	uint64_t rmap_bytes;	/* KSM's bookkeeping for it */
	/* What it was seen to share by KSM with guests of other trust domains; POL_ABSENT: not
	 * looked at since KSM was stopped or the merging of a guest was switched. */
	uint64_t crossed_bytes;
	/* Its merged pages on other nodes than its own, or that would be there if pages were merged
	 * across nodes, each weighed by how much farther it is: at SLIT 20 it counts once, at 30
	 * twice. POL_ABSENT: not measured of late. */
	uint64_t far_bytes;

	/* Reclaim to the host's swap, as the host sees it; trusted. */
	/* Resident memory that the kernel can swap out: private, neither locked nor pinned nor of
	 * a pool. 0 or POL_ABSENT: nothing, or not to be touched. */
	uint64_t reclaimable_bytes;
	uint64_t refault_bytes; /* total that it has read back from swap, at least */
	uint64_t psi_some_us;	/* memory stalls of its own cgroup, total */
	/* What the host's kernel saw in use of it within hot_us, as of hot_age_us ago; POL_ABSENT
	 * in hot_bytes: nobody has looked, or what was seen says nothing of this guest. */
	uint64_t hot_bytes, hot_us, hot_age_us;
	/* where it is, as the host's kernel has it; POL_ABSENT: not known */
	uint64_t node_bytes[POL_PLACE_NODES]; /* memory by node, at the last look */
	uint64_t huge_bytes;		      /* of it in transparent huge pages, then */
	uint64_t vcpus;
	uint64_t cpu_node, cpu_node_ppm; /* where its vCPUs ran most of late; that part of their
					    time */
};

struct pol_host {
	uint64_t memory_bytes;	  /* MemTotal less the huge-page pools */
	uint64_t free_bytes;	  /* MemFree */
	uint64_t available_bytes; /* MemAvailable */
	uint64_t swap_bytes, swap_free_bytes;
	uint64_t swap_in_bytes, swap_out_bytes; /* totals */
	uint64_t psi_some_us, psi_full_us;	/* totals of /proc/pressure/memory, or POL_ABSENT */
	uint64_t numa_balancing;		/* 0; 1: automatic; 2: tiering; POL_ABSENT: none */
	struct pol_ksm ksm;
	struct pol_node nodes[POL_NODES_MAX];
	size_t n_nodes;
	const struct pol_guest *guests; /* sorted by id */
	size_t n_guests;

	/* What remains taken of a byte swapped out: 0 on a disk, the compressed part where swap is
	 * memory (zram, zswap). POL_ABSENT: not known. */
	uint64_t swap_cost_ppm;
	uint64_t reclaim_bytes; /* total that reclaim by memd has brought, and */
	uint64_t reclaim_us;	/* the time that it took; stalls of memd's own making */
	bool reclaim_busy;	/* the last orders are still worked on */
	/* What each rung brought of what it promised, of late; 0 or POL_ABSENT: not measured. */
	uint64_t rung_ppm[POL_RUNG_COUNT];
};

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
	uint32_t ksm_cpu_ppm;	 /* most of one core that ksmd may take; twice when short */
	uint64_t ksm_trial_us;	 /* a guest's merging is judged when tried for so long */
	bool ksm_manage, balloon_manage;
	bool reclaim_manage; /* cold memory may be swapped out, while there is swap */
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
	 * processor as readily as guests do, 0: as readily as before memd.
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
	POL_WHY_TROUBLE, /* guest showed OOM kill, allocation stall or swap-in: give back at once */
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
 * One tick. now_us is monotonic and never goes back. *ret_plan points into pol, valid until the
 * next step. Guests beyond max_guests are left alone. -EINVAL: host numbers make no sense (memory
 * 0, or guests not sorted by id); the state is then unchanged.
 */
int pol_step(struct pol *pol, const struct pol_host *host, uint64_t now_us,
	     const struct pol_plan **ret_plan);

#endif
