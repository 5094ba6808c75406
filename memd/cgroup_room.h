/* SPDX-License-Identifier: Apache-2.0 */
/* What a process's memory cgroup may still be charged with. */
#ifndef MEMD_CGROUP_ROOM_H
#define MEMD_CGROUP_ROOM_H

#include <stdint.h>
#include <sys/types.h>

#include "memd/cgroup.h"

/*
 * Bytes, by the limits of its cgroup and of all above (*ret_above: of those alone): memory.max and
 * memory.high, version 1's limit_in_bytes. POL_ABSENT: none is set, or there is no memory
 * controller; 0: it is not told, or the cgroup is not one that we see.
 * Source: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst.
 */
uint64_t memcg_room(int rootfd, const struct memcg *memcg, pid_t pid, uint64_t *ret_above);

#endif
