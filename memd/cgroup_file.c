// SPDX-License-Identifier: Apache-2.0
/* One table for both versions; what differs besides names is the units, which are bytes here. */
#include "memd/cgroup_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/kfile.h"
#include "memd/host.h"
#include "memd/kept.h"

/* v1 keeps a limit in pages in a long; "none" is the largest that gives. */
#define V1_NONE_BYTES ((uint64_t)INT64_MAX / 4096 * 4096)

static const struct {
	const char *v1, *v2;
} names[MEMCG_FILES] = {
	[MEMCG_PROCS] = {"cgroup.procs", "cgroup.procs"},
	[MEMCG_CURRENT] = {"memory.usage_in_bytes", "memory.current"},
	[MEMCG_SWAP_CURRENT] = {"memory.memsw.usage_in_bytes", "memory.swap.current"},
	[MEMCG_STAT] = {"memory.stat", "memory.stat"},
	[MEMCG_NUMA_STAT] = {"memory.numa_stat", "memory.numa_stat"},
	[MEMCG_PRESSURE] = {NULL, "memory.pressure"},
	[MEMCG_RECLAIM] = {NULL, "memory.reclaim"},
	/* v1's soft limit is the opposite: who is above one is reclaimed from first, and below it
	 * nobody is spared. */
	[MEMCG_LOW] = {NULL, "memory.low"},
	[MEMCG_HIGH] = {NULL, "memory.high"},
	[MEMCG_MAX] = {"memory.limit_in_bytes", "memory.max"},
	[MEMCG_SWAP_MAX] = {"memory.memsw.limit_in_bytes", "memory.swap.max"},
	[MEMCG_CPUS] = {"cpuset.cpus", "cpuset.cpus"},
	[MEMCG_MEMS] = {"cpuset.mems", "cpuset.mems"},
	[MEMCG_CPUS_NOW] = {"cpuset.effective_cpus", "cpuset.cpus.effective"},
	[MEMCG_MEMS_NOW] = {"cpuset.effective_mems", "cpuset.mems.effective"},
	[MEMCG_MIGRATE] = {"cpuset.memory_migrate", NULL},
};

const char *memcg_file_name(enum memcg_file file, bool v2)
{
	return v2 ? names[file].v2 : names[file].v1;
}

int memcg_file_path(enum memcg_file file, bool v2, const char *dir, char *buf, size_t n)
{
	const char *name = memcg_file_name(file, v2);
	int r;

	if (!name)
		return -ENOENT;
	r = snprintf(buf, n, "%s/%s", dir, name);
	return r < 0 || (size_t)r >= n ? -E2BIG : 0;
}

bool memcg_file_exists(int rootfd, enum memcg_file file, bool v2, const char *dir)
{
	char path[MEMCG_PATH_MAX + 32];

	return memcg_file_path(file, v2, dir, path, sizeof(path)) == 0 &&
	       faccessat(rootfd, path, F_OK, 0) == 0;
}

int memcg_file_read(int rootfd, enum memcg_file file, bool v2, const char *dir, char *buf, size_t n)
{
	char path[MEMCG_PATH_MAX + 32];
	int r = memcg_file_path(file, v2, dir, path, sizeof(path));

	return r < 0 ? r : kfile_read(rootfd, path, buf, n);
}

int memcg_file_write(int rootfd, enum memcg_file file, bool v2, const char *dir, const char *value)
{
	char path[MEMCG_PATH_MAX + 32];
	int r = memcg_file_path(file, v2, dir, path, sizeof(path));

	return r < 0 ? r : kfile_write(rootfd, path, value);
}

int memcg_limit_parse(const char *text, uint64_t *ret_bytes)
{
	uint64_t bytes;

	if (strncmp(text, "max", 3) == 0 && (!text[3] || text[3] == '\n')) {
		*ret_bytes = POL_ABSENT;
		return 0;
	}
	if (kept_parse_u64(text, &bytes) < 0)
		return -EINVAL;
	/* Pages of any size: what is within a GiB of the largest number is that. */
	*ret_bytes = bytes >= V1_NONE_BYTES - (1ULL << 30) ? POL_ABSENT : bytes;
	return 0;
}

char *memcg_limit_format(uint64_t bytes, bool v2, char *buf, size_t n)
{
	if (!pol_has(bytes))
		snprintf(buf, n, "%s", v2 ? "max" : "-1");
	else
		snprintf(buf, n, "%" PRIu64, bytes / host_page_bytes() * host_page_bytes());
	return buf;
}

uint64_t memcg_stat_refaults(const char *stat, bool v2)
{
	static const char *const keys[] = {"pswpin", "workingset_refault_anon"};
	static const char *const v1_keys[] = {"total_pswpin", "total_workingset_refault_anon"};
	uint64_t pages;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (kfile_field_u64(stat, v2 ? keys[i] : v1_keys[i], &pages) == 0)
			return pages < POL_ABSENT / host_page_bytes() ? pages * host_page_bytes()
								      : POL_ABSENT;
	return POL_ABSENT;
}

/* Adds the "N0=12 N1=34" of a line to what there is, in units of so many bytes. */
static int add_nodes(const char *line, uint64_t unit, uint64_t bytes[POL_NODES_MAX])
{
	const char *end = line + strcspn(line, "\n");

	for (const char *p = line; (p = memchr(p, ' ', (size_t)(end - p)));) {
		char *rest;
		uint64_t node, value;

		p++;
		if (*p != 'N')
			return -EINVAL;
		node = strtoull(p + 1, &rest, 10);
		if (*rest != '=')
			return -EINVAL;
		value = strtoull(rest + 1, &rest, 10);
		if (value > INT64_MAX / unit)
			return -EINVAL;
		if (node < POL_NODES_MAX)
			bytes[node] += value * unit;
	}
	return 0;
}

int memcg_nodes_parse(const char *text, bool v2, uint64_t ret_bytes[POL_NODES_MAX])
{
	/* v1 adds up for us, in pages; v2 tells of each kind of memory, in bytes. */
	static const char *const v2_keys[] = {"anon",
					      "file",
					      "kernel_stack",
					      "pagetables",
					      "slab_reclaimable",
					      "slab_unreclaimable",
					      NULL};
	static const char *const v1_keys[] = {"hierarchical_total=", NULL};
	uint64_t bytes[POL_NODES_MAX] = {0};
	bool any = false;

	for (const char *const *key = v2 ? v2_keys : v1_keys; *key; key++) {
		size_t len = strlen(*key);

		for (const char *line = text; line && *line;) {
			const char *next = strchr(line, '\n');

			if (strncmp(line, *key, len) == 0 && (!v2 || line[len] == ' ')) {
				if (add_nodes(line, v2 ? 1 : host_page_bytes(), bytes) < 0)
					return -EINVAL;
				any = true;
			}
			line = next ? next + 1 : NULL;
		}
	}
	if (!any)
		return -EINVAL;
	memcpy(ret_bytes, bytes, sizeof(bytes));
	return 0;
}
