// SPDX-License-Identifier: Apache-2.0
/*
 * Host ends of character streams: see chardev.h. Each has at most one fd to read and one to write;
 * for a socket the second is a duplicate of the first, so that both directions can be watched
 * apart. An fd is watched only while there is something to do with it: input while the device has
 * room, output while something waits in the buffer.
 */
#include "vmm/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

#define CHARDEV_BUFFER_BYTES 65536
#define CHARDEV_STALL_US     USEC_PER_SEC
#define CHARDEV_INPUT_MAX    256
#define CHARDEV_ESCAPE	     0x01 /* Ctrl-A */
/* Without O_NONBLOCK a write that poll() allows may still block when it is longer than this. */
#define CHARDEV_BLOCKING_MAX 256

struct chardev {
	struct loop *loop;
	char *name;
	char *path; /* of our socket, to unlink */
	const struct chardev_ops *ops;
	void *ops_ctx;
	void (*quit)(void *ctx);
	void *quit_ctx;

	int listen_fd, in_fd, out_fd;
	struct loop_source *listen_source, *in_source, *out_source;
	bool is_socket, is_stdio;
	bool in_always;	  /* a file: epoll does not take it, reads never block */
	bool out_polls;	  /* out_fd may block: ask poll() before each write */
	bool is_terminal; /* raw, and old_termios is what it was */
	bool escaped;	  /* Ctrl-A was typed */
	struct termios old_termios;

	uint8_t *buffer; /* CHARDEV_BUFFER_BYTES while something waits, else NULL */
	size_t head, used;
	bool blocked;  /* the device waits for writable() */
	bool dropping; /* stalled: output that does not fit is lost */
	uint64_t dropped;
	struct loop_source *stall_timer;
};

static bool chardev_stdio_taken;

static void chardev_on_client(void *ctx, uint32_t events);
static void chardev_pump(void *ctx);

/* ---- output ---- */

static void chardev_buffer_drop(struct chardev *chardev)
{
	free(chardev->buffer);
	chardev->buffer = NULL;
	chardev->head = chardev->used = 0;
}

/* The host end is gone: what waits for it is lost, the device goes on. */
static void chardev_close_output(struct chardev *chardev)
{
	bool blocked = chardev->blocked;

	loop_remove(chardev->out_source);
	chardev->out_source = NULL;
	cleanup_fd(&chardev->out_fd);
	chardev->out_fd = -1;
	chardev_buffer_drop(chardev);
	chardev->blocked = chardev->dropping = false;
	if (chardev->stall_timer)
		loop_timer_set(chardev->stall_timer, 0, 0);
	if (blocked && chardev->ops && chardev->ops->writable)
		chardev->ops->writable(chardev->ops_ctx);
}

static void chardev_close_input(struct chardev *chardev)
{
	loop_remove(chardev->in_source);
	chardev->in_source = NULL;
	cleanup_fd(&chardev->in_fd);
	chardev->in_fd = -1;
	chardev->in_always = false;
}

static void chardev_close_client(struct chardev *chardev)
{
	chardev_close_input(chardev);
	chardev_close_output(chardev);
	if (chardev->listen_fd < 0 || chardev->listen_source)
		return;
	chardev->listen_source =
		loop_add(chardev->loop, chardev->listen_fd, EPOLLIN, chardev_on_client, chardev);
	if (!chardev->listen_source)
		log_err("%s: cannot wait for the next client: %m", chardev->name);
}

