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

#define NODE_DIR   "sys/devices/system/node/"
#define NODE_BITS  1024 /* MAX_NUMNODES of any configuration */
#define NODE_WORDS (NODE_BITS / 64)

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

/* A node list file to bits; a missing or broken one is no nodes. */
static int list_read(int rootfd, const char *path, uint64_t *words)
{
	char text[4096];
	int r = kfile_read(rootfd, path, text, sizeof(text));

	memset(words, 0, NODE_WORDS * sizeof(*words));
	return r < 0 ? r : kfile_list_parse(text, words, NODE_BITS);
}

static bool bit_get(const uint64_t *words, size_t bit)
{
	return words[bit / 64] & (1ULL << (bit % 64));
}

static void node_read(int rootfd, struct nodes_node *node)
{
	char path[96], text[8192];

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
	char text[8192];
	int r = kfile_read(rootfd, "proc/meminfo", text, sizeof(text));

	if (r < 0)
		return r;
	node->has_memory = node->has_cpu = true;
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
	uint64_t online[NODE_WORDS], memory[NODE_WORDS], cpu[NODE_WORDS];
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
	for (size_t n = 0; n < NODE_BITS; n++) {
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
