// SPDX-License-Identifier: Apache-2.0
/*
 * Paths out of reach: by Landlock (Documentation/userspace-api/landlock.rst, Linux 5.13), or where
 * the kernel has none and we are root, by a mount namespace of our own in which all is read-only
 * but the sockets' directories. Landlock's constants are written out here, for the headers of the
 * build host may be older than the kernel that we run on.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "vmm/sandbox_impl.h"

#ifndef __NR_mount_setattr
#define __NR_mount_setattr 442
#endif
#ifndef __NR_landlock_create_ruleset
#define __NR_landlock_create_ruleset 444
#define __NR_landlock_add_rule	     445
#define __NR_landlock_restrict_self  446
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

#define LANDLOCK_VERSION_FLAG 1U
#define LANDLOCK_PATH_BENEATH 1
#define LANDLOCK_REMOVE_FILE  (1ULL << 5)
#define LANDLOCK_READ	      (1ULL << 2 | 1ULL << 3)

#define ATTR_RDONLY 0x1ULL
#define ATTR_NOSUID 0x2ULL
#define ATTR_NODEV  0x4ULL
#define ATTR_NOEXEC 0x8ULL

struct ruleset {
	uint64_t fs, net, scoped;
};

struct path_rule {
	uint64_t allowed;
	int32_t parent_fd;
} __attribute__((packed));

struct mount_attributes {
	uint64_t set, clear, propagation, userns_fd;
};

/* All that this version of Landlock can deny, and how much of the struct it knows. */
static size_t ruleset_of(long version, struct ruleset *ret_ruleset)
{
	unsigned int rights = version >= 5 ? 16 : version >= 3 ? 15 : version == 2 ? 14 : 13;

	*ret_ruleset = (struct ruleset){
		.fs = (1ULL << rights) - 1,
		.net = 0x3,    /* bind and connect of TCP */
		.scoped = 0x3, /* abstract sockets and signals of others */
	};
	return version >= 6   ? sizeof(*ret_ruleset)
	       : version >= 4 ? offsetof(struct ruleset, scoped)
			      : offsetof(struct ruleset, net);
}

static int open_directory(const char *socket)
{
	AUTO_FREE char *copy = strdup(socket);

	return copy ? open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
}

static int landlock_open(const char *const *sockets, size_t n)
{
	long version =
		syscall(__NR_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_VERSION_FLAG);
	struct ruleset ruleset;
	AUTO_FD int fd = -1;
	size_t size;

	if (version < 1)
		return -1;
	size = ruleset_of(version, &ruleset);
	fd = (int)syscall(__NR_landlock_create_ruleset, &ruleset, size, 0U);
#ifdef SANDBOX_SANITIZED
	AUTO_FD int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const struct path_rule look = {.allowed = LANDLOCK_READ, .parent_fd = proc};

	(void)syscall(__NR_landlock_add_rule, fd, LANDLOCK_PATH_BENEATH, &look, 0U);
#endif
	for (size_t i = 0; fd >= 0 && i < n; i++) {
		AUTO_FD int dir = open_directory(sockets[i]);
		struct path_rule rule = {.allowed = LANDLOCK_REMOVE_FILE, .parent_fd = dir};

		/* The worst that failing does is a socket file that stays. */
		if (dir < 0 ||
		    syscall(__NR_landlock_add_rule, fd, LANDLOCK_PATH_BENEATH, &rule, 0U) < 0)
			log_warn("sandbox: %s will be left behind: %m", sockets[i]);
	}
	return TAKE_FD(fd);
}

static int set_attributes(const char *path, unsigned int flags, uint64_t set, uint64_t clear)
{
	struct mount_attributes attributes = {.set = set, .clear = clear};

	return (int)syscall(__NR_mount_setattr, AT_FDCWD, path, flags, &attributes,
			    sizeof(attributes));
}

static bool namespace_open(const char *const *sockets, size_t n)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return false;
	/* A directory that is a mount of its own keeps being writable when the rest is not. */
	for (size_t i = 0; i < n; i++) {
		AUTO_FREE char *copy = strdup(sockets[i]);
		const char *dir = copy ? dirname(copy) : NULL;

		if (!dir || mount(dir, dir, NULL, MS_BIND, NULL) < 0)
			return false;
	}
	if (set_attributes("/", AT_RECURSIVE, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC,
			   0) < 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		AUTO_FREE char *copy = strdup(sockets[i]);

		if (!copy || set_attributes(dirname(copy), 0, 0, ATTR_RDONLY) < 0)
			return false;
	}
	return true;
}

void sandbox_path_open(struct sandbox_path *path, const char *const *sockets, size_t n)
{
	path->ruleset_fd = landlock_open(sockets, n);
	path->is_namespace = path->ruleset_fd < 0 && namespace_open(sockets, n);
}

bool sandbox_path_close(struct sandbox_path *path)
{
	bool done = path->is_namespace;

	if (path->ruleset_fd >= 0)
		done = syscall(__NR_landlock_restrict_self, path->ruleset_fd, 0U) == 0;
	cleanup_fd(&path->ruleset_fd);
	path->ruleset_fd = -1;
	return done;
}
