// SPDX-License-Identifier: Apache-2.0
/*
 * Host images of disks: see disk.h. The page cache of the host is used as it is (no O_DIRECT): a
 * write is safe once it was flushed, as the guest expects of a disk with a volatile cache. Holes
 * are made with fallocate(2) on files and with the block ioctls on devices, each with a fall-back.
 */
#include "vmm/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "vmm/disk_lock.h"

#define ZEROES_BYTES (256UL * 1024)

struct disk {
	struct disk_config config;
	int fd;
	bool is_device;
	uint64_t size_bytes;
	uint32_t block_bytes, physical_block_bytes;
	/* Ways of the host that turned out not to exist, so that they are not tried each time. */
	bool no_punch, no_zero_range;
};

/* ---- opening ---- */

/* What a device says of itself: size and units. */
static int measure_device(struct disk *disk)
{
	unsigned int physical = 0;
	int logical = 0;

	if (ioctl(disk->fd, BLKGETSIZE64, &disk->size_bytes) < 0 ||
	    ioctl(disk->fd, BLKSSZGET, &logical) < 0 || ioctl(disk->fd, BLKPBSZGET, &physical) < 0)
		return -errno;
	if (logical >= DISK_SECTOR_BYTES)
		disk->block_bytes = (uint32_t)logical;
	if (physical >= disk->block_bytes)
		disk->physical_block_bytes = physical;
	return 0;
}

static int measure(struct disk *disk)
{
	const char *path = disk->config.path;
	struct stat st;
	int r = 0;

	disk->block_bytes = DISK_SECTOR_BYTES;
	disk->physical_block_bytes =
		4096; /* pages of the host's cache, blocks of its file system */
	if (fstat(disk->fd, &st) < 0)
		return -errno;
	if (S_ISBLK(st.st_mode)) {
		disk->is_device = true;
		r = measure_device(disk);
	} else if (S_ISREG(st.st_mode)) {
		disk->size_bytes = (uint64_t)st.st_size;
	} else {
		log_err("--disk path=%s: neither a file nor a block device", path);
		return -EINVAL;
	}
	if (r) {
		log_err("--disk path=%s: cannot tell its size: %s", path, strerror(-r));
		return r;
	}
	if (disk->size_bytes < disk->block_bytes) {
		log_err("--disk path=%s: is smaller than one sector; make an image of a size "
			"first, "
			"for instance: truncate -s 10G %s",
			path, path);
		return -EINVAL;
	}
	if (disk->size_bytes % disk->block_bytes) {
		disk->size_bytes -= disk->size_bytes % disk->block_bytes;
		log_warn("--disk path=%s: the guest does not see the last bytes, which fill no "
			 "sector",
			 path);
	}
	return 0;
}

