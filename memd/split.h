/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transparent huge pages of guests are split where the kernel swaps guests: a huge page is touched
 * as a whole, so that what is cold in it stays in memory for the sake of one page that is not, and
 * other guests' memory goes in its place. Nothing is copied or swapped by that, but guests'
 * processors take a fault for each page that they use again.
 *
 * Kernels split a huge page when a part of it is advised: here MADV_COLD, of one page, which is the
 * first to be swapped then. It takes process_madvise(2) and PAGEMAP_SCAN, Linux 6.7, CAP_SYS_NICE
 * and the right to look into the process (ptrace(2)). What a device has pinned stays whole, and
 * what is mapped page by page already is not seen. Source: mm/madvise.c
 * (madvise_cold_or_pageout_pte_range), mm/huge_memory.c.
 */
#ifndef MEMD_SPLIT_H
#define MEMD_SPLIT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct split;

struct split_guest {
	uint64_t id;
	pid_t pid;
	uint64_t starttime; /* of the process meant */
};

struct split_result {
	int error;	      /* of one that cannot be: -EPERM, -EACCES, -EOPNOTSUPP, -errno; 0 */
	uint64_t split_bytes; /* of huge pages that are none any more */
};

/* process_madvise(pidfd, n pages, MADV_COLD): bytes done, -errno. */
typedef ssize_t (*split_advise_fn)(int pidfd, const struct iovec *pages, size_t n);
ssize_t split_advise(int pidfd, const struct iovec *pages, size_t n);

/*
 * All huge pages of one process, in its private memory, until end_us; adds to *result. 0; -ESRCH:
 * it has ended; -ECANCELED: time is up, or it should end; -EOPNOTSUPP: a kernel before 6.7; -errno.
 */
int split_process(int rootfd, const struct split_guest *guest, split_advise_fn advise,
		  uint64_t end_us, const atomic_bool *cancel, struct split_result *result);

/* rootfd must outlive it. -ENOMEM, -errno of eventfd(2), pthread. */
int split_open(int rootfd, split_advise_fn advise, struct split **ret_split);
/* NULL is fine. */
void split_close(struct split *split);

/* Let a job under way end soon. */
void split_cancel(struct split *split);

/* Of these guests, sorted by id, one after the other, going on after the one that was last when
 * time was up. -EBUSY: at it, or resting (it works a tenth of the time); -ENOMEM. */
int split_start(struct split *split, const struct split_guest *guests, size_t n);

/* Take the result. 0, or -EAGAIN when there is none. */
int split_take(struct split *split, struct split_result *ret_result);

#endif
