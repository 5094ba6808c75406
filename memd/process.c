// SPDX-License-Identifier: Apache-2.0
/* Reading /proc as a folder, and names; see process.h. */
#include "memd/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/grow.h"
#include "common/kfile.h"

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

const char *process_stat_after_comm(const char *stat)
{
	const char *p = strrchr(stat, ')');

	return p && p[1] == ' ' ? p + 2 : NULL;
}

/*
 * The name on a hypervisor's command line: "-name web1", "-name guest=web1,debug-threads=on",
 * "--name web1". Only a label: nothing is decided by it.
 */
static bool name_from_command(char *command, size_t len, char *buf, size_t n)
{
	for (size_t at = 0; at < len; at += strlen(command + at) + 1) {
		const char *word = command + at, *name;

		if (!strncmp(word, "--name=", 7))
			name = word + 7;
		else if ((!strcmp(word, "-name") || !strcmp(word, "--name")) &&
			 at + strlen(word) + 1 < len)
			name = word + strlen(word) + 1;
		else
			continue;
		if (!strncmp(name, "guest=", 6))
			name += 6;
		snprintf(buf, n, "%.*s", (int)strcspn(name, ","), name);
		return *buf;
	}
	return false;
}

void process_name(int rootfd, pid_t pid, char *buf, size_t n)
{
	AUTO_FREE char *command = NULL;
	char path[64];
	size_t len;

	snprintf(path, sizeof(path), "proc/%d/cmdline", (int)pid);
	if (kfile_read_all(rootfd, path, &command, &len) == 0 &&
	    name_from_command(command, len, buf, n))
		return;
	snprintf(path, sizeof(path), "proc/%d/comm", (int)pid);
	if (kfile_read(rootfd, path, buf, n) > 0) {
		buf[strcspn(buf, "\n")] = '\0';
		return;
	}
	snprintf(buf, n, "%d", (int)pid);
}
