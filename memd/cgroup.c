// SPDX-License-Identifier: Apache-2.0
/*
 * Discovery of the controllers. Only /proc/self/mountinfo says where a hierarchy really is;
 * /sys/fs/cgroup is a custom, not a rule.
 */
#include "memd/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kfile.h"

const char *memcg_version_name(enum memcg_version version)
{
	static const char *const names[] = {[MEMCG_NONE] = "none",
					    [MEMCG_V1] = "1",
					    [MEMCG_HYBRID] = "hybrid",
					    [MEMCG_V2] = "2"};

	return names[version];
}

const char *memcg_controller_name(enum memcg_controller controller)
{
	static const char *const names[] = {[MEMCG_MEMORY] = "memory", [MEMCG_CPUSET] = "cpuset"};

	return names[controller];
}

bool memcg_has(const struct memcg *memcg, enum memcg_controller controller)
{
	return controller == MEMCG_MEMORY ? memcg->memory : memcg->cpuset;
}

bool memcg_is_v2(const struct memcg *memcg, enum memcg_controller controller)
{
	return controller == MEMCG_MEMORY ? memcg->memory_v2 : memcg->cpuset_v2;
}

const char *memcg_where(const struct memcg *memcg, enum memcg_controller controller)
{
	return controller == MEMCG_MEMORY ? memcg->where : memcg->cpuset_where;
}

/* Is word one of the words of list, parted by any of seps? */
static bool has_word(const char *list, const char *word, const char *seps)
{
	size_t len = strlen(word);

	while (*list) {
		size_t n = strcspn(list, seps);

		if (n == len && !strncmp(list, word, len))
			return true;
		list += n;
		list += strspn(list, seps);
	}
	return false;
}

struct mounts {
	bool v1, v2, v1_controllers;
	/* relative; the first mount of each, /sys first */
	char v1_memory[256], v1_cpuset[256], v2_root[256];
};

/* Keep a mount point, one below /sys before any other (a chroot's copy, say). */
static void keep(char *kept, size_t n, const char *point)
{
	if (point[0] != '/' || !point[1] || strchr(point, '\\') || strlen(point) > n)
		return; /* names that mountinfo had to escape are nobody's cgroup mount */
	if (!kept[0] || (strncmp(kept, "sys/", 4) != 0 && !strncmp(point, "/sys/", 5)))
		snprintf(kept, n, "%s", point + 1);
}

/*
 * One line of mountinfo (proc_pid_mountinfo(5)):
 * "36 35 0:33 / /sys/fs/cgroup/memory rw,relatime [tags] - cgroup cgroup rw,memory"
 */
static void mount_line(char *line, struct mounts *mounts)
{
	char *words[5], *save = NULL, *rest = strstr(line, " - ");
	char *type, *super;

	if (!rest)
		return;
	*rest = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		words[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!words[i])
			return;
	}
	type = strtok_r(rest + 3, " ", &save);
	if (!type || !strtok_r(NULL, " ", &save))
		return;
	super = strtok_r(NULL, " ", &save);
	if (!strcmp(type, "cgroup2")) {
		mounts->v2 = true;
		keep(mounts->v2_root, sizeof(mounts->v2_root), words[4]);
	} else if (!strcmp(type, "cgroup") && super) {
		mounts->v1 = true;
		if (!strstr(super, "name="))
			mounts->v1_controllers = true;
		if (has_word(super, "memory", ","))
			keep(mounts->v1_memory, sizeof(mounts->v1_memory), words[4]);
		if (has_word(super, "cpuset", ","))
			keep(mounts->v1_cpuset, sizeof(mounts->v1_cpuset), words[4]);
	}
}

static int mounts_read(int rootfd, struct mounts *out)
{
	AUTO_FREE char *text = NULL;
	char *save = NULL;
	int r = kfile_read_all(rootfd, "proc/self/mountinfo", &text, NULL);

	if (r < 0)
		return r;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		mount_line(line, out);
	return 0;
}

