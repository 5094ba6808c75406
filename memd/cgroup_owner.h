/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose a cgroup is, told by names that only their makers give. What belongs to systemd, libvirt or
 * a container manager has one writer, and that is not memd. Source: systemd.resource-control(5),
 * docs/CGROUP_DELEGATION; libvirt's docs/cgroups; the runtimes' cgroup drivers.
 */
#ifndef MEMD_CGROUP_OWNER_H
#define MEMD_CGROUP_OWNER_H

#include <stddef.h>
#include <sys/types.h>

enum memcg_owner {
	MEMCG_NOBODY, /* nobody that is known */
	MEMCG_SYSTEMD,
	MEMCG_LIBVIRT,
	MEMCG_CONTAINER
};

/*
 * Of one path below a mount point ("/machine.slice/x.scope"); who: the part of it that tells, as it
 * is written, "" for MEMCG_NOBODY.
 */
enum memcg_owner memcg_owner_of_path(const char *path, char *who, size_t n);

/*
 * Of a process: by all the hierarchies it is in. systemd that manages nothing but its own one (v1)
 * still owns what is in its units. libvirt before systemd, that before others. 0 or -errno of
 * memcg_lines().
 */
int memcg_owner_of(int rootfd, pid_t pid, enum memcg_owner *ret_owner, char *who, size_t n);

/* "systemd's unit x.scope", "libvirt's y", "a container manager's z", "" for MEMCG_NOBODY. */
char *memcg_owner_text(enum memcg_owner owner, const char *who, char *buf, size_t n);

#endif
