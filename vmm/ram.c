// SPDX-License-Identifier: Apache-2.0
/*
 * Guest RAM: the list of regions, how they are laid out around the hole and brought up. The order
 * in ram_new is the invariant of this file: map, bind, huge-page advice, populate, merge advice.
 */
#include "vmm/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/size.h"
#include "vmm/layout.h"
#include "vmm/ram_impl.h"

/* ---- names and checks ---- */

const char *ram_pages_name(enum ram_pages pages)
{
	static const char *const names[] = {
		[RAM_PAGES_THP] = "thp",
		[RAM_PAGES_SMALL] = "small",
		[RAM_PAGES_2M] = "2M",
		[RAM_PAGES_1G] = "1G",
	};

	return names[pages];
}

const char *ram_policy_name(enum ram_policy policy)
{
	static const char *const names[] = {
		[RAM_POLICY_DEFAULT] = "default",
		[RAM_POLICY_BIND] = "bind",
		[RAM_POLICY_PREFERRED] = "preferred",
		[RAM_POLICY_INTERLEAVE] = "interleave",
	};

	return names[policy];
}

bool ram_pages_is_pool(enum ram_pages pages)
{
	return pages == RAM_PAGES_2M || pages == RAM_PAGES_1G;
}

uint64_t ram_pages_bytes(enum ram_pages pages)
{
	if (pages == RAM_PAGES_1G)
		return RAM_GIB_PAGE;
	return pages == RAM_PAGES_2M ? RAM_HUGE_BYTES : RAM_SMALL_BYTES;
}

bool ram_config_is_bound(const struct ram_config *config)
{
	for (size_t i = 0; i < RAM_HOST_NODES / 64; i++)
		if (config->host_nodes[i])
			return true;
	return false;
}

/* The next run of one node's RAM from *gpa, which steps over the hole. */
static uint64_t next_run(uint64_t *gpa, uint64_t left)
{
	if (*gpa == LAYOUT_HOLE_START)
		*gpa = LAYOUT_HIGH_START;
	if (*gpa < LAYOUT_HOLE_START && left > LAYOUT_HOLE_START - *gpa)
		return LAYOUT_HOLE_START - *gpa;
	return left;
}

int ram_config_check(const struct ram_config *configs, size_t n_configs, char why[RAM_WHY_MAX])
{
	uint64_t total = 0, gpa = 0;

	if (n_configs == 0 || n_configs > RAM_NODES_MAX) {
		snprintf(why, RAM_WHY_MAX, "%zu guest NUMA nodes: wanted 1 to %d", n_configs,
			 RAM_NODES_MAX);
		return -EINVAL;
	}
	for (size_t i = 0; i < n_configs; i++) {
		uint64_t size = configs[i].size_bytes, unit = ram_pages_bytes(configs[i].pages);

		/* Huge mappings need guest and host addresses that are equal modulo 2 MiB. */
		if (n_configs > 1 && unit < RAM_HUGE_BYTES)
			unit = RAM_HUGE_BYTES;
		if (size < RAM_SIZE_MIN || size > RAM_SIZE_MAX - total) {
			snprintf(why, RAM_WHY_MAX,
				 "size %" PRIu64 " bytes: wanted %s at least and %s in all", size,
				 SIZE_TEXT(RAM_SIZE_MIN), SIZE_TEXT(RAM_SIZE_MAX));
			return -EINVAL;
		}
		if (size % unit) {
			snprintf(why, RAM_WHY_MAX,
				 "size %" PRIu64 " bytes: wanted a multiple of %s with pages=%s%s",
				 size, SIZE_TEXT(unit), ram_pages_name(configs[i].pages),
				 n_configs > 1 ? " and several nodes" : "");
			return -EINVAL;
		}
		total += size;
		for (uint64_t left = size, run; left; left -= run, gpa += run) {
			run = next_run(&gpa, left);
			if (run % unit == 0)
				continue;
			snprintf(
				why, RAM_WHY_MAX,
				"the hole at %s cuts guest node %zu inside a page of %s: make what "
				"lies below it a multiple of that, or put this node first",
				SIZE_TEXT(LAYOUT_HOLE_START), i, SIZE_TEXT(unit));
			return -EINVAL;
		}
	}
	return 0;
}

/* ---- bringing it up ---- */

static struct ram *ram_alloc(void)
{
	struct ram *ram = calloc(1, sizeof(*ram));

	if (!ram)
		return NULL;
	ram->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ram->smaps_fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	ram->merge_maps_max = ram_merge_maps_max();
	ram->maps_fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	return ram;
}

