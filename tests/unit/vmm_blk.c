// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk over a disk in memory that fails, and waits, when the test says so: the I/O thread is
 * the real one. What a broken driver sends must end in a status or in DEVICE_NEEDS_RESET, and
 * nothing may reach the disk.
 */
#include "virtio_driver.h"

#include <linux/virtio_blk.h>
#include <pthread.h>
#include <string.h>

#include "common/cleanup.h"
#include "vmm/blk.h"
#include "vmm/blk_io.h"

#define DISK_BYTES (256UL * 1024)
#define F(bit)	   (1ULL << (bit))
#define F_ALL                                                                            \
	(F(VIRTIO_BLK_F_SIZE_MAX) | F(VIRTIO_BLK_F_SEG_MAX) | F(VIRTIO_BLK_F_BLK_SIZE) | \
	 F(VIRTIO_BLK_F_FLUSH) | F(VIRTIO_BLK_F_TOPOLOGY) | F(VIRTIO_BLK_F_DISCARD) |    \
	 F(VIRTIO_BLK_F_WRITE_ZEROES))

/* ---- in the place of disk.c ---- */

struct disk {
	struct disk_config config;
	uint8_t data[DISK_BYTES];
	unsigned int reads, writes, flushes, discards, zeroes;
	struct blk_range last;
	int fail; /* errno of the next ones */
	bool closed;
	/* While shut, the thread waits in front of each transfer. */
	pthread_mutex_t lock;
	pthread_cond_t turned;
	bool shut;
};

static struct disk host;

static void gate(struct disk *disk)
{
	pthread_mutex_lock(&disk->lock);
	while (disk->shut)
		pthread_cond_wait(&disk->turned, &disk->lock);
	pthread_mutex_unlock(&disk->lock);
}

static void gate_set(bool shut)
{
	pthread_mutex_lock(&host.lock);
	host.shut = shut;
	pthread_cond_broadcast(&host.turned);
	pthread_mutex_unlock(&host.lock);
}

const struct disk_config *disk_config(const struct disk *disk)
{
	return &disk->config;
}

uint64_t disk_size_bytes(const struct disk *disk)
{
	return DISK_BYTES;
}

uint32_t disk_block_bytes(const struct disk *disk)
{
	return 512;
}

uint32_t disk_physical_block_bytes(const struct disk *disk)
{
	return 4096;
}

void disk_close(struct disk *disk)
{
	disk->closed = true;
}

