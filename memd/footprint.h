/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one guest's process takes from the host, as the host's kernel counts it. This is the truth
 * that a guest's own numbers are held against.
 * Source: Documentation/filesystems/proc.rst, mm/ksm.rst; fs/proc/{array,base,task_mmu}.c.
 */
#ifndef MEMD_FOOTPRINT_H
#define MEMD_FOOTPRINT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "policy/policy.h"

/* Guest RAM is told from the rest of the process by size: mappings smaller than this are not. */
#define FOOTPRINT_RAM_MIN_BYTES (1ULL << 20)

struct footprint {
	/* by both; POL_ABSENT: this kernel does not say */
	uint64_t starttime;	 /* clock ticks since boot: tells a reused pid from the old one */
	uint64_t cpu_us;	 /* utime + stime of all threads, without children */
	uint64_t resident_bytes; /* VmRSS + hugetlb; KSM pages count in full, KSM zero pages not
				  */
	uint64_t swapped_bytes;	 /* VmSwap: private anonymous only, not shared memory's */
	uint64_t anon_bytes;	 /* resident private anonymous (RssAnon) */
	uint64_t locked_bytes;	 /* VmLck: mlock(2), and what VFIO accounts for */
	uint64_t major_faults;	 /* of all threads, without children */
	uint64_t shared_bytes;	 /* resident shared memory (RssShmem) */
	uint64_t hugetlb_bytes;	 /* HugetlbPages */
	uint64_t ksm_merging_bytes; /* ksm_merging_pages: pages it shares, the first one included */
	uint64_t ksm_zero_bytes;    /* ksm_zero_pages (6.6+): replaced by the zero page */
	uint64_t ksm_rmap_bytes;    /* what KSM's bookkeeping for it costs: 64 bytes per rmap item
				     */

	/* by footprint_full() only */
	bool full;
	uint64_t anon_huge_bytes; /* resident in transparent huge pages */
	uint64_t ram_bytes;	  /* mapped in regions of at least FOOTPRINT_RAM_MIN_BYTES that hold
				     guest RAM or could: private anonymous, shared memory, hugetlb */
	uint64_t mergeable_bytes; /* of these, private anonymous with the mg flag */
	uint64_t marked_bytes;	  /* all with the mg flag, however small: firmware, video memory */
	/* Nodes (bits) of private anonymous guest RAM and of what is marked: bound to (mbind(2),
	 * MPOL_BIND; POL_ABSENT: not all of it is), and with pages on them, POL_ABSENT: not known.
	 * KSM's pages are where the first of those merged was. */
	uint64_t bound_mask, seen_mask;
	uint64_t node_bytes[POL_NODES_MAX]; /* resident on node i, hugetlb included; POL_ABSENT in
					       all: kernel without NUMA */
	uint64_t ram_node_bytes[POL_NODES_MAX]; /* of these, private anonymous guest RAM */
	bool bound_any;				/* some mapping of that is bound (MPOL_BIND) */
	/* KSM can merge the guest's memory or a good part of it, should it run. Firmware and video
	 * memory that QEMU marks beside RAM that is shared or hugetlb do not count. */
	bool mergeable;
	const char *pinned; /* why it must stay where it is, static text; NULL: it need not */
	char mergeable_reason[128]; /* why KSM cannot act, does not now, or only in part; "" */
};

/*
 * The cheap part, for every tick: /proc/PID/stat, status and ksm_stat.
 * 0; -ESRCH: no such process (or a zombie); -errno of open(2), read(2); -EIO: not as documented.
 */
int footprint_quick(int rootfd, pid_t pid, struct footprint *ret_footprint);

/*
 * FILE of /proc/PID in *ret_text, for free(3), of the process that is meant; what was opened of
 * that pid before is then of the same. 0; -ESRCH: it has ended, or the pid is another's by now;
 * -errno of open(2), read(2).
 */
int footprint_read_text(int rootfd, pid_t pid, uint64_t starttime, const char *file,
			char **ret_text);

/*
 * Of that again what memory pressure moves, less than half as dear: what is resident and in swap;
 * and, if some of it is in swap or was, which is when they tell something, the major faults. The
 * rest of *footprint stays as it was. Errors as above; *footprint is untouched.
 */
int footprint_again(int rootfd, pid_t pid, struct footprint *footprint);

/*
 * All of it: also smaps and numa_maps, whose cost grows with the page tables (measured: 30 ms of
 * CPU per GiB resident in small pages, 1.5 ms in transparent huge pages) and which hold the
 * process's mmap lock for reading, so off the loop's thread and every minute
 * or so. Errors as above; -EACCES, -EPERM: not allowed to look into that process.
 */
int footprint_full(int rootfd, pid_t pid, struct footprint *ret_footprint);

/*
 * Does it run a guest by KVM, from its open file "anon_inode:kvm-vm"? 1; 0: no (QEMU with TCG);
 * -ESRCH; -EACCES: may not look. Never decided from a name.
 */
int footprint_is_kvm(int rootfd, pid_t pid);

/* Does it have that file open, by what its link in /proc/PID/fd says? As above. */
int footprint_has_open(int rootfd, pid_t pid, const char *file);

#endif
