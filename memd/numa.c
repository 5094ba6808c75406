// SPDX-License-Identifier: Apache-2.0
/*
 * The nodes of /sys/devices/system/node: which there are, what they hold, how far apart.
 * Node numbers may have gaps, and a node may have memory, processors, both or neither.
 */
#include "memd/numa.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/size.h"

#define NODE_DIR    "sys/devices/system/node/"
#define CPUS_ONLINE "sys/devices/system/cpu/online"

/* SLIT: a node to itself, what the kernel shows without one, and what cannot be reached. */
#define DISTANCE_LOCAL	10
#define DISTANCE_REMOTE 20
#define DISTANCE_MAX	255

int nodes_field_u64(const char *text, const char *key, uint64_t *ret_value)
{
	for (const char *line = text; line && *line;) {
		const char *p = line;

		if (!strncmp(p, "Node ", 5)) {
			p += 5;
			p += strspn(p, "0123456789");
			p += strspn(p, " ");
			if (!strncmp(p, key, strlen(key)) && p[strlen(key)] == ':')
				return kfile_field_u64(p, key, ret_value);
		}
		line = strchr(line, '\n');
		line += line != NULL;
	}
	return -ENOENT;
}

/* A list file to bits; a missing or broken one is none. */
static int bits_read(int rootfd, const char *path, uint64_t *words, size_t nbits)
{
	char text[4096];
	int r = kfile_read(rootfd, path, text, sizeof(text));

	memset(words, 0, nbits / 8);
	return r < 0 ? r : kfile_list_parse(text, words, nbits);
}

static int list_read(int rootfd, const char *path, uint64_t *words)
{
	return bits_read(rootfd, path, words, NODES_BITS);
}

static bool bit_get(const uint64_t *words, size_t bit)
{
	return words[bit / 64] & (1ULL << (bit % 64));
}

static uint64_t bits_count(const uint64_t *words, size_t n)
{
	uint64_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += (uint64_t)__builtin_popcountll(words[i]);
	return count;
}

static const char *const bad_files[NODES_BAD_FILES] = {"cpulist", "meminfo", "distance"};

const char *nodes_bad_file(unsigned int i)
{
	return i < NODES_BAD_FILES ? bad_files[i] : "?";
}

static void meminfo_read(int rootfd, struct nodes_node *node)
{
	char path[96], text[8192];

	node->memory_bytes = node->free_bytes = node->used_bytes = POL_ABSENT;
	snprintf(path, sizeof(path), NODE_DIR "node%u/meminfo", node->node);
	if (kfile_read(rootfd, path, text, sizeof(text)) < 0)
		return;
	nodes_field_u64(text, "MemTotal", &node->memory_bytes);
	nodes_field_u64(text, "MemFree", &node->free_bytes);
	nodes_field_u64(text, "MemUsed", &node->used_bytes);
	if (pol_has(node->memory_bytes) && pol_has(node->free_bytes) &&
	    node->free_bytes <= node->memory_bytes)
		return;
	node->memory_bytes = node->free_bytes = node->used_bytes = POL_ABSENT;
	node->bad |= NODES_BAD_MEMINFO;
}

static void cpulist_read(int rootfd, struct nodes_node *node)
{
	uint64_t cpus[NODES_CPU_WORDS];
	char path[96];
	int r;

	node->cpus = POL_ABSENT;
	snprintf(path, sizeof(path), NODE_DIR "node%u/cpulist", node->node);
	r = bits_read(rootfd, path, cpus, NODES_CPUS_MAX);
	if (r == 0)
		node->cpus = bits_count(cpus, NODES_CPU_WORDS);
	else if (r != -ENOENT)
		node->bad |= NODES_BAD_CPULIST;
}

/*
 * "10 21 31": one number per online node, in their order (drivers/base/node.c node_read_distance).
 * The nodes left out of our list are the last ones, so the columns match from the left.
 */
static void distance_read(int rootfd, struct nodes *nodes, size_t i)
{
	struct nodes_node *node = &nodes->nodes[i];
	uint64_t row[POL_NODES_MAX];
	char path[96], text[4096], *p = text;
	size_t n = 0;

	for (size_t j = 0; j < POL_NODES_MAX; j++)
		row[j] = node->distance[j] = POL_ABSENT;
	snprintf(path, sizeof(path), NODE_DIR "node%u/distance", node->node);
	if (kfile_read(rootfd, path, text, sizeof(text)) < 0)
		return;
	for (; n < nodes->n_nodes; n++) {
		char *end;

		row[n] = strtoul(p, &end, 10);
		if (end == p || *p == '-' || !strchr(" \n", *end) || row[n] < DISTANCE_LOCAL ||
		    row[n] > DISTANCE_MAX || (n == i && row[n] != DISTANCE_LOCAL))
			break;
		p = end + strspn(end, " ");
	}
	/* Half a picture is none. */
	if (n < nodes->n_nodes)
		node->bad |= NODES_BAD_DISTANCE;
	else
		memcpy(node->distance, row, sizeof(row));
}