static int open_image(const struct disk_config *config)
{
	/* O_NONBLOCK: a fifo must not keep us waiting; it means nothing to files and devices. */
	int flags = (config->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int fd = open(config->path, flags), err = errno;

	if (fd >= 0)
		return fd;
	if ((err == EACCES || err == EROFS || err == EPERM) && !config->readonly &&
	    access(config->path, R_OK) == 0)
		log_err("--disk path=%s: cannot be written (%s): add readonly=on or change that",
			config->path, strerror(err));
	else if (err == EISDIR)
		log_err("--disk path=%s: is a directory", config->path);
	else
		log_err("--disk path=%s: %s", config->path, strerror(err));
	return -err;
}

int disk_open(const struct disk_config *config, struct disk **ret_disk)
{
	struct disk *disk = calloc(1, sizeof(*disk));
	int r;

	if (!disk)
		return -ENOMEM;
	disk->config = *config;
	disk->fd = open_image(config);
	r = disk->fd < 0 ? disk->fd : measure(disk);
	if (!r)
		r = disk_lock(disk->fd, config->path, config->readonly);
	if (r) {
		disk_close(disk);
		return r;
	}
	*ret_disk = disk;
	return 0;
}

void disk_close(struct disk *disk)
{
	if (!disk)
		return;
	cleanup_fd(&disk->fd); /* gives up the locks too */
	free(disk);
}

const struct disk_config *disk_config(const struct disk *disk)
{
	return &disk->config;
}

uint64_t disk_size_bytes(const struct disk *disk)
{
	return disk->size_bytes;
}

uint32_t disk_block_bytes(const struct disk *disk)
{
	return disk->block_bytes;
}

uint32_t disk_physical_block_bytes(const struct disk *disk)
{
	return disk->physical_block_bytes;
}

uint64_t disk_allocated_bytes(const struct disk *disk)
{
	struct stat st;

	if (disk->is_device || fstat(disk->fd, &st) < 0)
		return disk->size_bytes;
	return (uint64_t)st.st_blocks * 512;
}

/* ---- transfers ---- */

/* Leave out the first `done` bytes. */
static void advance(struct iovec **iov, unsigned int *n_iov, size_t done)
{
	while (*n_iov && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*n_iov)--;
	}
	if (done && *n_iov) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

static int transfer(struct disk *disk, bool write, struct iovec *iov, unsigned int n_iov,
		    uint64_t offset)
{
	advance(&iov, &n_iov, 0); /* nothing at all is no end of the file */
	while (n_iov) {
		ssize_t done = write ? pwritev(disk->fd, iov, (int)n_iov, (off_t)offset)
				     : preadv(disk->fd, iov, (int)n_iov, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		if (done == 0)
			return -EIO;
		offset += (uint64_t)done;
		advance(&iov, &n_iov, (size_t)done);
	}
	return 0;
}

int disk_read(struct disk *disk, struct iovec *iov, unsigned int n_iov, uint64_t offset)
{
	return transfer(disk, false, iov, n_iov, offset);
}

int disk_write(struct disk *disk, struct iovec *iov, unsigned int n_iov, uint64_t offset)
{
	return disk->config.readonly ? -EROFS : transfer(disk, true, iov, n_iov, offset);
}

int disk_flush(struct disk *disk)
{
	if (disk->config.readonly)
		return 0;
	while (fdatasync(disk->fd) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* ---- holes ---- */

static bool is_unsupported(int err)
{
	return err == EOPNOTSUPP || err == ENOSYS || err == ENOTTY || err == ENODEV;
}

static int file_range(struct disk *disk, int mode, uint64_t offset, uint64_t len)
{
	while (fallocate(disk->fd, mode, (off_t)offset, (off_t)len) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int device_range(struct disk *disk, unsigned long request, uint64_t offset, uint64_t len)
{
	uint64_t range[2] = {offset, len};

	return ioctl(disk->fd, request, range) < 0 ? -errno : 0;
}

/* A hole, which reads as zeroes in a file; a device may keep what was there. */
static int punch(struct disk *disk, uint64_t offset, uint64_t len)
{
	int r;

	if (disk->no_punch)
		return -EOPNOTSUPP;
	r = disk->is_device
		    ? device_range(disk, BLKDISCARD, offset, len)
		    : file_range(disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len);
	if (is_unsupported(-r))
		disk->no_punch = true;
	return r;
}

int disk_discard(struct disk *disk, uint64_t offset, uint64_t len)
{
	int r;

	if (disk->config.readonly)
		return -EROFS;
	if (!disk->config.discard || len == 0)
		return 0;
	r = punch(disk, offset, len);
	return is_unsupported(-r) ? 0 : r;
}

static int write_zeroes(struct disk *disk, uint64_t offset, uint64_t len)
{
	static const uint8_t zeroes[ZEROES_BYTES];

	while (len) {
		size_t part = len < ZEROES_BYTES ? (size_t)len : ZEROES_BYTES;
		struct iovec iov = {(void *)(uintptr_t)zeroes, part};
		int r = transfer(disk, true, &iov, 1, offset);

		if (r)
			return r;
		offset += part;
		len -= part;
	}
	return 0;
}

int disk_zero(struct disk *disk, uint64_t offset, uint64_t len, bool may_unmap)
{
	int r = -EOPNOTSUPP;

	if (disk->config.readonly)
		return -EROFS;
	if (len == 0)
		return 0;
	if (may_unmap && disk->config.discard && !disk->is_device)
		r = punch(disk, offset, len);
	if (is_unsupported(-r) && !disk->no_zero_range) {
		r = disk->is_device ? device_range(disk, BLKZEROOUT, offset, len)
				    : file_range(disk, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
						 offset, len);
		if (is_unsupported(-r))
			disk->no_zero_range = true;
	}
	return is_unsupported(-r) ? write_zeroes(disk, offset, len) : r;
}
