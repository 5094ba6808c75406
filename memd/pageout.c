// SPDX-License-Identifier: Apache-2.0
/* The hand of the clock; see pageout.h. */
#include "memd/pageout.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/pagemap.h"
#include "memd/smaps.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define RANGES_MAX     32
#define PAGE	       4096ULL
#define SLICE_PAGES    (PAGEOUT_SLICE_BYTES / PAGE)
#define HOT_ROUNDS     12
#define IDLE_BITMAP    "sys/kernel/mm/page_idle/bitmap"
#define IDLE_WORD_BITS 64

/* What the hand left behind in a slice; above SLICE_HOT: rounds for which it is left out. */
enum { SLICE_NEW, SLICE_OUT, SLICE_MARKED, SLICE_HOT };

struct range {
	uint64_t start, end; /* whole pages */
	size_t first;	     /* number of its first slice */
};

struct pageout {
	struct range ranges[RANGES_MAX];
	size_t n_ranges, n_slices, at;
	uint8_t *slices;
	uint64_t round_us; /* when this round began */
	bool marked;	   /* by this call: it is too early to look */
};

struct files {
	int pagemap, idle;
};

struct pageout *pageout_new(void)
{
	return calloc(1, sizeof(struct pageout));
}

void pageout_free(struct pageout *pageout)
{
	if (pageout)
		free(pageout->slices);
	free(pageout);
}

ssize_t pageout_advise(int pidfd, const struct iovec *ranges, size_t n)
{
	ssize_t done = syscall(SYS_process_madvise, pidfd, ranges, n, MADV_PAGEOUT, 0);

	return done < 0 ? -errno : done;
}

/* ---- the process's memory ---- */

static size_t slices_of(uint64_t start, uint64_t end)
{
	return (end - 1) / PAGEOUT_SLICE_BYTES - start / PAGEOUT_SLICE_BYTES + 1;
}

static size_t read_ranges(char *maps, struct range *ranges)
{
	struct smaps_mapping map;
	char *save = NULL;
	size_t n = 0, slices = 0;

	for (char *line = strtok_r(maps, "\n", &save); line && n < RANGES_MAX;
	     line = strtok_r(NULL, "\n", &save)) {
		if (smaps_header(line, &map) <= 0 || !smaps_is_private_ram(&map))
			continue;
		ranges[n] = (struct range){map.start, map.end, slices};
		slices += slices_of(map.start, map.end);
		n++;
	}
	return n;
}

/* What is known of slices holds as long as the ranges are the same. */
static int look_at_ranges(struct pageout *pageout, int rootfd, pid_t pid)
{
	AUTO_FREE char *maps = NULL;
	struct range ranges[RANGES_MAX] = {0};
	const struct range *last;
	char path[64];
	size_t n;
	int r;

	snprintf(path, sizeof(path), "proc/%d/maps", (int)pid);
	r = kfile_read_all(rootfd, path, &maps, NULL);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	n = read_ranges(maps, ranges);
	if (n == pageout->n_ranges && memcmp(ranges, pageout->ranges, sizeof(ranges)) == 0)
		return n ? 0 : -EAGAIN;
	free(pageout->slices);
	last = n ? &ranges[n - 1] : NULL;
	*pageout = (struct pageout){.n_ranges = n};
	memcpy(pageout->ranges, ranges, sizeof(ranges));
	if (!last)
		return -EAGAIN;
	pageout->n_slices = last->first + slices_of(last->start, last->end);
	pageout->slices = calloc(pageout->n_slices, 1);
	if (!pageout->slices) {
		*pageout = (struct pageout){0};
		return -ENOMEM;
	}
	return 0;
}

/* Addresses of a slice: those of 2 MiB, cut by the range. */
static void find_slice(const struct pageout *pageout, size_t number, uint64_t *ret_start,
		       uint64_t *ret_end)
{
	const struct range *range = pageout->ranges;
	uint64_t begin;

	while (range + 1 < pageout->ranges + pageout->n_ranges && range[1].first <= number)
		range++;
	begin = (range->start / PAGEOUT_SLICE_BYTES + (number - range->first)) *
		PAGEOUT_SLICE_BYTES;
	*ret_start = begin < range->start ? range->start : begin;
	*ret_end =
		begin + PAGEOUT_SLICE_BYTES > range->end ? range->end : begin + PAGEOUT_SLICE_BYTES;
}