static bool v2_has(int rootfd, const char *v2_root, const char *controller)
{
	char path[300], text[1024];

	snprintf(path, sizeof(path), "%s/cgroup.controllers", v2_root);
	return v2_root[0] && kfile_read(rootfd, path, text, sizeof(text)) >= 0 &&
	       has_word(text, controller, " \n");
}

/* 5.19+; the root cgroup has the file too. */
static bool v2_has_reclaim(int rootfd, const char *v2_root)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/memory.reclaim", v2_root);
	return faccessat(rootfd, path, F_OK, 0) == 0;
}

int memcg_read(int rootfd, struct memcg *ret_memcg)
{
	struct memcg out = {.version = MEMCG_NONE};
	struct mounts mounts = {0};
	int r = mounts_read(rootfd, &mounts);

	if (mounts.v2 && mounts.v1)
		out.version = MEMCG_HYBRID;
	else if (mounts.v2)
		out.version = MEMCG_V2;
	else if (mounts.v1)
		out.version = MEMCG_V1;

	if (v2_has(rootfd, mounts.v2_root, "cpuset")) {
		out.cpuset = out.cpuset_v2 = true;
		snprintf(out.cpuset_where, sizeof(out.cpuset_where), "%s", mounts.v2_root);
	} else if (mounts.v1_cpuset[0]) {
		out.cpuset = true;
		snprintf(out.cpuset_where, sizeof(out.cpuset_where), "%s", mounts.v1_cpuset);
	}
	if (v2_has(rootfd, mounts.v2_root, "memory")) {
		out.memory = out.memory_v2 = true;
		out.reclaim = v2_has_reclaim(rootfd, mounts.v2_root);
		snprintf(out.where, sizeof(out.where), "%s", mounts.v2_root);
	} else if (mounts.v1_memory[0]) {
		out.memory = true;
		snprintf(out.where, sizeof(out.where), "%s", mounts.v1_memory);
	} else if (r < 0) {
		snprintf(out.reason, sizeof(out.reason), "/proc/self/mountinfo cannot be read: %s",
			 strerror(-r));
	} else if (out.version == MEMCG_NONE) {
		snprintf(out.reason, sizeof(out.reason), "no cgroup file system is mounted");
	} else {
		snprintf(out.reason, sizeof(out.reason),
			 "cgroups are mounted without the memory controller "
			 "(cgroup_disable=memory on the kernel command line?)");
	}
	*ret_memcg = out;
	return 0;
}

int memcg_lines(int rootfd, pid_t pid, char *buf, size_t n)
{
	char path[64];
	int r;

	snprintf(path, sizeof(path), "proc/%d/cgroup", (int)pid);
	r = kfile_read(rootfd, path, buf, n);
	return r == -ENOENT ? -ESRCH : r;
}

int memcg_path(int rootfd, const struct memcg *memcg, enum memcg_controller controller, pid_t pid,
	       char *buf, size_t n)
{
	char text[MEMCG_LINES_MAX], *save = NULL;
	int r;

	if (!memcg_has(memcg, controller))
		return -ENOENT;
	r = memcg_lines(rootfd, pid, text, sizeof(text));
	if (r < 0)
		return r;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		/* "4:memory:/a/b" or "0::/a/b" */
		char *names = strchr(line, ':'), *below = names ? strchr(names + 1, ':') : NULL;

		if (!below)
			continue;
		*below++ = '\0';
		names++;
		if (memcg_is_v2(memcg, controller)
			    ? *names != '\0'
			    : !has_word(names, memcg_controller_name(controller), ","))
			continue;
		r = snprintf(buf, n, "%s%s", memcg_where(memcg, controller),
			     strcmp(below, "/") ? below : "");
		return r < 0 || (size_t)r >= n ? -E2BIG : 0;
	}
	return -ENOENT;
}

int memcg_of(int rootfd, const struct memcg *memcg, pid_t pid, char *buf, size_t n)
{
	return memcg_path(rootfd, memcg, MEMCG_MEMORY, pid, buf, n);
}
