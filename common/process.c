// SPDX-License-Identifier: Apache-2.0
/* Reading /proc as a folder; see process.h. */
#include "common/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/grow.h"

int process_list(int rootfd, pid_t **ret_pids, size_t *ret_n)
{
	AUTO_FREE pid_t *pids = NULL;
	AUTO_FD int fd = openat(rootfd, "proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_DIR DIR *dir = NULL;
	struct dirent *entry;
	size_t n = 0, room = 0;
	pid_t *more;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	TAKE_FD(fd);
	while ((entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]) || strlen(entry->d_name) > 10)
			continue;
		more = grow(pids, &room, n + 1, sizeof(*pids));
		if (!more)
			return -ENOMEM;
		pids = more;
		pids[n++] = (pid_t)strtol(entry->d_name, NULL, 10);
	}
	*ret_pids = pids;
	pids = NULL;
	*ret_n = n;
	return 0;
}

int process_open(int rootfd, pid_t pid, const char *file)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "proc/%d/%s", (int)pid, file);
	fd = openat(rootfd, path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 ? fd : errno == ENOENT ? -ESRCH : -errno;
}

const char *process_stat_after_comm(const char *stat)
{
	const char *p = strrchr(stat, ')');

	return p && p[1] == ' ' ? p + 2 : NULL;
}
