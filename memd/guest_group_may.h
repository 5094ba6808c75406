/* SPDX-License-Identifier: Apache-2.0 */
/* Between guest_group.c and guest_group_may.c: may memd make a cgroup for a guest, and where? */
#ifndef MEMD_GUEST_GROUP_MAY_H
#define MEMD_GUEST_GROUP_MAY_H

#include "memd/guest_group.h"

#define GUEST_GROUP_PREFIX "memd-" /* "memd-web1-4242": guest and process */

/* As of guest_groups_take(), but nothing is made: *ret_group says what is to be. */
int guest_group_may(const struct guest_groups *groups, const struct guest *guest, const char *nodes,
		    struct guest_group *ret_group, char *why, size_t n);

/* Is one of them for the cpuset controller? */
bool guest_group_has_cpuset(const struct guest_group *group);

#endif
