// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-rng (virtio 1.2 section 5.4). One queue; each writable buffer is filled from getrandom(2),
 * up to a bound, and a bounded number of them per kick.
 */
#include "vmm/rng.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define REQUEST_BYTES_MAX 65536
#define KICK_REQUESTS_MAX 16

struct rng {
	struct virtio_device dev;
	struct virtio_chain chain;
};

/* Fill a span; fewer bytes than asked for only when the host's generator fails. */
static uint32_t fill(struct virtio_device *dev, const struct virtio_span *span, uint32_t len)
{
	uint32_t done = 0;

	while (done < len) {
		ssize_t got = getrandom((uint8_t *)span->base + done, len - done, 0);

		if (got > 0) {
			done += (uint32_t)got;
		} else if (errno != EINTR) {
			virtio_complain(dev, "getrandom: %s", strerror(errno));
			break;
		}
	}
	return done;
}

static void rng_notify(struct virtio_device *dev, unsigned int queue)
{
	struct rng *rng = (struct rng *)(void *)dev;
	unsigned int served;

	for (served = 0; served < KICK_REQUESTS_MAX; served++) {
		uint32_t written = 0;

		if (virtio_queue_pop(dev, queue, &rng->chain) <= 0)
			break;
		if (rng->chain.n_in == 0)
			virtio_complain(dev, "request without a writable buffer");
		for (unsigned int i = 0; i < rng->chain.n_in; i++) {
			uint32_t len = rng->chain.in[i].len, part;

			if (len > REQUEST_BYTES_MAX - written)
				len = REQUEST_BYTES_MAX - written;
			part = fill(dev, &rng->chain.in[i], len);
			written += part;
			if (part < rng->chain.in[i].len)
				break;
		}
		virtio_queue_push(dev, queue, rng->chain.head, written);
	}
	if (served)
		virtio_queue_interrupt(dev, queue);
	if (dev->active && virtio_queue_pending(dev, queue))
		virtio_queue_kick_later(dev, queue);
}

static void rng_free(struct virtio_device *dev)
{
	free(dev);
}

static const struct virtio_ops rng_ops = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.n_queues = 1,
	.queue_size = 64,
	.notify = rng_notify,
	.free = rng_free,
};

struct virtio_device *rng_new(struct ram *ram)
{
	struct rng *rng = calloc(1, sizeof(*rng));

	if (!rng)
		return NULL;
	virtio_device_init(&rng->dev, &rng_ops, ram, 0);
	return &rng->dev;
}
