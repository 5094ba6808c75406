/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cgroups made and removed, by libcgroup: it finds the hierarchies of both versions. Nothing of
 * this is for the tick. Processes are moved by a plain write: its cgroup_attach_task_pid() takes a
 * process by its first thread alone, and crashes before 2.0.3 where it cannot.
 */
#ifndef MEMD_CGROUP_MAKE_H
#define MEMD_CGROUP_MAKE_H

#include "memd/cgroup.h"

/*
 * What makes, removes and moves; a test has its own for its tree. name is below the mount point of
 * the controllers (bits by enum memcg_controller), which share a hierarchy; dir and to are relative
 * to the root.
 */
struct memcg_hands {
	/* 0; -EEXIST; -EPERM, -EACCES, -EROFS; -ENODEV: the controller is not mounted; -errno. */
	int (*make)(int rootfd, const struct memcg *memcg, unsigned int controllers,
		    const char *name);
	/* 0, also if it is gone; -EBUSY: there is something in it; as above. */
	int (*remove)(int rootfd, const struct memcg *memcg, unsigned int controllers,
		      const char *name);
	/* A process with all its threads. -ESRCH: it is gone; -errno of the write. */
	int (*move)(int rootfd, pid_t pid, const char *to);
	/* All that are in the cgroup at dir. 0; -EAGAIN: it does not get empty; the first -errno of
	 * a process that stays, but for one that ends. */
	int (*move_all)(int rootfd, const char *dir, const char *to);
};

/* Of the live host. */
extern const struct memcg_hands memcg_hands_live;

#endif
