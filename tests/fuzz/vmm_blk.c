// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzz virtio-blk behind its register window, over a real file and with its real I/O thread. Each
 * input starts with a driver that has set up the queue, then is a list of steps. After it the image
 * must have its size, and a fresh driver must get back what it writes.
 *
 * Steps (u8 what, then its operands):
 *   0 write register: u16 offset, u32 value     1 read register: u16 offset, u8 length
 *   2 poke: u16 address / 2, u8 n, n bytes      3 chain: u8 n, n times
 *   4 kick                                         { u16 page, u16 offset, u16 length, u8 flags }
 *   5 request: u8 type, u16 sector, u16 length, u8 flags
 *   6 wait for all of it                        7 start over as a fresh driver: u16 features
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/blk.h"
#include "vmm/virtio_mmio.h"

#define MEMORY_BYTES (256UL * 1024)
#define DISK_BYTES   (64UL * 1024)
#define QUEUE_SIZE   32
#define STEPS_MAX    64
#define STATUS	     0x70
#define FEATURES     0xffffffU /* all that is offered */
#define TEST_GPA     0x3f000U  /* the last page: header, status, data of our own requests */

struct input {
	const uint8_t *data;
	size_t left;
};

static uint8_t *memory;
static struct ram *ram;
static struct virtio_mmio *mmio;
static struct virtio_device *blk;
static int image;

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

static uint32_t reg_read(uint64_t offset)
{
	uint32_t value;

	virtio_mmio_bus_ops.read(mmio, offset, (uint8_t *)&value, 4);
	return value;
}

static void start(uint32_t features)
{
	reg_write(STATUS, 0);
	reg_write(STATUS, 3);
	reg_write(0x14, 0);
	reg_write(0x24, 0);
	reg_write(0x20, (features | 1U << VIRTIO_F_INDIRECT_DESC) & reg_read(0x10));
	reg_write(0x24, 1);
	reg_write(0x20, 1);
	reg_write(STATUS, 3 | VIRTIO_STATUS_FEATURES_OK);
	memset(memory, 0, 4096);
	reg_write(0x30, 0);
	reg_write(0x38, QUEUE_SIZE);
	reg_write(0x80, 0);
	reg_write(0x90, 1024);
	reg_write(0xa0, 2048);
	reg_write(0x44, 1);
	reg_write(STATUS, 7 | VIRTIO_STATUS_FEATURES_OK);
}

static void settle(void)
{
	virtio_pause(blk);
	virtio_resume(blk);
	reg_write(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

static void set_desc(unsigned int i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	uint8_t *d = memory + i * 16UL;

	memcpy(d, &addr, 8);
	memcpy(d + 8, &len, 4);
	memcpy(d + 12, &flags, 2);
	memcpy(d + 14, &next, 2);
}

static void offer(void)
{
	uint16_t idx;

	memcpy(&idx, memory + 1026, 2);
	memset(memory + 1028 + idx % QUEUE_SIZE * 2UL, 0, 2);
	idx++;
	memcpy(memory + 1026, &idx, 2);
	reg_write(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

static void chain(struct input *in)
{
	unsigned int n = take(in, 1) % QUEUE_SIZE + 1;

	for (unsigned int i = 0; i < n; i++) {
		uint64_t page = take(in, 2), offset = take(in, 2);
		uint32_t len = (uint32_t)take(in, 2);
		uint16_t flags = (uint16_t)(take(in, 1) & 7);

		if (i + 1 < n)
			flags |= VIRTIO_DESC_NEXT;
		set_desc(i, offset + (page << 12), len, flags, (uint16_t)(i + 1));
	}
	offer();
}

/* A request of the right form. Returns its status. */
static uint8_t request(uint32_t type, uint64_t sector, uint32_t len, bool in)
{
	uint8_t *header = memory + TEST_GPA;

	memset(header, 0, 16);
	memcpy(header, &type, 4);
	memcpy(header + 8, &sector, 8);
	header[16] = 0xee;
	set_desc(0, TEST_GPA, 16, VIRTIO_DESC_NEXT, len ? 1 : 2);
	set_desc(1, 0x10000, len, VIRTIO_DESC_NEXT | (in ? VIRTIO_DESC_WRITE : 0), 2);
	set_desc(2, TEST_GPA + 16, 1, VIRTIO_DESC_WRITE, 0);
	offer();
	return header[16];
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
	uint32_t type, len;

	switch (take(in, 1) % 8) {
	case 0:
		offset = take(in, 2) % 4096;
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
		chain(in);
		break;
	case 4:
		reg_write(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		break;
	case 5:
		type = (uint32_t)take(in, 1);
		offset = take(in, 2);
		len = (uint32_t)take(in, 2);
		request(type, offset, len, take(in, 1) & 1);
		break;
	case 6:
		settle();
		break;
	case 7:
		start((uint32_t)take(in, 2));
		break;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	uint8_t *map =
		mmap(NULL, MEMORY_BYTES + 2 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct loop *loop = loop_new(bus_new());
	struct disk_config config = {.serial = "fuzz", .discard = true};
	struct disk *disk;

	memory = map + 4096;
	log_init("fuzz", LOG_LEVEL_ERR);
	strcpy(config.path, "/tmp/memd-fuzz-blk-XXXXXX");
	image = mkstemp(config.path);
	if (image < 0 || ftruncate(image, DISK_BYTES) < 0 || disk_open(&config, &disk) < 0)
		abort();
	unlink(config.path);
	if (map == MAP_FAILED || mprotect(memory, MEMORY_BYTES, PROT_READ | PROT_WRITE) < 0 ||
	    ram_new_buffer(memory, 0, MEMORY_BYTES, &ram) < 0)
		abort();
	blk = blk_new(ram, loop, disk, 0, NULL, NULL);
	if (!blk || virtio_mmio_new(blk, loop, eventfd(0, EFD_NONBLOCK), &mmio) < 0)
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	static const uint8_t mark[512] = "this sector was written by the test itself";
	uint8_t got[512];

	memset(memory, 0, MEMORY_BYTES);
	virtio_mmio_reset(mmio);
	start(FEATURES);
	for (unsigned int i = 0; in.left && i < STEPS_MAX; i++)
		step(&in);

	/* The image keeps its size, and a fresh driver gets back what it wrote. */
	if (lseek(image, 0, SEEK_END) != DISK_BYTES)
		abort();
	start(FEATURES);
	memcpy(memory + 0x10000, mark, sizeof(mark));
	request(1, DISK_BYTES / 512 - 1, 512, false);
	settle();
	memset(memory + 0x10000, 0, 512);
	request(0, DISK_BYTES / 512 - 1, 512, true);
	settle();
	if (memory[TEST_GPA + 16] != 0 || memcmp(memory + 0x10000, mark, sizeof(mark)) != 0 ||
	    pread(image, got, sizeof(got), DISK_BYTES - 512) != sizeof(got) ||
	    memcmp(got, mark, sizeof(mark)) != 0)
		abort();
	return 0;
}
