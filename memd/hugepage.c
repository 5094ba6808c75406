// SPDX-License-Identifier: Apache-2.0
/*
 * Huge-page pools from /sys/kernel/mm/hugepages and below each node, and the transparent mode.
 */
#include "memd/hugepage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/numa.h"

#define THP_DIR "sys/kernel/mm/transparent_hugepage/"

static uint64_t counter(int rootfd, const char *dir, const char *name, const char *file)
{
	char path[256];
	uint64_t value;

	snprintf(path, sizeof(path), "%s/%s/%s", dir, name, file);
	return kfile_read_u64(rootfd, path, &value) == 0 ? value : POL_ABSENT;
}

/* "hugepages-2048kB" -> 2 MiB; 0: not such a name. */
static uint64_t name_to_bytes(const char *name)
{
	unsigned long long kib;
	char unit[3];

	if (sscanf(name, "hugepages-%llu%2s", &kib, unit) != 2 || strcmp(unit, "kB") != 0)
		return 0;
	return kib * KIB;
}

static int pool_compare(const void *a, const void *b)
{
	const struct hugepage_pool *x = a, *y = b;

	return x->page_bytes < y->page_bytes ? -1 : x->page_bytes > y->page_bytes;
}

/* Add the pools found in one directory, by size. */
static void pools_read(int rootfd, const char *where, uint32_t node, struct hugepage *out)
{
	AUTO_FD int fd = openat(rootfd, where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_DIR DIR *dir = NULL;
	struct dirent *entry;
	size_t first = out->n_pools;

	if (fd < 0)
		return;
	dir = fdopendir(fd);
	if (!dir)
		return;
	TAKE_FD(fd);
	while ((entry = readdir(dir)) && out->n_pools < HUGEPAGE_POOLS_MAX) {
		uint64_t bytes = name_to_bytes(entry->d_name);

		if (!bytes)
			continue;
		out->pools[out->n_pools++] = (struct hugepage_pool){
			.page_bytes = bytes,
			.node = node,
			.total = counter(rootfd, where, entry->d_name, "nr_hugepages"),
			.free = counter(rootfd, where, entry->d_name, "free_hugepages"),
			.reserved = counter(rootfd, where, entry->d_name, "resv_hugepages"),
			.surplus = counter(rootfd, where, entry->d_name, "surplus_hugepages"),
		};
	}
	qsort(&out->pools[first], out->n_pools - first, sizeof(out->pools[0]), pool_compare);
}

int hugepage_read(int rootfd, struct hugepage *ret_hugepage)
{
	struct hugepage out = {.thp_bytes = POL_ABSENT};
	struct nodes nodes;
	uint64_t value;

	pools_read(rootfd, "sys/kernel/mm/hugepages", HUGEPAGE_ANY_NODE, &out);
	if (nodes_read(rootfd, &nodes) == 0) {
		for (size_t i = 0; i < nodes.n_nodes; i++) {
			char where[96];

			snprintf(where, sizeof(where), "sys/devices/system/node/node%u/hugepages",
				 nodes.nodes[i].node);
			pools_read(rootfd, where, nodes.nodes[i].node, &out);
		}
	}
	if (kfile_read_choice(rootfd, THP_DIR "enabled", out.thp, sizeof(out.thp)) < 0)
		out.thp[0] = '\0';
	if (kfile_read_choice(rootfd, THP_DIR "defrag", out.thp_defrag, sizeof(out.thp_defrag)) < 0)
		out.thp_defrag[0] = '\0';
	if (kfile_read_u64(rootfd, THP_DIR "hpage_pmd_size", &value) == 0)
		out.thp_bytes = value;
	*ret_hugepage = out;
	return 0;
}

uint64_t hugepage_pool_bytes(const struct hugepage *hugepage)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < hugepage->n_pools; i++) {
		const struct hugepage_pool *pool = &hugepage->pools[i];

		if (pool->node == HUGEPAGE_ANY_NODE && pol_has(pool->total))
			bytes += pool->total * pool->page_bytes;
	}
	return bytes;
}