static int transfer(struct disk *disk, bool write, struct iovec *iov, unsigned int n, uint64_t at)
{
	gate(disk);
	if (disk->fail)
		return -disk->fail;
	for (unsigned int i = 0; i < n; i++) {
		assert_true(at + iov[i].iov_len <= DISK_BYTES);
		if (write)
			memcpy(disk->data + at, iov[i].iov_base, iov[i].iov_len);
		else
			memcpy(iov[i].iov_base, disk->data + at, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	return 0;
}

int disk_read(struct disk *disk, struct iovec *iov, unsigned int n_iov, uint64_t offset)
{
	disk->reads++;
	return transfer(disk, false, iov, n_iov, offset);
}

int disk_write(struct disk *disk, struct iovec *iov, unsigned int n_iov, uint64_t offset)
{
	disk->writes++;
	return transfer(disk, true, iov, n_iov, offset);
}

int disk_flush(struct disk *disk)
{
	disk->flushes++;
	return -disk->fail;
}

int disk_discard(struct disk *disk, uint64_t offset, uint64_t len)
{
	disk->discards++;
	disk->last = (struct blk_range){offset, len, false};
	return -disk->fail;
}

int disk_zero(struct disk *disk, uint64_t offset, uint64_t len, bool may_unmap)
{
	disk->zeroes++;
	disk->last = (struct blk_range){offset, len, may_unmap};
	return -disk->fail;
}

/* ---- the driver ---- */

static unsigned int n_errors;
static int last_error;
static bool last_error_write;

static void on_error(void *ctx, unsigned int index, bool is_write, int err)
{
	assert_ptr_equal(ctx, &host);
	assert_int_equal(index, 3);
	n_errors++;
	last_error = err;
	last_error_write = is_write;
}

static struct driver *start(const struct disk_config *config, uint64_t features)
{
	struct driver *d = driver_new();

	host = (struct disk){.config = *config};
	pthread_mutex_init(&host.lock, NULL);
	pthread_cond_init(&host.turned, NULL);
	for (size_t i = 0; i < DISK_BYTES; i++)
		host.data[i] = (uint8_t)(i / 512 * 7 + i);
	n_errors = 0;
	driver_attach(d, blk_new(d->ram, &d->loop, &host, 3, on_error, &host));
	driver_start(d, features, 1, 256);
	return d;
}

static int setup(void **state)
{
	static const struct disk_config config = {
		.path = "test.img", .serial = "s1", .discard = true};

	*state = start(&config, F_ALL);
	return 0;
}

static int setup_readonly(void **state)
{
	static const struct disk_config config = {
		.path = "test.img", .readonly = true, .discard = true};

	*state = start(&config, F(VIRTIO_BLK_F_RO) | F(VIRTIO_BLK_F_FLUSH));
	return 0;
}

static int teardown(void **state)
{
	driver_free(*state);
	assert_true(host.closed);
	return 0;
}

/* Everything that is under way is answered. */
static void settle(struct driver *d)
{
	virtio_pause(d->dev);
	virtio_resume(d->dev);
	fake_loop_poll(&d->loop);
}

#define HEADER 0x80000
#define STATUS 0x80100
#define DATA   0x90000
#define NONE   0xee /* what the status byte is before */

static uint8_t status_byte(struct driver *d)
{
	return *(uint8_t *)at(d, STATUS, 1);
}

static void put_header(struct driver *d, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr header = {.type = type, .sector = sector};

	memcpy(at(d, HEADER, sizeof(header)), &header, sizeof(header));
	*(uint8_t *)at(d, STATUS, 1) = NONE;
}

/* The usual three descriptors; returns the used length. */
static uint32_t request(struct driver *d, uint32_t type, uint64_t sector, uint32_t len, bool in)
{
	uint16_t before = used_idx(d, 0);

	put_header(d, type, sector);
	set_desc(d, 0, 0, HEADER, 16, VIRTIO_DESC_NEXT, len ? 1 : 2);
	set_desc(d, 0, 1, DATA, len, VIRTIO_DESC_NEXT | (in ? VIRTIO_DESC_WRITE : 0), 2);
	set_desc(d, 0, 2, STATUS, 1, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	settle(d);
	assert_int_equal(used_idx(d, 0), (uint16_t)(before + 1));
	assert_int_equal(used_at(d, 0, before).id, 0);
	return used_at(d, 0, before).len;
}

static bool disk_untouched(void)
{
	for (size_t i = 0; i < DISK_BYTES; i++)
		if (host.data[i] != (uint8_t)(i / 512 * 7 + i))
			return false;
	return host.writes + host.discards + host.zeroes == 0;
}

static uint32_t config_word(struct driver *d, uint64_t offset)
{
	return reg_get(d, R_CONFIG + offset);
}

/* ---- tests ---- */

static void config_space(void **state)
{
	struct driver *d = *state;
	uint8_t byte;

	assert_int_equal(reg_get(d, 0x08), VIRTIO_ID_BLOCK);
	assert_int_equal(driver_offered(d), F_ALL | F_VERSION_1 | F_INDIRECT);
	assert_int_equal(config_word(d, 0), DISK_BYTES / 512);
	assert_int_equal(config_word(d, 4), 0);
	assert_int_equal(config_word(d, 8), 1 << 20); /* size_max */
	assert_int_equal(config_word(d, 12), 254);    /* seg_max */
	assert_int_equal(config_word(d, 20), 512);    /* blk_size */
	assert_int_equal(config_word(d, 24), 0x00010003);
	assert_int_equal(config_word(d, 36), (1U << 30) / 512); /* max_discard_sectors */
	assert_int_equal(config_word(d, 40), 64);
	assert_int_equal(config_word(d, 44), 8); /* alignment */
	assert_int_equal(config_word(d, 48), (64U << 20) / 512);
	assert_int_equal(config_word(d, 52), 1);
	virtio_mmio_bus_ops.read(d->mmio, R_CONFIG + 56, &byte, 1); /* may unmap */
	assert_int_equal(byte, 1);
	assert_int_equal(config_word(d, 60), 0); /* beyond */
}

static void features_follow_the_options(void **state)
{
	static const struct disk_config kept = {.path = "kept.img"};
	struct driver *d = *state;
	uint64_t offered = driver_offered(d);

	assert_true(offered & F(VIRTIO_BLK_F_RO));
	assert_false(offered & (F(VIRTIO_BLK_F_DISCARD) | F(VIRTIO_BLK_F_WRITE_ZEROES)));
	teardown(state);
	*state = d = start(&kept, 0);
	offered = driver_offered(d);
	assert_false(offered & (F(VIRTIO_BLK_F_RO) | F(VIRTIO_BLK_F_DISCARD)));
	assert_true(offered & F(VIRTIO_BLK_F_WRITE_ZEROES));
	assert_int_equal(config_word(d, 56) & 0xff, 0);
}

static void reads_and_writes(void **state)
{
	struct driver *d = *state;

	assert_int_equal(request(d, VIRTIO_BLK_T_IN, 3, 4096, true), 4097);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	assert_memory_equal(at(d, DATA, 4096), host.data + 3 * 512, 4096);
	memset(at(d, DATA, 1024), 0x5a, 1024);
	assert_int_equal(request(d, VIRTIO_BLK_T_OUT, DISK_BYTES / 512 - 2, 1024, false), 1);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	for (size_t i = DISK_BYTES - 1024; i < DISK_BYTES; i++)
		assert_int_equal(host.data[i], 0x5a);
	assert_int_equal(host.data[DISK_BYTES - 1025],
			 (uint8_t)((DISK_BYTES - 1025) / 512 * 7 + DISK_BYTES - 1025));
	assert_true(irqs(d) >= 2);
	assert_int_equal(blk_stats(d->dev)->read.bytes, 4096);
	assert_int_equal(blk_stats(d->dev)->write.operations, 1);
	assert_int_equal(blk_stats(d->dev)->highest_offset, DISK_BYTES);
	assert_int_equal(host.flushes, 0);
}

/* 2.7.4: the device may not depend on how a request is cut into descriptors. */
static void any_layout(void **state)
{
	struct driver *d = *state;
	uint8_t *p;

	/* Header in three pieces, the last with data; data in two regions of RAM; status behind. */
	put_header(d, VIRTIO_BLK_T_OUT, 8);
	memcpy(at(d, DATA, 6), at(d, HEADER + 10, 6), 6);
	memset(at(d, DATA + 6, 500), 0x11, 500);
	memset(at(d, FAKE_SECOND_GPA - 5, 5), 0x22, 5);
	memset(at(d, FAKE_SECOND_GPA, 7), 0x33, 7);
	set_desc(d, 0, 0, HEADER, 1, VIRTIO_DESC_NEXT, 5);
	set_desc(d, 0, 5, HEADER + 1, 9, VIRTIO_DESC_NEXT, 6);
	set_desc(d, 0, 6, DATA, 506, VIRTIO_DESC_NEXT, 7);
	set_desc(d, 0, 7, FAKE_SECOND_GPA - 5, 12, VIRTIO_DESC_NEXT, 8);
	set_desc(d, 0, 8, STATUS, 1, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	settle(d);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	p = host.data + 8 * 512;
	assert_int_equal(p[0], 0x11);
	assert_int_equal(p[499], 0x11);
	assert_int_equal(p[500], 0x22);
	assert_int_equal(p[504], 0x22);
	assert_int_equal(p[505], 0x33);
	assert_int_equal(p[511], 0x33);
	assert_int_equal(p[512], (uint8_t)(9 * 7 + 9 * 512));

	/* Data and status in one descriptor. */
	put_header(d, VIRTIO_BLK_T_IN, 8);
	memset(at(d, DATA, 513), NONE, 513);
	set_desc(d, 0, 0, HEADER, 16, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, DATA, 513, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	settle(d);
	assert_memory_equal(at(d, DATA, 512), p, 512);
	assert_int_equal(*(uint8_t *)at(d, DATA + 512, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(status_byte(d), NONE);
}

static void outside_of_the_disk(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} wrong[] = {
		{DISK_BYTES / 512, 512},
		{DISK_BYTES / 512 - 1, 1024},
		{UINT64_MAX, 512},
		{UINT64_MAX / 512, 512},
		{UINT64_MAX / 512 + 1, 0x200},
		{0, 511},
		{0, 513},
		{0, 1},
		{DISK_BYTES / 512 + 1, 0},
		{1ULL << 55, 4096},
	};
	struct driver *d = *state;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(request(d, VIRTIO_BLK_T_IN, wrong[i].sector, wrong[i].len, true),
				 1);
		assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
		request(d, VIRTIO_BLK_T_OUT, wrong[i].sector, wrong[i].len, false);
		assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(host.reads, 0);
	assert_true(disk_untouched());
	assert_false(needs_reset(d));
	/* Nothing, at a place that exists, is fine. */
	request(d, VIRTIO_BLK_T_IN, DISK_BYTES / 512, 0, true);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
}

static void no_room_for_header_or_status(void **state)
{
	struct driver *d = *state;

	put_header(d, VIRTIO_BLK_T_OUT, 0);
	set_desc(d, 0, 0, HEADER, 16 + 512, 0, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_true(needs_reset(d));
	driver_start(d, F_ALL, 1, 256);
	set_desc(d, 0, 0, HEADER, 15, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, STATUS, 1, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_true(needs_reset(d));
	driver_start(d, F_ALL, 1, 256);
	set_desc(d, 0, 0, DATA, 513, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_true(needs_reset(d));
	assert_true(disk_untouched());
	driver_start(d, F_ALL, 1, 256);
	request(d, VIRTIO_BLK_T_IN, 0, 512, true);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
}

static void unknown_types(void **state)
{
	static const uint32_t types[] = {VIRTIO_BLK_T_SCSI_CMD,
					 3,
					 VIRTIO_BLK_T_SECURE_ERASE,
					 99,
					 VIRTIO_BLK_T_BARRIER | VIRTIO_BLK_T_OUT,
					 UINT32_MAX};
	struct driver *d = *state;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		assert_int_equal(request(d, types[i], 0, 512, i % 2), 1);
		assert_int_equal(status_byte(d), VIRTIO_BLK_S_UNSUPP);
	}
	assert_true(disk_untouched());
}

static void serial_number(void **state)
{
	struct driver *d = *state;

	memset(at(d, DATA, 64), 0xaa, 64);
	assert_int_equal(request(d, VIRTIO_BLK_T_GET_ID, 0, 20, true), 21);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	assert_memory_equal(at(d, DATA, 20), "s1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
	/* Too long and too short: never more than asked for, never more than there is. */
	memset(at(d, DATA, 64), 0xaa, 64);
	assert_int_equal(request(d, VIRTIO_BLK_T_GET_ID, 0, 64, true), 21);
	assert_int_equal(*(uint8_t *)at(d, DATA + 20, 1), 0xaa);
	memset(at(d, DATA, 64), 0xaa, 64);
	assert_int_equal(request(d, VIRTIO_BLK_T_GET_ID, 0, 1, true), 2);
	assert_int_equal(*(uint8_t *)at(d, DATA + 1, 1), 0xaa);
	request(d, VIRTIO_BLK_T_GET_ID, 0, 20, false); /* data the wrong way round */
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
}

static void readonly_is_not_written(void **state)
{
	struct virtio_blk_discard_write_zeroes range = {.num_sectors = 8};
	struct driver *d = *state;

	request(d, VIRTIO_BLK_T_OUT, 0, 512, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	memcpy(at(d, DATA, 16), &range, 16);
	request(d, VIRTIO_BLK_T_DISCARD, 0, 16, false);
	assert_int_not_equal(status_byte(d), VIRTIO_BLK_S_OK);
	request(d, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false);
	assert_int_not_equal(status_byte(d), VIRTIO_BLK_S_OK);
	assert_true(disk_untouched());
	request(d, VIRTIO_BLK_T_IN, 0, 512, true);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	request(d, VIRTIO_BLK_T_FLUSH, 0, 0, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
}

static uint8_t range_request(struct driver *d, uint32_t type, uint64_t sector, uint32_t sectors,
			     uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes range = {sector, sectors, flags};

	memcpy(at(d, DATA, 16), &range, 16);
	request(d, type, 0, 16, false);
	return status_byte(d);
}

static void discard_and_zeroes(void **state)
{
	struct virtio_blk_discard_write_zeroes ranges[3] = {{0, 8, 0}, {64, 16, 0}, {100, 1, 0}};
	const uint32_t discard = VIRTIO_BLK_T_DISCARD, zero = VIRTIO_BLK_T_WRITE_ZEROES;
	struct driver *d = *state;

	memcpy(at(d, DATA, 48), ranges, 48);
	request(d, discard, 0, 48, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	assert_int_equal(host.discards, 3);
	assert_int_equal(host.last.offset, 100 * 512);
	assert_int_equal(host.last.len, 512);
	assert_int_equal(range_request(d, zero, 5, 3, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(host.last.offset, 5 * 512);
	assert_int_equal(host.last.len, 3 * 512);
	assert_true(host.last.may_unmap);
	assert_int_equal(range_request(d, zero, 5, 3, 0), VIRTIO_BLK_S_OK);
	assert_false(host.last.may_unmap);
	assert_int_equal(host.zeroes, 2);
	assert_int_equal(blk_stats(d->dev)->unmap.operations, 3);
	assert_int_equal(blk_stats(d->dev)->unmap.bytes, (8 + 16 + 1 + 3 + 3) * 512);
	assert_int_equal(range_request(d, discard, 5, 0, 0), VIRTIO_BLK_S_OK);
}

static void wrong_ranges(void **state)
{
	const uint32_t discard = VIRTIO_BLK_T_DISCARD, zero = VIRTIO_BLK_T_WRITE_ZEROES;
	struct virtio_blk_discard_write_zeroes mixed[2] = {{0, 8, 0}, {DISK_BYTES / 512, 1, 0}};
	struct driver *d = *state;

	assert_int_equal(range_request(d, discard, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(range_request(d, discard, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(range_request(d, zero, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(range_request(d, discard, DISK_BYTES / 512, 1, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range_request(d, discard, UINT64_MAX, 8, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range_request(d, zero, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(range_request(d, discard, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
	/* One wrong range among good ones: nothing is done. */
	memcpy(at(d, DATA, 32), mixed, 32);
	request(d, discard, 0, 32, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	/* Part of a range, and thousands. */
	memset(at(d, DATA, 65536), 0, 65536);
	request(d, discard, 0, 15, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	request(d, discard, 0, 65 * 16, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	request(d, discard, 0, 65536, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	request(d, zero, 0, 32, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	assert_true(disk_untouched());
	/* Not without the feature. */
	driver_start(d, F(VIRTIO_BLK_F_FLUSH), 1, 256);
	assert_int_equal(range_request(d, discard, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(range_request(d, zero, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	assert_true(disk_untouched());
}

static void flush(void **state)
{
	struct driver *d = *state;

	request(d, VIRTIO_BLK_T_FLUSH, 0, 0, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	assert_int_equal(host.flushes, 1);
	assert_int_equal(blk_stats(d->dev)->flush.operations, 1);
	/* A driver that will not flush gets writes that are safe at once. */
	driver_start(d, 0, 1, 256);
	request(d, VIRTIO_BLK_T_OUT, 0, 512, false);
	assert_int_equal(host.flushes, 2);
	request(d, VIRTIO_BLK_T_IN, 0, 512, true);
	assert_int_equal(host.flushes, 2);
}

static void errors_of_the_host(void **state)
{
	struct driver *d = *state;
	bool nospace = false;

	assert_false(blk_has_failed(d->dev, &nospace));
	host.fail = ENOSPC;
	assert_int_equal(request(d, VIRTIO_BLK_T_OUT, 0, 512, false), 1);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	assert_int_equal(n_errors, 1);
	assert_int_equal(last_error, ENOSPC);
	assert_true(last_error_write);
	assert_true(blk_has_failed(d->dev, &nospace));
	assert_true(nospace);
	host.fail = EIO;
	for (unsigned int i = 0; i < 20; i++) {
		assert_int_equal(request(d, VIRTIO_BLK_T_IN, 0, 512, true), 1);
		assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	}
	request(d, VIRTIO_BLK_T_FLUSH, 0, 0, false);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_IOERR);
	assert_true(n_errors <= 2); /* at most one a second */
	assert_int_equal(blk_stats(d->dev)->read.failed, 20);
	assert_int_equal(blk_stats(d->dev)->read.operations, 0);
	host.fail = 0;
	request(d, VIRTIO_BLK_T_IN, 0, 512, true);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
}

/* The way of every day: the thread has the loop called, and the loop answers. */
static void answered_from_the_loop(void **state)
{
	struct driver *d = *state;

	put_header(d, VIRTIO_BLK_T_IN, 0);
	set_desc(d, 0, 0, HEADER, 16, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, DATA, 512, VIRTIO_DESC_NEXT | VIRTIO_DESC_WRITE, 2);
	set_desc(d, 0, 2, STATUS, 1, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	while (!__atomic_load_n(&d->loop.call, __ATOMIC_ACQUIRE))
		usleep(100);
	assert_int_equal(used_idx(d, 0), 0);
	fake_loop_run(&d->loop);
	assert_int_equal(used_idx(d, 0), 1);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	assert_int_equal(irqs(d), 1);
}

/* A read into DATA that waits in front of the disk. */
static void read_that_waits(struct driver *d)
{
	gate_set(true);
	put_header(d, VIRTIO_BLK_T_IN, 0);
	set_desc(d, 0, 0, HEADER, 16, VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, DATA, 512, VIRTIO_DESC_NEXT | VIRTIO_DESC_WRITE, 2);
	set_desc(d, 0, 2, STATUS, 1, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
}

static void *open_gate_soon(void *ctx)
{
	usleep(30000);
	gate_set(false);
	return NULL;
}

static pthread_t open_gate(void)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, open_gate_soon, NULL), 0);
	return thread;
}

/* A driver that reuses heads at once cannot have more under way than the queue holds. */
static void bounded_under_way(void **state)
{
	struct driver *d = *state;

	read_that_waits(d);
	for (unsigned int round = 0; round < 4; round++) {
		for (unsigned int i = 0; i < 200; i++)
			offer(d, 0, 0);
		kick(d, 0);
		if (needs_reset(d)) /* more than the ring holds wait: also an answer */
			break;
	}
	assert_true(host.reads <= 1);
	pthread_join(open_gate(), NULL);
	settle(d);
	assert_true(used_idx(d, 0) <= 256);
	assert_true(used_idx(d, 0) >= 201);
}

/* All 256 under way, then as many again: those wait in the ring and come after. */
static void more_than_can_be_under_way(void **state)
{
	struct driver *d = *state;

	read_that_waits(d);
	for (unsigned int i = 0; i < 255; i++)
		offer(d, 0, 0);
	kick(d, 0);
	for (unsigned int i = 0; i < 256; i++)
		offer(d, 0, 0);
	kick(d, 0);
	assert_false(needs_reset(d));
	assert_int_equal(virtio_queue_pending(d->dev, 0), 256);
	pthread_join(open_gate(), NULL);
	for (unsigned int i = 0; i < 100 && used_idx(d, 0) != 512; i++)
		settle(d);
	assert_int_equal(used_idx(d, 0), 512);
	assert_int_equal(host.reads, 512);
}

static void reset_waits_and_forgets(void **state)
{
	struct driver *d = *state;
	uint8_t *data = at(d, DATA, 512);
	pthread_t thread;

	memset(data, 0, 512);
	read_that_waits(d);
	thread = open_gate();
	reg_set(d, R_STATUS, 0);
	/* The transfer is over, and its answer went nowhere. */
	assert_memory_equal(data, host.data, 512);
	assert_int_equal(status_byte(d), NONE);
	assert_int_equal(used_idx(d, 0), 0);
	pthread_join(thread, NULL);
	fake_loop_run(&d->loop);
	assert_int_equal(status_byte(d), NONE);
	driver_start(d, F_ALL, 1, 256);
	request(d, VIRTIO_BLK_T_IN, 1, 512, true);
	assert_memory_equal(data, host.data + 512, 512);
}

static void pause_answers_first(void **state)
{
	struct driver *d = *state;
	pthread_t thread;

	read_that_waits(d);
	offer(d, 0, 0);
	kick(d, 0);
	thread = open_gate();
	virtio_pause(d->dev);
	assert_int_equal(used_idx(d, 0), 2);
	assert_int_equal(status_byte(d), VIRTIO_BLK_S_OK);
	pthread_join(thread, NULL);
	/* What comes now waits. */
	offer(d, 0, 0);
	kick(d, 0);
	usleep(2000);
	assert_int_equal(host.reads, 2);
	virtio_resume(d->dev);
	fake_loop_poll(&d->loop);
	settle(d);
	assert_int_equal(used_idx(d, 0), 3);
}

static void queue_taken_away_under_way(void **state)
{
	struct driver *d = *state;

	read_that_waits(d);
	reg_set(d, 0x30, 0);
	reg_set(d, 0x44, 0);
	pthread_join(open_gate(), NULL);
	settle(d);
	assert_int_equal(used_idx(d, 0), 0);
}

static void freed_under_way(void **state)
{
	struct driver *d = *state;

	read_that_waits(d);
	pthread_detach(open_gate());
	/* teardown frees it */
}

static unsigned int n_done;

static void count_done(void *ctx)
{
	__atomic_add_fetch(&n_done, 1, __ATOMIC_SEQ_CST);
}

static void abandoned(void **state)
{
	struct blk_request *request, *next;
	struct blk_io *io;
	pthread_t thread;
	unsigned int n = 0;

	assert_int_equal(blk_io_new(&host, "test", count_done, NULL, &io), 0);
	gate_set(true);
	for (unsigned int i = 0; i < 3; i++) {
		request = blk_request_new(0, 0);
		request->op = BLK_READ;
		blk_io_submit(io, request);
	}
	while (__atomic_load_n(&host.reads, __ATOMIC_SEQ_CST) == 0)
		usleep(100);
	thread = open_gate();
	assert_int_equal(blk_io_abandon(io, 1000), 2);
	pthread_join(thread, NULL);
	for (request = blk_io_fetch(io); request; request = next) {
		next = request->next;
		assert_int_equal(request->result, n++ == 0 ? 0 : -ECANCELED);
		free(request);
	}
	assert_int_equal(n, 3);
	assert_null(blk_io_fetch(io));
	/* It serves on. */
	blk_io_submit(io, blk_request_new(0, 0));
	blk_io_drain(io);
	request = blk_io_fetch(io);
	assert_int_equal(request->result, 0);
	free(request);
	blk_io_submit(io, blk_request_new(0, 0));
	blk_io_free(io);
	assert_true(n_done >= 4);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(config_space),
		cmocka_unit_test_setup_teardown(features_follow_the_options, setup_readonly,
						teardown),
		T(reads_and_writes),
		T(any_layout),
		T(outside_of_the_disk),
		T(no_room_for_header_or_status),
		T(unknown_types),
		T(serial_number),
		cmocka_unit_test_setup_teardown(readonly_is_not_written, setup_readonly, teardown),
		T(discard_and_zeroes),
		T(wrong_ranges),
		T(flush),
		T(errors_of_the_host),
		T(answered_from_the_loop),
		T(bounded_under_way),
		T(more_than_can_be_under_way),
		T(reset_waits_and_forgets),
		T(pause_answers_first),
		T(queue_taken_away_under_way),
		T(freed_under_way),
		T(abandoned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
