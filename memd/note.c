// SPDX-License-Identifier: Apache-2.0
/* Written beside the old one and renamed over it. */
#include "memd/note.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "memd/config.h"
#include "memd/footprint.h"

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

static bool is_unclaimed(const struct guests *guests, pid_t pid, uint64_t starttime)
{
	const struct guest *guest = guests_find_process(guests, pid, starttime);
	struct footprint foot;
	int r;

	if (guest && guest->recalled)
		return false;
	r = footprint_quick(guests->rootfd, pid, &foot);
	/* One that cannot be looked at just now has not ended. */
	return r == 0 ? foot.starttime == starttime : r != -ESRCH;
}

struct guests_note {
	const char *dir, *name;
	const struct guests *guests;
	void (*fill)(FILE *file, const struct guests *guests);
};

static void fill_guests(FILE *file, const void *ctx)
{
	const struct guests_note *note = ctx;
	char path[CONFIG_PATH_MAX + 32];
	AUTO_FREE char *line = NULL;
	AUTO_FILE FILE *old = NULL;
	uint64_t starttime;
	size_t room = 0;
	int pid;

	snprintf(path, sizeof(path), "%s/%s", note->dir, note->name);
	old = fopen(path, "re");
	while (old && getline(&line, &room, old) > 0)
		if (sscanf(line, "%d %" SCNu64 " ", &pid, &starttime) == 2 && pid > 0 &&
		    is_unclaimed(note->guests, pid, starttime))
			fputs(line, file);
	note->fill(file, note->guests);
}

int note_write_guests(const char *dir, const char *name, const struct guests *guests,
		      void (*fill)(FILE *file, const struct guests *guests))
{
	struct guests_note note = {dir, name, guests, fill};

	return note_write(dir, name, fill_guests, &note);
}