/* ---- what the HMAT tells ---- */

/* Which of the nodes nodeN/accessM/initiators lists as nodeI. */
static uint64_t initiators_read(int rootfd, const struct nodes *nodes, const char *dir)
{
	uint64_t found = 0;

	for (size_t i = 0; i < nodes->n_nodes; i++) {
		uint32_t node = nodes->nodes[i].node;
		char path[128];

		snprintf(path, sizeof(path), "%s/node%u", dir, node);
		if (node < 64 && faccessat(rootfd, path, F_OK, 0) == 0)
			found |= 1ULL << node;
	}
	return found;
}

static uint64_t access_number(int rootfd, const char *dir, const char *name)
{
	char path[128];
	uint64_t value;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return kfile_read_u64(rootfd, path, &value) == 0 && value && value < 1ULL << 40
		       ? value
		       : POL_ABSENT;
}

static uint64_t in_bytes(uint64_t mib)
{
	return pol_has(mib) ? mib * MIB : POL_ABSENT;
}

static void access_read(int rootfd, struct nodes *nodes, size_t i)
{
	struct nodes_node *node = &nodes->nodes[i];

	node->access = (struct nodes_access){-1, 0, POL_ABSENT, POL_ABSENT, POL_ABSENT, POL_ABSENT};
	for (int level = 1; level >= 0; level--) {
		struct nodes_access access = {.level = level};
		char dir[96];

		snprintf(dir, sizeof(dir), NODE_DIR "node%u/access%d/initiators", node->node,
			 level);
		access.initiators = initiators_read(rootfd, nodes, dir);
		access.read_latency_ns = access_number(rootfd, dir, "read_latency");
		access.write_latency_ns = access_number(rootfd, dir, "write_latency");
		access.read_bytes_per_s = in_bytes(access_number(rootfd, dir, "read_bandwidth"));
		access.write_bytes_per_s = in_bytes(access_number(rootfd, dir, "write_bandwidth"));
		if (!access.initiators ||
		    (!pol_has(access.read_latency_ns) && !pol_has(access.read_bytes_per_s)))
			continue;
		node->access = access;
		return;
	}
}

/* Without a SLIT the kernel shows 20 between any two nodes (include/linux/topology.h). */
static bool slit_tells(const struct nodes *nodes)
{
	for (size_t i = 0; i < nodes->n_nodes; i++)
		for (size_t j = 0; j < nodes->n_nodes; j++)
			if (i != j && pol_has(nodes->nodes[i].distance[j]) &&
			    nodes->nodes[i].distance[j] != DISTANCE_REMOTE)
				return true;
	return false;
}

/* From a node with processors to memory that is nearest to these, by both read latencies. */
static void distance_by_access(struct nodes *nodes, size_t from, size_t to)
{
	struct nodes_node *node = &nodes->nodes[from];
	const struct nodes_access *own = &node->access, *there = &nodes->nodes[to].access;
	uint64_t distance;

	if (node->node >= 64 || !(own->initiators >> node->node & 1) ||
	    !(there->initiators >> node->node & 1) || !pol_has(own->read_latency_ns) ||
	    !pol_has(there->read_latency_ns))
		return;
	distance = there->read_latency_ns * DISTANCE_LOCAL / own->read_latency_ns;
	if (distance <= DISTANCE_LOCAL)
		distance = DISTANCE_LOCAL + 1;
	node->distance[to] = distance < DISTANCE_MAX ? distance : DISTANCE_MAX;
	node->by_access |= 1U << to;
}

static void distances_complete(struct nodes *nodes)
{
	if (slit_tells(nodes))
		return;
	for (size_t i = 0; i < nodes->n_nodes; i++)
		for (size_t j = 0; j < nodes->n_nodes; j++)
			if (i != j)
				distance_by_access(nodes, i, j);
}

/* ---- all of it ---- */

/* Without CONFIG_NUMA: all memory is one node. */
static int whole_host(int rootfd, struct nodes *nodes)
{
	struct nodes_node *node = &nodes->nodes[0];
	uint64_t cpus[NODES_CPU_WORDS];
	char text[8192];
	int r = kfile_read(rootfd, "proc/meminfo", text, sizeof(text));

	if (r < 0)
		return r;
	node->has_memory = node->has_cpu = true;
	node->cpus = POL_ABSENT;
	if (bits_read(rootfd, CPUS_ONLINE, cpus, NODES_CPUS_MAX) == 0)
		node->cpus = bits_count(cpus, NODES_CPU_WORDS);
	node->memory_bytes = node->free_bytes = node->used_bytes = POL_ABSENT;
	for (size_t j = 0; j < POL_NODES_MAX; j++)
		node->distance[j] = POL_ABSENT;
	node->access.level = -1;
	kfile_field_u64(text, "MemTotal", &node->memory_bytes);
	kfile_field_u64(text, "MemFree", &node->free_bytes);
	if (pol_has(node->memory_bytes) && pol_has(node->free_bytes) &&
	    node->free_bytes <= node->memory_bytes)
		node->used_bytes = node->memory_bytes - node->free_bytes;
	nodes->n_nodes = 1;
	return 0;
}

