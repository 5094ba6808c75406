/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Having a process's private memory swapped out from outside, by process_madvise(MADV_PAGEOUT)
 * (5.10+): slice by slice around its address space, like the hand of a clock. The kernel takes
 * what it is told, in use or not, so what is cold must be known here:
 *  - where pages can be marked idle (/sys/kernel/mm/page_idle, CONFIG_IDLE_PAGE_TRACKING), those
 *    that nobody has touched since the hand came by last; a guest's own accesses count too;
 *  - elsewhere by trying: a slice that was read back by the time the hand comes again is hot, and
 *    is left out for some rounds.
 * Source: process_madvise(2), mm/madvise.c, Documentation/admin-guide/mm/{idle_page_tracking,
 * pagemap}.rst.
 */
#ifndef MEMD_PAGEOUT_H
#define MEMD_PAGEOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define PAGEOUT_SLICE_BYTES (2ULL << 20)
#define PAGEOUT_AGE_US	    10000000ULL /* between marking a page idle and looking */

/* Does the kernel tell which pages were used, so that an order need not go by chance? */
bool pageout_sees_idle(int rootfd);

/* What is known of one process, between calls. */
struct pageout;

struct pageout *pageout_new(void);	    /* NULL: out of memory */
void pageout_free(struct pageout *pageout); /* NULL is fine */

/* process_madvise(pidfd, ranges, n, MADV_PAGEOUT): bytes, or -errno. */
typedef ssize_t (*pageout_advise_fn)(int pidfd, const struct iovec *ranges, size_t n);
ssize_t pageout_advise(int pidfd, const struct iovec *ranges, size_t n);

struct pageout_order {
	int rootfd;
	pid_t pid;
	int pidfd;
	uint64_t bytes;	      /* to ask for */
	uint64_t deadline_us; /* no slice is begun after it */
	uint64_t now_us;
	bool any; /* in use or not; without it, slices found hot wait longer */
	pageout_advise_fn advise;
};

/*
 * Go on where the last call ended, until so much was asked for, the deadline, or once around.
 * *ret_asked_bytes: present memory that the kernel was told to swap out (it may keep some).
 * 0; -EAGAIN: once around and not enough that is cold; -EINPROGRESS: pages were marked idle, and
 * PAGEOUT_AGE_US later it will be known which are; -ESRCH; -EPERM, -EACCES: not allowed to;
 * -ENOSYS; -ENOMEM; -errno of /proc/PID/maps and pagemap.
 */
int pageout_run(struct pageout *pageout, const struct pageout_order *order,
		uint64_t *ret_asked_bytes);

#endif
