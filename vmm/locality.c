// SPDX-License-Identifier: Apache-2.0
/* See locality.h. Sources: Documentation/admin-guide/mm/numaperf.rst, drivers/base/node.c. */
#include "vmm/locality.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/kfile.h"

#define NODE_DIR "sys/devices/system/node"

#define DISTANCE_LOCAL 10
#define DISTANCE_OTHER 20
#define DISTANCE_MAX   254 /* 255: cannot be reached [ACPI 6.4 5.2.17] */
#define LATENCY_NS     100
#define BANDWIDTH_MB_S 20000
#define LATENCY_MAX_NS 60000
#define BANDWIDTH_MAX  10000000

/* The first host node that the memory is bound to, or -1. */
static int home_of(const struct ram_config *config)
{
	for (int i = 0; i < RAM_HOST_NODES; i++)
		if (config->host_nodes[i / 64] >> (i % 64) & 1)
			return i;
	return -1;
}

/*
 * The number for `to` in the distance file of `from`: as many numbers as there are nodes online,
 * in their order. 0: not told.
 */
static unsigned long read_distance(int rootfd, int from, int to)
{
	uint64_t online[RAM_HOST_NODES / 64] = {0};
	char path[96], text[8192], *at = text;

	if (kfile_read(rootfd, NODE_DIR "/online", text, sizeof(text)) < 0 ||
	    kfile_list_parse(text, online, RAM_HOST_NODES) < 0)
		return 0;
	snprintf(path, sizeof(path), NODE_DIR "/node%d/distance", from);
	if (kfile_read(rootfd, path, text, sizeof(text)) < 0)
		return 0;
	for (int node = 0; node <= to; node++) {
		char *end;
		unsigned long value;

		if (!(online[node / 64] >> (node % 64) & 1))
			continue;
		value = strtoul(at, &end, 10);
		if (end == at)
			return 0;
		if (node == to)
			return value;
		at = end;
	}
	return 0;
}

static uint8_t find_distance(int rootfd, int from, int to, bool is_same)
{
	unsigned long distance = 0;

	if (is_same)
		return DISTANCE_LOCAL;
	if (from >= 0 && to >= 0 && from != to)
		distance = read_distance(rootfd, from, to);
	if (distance == 0)
		return DISTANCE_OTHER;
	if (distance > DISTANCE_MAX)
		return DISTANCE_MAX;
	return distance <= DISTANCE_LOCAL ? DISTANCE_LOCAL + 1 : (uint8_t)distance;
}

/* A number of the memory's own node, valid for initiators that the kernel lists beside it. */
static bool read_access(int rootfd, int from, int to, const char *name, uint64_t *ret_value)
{
	char path[128], initiator[128];
	uint64_t value;

	if (to < 0 || from < 0)
		return false;
	snprintf(initiator, sizeof(initiator), NODE_DIR "/node%d/access0/initiators/node%d/cpulist",
		 to, from);
	if (kfile_read(rootfd, initiator, path, sizeof(path)) < 0)
		return false;
	snprintf(path, sizeof(path), NODE_DIR "/node%d/access0/initiators/%s", to, name);
	if (kfile_read_u64(rootfd, path, &value) < 0 || value == 0)
		return false;
	*ret_value = value;
	return true;
}

static uint64_t clamp(uint64_t value, uint64_t max)
{
	return value < 1 ? 1 : value > max ? max : value;
}

static void find_access(int rootfd, int from, int to, uint8_t distance, uint16_t *ret_ns,
			uint32_t *ret_mb_s)
{
	uint64_t ns = LATENCY_NS, mb_s = BANDWIDTH_MB_S;

	if (!read_access(rootfd, from, to, "read_latency", &ns)) {
		(void)read_access(rootfd, from, from, "read_latency", &ns);
		ns = clamp(ns, LATENCY_MAX_NS) * distance / DISTANCE_LOCAL;
	}
	if (!read_access(rootfd, from, to, "read_bandwidth", &mb_s)) {
		(void)read_access(rootfd, from, from, "read_bandwidth", &mb_s);
		mb_s = clamp(mb_s, BANDWIDTH_MAX) * DISTANCE_LOCAL / distance;
	}
	*ret_ns = (uint16_t)clamp(ns, LATENCY_MAX_NS);
	*ret_mb_s = (uint32_t)clamp(mb_s, BANDWIDTH_MAX);
}

void locality_read(int rootfd, const struct ram_config *configs, size_t n,
		   struct locality *ret_locality)
{
	struct locality l = {.n_nodes = n};

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			int from = home_of(&configs[i]), to = home_of(&configs[j]);

			l.distance[i][j] = find_distance(rootfd, from, to, i == j);
			find_access(rootfd, from, to, l.distance[i][j], &l.latency_ns[i][j],
				    &l.bandwidth_mb_s[i][j]);
		}
	*ret_locality = l;
}
