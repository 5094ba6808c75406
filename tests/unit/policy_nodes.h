/* SPDX-License-Identifier: Apache-2.0 */
/* Two nodes, and guests that lie on them, in a scene of the policy's tests. */
#ifndef MEMD_TESTS_POLICY_NODES_H
#define MEMD_TESTS_POLICY_NODES_H

#include "tests/unit/policy_scene.h"

/* Two nodes of 8 GiB with four processors each, and guests of 2 GiB that take half of one. */
static inline void open_scene(struct scene *s, size_t n)
{
	scene_open(s, n);
	s->host.memory_bytes = 16 * GIB;
	s->host.available_bytes = s->host.free_bytes = 12 * GIB;
	s->host.numa_balancing = 0;
	s->host.n_nodes = 2;
	for (uint32_t i = 0; i < 2; i++)
		s->host.nodes[i] = (struct pol_node){
			.node = i,
			.memory_bytes = 8 * GIB,
			.free_bytes = 6 * GIB,
			.cpus = 4,
			.distance = {i ? 21 : 10, i ? 10 : 21},
		};
	for (size_t i = 0; i < n; i++) {
		struct pol_guest *g = &s->guests[i];

		g->node_bytes[0] = 2 * GIB;
		for (uint32_t k = 1; k < POL_PLACE_NODES; k++)
			g->node_bytes[k] = 0;
		g->huge_bytes = GIB;
		g->vcpus = 1;
		g->cpu_node = 0;
		g->cpu_node_ppm = PPM;
	}
}

/* All of its memory on a node, its vCPUs on another. */
static inline void set_place(struct pol_guest *g, uint32_t memory, uint32_t cpu)
{
	g->node_bytes[0] = g->node_bytes[1] = 0;
	g->node_bytes[memory] = 2 * GIB;
	g->cpu_node = cpu;
}

#endif
