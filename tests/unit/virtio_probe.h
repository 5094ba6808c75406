/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A probe device of two queues with the driver of virtio_driver.h: it pops what it is given and
 * keeps it, so that each test can look at exactly what the walk made of a ring.
 */
#ifndef MEMD_TESTS_VIRTIO_PROBE_H
#define MEMD_TESTS_VIRTIO_PROBE_H

#include "virtio_driver.h"

struct probe {
	struct virtio_device dev;
	struct virtio_chain chain;
	unsigned int pops;
	int last;
	bool hold; /* do not push */
};

static inline void probe_notify(struct virtio_device *dev, unsigned int queue)
{
	struct probe *probe = (struct probe *)dev;

	while ((probe->last = virtio_queue_pop(dev, queue, &probe->chain)) > 0) {
		probe->pops++;
		if (!probe->hold)
			virtio_queue_push(dev, queue, probe->chain.head, 7);
	}
	virtio_queue_interrupt(dev, queue);
}

static inline void probe_free(struct virtio_device *dev)
{
	free(dev);
}

static const struct virtio_ops probe_ops = {
	.name = "probe",
	.id = 42,
	.n_queues = 2,
	.queue_size = 64,
	.notify = probe_notify,
	.free = probe_free,
};

static inline struct probe *probe_of(struct driver *d)
{
	return (struct probe *)d->dev;
}

static inline int setup(void **state)
{
	struct driver *d = driver_new();
	struct probe *probe = calloc(1, sizeof(*probe));

	virtio_device_init(&probe->dev, &probe_ops, d->ram, 0);
	driver_attach(d, &probe->dev);
	driver_start(d, F_INDIRECT, 2, 16);
	*state = d;
	return 0;
}

static inline int teardown(void **state)
{
	driver_free(*state);
	return 0;
}

/* The device refused and says so; it must stay quiet until the reset and work after it. */
static inline void assert_refused(struct driver *d, unsigned int pops)
{
	struct probe *probe = probe_of(d);

	assert_int_equal(probe->last, -EIO);
	assert_int_equal(probe->pops, pops);
	assert_true(needs_reset(d));
	assert_true(reg_get(d, R_ISR) & 2);
	kick(d, 0);
	assert_int_equal(probe->pops, pops);

	driver_start(d, F_INDIRECT, 2, 16);
	set_desc(d, 0, 0, 0x80000, 8, 0, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(probe->pops, pops + 1);
	assert_false(needs_reset(d));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
