// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzz the balloon behind its register window. Each input starts with a driver that has set up all
 * five queues, then is a list of steps: register accesses, pokes into guest memory, chains built
 * and kicked, and what the host does meanwhile. After it the device must still reset and serve.
 *
 * Steps (u8 what, then its operands):
 *   0 write register: u16 offset, u32 value     1 read register: u16 offset, u8 length
 *   2 poke: u16 address / 2, u8 n, n bytes      3 chain: u8 queue, u8 n, n times
 *   4 kick: u8 queue                               { u16 page, u16 offset, u16 length, u8 flags }
 *   5 host target: u16 pages                    6 statistics interval: u8 seconds
 *   7 start over as a fresh driver: u8 features
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "vmm/balloon.h"
#include "vmm/virtio_mmio.h"

#define MEMORY_BYTES (256UL * 1024)
#define QUEUES	     5
#define RING_PAGES   QUEUES
#define QUEUE_SIZE   32
#define STEPS_MAX    64
#define STATUS	     0x70

struct input {
	const uint8_t *data;
	size_t left;
};

static uint8_t *memory;
static struct ram *ram;
static struct virtio_mmio *mmio;
static struct virtio_device *balloon;

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

static void reg_write(uint64_t offset, uint32_t value)
{
	virtio_mmio_bus_ops.write(mmio, offset, (const uint8_t *)&value, 4);
}

static void start(uint32_t features)
{
	reg_write(STATUS, 0);
	reg_write(STATUS, 3);
	reg_write(0x24, 0);
	reg_write(0x20, (features & 0x37) | 1U << VIRTIO_F_INDIRECT_DESC);
	reg_write(0x24, 1);
	reg_write(0x20, 1);
	reg_write(STATUS, 3 | VIRTIO_STATUS_FEATURES_OK);
	for (uint32_t i = 0; i < QUEUES; i++) {
		memset(memory + i * 4096UL, 0, 4096);
		reg_write(0x30, i);
		reg_write(0x38, QUEUE_SIZE);
		reg_write(0x80, i * 4096U);
		reg_write(0x90, i * 4096U + 1024);
		reg_write(0xa0, i * 4096U + 2048);
		reg_write(0x44, 1);
	}
	reg_write(STATUS, 7 | VIRTIO_STATUS_FEATURES_OK);
}

static void chain(struct input *in, unsigned int queue)
{
	uint8_t *ring = memory + queue * 4096UL;
	unsigned int n = take(in, 1) % QUEUE_SIZE + 1;
	uint16_t idx;

	for (unsigned int i = 0; i < n; i++) {
		uint64_t page = take(in, 2), offset = take(in, 2);
		uint32_t len = (uint32_t)take(in, 2);
		uint16_t flags = (uint16_t)(take(in, 1) & 7), next = (uint16_t)(i + 1);

		offset += page << 12;
		if (i + 1 < n)
			flags |= VIRTIO_DESC_NEXT;
		memcpy(ring + i * 16UL, &offset, 8);
		memcpy(ring + i * 16UL + 8, &len, 4);
		memcpy(ring + i * 16UL + 12, &flags, 2);
		memcpy(ring + i * 16UL + 14, &next, 2);
	}
	memcpy(&idx, ring + 1026, 2);
	memset(ring + 1028 + idx % QUEUE_SIZE * 2UL, 0, 2);
	idx++;
	memcpy(ring + 1026, &idx, 2);
	reg_write(VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

static void poke(struct input *in)
{
	size_t at = take(in, 2) * 2;

	for (size_t n = take(in, 1); n && in->left && at < MEMORY_BYTES; n--)
		memory[at++] = (uint8_t)take(in, 1);
}

static void step(struct input *in)
{
	uint8_t data[8];
	uint64_t offset;

	switch (take(in, 1) % 8) {
	case 0:
		offset = take(in, 2) % 4096;
		/* one aligned word more often than not */
		reg_write(offset & ~3ULL, (uint32_t)take(in, 4));
		break;
	case 1:
		offset = take(in, 2) % 4088;
		virtio_mmio_bus_ops.read(mmio, offset, data, 1U << take(in, 1) % 4);
		break;
	case 2:
		poke(in);
		break;
	case 3:
		chain(in, take(in, 1) % QUEUES);
		break;
	case 4:
		reg_write(VIRTIO_MMIO_QUEUE_NOTIFY, (uint32_t)take(in, 1));
		break;
	case 5:
		balloon_set_target(balloon, take(in, 2) << 12);
		break;
	case 6:
		balloon_set_poll_interval(balloon, take(in, 1));
		break;
	case 7:
		start((uint32_t)take(in, 1));
		break;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const struct balloon_config config = {.deflate_on_oom = true, .reporting = true};
	uint8_t *map =
		mmap(NULL, MEMORY_BYTES + 2 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct loop *loop = loop_new(bus_new());

	memory = map + 4096;
	log_init("fuzz", LOG_LEVEL_ERR);
	if (map == MAP_FAILED || mprotect(memory, MEMORY_BYTES, PROT_READ | PROT_WRITE) < 0 ||
	    ram_new_buffer(memory, 0, MEMORY_BYTES, &ram) < 0)
		abort();
	balloon = balloon_new(ram, loop, &config, NULL, NULL);
	if (virtio_mmio_new(balloon, loop, eventfd(0, EFD_NONBLOCK), &mmio) < 0)
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct balloon_stats stats;
	struct balloon_counters before, after;
	uint32_t pfn = MEMORY_BYTES / 4096 - 1;

	memset(memory, 0, MEMORY_BYTES);
	virtio_mmio_reset(mmio);
	start(0x37);
	for (unsigned int i = 0; in.left && i < STEPS_MAX; i++)
		step(&in);
	balloon_stats(balloon, &stats);
	if (balloon_actual_bytes(balloon) > MEMORY_BYTES)
		abort();

	/* Whatever it was, a reset brings back a balloon that works. */
	start(0x37);
	balloon_counters(balloon, &before);
	memcpy(memory + 0x8000, &pfn, 4);
	chain(&(struct input){(const uint8_t *)"\0\10\0\0\0\4\0\0", 8}, 0);
	balloon_counters(balloon, &after);
	if (after.inflated_pages != before.inflated_pages + 1 || !balloon_has_driver(balloon))
		abort();
	return 0;
}
