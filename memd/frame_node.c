// SPDX-License-Identifier: Apache-2.0
/* Zones of nodes and the frames they span; see frame_node.h. */
#include "memd/frame_node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/kfile.h"

/* "Node 0, zone   Normal", then of each zone "spanned N" and at its end "start_pfn: N"; an empty
 * zone has no start. */
static void zone_line(struct frame_nodes *nodes, struct frame_zone *zone, const char *line)
{
	unsigned int node;
	uint64_t value;

	line += strspn(line, " ");
	if (sscanf(line, "Node %u, zone", &node) == 1) {
		*zone = (struct frame_zone){.node = node};
	} else if (sscanf(line, "spanned %" SCNu64, &value) == 1) {
		zone->n = value;
	} else if (sscanf(line, "start_pfn: %" SCNu64, &value) == 1) {
		zone->first = value;
		if (zone->n && nodes->n < FRAME_ZONES_MAX)
			nodes->zones[nodes->n++] = *zone;
	}
}

int frame_nodes_read(int rootfd, struct frame_nodes *ret_nodes)
{
	AUTO_FREE char *text = NULL;
	struct frame_zone zone = {0};
	char *save = NULL;
	int r = kfile_read_all(rootfd, "proc/zoneinfo", &text, NULL);

	if (r < 0)
		return r;
	ret_nodes->n = 0;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		zone_line(ret_nodes, &zone, line);
	return ret_nodes->n ? 0 : -EIO;
}

uint32_t frame_node(const struct frame_nodes *nodes, uint64_t frame)
{
	const struct frame_zone *best = NULL;

	for (size_t i = 0; i < nodes->n; i++) {
		const struct frame_zone *zone = &nodes->zones[i];

		if (frame < zone->first || frame - zone->first >= zone->n)
			continue;
		if (!best || zone->n < best->n)
			best = zone;
	}
	return best ? best->node : UINT32_MAX;
}
