// SPDX-License-Identifier: Apache-2.0
/* virtio-blk requests taken apart and checked (virtio 1.2 section 5.2.6). */
#include "vmm/blk_frame.h"

#include <stdlib.h>
#include <string.h>

/* What one request may move: its time bounds how long a reset can take. */
#define REQUEST_BYTES_MAX (256ULL << 20)

bool blk_frame_read(const struct virtio_chain *chain, struct blk_frame *frame)
{
	uint64_t out = virtio_spans_len(chain->out, chain->n_out);
	uint64_t in = virtio_spans_len(chain->in, chain->n_in);
	const struct virtio_span *last;

	if (out < sizeof(frame->header) || in == 0)
		return false;
	frame->chain = chain;
	virtio_spans_read(chain->out, chain->n_out, 0, &frame->header, sizeof(frame->header));
	last = &chain->in[chain->n_in - 1];
	frame->status = (uint8_t *)last->base + last->len - 1;
	frame->out_len = out - sizeof(frame->header);
	frame->in_len = in - 1;
	return true;
}

/* Bytes [skip, skip + len) of the spans as vectors; they are there. Returns how many it took. */
static unsigned int spans_to_iov(const struct virtio_span *spans, uint64_t skip, uint64_t len,
				 struct iovec *iov)
{
	unsigned int n = 0;

	for (; len; spans++) {
		uint64_t part = spans->len;

		if (skip >= part) {
			skip -= part;
			continue;
		}
		part -= skip;
		if (part > len)
			part = len;
		iov[n++] = (struct iovec){(uint8_t *)spans->base + skip, (size_t)part};
		len -= part;
		skip = 0;
	}
	return n;
}

/* [sector, sector + bytes) lies on the disk. */
static bool is_on_disk(const struct disk *disk, uint64_t sector, uint64_t len)
{
	uint64_t size = disk_size_bytes(disk);

	return len <= size && sector <= (size - len) / DISK_SECTOR_BYTES;
}

/* The parsers return a status for the driver, or -1 with a request to carry out. */

static int parse_transfer(struct virtio_device *dev, const struct disk *disk,
			  const struct blk_frame *frame, bool write,
			  struct blk_request **ret_request)
{
	const struct virtio_chain *chain = frame->chain;
	uint64_t len = write ? frame->out_len : frame->in_len;
	struct blk_request *request;

	if (write && disk_config(disk)->readonly)
		return VIRTIO_BLK_S_IOERR;
	if (len % DISK_SECTOR_BYTES || len > REQUEST_BYTES_MAX ||
	    !is_on_disk(disk, frame->header.sector, len)) {
		virtio_complain(dev, "%s: %s of %llu bytes at sector %llu is not on the disk",
				disk_config(disk)->path, write ? "write" : "read",
				(unsigned long long)len, (unsigned long long)frame->header.sector);
		return VIRTIO_BLK_S_IOERR;
	}
	request = blk_request_new(write ? chain->n_out : chain->n_in, 0);
	if (!request)
		return VIRTIO_BLK_S_IOERR;
	request->op = write ? BLK_WRITE : BLK_READ;
	request->offset = frame->header.sector * DISK_SECTOR_BYTES;
	request->len = len;
	request->n_iov = write ? spans_to_iov(chain->out, sizeof(frame->header), len, request->iov)
			       : spans_to_iov(chain->in, 0, len, request->iov);
	*ret_request = request;
	return -1;
}

/* 5.2.6.2: unknown flags, and unmap with a discard, are UNSUPP; the rest of what is wrong IOERR. */
static int parse_range(const struct disk *disk, bool discard,
		       const struct virtio_blk_discard_write_zeroes *segment,
		       struct blk_range *ret_range)
{
	uint32_t flags_known = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	uint64_t len = (uint64_t)segment->num_sectors * DISK_SECTOR_BYTES;

	if (segment->flags & ~flags_known)
		return VIRTIO_BLK_S_UNSUPP;
	if (segment->num_sectors > (discard ? BLK_DISCARD_SECTORS_MAX : BLK_ZERO_SECTORS_MAX) ||
	    !is_on_disk(disk, segment->sector, len))
		return VIRTIO_BLK_S_IOERR;
	*ret_range = (struct blk_range){
		.offset = segment->sector * DISK_SECTOR_BYTES,
		.len = len,
		.may_unmap = segment->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
	};
	return -1;
}

static int parse_ranges(const struct virtio_device *dev, const struct disk *disk,
			const struct blk_frame *frame, bool discard,
			struct blk_request **ret_request)
{
	struct virtio_blk_discard_write_zeroes segments[BLK_DISCARD_RANGES_MAX];
	unsigned int n = (unsigned int)(frame->out_len / sizeof(segments[0]));
	struct blk_request *request;
	int status = -1;

	if (!virtio_has_feature(dev, discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES))
		return VIRTIO_BLK_S_UNSUPP;
	if (disk_config(disk)->readonly || frame->out_len % sizeof(segments[0]) ||
	    frame->out_len >
		    (discard ? BLK_DISCARD_RANGES_MAX : BLK_ZERO_RANGES_MAX) * sizeof(segments[0]))
		return VIRTIO_BLK_S_IOERR;
	request = blk_request_new(0, n);
	if (!request)
		return VIRTIO_BLK_S_IOERR;
	virtio_spans_read(frame->chain->out, frame->chain->n_out, sizeof(frame->header), segments,
			  frame->out_len);
	request->op = discard ? BLK_DISCARD : BLK_ZERO;
	for (unsigned int i = 0; i < n && status < 0; i++) {
		status = parse_range(disk, discard, &segments[i], &request->ranges[i]);
		request->len += request->ranges[i].len;
	}
	if (status >= 0)
		free(request);
	else
		*ret_request = request;
	return status;
}

static int parse_flush(struct blk_request **ret_request)
{
	struct blk_request *request = blk_request_new(0, 0);

	if (!request)
		return VIRTIO_BLK_S_IOERR;
	request->op = BLK_FLUSH;
	*ret_request = request;
	return -1;
}

int blk_frame_parse(struct virtio_device *dev, const struct disk *disk,
		    const struct blk_frame *frame, struct blk_request **ret_request)
{
	switch (frame->header.type) {
	case VIRTIO_BLK_T_IN:
		return parse_transfer(dev, disk, frame, false, ret_request);
	case VIRTIO_BLK_T_OUT:
		return parse_transfer(dev, disk, frame, true, ret_request);
	case VIRTIO_BLK_T_FLUSH:
		return parse_flush(ret_request);
	case VIRTIO_BLK_T_DISCARD:
		return parse_ranges(dev, disk, frame, true, ret_request);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return parse_ranges(dev, disk, frame, false, ret_request);
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

uint32_t blk_frame_write_id(const struct disk *disk, const struct blk_frame *frame)
{
	uint8_t id[DISK_SERIAL_MAX] = {0};
	uint64_t len = frame->in_len < sizeof(id) ? frame->in_len : sizeof(id);
	const struct virtio_span *span = frame->chain->in;
	const char *serial = disk_config(disk)->serial;
	uint32_t done = 0;

	memcpy(id, serial, strnlen(serial, sizeof(id)));
	for (; done < len; span++) {
		uint32_t part = span->len < len - done ? span->len : (uint32_t)len - done;

		memcpy(span->base, id + done, part);
		done += part;
	}
	return done;
}
