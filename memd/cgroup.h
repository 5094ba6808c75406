/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the controllers are that memd uses: which cgroup version carries each and below which
 * directory. The names begin with `memcg_`: `cgroup_` and `cg_` belong to libcgroup.
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

enum memcg_controller { MEMCG_MEMORY, MEMCG_CPUSET, MEMCG_CONTROLLERS };
const char *memcg_controller_name(enum memcg_controller controller); /* as the kernel calls it */

struct memcg {
	enum memcg_version version;
	bool memory;	  /* there is a memory controller to use */
	bool memory_v2;	  /* and it has the v2 files (memory.reclaim, memory.high, ...) */
	bool reclaim;	  /* memory.reclaim exists (v2, 5.19+) */
	char where[256];  /* relative to the root: "sys/fs/cgroup", "sys/fs/cgroup/memory"; "" */
	char reason[160]; /* memory = false: why */
	bool cpuset, cpuset_v2; /* the same of the cpuset controller */
	char cpuset_where[256];
};

/* Is there that controller, with the v2 files, and where is its root? */
bool memcg_has(const struct memcg *memcg, enum memcg_controller controller);
bool memcg_is_v2(const struct memcg *memcg, enum memcg_controller controller);
const char *memcg_where(const struct memcg *memcg, enum memcg_controller controller);

/* From /proc/self/mountinfo and cgroup.controllers. Returns 0; absent is an answer. */
int memcg_read(int rootfd, struct memcg *ret_memcg);

/*
 * The cgroup of a process by one controller, relative to the root
 * ("sys/fs/cgroup/machine.slice/x.scope"). -ENOENT: it has none or there is no such controller;
 * -ESRCH: process gone; -E2BIG.
 */
int memcg_path(int rootfd, const struct memcg *memcg, enum memcg_controller controller, pid_t pid,
	       char *buf, size_t n);

/* The same by the memory controller. */
int memcg_of(int rootfd, const struct memcg *memcg, pid_t pid, char *buf, size_t n);

/* All of /proc/PID/cgroup, a line per hierarchy. Its length; -ESRCH; -errno of reading. */
int memcg_lines(int rootfd, pid_t pid, char *buf, size_t n);
#define MEMCG_LINES_MAX 8192

#endif
