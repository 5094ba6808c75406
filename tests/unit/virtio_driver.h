/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small virtio driver for device tests: it speaks to a device through the registers of the mmio
 * window, over fake_ram.h and fake_loop.h, and can break every rule. Rings and buffers are dealt
 * out of the first RAM region upwards.
 */
#ifndef MEMD_TESTS_VIRTIO_DRIVER_H
#define MEMD_TESTS_VIRTIO_DRIVER_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fake_loop.h"
#include "fake_ram.h"
#include "vmm/virtio_mmio.h"

#define F_VERSION_1 (1ULL << VIRTIO_F_VERSION_1)
#define F_INDIRECT  (1ULL << VIRTIO_F_INDIRECT_DESC)

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct used_elem {
	uint32_t id, len;
};

struct dqueue {
	uint16_t size, avail_idx, free_desc;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	struct desc *desc;
};

struct driver {
	struct ram *ram;
	struct loop loop;
	struct virtio_device *dev;
	struct virtio_mmio *mmio;
	int irq_fd;
	uint64_t next_gpa;
	struct dqueue q[VIRTIO_QUEUES_MAX];
};

/* ---- registers ---- */

static inline void reg_set(struct driver *d, uint64_t offset, uint32_t value)
{
	virtio_mmio_bus_ops.write(d->mmio, offset, (uint8_t *)&value, 4);
}

static inline uint32_t reg_get(struct driver *d, uint64_t offset)
{
	uint32_t value = 0xdeadbeef;

	virtio_mmio_bus_ops.read(d->mmio, offset, (uint8_t *)&value, 4);
	return value;
}

static inline void reg_set64(struct driver *d, uint64_t low, uint64_t value)
{
	reg_set(d, low, (uint32_t)value);
	reg_set(d, low + 4, (uint32_t)(value >> 32));
}

#define R_STATUS     0x70
#define R_ISR	     0x60
#define R_ACK	     0x64
#define R_GENERATION 0xfc
#define R_CONFIG     0x100

static inline bool needs_reset(struct driver *d)
{
	return reg_get(d, R_STATUS) & VIRTIO_STATUS_NEEDS_RESET;
}

/* Interrupts since the last call. */
static inline unsigned int irqs(struct driver *d)
{
	eventfd_t n = 0;

	return eventfd_read(d->irq_fd, &n) == 0 ? (unsigned int)n : 0;
}

/* ---- life ---- */

/* The device must have been made over driver_ram/&d->loop. */
static inline void driver_attach(struct driver *d, struct virtio_device *dev)
{
	d->dev = dev;
	d->irq_fd = eventfd(0, EFD_NONBLOCK);
	d->next_gpa = 0x1000;
	assert_non_null(dev);
	assert_int_equal(virtio_mmio_new(dev, &d->loop, d->irq_fd, &d->mmio), 0);
}

static inline struct driver *driver_new(void)
{
	struct driver *d = calloc(1, sizeof(*d));

	d->ram = fake_ram_new();
	return d;
}

static inline void driver_free(struct driver *d)
{
	virtio_mmio_free(d->mmio);
	close(d->irq_fd);
	fake_ram_free(d->ram);
	free(d);
}

static inline uint64_t driver_alloc(struct driver *d, uint64_t bytes)
{
	uint64_t gpa = d->next_gpa;

	d->next_gpa += (bytes + 63) & ~63ULL;
	assert_true(d->next_gpa <= FAKE_REGION_BYTES);
	return gpa;
}

static inline void *at(struct driver *d, uint64_t gpa, uint64_t len)
{
	void *p = ram_ptr(d->ram, gpa, len);

	assert_non_null(p);
	return p;
}

