// SPDX-License-Identifier: Apache-2.0
/*
 * The tiny guest's virtio-mem driver: plugs and unplugs the blocks it is told to, fills and checks
 * them, and touches what it must not. The region has to lie below 4 GiB, which is mapped.
 */
#include "tests/guest/tiny.h"

#define F_UNPLUGGED_INACCESSIBLE (1U << 1)

#define CONFIG_BLOCK	 0
#define CONFIG_ADDR	 16
#define CONFIG_SIZE	 24
#define CONFIG_PLUGGED	 40
#define CONFIG_REQUESTED 48

static struct device mem;
static struct queue queues[1];

static struct {
	uint16_t type, padding[3];
	uint64_t addr;
	uint16_t n_blocks, padding2[3];
} request;
static uint16_t response[5];

static uint64_t config64(uint32_t offset)
{
	return virtio_config(&mem, offset) | (uint64_t)virtio_config(&mem, offset + 4) << 32;
}

static bool start(void)
{
	mem.queues = queues;
	return mem.base ||
	       (virtio_find(VIRTIO_MEM, &mem) && virtio_start(&mem, F_UNPLUGGED_INACCESSIBLE, 1));
}

static void ask(const char *what, uint16_t type, uint64_t block, uint64_t n)
{
	static const char *const answers[] = {"ack", "nack", "busy", "error"};
	struct desc *desc = mem.queues[0].desc;

	request.type = type;
	request.addr = config64(CONFIG_ADDR) + block * config64(CONFIG_BLOCK);
	request.n_blocks = (uint16_t)n;
	response[0] = 0xffff;
	desc[0] = (struct desc){(uint64_t)&request, 24, DESC_NEXT, 1};
	desc[1] = (struct desc){(uint64_t)response, 10, DESC_WRITE, 0};
	virtio_offer(&mem, 0, 0);
	if (!virtio_wait(&mem, 0) || response[0] > 3)
		print("FAIL mem %s: the device does not answer\n", what);
	else
		print("OK mem %s %s state=%u plugged=%u\n", what, answers[response[0]],
		      (uint64_t)response[4], config64(CONFIG_PLUGGED));
}

/* Every word of the blocks, its address as the pattern; or look whether it is there still. */
static void words(const char *what, uint64_t block, uint64_t n, bool write)
{
	uint64_t from = config64(CONFIG_ADDR) + block * config64(CONFIG_BLOCK);
	uint64_t to = from + n * config64(CONFIG_BLOCK), wrong = 0;

	for (volatile uint64_t *word = (uint64_t *)from; (uint64_t)word < to; word += 64) {
		if (write)
			*word = ~(uint64_t)word;
		else
			wrong += *word != ~(uint64_t)word;
	}
	print("%s mem %s wrong=%u\n", wrong ? "FAIL" : "OK", what, wrong);
}

static void touch(const char *what, uint64_t block, bool write)
{
	volatile uint64_t *word =
		(uint64_t *)(config64(CONFIG_ADDR) + block * config64(CONFIG_BLOCK));

	if (write)
		*word = 1;
	print("OK mem %s value=%u\n", what, *word);
}

void mem_command(const char *name, char *args)
{
	const char *what = text_word(&args);
	uint64_t block = 0, n = 1;

	(void)text_number(text_word(&args), &block);
	(void)text_number(text_word(&args), &n);
	if (!start())
		print("FAIL mem: no device\n");
	else if (text_equal(what, "plug"))
		ask(what, 0, block, n);
	else if (text_equal(what, "unplug"))
		ask(what, 1, block, n);
	else if (text_equal(what, "all"))
		ask(what, 2, 0, 0);
	else if (text_equal(what, "state"))
		ask(what, 3, block, n);
	else if (text_equal(what, "fill") || text_equal(what, "check"))
		words(what, block, n, text_equal(what, "fill"));
	else if (text_equal(what, "read") || text_equal(what, "write"))
		touch(what, block, text_equal(what, "write"));
	else
		print("OK mem addr=%u size=%u block=%u requested=%u plugged=%u\n",
		      config64(CONFIG_ADDR), config64(CONFIG_SIZE), config64(CONFIG_BLOCK),
		      config64(CONFIG_REQUESTED), config64(CONFIG_PLUGGED));
}
