/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM: one region per contiguous piece of guest physical memory, each with a page mode, a
 * host NUMA binding and a merge state. Guest memory is reached only through the accessors here,
 * which check the whole range. What was given back to the host is accounted here too.
 */
#ifndef MEMD_VMM_RAM_H
#define MEMD_VMM_RAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAM_NODES_MAX	8 /* guest NUMA nodes = --memory options */
#define RAM_REGIONS_MAX (2 * RAM_NODES_MAX)
#define RAM_HOST_NODES	1024
#define RAM_SIZE_MIN	(2ULL << 20)  /* of one node */
#define RAM_SIZE_MAX	(64ULL << 40) /* of all: what a guest with 4-level paging can address */
#define RAM_WHY_MAX	256
#define RAM_PLUGS_MAX	8 /* regions of pluggable memory = --mem-device options */
#define RAM_BLOCK_MIN	(2ULL << 20)
#define RAM_BLOCK_MAX	(1ULL << 30)
#define RAM_PLUG_MAX	(4ULL << 40) /* of one region */

enum ram_pages { RAM_PAGES_THP, RAM_PAGES_SMALL, RAM_PAGES_2M, RAM_PAGES_1G };
enum ram_policy {
	RAM_POLICY_DEFAULT,
	RAM_POLICY_BIND,
	RAM_POLICY_PREFERRED,
	RAM_POLICY_INTERLEAVE
};

const char *ram_pages_name(enum ram_pages pages);    /* "thp" "small" "2M" "1G" */
const char *ram_policy_name(enum ram_policy policy); /* QEMU's names: "default" "bind" ... */

/* One --memory option: one guest NUMA node. */
struct ram_config {
	uint64_t size_bytes;
	enum ram_pages pages;
	enum ram_policy policy;
	uint64_t host_nodes[RAM_HOST_NODES / 64]; /* bits; none: not bound */
	bool ask_nodes; /* memd is asked for host_nodes before ram_new(), see advice.h */
	bool merge;
	uint64_t pool_wait_us; /* for pages of a pool that is too small, where memd helps */
	bool prealloc;
	bool dump; /* keep it in core dumps of the process */
};

/* Pages of the host's pool (hugetlb), which KSM never merges? */
bool ram_pages_is_pool(enum ram_pages pages);
uint64_t ram_pages_bytes(enum ram_pages pages); /* page size asked for: 4096 for thp and small */
bool ram_config_is_bound(const struct ram_config *config); /* has host nodes */

/* Are fewer pages free in the host's pool than that, where the configuration wants them? False
 * where there is no such pool. Says nothing: ram_new() does. */
bool ram_pool_lacks(const struct ram_config *config, uint64_t pages);

/*
 * Are these nodes possible? -EINVAL: why says what is wrong and what would be right. Sizes are
 * multiples of the page size, and of 2 MiB when there are several nodes; a node of 1 GiB pages must
 * not be cut off a page border by the hole of layout.h.
 */
int ram_config_check(const struct ram_config *configs, size_t n_configs, char why[RAM_WHY_MAX]);

struct ram_region {
	uint64_t gpa, size_bytes;
	uint8_t *hva;
	unsigned int node; /* guest node = index of its ram_config */
};

struct ram;

/*
 * Map and prepare all nodes, lowest guest address first, around the hole of layout.h.
 * Order: map, mbind, huge-page advice, populate (if asked, and always for hugetlb: a pool too small
 * is -ENOMEM here, never a SIGBUS later), merge advice. Logs what is wrong and the fix:
 * node that does not exist (-ENODEV), pool shortage (-ENOMEM), no pool of that page size
 * (-EOPNOTSUPP), see ram_config_check (-EINVAL). merge=on on hugetlb is no error: it is logged why
 * it cannot work.
 *
 * Not thread safe, except that the accessors and ram_page_bytes may run beside anything: callers
 * hold the bus lock.
 */
int ram_new(const struct ram_config *configs, size_t n_configs, struct ram **ret_ram);

/*
 * RAM over a caller's buffer at guest address gpa: for tests of devices. The buffer stays the
 * caller's; gpa and size are multiples of 4096. ram_discard wants it page-aligned and private.
 */
