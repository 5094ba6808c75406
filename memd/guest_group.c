// SPDX-License-Identifier: Apache-2.0
/*
 * The table of cgroups that memd has made, its note, and the way there and back. Whether a guest
 * may have one says guest_group_may.c.
 */
#include "memd/guest_group.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/log.h"
#include "memd/cgroup_cpuset.h"
#include "memd/guest_group_may.h"
#include "memd/note.h"

#define NOTE_NAME "cgroups"
/* A memd that was started anew has found its guests by then. */
#define CLAIM_US (60 * USEC_PER_SEC)
/* Looked at in one tick: has the process ended? */
#define LOOK_MOST 8
/* A process that ends holds its cgroup for a moment longer. */
#define BUSY_TRIES 50
#define BUSY_NS	   2000000

/* ---- the note ---- */

static void fill_note(FILE *file, const void *ctx)
{
	const struct guest_groups *groups = ctx;

	for (size_t i = 0; i < groups->n; i++)
		for (size_t k = 0; k < groups->v[i].n; k++)
			fprintf(file, "%d %" PRIu64 " %u %s\n", (int)groups->v[i].pid,
				groups->v[i].starttime, groups->v[i].at[k].controllers,
				groups->v[i].at[k].path);
}

static int keep(const struct guest_groups *groups)
{
	return groups->dir[0] ? note_write(groups->dir, NOTE_NAME, fill_note, groups) : 0;
}

static void keep_or_say(const struct guest_groups *groups)
{
	int r = keep(groups);

	if (r < 0)
		log_warn("%s/" NOTE_NAME ": cannot be written: %s", groups->dir, strerror(-r));
}

/* Below a mount of that controller, of memd's making by its name, and no way out of there. */
static bool is_ours(const struct memcg *memcg, const struct guest_group_at *at)
{
	const char *name = strrchr(at->path, '/');
	enum memcg_controller first;
	size_t len;

	if (!at->controllers || at->controllers >> MEMCG_CONTROLLERS || !name)
		return false;
	first = (enum memcg_controller)__builtin_ctz(at->controllers);
	len = strlen(memcg_where(memcg, first));
	return memcg_has(memcg, first) && strncmp(at->path, memcg_where(memcg, first), len) == 0 &&
	       at->path[len] == '/' && !strstr(at->path, "/..") &&
	       strncmp(name, "/" GUEST_GROUP_PREFIX, 1 + strlen(GUEST_GROUP_PREFIX)) == 0;
}

static bool line_parse(const struct memcg *memcg, char *line, struct guest_group *ret_group)
{
	struct guest_group group = {.n = 1};
	int pid, at = 0;

	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%d %" SCNu64 " %u %n", &pid, &group.starttime, &group.at[0].controllers,
		   &at) != 3 ||
	    !at || pid <= 0 || strlen(line + at) >= MEMCG_PATH_MAX)
		return false;
	group.pid = pid;
	snprintf(group.at[0].path, sizeof(group.at[0].path), "%s", line + at);
	if (!is_ours(memcg, &group.at[0]))
		return false;
	*ret_group = group;
	return true;
}

static struct guest_group *find(const struct guest_groups *groups, pid_t pid, uint64_t starttime)
{
	for (size_t i = 0; i < groups->n; i++)
		if (groups->v[i].pid == pid && groups->v[i].starttime == starttime)
			return &groups->v[i];
	return NULL;
}

static struct guest_group *add(struct guest_groups *groups, const struct guest_group *group)
{
	if (groups->n == groups->room) {
		size_t room = groups->room ? 2 * groups->room : 16;
		struct guest_group *v = reallocarray(groups->v, room, sizeof(*v));

		if (!v)
			return NULL;
		groups->v = v;
		groups->room = room;
	}
	groups->v[groups->n] = *group;
	return &groups->v[groups->n++];
}

/* Lines of the same process are one. 0, -ENOMEM, -errno of opening. */
static int note_read(struct guest_groups *groups)
{
	char path[CONFIG_PATH_MAX + 32], line[MEMCG_PATH_MAX + 64];
	AUTO_FILE FILE *file = NULL;

	snprintf(path, sizeof(path), "%s/" NOTE_NAME, groups->dir);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		struct guest_group group, *same;

		if (!line_parse(groups->memcg, line, &group)) {
			log_warn("%s: a line makes no sense and is dropped", path);
			continue;
		}
		same = find(groups, group.pid, group.starttime);
		if (!same && !add(groups, &group))
			return -ENOMEM;
		if (same && same->n < MEMCG_CONTROLLERS)
			same->at[same->n++] = group.at[0];
	}
	return 0;
}

/* ---- there ---- */

static const char *name_of(const struct guest_groups *groups, const struct guest_group_at *at)
{
	enum memcg_controller first = (enum memcg_controller)__builtin_ctz(at->controllers);

	return at->path + strlen(memcg_where(groups->memcg, first)) + 1;
}

