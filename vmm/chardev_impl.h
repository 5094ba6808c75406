/* SPDX-License-Identifier: Apache-2.0 */
/* Between chardev.c, which moves bytes, and chardev_open.c, which makes and unmakes host ends. */
#ifndef MEMD_VMM_CHARDEV_IMPL_H
#define MEMD_VMM_CHARDEV_IMPL_H

#include <stdbool.h>
#include <termios.h>

#include "vmm/chardev.h"

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
	bool in_wanted;	  /* the source asks for input, not just for the client's leaving */
	bool out_polls;	  /* out_fd may block: ask poll() before each write */
	bool is_terminal; /* raw, and old_termios is what it was */
	bool escaped;	  /* Ctrl-A was typed */
	struct termios old_termios;

	/* What clients that left had sent and the guest has not taken yet. */
	uint8_t *left;
	size_t left_at, left_n;

	uint8_t *buffer; /* CHARDEV_BUFFER_BYTES while something waits, else NULL */
	size_t head, used;
	bool blocked;  /* the device waits for writable() */
	bool dropping; /* stalled: output that does not fit is lost */
	uint64_t dropped;
	struct loop_source *stall_timer;
};

/* ---- chardev.c ---- */

/* Start and drive input, as far as the device has room. */
void chardev_pump(void *ctx);
/* Send of what waits as much as goes out now. */
void chardev_flush(struct chardev *chardev);
void chardev_on_stall(void *ctx, uint32_t events);
/* Nobody is at the host's end any more: wait for the next client, if there is a listening socket.
 */
void chardev_close_client(struct chardev *chardev);

/* ---- chardev_open.c ---- */

void chardev_on_client(void *ctx, uint32_t events);

#endif
