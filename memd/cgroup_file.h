/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a cgroup by what they mean, whatever the version calls them, and what is in them.
 * Source: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, cgroup-v1/cpusets.rst;
 * mm/memcontrol.c, mm/memcontrol-v1.c, kernel/cgroup/cpuset.c.
 */
#ifndef MEMD_CGROUP_FILE_H
#define MEMD_CGROUP_FILE_H

#include "memd/cgroup.h"
#include "policy/policy.h"

#define MEMCG_PATH_MAX 256 /* of a directory */

enum memcg_file {
	MEMCG_PROCS,
	MEMCG_CURRENT,	    /* memory charged */
	MEMCG_SWAP_CURRENT, /* v2: swap; v1: memory and swap together */
	MEMCG_STAT,
	MEMCG_NUMA_STAT,
	MEMCG_PRESSURE, /* v2 alone */
	MEMCG_RECLAIM,	/* v2 alone, 5.19+ */
	MEMCG_LOW,	/* v2 alone */
	MEMCG_HIGH,	/* v2: beyond it the kernel reclaims, and slows down who asks for more */
	MEMCG_MAX,	/* memory */
	MEMCG_SWAP_MAX, /* v2: swap; v1: memory and swap together */
	MEMCG_CPUS,	/* processors asked for; v2: may be empty */
	MEMCG_MEMS,	/* nodes */
	MEMCG_CPUS_NOW, /* those it has */
	MEMCG_MEMS_NOW, /* also of the root */
	MEMCG_MIGRATE,	/* v1 alone: pages follow a change of nodes; in v2 they always do */
	MEMCG_FILES
};

/* NULL: that version has none. */
const char *memcg_file_name(enum memcg_file file, bool v2);

/* The path of that file of the cgroup at dir (relative to the root). 0; -ENOENT: no such file in
 * that version; -E2BIG. */
int memcg_file_path(enum memcg_file file, bool v2, const char *dir, char *buf, size_t n);

/* Is it there? */
bool memcg_file_exists(int rootfd, enum memcg_file file, bool v2, const char *dir);

/* Read and write it. -errno of memcg_file_path(), kfile_read(), kfile_write(). */
int memcg_file_read(int rootfd, enum memcg_file file, bool v2, const char *dir, char *buf,
		    size_t n);
int memcg_file_write(int rootfd, enum memcg_file file, bool v2, const char *dir, const char *value);

/*
 * A limit or floor in bytes; POL_ABSENT: none ("max"; v1 writes the largest number it has).
 * -EINVAL: neither.
 */
int memcg_limit_parse(const char *text, uint64_t *ret_bytes);

/* Back to what the file takes; POL_ABSENT: no limit. Whole pages, as the kernel keeps it. */
char *memcg_limit_format(uint64_t bytes, bool v2, char *buf, size_t n);

/*
 * Of memory.stat: bytes that were read back from swap since the cgroup was made, with its children
 * (counted as such since 6.13; before, those whose absence was noticed). POL_ABSENT: not told.
 */
uint64_t memcg_stat_refaults(const char *stat, bool v2);

/* Of memory.numa_stat: memory by node, with children. 0; -EINVAL: it makes no sense. */
int memcg_nodes_parse(const char *text, bool v2, uint64_t ret_bytes[POL_NODES_MAX]);

#endif
