// SPDX-License-Identifier: Apache-2.0
/*
 * The nodes of /sys/devices/system/node: which there are, what they hold, how far apart.
 * Node numbers may have gaps, and a node may have memory, processors, both or neither.
 */
#include "memd/numa.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/kfile.h"

#define NODE_DIR    "sys/devices/system/node/"
#define CPUS_ONLINE "sys/devices/system/cpu/online"

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

static void node_read(int rootfd, struct nodes_node *node)
{
	uint64_t cpus[NODES_CPU_WORDS];
	char path[96], text[8192];

	node->cpus = POL_ABSENT;
	snprintf(path, sizeof(path), NODE_DIR "node%u/cpulist", node->node);
	if (bits_read(rootfd, path, cpus, NODES_CPUS_MAX) == 0)
		node->cpus = bits_count(cpus, NODES_CPU_WORDS);
	node->memory_bytes = node->free_bytes = node->used_bytes = POL_ABSENT;
	snprintf(path, sizeof(path), NODE_DIR "node%u/meminfo", node->node);
	if (kfile_read(rootfd, path, text, sizeof(text)) < 0)
		return;
	nodes_field_u64(text, "MemTotal", &node->memory_bytes);
	nodes_field_u64(text, "MemFree", &node->free_bytes);
	nodes_field_u64(text, "MemUsed", &node->used_bytes);
}

/*
 * "10 21 31": one number per online node, in their order (drivers/base/node.c node_read_distance).
 * The nodes left out of our list are the last ones, so the columns match from the left.
 */
static void distance_read(int rootfd, struct nodes *nodes, size_t i)
{
	char path[96], text[4096], *p = text;

	for (size_t j = 0; j < POL_NODES_MAX; j++)
		nodes->nodes[i].distance[j] = POL_ABSENT;
	snprintf(path, sizeof(path), NODE_DIR "node%u/distance", nodes->nodes[i].node);
	if (kfile_read(rootfd, path, text, sizeof(text)) < 0)
		return;
	for (size_t j = 0; j < nodes->n_nodes; j++) {
		char *end;
		unsigned long value = strtoul(p, &end, 10);

		if (end == p || *p == '-')
			return;
		nodes->nodes[i].distance[j] = value;
		p = end + strspn(end, " ");
	}
}

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
	if (list_read(rootfd, NODE_DIR "online", online) < 0) {
		r = whole_host(rootfd, &out);
		if (r == 0)
			*ret_nodes = out;
		return r;
	}
	if (list_read(rootfd, NODE_DIR "has_memory", memory) < 0)
		memcpy(memory, online, sizeof(memory));
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
		node_read(rootfd, &out.nodes[i]);
		distance_read(rootfd, &out, i);
	}
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
