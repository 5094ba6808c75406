// SPDX-License-Identifier: Apache-2.0
/*
 * Finding ksmd, and its nice value. The system calls take a pid of this process's own pid
 * namespace, so /proc has to be the live one and of that namespace, and ksmd is looked for anew
 * every time: never is another process touched, nor anything because of a captured host.
 */
#include "common/ksmd.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/process.h"

#define KTHREADD 2

/* Of proc_pid_stat(5): the comm, which may hold anything, is in brackets, the parent behind it. */
static bool is_ksmd(int rootfd, pid_t pid)
{
	char path[64], stat[1024], begin[32];
	const char *rest;
	int parent, n;

	snprintf(path, sizeof(path), "proc/%d/stat", (int)pid);
	if (kfile_read(rootfd, path, stat, sizeof(stat)) < 0)
		return false;
	n = snprintf(begin, sizeof(begin), "%d (ksmd) ", (int)pid);
	rest = process_stat_after_comm(stat);
	return rest == stat + n && strncmp(stat, begin, (size_t)n) == 0 &&
	       sscanf(rest, "%*c %d ", &parent) == 1 && parent == KTHREADD;
}

pid_t ksmd_find(int rootfd)
{
	AUTO_FREE pid_t *pids = NULL;
	size_t n;
	int r = process_list(rootfd, &pids, &n);

	for (size_t i = 0; r == 0 && i < n; i++)
		if (is_ksmd(rootfd, pids[i]))
			return pids[i];
	return r < 0 ? r : -ENOENT;
}

/* Ours, and its /proc of our pid namespace: there we are who we are. */
static bool is_live(int rootfd)
{
	struct stat root, ours;
	char self[16], link[16];
	ssize_t len;

	if (fstat(rootfd, &root) < 0 || stat("/", &ours) < 0 || root.st_dev != ours.st_dev ||
	    root.st_ino != ours.st_ino)
		return false;
	len = readlinkat(rootfd, "proc/self", link, sizeof(link) - 1);
	if (len < 0)
		return false;
	link[len] = '\0';
	snprintf(self, sizeof(self), "%d", (int)getpid());
	return strcmp(self, link) == 0;
}

static pid_t find_live(int rootfd)
{
	return is_live(rootfd) ? ksmd_find(rootfd) : -ENOENT;
}

/* -1 is a nice value too. */
static int nice_of(pid_t pid, int *ret_nice)
{
	int nice;

	errno = 0;
	nice = getpriority(PRIO_PROCESS, (id_t)pid);
	if (nice == -1 && errno)
		return -errno;
	*ret_nice = nice;
	return 0;
}

int ksmd_nice(int rootfd, int *ret_nice)
{
	pid_t pid = find_live(rootfd);

	return pid < 0 ? pid : nice_of(pid, ret_nice);
}

int ksmd_set_nice(int rootfd, int nice)
{
	pid_t pid = find_live(rootfd);
	int now = 0, r;

	if (pid < 0)
		return pid;
	if (setpriority(PRIO_PROCESS, (id_t)pid, nice) < 0)
		return -errno;
	r = nice_of(pid, &now);
	return r < 0 || now == nice ? r : -EIO;
}
