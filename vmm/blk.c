// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk (virtio 1.2 section 5.2). A request is taken apart and checked (blk_frame.c) with the
 * bus lock held; the disk's own thread (blk_io.c) carries it out on host addresses; the answer is
 * given here again, from the loop. The number of requests under way is bounded, and nothing of the
 * guest's memory is written once the device was reset.
 */
#include "vmm/blk.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "vmm/blk_frame.h"

#define QUEUE_SIZE	  256
#define SEGMENTS_MAX	  (QUEUE_SIZE - 2) /* the header and the status take one each */
#define SEGMENT_BYTES_MAX (1U << 20)

#define RESET_LIMIT_US (5 * USEC_PER_SEC)

struct blk {
	struct virtio_device dev;
	struct loop *loop;
	struct disk *disk;
	struct blk_io *io;
	unsigned int index;
	unsigned int n_under_way; /* submitted and not answered yet */
	blk_error_fn error;
	void *ctx;
	uint64_t error_told_us;
	int last_error; /* of the host; 0: none so far */
	struct blk_stats stats;
	struct virtio_blk_config config;
	struct virtio_chain chain;
};

static struct blk *blk_of(struct virtio_device *dev)
{
	return (struct blk *)(void *)dev;
}

/* ---- serving ---- */

/* Take one request on. True: it was answered at once. */
static bool serve(struct blk *blk)
{
	struct blk_request *request;
	struct blk_frame frame;
	uint32_t written = 0;
	int status;

	if (!blk_frame_read(&blk->chain, &frame)) {
		virtio_needs_reset(&blk->dev, "%s: request without room for header or status",
				   disk_config(blk->disk)->path);
		return false;
	}
	if (frame.header.type == VIRTIO_BLK_T_GET_ID) {
		written = blk_frame_write_id(blk->disk, &frame);
		status = VIRTIO_BLK_S_OK;
	} else {
		status = blk_frame_parse(&blk->dev, blk->disk, &frame, &request);
	}
	if (status >= 0) {
		*frame.status = (uint8_t)status;
		virtio_queue_push(&blk->dev, 0, blk->chain.head, written + 1);
		return true;
	}
	request->head = blk->chain.head;
	request->status = frame.status;
	/* 5.2.6.2: a driver that cannot flush expects a write to be safe when it is done. */
	request->write_through = !virtio_has_feature(&blk->dev, VIRTIO_BLK_F_FLUSH);
	blk->n_under_way++;
	blk_io_submit(blk->io, request);
	return false;
}

static void blk_notify(struct virtio_device *dev, unsigned int queue)
{
	struct blk *blk = blk_of(dev);
	bool answered = false;

	/* A driver cannot have more under way than its queue holds; one that tries must wait. */
	for (unsigned int i = 0; i < QUEUE_SIZE && blk->n_under_way < QUEUE_SIZE; i++) {
		if (virtio_queue_pop(dev, 0, &blk->chain) <= 0)
			break;
		answered |= serve(blk);
	}
	if (answered)
		virtio_queue_interrupt(dev, 0);
	if (dev->active && blk->n_under_way < QUEUE_SIZE && virtio_queue_pending(dev, 0))
		virtio_queue_kick_later(dev, 0);
}

/* ---- answers ---- */

static void tell_error(struct blk *blk, const struct blk_request *request)
{
	static const char *const names[] = {
		[BLK_READ] = "read",	   [BLK_WRITE] = "write",	[BLK_FLUSH] = "flush",
		[BLK_DISCARD] = "discard", [BLK_ZERO] = "write zeroes",
	};
	uint64_t now = clock_now_us();

	virtio_complain(&blk->dev, "%s: %s of %llu bytes at %llu failed: %s",
			disk_config(blk->disk)->path, names[request->op],
			(unsigned long long)request->len, (unsigned long long)request->offset,
			strerror(-request->result));
	blk->last_error = -request->result;
	if (!blk->error || (blk->error_told_us && now - blk->error_told_us < USEC_PER_SEC))
		return;
	blk->error_told_us = now;
	blk->error(blk->ctx, blk->index, request->op != BLK_READ, -request->result);
}

static void count(struct blk *blk, const struct blk_request *request)
{
	struct blk_counts *counts = request->op == BLK_READ    ? &blk->stats.read
				    : request->op == BLK_WRITE ? &blk->stats.write
				    : request->op == BLK_FLUSH ? &blk->stats.flush
							       : &blk->stats.unmap;
	uint64_t end = request->offset + request->len;

	if (request->result) {
		counts->failed++;
		return;
	}
	counts->operations++;
	counts->bytes += request->len;
	counts->time_ns += request->time_ns;
	if (request->op == BLK_WRITE && end > blk->stats.highest_offset)
		blk->stats.highest_offset = end;
}

static void answer(struct blk *blk, const struct blk_request *request)
{
	uint32_t written = 1;

	if (request->op == BLK_READ && !request->result)
		written += (uint32_t)request->len;
	*request->status = request->result ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
	virtio_queue_push(&blk->dev, 0, request->head, written);
}

/* Take back what the thread is done with; tell: the driver is waiting. Returns how many. */
static unsigned int collect(struct blk *blk, bool tell)
{
	struct blk_request *request = blk_io_fetch(blk->io);
	unsigned int n = 0;

	while (request) {
		struct blk_request *next = request->next;

		if (request->result && request->result != -ECANCELED)
			tell_error(blk, request);
		count(blk, request);
		if (tell)
			answer(blk, request);
		free(request);
		request = next;
		n++;
	}
	blk->n_under_way -= n;
	return n;
}

