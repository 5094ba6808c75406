// SPDX-License-Identifier: Apache-2.0
/* See report_cgroup.h. */
#include "memd/report_cgroup.h"

#include <stdio.h>

#include "common/size.h"
#include "memd/guest_group.h"
#include "memd/guest_swap.h"

#define STAT_MAX 16384

static const char *owner_name(enum memcg_owner owner)
{
	static const char *const names[] = {[MEMCG_NOBODY] = NULL,
					    [MEMCG_SYSTEMD] = "systemd",
					    [MEMCG_LIBVIRT] = "libvirt",
					    [MEMCG_CONTAINER] = "container"};

	return names[owner];
}

static void add_limit(json_object *one, const char *key, const struct guest_limit *limit)
{
	json_object *obj = NULL;

	if (limit) {
		obj = json_object_new_object();
		json_add_u64(obj, "bytes", limit->bytes);
		json_add_u64(obj, "before_bytes", limit->seen ? limit->before : POL_ABSENT);
		json_add_str(obj, "why_not", limit->why_not);
	}
	json_object_object_add(one, key, obj);
}

json_object *report_guest_cgroup(const struct daemon *daemon, const struct guest *guest)
{
	const struct guest_swap *swap = guest->swap;
	const struct guest_limits *limits = swap ? swap->limits : NULL;
	json_object *one = json_object_new_object();
	char why[200];

	json_add_str(one, "path", swap && swap->cgroup.path[0] ? swap->cgroup.path : NULL);
	json_add_str(one, "owner", swap ? owner_name(swap->cgroup.owner) : NULL);
	json_add_str(one, "owner_unit", swap && swap->cgroup.who[0] ? swap->cgroup.who : NULL);
	json_add_bool(one, "made_by_memd",
		      daemon->groups && guest_groups_find(daemon->groups, guest));
	json_add_str(one, "why_not_made", guest->cgroup_why);
	add_limit(one, "low", limits ? &limits->of[GUEST_LIMIT_LOW] : NULL);
	add_limit(one, "swap_max", limits && limits->v2 ? &limits->of[GUEST_LIMIT_SWAP] : NULL);
	add_limit(one, "memory_and_swap_max",
		  limits && !limits->v2 ? &limits->of[GUEST_LIMIT_SWAP] : NULL);
	json_add_str(one, "why_not_set", guest_limits_why_not(guest, why, sizeof(why)));
	return one;
}

const char *report_cgroup_note(const struct guest *guest, char *buf, size_t n)
{
	const struct guest_limits *limits = guest->swap ? guest->swap->limits : NULL;
	const struct guest_limit *low = limits ? &limits->of[GUEST_LIMIT_LOW] : NULL;
	const struct guest_limit *swap = limits ? &limits->of[GUEST_LIMIT_SWAP] : NULL;

	if (guest->cgroup_why) {
		snprintf(buf, n, "no cgroup is made for it: %s", guest->cgroup_why);
		return buf;
	}
	if (!limits)
		return NULL;
	if (pol_has(low->bytes) && pol_has(swap->bytes))
		snprintf(buf, n, "its cgroup has a floor of %s and at most %s in swap",
			 SIZE_TEXT(low->bytes), SIZE_TEXT(swap->bytes));
	else if (pol_has(low->bytes))
		snprintf(buf, n, "its cgroup has a floor of %s", SIZE_TEXT(low->bytes));
	else if (pol_has(swap->bytes))
		snprintf(buf, n, "its cgroup has at most %s %s", SIZE_TEXT(swap->bytes),
			 limits->v2 ? "in swap" : "of memory and swap together");
	else
		return NULL;
	return buf;
}

json_object *report_cgroup_nodes(const struct guest *guest)
{
	const struct guest_cgroup *cgroup = guest->swap ? &guest->swap->cgroup : NULL;
	uint64_t bytes[POL_NODES_MAX];
	char text[STAT_MAX], name[8];
	json_object *obj;

	if (!cgroup || !cgroup->path[0] ||
	    memcg_file_read(guest->all->rootfd, MEMCG_NUMA_STAT, cgroup->v2, cgroup->path, text,
			    sizeof(text)) < 0 ||
	    memcg_nodes_parse(text, cgroup->v2, bytes) < 0)
		return NULL;
	obj = json_object_new_object();
	for (unsigned int node = 0; node < POL_NODES_MAX; node++) {
		if (!bytes[node])
			continue;
		snprintf(name, sizeof(name), "%u", node);
		json_add_u64(obj, name, bytes[node]);
	}
	return obj;
}
