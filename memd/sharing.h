/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who shares pages with whom by KSM, exactly: every merged page that the given processes map is
 * found by its frame (/proc/PID/pagemap, /proc/kpageflags, /proc/kpagecount) and its saving is
 * shared out to those who map it. A page that is mapped m times in all saves m - 1 pages, 1 - 1/m
 * for each mapping; the sum over everybody is then what the kernel counts as pages_sharing.
 * Nothing is written and no page is touched. Needs CAP_SYS_ADMIN: others are not told frames.
 *
 * Costs CPU time, holds each process's mmap lock for short whiles, and allocates 16 bytes for each
 * mapping of a merged page: for a thread of its own, not for the loop's.
 * Source: Documentation/admin-guide/mm/{pagemap,ksm}.rst; fs/proc/{task_mmu,page}.c, mm/ksm.c.
 */
#ifndef MEMD_SHARING_H
#define MEMD_SHARING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "policy/policy.h"

/* Most processes one look can take, asked for and others. */
#define SHARING_TARGETS_MAX 65536

struct sharing_target {
	pid_t pid;
	uint64_t starttime; /* as in struct footprint; 0: whoever has the pid now */
	uint64_t id;	    /* the caller's, comes back in the result */
};

struct sharing_share; /* see sharing_sum.h */

struct sharing_options {
	bool pairs; /* fill the matrix: costs time where many guests share one page */
	/*
	 * Also look at the processes that merge and were not asked for, found by their ksm_stat.
	 * Without it their mappings count as unknown ones, and pages that only they share are not
	 * seen, so that the sum falls short of the kernel's count.
	 */
	bool others;
	uint64_t budget_us;	   /* CPU time of this thread at most; 0: no limit */
	const atomic_bool *cancel; /* becomes true: stop soon. NULL: never */
	/*
	 * Each merged page that is mapped more than once: its frame, and who maps it how often, by
	 * the targets' numbers; one number more stands for all others. NULL: not told.
	 */
	void (*merged)(void *ctx, uint64_t frame, const struct sharing_share *shares, size_t n);
	/* Now and then: so much is done, of 1000. NULL: not told. */
	void (*progress)(void *ctx, unsigned int permille);
	void *ctx;
};

/* One process's part, or that of all others together. POL_ABSENT: this kernel does not say. */
struct sharing_part {
	uint64_t id;
	pid_t pid; /* 0 for the others */
	int error; /* -ESRCH: gone, its numbers are zero; other -errno: could not be looked at */
	/*
	 * What is saved with it, to the byte: rounded so that the sum of all is exactly the sum of
	 * all pages' m - 1. own_bytes of it is what it would save if it were alone: it maps those
	 * pages several times itself. The rest is thanks to others.
	 */
	uint64_t saved_bytes, own_bytes;
	uint64_t shared_pages; /* its mappings of merged pages that are mapped more than once */
	uint64_t single_pages; /* ... of merged pages that nobody else maps any more (6.6+) */
	uint64_t record_pages; /* ksm_merging_pages: what ksmd has on record for it */
	uint64_t zero_pages;   /* replaced by the zero page, by KSM (6.6+); not in saved_bytes */
	/* All its mappings of the zero page in mergeable memory, never-written memory included;
	 * told where the kernel does not tell zero_pages. */
	uint64_t zero_mapped_pages;
	uint64_t metadata_bytes; /* of KSM's records for it */
};

/* Below /sys/kernel/mm/ksm, and cow_ksm of /proc/vmstat. POL_ABSENT: not told. */
struct sharing_kernel {
	uint64_t pages_shared, pages_sharing, zero_pages, full_scans, cow_breaks;
};

struct sharing {
	uint64_t page_bytes;
	size_t n;
	struct sharing_part *parts; /* as the targets, in their order */
	struct sharing_part others; /* processes that merge and were not asked for */
	size_t n_others;	    /* how many they are */
	/* Of each of them, added up: records without a mapping, mappings without a record. */
	uint64_t others_stale_pages, others_unrecorded_pages;
	/*
	 * Mappings of the same pages by processes that were not looked at: kpagecount tells of more
	 * than were found. A fork's, before ksmd has seen it, or anybody's without options.others.
	 */
	uint64_t unknown_pages, unknown_saved_bytes;
	uint64_t distinct_pages; /* merged pages that are mapped more than once */
	uint64_t saved_bytes;	 /* of parts, others and unknown: (m - 1) pages for each of them */
	uint64_t moved_pages;	 /* found with fewer mappings than were seen: changed meanwhile */
	uint64_t walked_pages;	 /* address space looked through */
	uint64_t cpu_us, wall_us;
	struct sharing_kernel before, after;
	uint64_t *pairs; /* see sharing_pair_pages(); NULL: not asked for */
};

/*
 * Look. 0: *ret_sharing for sharing_free(); a target that cannot be looked at says so in its part
 * and is no error. -EPERM: not root, the kernel hides frames; -EOPNOTSUPP: a kernel without
 * /proc/kpageflags (CONFIG_PROC_PAGE_MONITOR) or without KSM; -ECANCELED; -ETIME: budget used up;
 * -E2BIG: too many targets; -ENOMEM; other -errno of read(2).
 */
int sharing_scan(int rootfd, const struct sharing_target *targets, size_t n,
		 const struct sharing_options *options, struct sharing **ret_sharing);
void sharing_free(struct sharing *sharing); /* NULL is fine */

/*
 * Merged pages that both targets map, each page once; for i == j what it shares within itself
 * (own_bytes). Index n stands for everybody else: others and unknown. 0 without options.pairs.
 */
uint64_t sharing_pair_pages(const struct sharing *sharing, size_t i, size_t j);

/*
 * The sum held against the kernel's own count, in pages. The kernel counts its records, of which
 * some are stale: a page was written to, discarded or its process has ended, and ksmd drops the
 * record when it next comes by. The terms add up, always:
 *   difference = gone + stale - unrecorded - unknown - lone
 */
struct sharing_check {
	bool known;	    /* the kernel's pages_sharing and pages_shared could be read */
	bool exact;	    /* known, and the difference is 0 */
	int64_t difference; /* the kernel's pages_sharing (after) less the sum */
	int64_t moved;	    /* pages_sharing went up by so much while looking */
	int64_t gone;	    /* records of processes that have ended or were not looked at */
	uint64_t stale;	    /* records of those looked at whose pages are no merged ones any more */
	uint64_t unrecorded; /* mappings by those looked at that ksmd has no record of: a fork's */
	uint64_t unknown;    /* mappings by processes not looked at */
	int64_t lone;	     /* merged pages on record that nobody maps any more */
	bool lone_mapped;    /* smaps does not tell merged pages (before 6.6): so lone counts also
				those that one process maps, who has a stale record for each */
	bool zero_known;     /* this kernel counts zero pages */
	int64_t zero_difference, zero_moved;
};
void sharing_check(const struct sharing *sharing, struct sharing_check *ret_check);

#endif
