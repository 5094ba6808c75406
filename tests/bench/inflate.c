// SPDX-License-Identifier: Apache-2.0
/*
 * The balloon device alone: a driver in this process hands it page numbers over real guest RAM, so
 * what is measured is the device's own speed - reading, ordering, holding, giving back - without a
 * guest. Prints a table; nothing is asserted. usage: inflate [MIB [ROUNDS]]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/size.h"
#include "vmm/balloon.h"
#include "vmm/bus.h"
#include "vmm/virtio_mmio.h"

#define QUEUE_SIZE 128
#define LIST_PFNS  256 /* of one request, as Linux sends them */
#define RINGS_GPA  0x1000ULL
#define LISTS_GPA  0x10000ULL
#define FIRST_GPA  (2 * MIB) /* what is below is the driver's own */

struct bench {
	struct ram *ram;
	struct virtio_device *dev;
	struct virtio_mmio *mmio;
	uint16_t avail_idx[2];
};

static void need(bool truth, const char *what)
{
	if (truth)
		return;
	fprintf(stderr, "inflate: %s\n", what);
	exit(1);
}

static void reg(struct bench *b, uint64_t offset, uint32_t value)
{
	virtio_mmio_bus_ops.write(b->mmio, offset, (uint8_t *)&value, 4);
}

static uint64_t ring_gpa(unsigned int queue)
{
	return RINGS_GPA + queue * 0x4000ULL;
}

/* Virtio 1.2 3.1.1, with MUST_TELL_HOST and VERSION_1; descriptors, driver and device ring. */
static void start_driver(struct bench *b)
{
	reg(b, 0x70, 0);
	reg(b, 0x70, 3);
	reg(b, 0x24, 0);
	reg(b, 0x20, 1);
	reg(b, 0x24, 1);
	reg(b, 0x20, 1);
	reg(b, 0x70, 11);
	for (unsigned int queue = 0; queue < 2; queue++) {
		memset(ram_ptr(b->ram, ring_gpa(queue), 0x4000), 0, 0x4000);
		b->avail_idx[queue] = 0;
		reg(b, 0x30, queue);
		reg(b, 0x38, QUEUE_SIZE);
		for (unsigned int part = 0; part < 3; part++) {
			reg(b, 0x80 + part * 0x10, (uint32_t)(ring_gpa(queue) + part * 0x1000));
			reg(b, 0x84 + part * 0x10, 0);
		}
		reg(b, 0x44, 1);
	}
	reg(b, 0x70, 15);
	need(b->dev->active, "the device did not start");
}

/* One request: a list of page numbers in one descriptor, and a kick. */
static void send(struct bench *b, unsigned int queue, const uint32_t *pfns, size_t n)
{
	uint16_t slot = b->avail_idx[queue] % QUEUE_SIZE;
	uint64_t list = LISTS_GPA + slot * (uint64_t)sizeof(uint32_t) * LIST_PFNS;
	struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} *desc = ram_ptr(b->ram, ring_gpa(queue), 16 * QUEUE_SIZE);
	uint16_t *avail = ram_ptr(b->ram, ring_gpa(queue) + 0x1000, 0x1000);

	memcpy(ram_ptr(b->ram, list, n * sizeof(*pfns)), pfns, n * sizeof(*pfns));
	desc[slot].addr = list;
	desc[slot].len = (uint32_t)(n * sizeof(*pfns));
	avail[2 + slot] = slot;
	avail[1] = ++b->avail_idx[queue];
	reg(b, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

static double measure(struct bench *b, unsigned int queue, const uint32_t *pfns, size_t n)
{
	uint64_t begin = clock_now_us(), took;

	for (size_t at = 0; at < n; at += LIST_PFNS)
		send(b, queue, pfns + at, n - at < LIST_PFNS ? n - at : LIST_PFNS);
	while (ram_settle(b->ram, true))
		;
	took = clock_now_us() - begin;
	return (double)n * 1e6 / (double)(took ? took : 1);
}

static void shuffle(uint32_t *pfns, size_t n)
{
	srandom(1);
	for (size_t i = n - 1; i > 0; i--) {
		size_t j = (size_t)random() % (i + 1);
		uint32_t other = pfns[j];

		pfns[j] = pfns[i];
		pfns[i] = other;
	}
}

static void order(uint32_t *pfns, size_t n, const char *how)
{
	for (size_t i = 0; i < n; i++)
		pfns[i] = (uint32_t)(FIRST_GPA / 4096 + (how[0] == 'd' ? n - 1 - i : i));
	if (how[0] == 'r')
		shuffle(pfns, n);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void run(enum ram_pages pages, uint64_t bytes, const char *how, unsigned int rounds)
{
	struct ram_config config = {.size_bytes = bytes, .pages = pages};
	const struct balloon_config options = {0};
	struct bus *bus = bus_new();
	struct loop *loop = bus ? loop_new(bus) : NULL;
	const size_t n = (size_t)((bytes - FIRST_GPA) / 4096);
	uint32_t *pfns = malloc(n * sizeof(*pfns));
	double in[16] = {0}, out[16] = {0};
	int fd = eventfd(0, EFD_NONBLOCK);
	struct bench b = {0};

	need(loop && pfns && fd >= 0, "out of memory");
	need(ram_new(&config, 1, &b.ram) == 0, "no guest RAM");
	b.dev = balloon_new(b.ram, loop, &options, NULL, NULL);
	need(b.dev && virtio_mmio_new(b.dev, loop, fd, &b.mmio) == 0, "no device");
	start_driver(&b);
	for (unsigned int round = 0; round < rounds; round++) {
		memset(ram_ptr(b.ram, FIRST_GPA, bytes - FIRST_GPA), 1, bytes - FIRST_GPA);
		order(pfns, n, how);
		in[round] = measure(&b, 0, pfns, n);
		out[round] = measure(&b, 1, pfns, n);
	}
	qsort(in, rounds, sizeof(in[0]), compare);
	qsort(out, rounds, sizeof(out[0]), compare);
	printf("%-6s %-11s %10.0f %8.2f %10.0f %8.2f\n", ram_pages_name(pages), how, in[rounds / 2],
	       in[rounds / 2] * 4096 / GIB, out[rounds / 2], out[rounds / 2] * 4096 / GIB);
	virtio_mmio_free(b.mmio);
	close(fd);
	ram_free(b.ram);
	loop_free(loop);
	bus_free(bus);
	free(pfns);
}

int main(int argc, char **argv)
{
	static const char *const hows[] = {"ascending", "descending", "random"};
	uint64_t bytes = (argc > 1 ? strtoull(argv[1], NULL, 10) : 512) * MIB;
	unsigned int rounds = argc > 2 ? (unsigned int)atoi(argv[2]) : 5;

	if (bytes < 16 * MIB || rounds < 1 || rounds > 16) {
		fprintf(stderr, "usage: inflate [MIB [ROUNDS]], at least 16 MiB, 1 to 16 rounds\n");
		return 2;
	}
	log_init("inflate", LOG_LEVEL_ERR);
	printf("%-6s %-11s %10s %8s %10s %8s\n", "PAGES", "ORDER", "INFLATE/S", "GiB/s",
	       "DEFLATE/S", "GiB/s");
	for (size_t i = 0; i < 3; i++)
		run(RAM_PAGES_THP, bytes, hows[i], rounds);
	for (size_t i = 0; i < 3; i++)
		run(RAM_PAGES_SMALL, bytes, hows[i], rounds);
	return 0;
}
