/* SPDX-License-Identifier: Apache-2.0 */
/* What pool.c, the queue and the changes, shares with pool_look.c, what there is. */
#ifndef MEMD_POOL_IMPL_H
#define MEMD_POOL_IMPL_H

#include "memd/pool.h"
#include "memd/worker.h"

struct pools_waiting {
	struct pol_pending want;
	char name[POL_NAME_MAX];
	uint64_t key, seen_us;
};

/* What we know of a pool beyond what the kernel tells. */
struct pools_known {
	uint32_t node;
	uint64_t page_bytes;
	uint64_t base, set; /* pages: as it was found; as we left it, POL_ABSENT: we did not */
	bool failed;	    /* the last change of it, which may have come part of the way */
	uint64_t other;	    /* the last look's, when it was neither of ours; else POL_ABSENT */
};

struct pools {
	struct act *act;
	struct worker *worker;
	pool_write_fn write;
	struct pol_pools policy;
	struct pol_pool_host in;
	struct pol_pool_plan plan;
	struct pools_known known[POL_POOLS_MAX];
	size_t n_known;
	struct pools_waiting waiting[POL_PENDING_MAX];
	size_t n_waiting;
	uint64_t next_id;
	bool active; /* the worker has a job */
	bool empty;  /* no pool has a page */
	uint64_t looked_us;
	uint64_t number;
	struct pool_job last;
};

/* One pool's; NULL: there are too many. */
struct pools_known *pools_known_of(struct pools *pools, uint32_t node, uint64_t page_bytes);

/* Fill pools->in: the pools, what they may grow by, and who waits. */
void pools_look(struct pools *pools, const struct config *config, const struct pools_host *host);

#endif
