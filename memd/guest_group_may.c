// SPDX-License-Identifier: Apache-2.0
/*
 * A guest's cgroup is made below the one that its process is in, so that the limits above it go on
 * to hold. v2 allows that in its root alone: elsewhere a cgroup with processes in it can have no
 * children with a memory controller.
 */
#include "memd/guest_group_may.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "memd/cgroup_owner.h"
#include "memd/guest_cgroup.h"
#include "memd/vcpus.h"

#define NAME_PART 40

static int __attribute__((format(printf, 4, 5)))
no(char *why, size_t n, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, n, fmt, ap);
	va_end(ap);
	return error;
}

bool guest_group_has_cpuset(const struct guest_group *group)
{
	for (size_t i = 0; i < group->n; i++)
		if (group->at[i].controllers >> MEMCG_CPUSET & 1)
			return true;
	return false;
}

/* Does v2's root give that controller to its children? memd does not change that for all of them.
 */
static bool is_handed_down(const struct guest_groups *groups, enum memcg_controller controller)
{
	const char *wanted = memcg_controller_name(controller);
	char path[MEMCG_PATH_MAX + 32], text[256], *save = NULL;

	snprintf(path, sizeof(path), "%s/cgroup.subtree_control",
		 memcg_where(groups->memcg, controller));
	if (kfile_read(groups->rootfd, path, text, sizeof(text)) < 0)
		return false;
	for (char *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
		if (strcmp(word, wanted) == 0)
			return true;
	return false;
}

/* Where the process is by that controller, and whether there can be a child. */
static int find_parent(const struct guest_groups *groups, const struct guest *guest,
		       enum memcg_controller c, char *parent, char *why, size_t n)
{
	const struct memcg *memcg = groups->memcg;
	const char *where = memcg_where(memcg, c), *name = memcg_controller_name(c);
	char path[MEMCG_PATH_MAX + 32];
	uint64_t value;
	int r;

	if (!memcg_has(memcg, c))
		return no(why, n, -EOPNOTSUPP, "this host has no %s controller", name);
	r = memcg_path(groups->rootfd, memcg, c, guest->pid, parent, MEMCG_PATH_MAX);
	if (r < 0)
		return no(why, n, r, "its %s cgroup cannot be found: %s", name, strerror(-r));
	if (strstr(parent, "/..") || strpbrk(parent, "\n\t"))
		return no(why, n, -EOPNOTSUPP, "its %s cgroup is out of memd's sight", name);
	if (memcg_is_v2(memcg, c)) {
		if (strcmp(parent, where) != 0)
			return no(why, n, -EOPNOTSUPP,
				  "/%.120s holds other processes, and there cgroup v2 allows no "
				  "children with limits",
				  parent);
		if (!is_handed_down(groups, c))
			return no(why, n, -EOPNOTSUPP,
				  "/%s/cgroup.subtree_control does not have %s", where, name);
		return 0;
	}
	/* Long the only way, but once there was another. */
	snprintf(path, sizeof(path), "%s/memory.use_hierarchy", parent);
	if (c == MEMCG_MEMORY && kfile_read_u64(groups->rootfd, path, &value) == 0 && value != 1)
		return no(why, n, -EOPNOTSUPP, "/%.120s/memory.use_hierarchy is off", parent);
	return 0;
}

/* A process that comes into another cpuset may lose what its threads were pinned to. */
static bool is_pinned(const struct guest_groups *groups, pid_t pid)
{
	AUTO_FREE pid_t *tids = NULL;
	uint64_t allowed[NODES_CPU_WORDS];
	size_t n = 0;

	if (vcpus_threads(groups->rootfd, pid, &tids, &n, NULL) < 0)
		return true;
	for (size_t i = 0; i < n; i++) {
		if (vcpus_allowed(groups->rootfd, tids[i], tids[i], allowed) < 0)
			continue;
		for (size_t k = 0; k < NODES_CPU_WORDS; k++)
			if (groups->cpus->online[k] & ~allowed[k])
				return true;
	}
	return false;
}

static int add_at(const struct guest_groups *groups, const struct guest *guest,
		  enum memcg_controller c, struct guest_group *group, char *why, size_t n)
{
	char parent[MEMCG_PATH_MAX], clean[NAME_PART], path[MEMCG_PATH_MAX];
	size_t len = 0;
	int r = find_parent(groups, guest, c, parent, why, n);

	if (r < 0)
		return r;
	for (const char *p = guest->name; *p && len + 1 < sizeof(clean); p++)
		clean[len++] = isalnum((unsigned char)*p) || strchr("._-", *p) ? *p : '_';
	clean[len] = '\0';
	if (snprintf(path, sizeof(path), "%s/" GUEST_GROUP_PREFIX "%s-%d", parent, clean,
		     (int)guest->pid) >= (int)sizeof(path))
		return no(why, n, -E2BIG, "the name of its cgroup is too long");
	for (size_t i = 0; i < group->n; i++)
		if (strcmp(group->at[i].path, path) == 0) { /* one hierarchy */
			group->at[i].controllers |= 1u << c;
			return 0;
		}
	group->at[group->n].controllers = 1u << c;
	snprintf(group->at[group->n++].path, sizeof(path), "%s", path);
	return 0;
}

int guest_group_may(const struct guest_groups *groups, const struct guest *guest, const char *nodes,
		    struct guest_group *ret_group, char *why, size_t n)
{
	struct guest_group group = {.pid = guest->pid, .starttime = guest->starttime};
	char who[POL_NAME_MAX], text[POL_NAME_MAX + 32], own[MEMCG_PATH_MAX];
	enum memcg_owner owner;
	int r;

	if (!groups->memcg->memory)
		return no(why, n, -EOPNOTSUPP, "%s", groups->memcg->reason);
	r = memcg_owner_of(groups->rootfd, guest->pid, &owner, who, sizeof(who));
	if (r < 0)
		return no(why, n, r, "/proc/%d/cgroup cannot be read: %s", (int)guest->pid,
			  strerror(-r));
	if (owner != MEMCG_NOBODY)
		return no(why, n, -EPERM, "its cgroup is %s",
			  memcg_owner_text(owner, who, text, sizeof(text)));
	if (guest_cgroup_find(groups->rootfd, groups->memcg, guest->pid, own, sizeof(own)) == 0)
		return no(why, n, -EALREADY, "it has one of its own, /%.120s", own);
	r = add_at(groups, guest, MEMCG_MEMORY, &group, why, n);
	if (r == 0 && nodes[0])
		r = add_at(groups, guest, MEMCG_CPUSET, &group, why, n);
	/* Of v2 the cpuset changes with the rest. */
	if (r == 0 && (nodes[0] || groups->memcg->memory_v2) && is_pinned(groups, guest->pid))
		r = no(why, n, -EPERM,
		       "its threads are pinned to processors, which they may lose on the way");
	if (r < 0)
		return r;
	snprintf(group.name, sizeof(group.name), "%s", guest->name);
	snprintf(group.nodes, sizeof(group.nodes), "%s", nodes);
	*ret_group = group;
	return 0;
}
