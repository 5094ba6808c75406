/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O thread of a disk. Requests go in with host addresses that are already checked, are
 * carried out one after the other without any lock of the device model, and come out in the same
 * order. The thread knows neither the guest's queues nor the bus: it only calls `done` when there
 * is something to fetch.
 */
#ifndef MEMD_VMM_BLK_IO_H
#define MEMD_VMM_BLK_IO_H

#include <stdint.h>
#include <sys/uio.h>

#include "vmm/disk.h"

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_ZERO };

/* One segment of a discard or write zeroes request, checked: bytes. */
struct blk_range {
	uint64_t offset, len;
	bool may_unmap;
};

struct blk_request {
	struct blk_request *next;
	enum blk_op op;
	uint64_t offset, len; /* of reads and writes; len also for the others: sum of ranges */
	bool write_through;   /* a write that must be safe before it is done */
	uint16_t head;	      /* the device's own: chain and where its status goes */
	uint8_t *status;
	/* Filled in by the thread. */
	int result; /* 0 or -errno */
	uint64_t time_ns;
	/* Either of these, in the storage behind. */
	unsigned int n_iov, n_ranges;
	struct iovec *iov;
	struct blk_range *ranges;
};

struct blk_io;

/*
 * Start a thread called `name` over disk, which stays the caller's. done(ctx) is called in that
 * thread whenever a request can be fetched; it must not wait for anything. -errno.
 */
int blk_io_new(struct disk *disk, const char *name, void (*done)(void *ctx), void *ctx,
	       struct blk_io **ret_io);
/* Ends the thread after the request it works on; what waited is dropped. NULL is fine. */
void blk_io_free(struct blk_io *io);

/* A request with room for n_iov vectors, or n_ranges ranges; NULL: no memory. Freed by free(). */
struct blk_request *blk_request_new(unsigned int n_iov, unsigned int n_ranges);

void blk_io_submit(struct blk_io *io, struct blk_request *request);
/* All requests that are done, oldest first, as a list that is the caller's; NULL: none. */
struct blk_request *blk_io_fetch(struct blk_io *io);
/* Wait until every request submitted is done. */
void blk_io_drain(struct blk_io *io);
/*
 * The same for a device that is being reset, where nobody waits for the answers any more: after
 * limit_us those that have not begun are given up with -ECANCELED. Returns how many.
 */
unsigned int blk_io_abandon(struct blk_io *io, uint64_t limit_us);

#endif
