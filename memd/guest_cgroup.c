// SPDX-License-Identifier: Apache-2.0
/*
 * Whose cgroup it is. libvirt gives each guest a scope with children for its threads; a guest that
 * somebody started by hand is in that user's session. The first is the guest's own, and what is
 * done to it is done to that guest alone; the other is not.
 */
#include "memd/guest_cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "memd/host.h"
#include "memd/kept.h"
#include "policy/policy.h"

#define FIND_EVERY_US  (30 * USEC_PER_SEC)
#define CHILDREN_DEPTH 3
#define CHILDREN_MOST  600 /* libvirt makes one for each virtual CPU */

void guest_cgroup_init(struct guest_cgroup *cgroup)
{
	*cgroup = (struct guest_cgroup){
		.pressure_fd = -1,
		.current_fd = -1,
		.swap_fd = -1,
		.stat_fd = -1,
		.current_bytes = POL_ABSENT,
		.swap_bytes = POL_ABSENT,
		.psi_some_us = POL_ABSENT,
		.refault_bytes = POL_ABSENT,
	};
}

static void close_one(int *fd)
{
	cleanup_fd(fd);
	*fd = -1;
}

void guest_cgroup_fini(struct guest_cgroup *cgroup)
{
	close_one(&cgroup->pressure_fd);
	close_one(&cgroup->current_fd);
	close_one(&cgroup->swap_fd);
	close_one(&cgroup->stat_fd);
}

/* Is each process of the file that one? A threaded cgroup does not tell (EOPNOTSUPP): its
 * processes are those of its parent. */
static bool holds_only(int rootfd, const char *path, pid_t pid)
{
	char file[GUEST_CGROUP_PATH_MAX + 32], text[4096], *save = NULL;
	int r;

	snprintf(file, sizeof(file), "%s/cgroup.procs", path);
	r = kfile_read(rootfd, file, text, sizeof(text));
	if (r == -EOPNOTSUPP)
		return true;
	if (r < 0)
		return false;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (strtol(line, NULL, 10) != pid)
			return false;
	return true;
}

static bool is_alone(int rootfd, const char *path, pid_t pid, unsigned int depth,
		     unsigned int *left)
{
	AUTO_FD int fd = -1;
	AUTO_DIR DIR *dir = NULL;
	struct dirent *entry;

	if (*left == 0 || !holds_only(rootfd, path, pid))
		return false;
	--*left;
	fd = openat(rootfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return false;
	TAKE_FD(fd);
	while ((entry = readdir(dir))) {
		char child[GUEST_CGROUP_PATH_MAX];
		int n;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		n = snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
		if (n < 0 || (size_t)n >= sizeof(child) || depth == 0 ||
		    !is_alone(rootfd, child, pid, depth - 1, left))
			return false;
	}
	return true;
}

static bool has_file(int rootfd, const char *path, const char *name)
{
	char file[GUEST_CGROUP_PATH_MAX + 32];

	snprintf(file, sizeof(file), "%s/%s", path, name);
	return faccessat(rootfd, file, F_OK, 0) == 0;
}

int guest_cgroup_find(int rootfd, const struct memcg *memcg, pid_t pid, char *path, size_t n)
{
	unsigned int left = CHILDREN_MOST;
	char at[GUEST_CGROUP_PATH_MAX], *slash;
	int r;

	if (!memcg->memory_v2)
		return -ENOENT;
	r = memcg_of(rootfd, memcg, pid, at, sizeof(at));
	if (r < 0)
		return r;
	if (strstr(at, "/..")) /* of another cgroup namespace */
		return -ENOENT;
	/* Threaded ones have no memory of their own. */
	while (!has_file(rootfd, at, "memory.swap.max") && strcmp(at, memcg->where) != 0 &&
	       (slash = strrchr(at, '/')))
		*slash = '\0';
	if (strcmp(at, memcg->where) == 0 || strlen(at) <= strlen(memcg->where))
		return -ENOENT;
	if (!is_alone(rootfd, at, pid, CHILDREN_DEPTH, &left))
		return -EBUSY;
	return snprintf(path, n, "%s", at) < (int)n ? 0 : -E2BIG;
}

static int open_file(int rootfd, const char *path, const char *name)
{
	char file[GUEST_CGROUP_PATH_MAX + 32];

	snprintf(file, sizeof(file), "%s/%s", path, name);
	return kept_open(rootfd, file);
}

static void find(struct guest_cgroup *cgroup, int rootfd, const struct memcg *memcg, pid_t pid,
		 uint64_t now_us)
{
	char path[GUEST_CGROUP_PATH_MAX] = "";

	if (guest_cgroup_find(rootfd, memcg, pid, path, sizeof(path)) < 0)
		path[0] = '\0';
	if (pid != cgroup->pid || strcmp(path, cgroup->path) != 0) {
		guest_cgroup_fini(cgroup);
		guest_cgroup_init(cgroup);
		snprintf(cgroup->path, sizeof(cgroup->path), "%s", path);
		if (path[0]) {
			cgroup->reclaim = has_file(rootfd, path, "memory.reclaim");
			cgroup->pressure_fd = open_file(rootfd, path, "memory.pressure");
			cgroup->current_fd = open_file(rootfd, path, "memory.current");
			cgroup->swap_fd = open_file(rootfd, path, "memory.swap.current");
			cgroup->stat_fd = open_file(rootfd, path, "memory.stat");
		}
	}
	/* Guests found in one tick are not all looked for again in one. */
	cgroup->found_us = now_us - (pid == cgroup->pid ? 0 : (uint64_t)pid % 16 * USEC_PER_SEC);
	cgroup->pid = pid;
}

static uint64_t number(int fd)
{
	uint64_t value;

	return kept_read_u64(fd, &value) == 0 ? value : POL_ABSENT;
}

/* Pages read back: counted as such since 6.13, before that as those whose absence was noticed. */
static uint64_t refaults(int fd)
{
	char text[8192];
	uint64_t pages;

	if (kept_read(fd, text, sizeof(text)) < 0)
		return POL_ABSENT;
	if (kfile_field_u64(text, "pswpin", &pages) < 0 &&
	    kfile_field_u64(text, "workingset_refault_anon", &pages) < 0)
		return POL_ABSENT;
	return pages < POL_ABSENT / host_page_bytes() ? pages * host_page_bytes() : POL_ABSENT;
}

void guest_cgroup_look(struct guest_cgroup *cgroup, int rootfd, const struct memcg *memcg,
		       pid_t pid, uint64_t now_us)
{
	char text[512];

	if (pid != cgroup->pid || !cgroup->found_us || now_us - cgroup->found_us >= FIND_EVERY_US)
		find(cgroup, rootfd, memcg, pid, now_us);
	cgroup->current_bytes = number(cgroup->current_fd);
	cgroup->swap_bytes = number(cgroup->swap_fd);
	cgroup->psi_some_us = kept_read(cgroup->pressure_fd, text, sizeof(text)) < 0
				      ? POL_ABSENT
				      : host_psi_total(text, "some ");
	/* Costly, and of no use while nothing of it is in swap. */
	if (pol_has(cgroup->swap_bytes) && cgroup->swap_bytes > 0)
		cgroup->refault_bytes = refaults(cgroup->stat_fd);
}
