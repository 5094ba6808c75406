// SPDX-License-Identifier: Apache-2.0
/*
 * Guest RAM given back to the host: discarding, and whole pool pages out of many partial
 * returns.
 *
 * Invariant of pool pieces: a host page is either a pool page, and then populated, or "plain"
 * (ordinary memory mapped in its place). So touching guest RAM never finds an empty pool. A plain
 * page becomes a pool page again only while the balloon holds all of it: then the guest may not
 * touch it, and replacing it loses nothing.
 */
#include "vmm/ram_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/cleanup.h"
#include "common/log.h"

/* vm.max_map_count is 65530 unless changed; half of it is ours to use up. */
#define MAPS_MAX 32000

/* ---- memory of its own ---- */

int ram_return_init(struct ram_piece *piece)
{
	if (ram_credit_init(piece) < 0)
		return -ENOMEM;
	if (ram_pages_is_pool(piece->pages)) {
		piece->plain = calloc(piece->region.size_bytes / piece->page_bytes / 64 + 1,
				      sizeof(uint64_t));
		if (!piece->plain)
			return -ENOMEM;
	}
	return ram_hold_init(piece);
}

void ram_return_free(struct ram_piece *piece)
{
	ram_credit_free(piece);
	free(piece->plain);
	ram_hold_free(piece);
}

void ram_return_forget(struct ram *ram, struct ram_piece *piece, uint64_t off, uint64_t len)
{
	ram_credit_forget(piece, off, len);
	if (piece->open)
		ram_hold_release(ram, piece, off, len);
	else if (piece->unit_bytes)
		ram_hold(piece, off, len, false);
	if (piece->plain)
		bits_fill(piece->plain, off / piece->page_bytes, len / piece->page_bytes, false);
	if (piece->torn)
		bits_fill(piece->torn, off / RAM_HUGE_BYTES, len / RAM_HUGE_BYTES, false);
}

/* ---- pool pages ---- */

/* Count the process's mappings. */
static unsigned int count_maps(const struct ram *ram)
{
	AUTO_FILE FILE *f = ram_reread(ram->maps_fd);
	unsigned int n = 0;
	int c;

	while (f && (c = getc_unlocked(f)) != EOF)
		n += c == '\n';
	return n;
}

/*
 * Replacing splits mappings, of which a process may have so many only. ram->maps_made is an upper
 * bound that is made exact when it reaches the limit; being refused it grows too, so that counting
 * is rare.
 */
static bool maps_left(struct ram *ram)
{
	if (ram->maps_made < MAPS_MAX)
		return true;
	if (ram->maps_made % 1024 == 0 || !ram->maps_full_logged)
		ram->maps_made = count_maps(ram);
	if (ram->maps_made < MAPS_MAX)
		return true;
	if (!ram->maps_full_logged)
		log_warn("memory: %u mappings: no more single huge pages are given back",
			 ram->maps_made);
	ram->maps_full_logged = true;
	ram->maps_made++;
	return false;
}

static void mark_plain(struct ram_piece *piece, uint64_t off, uint64_t len, bool plain)
{
	for (uint64_t end = off + len; off < end; off += piece->page_bytes) {
		if (plain)
			bit_set(piece->plain, off / piece->page_bytes);
		else
			bit_clear(piece->plain, off / piece->page_bytes);
	}
}

/* Whole pool pages go back to the pool. */
static int release_pool(struct ram *ram, struct ram_piece *piece, uint64_t off, uint64_t len,
			enum ram_giver giver)
{
	int r;

	if (!maps_left(ram))
		return 0;
	ram_credit(piece, off, len, giver);
	r = ram_piece_replace(ram, piece, piece->region.hva + off, len, false);
	if (r < 0) {
		ram_credit_forget(piece, off, len);
		return r;
	}
	ram->maps_made += 2;
	mark_plain(piece, off, len, true);
	return 0;
}

/* Plain pages become pool pages again; what was in them is lost. */
static int take_pool(struct ram *ram, struct ram_piece *piece, uint64_t off, uint64_t len)
{
	int r = ram_piece_replace(ram, piece, piece->region.hva + off, len, true);

	if (r < 0)
		return r;
	ram->maps_made += 2;
	mark_plain(piece, off, len, false);
	ram_credit_forget(piece, off, len);
	return 0;
}

/* ---- giving back ---- */