int nodes_read(int rootfd, struct nodes *ret_nodes)
{
	uint64_t online[NODES_WORDS], memory[NODES_WORDS], cpu[NODES_WORDS];
	struct nodes out = {.balancing = POL_ABSENT};
	uint64_t value;
	int r;

	if (kfile_read_u64(rootfd, NODES_BALANCING_PATH, &value) == 0)
		out.balancing = value;
	r = list_read(rootfd, NODE_DIR "online", online);
	if (r < 0) {
		out.no_numa = r == -ENOENT;
		out.bad_list = out.no_numa ? NULL : "online";
		r = whole_host(rootfd, &out);
		if (r == 0)
			*ret_nodes = out;
		return r;
	}
	r = list_read(rootfd, NODE_DIR "has_memory", memory);
	if (r < 0) {
		out.bad_list = r == -ENOENT ? NULL : "has_memory";
		memcpy(memory, online, sizeof(memory));
	}
	if (list_read(rootfd, NODE_DIR "has_cpu", cpu) < 0)
		memset(cpu, 0, sizeof(cpu));
	for (size_t n = 0; n < NODES_BITS; n++) {
		if (!bit_get(online, n))
			continue;
		if (out.n_nodes == POL_NODES_MAX) {
			out.n_left_out++;
			continue;
		}
		out.nodes[out.n_nodes++] = (struct nodes_node){.node = (uint32_t)n,
							       .has_memory = bit_get(memory, n),
							       .has_cpu = bit_get(cpu, n)};
	}
	for (size_t i = 0; i < out.n_nodes; i++) {
		cpulist_read(rootfd, &out.nodes[i]);
		meminfo_read(rootfd, &out.nodes[i]);
		distance_read(rootfd, &out, i);
		access_read(rootfd, &out, i);
	}
	distances_complete(&out);
	*ret_nodes = out;
	return 0;
}

int nodes_cpus_read(int rootfd, struct nodes_cpus *ret_cpus)
{
	struct nodes_cpus out = {0};
	uint64_t online[NODES_WORDS], cpus[NODES_CPU_WORDS];
	int r = bits_read(rootfd, CPUS_ONLINE, out.online, NODES_CPUS_MAX);

	if (r < 0)
		return r;
	for (size_t cpu = 0; cpu < NODES_CPUS_MAX; cpu++)
		out.node[cpu] = NODES_BITS;
	if (list_read(rootfd, NODE_DIR "online", online) < 0) {
		for (size_t cpu = 0; cpu < NODES_CPUS_MAX; cpu++)
			out.node[cpu] = bit_get(out.online, cpu) ? 0 : NODES_BITS;
		out.memory[0] = 1;
		*ret_cpus = out;
		return 0;
	}
	if (list_read(rootfd, NODE_DIR "has_memory", out.memory) < 0)
		memcpy(out.memory, online, sizeof(out.memory));
	for (size_t n = 0; n < NODES_BITS; n++) {
		char path[96];

		if (!bit_get(online, n))
			continue;
		snprintf(path, sizeof(path), NODE_DIR "node%zu/cpulist", n);
		if (bits_read(rootfd, path, cpus, NODES_CPUS_MAX) < 0)
			continue;
		for (size_t cpu = 0; cpu < NODES_CPUS_MAX; cpu++)
			if (bit_get(cpus, cpu))
				out.node[cpu] = (uint16_t)n;
	}
	*ret_cpus = out;
	return 0;
}

uint64_t nodes_of_cpu(const struct nodes_cpus *cpus, uint64_t cpu)
{
	if (cpu >= NODES_CPUS_MAX || !bit_get(cpus->online, cpu) || cpus->node[cpu] >= NODES_BITS)
		return POL_ABSENT;
	return cpus->node[cpu];
}

void nodes_cpus_of(const struct nodes_cpus *cpus, uint64_t node,
		   uint64_t ret_words[NODES_CPU_WORDS])
{
	memset(ret_words, 0, NODES_CPU_WORDS * sizeof(*ret_words));
	for (size_t cpu = 0; cpu < NODES_CPUS_MAX; cpu++)
		if (cpus->node[cpu] == node && bit_get(cpus->online, cpu))
			ret_words[cpu / 64] |= 1ULL << (cpu % 64);
}
