/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of a disk: a raw image file or a block device. Opened and locked once, then read,
 * written, flushed and punched by one thread at a time; the guest's side is blk.c.
 */
#ifndef MEMD_VMM_DISK_H
#define MEMD_VMM_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define DISK_SECTOR_BYTES 512
#define DISK_PATH_MAX	  1024
#define DISK_SERIAL_MAX	  20 /* virtio 1.2 section 5.2.6: VIRTIO_BLK_ID_BYTES */

/* One --disk option. */
struct disk_config {
	char path[DISK_PATH_MAX];
	char serial[DISK_SERIAL_MAX + 1]; /* "": none */
	bool readonly;
	bool discard; /* what the guest discards becomes a hole in the image */
};

struct disk;

/*
 * Open and lock an image. The locks are those of QEMU (block/file-posix.c), so that vmm, QEMU and
 * qemu-img keep out of each other's images: one writer, or any number of readers. Logs what is
 * wrong and the fix: -EBUSY names the process that has the image where it can be found out;
 * -EINVAL: a directory or something else that is no disk, or one smaller than a sector; -errno of
 * open(2).
 */
int disk_open(const struct disk_config *config, struct disk **ret_disk);
void disk_close(struct disk *disk); /* NULL is fine */

const struct disk_config *disk_config(const struct disk *disk);
uint64_t disk_size_bytes(const struct disk *disk); /* whole sectors */
/* What the guest is told of sectors: 512, or more on a block device that has larger ones. */
uint32_t disk_block_bytes(const struct disk *disk);
uint32_t disk_physical_block_bytes(const struct disk *disk); /* best unit, a power of two */
/* Host storage that the image takes now. */
uint64_t disk_allocated_bytes(const struct disk *disk);

/*
 * All of the vector or an error: partial transfers are carried on with, and change iov. The caller
 * has checked the range against disk_size_bytes. -EIO: the image became shorter behind our back;
 * else -errno of preadv(2), pwritev(2).
 */
int disk_read(struct disk *disk, struct iovec *iov, unsigned int n_iov, uint64_t offset);
int disk_write(struct disk *disk, struct iovec *iov, unsigned int n_iov, uint64_t offset);
int disk_flush(struct disk *disk); /* fdatasync(2) */

/* Advice: the content need not be kept. 0 also where the host can make no holes. */
int disk_discard(struct disk *disk, uint64_t offset, uint64_t len);
/* The range reads as zeroes from now on; may_unmap: it need not keep its storage. */
int disk_zero(struct disk *disk, uint64_t offset, uint64_t len, bool may_unmap);

#endif