int ram_piece_drop(struct ram_piece *piece, uint64_t off, uint64_t len, enum ram_giver giver)
{
	int r;

	if (giver == RAM_GIVER_RESET)
		ram_credit_forget(piece, off, len);
	else
		ram_credit(piece, off, len, giver);
	if (madvise(piece->region.hva + off, len, MADV_DONTNEED) == 0) {
		ram_hold_tear(piece, off, len, giver);
		return 0;
	}
	r = -errno;
	ram_credit_forget(piece, off, len);
	return r;
}

enum pool_step { STEP_KEEP, STEP_RELEASE, STEP_DROP, STEP_ZERO };

/* What to do with [off, end), which lies in one host page. */
static enum pool_step choose_step(struct ram_piece *piece, uint64_t off, uint64_t end,
				  enum ram_giver giver)
{
	uint64_t host = off / piece->page_bytes;

	if (giver == RAM_GIVER_BALLOON)
		ram_hold(piece, off, end - off, true);
	if (bit_get(piece->plain, host))
		return STEP_DROP;
	if (giver == RAM_GIVER_RESET)
		return STEP_ZERO;
	/* Reported pages are reused without a word: what is no whole page now never adds up. */
	if (giver == RAM_GIVER_REPORTING)
		return end - off == piece->page_bytes ? STEP_RELEASE : STEP_KEEP;
	return ram_hold_is_whole(piece, host) ? STEP_RELEASE : STEP_KEEP;
}

static int take_step(struct ram *ram, struct ram_piece *piece, enum pool_step step, uint64_t off,
		     uint64_t len, enum ram_giver giver)
{
	switch (step) {
	case STEP_RELEASE:
		return release_pool(ram, piece, off, len, giver);
	case STEP_DROP:
		return ram_piece_drop(piece, off, len, giver);
	case STEP_ZERO:
		memset(piece->region.hva + off, 0, len);
		return 0;
	default:
		return 0;
	}
}

/* Consecutive host pages with the same step go together. */
static int discard_pool(struct ram *ram, struct ram_piece *piece, uint64_t off, uint64_t len,
			enum ram_giver giver)
{
	uint64_t end = off + len, run_from = off, run_to = off;
	enum pool_step run_step = STEP_KEEP;
	int result = 0, r;

	while (off < end) {
		uint64_t host_from = off - off % piece->page_bytes;
		uint64_t host_to = host_from + piece->page_bytes;
		uint64_t to = min_u64(end, host_to);
		enum pool_step step = choose_step(piece, off, to, giver);
		uint64_t from = step == STEP_RELEASE ? host_from : off;

		if (step != run_step || from != run_to) {
			r = take_step(ram, piece, run_step, run_from, run_to - run_from, giver);
			result = result ? result : r;
			run_step = step;
			run_from = from;
		}
		run_to = step == STEP_RELEASE ? host_to : to;
		off = to;
	}
	r = take_step(ram, piece, run_step, run_from, run_to - run_from, giver);
	return result ? result : r;
}

/* ---- the range of a call, region by region ---- */

static int check_range(const struct ram *ram, uint64_t gpa, uint64_t len)
{
	if ((gpa | len) % RAM_SMALL_BYTES)
		return -EINVAL;
	while (len) {
		uint64_t room = ram_room(ram, gpa);

		if (room == 0)
			return -EFAULT;
		if (room >= len)
			break;
		gpa += room;
		len -= room;
	}
	return 0;
}

static int discard(struct ram *ram, uint64_t gpa, uint64_t len, enum ram_giver giver, bool lazily)
{
	int result = check_range(ram, gpa, len);

	if (result < 0)
		return result;
	while (len) {
		struct ram_piece *piece = ram_find_piece(ram, gpa);
		uint64_t off = gpa - piece->region.gpa;
		uint64_t n = min_u64(len, piece->region.size_bytes - off);
		int r;

		/* A test's buffer that is not page-aligned shares its pages with others. */
		if ((uintptr_t)piece->region.hva % RAM_SMALL_BYTES)
			r = -EINVAL;
		else if (ram_pages_is_pool(piece->pages))
			r = discard_pool(ram, piece, off, n, giver);
		else if (lazily && piece->unit_bytes)
			r = ram_hold_lazily(ram, piece, off, n);
		else
			r = ram_piece_drop(piece, off, n, giver);
		result = result ? result : r;
		gpa += n;
		len -= n;
	}
	return result;
}

