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
#include "tests/fuzz/virtio_driver.h"
#include "vmm/balloon.h"

#define MEMORY_BYTES (256UL * 1024)
#define QUEUES	     5

static uint8_t *memory;
static struct virtio_device *balloon;

static void step(struct input *in)
{
	unsigned int queue;

	switch (take(in, 1) % 8) {
	case 0:
		step_reg_write(in);
		break;
	case 1:
		step_reg_read(in);
		break;
	case 2:
		step_poke(in, take(in, 2) * 2);
		break;
	case 3:
		queue = take(in, 1) % QUEUES;
		chain(in, queue, take(in, 1) % QUEUE_SIZE + 1, 0);
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
		driver_start(take(in, 1));
		break;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const struct balloon_config config = {.deflate_on_oom = true, .reporting = true};
	struct loop *loop = loop_new(bus_new());

	log_init("fuzz", LOG_LEVEL_ERR);
	memory = memory_new(MEMORY_BYTES);
	balloon = balloon_new(ram, loop, &config, NULL, NULL);
	driver_new(balloon, loop);
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
	driver_start(~0ULL);
	for (unsigned int i = 0; in.left && i < STEPS_MAX; i++)
		step(&in);
	balloon_stats(balloon, &stats);
	if (balloon_actual_bytes(balloon) > MEMORY_BYTES)
		abort();

	/* Whatever it was, a reset brings back a balloon that works. */
	driver_start(~0ULL);
	balloon_counters(balloon, &before);
	memcpy(memory + 0x8000, &pfn, 4);
	set_desc(0, 0, 0x8000, 4, 0);
	offer(0, 0);
	balloon_counters(balloon, &after);
	if (after.inflated_pages != before.inflated_pages + 1 || !balloon_has_driver(balloon))
		abort();
	return 0;
}
