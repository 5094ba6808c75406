// SPDX-License-Identifier: Apache-2.0
/*
 * Words for the policy's enumerations: short names for JSON, sentences for operators. Each table
 * is checked at compile time to be complete, and a value out of range has an answer too.
 */
#include "policy/policy.h"

#define COUNT(a)       (sizeof(a) / sizeof((a)[0]))
#define WORD(table, i) ((size_t)(i) < COUNT(table) && (table)[i] ? (table)[i] : "unknown")

static const char *const state_names[] = {
	[POL_STATE_HIGH] = "high",
	[POL_STATE_SOFT] = "soft",
	[POL_STATE_HARD] = "hard",
	[POL_STATE_LOW] = "low",
};

static const char *const action_names[] = {
	[POL_BALLOON] = "balloon",     [POL_KSM_RUN] = "ksm-run",     [POL_KSM_RATE] = "ksm-rate",
	[POL_MERGE] = "merge",	       [POL_KSM_NODES] = "ksm-nodes", [POL_RECLAIM] = "reclaim",
	[POL_NUMA_MOVE] = "numa-move", [POL_POOL] = "pool",	      [POL_COLLAPSE] = "collapse",
};
_Static_assert(COUNT(action_names) == POL_ACTION_COUNT, "every kind of action has a name");

static const char *const rung_names[] = {
	[POL_RUNG_NONE] = "none",
	[POL_RUNG_REPORTING] = "free-page-reporting",
	[POL_RUNG_KSM] = "ksm",
	[POL_RUNG_BALLOON_FREE] = "balloon-free",
	[POL_RUNG_BALLOON_CACHE] = "balloon-cache",
	[POL_RUNG_SWAP] = "swap",
	[POL_RUNG_MEM_DEVICE] = "virtio-mem",
	[POL_RUNG_RECLAIM] = "reclaim",
};
_Static_assert(COUNT(rung_names) == POL_RUNG_COUNT, "every rung has a name");

