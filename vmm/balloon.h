/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-balloon (virtio 1.2 section 5.5): inflate, deflate, statistics, deflate-on-oom, page
 * poison and free page reporting. What QMP needs of it is here; the rest is behind the virtio ops.
 */
#ifndef MEMD_VMM_BALLOON_H
#define MEMD_VMM_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/virtio.h"

struct balloon_config {
	bool deflate_on_oom;
	bool reporting;
};

/* Called in the loop's thread when the guest's amount changes (BALLOON_CHANGE). */
typedef void (*balloon_change_fn)(void *ctx, uint64_t actual_bytes);

/* NULL: out of memory. */
struct virtio_device *balloon_new(struct ram *ram, struct loop *loop,
				  const struct balloon_config *config, balloon_change_fn changed,
				  void *ctx);

/*
 * Ask the guest to come to target_bytes of RAM (QMP `balloon`; clamped to the RAM it has).
 * -ENOTCONN: no driver has set the device up yet; the target is kept and applied when one does.
 */
int balloon_set_target(struct virtio_device *dev, uint64_t target_bytes);
uint64_t balloon_actual_bytes(const struct virtio_device *dev); /* RAM - inflated */
bool balloon_has_driver(const struct virtio_device *dev);
bool balloon_is_reporting(const struct virtio_device *dev); /* negotiated */
bool balloon_deflates_on_oom(const struct virtio_device *dev);

/* virtio 1.2 5.5.6.4 tags 0..9 and Linux's 10..15; UINT64_MAX: the guest does not say. */
#define BALLOON_STATS_MAX 16
/* QEMU's property names by tag: "stat-swap-in" ... */
extern const char *const balloon_stat_names[BALLOON_STATS_MAX];

struct balloon_stats {
	uint64_t value[BALLOON_STATS_MAX];
	int64_t last_update_s; /* wall clock, as QEMU's last-update; 0: never */
};
void balloon_stats(const struct virtio_device *dev, struct balloon_stats *ret_stats);

/* 0 switches polling off. -ERANGE: above 2^32-1 seconds. */
int balloon_set_poll_interval(struct virtio_device *dev, uint64_t seconds);
uint64_t balloon_poll_interval(const struct virtio_device *dev);

/* Host-side counters since start, for QMP and bench. */
struct balloon_counters {
	uint64_t inflated_pages, deflated_pages, reported_bytes;
	uint64_t discards; /* madvise calls */
	uint64_t errors;   /* refused requests */
};
void balloon_counters(const struct virtio_device *dev, struct balloon_counters *ret_counters);

#endif
