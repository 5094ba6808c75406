// SPDX-License-Identifier: Apache-2.0
/* Limits up to the root; see cgroup_room.h. */
#include "memd/cgroup_room.h"

#include <errno.h>
#include <string.h>

#include "memd/cgroup_file.h"
#include "policy/snapshot.h"

/* 0: POL_ABSENT too; -ENOENT: no such file; -errno, -EINVAL. */
static int read_number(int rootfd, const struct memcg *memcg, enum memcg_file file,
		       const char *path, uint64_t *ret_value)
{
	char text[64];
	int r = memcg_file_read(rootfd, file, memcg->memory_v2, path, text, sizeof(text));

	return r < 0 ? r : memcg_limit_parse(text, ret_value);
}

/* By the limits of this one alone; *ret_has: is the controller there? */
static uint64_t room_of(int rootfd, const struct memcg *memcg, const char *path, bool *ret_has)
{
	static const enum memcg_file limits[] = {MEMCG_MAX, MEMCG_HIGH};
	uint64_t room = POL_ABSENT, limit, current;
	int r = read_number(rootfd, memcg, MEMCG_CURRENT, path, &current);

	/* Threaded children and version 2's root are without. */
	*ret_has = r != -ENOENT;
	if (r == -ENOENT)
		return POL_ABSENT;
	if (r < 0)
		return 0;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		r = read_number(rootfd, memcg, limits[i], path, &limit);
		if (r == -ENOENT)
			continue;
		if (r < 0)
			return 0;
		if (!pol_has(limit))
			continue;
		limit = current < limit ? limit - current : 0;
		room = limit < room ? limit : room;
	}
	return room;
}

uint64_t memcg_room(int rootfd, const struct memcg *memcg, pid_t pid, uint64_t *ret_above)
{
	char path[MEMCG_PATH_MAX];
	uint64_t room = POL_ABSENT;
	bool own = true, has;
	int r;

	*ret_above = POL_ABSENT;
	if (!memcg->memory)
		return POL_ABSENT;
	r = memcg_of(rootfd, memcg, pid, path, sizeof(path));
	if (r == -ENOENT)
		return POL_ABSENT;
	/* Of another namespace of cgroups, or a mount that shows a part. */
	if (r < 0 || strstr(path, "/..") ||
	    !memcg_file_exists(rootfd, MEMCG_PROCS, memcg->memory_v2, path))
		return *ret_above = 0;
	for (; strlen(path) > strlen(memcg->where); *strrchr(path, '/') = '\0') {
		uint64_t here = room_of(rootfd, memcg, path, &has);

		room = here < room ? here : room;
		if (!own)
			*ret_above = here < *ret_above ? here : *ret_above;
		own = own && !has;
	}
	return room;
}
