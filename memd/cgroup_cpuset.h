/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cpusets of both versions: which one a process is in, and what it allows; and one that is set.
 * Source: Documentation/admin-guide/cgroup-v1/cpusets.rst, cgroup-v2.rst; kernel/cgroup/cpuset.c.
 */
#ifndef MEMD_CGROUP_CPUSET_H
#define MEMD_CGROUP_CPUSET_H

#include <json-c/json.h>
#include <sys/types.h>

#include "memd/cgroup_file.h"
#include "memd/numa.h"

struct memcg_cpuset {
	char path[MEMCG_PATH_MAX];			   /* relative to the root */
	uint64_t cpus[NODES_CPU_WORDS], mems[NODES_WORDS]; /* in effect */
};

/*
 * The cpuset of a process: of its ancestors the first that has the files (a cgroup of v2 without
 * the controller takes its parent's). -ENOENT: there is no cpuset controller; -errno of
 * memcg_path() and of reading; -EINVAL: a list that is none.
 */
int memcg_cpuset_of(int rootfd, const struct memcg *memcg, pid_t pid,
		    struct memcg_cpuset *ret_cpuset);

/*
 * Let the cgroup at dir have these nodes and the processors on them, and pages follow a change of
 * nodes. A node without processors leaves those of the parent; mems NULL: all as the parent has it.
 * -ENXIO: a node has no memory here; -ERANGE: the kernel gave it others; -errno.
 */
int memcg_cpuset_set(int rootfd, bool v2, const char *dir, const struct nodes_cpus *cpus,
		     const uint64_t mems[NODES_WORDS]);

/*
 * "stands aside: cpuset /x has no node 1": what a process lacks of a node, as text. node
 * POL_ABSENT: of the nodes with memory the first that it lacks, else whose processors it does.
 * NULL: nothing, or not known.
 */
const char *memcg_cpuset_lacks(int rootfd, const struct memcg *memcg, pid_t pid,
			       const struct nodes_cpus *cpus, uint64_t node, char *buf, size_t n);

/* {"path", "cpus", "mems"}; NULL: not known. */
json_object *memcg_cpuset_json(int rootfd, const struct memcg *memcg, pid_t pid);

#endif