int ram_new_buffer(void *buffer, uint64_t gpa, uint64_t size_bytes, struct ram **ret_ram);
void ram_free(struct ram *ram); /* NULL is fine */

size_t ram_region_count(const struct ram *ram);
const struct ram_region *ram_region(const struct ram *ram, size_t index);
size_t ram_node_count(const struct ram *ram);
const struct ram_config *ram_node_config(const struct ram *ram, unsigned int node);
uint64_t ram_size_bytes(const struct ram *ram);
/*
 * Where a guest node's memory lies now: bytes by host node, as samples of it say (each 2 MiB up to
 * 8 GiB, then fewer). Absent memory counts nowhere. -errno of move_pages(2), for instance -ENOSYS.
 */
int ram_placement(const struct ram *ram, unsigned int node, uint64_t ret_bytes[RAM_HOST_NODES]);

/* The host address of [gpa, gpa + len) when all of it lies in one region, else NULL. len 0 is NULL.
 */
void *ram_ptr(const struct ram *ram, uint64_t gpa, uint64_t len);
/*
 * Bytes of RAM from gpa to the end of its region, 0 when gpa is not RAM. In pluggable memory: up to
 * where it is unplugged, or less, but 4 GiB if there are as many.
 */
uint64_t ram_room(const struct ram *ram, uint64_t gpa);
/* Copy across region borders. -EFAULT when any byte is not RAM; nothing is copied then. */
int ram_read(const struct ram *ram, uint64_t gpa, void *dst, uint64_t len);
int ram_write(const struct ram *ram, uint64_t gpa, const void *src, uint64_t len);

/* Host page size behind gpa in bytes (4096, 2 MiB, 1 GiB): the unit in which it can be given back.
 */
uint64_t ram_page_bytes(const struct ram *ram, uint64_t gpa);

/* Who gives a range back: accounted apart. */
enum ram_giver { RAM_GIVER_BALLOON, RAM_GIVER_REPORTING, RAM_GIVER_RESET };

/*
 * Give [gpa, gpa + len) back to the host: the guest must not expect its content any more, reads see
 * zeroes (on hugetlb: once the host page is gone). One madvise per call and region.
 *
 * On hugetlb, parts of a host page given by the balloon are remembered across calls and the page
 * goes when all of it was given; with RAM_GIVER_REPORTING only whole host pages are taken. A pool
 * page that goes is replaced by ordinary memory under the same binding: the pool really gets it
 * back, and a guest that touches it later takes ordinary memory and never hits an empty pool.
 *
 * -EFAULT: not all RAM (nothing done); -EINVAL: not 4 KiB aligned; other -errno of the kernel.
 */
int ram_discard(struct ram *ram, uint64_t gpa, uint64_t len, enum ram_giver giver);
/*
 * As ram_discard by the balloon, for a guest that tells before it uses such memory again: what is
 * not all of 2 MiB yet waits for its rest, so that a huge page goes in one piece and comes back as
 * one, and scattered small pages go as runs. Reads see the old content until it goes: at ram_settle
 * at the latest, or earlier when too much waits. An error of what has waited is one of a later
 * call.
 */
int ram_discard_lazily(struct ram *ram, uint64_t gpa, uint64_t len);
/*
 * Give back what has waited since before the last call, or all that waits. Does a bounded amount of
 * work. True: call again, within RAM_SETTLE_US.
 */
bool ram_settle(struct ram *ram, bool all);
#define RAM_SETTLE_US 100000
/*
 * The guest uses [gpa, gpa + len) again (deflate; call it before the guest is told): forget partial
 * and accounted returns of it. A pool page that went is taken again if the pool has one; if not,
 * the range stays on ordinary memory. -EFAULT, -EINVAL as above.
 */
int ram_reuse(struct ram *ram, uint64_t gpa, uint64_t len);
/*
 * Reset: drop all content and all accounting. Pool pages are zeroed and kept, those that went are
 * taken again as by ram_reuse; prealloc=on is populated anew. The guest must not run.
 */
