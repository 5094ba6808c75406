// SPDX-License-Identifier: Apache-2.0
/* libcgroup 2.0 and its traps; see the header. */
#include "memd/cgroup_make.h"

#include <errno.h>
#include <fcntl.h>
#include <libcgroup.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/kfile.h"
#include "memd/cgroup_file.h"

/* Of processes that fork while they are moved. */
#define MOVE_ROUNDS 16

/* 0 is no error although cgroup_strerror() has words for it. */
static int error_of(int r)
{
	switch (r) {
	case 0:
		return 0;
	case ECGOTHER:
		return cgroup_get_last_errno() ? -cgroup_get_last_errno() : -EIO;
	case ECGROUPNOTOWNER:
	case ECGROUPNOTALLOWED:
		return -EPERM;
	case ECGROUPNOTMOUNTED:
	case ECGROUPSUBSYSNOTMOUNTED:
		return -ENODEV;
	case ECGNONEMPTY:
		return -EBUSY;
	default:
		return -EIO;
	}
}

/* It reads /proc/mounts: once, at the first need. */
static int init_error;

static void init(void)
{
	init_error = error_of(cgroup_init());
}

static int group_new(unsigned int controllers, const char *name, struct cgroup **ret_group)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct cgroup *group;

	pthread_once(&once, init);
	if (init_error < 0)
		return init_error;
	group = cgroup_new_cgroup(name);
	if (!group)
		return -ENOMEM;
	for (enum memcg_controller c = 0; c < MEMCG_CONTROLLERS; c++)
		if (controllers >> c & 1 &&
		    !cgroup_add_controller(group, memcg_controller_name(c))) {
			cgroup_free(&group);
			return -ENOMEM;
		}
	*ret_group = group;
	return 0;
}

static void path_of(const struct memcg *memcg, unsigned int controllers, const char *name,
		    char *buf, size_t n)
{
	snprintf(buf, n, "%s/%s",
		 memcg_where(memcg, (enum memcg_controller)__builtin_ctz(controllers)), name);
}

static int make_live(int rootfd, const struct memcg *memcg, unsigned int controllers,
		     const char *name)
{
	char path[2 * MEMCG_PATH_MAX];
	struct cgroup *group;
	int r;

	path_of(memcg, controllers, name, path, sizeof(path));
	if (faccessat(rootfd, path, F_OK, 0) == 0) /* which libcgroup takes for its own */
		return -EEXIST;
	r = group_new(controllers, name, &group);
	if (r < 0)
		return r;
	r = error_of(cgroup_create_cgroup(group, 1));
	cgroup_free(&group);
	/* What it says is held against what is there. */
	if (r == 0 && faccessat(rootfd, path, F_OK, 0) < 0)
		r = -errno;
	return r;
}

static int remove_live(int rootfd, const struct memcg *memcg, unsigned int controllers,
		       const char *name)
{
	char path[2 * MEMCG_PATH_MAX];
	struct cgroup *group;
	int r;

	path_of(memcg, controllers, name, path, sizeof(path));
	if (faccessat(rootfd, path, F_OK, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	r = group_new(controllers, name, &group);
	if (r < 0)
		return r;
	r = error_of(cgroup_delete_cgroup_ext(group, CGFLAG_DELETE_EMPTY_ONLY));
	cgroup_free(&group);
	if (r == 0 && faccessat(rootfd, path, F_OK, 0) == 0)
		r = -EBUSY;
	return r;
}

static int move_live(int rootfd, pid_t pid, const char *to)
{
	char value[16];

	snprintf(value, sizeof(value), "%d", (int)pid);
	return memcg_file_write(rootfd, MEMCG_PROCS, true, to, value);
}

/* One round: of those that are there now. */
static int move_these(int rootfd, char *procs, const char *to)
{
	char *save = NULL;
	int error = 0;

	for (char *line = strtok_r(procs, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		int r = move_live(rootfd, (pid_t)strtol(line, NULL, 10), to);

		if (r < 0 && r != -ESRCH && error == 0)
			error = r;
	}
	return error;
}

static int move_all_live(int rootfd, const char *dir, const char *to)
{
	char text[4096];

	for (unsigned int round = 0; round < MOVE_ROUNDS; round++) {
		int r = memcg_file_read(rootfd, MEMCG_PROCS, true, dir, text, sizeof(text));
		char *end;

		if (r == -ENOENT || r == 0)
			return 0;
		if (r < 0 && r != -E2BIG)
			return r;
		end = strrchr(text, '\n');
		if (end) /* half a number is another process */
			*end = '\0';
		r = move_these(rootfd, text, to);
		if (r < 0)
			return r;
	}
	return -EAGAIN;
}

const struct memcg_hands memcg_hands_live = {
	.make = make_live,
	.remove = remove_live,
	.move = move_live,
	.move_all = move_all_live,
};
