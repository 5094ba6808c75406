// SPDX-License-Identifier: Apache-2.0
/* Owners by the names of cgroups. */
#include "memd/cgroup_owner.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "memd/cgroup.h"

#define PART_MAX 256

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), n = strlen(end);

	return len >= n && strcmp(text + len - n, end) == 0;
}

static bool begins_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* "machine-qemu\x2d1\x2dweb.scope", and without systemd "qemu-1-web.libvirt-qemu". */
static bool is_libvirt(const char *part)
{
	return ends_with(part, ".libvirt-qemu") || strcmp(part, "libvirt") == 0 ||
	       (begins_with(part, "machine-qemu") && ends_with(part, ".scope"));
}

static bool is_systemd(const char *part)
{
	return ends_with(part, ".scope") || ends_with(part, ".service") ||
	       ends_with(part, ".slice");
}

static bool is_container(const char *part)
{
	static const char *const starts[] = {"docker",	       "kubepods",   "lxc",
					     "libpod",	       "podman",     "crio",
					     "cri-containerd", "containerd", "garden"};

	for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
		if (begins_with(part, starts[i]))
			return true;
	return false;
}

enum memcg_owner memcg_owner_of_path(const char *path, char *who, size_t n)
{
	enum memcg_owner owner = MEMCG_NOBODY;

	who[0] = '\0';
	for (const char *p = path; *p;) {
		size_t len = strcspn(p, "/");
		enum memcg_owner found = MEMCG_NOBODY;
		char part[PART_MAX];

		snprintf(part, sizeof(part), "%.*s", (int)(len < PART_MAX ? len : PART_MAX - 1), p);
		p += len + (p[len] == '/');
		if (is_libvirt(part))
			found = MEMCG_LIBVIRT;
		else if (is_systemd(part))
			found = MEMCG_SYSTEMD;
		else if (is_container(part))
			found = MEMCG_CONTAINER;
		/* Of the same owner's the innermost; libvirt's own are within systemd's. */
		if (found == MEMCG_NOBODY || (owner == MEMCG_LIBVIRT && found != MEMCG_LIBVIRT) ||
		    (owner == MEMCG_LIBVIRT && strcmp(part, "libvirt") == 0))
			continue;
		owner = found;
		snprintf(who, n, "%s", part);
	}
	return owner;
}

/* Of two that claim a process the one that is asked first. */
static unsigned int rank(enum memcg_owner owner)
{
	static const unsigned int ranks[] = {[MEMCG_NOBODY] = 0,
					     [MEMCG_CONTAINER] = 1,
					     [MEMCG_SYSTEMD] = 2,
					     [MEMCG_LIBVIRT] = 3};

	return ranks[owner];
}

int memcg_owner_of(int rootfd, pid_t pid, enum memcg_owner *ret_owner, char *who, size_t n)
{
	char text[MEMCG_LINES_MAX], found[PART_MAX], *save = NULL;
	enum memcg_owner owner = MEMCG_NOBODY;
	int r = memcg_lines(rootfd, pid, text, sizeof(text));

	if (r < 0)
		return r;
	who[0] = '\0';
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *path = strchr(line, ':');
		enum memcg_owner one;

		path = path ? strchr(path + 1, ':') : NULL;
		if (!path)
			continue;
		one = memcg_owner_of_path(path + 1, found, sizeof(found));
		if (rank(one) <= rank(owner))
			continue;
		owner = one;
		snprintf(who, n, "%s", found);
	}
	*ret_owner = owner;
	return 0;
}

char *memcg_owner_text(enum memcg_owner owner, const char *who, char *buf, size_t n)
{
	static const char *const texts[] = {[MEMCG_NOBODY] = "",
					    [MEMCG_SYSTEMD] = "systemd's unit ",
					    [MEMCG_LIBVIRT] = "libvirt's ",
					    [MEMCG_CONTAINER] = "a container manager's "};

	snprintf(buf, n, "%s%s", texts[owner], who);
	return buf;
}
