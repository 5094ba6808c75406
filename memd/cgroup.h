/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the memory controller is: which cgroup version carries it and below which directory.
 * The names begin with `memcg_`: `cgroup_` and `cg_` belong to libcgroup.
 */
#ifndef MEMD_CGROUP_H
#define MEMD_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

enum memcg_version {
	MEMCG_NONE,   /* no cgroup file system is mounted */
	MEMCG_V1,     /* legacy hierarchies only */
	MEMCG_HYBRID, /* legacy hierarchies with controllers, plus a cgroup2 mount */
	MEMCG_V2      /* one unified hierarchy */
};
const char *memcg_version_name(enum memcg_version version); /* "none", "1", "hybrid", "2" */

struct memcg {
	enum memcg_version version;
	bool memory;	  /* there is a memory controller to use */
	bool memory_v2;	  /* and it has the v2 files (memory.reclaim, memory.high, ...) */
	bool reclaim;	  /* memory.reclaim exists (v2, 5.19+) */
	char where[256];  /* relative to the root: "sys/fs/cgroup", "sys/fs/cgroup/memory"; "" */
	char reason[160]; /* memory = false: why */
};

/* From /proc/self/mountinfo and cgroup.controllers. Returns 0; absent is an answer. */
int memcg_read(int rootfd, struct memcg *ret_memcg);

/*
 * The memory cgroup of a process, relative to the root ("sys/fs/cgroup/machine.slice/x.scope").
 * -ENOENT: it has none or there is no memory controller; -ESRCH: process gone; -E2BIG.
 */
int memcg_of(int rootfd, const struct memcg *memcg, pid_t pid, char *buf, size_t n);

#endif
