// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-balloon (virtio 1.2 section 5.5). Inflated pages are given back to the host as runs: the
 * page numbers of a whole request are copied once, checked, ordered and merged. Reported free
 * ranges come merged already. Work per kick is bounded, so that a guest that floods the queues
 * holds up neither QMP nor the other devices.
 */
#include "vmm/balloon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/balloon_stats.h"
#include "vmm/pfn.h"

/* Feature bits (5.5.3). */
#define F_MUST_TELL_HOST 0
#define F_STATS_VQ	 1
#define F_DEFLATE_ON_OOM 2
#define F_PAGE_POISON	 4
#define F_REPORTING	 5

enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_REPORTING_SPEC = 4, QUEUES };

/*
 * Page numbers taken from one request; Linux sends 256, Windows 1024. A longer request is served up
 * to here: what is left out stays with the guest.
 */
#define REQUEST_PFNS_MAX 16384
/* Page numbers, or requests, handled before others get their turn. */
#define KICK_PFNS_MAX	  REQUEST_PFNS_MAX
#define KICK_REQUESTS_MAX VIRTIO_QUEUE_SIZE
#define REPORT_COST_PFNS  64 /* a reported range counts as many */
#define POSTPONED_MAX	  20 /* ticks of RAM_SETTLE_US */

/* 5.5.4, little endian. */
struct config {
	uint32_t num_pages;
	uint32_t actual;
	uint32_t free_page_hint_cmd_id;
	uint32_t poison_val;
};

struct balloon {
	struct virtio_device dev;
	struct loop *loop;
	balloon_change_fn changed;
	void *changed_ctx;
	struct config config;
	bool gave_back; /* since reset: RAM keeps accounts of us */
	bool told_poison;
	struct balloon_stats_queue stats;
	struct loop_source *settle_timer; /* RAM that waits for the rest of its huge page */
	bool is_settling;
	bool inflated; /* since the timer's last tick */
	unsigned int postponed;
	struct balloon_counters counters;
	struct virtio_chain chain; /* scratch: too large for a stack */
	uint32_t pfns[REQUEST_PFNS_MAX];
};

static struct balloon *balloon_of(struct virtio_device *dev)
{
	return (struct balloon *)(void *)dev;
}

static const struct balloon *balloon_of_const(const struct virtio_device *dev)
{
	return (const struct balloon *)(const void *)dev;
}

static uint32_t ram_pfns(const struct balloon *b)
{
	return (uint32_t)(ram_size_bytes(b->dev.ram) >> PFN_SHIFT);
}

/* ---- inflate and deflate ---- */

/* A driver that does not promise to tell before it uses a page again must not find it dropped. */
static int discard(struct balloon *b, uint64_t gpa, uint64_t len, enum ram_giver giver)
{
	if (giver == RAM_GIVER_BALLOON && virtio_has_feature(&b->dev, F_MUST_TELL_HOST))
		return ram_discard_lazily(b->dev.ram, gpa, len);
	return ram_discard(b->dev.ram, gpa, len, giver);
}

static void give_back(struct balloon *b, uint64_t gpa, uint64_t len, enum ram_giver giver)
{
	int err = discard(b, gpa, len, giver);

	b->counters.discards++;
	b->gave_back = true;
	if (err < 0) {
		b->counters.errors++;
		virtio_complain(&b->dev,
				"cannot give 0x%" PRIx64 "..0x%" PRIx64 " back to the host: %s",
				gpa, gpa + len, strerror(-err));
	} else if (giver == RAM_GIVER_REPORTING) {
		b->counters.reported_bytes += len;
	}
}

static void change_run(struct balloon *b, bool inflate, struct pfn_run run)
{
	uint64_t gpa = (uint64_t)run.first << PFN_SHIFT;
	uint64_t len = (uint64_t)run.count << PFN_SHIFT;

	/* Every page of it is RAM, but it may go on in the next region. */
	while (len) {
		uint64_t room = ram_room(b->dev.ram, gpa);
		uint64_t part = room < len ? room : len;

		if (inflate)
			give_back(b, gpa, part, RAM_GIVER_BALLOON);
		else
			(void)ram_reuse(b->dev.ram, gpa, part);
		gpa += part;
		len -= part;
	}
}

