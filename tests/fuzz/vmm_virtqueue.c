// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzz the walk over split rings. The input is where the rings are, how large, and then the guest
 * memory itself. A probe device takes every chain, reads and writes all of its bytes (so that it
 * scribbles over rings that buffers lie on) and pushes it. Guest memory has unmapped pages on both
 * sides.
 *
 * Input: u8 log2 of the size, u8 flags (bit 0: indirect), u16 desc, avail, used in units of 2
 * bytes, u8 kicks, then memory from address 0.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/virtio.h"

#define MEMORY_BYTES (128UL * 1024)
#define PAGE	     4096UL

struct probe {
	struct virtio_device dev;
	struct virtio_chain chain;
};

static volatile uint8_t sink;

static void touch(const struct virtio_span *spans, unsigned int n, bool write)
{
	for (unsigned int i = 0; i < n; i++) {
		uint8_t *p = spans[i].base;

		sink ^= p[0] ^ p[spans[i].len - 1];
		if (write)
			memset(p, (int)i, spans[i].len < 64 ? spans[i].len : 64);
	}
}

static void probe_notify(struct virtio_device *dev, unsigned int queue)
{
	struct probe *probe = (struct probe *)dev;

	for (unsigned int i = 0; i < 64; i++) {
		if (virtio_queue_pop(dev, queue, &probe->chain) <= 0)
			return;
		if (probe->chain.n_out > VIRTIO_QUEUE_SIZE || probe->chain.n_in > VIRTIO_QUEUE_SIZE)
			abort();
		touch(probe->chain.out, probe->chain.n_out, false);
		touch(probe->chain.in, probe->chain.n_in, true);
		virtio_queue_push(dev, queue, probe->chain.head, i);
		virtio_queue_interrupt(dev, queue);
	}
}

static const struct virtio_ops probe_ops = {
	.name = "probe",
	.id = 42,
	.n_queues = 1,
	.queue_size = VIRTIO_QUEUE_SIZE,
	.notify = probe_notify,
};

struct header {
	uint8_t size_log2, flags;
	uint16_t desc, avail, used;
	uint8_t kicks;
} __attribute__((packed));

static uint8_t *memory;
static struct ram *ram;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	uint8_t *map =
		mmap(NULL, MEMORY_BYTES + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memory = map + PAGE;
	if (map == MAP_FAILED || mprotect(memory, MEMORY_BYTES, PROT_READ | PROT_WRITE) < 0 ||
	    ram_new_buffer(memory, 0, MEMORY_BYTES, &ram) < 0)
		abort();
	log_init("fuzz", LOG_LEVEL_ERR);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct probe probe;
	struct virtio_queue *q = &probe.dev.queues[0];
	struct header header;

	if (size < sizeof(header) || size - sizeof(header) > MEMORY_BYTES)
		return 0;
	memcpy(&header, data, sizeof(header));
	memset(memory, 0, MEMORY_BYTES);
	memcpy(memory, data + sizeof(header), size - sizeof(header));

	virtio_device_init(&probe.dev, &probe_ops, ram, 0);
	probe.dev.features = 1ULL << VIRTIO_F_VERSION_1;
	if (header.flags & 1)
		probe.dev.features |= 1ULL << VIRTIO_F_INDIRECT_DESC;
	virtio_set_status(&probe.dev, 3 | VIRTIO_STATUS_FEATURES_OK);
	q->size = (uint16_t)(1U << (header.size_log2 & 15));
	q->desc_gpa = header.desc * 2UL;
	q->avail_gpa = header.avail * 2UL;
	q->used_gpa = header.used * 2UL;
	if (virtio_queue_enable(&probe.dev, 0) < 0)
		return 0;
	virtio_set_status(&probe.dev, 7 | VIRTIO_STATUS_FEATURES_OK);
	for (unsigned int i = 0; i <= header.kicks % 4U; i++)
		virtio_notify(&probe.dev, 0);
	return 0;
}