static void lay_out(struct ram *ram)
{
	uint64_t gpa = 0;

	for (size_t i = 0; i < ram->n_configs; i++) {
		const struct ram_config *config = &ram->configs[i];

		for (uint64_t left = config->size_bytes, run; left; left -= run, gpa += run) {
			run = next_run(&gpa, left);
			ram->pieces[ram->n_pieces++] = (struct ram_piece){
				.region = {.gpa = gpa, .size_bytes = run, .node = (unsigned int)i},
				.pages = config->pages,
				.page_bytes = ram_pages_bytes(config->pages),
				.prealloc = config->prealloc,
				.config = config,
			};
		}
		ram->size_bytes += config->size_bytes;
	}
}

static void unmap_all(struct ram *ram)
{
	for (size_t i = 0; i < ram->n_pieces; i++) {
		struct ram_piece *piece = &ram->pieces[i];

		if (piece->region.hva && !piece->is_buffer)
			munmap(piece->region.hva, piece->region.size_bytes);
		piece->region.hva = NULL;
	}
}

static int prepare_piece(struct ram_piece *piece, const struct ram_config *config)
{
	const struct ram_region *region = &piece->region;
	int r = ram_piece_map(piece);

	if (r < 0) {
		log_err("memory node %u: mapping %s with pages=%s: %s", region->node,
			SIZE_TEXT(region->size_bytes), ram_pages_name(piece->pages), strerror(-r));
		return r;
	}
	r = ram_bind(config, region->hva, region->size_bytes);
	if (r < 0) {
		log_err("memory node %u: policy=%s on its host nodes: %s%s", region->node,
			ram_policy_name(config->policy), strerror(-r),
			r == -EINVAL ? " (does this process's cpuset allow these nodes? see "
				       "Mems_allowed_list in /proc/self/status)"
				     : "");
		return r;
	}
	ram_piece_advise(piece, config);
	r = ram_merge_init(piece);
	return r < 0 ? r : ram_return_init(piece);
}

static int populate_piece(const struct ram_piece *piece, const struct ram_config *config)
{
	const struct ram_region *region = &piece->region;
	int r;

	/* Pool pages are not reserved but taken: only this shows a shortage on one node. */
	if (!config->prealloc && !ram_pages_is_pool(piece->pages))
		return 0;
	r = ram_populate(config, region->hva, region->size_bytes, piece->page_bytes,
			 "guest memory");
	if (r < 0 && !ram_pages_is_pool(piece->pages))
		log_err("memory node %u: taking %s at start (prealloc=on): %s", region->node,
			SIZE_TEXT(region->size_bytes), strerror(-r));
	return r;
}

static void merge_node(struct ram *ram, unsigned int node)
{
	const struct ram_config *config = &ram->configs[node];
	int r;

	if (!config->merge)
		return;
	if (ram_pages_is_pool(config->pages)) {
		log_warn(
			"memory node %u: merge=on has no effect with pages=%s: KSM never merges "
			"pages "
			"of the huge page pool (the kernel ignores MADV_MERGEABLE on hugetlb); use "
			"pages=thp for huge pages that can be merged",
			node, ram_pages_name(config->pages));
		return;
	}
	r = ram_set_merge(ram, node, true);
	if (r == -EINVAL)
		log_warn("memory node %u: merge=on has no effect: this kernel has no KSM "
			 "(CONFIG_KSM)",
			 node);
	else if (r < 0)
		log_warn("memory node %u: merge=on: %s", node, strerror(-r));
	else if (!ram_merge(ram, node))
		log_warn("memory node %u: merge=on has no effect: the kernel took the advice and "
			 "did not mark the memory mergeable",
			 node);
}

/* Pool pages that guest node and those before it want from the same places. */
static uint64_t pool_pages_wanted(const struct ram *ram, unsigned int node)
{
	const struct ram_config *config = &ram->configs[node];
	uint64_t bytes = 0;

	for (unsigned int i = 0; i <= node; i++) {
		const struct ram_config *other = &ram->configs[i];

		if (other->pages == config->pages && other->policy == config->policy &&
		    memcmp(other->host_nodes, config->host_nodes, sizeof(config->host_nodes)) == 0)
			bytes += other->size_bytes;
	}
	return bytes / ram_pages_bytes(config->pages);
}