static const char *const reason_texts[] = {
	[POL_WHY_NONE] = "no reason",
	[POL_WHY_TROUBLE] =
		"the guest is in trouble (OOM kill, allocation stalls, swap-in, a "
		"search for memory in vain or nothing available): memory is given back at once",
	[POL_WHY_GUEST_NEEDS] =
		"the guest's available memory is below its reserve and the host has some to give",
	[POL_WHY_HOST_SHORT] = "the host is short of memory, or soon will be: taken by shares, "
			       "idle memory first",
	[POL_WHY_FOR_OTHER] = "taken because another guest needs it and is entitled to it",
	[POL_WHY_HOST_PLENTY] = "the host has had plenty for a while: memory is given back",
	[POL_WHY_KSM_GAIN] = "there is new mergeable memory, or the last scans paid",
	[POL_WHY_KSM_PRESSURE] = "the host is short of memory: KSM scans harder",
	[POL_WHY_KSM_NO_GAIN] =
		"the last full scan brought less than it cost: KSM only keeps watch",
	[POL_WHY_KSM_NOTHING] = "no guest has mergeable memory",
	[POL_WHY_RELEASE] =
		"the balloon is stuck or moved by itself: its target is set to what the "
		"guest has",
	[POL_WHY_NOT_OFFERED] = "the guest or the host does not have it",
	[POL_WHY_NOT_HELD] = "the host holds little of it: taking it would free next to nothing",
	[POL_WHY_NOT_ENOUGH] = "it brings less than is needed",
	[POL_WHY_TOO_SLOW] = "it works over minutes, the need is now",
	[POL_WHY_COLLECT] = "collected before the host is short: the guest has it free and does "
			    "not miss it, but the host holds it",
	[POL_WHY_DEVICE_STUCK] = "the guest's memory device does not follow: the balloon does the "
				 "rest",
	[POL_WHY_KSM_LOST] = "writes took many merged pages apart: those that hold still again are "
			     "looked for",
	[POL_WHY_KSM_BACK] =
		"what equals merged pages was read back from swap, to be merged with them",
	[POL_WHY_KSM_FOUND] = "KSM's patrol finds so much in the part it sees that all is scanned",
	[POL_WHY_DOMAIN_APART] = "each trust domain lies on NUMA nodes of its own: each is merged "
				 "within itself",
	[POL_WHY_DOMAIN_TURN] = "it is the turn of this guest's trust domain",
	[POL_WHY_DOMAIN_OTHER] = "it is the turn of another trust domain, and guests of different "
				 "ones are never merged",
	[POL_WHY_DOMAIN_UNSORTED] = "guests of different trust domains, or one that has not told "
				    "what it is, are mergeable at once",
	[POL_WHY_DOMAIN_STUCK] = "guests of different trust domains are mergeable at once, and "
				 "the merging of one cannot be switched off",
	[POL_WHY_NOT_FIT] = "what unmerging takes is more than the host has free to spare",
	[POL_WHY_MERGE_COST] = "merging the guest costs more than it saves",
	[POL_WHY_MERGE_AGAIN] = "the guest has changed: merging it may pay now",
	[POL_WHY_COW_CLIFF] = "a burst of writes to merged pages could claim back more than is "
			      "available, swap included",
	[POL_WHY_RECLAIM] = "the host is short of memory and balloons bring too little in time: "
			    "swapped out by shares, idle memory first",
	[POL_WHY_NO_BALLOON] = "the guest has no balloon, or none that obeys now",
	[POL_WHY_SWAP_FULL] = "there is no swap, or it is nearly full",
	[POL_WHY_SWAP_COSTS] = "what is swapped out takes nearly as much memory as before",
	[POL_WHY_GAIN_LOW] = "it has brought much less than it promised lately",
	[POL_WHY_BLIND] = "which of its memory is idle is not seen: left to the kernel's own lists",
	[POL_WHY_PRESSURE] = "tasks have to wait for memory already",
	[POL_WHY_REFAULTS] = "the guest reads back what was swapped out: it needs it",
	[POL_WHY_NOTHING_LEFT] = "what was asked for last did not come: nothing more is cold",
	[POL_WHY_AT_FLOOR] = "it has no more resident than it must keep",
	[POL_WHY_HELD_BACK] = "the guest was just started, or was in trouble lately",
	[POL_WHY_NUMA_REMOTE] = "much of what the guest's vCPUs use lies on another node: memory "
				"and threads come together",
	[POL_WHY_NUMA_RESERVE] = "a node has less free than its reserve: the guest that costs "
				 "least to move leaves it, memory and threads",
	[POL_WHY_ACROSS_GAIN] = "merging across NUMA nodes saves more than reading merged pages on "
				"other nodes costs",
	[POL_WHY_ACROSS_FAR] = "reading merged pages on other NUMA nodes costs more than merging "
			       "across nodes saves",
	[POL_WHY_ACROSS_SET] = "merge-across-nodes in the configuration says so",
	[POL_WHY_ACROSS_CHANGE] = "merge_across_nodes is being changed, for which nothing may be "
				  "merged",
	[POL_WHY_POOL_PENDING] = "a guest waits for pages of this pool before it starts",
	[POL_WHY_POOL_SHORT] = "the host is short of memory, and nobody uses these huge pages",
	[POL_WHY_POOL_IDLE] = "the pool was enlarged for guests that are gone",
	[POL_WHY_POOL_BACK] = "the host has plenty again: the pool becomes as it was found",
	[POL_WHY_HUGE_BROKEN] = "merging or the balloon has broken huge pages of the guest, and "
				"what it runs pays for making them whole again",
	[POL_WHY_DOMAIN_CROSSED] = "it shares pages with a guest of another trust domain: that "
				   "takes them apart",
	[POL_WHY_CACHE_MERGED] = "most of the guest's page cache is merged with others': dropping "
				 "it frees little",
	[POL_WHY_RECLAIM_AHEAD] = "memory fell faster of late than balloons can give it: what is "
				  "cold is swapped out before that comes again",
};
_Static_assert(COUNT(reason_texts) == POL_WHY_COUNT, "every reason has a text");

static const char *const trust_texts[] = {
	[POL_TRUST_OK] = "the guest's numbers are fresh and make sense",
	[POL_TRUST_ABSENT] = "the guest has sent no usable numbers",
	[POL_TRUST_STALE] = "the guest's numbers are too old",
	[POL_TRUST_BACK] = "the guest's counters went back: it was restarted, or they are wrong",
	[POL_TRUST_LIES] = "the guest's numbers contradict each other or what the host knows of it",
};
_Static_assert(COUNT(trust_texts) == POL_TRUST_COUNT, "every kind of trust has a text");

