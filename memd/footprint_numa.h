/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a process's memory is, and where it may come to be: /proc/PID/numa_maps. For footprint.c.
 * Source: Documentation/admin-guide/mm/numa_memory_policy.rst; fs/proc/task_mmu.c
 * show_numa_map(), mm/mempolicy.c mpol_to_str().
 */
#ifndef MEMD_FOOTPRINT_NUMA_H
#define MEMD_FOOTPRINT_NUMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memd/footprint.h"

/* Where mappings of interest begin, in rising order. */
struct footprint_places {
	uint64_t *starts;
	size_t n, capacity;
	bool lost; /* out of memory: some are missing */
};

/* The same one twice in a row counts once. */
void footprint_places_add(struct footprint_places *places, uint64_t start);
void footprint_places_free(struct footprint_places *places);

/*
 * Fill node_bytes, and the masks from the mappings at places. A kernel without NUMA is no error:
 * all stay absent. 0 or -errno of reading.
 */
int footprint_numa(int rootfd, pid_t pid, const struct footprint_places *places,
		   struct footprint *out);

#endif
