// SPDX-License-Identifier: Apache-2.0
/* Looking through /proc/PID/fd; see pinned.h. */
#include "memd/pinned.h"

#include <dirent.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

static const struct {
	const char *part, *reason; /* of the link's target */
} signs[] = {
	{"/dev/vfio/", "a passed-through device (VFIO) pins its memory"},
	{"/dev/vhost-vdpa", "a vDPA device pins its memory"},
	{"/dev/sev", "its memory is encrypted (AMD SEV)"},
	{"[kvm-gmem]", "its memory is private to the guest (guest_memfd)"},
};

static const char *target_reason(const char *target)
{
	/* the container that holds no device yet */
	if (strcmp(target, "/dev/vfio/vfio") == 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(signs); i++)
		if (strstr(target, signs[i].part))
			return signs[i].reason;
	return NULL;
}

const char *pinned_reason(int rootfd, pid_t pid)
{
	AUTO_FD int fd = -1;
	AUTO_DIR DIR *dir = NULL;
	const char *reason = NULL;
	struct dirent *entry;
	char path[64];

	snprintf(path, sizeof(path), "proc/%d/fd", (int)pid);
	fd = openat(rootfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return NULL;
	TAKE_FD(fd);
	while (!reason && (entry = readdir(dir))) {
		char target[64];
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

		if (len < 0)
			continue;
		target[len] = '\0';
		reason = target_reason(target);
	}
	return reason;
}
