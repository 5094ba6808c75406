// SPDX-License-Identifier: Apache-2.0
/* One pass over guests' memory, chunk by chunk, then one sort of what was kept of it. */
#define XXH_INLINE_ALL
#include "memd/chunk_sample.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "memd/smaps.h"

#define PAGE	    4096u
#define GAIN_UNIT   16
#define PRESENT	    (1ull << 63)  /* Documentation/admin-guide/mm/pagemap.rst */
#define WHOLE_LEAST (16ull << 20) /* of a mapping that may be guest RAM, see footprint.c */
#define NO_CHUNK    UINT32_MAX
#define RATE_LEAST  8
#define ENTRIES_MAX (2u << 20) /* 32 MiB */
#define SLICE_US    20000      /* sleeps are cut into these, to hear of cancel */

struct entry {
	uint64_t key;
	uint32_t chunk;
};

struct sampler {
	const atomic_bool *cancel;
	uint32_t share_ppm;
	uint64_t wall_us, cpu_us; /* at the start */
	uint64_t zero_hash;
	uint8_t *buf; /* a chunk's pages */
	struct entry *entries;
	size_t n_entries, capacity;
	struct chunk_samples *out;
};

size_t chunk_count(const struct chunk_target *target)
{
	size_t n = 0;

	for (size_t i = 0; i < target->n_regions && !target->whole; i++)
		n += (target->regions[i].bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
	return n;
}

static uint64_t thread_cpu_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

/* Sleep until the CPU time used is no more than the share. */
static void pace(const struct sampler *s)
{
	uint64_t used = thread_cpu_us() - s->cpu_us;
	uint64_t due = s->wall_us + used * 1000000 / (s->share_ppm ? s->share_ppm : 1);

	while (!atomic_load(s->cancel)) {
		uint64_t now = clock_now_us();

		if (now >= due)
			return;
		usleep((useconds_t)(due - now < SLICE_US ? due - now : SLICE_US));
	}
}

/* ---- one chunk ---- */

/* Runs of pages in memory, for process_vm_readv(). Returns how many; *ret_pages in them. */
static size_t find_present(int pagemap, uint64_t address, size_t pages, struct iovec *runs,
			   size_t *ret_pages)
{
	uint64_t entries[CHUNK_PAGES];
	ssize_t got = pread(pagemap, entries, pages * sizeof(entries[0]),
			    (off_t)(address / PAGE * sizeof(entries[0])));
	size_t n = 0, present = 0;

	pages = got > 0 ? (size_t)got / sizeof(entries[0]) : 0;
	for (size_t i = 0; i < pages; i++) {
		if (!(entries[i] & PRESENT))
			continue;
		if (i == 0 || !(entries[i - 1] & PRESENT))
			runs[n++] = (struct iovec){
				.iov_base = (void *)(uintptr_t)(address + i * PAGE), .iov_len = 0};
		runs[n - 1].iov_len += PAGE;
		present++;
	}
	*ret_pages = present;
	return n;
}

static int keep(struct sampler *s, uint64_t key, uint32_t chunk)
{
	if (s->n_entries == s->capacity) {
		size_t capacity = s->capacity ? 2 * s->capacity : 4096;
		struct entry *entries = reallocarray(s->entries, capacity, sizeof(*entries));

		if (!entries)
			return -ENOMEM;
		s->entries = entries;
		s->capacity = capacity;
	}
	s->entries[s->n_entries++] = (struct entry){.key = key, .chunk = chunk};
	return 0;
}

static int sample_chunk(struct sampler *s, const struct chunk_target *target, int pagemap,
			uint64_t address, size_t pages, uint32_t chunk)
{
	struct iovec runs[CHUNK_PAGES], local = {.iov_base = s->buf};
	struct chunk_score none = {0}, *score = chunk == NO_CHUNK ? &none : &s->out->scores[chunk];
	size_t present, n = find_present(pagemap, address, pages, runs, &present);
	ssize_t got;
	int r = 0;

	if (!n)
		return 0;
	local.iov_len = present * PAGE;
	got = process_vm_readv(target->pid, &local, 1, runs, n, 0);
	present = got > 0 ? (size_t)got / PAGE : 0;
	score->present = (uint16_t)present;
	s->out->pages += present;
	for (size_t i = 0; i < present && r == 0; i++) {
		uint64_t hash = XXH64(s->buf + i * PAGE, PAGE, 0);

		if (hash == s->zero_hash) {
			score->gain += chunk == NO_CHUNK ? 0 : GAIN_UNIT;
			s->out->zeroes++;
		} else if (hash % s->out->rate == 0) {
			r = keep(s, hash + target->domain * 0x9e3779b97f4a7c15ull, chunk);
		}
	}
	return r;
}

static int sample_range(struct sampler *s, const struct chunk_target *target, int pagemap,
			uint64_t address, uint64_t bytes, uint32_t chunk)
{
	int r = 0;

	for (uint64_t off = 0; off < bytes && r == 0; off += CHUNK_BYTES) {
		uint64_t left = bytes - off;

		r = sample_chunk(s, target, pagemap, address + off,
				 (left < CHUNK_BYTES ? left : CHUNK_BYTES) / PAGE, chunk);
		chunk += chunk != NO_CHUNK;
		pace(s);
		if (atomic_load(s->cancel))
			return -ECANCELED;
	}
	return r;
}

/* Its large private anonymous mappings, whatever they hold. */
static int sample_whole(struct sampler *s, int rootfd, const struct chunk_target *target,
			int pagemap)
{
	AUTO_FREE char *maps = NULL;
	char path[64], *save = NULL;
	int r = 0;

	snprintf(path, sizeof(path), "proc/%d/maps", (int)target->pid);
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
		    bytes >= WHOLE_LEAST && bytes <= target->whole_bytes)
			r = sample_range(s, target, pagemap, map.start, bytes, NO_CHUNK);
	}
	return r;
}

