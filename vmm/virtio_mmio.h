/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over MMIO, version 2 (virtio 1.2 section 4.2): a 4 KiB window of registers, one edge
 * interrupt by irqfd, and one eventfd per queue that KVM signals instead of leaving the guest.
 */
#ifndef MEMD_VMM_VIRTIO_MMIO_H
#define MEMD_VMM_VIRTIO_MMIO_H

#include "vmm/bus.h"
#include "vmm/loop.h"
#include "vmm/virtio.h"

/* QueueNotify: where a KVM_IOEVENTFD of 4 bytes with datamatch = queue index belongs. */
#define VIRTIO_MMIO_QUEUE_NOTIFY 0x50

struct virtio_mmio;

/*
 * Put dev behind a window. Takes over dev (also on failure) and watches the queues' eventfds in
 * loop. irq_fd: an eventfd the caller registers as irqfd; it stays the caller's and must outlive
 * this. -ENOMEM, -errno of eventfd(2).
 */
int virtio_mmio_new(struct virtio_device *dev, struct loop *loop, int irq_fd,
		    struct virtio_mmio **ret_mmio);
/* Frees the device too. NULL is fine. */
void virtio_mmio_free(struct virtio_mmio *mmio);

/* For bus_add: ctx is the struct virtio_mmio, length LAYOUT_VIRTIO_STRIDE. */
extern const struct bus_ops virtio_mmio_bus_ops;

struct virtio_device *virtio_mmio_device(const struct virtio_mmio *mmio);
unsigned int virtio_mmio_queue_count(const struct virtio_mmio *mmio);
/* The eventfd of a queue, for KVM_IOEVENTFD at VIRTIO_MMIO_QUEUE_NOTIFY. Stays ours. */
int virtio_mmio_notify_fd(const struct virtio_mmio *mmio, unsigned int queue);

/* Machine reset: device and registers as after power-on, kicks under way are forgotten. */
void virtio_mmio_reset(struct virtio_mmio *mmio);

#endif
