// SPDX-License-Identifier: Apache-2.0
/* Making and unmaking host ends: sockets with their clients, files, stdio with its terminal. */
#include "vmm/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "vmm/chardev_impl.h"

static bool chardev_stdio_taken;

void chardev_on_client(void *ctx, uint32_t events)
{
	struct chardev *chardev = ctx;
	AUTO_FD int fd = accept4(chardev->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	AUTO_FD int twin = -1;

	if (fd < 0)
		return;
	twin = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (twin < 0) {
		log_warn("%s: cannot take a client: %m", chardev->name);
		return;
	}
	loop_remove(chardev->listen_source);
	chardev->listen_source = NULL;
	chardev->in_fd = TAKE_FD(fd);
	chardev->out_fd = TAKE_FD(twin);
	chardev_pump(chardev);
}

/* A socket file nobody listens on any more is in the way: remove it. */
static int chardev_clear_path(const struct sockaddr_un *addr)
{
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	if (!connect(fd, (const struct sockaddr *)addr, sizeof(*addr)))
		return -EADDRINUSE;
	if (errno != ECONNREFUSED)
		return errno == EAGAIN ? -EADDRINUSE : -errno;
	return unlink(addr->sun_path) < 0 ? -errno : 0;
}

static int chardev_open_unix(struct chardev *chardev, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	mode_t mask;
	int r;

	if (!*path || strlen(path) >= sizeof(addr.sun_path)) {
		log_err("%s: unix:%s: a socket path has 1 to %zu characters", chardev->name, path,
			sizeof(addr.sun_path) - 1);
		return -EINVAL;
	}
	strcpy(addr.sun_path, path);
	chardev->is_socket = true;
	chardev->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = chardev->listen_fd < 0 ? -errno : chardev_clear_path(&addr);
	if (!r) {
		mask = umask(0177);
		r = bind(chardev->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) ? -errno : 0;
		umask(mask);
	}
	if (!r) {
		chardev->path = strdup(path);
		if (!chardev->path)
			r = -ENOMEM;
		else if (listen(chardev->listen_fd, 4))
			r = -errno;
	}
	if (r) {
		log_err("%s: unix:%s: %s", chardev->name, path,
			r == -EADDRINUSE ? "another process serves this socket"
			: r == -EEXIST	 ? "there is a file there that is no socket"
					 : strerror(-r));
		return r;
	}
	chardev_close_client(chardev); /* nobody yet: wait for the first */
	return 0;
}

static int chardev_open_file(struct chardev *chardev, const char *path)
{
	chardev->out_fd =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
	if (chardev->out_fd < 0) {
		int err = errno;

		log_err("%s: file:%s: %s", chardev->name, path, strerror(err));
		return -err;
	}
	return 0;
}

/*
 * Our own non-blocking view of an inherited fd. O_NONBLOCK on the inherited one would change it for
 * the shell and everyone else who shares it. *ret_polls: it had to be a plain duplicate.
 */
static int chardev_reopen(int fd, int flags, bool *ret_polls)
{
	char path[32];
	struct stat st;
	int own = -1;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret_polls = false;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	/* Files keep their position and never block. */
	if (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode))
		own = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own < 0) {
		*ret_polls = !S_ISREG(st.st_mode);
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	}
	return own < 0 ? -errno : own;
}

static void chardev_terminal_raw(struct chardev *chardev)
{
	struct termios raw;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &chardev->old_termios) < 0)
		return;
	raw = chardev->old_termios;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST; /* our own log lines go to the same screen */
	chardev->is_terminal = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static int chardev_open_stdio(struct chardev *chardev)
{
	bool polls;

	if (chardev_stdio_taken) {
		log_err("%s: stdio is in use already; use unix:PATH, file:PATH or none for one of "
			"the two",
			chardev->name);
		return -EBUSY;
	}
	chardev->out_fd = chardev_reopen(STDOUT_FILENO, O_WRONLY, &chardev->out_polls);
	/* Typing belongs to whoever is in the foreground: a job in the background only writes. */
	if (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) == getpgrp())
		chardev->in_fd = chardev_reopen(STDIN_FILENO, O_RDONLY, &polls);
	else
		log_info("%s: in the background: no input from the terminal", chardev->name);
	if (chardev->in_fd < 0)
		chardev->in_fd = -1; /* started with stdin closed */
	if (chardev->out_fd < 0)
		chardev->out_fd = -1;
	if (chardev->in_fd >= 0)
		chardev_terminal_raw(chardev);
	chardev->is_stdio = chardev_stdio_taken = true;
	return 0;
}

static int chardev_open(struct chardev *chardev, const char *spec)
{
	if (!strcmp(spec, "none"))
		return 0;
	if (!strcmp(spec, "stdio"))
		return chardev_open_stdio(chardev);
	if (!strncmp(spec, "unix:", 5))
		return chardev_open_unix(chardev, spec + 5);
	if (!strncmp(spec, "file:", 5))
		return chardev_open_file(chardev, spec + 5);
	log_err("%s: \"%s\" is none of stdio, none, unix:PATH, file:PATH", chardev->name, spec);
	return -EINVAL;
}

int chardev_new(struct loop *loop, const char *name, const char *spec, void (*quit)(void *ctx),
		void *quit_ctx, struct chardev **ret_chardev)
{
	struct chardev *chardev = calloc(1, sizeof(*chardev));
	int r = -ENOMEM;

	if (!chardev)
		return -ENOMEM;
	*chardev = (struct chardev){
		.loop = loop,
		.name = strdup(name),
		.quit = quit,
		.quit_ctx = quit_ctx,
		.listen_fd = -1,
		.in_fd = -1,
		.out_fd = -1,
	};
	chardev->stall_timer = loop_timer(loop, chardev_on_stall, chardev);
	if (!chardev->stall_timer)
		log_err("%s: cannot make its timer: %m", name);
	else if (chardev->name)
		r = chardev_open(chardev, spec);
	if (r) {
		chardev_free(chardev);
		return r;
	}
	*ret_chardev = chardev;
	return 0;
}

void chardev_free(struct chardev *chardev)
{
	if (!chardev)
		return;
	chardev->ops = NULL;
	/* What the guest wrote last is often why it ended: give it a last chance to get out. */
	chardev_flush(chardev);
	loop_remove(chardev->listen_source);
	cleanup_fd(&chardev->listen_fd);
	chardev->listen_fd = -1;
	chardev_close_client(chardev);
	loop_remove(chardev->stall_timer);
	if (chardev->path)
		unlink(chardev->path);
	if (chardev->is_terminal)
		tcsetattr(STDIN_FILENO, TCSANOW, &chardev->old_termios);
	if (chardev->is_stdio)
		chardev_stdio_taken = false;
	free(chardev->left);
	free(chardev->path);
	free(chardev->name);
	free(chardev);
}
