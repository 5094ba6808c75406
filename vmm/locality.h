/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far guest nodes are from each other: the host's own distances, latencies and bandwidths
 * between the host nodes that their memory is bound to.
 */
#ifndef MEMD_VMM_LOCALITY_H
#define MEMD_VMM_LOCALITY_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/ram.h"

struct locality {
	size_t n_nodes;
	/* From the CPUs of the first to the memory of the second; 10 is local (SLIT). */
	uint8_t distance[RAM_NODES_MAX][RAM_NODES_MAX];
	uint16_t latency_ns[RAM_NODES_MAX][RAM_NODES_MAX];
	uint32_t bandwidth_mb_s[RAM_NODES_MAX][RAM_NODES_MAX];
};

/*
 * What the host under root (a directory fd) says. Distances are from
 * sys/devices/system/node/nodeN/distance; other nodes are never nearer than 11, and nodes that are
 * not bound or on one host node are as usual 20 apart. Latency and bandwidth of local memory are
 * from nodeN/access0/initiators where the firmware told the kernel, else 100 ns and 20000 MB/s;
 * of other memory they follow the distance, unless that node too tells its own. Never fails.
 */
void locality_read(int rootfd, const struct ram_config *configs, size_t n,
		   struct locality *ret_locality);

#endif
