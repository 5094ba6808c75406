/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio-blk request as it lies in the queue: every word of the guest's is read once, and what
 * comes out of it is checked.
 */
#ifndef MEMD_VMM_BLK_FRAME_H
#define MEMD_VMM_BLK_FRAME_H

#include <linux/virtio_blk.h>

#include "vmm/blk_io.h"
#include "vmm/virtio.h"

/* What the driver is told that it may ask for. */
#define BLK_DISCARD_RANGES_MAX	64
#define BLK_DISCARD_SECTORS_MAX ((1U << 30) / DISK_SECTOR_BYTES)
#define BLK_ZERO_RANGES_MAX	1
#define BLK_ZERO_SECTORS_MAX	((64U << 20) / DISK_SECTOR_BYTES)

/* What a request is to the queue: where its status goes, and how much of its data is for us. */
struct blk_frame {
	const struct virtio_chain *chain; /* the caller's */
	struct virtio_blk_outhdr header;
	uint64_t out_len, in_len; /* data without header and status */
	uint8_t *status;
};

/* False: there is nowhere to put a status. */
bool blk_frame_read(const struct virtio_chain *chain, struct blk_frame *frame);

/* A status for the driver, or -1 with a request to carry out on the disk, to be freed by free(). */
int blk_frame_parse(struct virtio_device *dev, const struct disk *disk,
		    const struct blk_frame *frame, struct blk_request **ret_request);

/* The disk's name (5.2.6.1): 20 bytes, padded with zeroes. Returns how many the driver has now. */
uint32_t blk_frame_write_id(const struct disk *disk, const struct blk_frame *frame);

#endif
