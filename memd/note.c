// SPDX-License-Identifier: Apache-2.0
/* Written beside the old one and renamed over it. */
#include "memd/note.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

#include "memd/config.h"

int note_write(const char *dir, const char *name, void (*fill)(FILE *file, const void *ctx),
	       const void *ctx)
{
	char path[CONFIG_PATH_MAX + 32], temp[CONFIG_PATH_MAX + 40];
	FILE *file;
	bool bad;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	snprintf(temp, sizeof(temp), "%s.new", path);
	file = fopen(temp, "we");
	if (!file)
		return -errno;
	fill(file, ctx);
	bad = ferror(file);
	bad |= fclose(file) != 0;
	if (!bad && rename(temp, path) == 0)
		return 0;
	unlink(temp);
	return -EIO;
}
