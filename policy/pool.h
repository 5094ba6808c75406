/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's pools of huge pages, sized to need: what is in use and reserved, and the guest that
 * waits for its pages. A function of what it is given, like all of the policy; its memory is a
 * struct of the caller's, so it runs beside pol_step() and leaves recorded traces alone.
 */
#ifndef MEMD_POLICY_POOL_H
#define MEMD_POLICY_POOL_H

#include "policy/policy.h"

#define POL_POOLS_MAX	32
#define POL_PENDING_MAX 16

enum pol_pool_mode {
	POL_POOL_OFF,
	POL_POOL_WATCH, /* what would be done is told, and not done */
	POL_POOL_MANAGE
};

/* Pages of one size on one node, as the kernel counts them. */
struct pol_pool {
	uint32_t node;
	uint64_t page_bytes;
	uint64_t total, free, surplus; /* pages */
	uint64_t reserved;	       /* of all pools of that size: promised, and not taken yet */
	uint64_t base;		       /* how many there were before memd came */
	uint64_t owed;		       /* that guests have given back, and may want again */
	uint64_t room_bytes;	       /* what the node's memory lets it grow by */
	bool busy;		       /* being resized */
};

/* A guest that waits for pages of a pool before it starts. */
struct pol_pending {
	uint64_t id; /* in the order of arrival */
	uint64_t page_bytes, pages;
	uint64_t nodes;	 /* bits; 0: any */
	uint64_t prefer; /* bits: of these, those that are enlarged first */
	bool granted;	 /* it was told to take them */
};

struct pol_pool_host {
	enum pol_pool_mode mode;
	enum pol_state state;
	uint64_t spare_bytes; /* of the host's memory, that all pools together may grow by */
	size_t n_pools, n_pending;
	struct pol_pool pools[POL_POOLS_MAX];
	struct pol_pending pending[POL_PENDING_MAX]; /* by id */
};

enum pol_pool_answer {
	POL_POOL_READY,	  /* the pages are free, and kept for it for a while */
	POL_POOL_WAIT,	  /* they may come */
	POL_POOL_REFUSED, /* nobody will make them free */
};

enum pol_pool_why {
	POL_POOL_OK,
	POL_POOL_COMING,   /* the pool is being enlarged */
	POL_POOL_TURN,	   /* another guest came first */
	POL_POOL_MEMORY,   /* the host has not so much memory to spare */
	POL_POOL_PIECES,   /* there is memory, but too fragmented: tried again later */
	POL_POOL_NONE,	   /* there is no such pool */
	POL_POOL_UNMANAGED /* pools are not memd's here */
};
/* One clause in an operator's words, static. */
const char *pol_pool_text(enum pol_pool_why why);

struct pol_pool_plan {
	/* By pool: what it is to have, POL_ABSENT: as it is; and why. */
	struct {
		uint64_t pages;
		enum pol_reason why;
	} orders[POL_POOLS_MAX];
	/* By pending guest. */
	struct {
		enum pol_pool_answer answer;
		enum pol_pool_why why;
		uint64_t have_pages; /* that it could take now, of those that it wants */
		uint64_t retry_us;   /* until the next try, 0: one is under way or not known */
	} answers[POL_PENDING_MAX];
};

/* What is remembered of one pool; all zero at first. */
struct pol_pool_past {
	uint32_t node;
	uint64_t page_bytes;
	uint64_t excess_us, lack_us;   /* larger, smaller than it should be, since; 0: it is not */
	uint64_t retry_us, backoff_us; /* not resized before */
};

struct pol_pools {
	size_t n;
	struct pol_pool_past past[POL_POOLS_MAX];
};

/* now_us is monotonic. No order is below what is in use and reserved. */
void pol_pools_decide(struct pol_pools *pools, const struct pol_pool_host *in, uint64_t now_us,
		      struct pol_pool_plan *ret_plan);

/* What came of an order: was it done as it said? If not the next one for that pool waits, each
 * time twice as long. */
void pol_pools_tell(struct pol_pools *pools, uint32_t node, uint64_t page_bytes, bool done,
		    uint64_t now_us);

/* In use or reserved, or possibly so: reservations are of the whole host, so on each node as many
 * free pages as there are reservations stay. */
uint64_t pol_pool_floor(uint64_t total, uint64_t free, uint64_t reserved);

#endif