/* Reset and negotiate up to FEATURES_OK. Returns whether the device agreed. */
static inline bool driver_negotiate(struct driver *d, uint64_t features)
{
	reg_set(d, R_STATUS, 0);
	memset(d->q, 0, sizeof(d->q));
	reg_set(d, R_STATUS, 1);
	reg_set(d, R_STATUS, 3);
	for (uint32_t half = 0; half < 2; half++) {
		reg_set(d, 0x24, half);
		reg_set(d, 0x20, (uint32_t)(features >> 32 * half));
	}
	reg_set(d, R_STATUS, 3 | VIRTIO_STATUS_FEATURES_OK);
	return reg_get(d, R_STATUS) & VIRTIO_STATUS_FEATURES_OK;
}

static inline uint64_t driver_offered(struct driver *d)
{
	uint64_t low;

	reg_set(d, 0x14, 0);
	low = reg_get(d, 0x10);
	reg_set(d, 0x14, 1);
	return low | (uint64_t)reg_get(d, 0x10) << 32;
}

static inline void driver_queue(struct driver *d, unsigned int n, uint16_t size)
{
	struct dqueue *q = &d->q[n];

	*q = (struct dqueue){.size = size};
	q->desc_gpa = driver_alloc(d, 16UL * size);
	q->avail_gpa = driver_alloc(d, 6 + 2UL * size);
	q->used_gpa = driver_alloc(d, 6 + 8UL * size);
	q->desc = at(d, q->desc_gpa, 16UL * size);
	memset(at(d, q->avail_gpa, 6), 0, 6);
	memset(at(d, q->used_gpa, 6), 0, 6);
	reg_set(d, 0x30, n);
	reg_set(d, 0x38, size);
	reg_set64(d, 0x80, q->desc_gpa);
	reg_set64(d, 0x90, q->avail_gpa);
	reg_set64(d, 0xa0, q->used_gpa);
	reg_set(d, 0x44, 1);
}

static inline void driver_ok(struct driver *d)
{
	reg_set(d, R_STATUS, 3 | VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
}

/* All the usual steps: n queues of a size each. */
static inline void driver_start(struct driver *d, uint64_t features, unsigned int n, uint16_t size)
{
	assert_true(driver_negotiate(d, features | F_VERSION_1));
	for (unsigned int i = 0; i < n; i++)
		driver_queue(d, i, size);
	driver_ok(d);
	assert_false(needs_reset(d));
}

/* ---- rings ---- */

static inline void set_desc(struct driver *d, unsigned int n, uint16_t i, uint64_t addr,
			    uint32_t len, uint16_t flags, uint16_t next)
{
	d->q[n].desc[i] = (struct desc){addr, len, flags, next};
}

/* Make the chain at head available, without a kick. */
static inline void offer(struct driver *d, unsigned int n, uint16_t head)
{
	struct dqueue *q = &d->q[n];
	uint16_t *avail = at(d, q->avail_gpa, 6 + 2UL * q->size);

	avail[2 + q->avail_idx % q->size] = head;
	avail[1] = ++q->avail_idx;
}

static inline void kick(struct driver *d, unsigned int n)
{
	reg_set(d, VIRTIO_MMIO_QUEUE_NOTIFY, n);
}

static inline uint16_t used_idx(struct driver *d, unsigned int n)
{
	return ((uint16_t *)at(d, d->q[n].used_gpa, 4))[1];
}

static inline struct used_elem used_at(struct driver *d, unsigned int n, uint16_t i)
{
	struct used_elem elem;

	memcpy(&elem, at(d, d->q[n].used_gpa + 4 + 8UL * (i % d->q[n].size), 8), 8);
	return elem;
}

/* One descriptor with a copy of data, made available and kicked. Returns its head. */
static inline uint16_t send_out(struct driver *d, unsigned int n, const void *data, uint32_t len)
{
	uint64_t gpa = driver_alloc(d, len);
	uint16_t head = d->q[n].free_desc++ % d->q[n].size;

	memcpy(at(d, gpa, len), data, len);
	set_desc(d, n, head, gpa, len, 0, 0);
	offer(d, n, head);
	kick(d, n);
	return head;
}

#endif