static const struct {
	const char *name, *text;
} numa_words[] = {
	[POL_NUMA_FREE] = {"free", "nothing stands against a move"},
	[POL_NUMA_UNKNOWN] = {"unknown",
			      "where its memory lies and its vCPUs run is not known yet"},
	[POL_NUMA_MANAGE] = {"manage", "manage=no in its section of the configuration"},
	[POL_NUMA_BOUND] = {"bound", "its memory is bound to nodes by somebody else (libvirt's "
				     "numatune, numactl, host-nodes=)"},
	[POL_NUMA_PINNED] = {"pinned", "its threads are pinned to processors by somebody else "
				       "(libvirt's vcpupin, taskset, a cpuset)"},
	[POL_NUMA_POOL] = {"pool", "its memory is huge pages of the pools, which are not moved"},
	[POL_NUMA_SPLIT] = {"split", "it has NUMA nodes of its own, placed when it was started"},
	[POL_NUMA_BEYOND] = {"beyond", "some of it is on a node numbered 8 or above, and those "
				       "are not weighed"},
	[POL_NUMA_OFF] = {"off", "numa=off in the configuration"},
	[POL_NUMA_ONE] = {"one-node", "this host has one node with memory"},
	[POL_NUMA_BALANCING] = {"balancing",
				"the kernel's automatic balancing is on (kernel.numa_balancing=1): "
				"two movers would pull at the same pages"},
	[POL_NUMA_LOCAL] = {"local", "its memory is where its vCPUs run"},
	[POL_NUMA_IDLE] = {"idle", "it hardly runs: a move would bring nothing"},
	[POL_NUMA_ROOM] = {"no-room", "no node has room and processors for all of it"},
	[POL_NUMA_COST] = {"cost", "moving it costs more than it brings"},
	[POL_NUMA_WATCH] = {"watch", "moving it would pay; it is watched a little longer"},
	[POL_NUMA_TURN] = {"turn", "moving it would pay; another guest is being moved"},
	[POL_NUMA_REST] = {"rest", "it was moved of late"},
	[POL_NUMA_MOVING] = {"moving", "it is being moved"},
};
_Static_assert(COUNT(numa_words) == POL_NUMA_COUNT, "every verdict on places has its words");

static const struct {
	const char *name, *text;
} across_words[] = {
	[POL_ACROSS_NONE] = {"none", "there is nothing to choose"},
	[POL_ACROSS_KEPT] = {"kept", "merge-across-nodes=keep: as somebody else has set it"},
	[POL_ACROSS_SET] = {"set", "as merge-across-nodes in the configuration says"},
	[POL_ACROSS_DOMAINS] = {"domains", "the guests' trust domains decide"},
	[POL_ACROSS_UNKNOWN] = {"unknown", "what it brings and costs is not measured yet"},
	[POL_ACROSS_FITS] = {"fits", "the other way would not pay"},
	[POL_ACROSS_WATCH] = {"watch", "the other way would pay; it is watched a little longer"},
	[POL_ACROSS_REST] = {"rest", "the other way would pay, but it was changed of late"},
	[POL_ACROSS_SHORT] = {"short", "the other way would pay, but the host has no memory to "
				       "spare for unmerging"},
	[POL_ACROSS_NO_ROOM] = {"no-room", "to change it, more has to be unmerged first than there "
					   "is room for"},
	[POL_ACROSS_CHANGING] = {"changing", "it is being changed"},
	[POL_ACROSS_REFUSED] = {"refused", "the kernel does not change it"},
};
_Static_assert(COUNT(across_words) == POL_ACROSS_WHY_COUNT, "every verdict on it has its words");

static const char *const merge_modes[] = {
	[POL_MERGE_COMMON] = "common",
	[POL_MERGE_NODES] = "nodes",
	[POL_MERGE_TURNS] = "turns",
};

const char *pol_state_name(enum pol_state state)
{
	return WORD(state_names, state);
}

const char *pol_action_name(enum pol_action_kind kind)
{
	return WORD(action_names, kind);
}

const char *pol_rung_name(enum pol_rung rung)
{
	return WORD(rung_names, rung);
}

const char *pol_reason_text(enum pol_reason reason)
{
	return WORD(reason_texts, reason);
}

const char *pol_merge_mode_name(enum pol_merge_mode mode)
{
	return WORD(merge_modes, mode);
}

const char *pol_trust_text(enum pol_trust trust)
{
	return WORD(trust_texts, trust);
}

const char *pol_numa_text(enum pol_numa_why why)
{
	return (size_t)why < COUNT(numa_words) ? numa_words[why].text : "unknown";
}

const char *pol_numa_name(enum pol_numa_why why)
{
	return (size_t)why < COUNT(numa_words) ? numa_words[why].name : "unknown";
}

const char *pol_across_text(enum pol_across_why why)
{
	return (size_t)why < COUNT(across_words) ? across_words[why].text : "unknown";
}

const char *pol_across_name(enum pol_across_why why)
{
	return (size_t)why < COUNT(across_words) ? across_words[why].name : "unknown";
}
