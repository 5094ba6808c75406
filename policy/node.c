// SPDX-License-Identifier: Apache-2.0
/* What a NUMA node has to give beyond its reserve, and how far it is to others. */
#include "policy/parts.h"

#define NEAR	     10ull /* SLIT: a node to itself */
#define FAR	     20ull /* what is taken for a distance not told */
#define DISTANCE_MAX 255ull

static uint64_t reserve_of(const struct pol_config *config, const struct pol_node *node)
{
	uint64_t memory = bytes_in(node->memory_bytes);

	return pol_has(memory) && !FAULT(numa_reserve) ? ppm_of(memory, config->node_reserve_ppm)
						       : 0;
}

static uint64_t free_on(const struct pol_node *node)
{
	uint64_t memory = bytes_in(node->memory_bytes), free = bytes_in(node->free_bytes);

	return pol_has(memory) && pol_has(free) ? min_u64(free, memory) : POL_ABSENT;
}

/*
 * What a node can give: what is free, and files that it caches but for a half, or as much as the
 * reserve: some are in use. Linux reckons so, with a watermark (si_mem_available(), mm/show_mem.c).
 */
static uint64_t available_on(const struct pol_config *config, const struct pol_node *node)
{
	uint64_t free = free_on(node), cache = bytes_in(node->cache_bytes);

	if (!pol_has(free) || !pol_has(cache))
		return free;
	cache -= min_u64(cache / 2, reserve_of(config, node));
	return min_u64(free + cache, bytes_in(node->memory_bytes));
}

uint64_t numa_room(const struct pol_config *config, const struct pol_node *node)
{
	uint64_t available = available_on(config, node);

	return pol_has(available) ? sub_sat(available, reserve_of(config, node)) : 0;
}

uint64_t numa_free_room(const struct pol_config *config, const struct pol_node *node)
{
	uint64_t free = free_on(node);

	return pol_has(free) ? sub_sat(free, reserve_of(config, node)) : 0;
}

uint64_t numa_lack(const struct pol_config *config, const struct pol_node *node)
{
	uint64_t available = available_on(config, node);

	return pol_has(available) ? sub_sat(reserve_of(config, node), available) : 0;
}

uint64_t numa_distance(const struct pol_node *from, uint32_t to)
{
	uint64_t d = to < POL_PLACE_NODES ? from->distance[to] : POL_ABSENT;

	if (from->node == to)
		return NEAR;
	return !pol_has(d) || d < NEAR ? FAR : min_u64(d, DISTANCE_MAX);
}
