// SPDX-License-Identifier: Apache-2.0
/*
 * The listening unix socket. Its mode is set between bind and listen, when nobody can connect yet;
 * a socket file is replaced only when nobody answers on it, under a lock on its directory, so that
 * of two servers started at once one wins and the other is told.
 */
#include "common/wire_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/cleanup.h"
#include "common/wire.h"

#define LISTEN_BACKLOG	128
#define LOCK_TRIES	100
#define LOCK_RETRY_USEC 10000

const char *wire_server_why(int error)
{
	switch (error) {
	case -ENAMETOOLONG:
		return "the path is longer than the 107 bytes of a socket address: use a shorter "
		       "one";
	case -EADDRINUSE:
		return "another process is serving it";
	case -EEXIST:
		return "there is a file that is not a socket: remove it or use another path";
	case -ENOENT:
		return "its directory does not exist: create it first";
	default:
		return strerror(-error);
	}
}

static int address_of(const char *path, struct sockaddr_un *ret_address)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (!path[0])
		return -EINVAL;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	*ret_address = address;
	return 0;
}

/* Hold the directory for a moment. Nobody keeps it for long, so after a second go on without. */
static int lock_directory(const char *path)
{
	char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int fd;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
			break;
		usleep(LOCK_RETRY_USEC);
	}
	return fd < 0 ? -errno : fd;
}

/* Something is at path. 0: it was a dead process's socket and is gone now. */
static int remove_ghost(const char *path, const struct sockaddr_un *address)
{
	AUTO_FD int probe = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0)
		return -errno;
	if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
	    errno == EAGAIN)
		return -EADDRINUSE;
	if (errno != ECONNREFUSED)
		return -errno;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int wire_listen_open(struct wire_listen *listening, const char *path, mode_t mode)
{
	AUTO_FD int fd = -1;
	AUTO_FD int lock = -1;
	struct sockaddr_un address;
	struct stat st;
	int r = address_of(path, &address);

	if (r < 0)
		return r;
	lock = lock_directory(path);
	if (lock < 0)
		return lock;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	r = remove_ghost(path, &address);
	if (r < 0)
		return r;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	if (chmod(path, mode) < 0 || lstat(path, &st) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
		r = -errno;
		unlink(path);
		return r;
	}
	listening->fd = TAKE_FD(fd);
	listening->dev = st.st_dev;
	listening->ino = st.st_ino;
	return 0;
}

void wire_listen_close(struct wire_listen *listening, const char *path)
{
	struct stat st;

	if (lstat(path, &st) == 0 && st.st_dev == listening->dev && st.st_ino == listening->ino)
		unlink(path);
	cleanup_fd(&listening->fd);
	listening->fd = -1;
}
