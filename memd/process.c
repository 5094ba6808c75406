// SPDX-License-Identifier: Apache-2.0
/* Names of processes; see process.h. */
#include "memd/process.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/kfile.h"

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
