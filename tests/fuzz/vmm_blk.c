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
#include <unistd.h>

#include "tests/fuzz/virtio_driver.h"
#include "vmm/blk.h"

#define MEMORY_BYTES (256UL * 1024)
#define DISK_BYTES   (64UL * 1024)
#define TEST_GPA     0x3f000U /* the last page: header, status, data of our own requests */

static uint8_t *memory;
static struct virtio_device *blk;
static int image;

static void settle(void)
{
	virtio_pause(blk);
	virtio_resume(blk);
	reg_write(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

/* A request of the right form. Returns its status. */
static uint8_t request(uint32_t type, uint64_t sector, uint32_t len, bool in)
{
	uint8_t *header = memory + TEST_GPA;
	unsigned int n = 0;

	memset(header, 0, 16);
	memcpy(header, &type, 4);
	memcpy(header + 8, &sector, 8);
	header[16] = 0xee;
	set_desc(0, n++, TEST_GPA, 16, VIRTIO_DESC_NEXT);
	if (len)
		set_desc(0, n++, 0x10000, len, VIRTIO_DESC_NEXT | (in ? VIRTIO_DESC_WRITE : 0));
	set_desc(0, n, TEST_GPA + 16, 1, VIRTIO_DESC_WRITE);
	offer(0, 0);
	return header[16];
}

static void step(struct input *in)
{
	uint64_t offset;
	uint32_t type, len;

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
		chain(in, 0, take(in, 1) % QUEUE_SIZE + 1, 0);
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
		driver_start(take(in, 2));
		break;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct loop *loop = loop_new(bus_new());
	struct disk_config config = {.serial = "fuzz", .discard = true};
	struct disk *disk;

	log_init("fuzz", LOG_LEVEL_ERR);
	memory = memory_new(MEMORY_BYTES);
	strcpy(config.path, "/tmp/memd-fuzz-blk-XXXXXX");
	image = mkstemp(config.path);
	if (image < 0 || ftruncate(image, DISK_BYTES) < 0 || disk_open(&config, &disk) < 0)
		abort();
	unlink(config.path);
	blk = blk_new(ram, loop, disk, 0, NULL, NULL);
	driver_new(blk, loop);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	static const uint8_t mark[512] = "this sector was written by the test itself";
	uint8_t got[512];

	memset(memory, 0, MEMORY_BYTES);
	virtio_mmio_reset(mmio);
	driver_start(~0ULL);
	for (unsigned int i = 0; in.left && i < STEPS_MAX; i++)
		step(&in);

	/* The image keeps its size, and a fresh driver gets back what it wrote. */
	if (lseek(image, 0, SEEK_END) != DISK_BYTES)
		abort();
	driver_start(~0ULL);
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
