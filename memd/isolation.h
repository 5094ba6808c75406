/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proof that guests of different trust domains share nothing: now and then all merged pages of
 * all guests are looked at (sharing.h), on a thread of its own, and those that guests of two
 * domains map are told.
 */
#ifndef MEMD_ISOLATION_H
#define MEMD_ISOLATION_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "memd/sharing.h"

/* Pairs told; of more the ones that share most. */
#define ISOLATION_PAIRS_MAX 16

struct isolation;

struct isolation_guest {
	uint64_t id, starttime;
	pid_t pid;
	uint32_t domain;
};

struct isolation_pair {
	uint64_t a, b; /* ids */
	uint64_t bytes;
};

struct isolation_result {
	int error; /* of the look: -EPERM without CAP_SYS_ADMIN; 0 fine */
	uint64_t start_us, took_us, cpu_us;
	uint64_t cross_bytes; /* over all pairs of guests of different domains */
	size_t n_pairs;	      /* kept here */
	struct isolation_pair pairs[ISOLATION_PAIRS_MAX];
	size_t n; /* of the guests looked at, in their order; 0 with an error */
	struct isolation_crossed {
		uint64_t id;
		uint64_t bytes; /* that it shares with guests of other domains, over all pairs */
	} * crossed;		/* the caller's, for free(3) */
};

/* As sharing_scan(); for tests. */
typedef int (*isolation_scan_fn)(int rootfd, const struct sharing_target *targets, size_t n,
				 const struct sharing_options *options,
				 struct sharing **ret_sharing);

/* rootfd must outlive it; scan NULL: sharing_scan(). -ENOMEM, -errno of eventfd(2), pthread. */
int isolation_open(int rootfd, isolation_scan_fn scan, struct isolation **ret_isolation);
/* Ends a look under way. NULL is fine. */
void isolation_close(struct isolation *isolation);

/* Readable when a result waits. */
int isolation_fd(const struct isolation *isolation);

/* Look at these. -EBUSY: at it, or resting (it works a twentieth of the time); -ENOMEM. */
int isolation_start(struct isolation *isolation, const struct isolation_guest *guests, size_t n);

/* Take the result. 0, or -EAGAIN when there is none: *ret_result stays as it was. */
int isolation_take(struct isolation *isolation, struct isolation_result *ret_result);

/* What a look found of guests of different domains; the parts of sharing are in their order.
 * Adds to an empty result. -ENOMEM. */
int isolation_judge(const struct sharing *sharing, const struct isolation_guest *guests,
		    struct isolation_result *result);

#endif