static int sample_target(struct sampler *s, int rootfd, const struct chunk_target *target,
			 uint32_t chunk)
{
	AUTO_FD int pagemap = -1;
	char path[64];
	int r = 0;

	snprintf(path, sizeof(path), "proc/%d/pagemap", (int)target->pid);
	pagemap = openat(rootfd, path, O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		return 0; /* gone, or not ours to look at: nothing is known of it */
	if (target->whole)
		return sample_whole(s, rootfd, target, pagemap);
	for (size_t i = 0; i < target->n_regions && r == 0; i++) {
		const struct chunk_region *region = &target->regions[i];

		r = sample_range(s, target, pagemap, region->address, region->bytes, chunk);
		chunk += (uint32_t)((region->bytes + CHUNK_BYTES - 1) / CHUNK_BYTES);
	}
	return r;
}

/* ---- what it says ---- */

static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return (x->key > y->key) - (x->key < y->key);
}

/* Of m equal pages all but one are saved; each brings its part, and stands for `rate` others. */
static void count_gains(struct sampler *s)
{
	size_t end;

	qsort(s->entries, s->n_entries, sizeof(*s->entries), compare_entries);
	for (size_t at = 0; at < s->n_entries; at = end) {
		uint64_t m, gain;

		for (end = at + 1; end < s->n_entries && s->entries[end].key == s->entries[at].key;)
			end++;
		m = end - at;
		gain = s->out->rate * GAIN_UNIT * (m - 1) / m;
		for (size_t i = at; i < end && gain; i++) {
			struct chunk_score *score;
			uint64_t sum, most;

			if (s->entries[i].chunk == NO_CHUNK)
				continue;
			score = &s->out->scores[s->entries[i].chunk];
			sum = score->gain + gain;
			most = (uint64_t)score->present * GAIN_UNIT;
			score->gain = (uint16_t)(sum < most ? sum : most);
		}
	}
}

/* The rate for which the table stays small enough: a power of two. */
static uint64_t rate_for(size_t chunks)
{
	uint64_t rate = RATE_LEAST;

	while ((uint64_t)chunks * CHUNK_PAGES / rate > ENTRIES_MAX)
		rate *= 2;
	return rate;
}

static int sample_all(struct sampler *s, int rootfd, const struct chunk_target *targets, size_t n)
{
	uint32_t chunk = 0;
	int r = 0;

	s->buf = calloc(1, CHUNK_BYTES);
	s->out->scores = calloc(s->out->n + 1, sizeof(*s->out->scores));
	if (!s->buf || !s->out->scores)
		return -ENOMEM;
	s->zero_hash = XXH64(s->buf, PAGE, 0);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = sample_target(s, rootfd, &targets[i], chunk);
		chunk += (uint32_t)chunk_count(&targets[i]);
	}
	if (r == 0)
		count_gains(s);
	return r;
}

void chunk_sample(int rootfd, const struct chunk_target *targets, size_t n, uint32_t share_ppm,
		  const atomic_bool *cancel, struct chunk_samples *ret_samples)
{
	struct sampler s = {.cancel = cancel, .share_ppm = share_ppm, .out = ret_samples};

	*ret_samples = (struct chunk_samples){0};
	for (size_t i = 0; i < n; i++)
		ret_samples->n += chunk_count(&targets[i]);
	ret_samples->rate = rate_for(ret_samples->n);
	s.wall_us = clock_now_us();
	s.cpu_us = thread_cpu_us();
	ret_samples->error = sample_all(&s, rootfd, targets, n);
	ret_samples->cpu_us = thread_cpu_us() - s.cpu_us;
	ret_samples->wall_us = clock_now_us() - s.wall_us;
	free(s.buf);
	free(s.entries);
}

void chunk_samples_free(struct chunk_samples *samples)
{
	free(samples->scores);
	samples->scores = NULL;
}
