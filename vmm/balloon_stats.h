/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The statistics queue of the balloon (virtio 1.2 section 5.5.6.3). It works the other way round:
 * the driver leaves a buffer with the device, and the device returns it when it wants fresh
 * numbers. Internal to balloon.c.
 */
#ifndef MEMD_VMM_BALLOON_STATS_H
#define MEMD_VMM_BALLOON_STATS_H

#include "vmm/balloon.h"

#define BALLOON_QUEUE_STATS 2

struct balloon_stats_queue {
	struct virtio_device *dev;
	struct loop_source *timer;
	uint64_t interval_s;
	bool held; /* the driver's buffer is with us */
	uint16_t head;
	struct balloon_stats latest;
};

/* -ENOMEM or -errno of timerfd_create(2). */
int balloon_stats_init(struct balloon_stats_queue *stats, struct virtio_device *dev,
		       struct loop *loop);
void balloon_stats_free(struct balloon_stats_queue *stats);

/* Nothing known, no buffer held; the interval stays. */
void balloon_stats_reset(struct balloon_stats_queue *stats);

/* Buffers came in; chain is scratch space. */
void balloon_stats_notify(struct balloon_stats_queue *stats, struct virtio_chain *chain);

/* -ERANGE: above 2^32-1 seconds. */
int balloon_stats_poll(struct balloon_stats_queue *stats, uint64_t seconds);

#endif
