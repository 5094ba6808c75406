// SPDX-License-Identifier: Apache-2.0
/* What is set in guests' own cgroups, beside the tick. */
#include "memd/daemon.h"
#include "memd/guest_swap.h"

void daemon_cgroup_gone(struct daemon *daemon, struct guest *guest)
{
	guest_limits_leave(&daemon->act, guest);
}

void daemon_cgroup_tick(struct daemon *daemon, uint64_t now_us)
{
	for (size_t i = 0; i < daemon->guests.n; i++)
		guest_limits_follow(&daemon->act, daemon->guests.v[i], now_us);
}

void daemon_cgroup_leave(struct daemon *daemon)
{
	for (size_t i = 0; i < daemon->guests.n; i++)
		guest_limits_leave(&daemon->act, daemon->guests.v[i]);
}
