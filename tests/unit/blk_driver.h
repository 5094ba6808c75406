/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-blk over a disk in memory that fails, and waits, when the test says so: the I/O thread is
 * the real one. */
#ifndef MEMD_TESTS_BLK_DRIVER_H
#define MEMD_TESTS_BLK_DRIVER_H

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

static inline void gate(struct disk *disk)
{
	pthread_mutex_lock(&disk->lock);
	while (disk->shut)
		pthread_cond_wait(&disk->turned, &disk->lock);
	pthread_mutex_unlock(&disk->lock);
}

static inline void gate_set(bool shut)
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

static inline int transfer(struct disk *disk, bool write, struct iovec *iov, unsigned int n,
			   uint64_t at)
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

static inline void on_error(void *ctx, unsigned int index, bool is_write, int err)
{
	assert_ptr_equal(ctx, &host);
	assert_int_equal(index, 3);
	n_errors++;
	last_error = err;
	last_error_write = is_write;
}

static inline struct driver *start(const struct disk_config *config, uint64_t features)
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

static inline int setup(void **state)
{
	static const struct disk_config config = {
		.path = "test.img", .serial = "s1", .discard = true};

	*state = start(&config, F_ALL);
	return 0;
}

static inline int setup_readonly(void **state)
{
	static const struct disk_config config = {
		.path = "test.img", .readonly = true, .discard = true};

	*state = start(&config, F(VIRTIO_BLK_F_RO) | F(VIRTIO_BLK_F_FLUSH));
	return 0;
}

static inline int teardown(void **state)
{
	driver_free(*state);
	assert_true(host.closed);
	return 0;
}

/* Everything that is under way is answered. */
static inline void settle(struct driver *d)
{
	virtio_pause(d->dev);
	virtio_resume(d->dev);
	fake_loop_poll(&d->loop);
}

#define HEADER 0x80000
#define STATUS 0x80100
#define DATA   0x90000
#define NONE   0xee /* what the status byte is before */

static inline uint8_t status_byte(struct driver *d)
{
	return *(uint8_t *)at(d, STATUS, 1);
}

static inline void put_header(struct driver *d, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr header = {.type = type, .sector = sector};

	memcpy(at(d, HEADER, sizeof(header)), &header, sizeof(header));
	*(uint8_t *)at(d, STATUS, 1) = NONE;
}

/* The usual three descriptors; returns the used length. */
static inline uint32_t request(struct driver *d, uint32_t type, uint64_t sector, uint32_t len,
			       bool in)
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

static inline bool disk_untouched(void)
{
	for (size_t i = 0; i < DISK_BYTES; i++)
		if (host.data[i] != (uint8_t)(i / 512 * 7 + i))
			return false;
	return host.writes + host.discards + host.zeroes == 0;
}

static inline uint32_t config_word(struct driver *d, uint64_t offset)
{
	return reg_get(d, R_CONFIG + offset);
}

#endif
