/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reclaim on a thread of its own: the kernel takes its time over it, and a tick must not. Of each
 * guest by its own cgroup's memory.reclaim where it has one (5.19+): there the kernel itself
 * knows what is cold; else by pageout.h.
 */
#ifndef MEMD_RECLAIM_WORK_H
#define MEMD_RECLAIM_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "memd/cgroup.h"
#include "memd/pageout.h"
#include "policy/policy.h"

#define RECLAIM_ORDERS_MAX POL_RECLAIMS_MAX

enum reclaim_way { RECLAIM_NONE, RECLAIM_CGROUP, RECLAIM_PAGEOUT };

struct reclaim_order {
	uint64_t guest, number; /* the caller's, returned as they are */
	pid_t pid;
	uint64_t starttime; /* of the process meant */
	uint64_t bytes;
	bool any; /* memory in use, too, if need be */
	enum pol_reason reason;

	/* the result */
	enum reclaim_way way;
	int error;	     /* 0: as far as it went; -errno */
	bool refaults;	     /* ended early: the guest reads back what went, */
	bool hurried;	     /* or reclaim_work_hurry() did not let it wait */
	uint64_t done_bytes; /* that it has less resident now */
	uint64_t took_us;
};

struct reclaim_work;

/* rootfd must outlive it; advise: pageout_advise(), or a test's. -ENOMEM, -errno of eventfd(2) and
 * pthread_create(3). */
int reclaim_work_open(int rootfd, const struct memcg *memcg, pageout_advise_fn advise,
		      struct reclaim_work **ret_work);
void reclaim_work_close(struct reclaim_work *work); /* NULL is fine */

/* Readable when results wait. */
int reclaim_work_fd(const struct reclaim_work *work);

/* Is it at work, or its results are not taken? */
bool reclaim_work_is_busy(const struct reclaim_work *work);

/* Begin; orders are copied, up to RECLAIM_ORDERS_MAX. -EBUSY. */
int reclaim_work_start(struct reclaim_work *work, const struct reclaim_order *orders, size_t n);

/* A host in want does not wait to see what is cold: orders that do end as far as they got. */
void reclaim_work_hurry(struct reclaim_work *work);

/* The orders with their results, until the next start. Returns how many, 0: none are done. */
size_t reclaim_work_take(struct reclaim_work *work, const struct reclaim_order **ret_orders);

/* So much so far, in so much time. */
uint64_t reclaim_work_bytes(const struct reclaim_work *work);
uint64_t reclaim_work_us(const struct reclaim_work *work);

#endif
