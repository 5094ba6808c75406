// SPDX-License-Identifier: Apache-2.0
/*
 * Host NUMA nodes of guest RAM: that they exist and have memory, and mbind(2) before first touch.
 * libnuma's own wrappers swallow errors, so the system call is made here.
 */
#include "vmm/ram_impl.h"

#include <errno.h>
#include <numaif.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/log.h"

#define NODE_WORDS (RAM_HOST_NODES / 64)

int ram_bind_check(const struct ram_config *config, const char *of, unsigned int index)
{
	uint64_t there[NODE_WORDS] = {0}, missing[NODE_WORDS];
	char list[256], absent[256];
	AUTO_FD int root = -1;
	bool bad = false;
	int r;

	if (!ram_config_is_bound(config))
		return 0;
	root = kfile_open_root("/");
	r = root < 0 ? root
		     : kfile_read(root, "sys/devices/system/node/has_memory", list, sizeof(list));
	if (r < 0) {
		log_err("memory %s %u: host-nodes: this kernel shows no NUMA nodes "
			"(/sys/devices/system/node/has_memory: %s)",
			of, index, strerror(-r));
		return -ENODEV;
	}
	r = kfile_list_parse(list, there, RAM_HOST_NODES);
	if (r < 0) {
		log_err("memory %s %u: /sys/devices/system/node/has_memory: '%s' is no node list",
			of, index, list);
		return r;
	}
	for (size_t i = 0; i < NODE_WORDS; i++) {
		missing[i] = config->host_nodes[i] & ~there[i];
		bad = bad || missing[i];
	}
	if (!bad)
		return 0;
	kfile_list_format(missing, RAM_HOST_NODES, absent, sizeof(absent));
	kfile_list_format(there, RAM_HOST_NODES, list, sizeof(list));
	log_err("memory %s %u: host-nodes: this host has no node %s with memory; it has: %s", of,
		index, absent, list);
	return -ENODEV;
}

static int bind_range(const struct ram_config *config, uint8_t *hva, uint64_t len,
		      unsigned int flags)
{
	/*
	 * The kernel reads maxnode - 1 bits (mm/mempolicy.c get_nodes()), so one more than there
	 * are is passed, and a spare word lies behind for libraries that correct it once more.
	 */
	unsigned long words[NODE_WORDS + 1] = {0};
	unsigned int n_nodes = 0;
	int mode;

	if (config->policy == RAM_POLICY_DEFAULT || !ram_config_is_bound(config))
		return 0;
	for (size_t i = 0; i < NODE_WORDS; i++) {
		words[i] = config->host_nodes[i];
		n_nodes += (unsigned int)__builtin_popcountll(config->host_nodes[i]);
	}
	if (config->policy == RAM_POLICY_BIND)
		mode = MPOL_BIND;
	else if (config->policy == RAM_POLICY_INTERLEAVE)
		mode = MPOL_INTERLEAVE;
	else /* MPOL_PREFERRED looks at the first node only; _MANY is Linux 5.15 */
		mode = n_nodes > 1 ? MPOL_PREFERRED_MANY : MPOL_PREFERRED;
	return mbind(hva, len, mode, words, RAM_HOST_NODES + 1, flags) < 0 ? -errno : 0;
}

int ram_bind(const struct ram_config *config, uint8_t *hva, uint64_t len)
{
	return bind_range(config, hva, len, 0);
}

int ram_bind_move(const struct ram_config *config, uint8_t *hva, uint64_t len)
{
	return bind_range(config, hva, len, MPOL_MF_MOVE);
}

/* ---- where it lies ---- */

#define SAMPLES_MAX   4096
#define SAMPLES_BATCH 512

int ram_bind_look(const uint8_t *hva, uint64_t len, uint64_t page_bytes, uint64_t *ret_bytes)
{
	uint64_t step = page_bytes > RAM_HUGE_BYTES ? page_bytes : RAM_HUGE_BYTES;
	void *pages[SAMPLES_BATCH];
	int where[SAMPLES_BATCH];

	if (len / step > SAMPLES_MAX)
		step = len / SAMPLES_MAX / page_bytes * page_bytes;
	for (uint64_t at = 0; at < len;) {
		unsigned long n = 0;
		uint64_t first = at;

		for (; n < SAMPLES_BATCH && at < len; at += step)
			pages[n++] = (void *)(uintptr_t)(hva + at);
		if (move_pages(0, n, pages, NULL, where, 0) < 0)
			return -errno;
		for (unsigned long i = 0; i < n; i++) {
			uint64_t begin = first + i * step;
			uint64_t bytes = len - begin < step ? len - begin : step;

			if (where[i] >= 0 && where[i] < RAM_HOST_NODES)
				ret_bytes[where[i]] += bytes;
		}
	}
	return 0;
}

int ram_placement(const struct ram *ram, unsigned int node, uint64_t ret_bytes[RAM_HOST_NODES])
{
	memset(ret_bytes, 0, RAM_HOST_NODES * sizeof(ret_bytes[0]));
	for (size_t i = 0; i < ram->n_pieces; i++) {
		const struct ram_piece *piece = &ram->pieces[i];
		int r;

		if (piece->region.node != node)
			continue;
		r = ram_bind_look(piece->region.hva, piece->region.size_bytes, piece->page_bytes,
				  ret_bytes);
		if (r < 0)
			return r;
	}
	return 0;
}
