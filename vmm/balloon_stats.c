// SPDX-License-Identifier: Apache-2.0
/*
 * The balloon's statistics: parsing what the guest says about itself, and asking again on a timer.
 * The numbers are a claim of the guest; nothing here or later may trust them.
 */
#include "vmm/balloon_stats.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"

/* QEMU's names (hw/virtio/virtio-balloon.c), by tag; 10 and up are Linux 6.12's. */
const char *const balloon_stat_names[BALLOON_STATS_MAX] = {
	[0] = "stat-swap-in",	       [1] = "stat-swap-out",	   [2] = "stat-major-faults",
	[3] = "stat-minor-faults",     [4] = "stat-free-memory",   [5] = "stat-total-memory",
	[6] = "stat-available-memory", [7] = "stat-disk-caches",   [8] = "stat-htlb-pgalloc",
	[9] = "stat-htlb-pgfail",      [10] = "stat-oom-kills",	   [11] = "stat-alloc-stalls",
	[12] = "stat-async-scans",     [13] = "stat-direct-scans", [14] = "stat-async-reclaims",
	[15] = "stat-direct-reclaims",
};

/* struct virtio_balloon_stat, packed and little endian. */
struct stat_entry {
	uint16_t tag;
	uint64_t value;
} __attribute__((packed));

/* Drivers know 16 tags; four times that leaves room and bounds the work. */
#define ENTRIES_MAX 64

static void clear(struct balloon_stats *stats)
{
	for (unsigned int i = 0; i < BALLOON_STATS_MAX; i++)
		stats->value[i] = UINT64_MAX;
}

static void parse(struct balloon_stats_queue *stats, const struct virtio_chain *chain)
{
	struct stat_entry entries[ENTRIES_MAX];
	uint64_t offered = virtio_spans_len(chain->out, chain->n_out);
	size_t len = virtio_spans_read(chain->out, chain->n_out, 0, entries, sizeof(entries));

	if (offered != len || len % sizeof(entries[0]))
		virtio_complain(stats->dev, "statistics of %llu bytes: looked at %zu entries",
				(unsigned long long)offered, len / sizeof(entries[0]));
	clear(&stats->latest);
	for (size_t i = 0; i < len / sizeof(entries[0]); i++)
		if (entries[i].tag < BALLOON_STATS_MAX)
			stats->latest.value[entries[i].tag] = entries[i].value;
	stats->latest.last_update_s = (int64_t)time(NULL);
}

/* Return the buffer: the driver fills it anew. */
static void ask(struct balloon_stats_queue *stats)
{
	if (!stats->held)
		return;
	stats->held = false;
	virtio_queue_push(stats->dev, BALLOON_QUEUE_STATS, stats->head, 0);
	virtio_queue_interrupt(stats->dev, BALLOON_QUEUE_STATS);
}

void balloon_stats_notify(struct balloon_stats_queue *stats, struct virtio_chain *chain)
{
	/* A driver has one buffer; more are returned, and no more than a queue full at a time. */
	for (unsigned int i = 0; i < VIRTIO_QUEUE_SIZE; i++) {
		if (virtio_queue_pop(stats->dev, BALLOON_QUEUE_STATS, chain) <= 0)
			return;
		if (stats->held) {
			virtio_complain(stats->dev, "driver sent a second statistics buffer");
			ask(stats);
		}
		parse(stats, chain);
		stats->held = true;
		stats->head = chain->head;
	}
	virtio_queue_kick_later(stats->dev, BALLOON_QUEUE_STATS);
}

static void tick(void *ctx, uint32_t events)
{
	struct balloon_stats_queue *stats = ctx;

	if (stats->dev->active)
		ask(stats);
}

int balloon_stats_poll(struct balloon_stats_queue *stats, uint64_t seconds)
{
	if (seconds > UINT32_MAX)
		return -ERANGE;
	stats->interval_s = seconds;
	/* The first answer at once, as QEMU does. */
	loop_timer_set(stats->timer, seconds ? 1 : 0, seconds * USEC_PER_SEC);
	return 0;
}

void balloon_stats_reset(struct balloon_stats_queue *stats)
{
	stats->held = false;
	clear(&stats->latest);
	stats->latest.last_update_s = 0;
}

int balloon_stats_init(struct balloon_stats_queue *stats, struct virtio_device *dev,
		       struct loop *loop)
{
	*stats = (struct balloon_stats_queue){.dev = dev};
	balloon_stats_reset(stats);
	stats->timer = loop_timer(loop, tick, stats);
	if (!stats->timer)
		return errno ? -errno : -ENOMEM;
	return 0;
}

void balloon_stats_free(struct balloon_stats_queue *stats)
{
	loop_remove(stats->timer);
}
