/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's own memory cgroup: found anew now and then, its files kept open in between.
 * Source: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, accounting/psi.rst.
 */
#ifndef MEMD_GUEST_CGROUP_H
#define MEMD_GUEST_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "memd/cgroup_file.h"
#include "memd/cgroup_owner.h"

#define GUEST_CGROUP_PATH_MAX MEMCG_PATH_MAX

struct guest_cgroup {
	pid_t pid;
	uint64_t found_us;
	/* Relative to the root; "": none, or it holds other processes, too. */
	char path[GUEST_CGROUP_PATH_MAX];
	int error;    /* path "": why, as of guest_cgroup_find() */
	bool v2;      /* it has the files of v2 */
	bool reclaim; /* it has memory.reclaim (5.19+) */
	/* Who made the cgroup that the process is in, its own or not; "": nobody that is known. */
	enum memcg_owner owner;
	char who[64];
	int pressure_fd, current_fd, swap_fd, stat_fd;

	/* as of the last look, POL_ABSENT: not told */
	uint64_t current_bytes, swap_bytes;
	uint64_t psi_some_us;	/* total */
	uint64_t refault_bytes; /* total read back from swap */
};

void guest_cgroup_init(struct guest_cgroup *cgroup);
void guest_cgroup_fini(struct guest_cgroup *cgroup);

/* Its numbers now, of the guest that is process pid. */
void guest_cgroup_look(struct guest_cgroup *cgroup, int rootfd, const struct memcg *memcg,
		       pid_t pid, uint64_t now_us);

/* Look for it anew the next time: the process was moved. */
void guest_cgroup_again(struct guest_cgroup *cgroup);

/*
 * The cgroup that memory of process pid is charged to, if that holds this process alone, with its
 * children: 0 and *ret_path; -EBUSY: others are in it; -ENOENT: no memory controller, or it is in
 * the root; -errno as of memcg_of().
 */
int guest_cgroup_find(int rootfd, const struct memcg *memcg, pid_t pid, char *path, size_t n);

/* A process that was moved there leaves what it had charged where it was, and then there is nothing
 * to ask for: is its memory in it? */
static inline bool guest_cgroup_holds(uint64_t charged_bytes, uint64_t resident_bytes)
{
	return charged_bytes >= resident_bytes / 2;
}

#endif
