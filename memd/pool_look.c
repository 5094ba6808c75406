// SPDX-License-Identifier: Apache-2.0
/* The pools as policy/pool.h wants them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/kfile.h"
#include "common/log.h"
#include "common/size.h"
#include "memd/hugepage.h"
#include "memd/numa.h"
#include "memd/pool_impl.h"

struct pools_known *pools_known_of(struct pools *pools, uint32_t node, uint64_t page_bytes)
{
	struct pools_known *known;

	for (size_t i = 0; i < pools->n_known; i++)
		if (pools->known[i].node == node && pools->known[i].page_bytes == page_bytes)
			return &pools->known[i];
	if (pools->n_known == POL_POOLS_MAX)
		return NULL;
	known = &pools->known[pools->n_known++];
	*known = (struct pools_known){.node = node,
				      .page_bytes = page_bytes,
				      .base = POL_ABSENT,
				      .set = POL_ABSENT,
				      .other = POL_ABSENT};
	return known;
}

/* Somebody has set it: that is right from then on, and not ours to give back. */
static void leave_to_others(struct pools *pools, struct pools_known *known, const char *path,
			    uint64_t pages)
{
	if (pools->act->undo && undo_original(pools->act->undo, path)) {
		log_info("/%s: somebody else has set it to %" PRIu64 ", which stays", path, pages);
		/* What cannot be written now is with the next change of the journal. */
		(void)undo_forget(pools->act->undo, path);
	}
	known->base = pages;
	known->set = known->other = POL_ABSENT;
}

/*
 * How large it was before memd: what the journal says, or what it is as long as we have not touched
 * it. Somebody who resizes it meanwhile is right from then on.
 */
static uint64_t base_of(struct pools *pools, const struct pol_pool *pool)
{
	struct pools_known *known = pools_known_of(pools, pool->node, pool->page_bytes);
	uint64_t kept = pool->total - (pool->surplus < pool->total ? pool->surplus : pool->total);
	char path[POOL_PATH_MAX];
	const char *original;

	if (!known)
		return kept;
	if (pool->busy)
		return pol_has(known->base) ? known->base : kept;
	pool_path(pool->node, pool->page_bytes, "nr_hugepages", path, sizeof(path));
	if (!pol_has(known->set)) {
		original = pools->act->undo ? undo_original(pools->act->undo, path) : NULL;
		/* Of a memd before this one, which could not give all of it back. */
		known->base = original ? strtoull(original, NULL, 10) : kept;
		if (known->failed)
			known->set = kept;
		known->failed = false;
	} else if (known->failed || known->set == kept) {
		known->failed = false;
		known->set = kept;
		known->other = POL_ABSENT;
	} else if (known->other == kept) {
		leave_to_others(pools, known, path, kept);
	} else {
		/* It comes from two files, read while guests come and go: once is not enough. */
		known->other = kept;
		return kept;
	}
	return known->base;
}

/* Free, and what files hold of it that can be dropped, above the reserve. */
static uint64_t room_on(const struct pools *pools, const struct config *config, uint32_t node)
{
	uint64_t total, free, inactive = 0, active = 0, reserve;
	char path[96], text[8192];

	snprintf(path, sizeof(path), "sys/devices/system/node/node%u/meminfo", node);
	if (kfile_read(pools->act->rootfd, path, text, sizeof(text)) < 0 ||
	    nodes_field_u64(text, "MemTotal", &total) < 0 ||
	    nodes_field_u64(text, "MemFree", &free) < 0)
		return 0;
	(void)nodes_field_u64(text, "Inactive(file)", &inactive);
	(void)nodes_field_u64(text, "Active(file)", &active);
	reserve = (uint64_t)((unsigned __int128)total * config->policy.node_reserve_ppm / 1000000);
	free += inactive + active / 2;
	return free > reserve ? free - reserve : 0;
}

/* What ballooned guests of the pools have given back on that node: they may want it again. */
static uint64_t owed_on(const struct pools *pools, uint32_t node)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < pools->act->guests->n; i++) {
		const struct guest *guest = pools->act->guests->v[i];
		const uint64_t *on = guest->survey.node_bytes;
		uint64_t all = 0, gone;

		if (!guest->pool || !guest->survey.full || !pol_has(on[0]) ||
		    !pol_has(guest->actual_bytes) || guest->actual_bytes >= guest->memory_bytes)
			continue;
		gone = guest->memory_bytes - guest->actual_bytes;
		for (size_t k = 0; k < POL_NODES_MAX; k++)
			all += on[k];
		if (node == HUGEPAGE_ANY_NODE)
			sum += gone;
		else if (all && node < POL_NODES_MAX)
			sum += (uint64_t)((unsigned __int128)gone * on[node] / all);
	}
	return sum;
}

static uint64_t reserved_of(const struct hugepage *pages, uint64_t page_bytes)
{
	for (size_t i = 0; i < pages->n_pools; i++)
		if (pages->pools[i].node == HUGEPAGE_ANY_NODE &&
		    pages->pools[i].page_bytes == page_bytes)
			return pol_has(pages->pools[i].reserved) ? pages->pools[i].reserved : 0;
	return 0;
}

static void add_pool(struct pools *pools, const struct config *config, const struct hugepage *pages,
		     const struct hugepage_pool *from, bool one_node)
{
	struct pol_pool *pool = &pools->in.pools[pools->in.n_pools];

	if (!pol_has(from->total) || !pol_has(from->free) || pools->in.n_pools == POL_POOLS_MAX)
		return;
	*pool = (struct pol_pool){
		.node = from->node,
		.page_bytes = from->page_bytes,
		.total = from->total,
		.free = from->free < from->total ? from->free : from->total,
		.surplus = pol_has(from->surplus) ? from->surplus : 0,
		.reserved = reserved_of(pages, from->page_bytes),
		.room_bytes = one_node ? pools->in.spare_bytes : room_on(pools, config, from->node),
		.busy = pools->active && pools->last.node == from->node &&
			pools->last.page_bytes == from->page_bytes,
	};
	pool->base = base_of(pools, pool);
	/* Balloons give back pages of the smallest size only. */
	if (pool->page_bytes == 2 * MIB)
		pool->owed = owed_on(pools, pool->node) / pool->page_bytes;
	pools->in.n_pools++;
}

void pools_look(struct pools *pools, const struct config *config, const struct pools_host *host)
{
	struct hugepage pages = {0};
	size_t by_node = 0, first_size = 0;

	pools->in = (struct pol_pool_host){.mode = (enum pol_pool_mode)config->huge_pages,
					   .state = host->state};
	if (host->state == POL_STATE_HIGH && pol_has(host->host->available_bytes) &&
	    host->host->available_bytes > host->high_bytes)
		pools->in.spare_bytes = host->host->available_bytes - host->high_bytes;
	hugepage_read(pools->act->rootfd, &pages);
	for (size_t i = 0; i < pages.n_pools; i++) {
		by_node += pages.pools[i].node != HUGEPAGE_ANY_NODE;
		first_size += pages.pools[i].node != HUGEPAGE_ANY_NODE &&
			      pages.pools[i].page_bytes == pages.pools[0].page_bytes;
	}
	for (size_t i = 0; i < pages.n_pools; i++)
		if ((pages.pools[i].node == HUGEPAGE_ANY_NODE) == !by_node)
			add_pool(pools, config, &pages, &pages.pools[i], first_size < 2);
	for (size_t i = 0; i < pools->n_waiting; i++)
		pools->in.pending[i] = pools->waiting[i].want;
	pools->in.n_pending = pools->n_waiting;
	pools->empty = hugepage_pool_bytes(&pages) == 0;
}
