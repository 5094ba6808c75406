// SPDX-License-Identifier: Apache-2.0
/*
 * Whose cgroup it is. libvirt gives each guest a scope with children for its threads; a guest that
 * somebody started by hand is in that user's session. The first is the guest's own, and what is
 * done to it is done to that guest alone; the other is not.
 */
#include "memd/guest_cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

struct dirent64_head { /* getdents64(2) */
	uint64_t ino;
	int64_t off;
	unsigned short len;
	unsigned char type;
	char name[];
};

static bool is_alone(int rootfd, const char *path, pid_t pid, unsigned int depth,
		     unsigned int *left);

/* The same of each child. By the system call itself: readdir(3) allocates, and this is in a tick.
 */
static bool are_alone(int rootfd, const char *path, pid_t pid, unsigned int depth,
		      unsigned int *left)
{
	AUTO_FD int fd = openat(rootfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_Alignas(struct dirent64_head) char buf[2048];
	long len;

	if (fd < 0)
		return false;
	while ((len = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0) {
		const struct dirent64_head *entry;

		for (long at = 0; at < len; at += entry->len) {
			char child[GUEST_CGROUP_PATH_MAX];
			int n;

			entry = (const struct dirent64_head *)(buf + at);
			if (entry->type != 4 /* DT_DIR */ || entry->name[0] == '.')
				continue;
			n = snprintf(child, sizeof(child), "%s/%s", path, entry->name);
			if (n < 0 || (size_t)n >= sizeof(child) || depth == 0 ||
			    !is_alone(rootfd, child, pid, depth - 1, left))
				return false;
		}
	}
	return len == 0;
}

static bool is_alone(int rootfd, const char *path, pid_t pid, unsigned int depth,
		     unsigned int *left)
{
	struct stat st;

	if (*left == 0 || !holds_only(rootfd, path, pid))
		return false;
	--*left;
	/* A directory has a link from each child's "..". */
	if (fstatat(rootfd, path, &st, 0) == 0 && st.st_nlink == 2)
		return true;
	return are_alone(rootfd, path, pid, depth, left);
}

int guest_cgroup_find(int rootfd, const struct memcg *memcg, pid_t pid, char *path, size_t n)
{
	unsigned int left = CHILDREN_MOST;
	char at[GUEST_CGROUP_PATH_MAX], *slash;
	int r = memcg_of(rootfd, memcg, pid, at, sizeof(at));

	if (r < 0)
		return r;
	if (strstr(at, "/..")) /* of another cgroup namespace */
		return -ENOENT;
	/* Threaded ones have no memory of their own. */
	while (!memcg_file_exists(rootfd, MEMCG_CURRENT, memcg->memory_v2, at) &&
	       strcmp(at, memcg->where) != 0 && (slash = strrchr(at, '/')))
		*slash = '\0';
	if (strcmp(at, memcg->where) == 0 || strlen(at) <= strlen(memcg->where))
		return -ENOENT;
	if (!is_alone(rootfd, at, pid, CHILDREN_DEPTH, &left))
		return -EBUSY;
	return snprintf(path, n, "%s", at) < (int)n ? 0 : -E2BIG;
}

static int open_file(int rootfd, enum memcg_file file, const struct guest_cgroup *cgroup)
{
	char path[GUEST_CGROUP_PATH_MAX + 32];
	int r = memcg_file_path(file, cgroup->v2, cgroup->path, path, sizeof(path));

	return r < 0 ? r : kept_open(rootfd, path);
}

static void open_files(struct guest_cgroup *cgroup, int rootfd)
{
	cgroup->reclaim = memcg_file_exists(rootfd, MEMCG_RECLAIM, cgroup->v2, cgroup->path);
	cgroup->pressure_fd = open_file(rootfd, MEMCG_PRESSURE, cgroup);
	cgroup->current_fd = open_file(rootfd, MEMCG_CURRENT, cgroup);
	cgroup->swap_fd = open_file(rootfd, MEMCG_SWAP_CURRENT, cgroup);
	cgroup->stat_fd = open_file(rootfd, MEMCG_STAT, cgroup);
}

static void find(struct guest_cgroup *cgroup, int rootfd, const struct memcg *memcg, pid_t pid,
		 uint64_t now_us)
{
	char path[GUEST_CGROUP_PATH_MAX] = "";
	int r = guest_cgroup_find(rootfd, memcg, pid, path, sizeof(path));

	if (r < 0)
		path[0] = '\0';
	if (pid != cgroup->pid || strcmp(path, cgroup->path) != 0) {
		guest_cgroup_fini(cgroup);
		guest_cgroup_init(cgroup);
		cgroup->v2 = memcg->memory_v2;
		snprintf(cgroup->path, sizeof(cgroup->path), "%s", path);
		if (path[0])
			open_files(cgroup, rootfd);
	}
	cgroup->error = r < 0 ? r : 0;
	if (memcg_owner_of(rootfd, pid, &cgroup->owner, cgroup->who, sizeof(cgroup->who)) < 0)
		cgroup->owner = MEMCG_NOBODY;
	/* Guests found in one tick are not all looked for again in one. */
	cgroup->found_us = now_us - (pid == cgroup->pid ? 0 : (uint64_t)pid % 16 * USEC_PER_SEC);
	cgroup->pid = pid;
}

void guest_cgroup_again(struct guest_cgroup *cgroup)
{
	cgroup->found_us = 0;
}

static uint64_t number(int fd)
{
	uint64_t value;

	return kept_read_u64(fd, &value) == 0 ? value : POL_ABSENT;
}

static uint64_t refaults(const struct guest_cgroup *cgroup)
{
	char text[8192];

	if (kept_read(cgroup->stat_fd, text, sizeof(text)) < 0)
		return POL_ABSENT;
	return memcg_stat_refaults(text, cgroup->v2);
}

/* v1 counts memory and swap together. */
static uint64_t swap_of(const struct guest_cgroup *cgroup)
{
	uint64_t bytes = number(cgroup->swap_fd);

	if (cgroup->v2 || !pol_has(bytes) || !pol_has(cgroup->current_bytes))
		return cgroup->v2 ? bytes : POL_ABSENT;
	return bytes > cgroup->current_bytes ? bytes - cgroup->current_bytes : 0;
}

void guest_cgroup_look(struct guest_cgroup *cgroup, int rootfd, const struct memcg *memcg,
		       pid_t pid, uint64_t now_us)
{
	char text[512];

	if (pid != cgroup->pid || !cgroup->found_us || now_us - cgroup->found_us >= FIND_EVERY_US)
		find(cgroup, rootfd, memcg, pid, now_us);
	cgroup->current_bytes = number(cgroup->current_fd);
	cgroup->swap_bytes = swap_of(cgroup);
	cgroup->psi_some_us = kept_read(cgroup->pressure_fd, text, sizeof(text)) < 0
				      ? POL_ABSENT
				      : host_psi_total(text, "some ");
	/* Costly, and of no use while nothing of it is in swap. */
	if (pol_has(cgroup->swap_bytes) && cgroup->swap_bytes > 0)
		cgroup->refault_bytes = refaults(cgroup);
}
