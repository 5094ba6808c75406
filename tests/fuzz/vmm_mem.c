// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzz virtio-mem behind its register window, over real RAM and a region of 16 blocks. Each input
 * starts with a driver that has set up the queue, then is a list of steps. After it the region has
 * to agree with itself and with the host, and the device must still reset and serve.
 *
 * Steps (u8 what, then its operands):
 *   0 write register: u16 offset, u32 value     1 read register: u16 offset, u8 length
 *   2 poke: u16 address, u8 n, n bytes          3 chain: u8 n, n times
 *   4 request: u8 type, u8 block, u8 n             { u8 where, u16 offset, u16 length, u8 flags }
 *   5 the host asks for: u8 blocks              6 write into a block: u8 block
 *   7 start over as a fresh driver: u8 features 8 the machine is reset
 *   9 the queue's rings move to a block: u8 block
 */
#include "tests/fuzz/virtio_driver.h"
#include "vmm/mem.h"

#define MEMORY_BYTES (2UL << 20)
#define BLOCK_BYTES  (2UL << 20)
#define BLOCKS	     16
#define REQUEST_GPA  0x2000
#define RESPONSE_GPA 0x2100

static struct loop *loop;
static struct virtio_device *mem;

static uint64_t block_gpa(uint64_t block)
{
	return ram_plug_region(ram, 0)->gpa + block * BLOCK_BYTES;
}

static void start(uint64_t features, uint64_t rings)
{
	rings_gpa = rings;
	driver_start(features);
}

static unsigned int request(uint16_t type, uint64_t gpa, uint16_t n)
{
	struct {
		uint16_t type, padding[3];
		uint64_t gpa;
		uint16_t n, padding2[3];
	} request = {.type = type, .gpa = gpa, .n = n};
	uint16_t answer = 0xffff;

	(void)ram_write(ram, REQUEST_GPA, &request, sizeof(request));
	(void)ram_write(ram, RESPONSE_GPA, &answer, sizeof(answer));
	set_desc(0, 0, REQUEST_GPA, sizeof(request), VIRTIO_DESC_NEXT);
	set_desc(0, 1, RESPONSE_GPA, 10, VIRTIO_DESC_WRITE);
	offer(0, 0);
	(void)ram_read(ram, RESPONSE_GPA, &answer, sizeof(answer));
	return answer;
}

static void chain_over_blocks(struct input *in)
{
	unsigned int n = take(in, 1) % QUEUE_SIZE + 1;

	for (unsigned int i = 0; i < n; i++) {
		uint64_t where = take(in, 1), offset = take(in, 2);
		uint32_t len = (uint32_t)take(in, 2);
		uint16_t flags = (uint16_t)(take(in, 1) & 7);

		if (i + 1 < n)
			flags |= VIRTIO_DESC_NEXT;
		/* Ordinary memory, or a block. */
		set_desc(0, i, where & 0x80 ? block_gpa(where & 0x1f) + offset : offset, len,
			 flags);
	}
	offer(0, 0);
}

static void reset_machine(void)
{
	virtio_mmio_reset(mmio);
	ram_discard_all(ram);
	mem_machine_reset(mem);
}

static void step(struct input *in)
{
	uint64_t block;
	uint16_t type;

	switch (take(in, 1) % 10) {
	case 0:
		step_reg_write(in);
		break;
	case 1:
		step_reg_read(in);
		break;
	case 2:
		step_poke(in, take(in, 2));
		break;
	case 3:
		chain_over_blocks(in);
		break;
	case 4:
		type = (uint16_t)(take(in, 1) % 5);
		block = take(in, 1) % (BLOCKS + 2);
		(void)request(type, block_gpa(block), (uint16_t)take(in, 1));
		break;
	case 5:
		(void)mem_set_requested(mem, take(in, 1) % (BLOCKS + 2) * BLOCK_BYTES);
		break;
	case 6:
		(void)ram_write(ram, block_gpa(take(in, 1) % BLOCKS), "x", 1);
		break;
	case 7:
		start(take(in, 1) & 3, 0x1000);
		break;
	case 8:
		reset_machine();
		start(2, 0x1000);
		break;
	case 9:
		start(2, block_gpa(take(in, 1) % BLOCKS));
		break;
	}
}

static bool in_use(void *ctx, uint64_t gpa, uint64_t len)
{
	return virtio_uses(mem, gpa, len);
}

/* The sizes agree, and the host holds nothing of what is unplugged. */
static void check(void)
{
	const struct ram_region *region = ram_plug_region(ram, 0);
	unsigned char resident[BLOCK_BYTES / 4096];
	uint64_t plugged = 0;

	for (uint64_t b = 0; b < BLOCKS; b++) {
		if (ram_plug_state(ram, 0, block_gpa(b), BLOCK_BYTES) == RAM_PLUG_PLUGGED) {
			plugged += BLOCK_BYTES;
			if (!ram_ptr(ram, block_gpa(b), BLOCK_BYTES))
				abort();
			continue;
		}
		if (ram_room(ram, block_gpa(b)) ||
		    mincore(region->hva + b * BLOCK_BYTES, BLOCK_BYTES, resident) < 0)
			abort();
		for (size_t i = 0; i < sizeof(resident); i++)
			if (resident[i] & 1)
				abort();
	}
	if (plugged != mem_plugged_bytes(mem))
		abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const struct ram_config base = {.size_bytes = MEMORY_BYTES,
					       .pages = RAM_PAGES_SMALL};
	static const struct ram_plug_config plug = {
		.memory = {.size_bytes = BLOCKS * BLOCK_BYTES, .pages = RAM_PAGES_SMALL},
	};
	struct mem_config config = {.in_use = in_use};

	log_init("fuzz", LOG_LEVEL_ERR);
	loop = loop_new(bus_new());
	if (ram_new(&base, 1, &ram) < 0 || ram_plug_add(ram, &plug) < 0)
		abort();
	config.ram = ram;
	mem = mem_new(&config);
	driver_new(mem, loop);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	(void)mem_set_requested(mem, BLOCKS / 2 * BLOCK_BYTES);
	reset_machine();
	start(2, 0x1000);
	for (unsigned int i = 0; in.left && i < STEPS_MAX; i++)
		step(&in);
	check();

	/* Whatever it was, a reset brings back a device that works, and all of it can go. */
	(void)mem_set_requested(mem, BLOCK_BYTES);
	start(2, 0x1000);
	if (request(2, 0, 0) != 0 || mem_plugged_bytes(mem) || request(0, block_gpa(0), 1) != 0 ||
	    mem_plugged_bytes(mem) != BLOCK_BYTES || request(1, block_gpa(0), 1) != 0 ||
	    mem_plugged_bytes(mem))
		abort();
	check();
	return 0;
}
