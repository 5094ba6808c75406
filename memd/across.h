/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What merging across NUMA nodes saves, and how far the pages then are, looked at now and then on a
 * thread of its own. While pages are merged across, the merged ones are looked at, frame by frame
 * (sharing.h): how many copies there would be with a tree for each node, and who reads which on
 * another node. While they are not, contents are compared by samples (estimate.h), once with pages
 * of different nodes kept apart and once without.
 */
#ifndef MEMD_ACROSS_H
#define MEMD_ACROSS_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "memd/config.h"
#include "memd/estimate.h"
#include "policy/policy.h"

struct across;

struct across_guest {
	uint64_t id, starttime;
	pid_t pid;
	/* The nodes (bits) that its memory is at home on; with several it is at home on each of
	 * them, wherever it lies. */
	uint64_t home;
	int cpu_node; /* where its vCPUs run; -1: not known, taken for its home */
};

struct across_look {
	bool across;					 /* merge_across_nodes, as it is */
	uint64_t max_sharing;				 /* KSM's max_page_sharing; 0: no limit */
	bool use_zero_pages;				 /* and its use_zero_pages */
	uint64_t shared, sharing;			 /* its pages_shared and pages_sharing */
	uint64_t distance[POL_NODES_MAX][POL_NODES_MAX]; /* by number; 10: itself */
};

struct across_result {
	int error; /* -EPERM without CAP_SYS_ADMIN; 0 fine */
	bool across;
	uint64_t gain_bytes; /* saved by one tree for all nodes beyond one for each */
	uint64_t took_us;
	size_t n;
	struct across_far {
		uint64_t id, far_bytes; /* see struct pol_guest */
	} * far;			/* the caller's, for free(3) */
};

/* As estimate_run(); for tests. */
typedef int (*across_estimate_fn)(const struct estimate_source *source, size_t n,
				  const struct estimate_options *options,
				  struct estimate *ret_estimate);

/* rootfd must outlive it; estimate NULL: estimate_run(). -ENOMEM, -errno of eventfd(2), pthread. */
int across_open(int rootfd, across_estimate_fn estimate, struct across **ret_across);
/* Ends a look under way. NULL is fine. */
void across_close(struct across *across);

/* Readable when a result waits. */
int across_fd(const struct across *across);

/* Look at these. -EBUSY: at it, or resting (it works a twentieth of the time); -ENOMEM. */
int across_start(struct across *across, const struct across_look *look,
		 const struct across_guest *guests, size_t n);

/* Take the result. 0, or -EAGAIN when there is none. */
int across_take(struct across *across, struct across_result *ret_result);

/* The object "across_nodes" of query-status and query-numa; look as it was taken last, NULL: not
 * yet; setting: merge_across_nodes, POL_ABSENT: the kernel has none. */
json_object *across_json(const struct config *config, const struct pol_across_view *view,
			 uint64_t setting, const struct across_result *look, uint64_t look_us);

#endif
