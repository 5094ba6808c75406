/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pools of huge pages as memd has them: looked at, sized as policy/pool.h says by a worker,
 * each change journalled, and the queue of guests that wait for pages before they start.
 */
#ifndef MEMD_POOL_H
#define MEMD_POOL_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/wire.h"
#include "memd/act.h"
#include "memd/config.h"
#include "memd/pool_work.h"
#include "policy/pool.h"

/* A guest that does not ask again for so long is gone; one that was told to take its pages may be
 * busy with that for longer. */
#define POOL_FORGET_US 10000000ULL
#define POOL_TAKING_US 60000000ULL

struct pools;

/* What the pools may cost the host, as of the last tick. */
struct pools_host {
	const struct pol_host *host;
	enum pol_state state;
	uint64_t high_bytes; /* kept available */
};

/* act is borrowed; write: kfile_write_u64(), or a test's. -ENOMEM, -errno of eventfd(2) and
 * pthread_create(3). */
int pools_open(struct act *act, pool_write_fn write, struct pools **ret_pools);
/* Waits for a change under way; NULL is fine. */
void pools_close(struct pools *pools);

/* Each tick: look, decide, carry out; every ten seconds where pools are watched only, and not at
 * all while none has a page. NULL is fine. */
void pools_tick(struct pools *pools, const struct config *config, const struct pools_host *host,
		uint64_t now_us);

struct pools_want {
	char name[POL_NAME_MAX];
	uint64_t key; /* of the process that asks: tells guests of one name apart */
	uint64_t page_bytes, pages, nodes, prefer;
	bool done; /* it has its pages, or gave up */
};

/*
 * A guest wants pages of a pool, or asks again: its place in the queue, and what there is, is the
 * answer ({"schema","state":"ready|waiting|refused","why","have_pages","want_pages",
 * "retry_us"}). -EAGAIN: too many wait.
 */
int pools_ask(struct pools *pools, const struct config *config, const struct pools_host *host,
	      const struct pools_want *want, uint64_t now_us, json_object **ret_answer);

/* For `memctl numa`: {"mode","waiting":[...],"pools":[{"node","page_bytes","found_pages",
 * "wanted_pages","why"}]}. Looks now. */
json_object *pools_json(struct pools *pools, const struct config *config,
			const struct pools_host *host, uint64_t now_us);

#endif