int ram_discard(struct ram *ram, uint64_t gpa, uint64_t len, enum ram_giver giver)
{
	return discard(ram, gpa, len, giver, false);
}

int ram_discard_lazily(struct ram *ram, uint64_t gpa, uint64_t len)
{
	return discard(ram, gpa, len, RAM_GIVER_BALLOON, true);
}

/* ---- using it again ---- */

static void reuse_pool(struct ram *ram, struct ram_piece *piece, uint64_t off, uint64_t len)
{
	static struct log_limit limit = {.window_us = 60000000, .burst = 1};

	for (uint64_t end = off + len, to; off < end; off = to) {
		uint64_t host = off / piece->page_bytes, from = host * piece->page_bytes;

		to = min_u64(end, from + piece->page_bytes);
		if (bit_get(piece->plain, host) && ram_hold_is_whole(piece, host)) {
			int r = take_pool(ram, piece, from, piece->page_bytes);

			if (r < 0 && log_limit_pass(&limit, NULL))
				log_warn(
					"memory: the %s pool has no page for memory that the guest "
					"uses again (%s): it gets ordinary memory",
					ram_pages_name(piece->pages), strerror(-r));
		}
		ram_hold(piece, off, to - off, false);
	}
}

int ram_reuse(struct ram *ram, uint64_t gpa, uint64_t len)
{
	int r = check_range(ram, gpa, len);

	if (r < 0)
		return r;
	while (len) {
		struct ram_piece *piece = ram_find_piece(ram, gpa);
		uint64_t off = gpa - piece->region.gpa;
		uint64_t n = min_u64(len, piece->region.size_bytes - off);

		if (ram_pages_is_pool(piece->pages))
			reuse_pool(ram, piece, off, n);
		else if (piece->unit_bytes)
			ram_hold_release(ram, piece, off, n);
		/* Still absent until it is touched: should it be reported, that counts again. */
		ram_credit_nobody(piece, off, n);
		gpa += n;
		len -= n;
	}
	return 0;
}

void ram_reuse_all(struct ram *ram)
{
	const struct ram_piece *piece;

	for (size_t i = 0; (piece = ram_piece_at(ram, i)); i++) {
		const struct ram_region *region = &piece->region;

		for (uint64_t off = 0, n; off < region->size_bytes; off += n) {
			n = min_u64(ram_room(ram, region->gpa + off), region->size_bytes - off);
			if (n)
				(void)ram_reuse(ram, region->gpa + off, n);
			else
				n = RAM_BLOCK_MIN; /* unplugged: blocks are multiples of it */
		}
	}
}

static void reset_pool(struct ram *ram, struct ram_piece *piece)
{
	uint64_t page = piece->page_bytes, size = piece->region.size_bytes;
	uint8_t *hva = piece->region.hva;

	for (uint64_t off = 0, end; off < size; off = end) {
		bool plain = bit_get(piece->plain, off / page);

		for (end = off + page; end < size; end += page)
			if (bit_get(piece->plain, end / page) != plain)
				break;
		if (!plain) {
			ram_zero(hva + off, end - off);
			continue;
		}
		for (uint64_t at = off; at < end; at += page)
			if (take_pool(ram, piece, at, page) < 0)
				(void)madvise(hva + at, page, MADV_DONTNEED);
	}
}

void ram_discard_all(struct ram *ram)
{
	for (size_t i = 0; i < ram->n_pieces; i++) {
		struct ram_piece *piece = &ram->pieces[i];
		uint8_t *hva = piece->region.hva;
		uint64_t len = piece->region.size_bytes;

		ram_credit_clear(piece);
		ram_hold_forget(ram, piece);
		if (ram_pages_is_pool(piece->pages))
			reset_pool(ram, piece);
		else if ((uintptr_t)hva % RAM_SMALL_BYTES || madvise(hva, len, MADV_DONTNEED) < 0)
			memset(hva, 0, len);
		else if (ram->configs[piece->region.node].prealloc &&
			 ram_populate(NULL, hva, len, RAM_SMALL_BYTES, "guest memory") < 0)
			log_warn("memory node %u: prealloc=on: not all could be taken again at "
				 "reset",
				 piece->region.node);
	}
	for (size_t i = 0; i < ram->n_plugs; i++)
		ram_unplug_all(ram, i);
}
