/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host end of a guest's character stream, shared by the serial port and virtio-console:
 * stdio, a Unix socket, a file or nothing. Never blocks: what the host does not take yet waits in
 * a bounded buffer, then the device waits, and a host end that takes nothing for a second loses
 * output instead of holding the guest up. All functions run with bus_lock held; callbacks too.
 */
#ifndef MEMD_VMM_CHARDEV_H
#define MEMD_VMM_CHARDEV_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/loop.h"

struct chardev;

/* What the device behind it does. Each may be NULL. */
struct chardev_ops {
	/* Bytes of input the device can take now; input() is never given more. */
	size_t (*input_room)(void *ctx);
	void (*input)(void *ctx, const uint8_t *data, size_t len);
	/* chardev_write took less than all, and now takes some again. */
	void (*writable)(void *ctx);
};

/*
 * spec: "none", "stdio", "unix:PATH" (listens; one client at a time, the next one waits; output
 * without a client is dropped) or "file:PATH" (emptied first; no input). name ("serial") is for
 * messages. On a terminal stdio is raw and Ctrl-A x calls quit(quit_ctx), Ctrl-A Ctrl-A sends one
 * Ctrl-A; quit may be NULL. Logs what is wrong. -EINVAL: spec; -EBUSY: stdio is taken;
 * -EADDRINUSE: somebody listens on PATH; -errno.
 */
int chardev_new(struct loop *loop, const char *name, const char *spec, void (*quit)(void *ctx),
		void *quit_ctx, struct chardev **ret_chardev);
/* Restores the terminal, unlinks the socket. NULL is fine. */
void chardev_free(struct chardev *chardev);

/* Who gets the callbacks; NULL ops: nobody. Input stays on the host's side until then. */
void chardev_bind(struct chardev *chardev, const struct chardev_ops *ops, void *ctx);

/* Hand over output. Returns how many bytes were taken: less than len means wait for writable(). */
size_t chardev_write(struct chardev *chardev, const void *data, size_t len);

/* input_room() has grown from 0: go on with input. */
void chardev_input_ready(struct chardev *chardev);

#endif