static int populate(struct ram *ram)
{
	for (size_t i = 0; i < ram->n_pieces; i++) {
		unsigned int node = ram->pieces[i].region.node;
		int r = populate_piece(&ram->pieces[i], &ram->configs[node]);

		if (r == 0)
			continue;
		if (!ram_pages_is_pool(ram->configs[node].pages))
			return r;
		/* Let go first, so that the message counts what a next try would find. */
		unmap_all(ram);
		ram_pool_log_shortage(&ram->configs[node], node, pool_pages_wanted(ram, node));
		return -ENOMEM;
	}
	return 0;
}

static int bring_up(struct ram *ram)
{
	int r;

	for (unsigned int i = 0; i < ram->n_configs; i++) {
		const struct ram_config *config = &ram->configs[i];

		r = ram_bind_check(config, "node", i);
		if (r < 0)
			return r;
		if (!ram_pages_is_pool(config->pages))
			continue;
		r = ram_pool_check(config, "node", i, pool_pages_wanted(ram, i));
		if (r < 0)
			return r;
	}
	r = ram_populate_check(ram);
	if (r < 0)
		return r;
	ram_warn_no_thp(ram);
	for (size_t i = 0; i < ram->n_pieces; i++) {
		r = prepare_piece(&ram->pieces[i], &ram->configs[ram->pieces[i].region.node]);
		if (r < 0)
			return r;
	}
	r = populate(ram);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < ram->n_configs; i++) {
		ram_check_placement(ram, i);
		merge_node(ram, i);
	}
	return 0;
}

int ram_new(const struct ram_config *configs, size_t n_configs, struct ram **ret_ram)
{
	char why[RAM_WHY_MAX];
	struct ram *ram;
	int r = ram_config_check(configs, n_configs, why);

	if (r < 0) {
		log_err("memory: %s", why);
		return r;
	}
	ram = ram_alloc();
	if (!ram)
		return -ENOMEM;
	memcpy(ram->configs, configs, n_configs * sizeof(*configs));
	ram->n_configs = n_configs;
	lay_out(ram);
	r = bring_up(ram);
	if (r < 0) {
		ram_free(ram);
		return r;
	}
	*ret_ram = ram;
	return 0;
}

int ram_new_buffer(void *buffer, uint64_t gpa, uint64_t size_bytes, struct ram **ret_ram)
{
	struct ram *ram;
	int r;

	if (!buffer || !size_bytes || (gpa | size_bytes) % RAM_SMALL_BYTES ||
	    gpa + size_bytes < gpa)
		return -EINVAL;
	ram = ram_alloc();
	if (!ram)
		return -ENOMEM;
	ram->n_configs = ram->n_pieces = 1;
	ram->size_bytes = size_bytes;
	ram->configs[0] = (struct ram_config){.size_bytes = size_bytes, .pages = RAM_PAGES_SMALL};
	ram->pieces[0] = (struct ram_piece){
		.region = {.gpa = gpa, .size_bytes = size_bytes, .hva = buffer},
		.pages = RAM_PAGES_SMALL,
		.page_bytes = RAM_SMALL_BYTES,
		.is_buffer = true,
		.config = &ram->configs[0],
	};
	r = ram_merge_init(&ram->pieces[0]);
	if (r == 0)
		r = ram_return_init(&ram->pieces[0]);
	if (r < 0) {
		ram_free(ram);
		return r;
	}
	*ret_ram = ram;
	return 0;
}

void ram_free(struct ram *ram)
{
	if (!ram)
		return;
	ram_collapse_stop(ram);
	ram_place_stop(ram);
	unmap_all(ram);
	for (size_t i = 0; i < ram->n_pieces; i++) {
		ram_merge_free(&ram->pieces[i]);
		ram_return_free(&ram->pieces[i]);
	}
	for (size_t i = 0; i < ram->n_plugs; i++)
		ram_plug_free(&ram->plugs[i]);
	cleanup_fd(&ram->pagemap_fd);
	cleanup_fd(&ram->smaps_fd);
	cleanup_fd(&ram->maps_fd);
	free(ram);
}

/* ---- what there is ---- */

size_t ram_region_count(const struct ram *ram)
{
	return ram->n_pieces;
}

const struct ram_region *ram_region(const struct ram *ram, size_t index)
{
	return &ram->pieces[index].region;
}

size_t ram_node_count(const struct ram *ram)
{
	return ram->n_configs;
}

const struct ram_config *ram_node_config(const struct ram *ram, unsigned int node)
{
	return &ram->configs[node];
}

uint64_t ram_size_bytes(const struct ram *ram)
{
	return ram->size_bytes;
}
