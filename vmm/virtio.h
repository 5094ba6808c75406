/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a virtio device is (virtio 1.2): a const ops table and queues. Device code knows no
 * transport; virtio_mmio.c is the one we have. Everything a driver writes is hostile: a broken
 * queue or request makes the device DEVICE_NEEDS_RESET with one rate-limited log line.
 */
#ifndef MEMD_VMM_VIRTIO_H
#define MEMD_VMM_VIRTIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/loop.h"
#include "vmm/ram.h"

#define VIRTIO_QUEUES_MAX 8
#define VIRTIO_QUEUE_SIZE 256

struct virtio_device;

struct virtio_ops {
	const char *name; /* "balloon": in messages */
	uint32_t id;	  /* virtio 1.2 section 5 */
	unsigned int n_queues;
	uint16_t queue_size; /* at most VIRTIO_QUEUE_SIZE */
	/* Bytes outside the config space read as 0 and are not written. */
	void (*config_read)(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len);
	void (*config_write)(struct virtio_device *dev, uint32_t offset, const void *data,
			     uint32_t len);
	void (*activate)(struct virtio_device *dev); /* DRIVER_OK: features are settled */
	void (*notify)(struct virtio_device *dev,
		       unsigned int queue); /* the driver kicked this queue */
	void (*reset)(struct virtio_device *dev);
	void (*free)(struct virtio_device *dev);
};

/*
 * One buffer chain. out: readable by the device, in: writable; host addresses, all checked.
 * gpa: guest address of each element, for devices that need it (free page reporting).
 */
struct virtio_span {
	void *base;
	uint32_t len;
	uint64_t gpa;
};
struct virtio_chain {
	uint16_t head;
	unsigned int n_out, n_in;
	struct virtio_span out[VIRTIO_QUEUE_SIZE], in[VIRTIO_QUEUE_SIZE];
};

#endif