/* Copy the page numbers out of guest memory, once, and drop those that are not RAM. */
static size_t read_pfns(struct balloon *b)
{
	const struct virtio_chain *chain = &b->chain;
	uint64_t offered = virtio_spans_len(chain->out, chain->n_out);
	size_t len = virtio_spans_read(chain->out, chain->n_out, 0, b->pfns, sizeof(b->pfns));
	size_t n = len / sizeof(b->pfns[0]), kept = 0;
	uint32_t bad = 0;

	if (chain->n_in || offered != n * sizeof(b->pfns[0])) {
		b->counters.errors++;
		virtio_complain(&b->dev,
				"page list of %llu readable bytes and %u writable pieces: took %zu "
				"page numbers",
				(unsigned long long)offered, chain->n_in, n);
	}
	for (size_t i = 0; i < n; i++) {
		if (ram_room(b->dev.ram, (uint64_t)b->pfns[i] << PFN_SHIFT) >= PFN_BYTES)
			b->pfns[kept++] = b->pfns[i];
		else
			bad = b->pfns[i];
	}
	if (kept < n) {
		b->counters.errors += n - kept;
		virtio_complain(&b->dev, "%zu of %zu page numbers are not RAM (0x%x): ignored",
				n - kept, n, bad);
	}
	return kept;
}

/*
 * While the guest goes on, the rest of many a huge page is still to come: splitting it now would
 * cost a fault of the guest for each page of that rest.
 */
static void settle(void *ctx, uint32_t events)
{
	struct balloon *b = ctx;

	if (b->inflated && b->postponed < POSTPONED_MAX) {
		b->inflated = false;
		b->postponed++;
		loop_timer_set(b->settle_timer, RAM_SETTLE_US, 0);
		return;
	}
	b->is_settling = ram_settle(b->dev.ram, false);
	if (!b->is_settling)
		b->postponed = 0;
	loop_timer_set(b->settle_timer, b->is_settling ? RAM_SETTLE_US : 0, 0);
}

static void change_pages(struct balloon *b, bool inflate, size_t n)
{
	struct pfn_run run;
	size_t at = 0;

	n = pfn_order(b->pfns, n);
	while (pfn_next_run(b->pfns, n, &at, &run))
		change_run(b, inflate, run);
	if (inflate && b->is_settling) {
		b->inflated = true;
	} else if (inflate) {
		b->is_settling = true;
		loop_timer_set(b->settle_timer, RAM_SETTLE_US, 0);
	}
	if (inflate)
		b->counters.inflated_pages += n;
	else
		b->counters.deflated_pages += n;
}

/* ---- free page reporting (5.5.6.5) ---- */

/*
 * A guest that poisons its free pages checks the pattern when it takes them again, and pages of
 * ours would come back as zeroes: then reports are only acknowledged. (QEMU does the same.)
 */
static bool poisoned(struct balloon *b)
{
	if (!virtio_has_feature(&b->dev, F_PAGE_POISON) || b->config.poison_val == 0)
		return false;
	if (!b->told_poison)
		log_info("virtio balloon: the guest poisons free pages with 0x%x: what it reports "
			 "as free is not given back",
			 b->config.poison_val);
	b->told_poison = true;
	return true;
}

static void report_ranges(struct balloon *b)
{
	const struct virtio_chain *chain = &b->chain;
	uint64_t budget = ram_size_bytes(b->dev.ram);

	if (chain->n_out || virtio_spans_len(chain->in, chain->n_in) > budget) {
		b->counters.errors++;
		virtio_complain(&b->dev,
				"report of readable pieces or of more than there is: ignored");
		return;
	}
	if (poisoned(b))
		return;
	for (unsigned int i = 0; i < chain->n_in; i++) {
		uint64_t from = (chain->in[i].gpa + PFN_BYTES - 1) & ~(PFN_BYTES - 1);
		uint64_t to = (chain->in[i].gpa + chain->in[i].len) & ~(PFN_BYTES - 1);

		/* Pieces that follow each other are one range. */
		while (i + 1 < chain->n_in && chain->in[i + 1].gpa == to && to > from &&
		       ram_ptr(b->dev.ram, from, to - from + chain->in[i + 1].len)) {
			i++;
			to = (chain->in[i].gpa + chain->in[i].len) & ~(PFN_BYTES - 1);
		}
		if (to > from)
			give_back(b, from, to - from, RAM_GIVER_REPORTING);
	}
}

