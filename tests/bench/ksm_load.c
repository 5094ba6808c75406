// SPDX-License-Identifier: Apache-2.0
/*
 * Stands for a guest: the memory image of one, copied into private anonymous memory that is marked
 * mergeable before its first touch, as QEMU and vmm do it. Once loaded it writes as a guest does
 * that has little to do: new values into a hot set (stacks, counters), so that those pages equal no
 * other, and now and then a page anywhere becomes a copy of another (page cache replaced by other
 * files).
 *
 * usage: ksm_load IMAGE [--hot-pages N] [--hot-writes N] [--replaced N] [--seed N] [--skip-zero]
 *   --hot-pages N   pages of the hot set (default 1280, 5 MiB)
 *   --hot-writes N  writes a second into it (default 200)
 *   --replaced N    pages replaced an hour (default 3600): each leaves sharing until ksmd finds it
 *   --skip-zero     leave pages that are all zero untouched
 * Prints "loaded BYTES" and then runs until it is killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

#define PAGE	 4096UL
#define ROUND_US 100000ULL
#define HOUR_US	 (3600 * USEC_PER_SEC)

struct load {
	uint8_t *memory;
	size_t pages;
	int fd;					  /* the image */
	uint64_t hot_pages, hot_writes, replaced; /* pages; a second; an hour */
	uint64_t random;
	bool skip_zero;
};

/* splitmix64: one step. */
static uint64_t next(struct load *load)
{
	uint64_t x = load->random += 0x9e3779b97f4a7c15ULL;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static bool is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

static int load_image(struct load *load, const char *path)
{
	uint8_t page[PAGE];
	struct stat st;
	size_t loaded = 0;

	load->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (load->fd < 0 || fstat(load->fd, &st) < 0)
		return -errno;
	load->pages = (size_t)st.st_size / PAGE;
	if (load->pages == 0)
		return -EINVAL;
	load->memory = mmap(NULL, load->pages * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (load->memory == MAP_FAILED)
		return -errno;
	if (madvise(load->memory, load->pages * PAGE, MADV_MERGEABLE) < 0)
		return -errno;
	for (size_t i = 0; i < load->pages; i++) {
		ssize_t n = pread(load->fd, page, PAGE, (off_t)(i * PAGE));

		if (n != (ssize_t)PAGE)
			return n < 0 ? -errno : -EIO;
		if (load->skip_zero && is_zero(page))
			continue;
		memcpy(load->memory + i * PAGE, page, PAGE);
		loaded++;
	}
	printf("loaded %zu\n", loaded * PAGE);
	fflush(stdout);
	return 0;
}

/* The hot set lies in runs of 16 pages all over memory. */
static size_t hot_page(const struct load *load, uint64_t i)
{
	uint64_t run = i / 16 * 16, stride = load->pages / (load->hot_pages / 16 + 1);

	return (size_t)(load->pages ? (run / 16 * stride + i % 16) % load->pages : 0);
}

static bool is_untouched(const struct load *load, size_t page)
{
	/* What a guest never had it does not write to here either. */
	return !load->memory || (load->skip_zero && !load->memory[page * PAGE]);
}

/* A number below n, which may be 0. */
static uint64_t below(struct load *load, uint64_t n)
{
	return n ? next(load) % n : 0;
}

static void write_hot(struct load *load)
{
	size_t page = hot_page(load, below(load, load->hot_pages));
	volatile uint64_t *at = (uint64_t *)(load->memory + page * PAGE);

	if (!is_untouched(load, page))
		at[below(load, PAGE / sizeof(*at))] = next(load);
}

static void replace(struct load *load)
{
	size_t page = below(load, load->pages), other = below(load, load->pages);

	if (!is_untouched(load, page) && !is_untouched(load, other))
		(void)!pread(load->fd, load->memory + page * PAGE, PAGE, (off_t)(other * PAGE));
}

static void run(struct load *load)
{
	uint64_t start = clock_now_us(), hot = 0, replaced = 0;

	for (;;) {
		uint64_t past = clock_now_us() - start;

		for (; load->hot_pages && hot < past * load->hot_writes / USEC_PER_SEC; hot++)
			write_hot(load);
		for (; replaced < past * load->replaced / HOUR_US; replaced++)
			replace(load);
		usleep(ROUND_US);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"hot-pages", required_argument, NULL, 'p'},
		{"hot-writes", required_argument, NULL, 'h'},
		{"replaced", required_argument, NULL, 'r'},
		{"seed", required_argument, NULL, 's'},
		{"skip-zero", no_argument, NULL, 'z'},
		{0},
	};
	struct load load = {.hot_pages = 1280, .hot_writes = 200, .replaced = 3600};
	int c, r;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			load.hot_pages = strtoull(optarg, NULL, 10);
			break;
		case 'h':
			load.hot_writes = strtoull(optarg, NULL, 10);
			break;
		case 'r':
			load.replaced = strtoull(optarg, NULL, 10);
			break;
		case 's':
			load.random = strtoull(optarg, NULL, 10);
			break;
		case 'z':
			load.skip_zero = true;
			break;
		default:
			return 2;
		}
	}
	if (optind + 1 != argc) {
		fputs("usage: ksm_load IMAGE [OPTION...]\n", stderr);
		return 2;
	}
	r = load_image(&load, argv[optind]);
	if (r < 0) {
		fprintf(stderr, "ksm_load: %s: %s\n", argv[optind], strerror(-r));
		return 1;
	}
	run(&load);
	return 0;
}
