// SPDX-License-Identifier: Apache-2.0
/*
 * The tiny guest's balloon driver. It takes pages from the top of memory downwards, 256 at a time
 * as Linux does, follows the host's target whenever it wakes, answers statistics, and reports free
 * ranges when told to.
 */
#include "tests/guest/tiny.h"

#define F_STATS		 (1U << 1)
#define F_DEFLATE_ON_OOM (1U << 2)
#define F_PAGE_POISON	 (1U << 4)
#define F_REPORTING	 (1U << 5)
#define BATCH		 256

#define CONFIG_NUM_PAGES 0
#define CONFIG_ACTUAL	 4
#define CONFIG_POISON	 12

struct device balloon;
static struct queue queues[QUEUES_MAX];
static uint64_t held; /* pages in the balloon: the top ones */
static bool starved;  /* target out of reach: said once */
static uint32_t answered;

static struct stat_entry {
	uint16_t tag;
	uint64_t value;
} __attribute__((packed)) stats[4];

uint64_t balloon_held_pages(void)
{
	return held;
}

static unsigned int reporting_queue(void)
{
	return balloon.features & F_STATS ? 3 : 2;
}

static void send_stats(void)
{
	uint64_t free = memory_pages() - memory_filled() - held;

	stats[0] = (struct stat_entry){4, free * PAGE_BYTES};
	stats[1] = (struct stat_entry){5, memory_ram_bytes() - held * PAGE_BYTES};
	stats[2] = (struct stat_entry){6, free * PAGE_BYTES};
	stats[3] = (struct stat_entry){10, 0};
	virtio_send(&balloon, 2, stats, sizeof(stats), 0);
}

static bool start(uint32_t want)
{
	unsigned int n;

	balloon.queues = queues;
	held = 0;
	if (!virtio_find(VIRTIO_BALLOON, &balloon))
		return false;
	n = 2 + !!(want & F_STATS) + !!(want & F_REPORTING);
	if (!virtio_start(&balloon, want, n))
		return false;
	if (balloon.features & F_STATS)
		send_stats();
	return true;
}

void balloon_start(void)
{
	if (!start(F_STATS | F_DEFLATE_ON_OOM | F_REPORTING))
		balloon.base = 0;
}

/* Move n pages (at most a batch) in or out. */
static bool move(bool in, uint64_t n)
{
	static uint32_t pfns[BATCH];
	unsigned int queue = in ? 0 : 1;
	uint64_t first = memory_pages() - held;

	for (uint64_t i = 0; i < n; i++)
		pfns[i] = (uint32_t)(memory_page(in ? first - 1 - i : first + i) / PAGE_BYTES);
	virtio_send(&balloon, queue, pfns, (uint32_t)(n * sizeof(pfns[0])), 0);
	if (!virtio_wait(&balloon, queue))
		return false;
	held = in ? held + n : held - n;
	virtio_config_set(&balloon, CONFIG_ACTUAL, (uint32_t)held);
	return true;
}

/* Come to `want` pages, as far as there are free ones. */
static bool resize(uint64_t want)
{
	uint64_t most = memory_pages() - memory_filled();

	if (want > most)
		want = most;
	while (held != want) {
		uint64_t n = held < want ? want - held : held - want;

		if (!move(held < want, n < BATCH ? n : BATCH)) {
			print("FAIL balloon: the device does not answer\n");
			return false;
		}
	}
	return true;
}

void balloon_poll(void)
{
	uint32_t target;

	if (!balloon.base)
		return;
	virtio_interrupts(&balloon);
	if (balloon.features & F_STATS && virtio_used(&balloon, 2))
		send_stats();
	target = virtio_config(&balloon, CONFIG_NUM_PAGES);
	if (target != answered)
		starved = false;
	if (target == held || starved)
		return;
	answered = target;
	if (!resize(target))
		return;
	starved = held != target;
	print("OK target actual=%u target=%u%s\n", held, (uint64_t)target,
	      starved ? " out of pages" : "");
}

/* Report the top free `bytes` in 2 MiB pieces, up to 32 in a request. */
static void report(uint64_t bytes)
{
	unsigned int queue = reporting_queue();
	uint64_t top = memory_pages() - held, pages = bytes / PAGE_BYTES, done = 0;
	struct desc *desc = balloon.queues[queue].desc;

	if (!(balloon.features & F_REPORTING)) {
		print("FAIL report: not offered\n");
		return;
	}
	while (done < pages) {
		uint16_t n = 0;

		for (; n < 32 && done < pages; n++) {
			uint64_t first = memory_page(top - done - 1) & ~(LARGE_BYTES - 1);
			uint64_t last = memory_page(top - done - 1) + PAGE_BYTES;
			uint64_t len = last - first;

			if (len > (pages - done) * PAGE_BYTES)
				len = (pages - done) * PAGE_BYTES;
			desc[n] = (struct desc){last - len, (uint32_t)len, DESC_WRITE | DESC_NEXT,
						(uint16_t)(n + 1)};
			done += len / PAGE_BYTES;
		}
		desc[n - 1].flags = DESC_WRITE;
		virtio_offer(&balloon, queue, 0);
		if (!virtio_wait(&balloon, queue)) {
			print("FAIL report: the device does not answer\n");
			return;
		}
	}
	print("OK report pages=%u\n", done);
}

void balloon_command(const char *what, char *args)
{
	uint64_t n = 0;

	(void)text_number(text_word(&args), &n);
	if (!balloon.base) {
		print("FAIL %s: no balloon\n", what);
	} else if (text_equal(what, "inflate") || text_equal(what, "deflate")) {
		uint64_t pages = n / PAGE_BYTES;
		bool in = text_equal(what, "inflate");

		starved = true; /* what the host wants does not count until it asks anew */
		answered = virtio_config(&balloon, CONFIG_NUM_PAGES);
		if (!in && pages > held)
			pages = held;
		if (resize(in ? held + pages : held - pages))
			print("OK %s held=%u\n", what, held);
	} else if (text_equal(what, "report")) {
		report(n);
	} else if (text_equal(what, "zero")) {
		print("OK zero pages=%u\n", memory_count_zero(n / PAGE_BYTES));
	} else if (text_equal(what, "poison")) {
		if (!start(F_STATS | F_PAGE_POISON | F_REPORTING)) {
			print("FAIL poison: no balloon\n");
			return;
		}
		virtio_config_set(&balloon, CONFIG_POISON, (uint32_t)n);
		print("OK poison value=0x%x\n", (uint64_t)virtio_config(&balloon, CONFIG_POISON));
	} else {
		print("OK balloon held=%u target=%u features=0x%x irqs=%u\n", held,
		      (uint64_t)virtio_config(&balloon, CONFIG_NUM_PAGES),
		      (uint64_t)balloon.features, irq_pins[balloon.pin]);
	}
}
