// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-console (virtio 1.2 section 5.3): one port. Input waits on the host's side until the
 * driver has a buffer for it; output that the host end does not take yet holds its buffer, and so
 * the driver, until it does.
 */
#include "vmm/console.h"

#include <stdlib.h>
#include <string.h>

enum { QUEUE_INPUT, QUEUE_OUTPUT, QUEUES };

#define KICK_REQUESTS_MAX 64

struct console {
	struct virtio_device dev;
	struct chardev *chardev;
	bool has_input, has_output; /* a chain of the driver is with us */
	struct virtio_chain input, output;
	unsigned int output_span; /* how far the output chain is written */
	uint32_t output_offset;
};

/* ---- host to guest ---- */

/* Have a buffer of the driver's to put input into. */
static bool take_input_chain(struct console *con)
{
	for (unsigned int i = 0; !con->has_input && i < KICK_REQUESTS_MAX; i++) {
		if (virtio_queue_pop(&con->dev, QUEUE_INPUT, &con->input) <= 0)
			return false;
		if (con->input.n_in) {
			con->has_input = true;
		} else {
			virtio_complain(&con->dev, "input buffer that cannot be written");
			virtio_queue_push(&con->dev, QUEUE_INPUT, con->input.head, 0);
		}
	}
	return con->has_input;
}

static size_t input_room(void *ctx)
{
	struct console *con = ctx;

	if (!con->dev.active || !take_input_chain(con))
		return 0;
	return virtio_spans_len(con->input.in, con->input.n_in);
}

static void input(void *ctx, const uint8_t *data, size_t len)
{
	struct console *con = ctx;
	size_t done = 0;

	if (!con->dev.active || !con->has_input)
		return;
	for (unsigned int i = 0; i < con->input.n_in && done < len; i++) {
		size_t part = con->input.in[i].len;

		if (part > len - done)
			part = len - done;
		memcpy(con->input.in[i].base, data + done, part);
		done += part;
	}
	con->has_input = false;
	virtio_queue_push(&con->dev, QUEUE_INPUT, con->input.head, (uint32_t)done);
	virtio_queue_interrupt(&con->dev, QUEUE_INPUT);
}

/* ---- guest to host ---- */

/* Write on with the chain that is held. False: the host end is full. */
static bool write_output(struct console *con)
{
	while (con->output_span < con->output.n_out) {
		const struct virtio_span *span = &con->output.out[con->output_span];
		uint32_t left = span->len - con->output_offset;
		size_t took = chardev_write(con->chardev,
					    (const uint8_t *)span->base + con->output_offset, left);

		if (took < left) {
			con->output_offset += (uint32_t)took;
			return false;
		}
		con->output_span++;
		con->output_offset = 0;
	}
	return true;
}

static void drain_output(struct console *con)
{
	bool pushed = false;

	for (unsigned int i = 0; con->dev.active && i < KICK_REQUESTS_MAX; i++) {
		if (!con->has_output) {
			if (virtio_queue_pop(&con->dev, QUEUE_OUTPUT, &con->output) <= 0)
				break;
			con->has_output = true;
			con->output_span = con->output_offset = 0;
		}
		if (!write_output(con))
			break;
		con->has_output = false;
		virtio_queue_push(&con->dev, QUEUE_OUTPUT, con->output.head, 0);
		pushed = true;
	}
	if (pushed)
		virtio_queue_interrupt(&con->dev, QUEUE_OUTPUT);
	if (con->dev.active && !con->has_output && virtio_queue_pending(&con->dev, QUEUE_OUTPUT))
		virtio_queue_kick_later(&con->dev, QUEUE_OUTPUT);
}

static void writable(void *ctx)
{
	drain_output(ctx);
}

static const struct chardev_ops chardev_ops = {
	.input_room = input_room,
	.input = input,
	.writable = writable,
};

/* ---- the device ---- */

static void console_notify(struct virtio_device *dev, unsigned int queue)
{
	struct console *con = (struct console *)(void *)dev;

	if (queue == QUEUE_INPUT)
		chardev_input_ready(con->chardev);
	else if (!con->has_output) /* else writable() goes on */
		drain_output(con);
}

static void console_reset(struct virtio_device *dev)
{
	struct console *con = (struct console *)(void *)dev;

	con->has_input = con->has_output = false;
}

static void console_free(struct virtio_device *dev)
{
	struct console *con = (struct console *)(void *)dev;

	chardev_bind(con->chardev, NULL, NULL);
	free(con);
}

static const struct virtio_ops console_ops = {
	.name = "console",
	.id = VIRTIO_ID_CONSOLE,
	.n_queues = QUEUES,
	.queue_size = 64,
	.notify = console_notify,
	.reset = console_reset,
	.free = console_free,
};

struct virtio_device *console_new(struct ram *ram, struct chardev *chardev)
{
	struct console *con = calloc(1, sizeof(*con));

	if (!con)
		return NULL;
	virtio_device_init(&con->dev, &console_ops, ram, 0);
	con->chardev = chardev;
	chardev_bind(chardev, &chardev_ops, con);
	return &con->dev;
}
