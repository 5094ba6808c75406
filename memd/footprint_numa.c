// SPDX-License-Identifier: Apache-2.0
/* numa_maps, line by line: pages by node, and the policies of guest RAM. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/grow.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/footprint_numa.h"

void footprint_places_add(struct footprint_places *places, uint64_t start)
{
	uint64_t *starts;

	if (places->n && places->starts[places->n - 1] == start)
		return;
	starts = grow(places->starts, &places->capacity, places->n + 1, sizeof(*starts));
	if (!starts) {
		places->lost = true;
		return;
	}
	places->starts = starts;
	places->starts[places->n++] = start;
}

void footprint_places_free(struct footprint_places *places)
{
	free(places->starts);
}

/* "0-1,3" as bits; 0: it makes no sense, or goes beyond 64 nodes. */
static uint64_t nodes_parse(const char *text)
{
	uint64_t mask = 0;

	while (*text) {
		unsigned int first, last;
		int used = 0;

		if (sscanf(text, "%u-%u%n", &first, &last, &used) != 2) {
			if (sscanf(text, "%u%n", &first, &used) != 1)
				return 0;
			last = first;
		}
		if (first > last || last >= 64)
			return 0;
		for (unsigned int node = first; node <= last; node++)
			mask |= 1ULL << node;
		text += used;
		if (*text == ',')
			text++;
	}
	return mask;
}

/* "bind:0-1", "bind=static:1": where strictly; every other policy is a wish only. */
static uint64_t policy_nodes(const char *policy)
{
	const char *nodes = strchr(policy, ':');
	uint64_t mask = nodes && !strncmp(policy, "bind", 4) ? nodes_parse(nodes + 1) : 0;

	return mask ? mask : POL_ABSENT;
}

struct numa_sum {
	uint64_t *node_bytes, *ram_bytes;
	const struct footprint_places *places;
	size_t place; /* the next one to come */
	uint64_t bound, seen;
	bool any;
};

/*
 * "7f00 default anon=512 dirty=512 N0=300 N1=212 kernelpagesize_kB=4". The page size stands last,
 * so a line's counts are kept until it comes.
 */
static void numa_line(char *line, struct numa_sum *sum)
{
	uint64_t pages[POL_NODES_MAX] = {0}, page_bytes = 0, bound = 0, seen = 0;
	char *save = NULL, *word = strtok_r(line, " ", &save);
	uint64_t start = word ? strtoull(word, NULL, 16) : 0;

	word = strtok_r(NULL, " ", &save);
	if (word)
		bound = policy_nodes(word);
	for (; word; word = strtok_r(NULL, " ", &save)) {
		unsigned long long count;
		unsigned int node;

		if (sscanf(word, "N%u=%llu", &node, &count) == 2) {
			if (node < POL_NODES_MAX)
				pages[node] += count;
			if (count)
				seen |= node < 64 ? 1ULL << node : POL_ABSENT;
		} else if (sscanf(word, "kernelpagesize_kB=%llu", &count) == 1) {
			page_bytes = count * KIB;
		}
	}
	for (size_t i = 0; i < POL_NODES_MAX; i++)
		sum->node_bytes[i] += pages[i] * page_bytes;
	if (sum->place < sum->places->n && sum->places->starts[sum->place] == start) {
		sum->place++;
		sum->bound |= bound;
		sum->seen |= seen;
		sum->any |= pol_has(bound);
		for (size_t i = 0; i < POL_NODES_MAX; i++)
			sum->ram_bytes[i] += pages[i] * page_bytes;
	}
}

int footprint_numa(int rootfd, pid_t pid, const struct footprint_places *places,
		   struct footprint *out)
{
	struct numa_sum sum = {
		.node_bytes = out->node_bytes, .ram_bytes = out->ram_node_bytes, .places = places};
	AUTO_FREE char *text = NULL;
	char path[64], *save = NULL;
	int r;

	snprintf(path, sizeof(path), "proc/%d/numa_maps", (int)pid);
	r = kfile_read_all(rootfd, path, &text, NULL);
	if (r == -ENOENT)
		return 0; /* no CONFIG_NUMA */
	if (r < 0)
		return r;
	memset(out->node_bytes, 0, sizeof(out->node_bytes));
	memset(out->ram_node_bytes, 0, sizeof(out->ram_node_bytes));
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		numa_line(line, &sum);
	/* A mapping that is not found any more (cut, joined, gone) may be anywhere. */
	if (sum.place == places->n && !places->lost) {
		out->bound_mask = sum.bound;
		out->seen_mask = sum.seen;
	} else {
		memset(out->ram_node_bytes, 0xff, sizeof(out->ram_node_bytes));
	}
	out->bound_any = sum.any;
	return 0;
}