void ram_discard_all(struct ram *ram);

/*
 * Host memory that is free now because of each giver: pages that were resident when given back and
 * are still absent; swapped out is not absent. A page given twice counts for the last giver. Looks
 * at the page tables: some ms per GiB given back.
 */
int ram_returned(struct ram *ram, uint64_t *ret_balloon_bytes, uint64_t *ret_reporting_bytes);

/* ram_reuse of all that there is: whoever drives the balloon next begins anew. */
void ram_reuse_all(struct ram *ram);

/* ---- memory that comes and goes block by block (ram_plug.c), for virtio-mem ---- */

/* memory.size_bytes is that of the region; memory.prealloc has no meaning. */
struct ram_plug_config {
	struct ram_config memory;
	uint64_t block_bytes; /* 0: that of ram_plug_block_bytes */
	unsigned int node;    /* guest node */
};

/* The block size that suits the pages: 2 MiB, or 1 GiB with pages=1G. */
uint64_t ram_plug_block_bytes(enum ram_pages pages);
/*
 * Is this region possible in a guest of so many nodes? -EINVAL: why says what is wrong. A block is
 * a power of two, from RAM_BLOCK_MIN to RAM_BLOCK_MAX, and the size a multiple of it.
 */
int ram_plug_config_check(const struct ram_plug_config *config, size_t n_nodes,
			  char why[RAM_WHY_MAX]);
/*
 * Add a region above all RAM and the regions before it, all of it unplugged. It takes address space
 * only. It lies below 4 GiB where it fits, for Linux sets 64 MiB aside for bounce buffers as soon
 * as memory above may come; its start is aligned so that Linux's memory blocks fit. Logged:
 * -EINVAL, -ENODEV (host node), -EOPNOTSUPP (no such pool), -ENOSPC, -ENOMEM.
 */
int ram_plug_add(struct ram *ram, const struct ram_plug_config *config);

size_t ram_plug_count(const struct ram *ram);
/* The whole region: not all of it is RAM. ram_region() does not list these. */
const struct ram_region *ram_plug_region(const struct ram *ram, size_t index);
const struct ram_plug_config *ram_plug_config(const struct ram *ram, size_t index);
uint64_t ram_plug_size_bytes(const struct ram *ram, size_t index); /* plugged now */
/* The lowest address that may be unplugged; UINT64_MAX: none. */
uint64_t ram_plug_start(const struct ram *ram);

/* Bits; both: some of the range is, some is not; 0: no range of whole blocks in the region. */
enum ram_plug_state { RAM_PLUG_PLUGGED = 1, RAM_PLUG_UNPLUGGED = 2 };
unsigned int ram_plug_state(const struct ram *ram, size_t index, uint64_t gpa, uint64_t len);

/*
 * Make [gpa, gpa + len), unplugged so far, RAM full of zeroes; pool pages are taken at once, so
 * that the guest never meets an empty pool. -EINVAL: not whole blocks, or not all unplugged;
 * -ENOMEM: the pool has not enough, or too many pieces for the host; nothing changed then.
 */
int ram_plug(struct ram *ram, size_t index, uint64_t gpa, uint64_t len);
/*
 * Take [gpa, gpa + len), all plugged, away from the guest and give it to the host, pool pages to
 * the pool. No pointer into it may be in use. -EINVAL; -ENOMEM: too many pieces, nothing changed.
 */
int ram_unplug(struct ram *ram, size_t index, uint64_t gpa, uint64_t len);
/* All of a region, at reset: what was in it counts for nobody. */
void ram_unplug_all(struct ram *ram, size_t index);
/* Host memory that is free because it was unplugged: what was resident then and is not back. */
uint64_t ram_plug_returned(const struct ram *ram);

/* ram_set_merge and ram_merge for a region of pluggable memory. */
int ram_plug_set_merge(struct ram *ram, size_t index, bool on);
bool ram_plug_merge(const struct ram *ram, size_t index);

/*
 * madvise(MADV_MERGEABLE/UNMERGEABLE) on a node. -EOPNOTSUPP: hugetlb, which the kernel silently
 * never merges; -EINVAL: a kernel without KSM. What the kernel took is read back (VmFlags in
 * /proc/self/smaps). ram_merge: may any of the node be merged?
 */
