// SPDX-License-Identifier: Apache-2.0
/*
 * Nonsense for the balloon, one case at a time. The answer says what the device did: "served" (the
 * request came back), "needs-reset" or "silent"; afterwards the device is set up anew and must
 * serve a proper request. Which answer is right is the test's business.
 */
#include "tests/guest/tiny.h"
#include "vmm/layout.h"

static uint32_t list[1024] __attribute__((aligned(4096)));
static struct desc table[256] __attribute__((aligned(4096)));

static struct desc *ring(void)
{
	return balloon.queues[0].desc;
}

static void one(uint64_t addr, uint32_t len, uint16_t flags)
{
	ring()[0] = (struct desc){addr, len, flags, 0};
	virtio_offer(&balloon, 0, 0);
}

static void send_list(unsigned int n)
{
	one((uint64_t)list, n * 4, 0);
}

static void beyond_ram(void)
{
	list[0] = LAYOUT_HOLE_START >> 12;
	list[1] = 0xffffffff;
	list[2] = LAYOUT_VIRTIO_MMIO >> 12;
	list[3] = (uint32_t)((memory_page(memory_pages() - 1) >> 12) + 1);
	send_list(4);
}

static void loop(void)
{
	ring()[0] = (struct desc){(uint64_t)list, 4, DESC_NEXT, 1};
	ring()[1] = (struct desc){(uint64_t)list, 4, DESC_NEXT, 0};
	virtio_offer(&balloon, 0, 0);
}

static void zero_length(void)
{
	one((uint64_t)list, 0, 0);
}

static void odd_length(void)
{
	list[0] = list[1] = 0xffffffff;
	one((uint64_t)list, 7, 0);
}

static void writable(void)
{
	one((uint64_t)list, 64, DESC_WRITE);
}

static void outside(void)
{
	one(LAYOUT_HOLE_START, 64, 0);
}

static void wraps(void)
{
	one(~0UL - 3, 64, 0);
}

static void huge_length(void)
{
	one((uint64_t)list, 0xffffffff, 0);
}

/* As many descriptors as an index can name, in one indirect table all over free memory. */
static void descriptors_64k(void)
{
	struct desc *all = (struct desc *)memory_page(memory_filled());

	for (uint32_t i = 0; i < 65536; i++)
		all[i] = (struct desc){(uint64_t)list, 4, DESC_NEXT, (uint16_t)(i + 1)};
	one((uint64_t)all, 65536 * sizeof(*all), DESC_INDIRECT);
}

/* A page list of 256 KiB: 64 Ki page numbers, all the same bad one. */
static void pages_64k(void)
{
	uint32_t *all = (uint32_t *)memory_page(memory_filled());

	for (uint32_t i = 0; i < 65536; i++)
		all[i] = 0xfffffff0;
	one((uint64_t)all, 65536 * 4, 0);
}

static void nested(void)
{
	table[0] = (struct desc){(uint64_t)table, 16, DESC_INDIRECT, 0};
	one((uint64_t)table, 16, DESC_INDIRECT);
}

static void indirect_odd(void)
{
	one((uint64_t)table, 24, DESC_INDIRECT);
}

static void head_beyond(void)
{
	virtio_offer(&balloon, 0, 0x7fff);
}

static void next_beyond(void)
{
	ring()[0] = (struct desc){(uint64_t)list, 4, DESC_NEXT, 0x7fff};
	virtio_offer(&balloon, 0, 0);
}

static void avail_jump(void)
{
	balloon.queues[0].avail.idx = 0x4000;
	virtio_offer(&balloon, 0, 0);
}

/* Well formed, 64 times the same large request: only the amount is hostile. */
static void flood(void)
{
	for (unsigned int i = 0; i < 1024; i++)
		list[i] = 0xfffff000 + i;
	ring()[0] = (struct desc){(uint64_t)list, sizeof(list), 0, 0};
	for (unsigned int i = 0; i < 63; i++)
		balloon.queues[0].avail.idx++;
	virtio_offer(&balloon, 0, 0);
}

static void stats_huge(void)
{
	balloon.queues[2].desc[1] = (struct desc){(uint64_t)list & ~0xfffffUL, 1 << 20, 0, 0};
	virtio_offer(&balloon, 2, 1);
	list[0] = 0xffffffff;
	send_list(1);
}

static void report_readable(void)
{
	balloon.queues[3].desc[0] = (struct desc){(uint64_t)list, 4096, 0, 0};
	virtio_offer(&balloon, 3, 0);
	list[0] = 0xffffffff;
	send_list(1);
}

static void bad_queue(void)
{
	mmio_write(balloon.base + 0x50, 77);
	mmio_write(balloon.base + 0x30, 77);
	mmio_write(balloon.base + 0x44, 1);
	mmio_write(balloon.base + 0x50, 4);
	list[0] = 0xffffffff;
	send_list(1);
}

static void actual_lie(void)
{
	virtio_config_set(&balloon, 4, 0xffffffff);
	list[0] = 0xffffffff;
	send_list(1);
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{"beyond-ram", beyond_ram},
	{"loop", loop},
	{"zero-length", zero_length},
	{"odd-length", odd_length},
	{"writable", writable},
	{"outside", outside},
	{"wraps", wraps},
	{"huge-length", huge_length},
	{"descriptors-64k", descriptors_64k},
	{"pages-64k", pages_64k},
	{"nested", nested},
	{"indirect-odd", indirect_odd},
	{"head-beyond", head_beyond},
	{"next-beyond", next_beyond},
	{"avail-jump", avail_jump},
	{"flood", flood},
	{"stats-huge", stats_huge},
	{"report-readable", report_readable},
	{"bad-queue", bad_queue},
	{"actual-lie", actual_lie},
};

static void run(unsigned int i)
{
	const char *answer;

	balloon_start();
	if (!balloon.base) {
		print("FAIL hostile: no balloon\n");
		return;
	}
	cases[i].run();
	if (virtio_wait(&balloon, 0))
		answer = "served";
	else
		answer = virtio_status(&balloon) & STATUS_NEEDS_RESET ? "needs-reset" : "silent";

	balloon_start();
	list[0] = (uint32_t)(memory_page(memory_pages() - 1) >> 12);
	send_list(1);
	if (!balloon.base || !virtio_wait(&balloon, 0))
		print("FAIL hostile %s %s, and no service after reset\n", cases[i].name, answer);
	else
		print("OK hostile %s %s\n", cases[i].name, answer);
	balloon_start();
}

void hostile_command(const char *command, char *args)
{
	const char *name = text_word(&args);
	bool all = text_equal(name, "all"), found = false;

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!all && !text_equal(name, cases[i].name))
			continue;
		found = true;
		run(i);
	}
	if (!found)
		print("FAIL hostile: no case %s\n", name);
	else if (all)
		print("OK hostile-all\n");
}