/* ---- idle pages ---- */

/* Of a huge page only the first one is marked and tells. */
static bool is_huge(const uint64_t *entries, size_t n)
{
	return n == PAGEMAP_HUGE_PAGES && pagemap_is_huge(entries);
}

static bool is_idle(const struct files *files, uint64_t pfn, uint64_t *word_at, uint64_t *word)
{
	uint64_t at = pfn / IDLE_WORD_BITS * sizeof(*word);

	if (at != *word_at && pread(files->idle, word, sizeof(*word), (off_t)at) != sizeof(*word))
		*word = 0;
	*word_at = at;
	return *word & 1ULL << pfn % IDLE_WORD_BITS;
}

/* Bits that are 0 change nothing. */
static void mark_idle(const struct files *files, const uint64_t *entries, size_t n)
{
	uint64_t word = 0, at = UINT64_MAX;

	for (size_t i = 0; i <= n; i++) {
		uint64_t pfn =
			i < n && entries[i] & PAGEMAP_PRESENT ? entries[i] & PAGEMAP_FRAME : 0;
		uint64_t next = pfn / IDLE_WORD_BITS * sizeof(word);

		if (word && (i == n || (pfn && next != at))) {
			/* A page that cannot be marked counts as in use. */
			(void)!pwrite(files->idle, &word, sizeof(word), (off_t)at);
			word = 0;
		}
		if (!pfn)
			continue;
		at = next;
		word |= 1ULL << pfn % IDLE_WORD_BITS;
	}
}

/*
 * Can it be swapped out? The kernel leaves out what others map, too (mm/madvise.c), and that is
 * right for pages that KSM has merged: whoever reads such a page back gets one of his own.
 */
static bool is_own(uint64_t entry)
{
	return (entry & (PAGEMAP_PRESENT | PAGEMAP_EXCLUSIVE)) ==
	       (PAGEMAP_PRESENT | PAGEMAP_EXCLUSIVE);
}

/* Are frame numbers told (CAP_SYS_ADMIN), without which nothing can be marked? */
static bool can_mark(const struct files *files, const uint64_t *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (entries[i] & PAGEMAP_PRESENT)
			return files->idle >= 0 && (entries[i] & PAGEMAP_FRAME) != 0;
	return false;
}

/* ---- one slice ---- */

struct slice {
	uint64_t start;
	size_t n; /* pages */
	uint64_t entries[SLICE_PAGES];
	size_t own; /* that can be swapped out */
};

static int read_slice(const struct files *files, uint64_t start, uint64_t end,
		      struct slice *ret_slice)
{
	struct slice *slice = ret_slice;
	size_t want = (end - start) / PAGE * sizeof(slice->entries[0]);
	ssize_t got = pread(files->pagemap, slice->entries, want,
			    (off_t)(start / PAGE * sizeof(slice->entries[0])));

	if (got < 0)
		return -errno;
	slice->start = start;
	slice->n = (size_t)got / sizeof(slice->entries[0]);
	slice->own = 0;
	for (size_t i = 0; i < slice->n; i++)
		slice->own += is_own(slice->entries[i]) ? 1 : 0;
	return 0;
}

/* Runs of pages to swap out: those idle, or all. Returns how many; *ret_pages in them. */
static size_t pick(const struct files *files, const struct slice *slice, bool idle_only,
		   struct iovec *ranges, size_t *ret_pages)
{
	bool huge = idle_only && is_huge(slice->entries, slice->n), open = false;
	uint64_t word_at = UINT64_MAX, word = 0;
	size_t n = 0;

	*ret_pages = 0;
	for (size_t i = 0; i < slice->n; i++) {
		uint64_t entry = slice->entries[i];
		bool take = is_own(entry);

		if (take && idle_only)
			take = is_idle(files, slice->entries[huge ? 0 : i] & PAGEMAP_FRAME,
				       &word_at, &word);
		if (take && !open)
			ranges[n++] = (struct iovec){
				.iov_base = (void *)(uintptr_t)(slice->start + i * PAGE)};
		if (take) {
			ranges[n - 1].iov_len += PAGE;
			++*ret_pages;
		}
		open = take;
	}
	return n;
}

