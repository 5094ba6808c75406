/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NUMA nodes as the kernel shows them below /sys/devices/system/node. The names begin with
 * `nodes_`: `numa_` belongs to libnuma.
 */
#ifndef MEMD_NUMA_H
#define MEMD_NUMA_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/policy.h"

#define NODES_BALANCING_PATH "proc/sys/kernel/numa_balancing"
#define NODES_BITS	     1024 /* MAX_NUMNODES of any configuration */
#define NODES_WORDS	     (NODES_BITS / 64)
#define NODES_CPUS_MAX	     4096
#define NODES_CPU_WORDS	     (NODES_CPUS_MAX / 64)

/* What the firmware's HMAT says of memory, for the processors that are nearest to it. */
struct nodes_access {
	int level;	     /* 1: processors alone, 0: other devices too; -1: nothing is told */
	uint64_t initiators; /* nodes of these processors, bits */
	/* POL_ABSENT: not told. */
	uint64_t read_latency_ns, write_latency_ns;
	uint64_t read_bytes_per_s, write_bytes_per_s;
};

/* Files of a node that make no sense; what they tell is then taken for unknown. */
#define NODES_BAD_CPULIST  1U
#define NODES_BAD_MEMINFO  2U
#define NODES_BAD_DISTANCE 4U
#define NODES_BAD_FILES	   3

struct nodes_node {
	uint32_t node;
	bool has_memory, has_cpu;
	uint64_t cpus; /* processors of its cpulist, POL_ABSENT: not told */
	uint64_t memory_bytes, free_bytes, used_bytes; /* of the node's meminfo, else POL_ABSENT */
	uint64_t distance[POL_NODES_MAX]; /* to nodes[j] of the same list, POL_ABSENT: unknown */
	uint32_t by_access;		  /* distances that are the HMAT's: bits by j */
	struct nodes_access access;
	unsigned int bad; /* NODES_BAD_... */
};

struct nodes {
	size_t n_nodes;	   /* online nodes, by number, the first POL_NODES_MAX of them */
	size_t n_left_out; /* the rest */
	struct nodes_node nodes[POL_NODES_MAX];
	uint64_t balancing;   /* numa_balancing: 0 off, 1 on, 2 tiering; POL_ABSENT: not built in */
	bool no_numa;	      /* the kernel tells of no nodes: all memory is one */
	const char *bad_list; /* "online", "has_memory": makes no sense; NULL: they do */
};

/*
 * All at once; opens files, so for the probe and for reports, not for every tick. A kernel without
 * CONFIG_NUMA has no such directory: then *ret_nodes is one node 0 with /proc/meminfo's numbers; so
 * it is when the list of nodes makes no sense. Distances are the firmware's (SLIT). Where it has
 * none, which the kernel shows as 20 for all, they come from read latencies, as far as the HMAT
 * tells them.
 * Source: Documentation/admin-guide/mm/numaperf.rst; drivers/base/node.c.
 * 0, or -errno when not even that could be read.
 */
int nodes_read(int rootfd, struct nodes *ret_nodes);

/* "meminfo" for NODES_BAD_MEMINFO, ...: bit i of them. */
const char *nodes_bad_file(unsigned int i);

/* Which processor is of which node. */
struct nodes_cpus {
	uint64_t online[NODES_CPU_WORDS];
	uint64_t memory[NODES_WORDS];  /* nodes with memory */
	uint16_t node[NODES_CPUS_MAX]; /* NODES_BITS: of none that is known */
};

/*
 * A host that tells of no nodes has one, 0, with all processors. 0, or -errno when it does not even
 * tell which processors are online.
 */
int nodes_cpus_read(int rootfd, struct nodes_cpus *ret_cpus);

/* POL_ABSENT: of none that is known. */
uint64_t nodes_of_cpu(const struct nodes_cpus *cpus, uint64_t cpu);

/* The processors of a node as bits. */
void nodes_cpus_of(const struct nodes_cpus *cpus, uint64_t node,
		   uint64_t ret_words[NODES_CPU_WORDS]);

/*
 * One node's meminfo text ("Node 0 MemTotal:  4548820 kB" lines): value of key in bytes.
 * -ENOENT: no such key; -EINVAL: no number behind it.
 */
int nodes_field_u64(const char *text, const char *key, uint64_t *ret_value);

#endif