static int set_cpuset(const struct guest_groups *groups, const struct guest_group *group,
		      const struct guest_group_at *at)
{
	uint64_t mems[NODES_WORDS] = {0};

	if (!(at->controllers >> MEMCG_CPUSET & 1) || !group->nodes[0])
		return 0;
	if (kfile_list_parse(group->nodes, mems, NODES_BITS) < 0)
		return -EINVAL;
	return memcg_cpuset_set(groups->rootfd, groups->memcg->cpuset_v2, at->path, groups->cpus,
				mems);
}

static int make(const struct guest_groups *groups, const struct guest_group *group, char *why,
		size_t n)
{
	for (size_t i = 0; i < group->n; i++) {
		const struct guest_group_at *at = &group->at[i];
		const char *what = "cannot be made";
		int r = groups->hands->make(groups->rootfd, groups->memcg, at->controllers,
					    name_of(groups, at));

		if (r == 0) {
			what = "does not take the nodes of its section";
			r = set_cpuset(groups, group, at);
		}
		if (r == 0) {
			what = "does not take its process";
			r = groups->hands->move(groups->rootfd, group->pid, at->path);
		}
		if (r == 0)
			continue;
		snprintf(why, n, "/%.90s %s: %s", at->path, what,
			 r == -ENXIO	? "there is no such node with memory here"
			 : r == -ERANGE ? "the cgroup above does not have them all"
					: strerror(-r));
		return r;
	}
	return 0;
}

/* ---- and back ---- */

static int remove_at(const struct guest_groups *groups, const struct guest_group_at *at, bool wait)
{
	const struct timespec step = {.tv_nsec = BUSY_NS};
	char parent[MEMCG_PATH_MAX];
	int r;

	snprintf(parent, sizeof(parent), "%s", at->path);
	*strrchr(parent, '/') = '\0';
	r = groups->hands->move_all(groups->rootfd, at->path, parent);
	for (unsigned int i = 0; r == 0; i++) {
		r = groups->hands->remove(groups->rootfd, groups->memcg, at->controllers,
					  name_of(groups, at));
		if (r != -EBUSY || !wait || i == BUSY_TRIES)
			return r;
		nanosleep(&step, NULL);
		r = 0;
	}
	return r;
}

/* Those that cannot be removed stay in the table. fn may be NULL. */
static int undo(struct guest_groups *groups, struct guest_group *group, bool wait,
		guest_groups_fn fn, void *ctx)
{
	size_t kept = 0;
	int error = 0;

	for (size_t i = group->n; i-- > 0;) {
		int r = remove_at(groups, &group->at[i], wait);

		if (fn)
			fn(ctx, group->at[i].path, r);
		if (r < 0 && error == 0)
			error = r;
		if (r == 0)
			group->at[i].controllers = 0;
	}
	for (size_t i = 0; i < group->n; i++)
		if (group->at[i].controllers)
			group->at[kept++] = group->at[i];
	group->n = kept;
	if (!kept)
		*group = groups->v[--groups->n];
	return error;
}

static const char *label(const struct guest_group *group, char *buf, size_t n)
{
	if (group->name[0])
		snprintf(buf, n, "guest %s", group->name);
	else
		snprintf(buf, n, "process %d", (int)group->pid);
	return buf;
}

/* wait: it is the last chance. False: some of it stays. */
static bool undo_and_say(struct guest_groups *groups, struct guest_group *group, bool wait,
			 const char *because, guest_groups_fn fn, void *ctx)
{
	char who[POL_NAME_MAX + 16], path[MEMCG_PATH_MAX];
	int r;

	label(group, who, sizeof(who));
	snprintf(path, sizeof(path), "%s", group->at[0].path);
	r = undo(groups, group, wait, fn, ctx);
	if (r == 0)
		log_info("%s: its cgroup /%s is removed: %s", who, path, because);
	else if (wait)
		log_warn("%s: its cgroup /%s stays: %s", who, path, strerror(-r));
	return r == 0;
}

/* ---- for the daemon ---- */

int guest_groups_open(int rootfd, const struct memcg *memcg, const struct memcg_hands *hands,
		      const struct nodes_cpus *cpus, const char *dir,
		      struct guest_groups **ret_groups)
{
	struct guest_groups *groups = calloc(1, sizeof(*groups));
	int r;

	if (!groups)
		return -ENOMEM;
	groups->rootfd = rootfd;
	groups->memcg = memcg;
	groups->hands = hands;
	groups->cpus = cpus;
	groups->start_us = clock_now_us();
	snprintf(groups->dir, sizeof(groups->dir), "%s", dir);
	r = note_read(groups);
	if (r == -ENOMEM) {
		guest_groups_close(groups);
		return r;
	}
	*ret_groups = groups;
	return 0;
}

