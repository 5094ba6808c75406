// SPDX-License-Identifier: Apache-2.0
/*
 * The tiny guest's virtio-blk: sectors with a pattern of their number and a seed, written, read
 * back and compared; and requests that no driver should send, whose status is printed.
 *
 *   disk I info                          disk I hostile CASE
 *   disk I write|read SEED SECTOR COUNT  disk I flush
 *   disk I discard|zero SECTOR COUNT     disk I empty SECTOR COUNT (reads as zeroes?)
 */
#include "tests/guest/tiny.h"

#define SECTOR	    512U
#define CHUNK	    128U /* sectors per request */
#define STATUS_NONE 0xee

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
#define F_FLUSH	       (1U << 9)
#define F_DISCARD      (1U << 13)
#define F_WRITE_ZEROES (1U << 14)

static struct queue queue;
static struct device disk = {.queues = &queue};
static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header;
static struct {
	uint64_t sector;
	uint32_t count, flags;
} range;
static volatile uint8_t status;
static uint64_t data[CHUNK * SECTOR / 8] __attribute__((aligned(4096)));

static bool start(uint64_t index)
{
	return virtio_find_nth(2, (unsigned int)index, &disk) &&
	       virtio_start(&disk, F_FLUSH | F_DISCARD | F_WRITE_ZEROES, 1);
}

/* One request; its status, or STATUS_NONE when there was no answer. */
static unsigned int request(uint32_t type, uint64_t sector, void *buffer, uint32_t len, bool in)
{
	struct desc *d = queue.desc;

	header.type = type;
	header.sector = sector;
	status = STATUS_NONE;
	d[0] = (struct desc){(uint64_t)&header, 16, DESC_NEXT, len ? 1 : 2};
	d[1] = (struct desc){(uint64_t)buffer, len, (uint16_t)(DESC_NEXT | (in ? DESC_WRITE : 0)),
			     2};
	d[2] = (struct desc){(uint64_t)&status, 1, DESC_WRITE, 0};
	virtio_offer(&disk, 0, 0);
	virtio_wait(&disk, 0);
	virtio_interrupts(&disk);
	return status;
}

static uint64_t pattern(uint64_t seed, uint64_t sector, uint64_t i)
{
	uint64_t x = (seed << 40) + sector * 64 + i + 1;

	x *= 0x9e3779b97f4a7c15ULL;
	return x ^ x >> 29;
}

/* The words of n sectors: put, or count those that differ. */
static uint64_t each_word(uint64_t seed, uint64_t sector, uint64_t n, bool put, bool zero)
{
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < n * SECTOR / 8; i++) {
		uint64_t want = zero ? 0 : pattern(seed, sector + i / 64, i % 64);

		if (put)
			data[i] = want;
		else
			wrong += data[i] != want;
	}
	return wrong;
}

static void transfer(const char *what, uint64_t seed, uint64_t sector, uint64_t count, bool zero)
{
	bool write = text_equal(what, "write");

	for (uint64_t done = 0; done < count;) {
		uint64_t n = count - done < CHUNK ? count - done : CHUNK, wrong = 0;
		unsigned int got;

		each_word(seed, sector + done, write ? n : 0, true, false);
		got = request(write ? T_OUT : T_IN, sector + done, data, (uint32_t)(n * SECTOR),
			      !write);
		if (got == 0 && !write)
			wrong = each_word(seed, sector + done, n, false, zero);
		if (got || wrong) {
			print("FAIL disk %s: status %u at sector %u, %u words wrong\n", what,
			      (uint64_t)got, sector + done, wrong);
			return;
		}
		done += n;
	}
	print("OK disk %s sectors=%u\n", what, count);
}

static void ranges(const char *what, uint64_t sector, uint64_t count)
{
	unsigned int got;

	range.sector = sector;
	range.count = (uint32_t)count;
	range.flags = text_equal(what, "zero");
	got = request(text_equal(what, "zero") ? T_WRITE_ZEROES : T_DISCARD, 0, &range, 16, false);
	print("%s disk %s status=%u\n", got ? "FAIL" : "OK", what, (uint64_t)got);
}

static void info(void)
{
	char id[21] = {0};
	unsigned int got = request(T_GET_ID, 0, id, 20, true);

	print("OK disk info sectors=%u features=0x%x status=%u id=%s irqs=%u\n",
	      (uint64_t)virtio_config(&disk, 0), (uint64_t)disk.features, (uint64_t)got, id,
	      irq_pins[disk.pin]);
}

/* Descriptors as they stand, without an answer that can be relied on. */
static void offer_odd(uint32_t header_len, bool with_status)
{
	header.type = T_OUT;
	header.sector = 0;
	queue.desc[0] =
		(struct desc){(uint64_t)&header, header_len, with_status ? DESC_NEXT : 0, 1};
	queue.desc[1] = (struct desc){(uint64_t)&status, 1, DESC_WRITE, 0};
	virtio_offer(&disk, 0, 0);
	virtio_wait(&disk, 0);
}

static void hostile(const char *what)
{
	uint64_t sectors = virtio_config(&disk, 0);

	status = STATUS_NONE;
	if (text_equal(what, "beyond"))
		request(T_OUT, sectors, data, SECTOR, false);
	else if (text_equal(what, "over-end"))
		request(T_OUT, sectors - 1, data, 2 * SECTOR, false);
	else if (text_equal(what, "wrap"))
		request(T_OUT, ~0ULL, data, SECTOR, false);
	else if (text_equal(what, "odd"))
		request(T_OUT, 0, data, SECTOR + 1, false);
	else if (text_equal(what, "unknown"))
		request(77, 0, data, SECTOR, false);
	else if (text_equal(what, "many-ranges"))
		request(T_DISCARD, 0, data, sizeof(data), false);
	else if (text_equal(what, "no-header"))
		offer_odd(8, true);
	else if (text_equal(what, "no-status"))
		offer_odd(16, false);
	else {
		print("FAIL disk hostile: no case %s\n", what);
		return;
	}
	print("OK disk hostile %s status=%u reset=%u\n", what, (uint64_t)status,
	      (uint64_t) !!(virtio_status(&disk) & STATUS_NEEDS_RESET));
}

void disk_command(const char *name, char *args)
{
	uint64_t index = 0, n[3] = {0};
	const char *index_word = text_word(&args), *what = text_word(&args), *word;
	bool write;

	if (!text_number(index_word, &index) || !start(index)) {
		print("FAIL disk %s: no such disk\n", index_word);
		return;
	}
	if (text_equal(what, "hostile")) {
		hostile(text_word(&args));
		return;
	}
	for (unsigned int i = 0; i < 3 && *(word = text_word(&args)); i++)
		text_number(word, &n[i]);
	write = text_equal(what, "write");
	if (write || text_equal(what, "read"))
		transfer(what, n[0], n[1], n[2], false);
	else if (text_equal(what, "empty"))
		transfer(what, 0, n[0], n[1], true);
	else if (text_equal(what, "discard") || text_equal(what, "zero"))
		ranges(what, n[0], n[1]);
	else if (text_equal(what, "flush"))
		print("OK disk flush status=%u\n", (uint64_t)request(T_FLUSH, 0, NULL, 0, false));
	else
		info();
}
