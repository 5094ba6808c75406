/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-blk (virtio 1.2 section 5.2): a disk for the guest, over an image of the host (disk.h). */
#ifndef MEMD_VMM_BLK_H
#define MEMD_VMM_BLK_H

#include "vmm/disk.h"
#include "vmm/loop.h"
#include "vmm/virtio.h"

/* As QEMU counts them (BlockDeviceStats in qapi/block-core.json). */
struct blk_counts {
	uint64_t operations, failed, bytes, time_ns;
};
struct blk_stats {
	struct blk_counts read, write, flush, unmap; /* unmap: discard and write zeroes */
	uint64_t highest_offset;		     /* end of what was written furthest out */
};

/* The host failed a request; at most once a second. index: of the disk; err: errno. */
typedef void (*blk_error_fn)(void *ctx, unsigned int index, bool is_write, int err);

/*
 * A device with an I/O thread "blkINDEX" over disk, which it takes over (also on failure). error
 * may be NULL. NULL: no memory or no thread.
 */
struct virtio_device *blk_new(struct ram *ram, struct loop *loop, struct disk *disk,
			      unsigned int index, blk_error_fn error, void *ctx);

const struct disk *blk_disk(const struct virtio_device *dev);
const struct blk_stats *blk_stats(const struct virtio_device *dev);
/* The host failed a request since the start: QEMU's io-status. *ret_nospace: it was short of room.
 */
bool blk_has_failed(const struct virtio_device *dev, bool *ret_nospace);

#endif