/* ---- queues ---- */

/* Serve one request; returns what it cost in page numbers. */
static size_t serve(struct balloon *b, unsigned int queue)
{
	size_t n;

	if (queue > QUEUE_DEFLATE) {
		report_ranges(b);
		return (size_t)b->chain.n_in * REPORT_COST_PFNS;
	}
	n = read_pfns(b);
	change_pages(b, queue == QUEUE_INFLATE, n);
	return virtio_spans_len(b->chain.out, b->chain.n_out) / sizeof(b->pfns[0]);
}

static void drain(struct balloon *b, unsigned int queue)
{
	size_t cost = 0;
	unsigned int served = 0;

	while (served < KICK_REQUESTS_MAX && cost < KICK_PFNS_MAX) {
		if (virtio_queue_pop(&b->dev, queue, &b->chain) <= 0)
			break;
		cost += serve(b, queue);
		served++;
		virtio_queue_push(&b->dev, queue, b->chain.head, 0);
	}
	if (served)
		virtio_queue_interrupt(&b->dev, queue);
	if (b->dev.active && virtio_queue_pending(&b->dev, queue))
		virtio_queue_kick_later(&b->dev, queue);
}

/*
 * The specification gives the reporting queue number 4. Linux (virtio_balloon.c names the queues
 * it wants, vm_find_vqs of virtio_mmio.c numbers the named ones in a row) uses the first number
 * behind the features it negotiated, and so do QEMU and others. No driver uses both.
 */
static bool is_reporting_queue(const struct virtio_device *dev, unsigned int queue)
{
	unsigned int packed = virtio_has_feature(dev, F_STATS_VQ) ? 3 : 2;

	return virtio_has_feature(dev, F_REPORTING) &&
	       (queue == packed || queue == QUEUE_REPORTING_SPEC);
}

static void balloon_notify(struct virtio_device *dev, unsigned int queue)
{
	struct balloon *b = balloon_of(dev);

	if (queue <= QUEUE_DEFLATE || is_reporting_queue(dev, queue)) {
		drain(b, queue);
	} else if (queue == BALLOON_QUEUE_STATS && virtio_has_feature(dev, F_STATS_VQ)) {
		balloon_stats_notify(&b->stats, &b->chain);
	} else {
		b->counters.errors++;
		virtio_complain(dev, "kick of queue %u, which has no use: ignored", queue);
	}
}

/* ---- config space and life ---- */

static void report_change(void *ctx)
{
	struct balloon *b = ctx;

	b->changed(b->changed_ctx, balloon_actual_bytes(&b->dev));
}

/* The driver writes it on a vCPU thread; listeners live in the loop's. */
static void set_actual(struct balloon *b, uint32_t actual)
{
	if (actual == b->config.actual)
		return;
	b->config.actual = actual;
	if (b->changed)
		loop_call(b->loop, report_change, b);
}

static void config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len)
{
	memcpy(data, (const uint8_t *)&balloon_of(dev)->config + offset, len);
}

static void config_write(struct virtio_device *dev, uint32_t offset, const void *data, uint32_t len)
{
	struct balloon *b = balloon_of(dev);
	struct config config = b->config;

	memcpy((uint8_t *)&config + offset, data, len);
	if (config.actual > ram_pfns(b)) {
		b->counters.errors++;
		virtio_complain(dev, "driver claims %u pages in the balloon, there are %u",
				config.actual, ram_pfns(b));
		config.actual = ram_pfns(b);
	}
	b->config.poison_val = config.poison_val;
	set_actual(b, config.actual);
}

