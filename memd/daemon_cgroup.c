// SPDX-License-Identifier: Apache-2.0
/* Guests' cgroups beside the tick: made for those that have none, and what is set in them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "memd/daemon.h"
#include "memd/guest_group.h"
#include "memd/guest_swap.h"

static bool is_asked_for(const struct daemon *daemon, const struct guest *guest)
{
	return daemon->config->guest_cgroups == CONFIG_CGROUPS_AUTO && !daemon->act.stopped &&
	       config_manages(daemon->config, guest->name);
}

void daemon_cgroup_found(struct daemon *daemon, struct guest *guest)
{
	const struct config_guest *section = config_find_guest(daemon->config, guest->name);
	const char *nodes = section ? section->nodes : "";
	char why[GUEST_NOTE_MAX] = "";
	int r;

	if (!daemon->groups || guest->pid <= 0 || !guest->known)
		return;
	if (is_asked_for(daemon, guest)) {
		r = guest_groups_take(daemon->groups, guest, nodes, why, sizeof(why));
		if (r == -EALREADY && !nodes[0])
			why[0] = '\0';
	} else if (nodes[0]) {
		snprintf(why, sizeof(why),
			 "its section confines it to nodes, which needs guest-cgroups=auto");
	}
	if (why[0] && (!guest->cgroup_why || strcmp(guest->cgroup_why, why) != 0))
		log_info("guest %s: no cgroup is made for it: %s", guest->name, why);
	free(guest->cgroup_why);
	guest->cgroup_why = why[0] ? strdup(why) : NULL;
	if (guest->swap)
		guest_cgroup_again(&guest->swap->cgroup);
}

void daemon_cgroup_gone(struct daemon *daemon, struct guest *guest)
{
	guest_limits_leave(&daemon->act, guest);
	if (daemon->groups)
		guest_groups_leave(daemon->groups, guest);
}

void daemon_cgroup_tick(struct daemon *daemon, uint64_t now_us)
{
	for (size_t i = 0; i < daemon->guests.n; i++)
		guest_limits_follow(&daemon->act, daemon->guests.v[i], now_us);
	if (daemon->groups)
		guest_groups_tick(daemon->groups, now_us);
}

void daemon_cgroup_reload(struct daemon *daemon)
{
	if (daemon->config->guest_cgroups == CONFIG_CGROUPS_OFF)
		daemon_cgroup_leave(daemon, NULL);
	for (size_t i = 0; i < daemon->guests.n; i++) {
		struct guest *guest = daemon->guests.v[i];

		guest_limits_leave(&daemon->act, guest); /* set anew by the next tick */
		if (daemon->groups && !is_asked_for(daemon, guest) &&
		    guest_groups_find(daemon->groups, guest))
			daemon_cgroup_gone(daemon, guest);
		daemon_cgroup_found(daemon, guest);
	}
}

static void on_removed(void *ctx, const char *path, int error)
{
	json_object *restored = ctx, *one;

	if (!restored)
		return;
	one = json_object_new_object();
	json_add_str(one, "file", path);
	json_add_str(one, "value", NULL);
	json_add_str(one, "result", error ? "failed" : "removed");
	json_object_array_add(restored, one);
}

void daemon_cgroup_leave(struct daemon *daemon, json_object *restored)
{
	for (size_t i = 0; i < daemon->guests.n; i++)
		guest_limits_leave(&daemon->act, daemon->guests.v[i]);
	if (daemon->groups)
		guest_groups_leave_all(daemon->groups, on_removed, restored);
}