/* In the loop: the thread is done with something. */
static void collect_and_tell(void *ctx)
{
	struct blk *blk = ctx;

	if (collect(blk, true) == 0)
		return;
	virtio_queue_interrupt(&blk->dev, 0);
	/* More may wait than could be under way. */
	if (blk->dev.active && virtio_queue_pending(&blk->dev, 0))
		virtio_notify(&blk->dev, 0);
}

static void done_soon(void *ctx)
{
	struct blk *blk = ctx;

	loop_call(blk->loop, collect_and_tell, blk);
}

/* ---- the device ---- */

static void blk_config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len)
{
	memcpy(data, (const uint8_t *)&blk_of(dev)->config + offset, len);
}

static void blk_reset(struct virtio_device *dev)
{
	struct blk *blk = blk_of(dev);
	unsigned int n = blk_io_abandon(blk->io, RESET_LIMIT_US);

	if (n)
		virtio_complain(dev, "%s: %u requests were given up by a reset",
				disk_config(blk->disk)->path, n);
	collect(blk, false);
}

static void blk_pause(struct virtio_device *dev)
{
	struct blk *blk = blk_of(dev);

	blk_io_drain(blk->io);
	if (collect(blk, true))
		virtio_queue_interrupt(dev, 0);
}

static void blk_free(struct virtio_device *dev)
{
	struct blk *blk = blk_of(dev);

	if (blk->io)
		blk_io_abandon(blk->io, RESET_LIMIT_US);
	blk_io_free(blk->io);
	disk_close(blk->disk);
	free(blk);
}

static const struct virtio_ops blk_ops = {
	.name = "blk",
	.id = VIRTIO_ID_BLOCK,
	.n_queues = 1,
	.queue_size = QUEUE_SIZE,
	/* What follows is of features that we do not have. */
	.config_len = offsetof(struct virtio_blk_config, unused1),
	.config_read = blk_config_read,
	.notify = blk_notify,
	.reset = blk_reset,
	.pause = blk_pause,
	.free = blk_free,
};

static uint8_t log2_of(uint32_t value)
{
	return (uint8_t)(31 - __builtin_clz(value));
}

static void config_init(struct blk *blk)
{
	uint32_t block = disk_block_bytes(blk->disk);
	uint32_t physical = disk_physical_block_bytes(blk->disk);
	uint32_t aligned = physical / DISK_SECTOR_BYTES;

	blk->config = (struct virtio_blk_config){
		.capacity = disk_size_bytes(blk->disk) / DISK_SECTOR_BYTES,
		.size_max = SEGMENT_BYTES_MAX,
		.seg_max = SEGMENTS_MAX,
		.blk_size = block,
		.physical_block_exp = log2_of(physical / block),
		.min_io_size = 1,
		.max_discard_sectors = BLK_DISCARD_SECTORS_MAX,
		.max_discard_seg = BLK_DISCARD_RANGES_MAX,
		.discard_sector_alignment = aligned,
		.max_write_zeroes_sectors = BLK_ZERO_SECTORS_MAX,
		.max_write_zeroes_seg = BLK_ZERO_RANGES_MAX,
		.write_zeroes_may_unmap = disk_config(blk->disk)->discard,
	};
}

static uint64_t features(const struct disk_config *config)
{
	uint64_t bits = 1ULL << VIRTIO_BLK_F_SIZE_MAX | 1ULL << VIRTIO_BLK_F_SEG_MAX |
			1ULL << VIRTIO_BLK_F_BLK_SIZE | 1ULL << VIRTIO_BLK_F_FLUSH |
			1ULL << VIRTIO_BLK_F_TOPOLOGY;

	if (config->readonly)
		return bits | 1ULL << VIRTIO_BLK_F_RO;
	if (config->discard)
		bits |= 1ULL << VIRTIO_BLK_F_DISCARD;
	return bits | 1ULL << VIRTIO_BLK_F_WRITE_ZEROES;
}

struct virtio_device *blk_new(struct ram *ram, struct loop *loop, struct disk *disk,
			      unsigned int index, blk_error_fn error, void *ctx)
{
	struct blk *blk = calloc(1, sizeof(*blk));
	char name[16];

	if (!blk) {
		disk_close(disk);
		return NULL;
	}
	virtio_device_init(&blk->dev, &blk_ops, ram, features(disk_config(disk)));
	blk->loop = loop;
	blk->disk = disk;
	blk->index = index;
	blk->error = error;
	blk->ctx = ctx;
	config_init(blk);
	snprintf(name, sizeof(name), "blk%u", index);
	if (blk_io_new(disk, name, done_soon, blk, &blk->io) < 0) {
		blk_free(&blk->dev);
		return NULL;
	}
	return &blk->dev;
}

const struct disk *blk_disk(const struct virtio_device *dev)
{
	return ((const struct blk *)(const void *)dev)->disk;
}

const struct blk_stats *blk_stats(const struct virtio_device *dev)
{
	return &((const struct blk *)(const void *)dev)->stats;
}

bool blk_has_failed(const struct virtio_device *dev, bool *ret_nospace)
{
	int err = ((const struct blk *)(const void *)dev)->last_error;

	if (err)
		*ret_nospace = err == ENOSPC || err == EDQUOT;
	return err != 0;
}