int ram_set_merge(struct ram *ram, unsigned int node, bool on);
bool ram_merge(const struct ram *ram, unsigned int node);

#define RAM_MERGE_CHUNK (2ULL << 20)
struct ram_merge_range {
	uint64_t gpa, len;
	bool merge;
};
/*
 * The same for ranges, in this order when they overlap. Addresses are multiples of RAM_MERGE_CHUNK,
 * lengths too but for the end of RAM; a range may go over several regions. Switching off takes
 * sharing apart at once: the time of a fault for each page that is shared. All is checked first:
 * -EINVAL (alignment), -EFAULT (not RAM), -EOPNOTSUPP (hugetlb), -E2BIG (too many pieces for
 * vm.max_map_count) change nothing; another -errno is the kernel's. why: what is wrong.
 */
int ram_merge_ranges(struct ram *ram, const struct ram_merge_range *ranges, size_t n,
		     char why[RAM_WHY_MAX]);
/* The longest range of equal state at or behind gpa, within a region. False: no RAM there. */
bool ram_merge_run(const struct ram *ram, uint64_t gpa, struct ram_merge_range *ret_run);

enum ram_place_status {
	RAM_PLACE_NONE,
	RAM_PLACE_ACTIVE,
	RAM_PLACE_COMPLETED,
	RAM_PLACE_FAILED,
	RAM_PLACE_CANCELLED
};
struct ram_place_state {
	enum ram_place_status status;
	unsigned int host_node;
	uint64_t total_bytes, done_bytes; /* looked at, whether or not something had to move */
	uint64_t start_us, took_us;
	uint64_t longest_us; /* of a slice: what a vCPU waits at most */
	int error;	     /* errno of the last slice that failed, 0: none did */
};
#define RAM_PLACE_RATE	   (256ULL << 20)
#define RAM_PLACE_RATE_MIN (1ULL << 20)
/*
 * Begin to move all RAM to a host node, bytes_per_s (0: RAM_PLACE_RATE) at most, by a thread of its
 * own (kind SANDBOX_WORKER); memory that is taken later comes from there, too. ram_node_config()
 * tells the new binding. -EBUSY: a move is under way; -ENODEV: no such node, or not for us;
 * -EOPNOTSUPP: several guest nodes, or pages of the pools; -errno of pthread_create.
 */
int ram_place(struct ram *ram, unsigned int host_node, uint64_t bytes_per_s);
void ram_place_state(const struct ram *ram, struct ram_place_state *ret_state);
/*
 * Let a move under way end behind the slice it is at; ram_place_state() tells when it has. What is
 * there stays there, the rest where it was; the new binding stays, too. None under way is fine.
 */
void ram_place_cancel(struct ram *ram);
/* The same, for good: returns when the thread has ended. Twice is fine. */
void ram_place_stop(struct ram *ram);

struct bus;
/* [gpa, gpa + len) is huge pages now, and unmapped from the guest. Own thread, no bus_lock. */
typedef void (*ram_collapsed_fn)(void *ctx, uint64_t gpa, uint64_t len);
/*
 * Bring huge pages back in the background (thread "collapse") after the balloon gave memory to the
 * guest again; only with pages=thp, a kernel that can (MADV_COLLAPSE) and transparent huge pages
 * that are not switched off. -errno: no thread. ram_collapse_stop without bus_lock; twice is fine.
 */
int ram_collapse_start(struct ram *ram, struct bus *bus, ram_collapsed_fn collapsed, void *ctx);
void ram_collapse_stop(struct ram *ram);
struct ram_collapse_stats {
	uint64_t collapsed_units; /* 2 MiB each, brought back since start */
	uint64_t torn_units;	  /* given back in part once, not whole again yet */
	uint64_t failures;
	int last_error; /* errno of the last failure: ENOMEM no huge page to be had */
};
/* False: it does not run. */
bool ram_collapse_stats(const struct ram *ram, struct ram_collapse_stats *ret_stats);

#endif
