// SPDX-License-Identifier: Apache-2.0
/* One pass over one guest's memory, chunk by chunk. */
#define XXH_INLINE_ALL
#include "memd/chunk_print.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/grow.h"
#include "common/kfile.h"
#include "memd/smaps.h"

#define PAGE	    4096u
#define PRESENT	    (1ull << 63)  /* Documentation/admin-guide/mm/pagemap.rst */
#define WHOLE_LEAST (16ull << 20) /* of a mapping that may be guest RAM, see footprint.c */
#define SLOTS	    4096
#define FREQUENT    64
#define SLICE_US    20000 /* sleeps are cut into these, to hear of cancel */

struct slot {
	uint64_t hash;
	uint32_t count;
};

struct reader {
	const struct chunk_target *target;
	const struct chunk_pace *pace;
	struct chunk_print *print;
	int pagemap, mem;
	uint64_t zero_hash;
	uint8_t *buf; /* a chunk's pages */
	struct slot *slots;
};

uint64_t chunk_cpu_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

/* Sleep until the CPU time used is no more than the share. */
static void wait_turn(const struct chunk_pace *pace)
{
	uint64_t used = chunk_cpu_us() - pace->cpu_us;
	uint64_t due = pace->wall_us + used * 1000000 / (pace->share_ppm ? pace->share_ppm : 1);

	while (!atomic_load(pace->cancel)) {
		uint64_t now = clock_now_us();

		if (now >= due)
			return;
		usleep((useconds_t)(due - now < SLICE_US ? due - now : SLICE_US));
	}
}

/* ---- one chunk ---- */

struct run {
	size_t first, n;
};

/* Runs of pages in memory. Returns how many. */
static size_t find_present(int pagemap, uint64_t address, size_t pages, struct run *runs)
{
	uint64_t entries[CHUNK_PAGES];
	ssize_t got = pread(pagemap, entries, pages * sizeof(entries[0]),
			    (off_t)(address / PAGE * sizeof(entries[0])));
	size_t n = 0;

	pages = got > 0 ? (size_t)got / sizeof(entries[0]) : 0;
	for (size_t i = 0; i < pages; i++) {
		if (!(entries[i] & PRESENT))
			continue;
		if (i == 0 || !(entries[i - 1] & PRESENT))
			runs[n++] = (struct run){.first = i};
		runs[n - 1].n++;
	}
	return n;
}

/*
 * By /proc/PID/mem: process_vm_readv(2) pins the pages, and since 5.19 a pinned page is first made
 * its process's own (mm/gup.c, gup_must_unshare): it would undo all merging of what it reads.
 * Returns the pages read.
 */
static size_t read_present(const struct reader *in, uint64_t address, size_t pages)
{
	struct run runs[CHUNK_PAGES];
	size_t n = find_present(in->pagemap, address, pages, runs), at = 0;

	for (size_t i = 0; i < n; i++) {
		ssize_t got = pread(in->mem, in->buf + at * PAGE, runs[i].n * PAGE,
				    (off_t)(address + runs[i].first * PAGE));

		at += got > 0 ? (size_t)got / PAGE : 0;
	}
	return at;
}

static int keep(struct chunk_print *print, uint64_t key, uint32_t chunk)
{
	struct chunk_entry *entries =
		grow(print->entries, &print->capacity, print->n_entries + 1, sizeof(*entries));

	if (!entries)
		return -ENOMEM;
	print->entries = entries;
	print->entries[print->n_entries++] = (struct chunk_entry){.key = key, .chunk = chunk};
	return 0;
}

/*
 * Is this a content that its guest is full of? One in `rate` contents would miss it, or see too
 * much of it: as with zero pages, nearly each such page is saved. Slots count their content up and
 * others down (Boyer and Moore's majority vote, one for each slot).
 */
static bool is_frequent(struct reader *in, uint64_t hash)
{
	struct slot *slot = &in->slots[(hash >> 32) % SLOTS];

	if (slot->hash == hash) {
		slot->count += slot->count < UINT32_MAX;
		return slot->count > FREQUENT;
	}
	if (slot->count)
		slot->count--;
	else
		*slot = (struct slot){.hash = hash, .count = 1};
	return false;
}

static int read_chunk(struct reader *in, uint64_t address, size_t pages, uint32_t chunk)
{
	struct chunk_print *print = in->print;
	struct chunk_score none = {0}, *score = chunk == CHUNK_NONE ? &none : &print->scores[chunk];
	size_t present = read_present(in, address, pages);
	int r = 0;

	score->present = (uint16_t)present;
	print->pages += present;
	for (size_t i = 0; i < present && r == 0; i++) {
		uint64_t hash = XXH64(in->buf + i * PAGE, PAGE, 0);

		if (hash == in->zero_hash) {
			score->gain += CHUNK_GAIN_UNIT;
			print->zeroes++;
		} else if (is_frequent(in, hash)) {
			score->gain += CHUNK_GAIN_UNIT;
			print->frequent++;
		} else if (hash % print->rate == 0) {
			r = keep(print, hash, chunk);
		}
	}
	return r;
}

