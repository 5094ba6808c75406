// SPDX-License-Identifier: Apache-2.0
#include "memd/arrival.h"

#include <errno.h>
#include <fnmatch.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "memd/config.h"

/* More directories than guests there may be are no patterns for sockets. */
#define WATCHES_MOST 1024
#define WILD	     "*?["

struct arrival {
	int fd;
};

int arrival_open(struct arrival **ret_arrival)
{
	struct arrival *arrival = calloc(1, sizeof(*arrival));
	int error;

	if (!arrival)
		return -ENOMEM;
	arrival->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (arrival->fd < 0) {
		error = errno;
		free(arrival);
		return -error;
	}
	*ret_arrival = arrival;
	return 0;
}

void arrival_close(struct arrival *arrival)
{
	if (!arrival)
		return;
	cleanup_fd(&arrival->fd);
	free(arrival);
}

int arrival_fd(const struct arrival *arrival)
{
	return arrival->fd;
}

/* The same directory again is the same watch. */
static void watch(struct arrival *arrival, const char *dir)
{
	(void)inotify_add_watch(arrival->fd, *dir ? dir : "/",
				IN_CREATE | IN_MOVED_TO | IN_ONLYDIR);
}

static void watch_matching(struct arrival *arrival, const char *pattern)
{
	glob_t found = {0};

	if (glob(pattern, GLOB_NOSORT | GLOB_ONLYDIR, NULL, &found) == 0)
		for (size_t i = 0; i < found.gl_pathc && i < WATCHES_MOST; i++)
			watch(arrival, found.gl_pathv[i]);
	globfree(&found);
}

/* The next pattern of the list, a copy; NULL: no more. */
static char *next_pattern(char *globs, char **save)
{
	return strtok_r(*save ? NULL : globs, " \t", save);
}

void arrival_watch(struct arrival *arrival, const char *globs)
{
	char copy[CONFIG_TEXT_MAX], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", globs);
	for (char *p; (p = next_pattern(copy, &save));) {
		char *slash = strrchr(p, '/'), *wild;

		if (!slash)
			continue;
		*slash = '\0';
		wild = strpbrk(p, WILD);
		if (!wild) {
			watch(arrival, p);
			continue;
		}
		watch_matching(arrival, p);
		while (*wild != '/')
			wild--;
		*wild = '\0';
		watch(arrival, p);
	}
}

/* A directory may be one on the way to a pattern's files. */
static bool fits(const char *name, bool is_dir, const char *globs)
{
	char copy[CONFIG_TEXT_MAX], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", globs);
	for (char *p; (p = next_pattern(copy, &save));) {
		char *slash = strrchr(p, '/');

		if (!slash)
			continue;
		*slash = '\0';
		if (is_dir ? strpbrk(p, WILD) != NULL : fnmatch(slash + 1, name, FNM_PERIOD) == 0)
			return true;
	}
	return false;
}

bool arrival_take(struct arrival *arrival, const char *globs)
{
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool come = false;
	ssize_t n;

	while ((n = read(arrival->fd, buf, sizeof(buf))) > 0) {
		const struct inotify_event *event;

		for (ssize_t at = 0; at < n; at += (ssize_t)(sizeof(*event) + event->len)) {
			event = (const struct inotify_event *)(buf + at);
			/* Lost events may have been of anything. */
			if (event->mask & IN_Q_OVERFLOW)
				come = true;
			else if (!come && event->len > 0)
				come = fits(event->name, event->mask & IN_ISDIR, globs);
		}
	}
	return come;
}
