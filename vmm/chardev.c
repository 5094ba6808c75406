// SPDX-License-Identifier: Apache-2.0
/*
 * Moving bytes between a device and its host end: see chardev.h. Each end has at most one fd to
 * read and one to write; for a socket the second is a duplicate of the first, so that both
 * directions can be watched apart. An fd is watched only while there is something to do with it:
 * input while the device has room, output while something waits in the buffer.
 */
#include "vmm/chardev.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "vmm/chardev_impl.h"

#define CHARDEV_BUFFER_BYTES 65536
#define CHARDEV_STALL_US     USEC_PER_SEC
#define CHARDEV_INPUT_MAX    256
#define CHARDEV_ESCAPE	     0x01 /* Ctrl-A */
/* Without O_NONBLOCK a write that poll() allows may still block when it is longer than this. */
#define CHARDEV_BLOCKING_MAX 256

static void chardev_keep_input(struct chardev *chardev);

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
	chardev->in_always = chardev->in_wanted = false;
}

void chardev_close_client(struct chardev *chardev)
{
	chardev_keep_input(chardev);
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

void chardev_flush(struct chardev *chardev)
{
	if (chardev->used)
		chardev_on_writable(chardev, EPOLLOUT);
}

void chardev_on_stall(void *ctx, uint32_t events)
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

/* Input of clients that left goes first. False: some is left still. */
static bool chardev_feed_left(struct chardev *chardev)
{
	size_t n;

	while (chardev->left_n && (n = chardev_input_room(chardev)) > 0) {
		if (n > chardev->left_n)
			n = chardev->left_n;
		chardev->left_n -= n;
		chardev->left_at += n;
		chardev->ops->input(chardev->ops_ctx, chardev->left + chardev->left_at - n, n);
	}
	if (chardev->left_n)
		return false;
	free(chardev->left);
	chardev->left = NULL;
	chardev->left_at = 0;
	return true;
}

/* The client is going: take over what it has sent, so that the next one need not wait for it. */
static void chardev_keep_input(struct chardev *chardev)
{
	uint8_t *kept;
	ssize_t n;

	if (chardev->in_fd < 0 || chardev->left_n >= CHARDEV_BUFFER_BYTES)
		return;
	kept = malloc(CHARDEV_BUFFER_BYTES);
	if (!kept)
		return;
	if (chardev->left_n)
		memcpy(kept, chardev->left + chardev->left_at, chardev->left_n);
	n = recv(chardev->in_fd, kept + chardev->left_n, CHARDEV_BUFFER_BYTES - chardev->left_n,
		 MSG_DONTWAIT);
	if (n > 0)
		chardev->left_n += (size_t)n;
	free(chardev->left);
	chardev->left = kept;
	chardev->left_at = 0;
}

/* Nothing can be taken now; level-triggered as epoll is, watching for it would spin. */
static void chardev_pause_input(struct chardev *chardev)
{
	chardev->in_wanted = false;
	if (!chardev->in_source)
		return;
	if (chardev->is_socket) {
		loop_modify(chardev->in_source, 0); /* EPOLLHUP comes all the same */
	} else {
		loop_remove(chardev->in_source);
		chardev->in_source = NULL;
	}
}

static void chardev_on_input(void *ctx, uint32_t events)
{
	struct chardev *chardev = ctx;
	size_t room = chardev_feed_left(chardev) ? chardev_input_room(chardev) : 0;
	uint8_t data[CHARDEV_INPUT_MAX];
	ssize_t n;

	if (!room) {
		if (chardev->is_socket && events & (EPOLLHUP | EPOLLERR))
			chardev_close_client(chardev);
		else
			chardev_pause_input(chardev);
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

static void chardev_watch_input(struct chardev *chardev, uint32_t events)
{
	if (chardev->in_source) {
		loop_modify(chardev->in_source, events);
		return;
	}
	chardev->in_source =
		loop_add(chardev->loop, chardev->in_fd, events, chardev_on_input, chardev);
	if (chardev->in_source)
		return;
	if (errno == EPERM) {
		chardev->in_always = true;
		return;
	}
	log_err("%s: cannot watch the input: %m", chardev->name);
	chardev_close_input(chardev);
}

void chardev_pump(void *ctx)
{
	struct chardev *chardev = ctx;
	bool wanted = chardev_feed_left(chardev) && chardev_input_room(chardev);

	if (chardev->in_fd < 0)
		return;
	chardev->in_wanted = wanted;
	if (!chardev->in_always && (wanted || chardev->is_socket))
		chardev_watch_input(chardev, wanted ? EPOLLIN : 0);
	if (chardev->in_always && wanted)
		chardev_on_input(chardev, EPOLLIN);
}

void chardev_input_ready(struct chardev *chardev)
{
	/* By way of the loop: the device is in the middle of a register access. */
	if (chardev->left_n || (chardev->in_fd >= 0 && !chardev->in_wanted))
		loop_call(chardev->loop, chardev_pump, chardev);
}

void chardev_bind(struct chardev *chardev, const struct chardev_ops *ops, void *ctx)
{
	chardev->ops = ops;
	chardev->ops_ctx = ctx;
	chardev_input_ready(chardev);
}