static int read_range(struct reader *in, uint64_t address, uint64_t bytes, uint32_t chunk)
{
	int r = 0;

	for (uint64_t off = 0; off < bytes && r == 0; off += CHUNK_BYTES) {
		uint64_t left = bytes - off;

		r = read_chunk(in, address + off, (left < CHUNK_BYTES ? left : CHUNK_BYTES) / PAGE,
			       chunk);
		chunk += chunk != CHUNK_NONE;
		wait_turn(in->pace);
		if (atomic_load(in->pace->cancel))
			return -ECANCELED;
	}
	return r;
}

/* Its large private anonymous mappings, whatever they hold. */
static int read_whole(struct reader *in, int rootfd)
{
	AUTO_FREE char *maps = NULL;
	char path[64], *save = NULL;
	int r = 0;

	snprintf(path, sizeof(path), "proc/%d/maps", (int)in->target->pid);
	if (kfile_read_all(rootfd, path, &maps, NULL) < 0)
		return 0;
	for (char *line = strtok_r(maps, "\n", &save); line && r == 0;
	     line = strtok_r(NULL, "\n", &save)) {
		struct smaps_mapping map;
		uint64_t bytes;

		if (smaps_header(line, &map) <= 0)
			continue;
		bytes = map.end - map.start;
		if (map.readable && map.writable && !map.exec && !map.shared && !map.file &&
		    bytes >= WHOLE_LEAST && bytes <= in->target->whole_bytes)
			r = read_range(in, map.start, bytes, CHUNK_NONE);
	}
	return r;
}

static int read_target(struct reader *in, int rootfd)
{
	const struct chunk_target *target = in->target;
	AUTO_FD int pagemap = -1, mem = -1;
	uint32_t chunk = 0;
	char path[64];
	int r = 0;

	snprintf(path, sizeof(path), "proc/%d/pagemap", (int)target->pid);
	pagemap = openat(rootfd, path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "proc/%d/mem", (int)target->pid);
	mem = openat(rootfd, path, O_RDONLY | O_CLOEXEC);
	if (pagemap < 0 || mem < 0)
		return 0; /* gone, or not ours to look at: nothing is known of it */
	in->pagemap = pagemap;
	in->mem = mem;
	if (target->whole)
		return read_whole(in, rootfd);
	for (size_t i = 0; i < target->n_regions && r == 0; i++) {
		const struct chunk_region *region = &target->regions[i];

		r = read_range(in, region->address, region->bytes, chunk);
		chunk += (uint32_t)((region->bytes + CHUNK_BYTES - 1) / CHUNK_BYTES);
	}
	return r;
}

/* It is kept for minutes: no more than it needs. */
static void fit(struct chunk_print *print)
{
	struct chunk_entry *entries =
		print->n_entries ? reallocarray(print->entries, print->n_entries, sizeof(*entries))
				 : NULL;

	if (!entries)
		return;
	print->entries = entries;
	print->capacity = print->n_entries;
}

int chunk_print_read(int rootfd, const struct chunk_target *target, uint64_t rate,
		     const struct chunk_pace *pace, struct chunk_print *ret_print)
{
	AUTO_FREE uint8_t *buf = calloc(1, CHUNK_BYTES);
	AUTO_FREE struct slot *slots = calloc(SLOTS, sizeof(*slots));
	struct reader in = {
		.target = target, .pace = pace, .print = ret_print, .buf = buf, .slots = slots};
	uint64_t cpu_us = chunk_cpu_us();
	int r;

	*ret_print = (struct chunk_print){
		.id = target->id,
		.pid = target->pid,
		.whole = target->whole,
		.rate = rate,
		.n = chunk_count(target),
	};
	ret_print->scores = calloc(ret_print->n + 1, sizeof(*ret_print->scores));
	if (!buf || !slots || !ret_print->scores)
		return -ENOMEM;
	in.zero_hash = XXH64(buf, PAGE, 0);
	r = read_target(&in, rootfd);
	fit(ret_print);
	ret_print->cpu_us = chunk_cpu_us() - cpu_us;
	return r;
}

void chunk_print_free(struct chunk_print *print)
{
	free(print->scores);
	free(print->entries);
	*print = (struct chunk_print){0};
}

bool chunk_print_fits(const struct chunk_print *print, const struct chunk_target *target)
{
	return print->id == target->id && print->pid == target->pid &&
	       print->whole == target->whole && print->n == chunk_count(target);
}

void chunk_print_thin(struct chunk_print *print, uint64_t rate)
{
	size_t n = 0;

	for (size_t i = 0; i < print->n_entries && rate > print->rate; i++)
		if (print->entries[i].key % rate == 0)
			print->entries[n++] = print->entries[i];
	if (rate > print->rate) {
		print->n_entries = n;
		print->rate = rate;
		fit(print);
	}
}