/* All of them at once; one that must not be swapped (locked, of a device) fails as a whole. */
static int advise(const struct pageout_order *order, const struct iovec *ranges, size_t n)
{
	ssize_t done = n ? order->advise(order->pidfd, ranges, n) : 0;

	return done < 0 ? (int)done : 0;
}

/* *ret_asked: bytes. */
static int visit(struct pageout *pageout, const struct pageout_order *order,
		 const struct files *files, size_t number, uint64_t *ret_asked)
{
	uint8_t *state = &pageout->slices[number];
	struct iovec ranges[SLICE_PAGES / 2 + 1];
	struct slice slice;
	uint64_t start, end;
	size_t n, pages;
	bool by_idle;
	int r;

	*ret_asked = 0;
	find_slice(pageout, number, &start, &end);
	r = read_slice(files, start, end, &slice);
	if (r < 0)
		return r;
	if (slice.own == 0) {
		*state = SLICE_NEW;
		return 0;
	}
	by_idle = !order->any && can_mark(files, slice.entries, slice.n);
	if (*state > SLICE_HOT) {
		*state -= order->any && *state > SLICE_HOT + 4 ? 4 : 1;
		return 0;
	}
	if (*state == SLICE_OUT && !by_idle && slice.own > slice.n / 8) {
		*state = SLICE_HOT + HOT_ROUNDS;
		return 0;
	}
	if (by_idle && *state != SLICE_MARKED) {
		mark_idle(files, slice.entries, slice.n);
		*state = SLICE_MARKED;
		pageout->marked = true;
		return 0;
	}
	n = pick(files, &slice, by_idle, ranges, &pages);
	r = advise(order, ranges, n);
	if (r == -EINVAL)
		return 0;
	if (r < 0)
		return r;
	if (by_idle)
		mark_idle(files, slice.entries, slice.n);
	*state = by_idle ? SLICE_MARKED : SLICE_OUT;
	*ret_asked = pages * PAGE;
	return 0;
}

bool pageout_sees_idle(int rootfd)
{
	return faccessat(rootfd, IDLE_BITMAP, R_OK | W_OK, AT_EACCESS) == 0;
}

static int open_files(const struct pageout_order *order, struct files *files)
{
	char path[64];

	snprintf(path, sizeof(path), "proc/%d/pagemap", (int)order->pid);
	files->idle = openat(order->rootfd, IDLE_BITMAP, O_RDWR | O_CLOEXEC);
	files->pagemap = openat(order->rootfd, path, O_RDONLY | O_CLOEXEC);
	if (files->pagemap >= 0)
		return 0;
	return errno == ENOENT ? -ESRCH : -errno;
}

static int go_round(struct pageout *pageout, const struct pageout_order *order,
		    const struct files *files, uint64_t *asked)
{
	int r = 0;

	for (size_t i = 0; i < pageout->n_slices && *asked < order->bytes; i++) {
		uint64_t one;

		if (i > 0 && clock_now_us() >= order->deadline_us)
			return 0;
		if (pageout->at == 0) {
			/* What was marked a moment ago tells nothing yet. */
			if (files->idle >= 0 && !order->any && pageout->round_us &&
			    order->now_us - pageout->round_us < PAGEOUT_AGE_US)
				return -EINPROGRESS;
			pageout->round_us = order->now_us;
		}
		r = visit(pageout, order, files, pageout->at, &one);
		if (r < 0)
			return r;
		*asked += one;
		pageout->at = (pageout->at + 1) % pageout->n_slices;
	}
	if (*asked >= order->bytes)
		return 0;
	return pageout->marked ? -EINPROGRESS : -EAGAIN;
}

int pageout_run(struct pageout *pageout, const struct pageout_order *order,
		uint64_t *ret_asked_bytes)
{
	struct files files = {-1, -1};
	uint64_t asked = 0;
	int r = look_at_ranges(pageout, order->rootfd, order->pid);

	pageout->marked = false;
	if (r == 0)
		r = open_files(order, &files);
	if (r == 0)
		r = go_round(pageout, order, &files, &asked);
	cleanup_fd(&files.pagemap);
	cleanup_fd(&files.idle);
	*ret_asked_bytes = asked;
	return r;
}
