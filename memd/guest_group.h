/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cgroups that memd makes for guests that have none of their own, and takes away again: when the
 * guest ends or leaves, when memd stops, at reset. DIR/cgroups has a line per cgroup, written
 * before it is made, "PID STARTTIME CONTROLLERS PATH"; the guest's process came from PATH's parent
 * and goes back there.
 */
#ifndef MEMD_GUEST_GROUP_H
#define MEMD_GUEST_GROUP_H

#include <stddef.h>

#include "memd/cgroup_file.h"
#include "memd/cgroup_make.h"
#include "memd/guest.h"
#include "memd/numa.h"

/* One guest's. */
struct guest_group {
	pid_t pid;
	uint64_t starttime;
	char name[POL_NAME_MAX];  /* the guest's, "" until it is found again */
	char nodes[POL_NAME_MAX]; /* that it was confined to */
	size_t n;
	struct guest_group_at {
		unsigned int controllers; /* bits by enum memcg_controller */
		char path[MEMCG_PATH_MAX];
	} at[MEMCG_CONTROLLERS];
};

struct guest_groups {
	int rootfd;
	const struct memcg *memcg;
	const struct memcg_hands *hands;
	const struct nodes_cpus *cpus;
	char dir[CONFIG_PATH_MAX];
	struct guest_group *v;
	size_t n, room, next; /* next: looked at next by guest_groups_tick() */
	uint64_t start_us;
};

/*
 * memcg, cpus, hands are borrowed. Takes over what a memd before this one has noted in dir.
 * -ENOMEM.
 */
int guest_groups_open(int rootfd, const struct memcg *memcg, const struct memcg_hands *hands,
		      const struct nodes_cpus *cpus, const char *dir,
		      struct guest_groups **ret_groups);
void guest_groups_close(struct guest_groups *groups); /* they stay; NULL is fine */

/* NULL: memd has made none for it. */
const struct guest_group *guest_groups_find(const struct guest_groups *groups,
					    const struct guest *guest);

/*
 * A guest was found, or its section has changed: it gets a cgroup if it has none of its own and
 * nobody's rights stand against it. nodes: a list that it is confined to, "": none.
 * 0: it has one now; -EALREADY: it has one that memd has not made; -EPERM: it is somebody else's;
 * -EOPNOTSUPP: this kernel, or place, allows none; other -errno: it failed. why: one clause that
 * says so, "" for 0.
 */
int guest_groups_take(struct guest_groups *groups, const struct guest *guest, const char *nodes,
		      char *why, size_t n);

/* It leaves memd, whether its process is alive or not. */
void guest_groups_leave(struct guest_groups *groups, const struct guest *guest);

/* Removes those of processes that have ended, and those that no guest has claimed. */
void guest_groups_tick(struct guest_groups *groups, uint64_t now_us);

/* Hears of each cgroup that was to be removed: 0 or -errno. */
typedef void (*guest_groups_fn)(void *ctx, const char *path, int error);

/* All back where they were. fn may be NULL. How many guests' were removed. */
size_t guest_groups_leave_all(struct guest_groups *groups, guest_groups_fn fn, void *ctx);

/*
 * The same without a memd, from what a dead one has noted; what cannot be removed stays noted. How
 * many were noted, or -errno of reading it but for -ENOENT.
 */
int guest_groups_restore(int rootfd, const char *dir, const struct memcg_hands *hands,
			 guest_groups_fn fn, void *ctx);

#endif
