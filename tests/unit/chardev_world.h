/* SPDX-License-Identifier: Apache-2.0 */
/* The host end of a character stream on a loop of its own, and a device behind it that takes what
 * it has room for. */
#ifndef MEMD_TESTS_CHARDEV_WORLD_H
#define MEMD_TESTS_CHARDEV_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "common/clock.h"
#include "vmm/chardev.h"

struct world {
	struct bus *bus;
	struct loop *loop;
	struct loop_source *end_of_turn;
	struct chardev *chardev;
	size_t room;
	char in[4096];
	size_t n_in;
	int writable;
	int quits;
	char dir[32], path[64], spec[72];
};

static inline void on_end_of_turn(void *ctx, uint32_t events)
{
	loop_exit(((struct world *)ctx)->loop, 0);
}

/* Let the loop run for so long. */
static inline void turn(struct world *w, uint64_t ms)
{
	loop_timer_set(w->end_of_turn, ms * 1000, 0);
	loop_run(w->loop);
}

static inline size_t input_room(void *ctx)
{
	return ((struct world *)ctx)->room;
}

static inline void input(void *ctx, const uint8_t *data, size_t len)
{
	struct world *w = ctx;

	assert_true(len <= w->room);
	assert_true(len <= sizeof(w->in) - w->n_in);
	memcpy(w->in + w->n_in, data, len);
	w->n_in += len;
	w->room -= len;
}

static inline void writable(void *ctx)
{
	((struct world *)ctx)->writable++;
}

static inline void quit(void *ctx)
{
	((struct world *)ctx)->quits++;
}

static const struct chardev_ops ops = {
	.input_room = input_room,
	.input = input,
	.writable = writable,
};

static inline int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	signal(SIGPIPE, SIG_IGN);
	w->bus = bus_new();
	w->loop = loop_new(w->bus);
	w->end_of_turn = loop_timer(w->loop, on_end_of_turn, w);
	w->room = sizeof(w->in);
	strcpy(w->dir, "/tmp/vmm_chardev.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->path, sizeof(w->path), "%s/end", w->dir);
	*state = w;
	return 0;
}

static inline int teardown(void **state)
{
	struct world *w = *state;

	chardev_free(w->chardev);
	loop_free(w->loop);
	bus_free(w->bus);
	unlink(w->path);
	assert_int_equal(rmdir(w->dir), 0);
	free(w);
	return 0;
}

static inline int make(struct world *w, const char *kind)
{
	int r;

	snprintf(w->spec, sizeof(w->spec), "%s%s", kind,
		 kind[strlen(kind) - 1] == ':' ? w->path : "");
	r = chardev_new(w->loop, "test", w->spec, quit, w, &w->chardev);
	if (!r)
		chardev_bind(w->chardev, &ops, w);
	return r;
}

static inline int dial(struct world *w)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, w->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static inline void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static inline size_t hear(int fd, char *buf, size_t size)
{
	ssize_t n = recv(fd, buf, size - 1, MSG_DONTWAIT);

	buf[n < 0 ? 0 : n] = '\0';
	return n < 0 ? 0 : (size_t)n;
}

static inline void put(struct world *w, const char *text)
{
	assert_int_equal(chardev_write(w->chardev, text, strlen(text)), strlen(text));
}

/* A stream of numbered words: its byte at this place. */
static inline uint8_t stream_byte(size_t at)
{
	return (uint8_t)(at / 4 >> at % 4 * 8);
}

/*
 * Write the stream until the other side is full, as the continuation where
 * before bytes were written; returns the new length of the stream.
 */
static inline size_t fill_on(struct world *w, size_t before)
{
	size_t at = before, n;

	do {
		uint8_t piece[7]; /* so that some go across the end of the buffer */

		for (size_t i = 0; i < sizeof(piece); i++)
			piece[i] = stream_byte(at + i);
		n = chardev_write(w->chardev, piece, sizeof(piece));
		at += n;
	} while (n && at - before < (16U << 20));
	assert_true(at - before < (16U << 20));
	return at;
}

static inline size_t fill(struct world *w)
{
	return fill_on(w, 0);
}

/* Read the stream on from got up to want, and check it; returns how far that went. */
static inline size_t drain_on(struct world *w, int fd, size_t got, size_t want)
{
	while (got < want) {
		uint8_t buf[1000];
		size_t size = want - got < sizeof(buf) ? want - got : sizeof(buf);
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, 0) <= 0)
			turn(w, 2);
		if (poll(&p, 1, 0) <= 0)
			break;
		n = read(fd, buf, size);
		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++, got++)
			assert_int_equal(buf[i], stream_byte(got));
	}
	return got;
}

static inline size_t drain(struct world *w, int fd, size_t want)
{
	return drain_on(w, fd, 0, want);
}

#endif
