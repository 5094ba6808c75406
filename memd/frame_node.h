/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which NUMA node a page frame is of, by what the kernel says of its zones (/proc/zoneinfo).
 * Source: mm/vmstat.c zoneinfo_show_print().
 */
#ifndef MEMD_FRAME_NODE_H
#define MEMD_FRAME_NODE_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_ZONES_MAX 256

struct frame_zone {
	uint64_t first, n; /* frames that it spans */
	uint32_t node;
};

struct frame_nodes {
	size_t n;
	struct frame_zone zones[FRAME_ZONES_MAX];
};

/* 0; -errno of reading (root alone may); -EIO: there is no zone in it. */
int frame_nodes_read(int rootfd, struct frame_nodes *ret_nodes);

/* The node; UINT32_MAX: of none. Of zones that lie over each other the smaller one counts. */
uint32_t frame_node(const struct frame_nodes *nodes, uint64_t frame);

#endif
