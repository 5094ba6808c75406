/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of a device behind its register window, for fuzz targets: input taken apart,
 * registers, and rings of QUEUE_SIZE in one page per queue from rings_gpa on. Each target includes
 * it once, and sets mmio and ram.
 */
#ifndef MEMD_FUZZ_VIRTIO_DRIVER_H
#define MEMD_FUZZ_VIRTIO_DRIVER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "vmm/virtio_mmio.h"

#define QUEUE_SIZE 32
#define STEPS_MAX  64
#define STATUS	   0x70
#define F(bit)	   (1ULL << (bit))

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t left;
};

static struct ram *ram;
static struct virtio_mmio *mmio;
static uint64_t rings_gpa;

/* A little-endian number of len bytes; what the input lacks is 0. */
static uint64_t take(struct input *in, size_t len)
{
	uint64_t value = 0;

	if (len > in->left)
		len = in->left;
	memcpy(&value, in->data, len);
	in->data += len;
	in->left -= len;
	return value;
}

/* Guest memory from address 0, between unmapped pages. */
static inline uint8_t *memory_new(size_t size_bytes)
{
	uint8_t *map =
		mmap(NULL, size_bytes + 2 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED || mprotect(map + 4096, size_bytes, PROT_READ | PROT_WRITE) < 0 ||
	    ram_new_buffer(map + 4096, 0, size_bytes, &ram) < 0)
		abort();
	return map + 4096;
}

/* Put dev behind a window. */
static void driver_new(struct virtio_device *dev, struct loop *loop)
{
	if (!dev || virtio_mmio_new(dev, loop, eventfd(0, EFD_NONBLOCK), &mmio) < 0)
		abort();
}

static void reg_write(uint64_t offset, uint32_t value)
{
	virtio_mmio_bus_ops.write(mmio, offset, (const uint8_t *)&value, 4);
}

/* u16 offset, u32 value */
static void step_reg_write(struct input *in)
{
	uint64_t offset = take(in, 2) % 4096;

	/* An aligned word: other accesses are dropped before they reach a register. */
	reg_write(offset & ~3ULL, (uint32_t)take(in, 4));
}

/* u16 offset, u8 length */
static void step_reg_read(struct input *in)
{
	uint64_t offset = take(in, 2) % 4088;
	uint8_t data[8];

	virtio_mmio_bus_ops.read(mmio, offset, data, 1U << take(in, 1) % 4);
}

/* u8 n, n bytes to write at gpa */
static void step_poke(struct input *in, uint64_t gpa)
{
	for (size_t n = take(in, 1); n && in->left; n--, gpa++) {
		uint8_t byte = (uint8_t)take(in, 1);

		(void)ram_write(ram, gpa, &byte, 1);
	}
}

/* A fresh driver, which takes these features of those offered and sets all queues up. */
static void driver_start(uint64_t features)
{
	static const uint8_t zeroes[4096];
	struct virtio_device *dev = virtio_mmio_device(mmio);

	features = (features & dev->offered) | F(VIRTIO_F_INDIRECT_DESC) | F(VIRTIO_F_VERSION_1);
	reg_write(STATUS, 0);
	reg_write(STATUS, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	for (uint32_t half = 0; half < 2; half++) {
		reg_write(0x24, half);
		reg_write(0x20, (uint32_t)(features >> 32 * half));
	}
	reg_write(STATUS, 3 | VIRTIO_STATUS_FEATURES_OK);
	for (uint32_t i = 0; i < dev->ops->n_queues; i++) {
		uint32_t page = (uint32_t)rings_gpa + i * 4096;

		(void)ram_write(ram, page, zeroes, sizeof(zeroes));
		reg_write(0x30, i);
		reg_write(0x38, QUEUE_SIZE);
		reg_write(0x80, page);
		reg_write(0x90, page + 1024);
		reg_write(0xa0, page + 2048);
		reg_write(0x44, 1);
	}
	reg_write(STATUS, 7 | VIRTIO_STATUS_FEATURES_OK);
}

static void set_desc(unsigned int queue, unsigned int i, uint64_t gpa, uint32_t len, uint16_t flags)
{
	struct {
		uint64_t gpa;
		uint32_t len;
		uint16_t flags, next;
	} desc = {gpa, len, flags, (uint16_t)(i + 1)};

	(void)ram_write(ram, rings_gpa + queue * 4096UL + i * 16UL, &desc, sizeof(desc));
}

/* Make the chain at head available, and kick. */
static void offer(unsigned int queue, uint16_t head)
{
	uint64_t avail = rings_gpa + queue * 4096UL + 1024;
	uint16_t idx = 0;

	(void)ram_read(ram, avail + 2, &idx, 2);
	(void)ram_write(ram, avail + 4 + idx % QUEUE_SIZE * 2UL, &head, 2);
	idx++;
	(void)ram_write(ram, avail + 2, &idx, 2);
	reg_write(VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

/* n descriptors from head on: n times { u16 page, u16 offset, u16 length, u8 flags } */
static inline void chain(struct input *in, unsigned int queue, unsigned int n, unsigned int head)
{
	for (unsigned int i = 0; i < n; i++) {
		uint64_t page = take(in, 2), offset = take(in, 2);
		uint32_t len = (uint32_t)take(in, 2);
		uint16_t flags = (uint16_t)(take(in, 1) & 7);

		if (i + 1 < n)
			flags |= VIRTIO_DESC_NEXT;
		set_desc(queue, (head + i) % QUEUE_SIZE, (page << 12) + offset, len, flags);
	}
	offer(queue, (uint16_t)head);
}

#endif