/* One write. Bytes written; 0: would block; -errno: the host end is gone or broken. */
static ssize_t chardev_write_once(struct chardev *chardev, const uint8_t *data, size_t len)
{
	struct pollfd ready = {.fd = chardev->out_fd, .events = POLLOUT};
	ssize_t n;

	if (chardev->out_polls) {
		if (poll(&ready, 1, 0) <= 0 || !(ready.revents & (POLLOUT | POLLERR)))
			return 0;
		if (len > CHARDEV_BLOCKING_MAX)
			len = CHARDEV_BLOCKING_MAX;
	}
	do
		n = chardev->is_socket
			    ? send(chardev->out_fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL)
			    : write(chardev->out_fd, data, len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
	return n;
}

/* Write until it would block. Bytes written, -errno only when nothing was. */
static ssize_t chardev_write_some(struct chardev *chardev, const uint8_t *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = chardev_write_once(chardev, data + done, len - done);

		if (n < 0 && !done)
			return n;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static void chardev_output_failed(struct chardev *chardev, int err)
{
	if (chardev->is_socket) {
		chardev_close_client(chardev);
		return;
	}
	log_err("%s: output is lost from now on: %s", chardev->name, strerror(err));
	chardev_close_output(chardev);
}

static void chardev_on_writable(void *ctx, uint32_t events)
{
	struct chardev *chardev = ctx;
	bool progress = false;

	while (chardev->used) {
		size_t run = CHARDEV_BUFFER_BYTES - chardev->head;
		ssize_t n;

		if (run > chardev->used)
			run = chardev->used;
		n = chardev_write_some(chardev, chardev->buffer + chardev->head, run);
		if (n < 0) {
			chardev_output_failed(chardev, (int)-n);
			return;
		}
		if (!n)
			break;
		progress = true;
		chardev->head = (chardev->head + (size_t)n) % CHARDEV_BUFFER_BYTES;
		chardev->used -= (size_t)n;
	}
	if (!chardev->used) {
		chardev_buffer_drop(chardev);
		loop_remove(chardev->out_source);
		chardev->out_source = NULL;
	}
	if (!progress)
		return;
	if (chardev->dropping) {
		log_warn("%s: nobody took the output for a while: %llu bytes are lost",
			 chardev->name, (unsigned long long)chardev->dropped);
		chardev->dropping = false;
		chardev->dropped = 0;
	}
	if (chardev->blocked) {
		chardev->blocked = false;
		loop_timer_set(chardev->stall_timer, 0, 0);
		if (chardev->ops && chardev->ops->writable)
			chardev->ops->writable(chardev->ops_ctx);
	}
}

static void chardev_on_stall(void *ctx, uint32_t events)
{
	struct chardev *chardev = ctx;

	if (!chardev->blocked)
		return;
	chardev->blocked = false;
	chardev->dropping = true;
	if (chardev->ops && chardev->ops->writable)
		chardev->ops->writable(chardev->ops_ctx);
}

/* Put what fits into the buffer. Returns how much. */
static size_t chardev_buffer_put(struct chardev *chardev, const uint8_t *data, size_t len)
{
	size_t room, tail, run;

	if (!chardev->buffer) {
		chardev->buffer = malloc(CHARDEV_BUFFER_BYTES);
		if (!chardev->buffer)
			return 0;
	}
	room = CHARDEV_BUFFER_BYTES - chardev->used;
	if (len > room)
		len = room;
	tail = (chardev->head + chardev->used) % CHARDEV_BUFFER_BYTES;
	run = CHARDEV_BUFFER_BYTES - tail;
	if (run > len)
		run = len;
	memcpy(chardev->buffer + tail, data, run);
	memcpy(chardev->buffer, data + run, len - run);
	chardev->used += len;
	return len;
}

size_t chardev_write(struct chardev *chardev, const void *data, size_t len)
{
	const uint8_t *bytes = data;
	size_t done = 0;

	if (chardev->out_fd < 0 || !len)
		return len;
	if (!chardev->used) {
		ssize_t n = chardev_write_some(chardev, bytes, len);

		if (n < 0) {
			chardev_output_failed(chardev, (int)-n);
			return len;
		}
		done = (size_t)n;
	}
	if (done < len)
		done += chardev_buffer_put(chardev, bytes + done, len - done);
	if (chardev->used && !chardev->out_source) {
		chardev->out_source = loop_add(chardev->loop, chardev->out_fd, EPOLLOUT,
					       chardev_on_writable, chardev);
		if (!chardev->out_source) {
			chardev_output_failed(chardev, errno);
			return len;
		}
	}
	if (done < len && chardev->dropping) {
		chardev->dropped += len - done;
		return len;
	}
	if (done < len && !chardev->blocked) {
		chardev->blocked = true;
		loop_timer_set(chardev->stall_timer, CHARDEV_STALL_US, 0);
	}
	return done;
}

/* ---- input ---- */

/* Take Ctrl-A sequences out of n typed bytes; returns what is left for the guest. */
static size_t chardev_unescape(struct chardev *chardev, uint8_t *data, size_t n)
{
	size_t left = 0;

	for (size_t i = 0; i < n; i++) {
		uint8_t c = data[i];

		if (!chardev->escaped && c == CHARDEV_ESCAPE) {
			chardev->escaped = true;
			continue;
		}
		if (chardev->escaped && (c == 'x' || c == 'X') && chardev->quit)
			chardev->quit(chardev->quit_ctx);
		else
			data[left++] = c;
		chardev->escaped = false;
	}
	return left;
}

static size_t chardev_input_room(const struct chardev *chardev)
{
	size_t room;

	if (!chardev->ops || !chardev->ops->input || !chardev->ops->input_room)
		return 0;
	room = chardev->ops->input_room(chardev->ops_ctx);
	return room < CHARDEV_INPUT_MAX ? room : CHARDEV_INPUT_MAX;
}

static void chardev_on_input(void *ctx, uint32_t events)
{
	struct chardev *chardev = ctx;
	size_t room = chardev_input_room(chardev);
	uint8_t data[CHARDEV_INPUT_MAX];
	ssize_t n;

	if (!room) {
		/* Level-triggered: watching on would spin. chardev_input_ready() starts again. */
		loop_remove(chardev->in_source);
		chardev->in_source = NULL;
		return;
	}
	do
		n = read(chardev->in_fd, data, room);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	if (n <= 0) {
		if (chardev->is_socket)
			chardev_close_client(chardev);
		else
			chardev_close_input(chardev);
		return;
	}
	if (chardev->is_terminal)
		n = (ssize_t)chardev_unescape(chardev, data, (size_t)n);
	if (n)
		chardev->ops->input(chardev->ops_ctx, data, (size_t)n);
	if (chardev->in_always)
		loop_call(chardev->loop, chardev_pump, chardev);
}

/* Watch the input as far as the device has room. */
static void chardev_pump(void *ctx)
{
	struct chardev *chardev = ctx;

	if (chardev->in_fd < 0 || chardev->in_source || !chardev_input_room(chardev))
		return;
	if (!chardev->in_always) {
		chardev->in_source =
			loop_add(chardev->loop, chardev->in_fd, EPOLLIN, chardev_on_input, chardev);
		if (chardev->in_source)
			return;
		if (errno != EPERM) {
			log_err("%s: cannot watch the input: %m", chardev->name);
			chardev_close_input(chardev);
			return;
		}
		chardev->in_always = true;
	}
	chardev_on_input(chardev, EPOLLIN);
}

void chardev_input_ready(struct chardev *chardev)
{
	/* By way of the loop: the device is in the middle of a register access. */
	if (chardev->in_fd >= 0 && !chardev->in_source)
		loop_call(chardev->loop, chardev_pump, chardev);
}

void chardev_bind(struct chardev *chardev, const struct chardev_ops *ops, void *ctx)
{
	chardev->ops = ops;
	chardev->ops_ctx = ctx;
	chardev_input_ready(chardev);
}

/* ---- making one ---- */

static void chardev_on_client(void *ctx, uint32_t events)
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
			r == -EADDRINUSE ? "another process serves this socket" : strerror(-r));
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
	if (chardev->name && chardev->stall_timer)
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
	if (chardev->used)
		chardev_on_writable(chardev, EPOLLOUT);
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
	free(chardev->path);
	free(chardev->name);
	free(chardev);
}