static void balloon_reset(struct virtio_device *dev)
{
	struct balloon *b = balloon_of(dev);

	/* Whoever comes next may use all pages without telling. */
	if (b->gave_back)
		ram_reuse_all(dev->ram);
	b->gave_back = b->told_poison = false;
	b->config.poison_val = 0;
	balloon_stats_reset(&b->stats);
	set_actual(b, 0);
}

static void balloon_free(struct virtio_device *dev)
{
	struct balloon *b = balloon_of(dev);

	balloon_stats_free(&b->stats);
	loop_remove(b->settle_timer);
	free(b);
}

static const struct virtio_ops balloon_ops = {
	.name = "balloon",
	.id = VIRTIO_ID_BALLOON,
	.n_queues = QUEUES,
	.queue_size = VIRTIO_QUEUE_SIZE,
	.config_len = sizeof(struct config),
	.config_read = config_read,
	.config_write = config_write,
	.notify = balloon_notify,
	.reset = balloon_reset,
	.free = balloon_free,
};

struct virtio_device *balloon_new(struct ram *ram, struct loop *loop,
				  const struct balloon_config *config, balloon_change_fn changed,
				  void *ctx)
{
	struct balloon *b = calloc(1, sizeof(*b));
	/*
	 * MUST_TELL_HOST: on huge pages, a page that went back into use untold would be lost when
	 * the rest of its huge page is given back.
	 */
	uint64_t features = 1ULL << F_MUST_TELL_HOST | 1ULL << F_STATS_VQ | 1ULL << F_PAGE_POISON;

	if (!b)
		return NULL;
	if (config->deflate_on_oom)
		features |= 1ULL << F_DEFLATE_ON_OOM;
	if (config->reporting)
		features |= 1ULL << F_REPORTING;
	virtio_device_init(&b->dev, &balloon_ops, ram, features);
	b->loop = loop;
	b->changed = changed;
	b->changed_ctx = ctx;
	if (balloon_stats_init(&b->stats, &b->dev, loop) < 0) {
		free(b);
		return NULL;
	}
	b->settle_timer = loop_timer(loop, settle, b);
	if (!b->settle_timer) {
		balloon_free(&b->dev);
		return NULL;
	}
	return &b->dev;
}

/* ---- for QMP ---- */

int balloon_set_target(struct virtio_device *dev, uint64_t target_bytes)
{
	struct balloon *b = balloon_of(dev);
	uint64_t ram_bytes = ram_size_bytes(dev->ram);

	if (target_bytes > ram_bytes)
		target_bytes = ram_bytes;
	b->config.num_pages = (uint32_t)((ram_bytes - target_bytes) >> PFN_SHIFT);
	virtio_config_changed(dev);
	return dev->active ? 0 : -ENOTCONN;
}

uint64_t balloon_actual_bytes(const struct virtio_device *dev)
{
	const struct balloon *b = balloon_of_const(dev);

	return ram_size_bytes(dev->ram) - ((uint64_t)b->config.actual << PFN_SHIFT);
}

bool balloon_has_driver(const struct virtio_device *dev)
{
	return dev->active;
}

bool balloon_is_reporting(const struct virtio_device *dev)
{
	return dev->active && virtio_has_feature(dev, F_REPORTING);
}

bool balloon_deflates_on_oom(const struct virtio_device *dev)
{
	return dev->offered >> F_DEFLATE_ON_OOM & 1;
}

void balloon_stats(const struct virtio_device *dev, struct balloon_stats *ret_stats)
{
	*ret_stats = balloon_of_const(dev)->stats.latest;
}

int balloon_set_poll_interval(struct virtio_device *dev, uint64_t seconds)
{
	return balloon_stats_poll(&balloon_of(dev)->stats, seconds);
}

uint64_t balloon_poll_interval(const struct virtio_device *dev)
{
	return balloon_of_const(dev)->stats.interval_s;
}

void balloon_counters(const struct virtio_device *dev, struct balloon_counters *ret_counters)
{
	*ret_counters = balloon_of_const(dev)->counters;
}