void guest_groups_close(struct guest_groups *groups)
{
	if (!groups)
		return;
	free(groups->v);
	free(groups);
}

const struct guest_group *guest_groups_find(const struct guest_groups *groups,
					    const struct guest *guest)
{
	return find(groups, guest->pid, guest->starttime);
}

/* One that a memd before this one has made: is it what is wanted now? */
static bool is_as_wanted(const struct guest_groups *groups, struct guest_group *group,
			 const struct guest *guest, const char *nodes)
{
	if (!group->name[0]) { /* just recalled, and it does not say which nodes */
		snprintf(group->name, sizeof(group->name), "%s", guest->name);
		snprintf(group->nodes, sizeof(group->nodes), "%s", nodes);
		for (size_t i = 0; i < group->n; i++)
			if (set_cpuset(groups, group, &group->at[i]) < 0)
				return false;
		return guest_group_has_cpuset(group) == (nodes[0] != '\0');
	}
	return strcmp(group->nodes, nodes) == 0;
}

int guest_groups_take(struct guest_groups *groups, const struct guest *guest, const char *nodes,
		      char *why, size_t n)
{
	struct guest_group *old = find(groups, guest->pid, guest->starttime), new, *group;
	int r;

	why[0] = '\0';
	if (old && is_as_wanted(groups, old, guest, nodes))
		return 0;
	if (old && !undo_and_say(groups, old, true, "its section has changed", NULL, NULL)) {
		snprintf(why, n, "the one that it has cannot be removed");
		return -EBUSY;
	}
	r = guest_group_may(groups, guest, nodes, &new, why, n);
	if (r < 0)
		return r;
	group = add(groups, &new);
	if (!group) {
		snprintf(why, n, "out of memory");
		return -ENOMEM;
	}
	/* Before the first one: a line too many does no harm. */
	r = keep(groups);
	if (r < 0) {
		groups->n--;
		snprintf(why, n, "%.80s/" NOTE_NAME " cannot be written: %s", groups->dir,
			 strerror(-r));
		return r;
	}
	r = make(groups, group, why, n);
	if (r < 0)
		undo(groups, group, true, NULL, NULL);
	else
		log_info("guest %s: has a cgroup of its own now, /%s", guest->name,
			 group->at[0].path);
	keep_or_say(groups);
	return r;
}

void guest_groups_leave(struct guest_groups *groups, const struct guest *guest)
{
	struct guest_group *group = find(groups, guest->pid, guest->starttime);

	if (!group)
		return;
	if (!undo_and_say(groups, group, false, "the guest is gone", NULL, NULL))
		group->name[0] = '\0'; /* nobody's: guest_groups_tick() tries again */
	keep_or_say(groups);
}

void guest_groups_tick(struct guest_groups *groups, uint64_t now_us)
{
	bool changed = false;

	for (size_t i = 0, n = groups->n; i < LOOK_MOST && i < n && groups->n; i++) {
		struct guest_group *group = &groups->v[groups->next++ % groups->n];
		struct footprint foot;
		int r = footprint_quick(groups->rootfd, group->pid, &foot);
		/* One that cannot be looked at just now has not ended. */
		bool ended = r == -ESRCH || (r == 0 && foot.starttime != group->starttime);

		if (ended)
			changed |= undo_and_say(groups, group, false, "the guest has ended", NULL,
						NULL);
		else if (!group->name[0] && now_us - groups->start_us > CLAIM_US)
			changed |=
				undo_and_say(groups, group, false,
					     "no guest of this memd is that process", NULL, NULL);
	}
	if (changed)
		keep_or_say(groups);
}

size_t guest_groups_leave_all(struct guest_groups *groups, guest_groups_fn fn, void *ctx)
{
	size_t before = groups->n;

	for (size_t i = groups->n; i-- > 0;)
		undo_and_say(groups, &groups->v[i], true, "memd leaves the host as it was", fn,
			     ctx);
	if (before)
		keep_or_say(groups);
	return before - groups->n;
}

int guest_groups_restore(int rootfd, const char *dir, const struct memcg_hands *hands,
			 guest_groups_fn fn, void *ctx)
{
	struct guest_groups groups = {.rootfd = rootfd, .hands = hands};
	struct memcg memcg;
	int r, n = 0;

	memcg_read(rootfd, &memcg);
	groups.memcg = &memcg;
	snprintf(groups.dir, sizeof(groups.dir), "%s", dir);
	r = note_read(&groups);
	for (size_t i = groups.n; i-- > 0;) {
		n += (int)groups.v[i].n;
		undo(&groups, &groups.v[i], true, fn, ctx);
	}
	if (r == 0)
		r = keep(&groups);
	free(groups.v);
	return r < 0 && r != -ENOENT ? r : n;
}
