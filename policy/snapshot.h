/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the policy looks at: a host, its kernel's memory management and its guests at one moment.
 *
 * Everything is bytes and microseconds. POL_ABSENT is "not known", which is not zero.
 * Numbers that come from a guest are untrusted: pol_step() clamps them against what the host sees.
 */
#ifndef MEMD_POLICY_SNAPSHOT_H
#define MEMD_POLICY_SNAPSHOT_H

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
	/* Totals: of guests' memory that was read back from swap (pol_merge_view's back_bytes),
	 * what equals merged pages, and the time that it took: stalls of memd's own making. */
	uint64_t back_bytes, back_us;
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
	/* Of reclaimable_bytes memd has to choose the pages; with memory.reclaim the kernel's
	 * lists do. */
	bool reclaim_blind;
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
	/* Looked at by its kernel for want of memory, and got (6.12+; pages_to_bytes() in
	 * drivers/virtio/virtio_balloon.c). */
	uint64_t stat_scanned_bytes, stat_reclaimed_bytes;
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
	 * a pool. 0: nothing, or not to be touched; POL_ABSENT: it is not known, or not yet. */
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

#endif
