// SPDX-License-Identifier: Apache-2.0
/*
 * Who gave what back: the account of guest RAM that is really free, and because of whom. A page
 * counts for as long as it stays absent, and for the last who gave it.
 */
#include "vmm/ram_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"

#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_SWAPPED (1ULL << 62)
#define BATCH_PAGES	4096 /* pages looked at by one system call */

/* Values of the two credit bits of a page. */
enum credit { CREDIT_NONE, CREDIT_BALLOON = 1, CREDIT_REPORTING = 2, CREDIT_NOBODY = 3 };

int ram_credit_init(struct ram_piece *piece)
{
	uint64_t words = (piece->region.size_bytes / RAM_SMALL_BYTES + 63) / 64;

	/* Large and untouched: calloc takes no host memory for it until pages are given back. */
	for (size_t i = 0; i < ARRAY_SIZE(piece->credit); i++) {
		piece->credit[i] = calloc(words, sizeof(uint64_t));
		if (!piece->credit[i])
			return -ENOMEM;
	}
	return 0;
}

void ram_credit_free(struct ram_piece *piece)
{
	free(piece->credit[0]);
	free(piece->credit[1]);
}

void ram_credit_clear(struct ram_piece *piece)
{
	uint64_t words = (piece->region.size_bytes / RAM_SMALL_BYTES + 63) / 64;

	memset(piece->credit[0], 0, words * sizeof(uint64_t));
	memset(piece->credit[1], 0, words * sizeof(uint64_t));
}

/* ---- giving and taking ---- */

static enum credit credit_get(const struct ram_piece *piece, uint64_t page)
{
	return bit_get(piece->credit[0], page) | bit_get(piece->credit[1], page) << 1;
}

static void credit_set(struct ram_piece *piece, uint64_t page, enum credit credit)
{
	for (unsigned int i = 0; i < 2; i++) {
		if (credit >> i & 1)
			bit_set(piece->credit[i], page);
		else
			bit_clear(piece->credit[i], page);
	}
}

/* Give the pages of a word of the bitmaps that are in mask this credit. */
static void credit_word(struct ram_piece *piece, uint64_t word, uint64_t mask, enum credit credit)
{
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t old = piece->credit[i][word];
		uint64_t value = credit >> i & 1 ? old | mask : old & ~mask;

		if (value != old)
			piece->credit[i][word] = value;
	}
}

/* Those of the n pages from first on (all in one word) that have any credit. */
static uint64_t credited(const struct ram_piece *piece, uint64_t first, uint64_t n)
{
	uint64_t mask = (n == 64 ? ~0ULL : (1ULL << n) - 1) << (first % 64);

	return (piece->credit[0][first / 64] | piece->credit[1][first / 64]) & mask;
}

void ram_credit(struct ram_piece *piece, uint64_t off, uint64_t len, enum ram_giver giver)
{
	enum credit credit = giver == RAM_GIVER_BALLOON ? CREDIT_BALLOON : CREDIT_REPORTING;
	unsigned char resident[BATCH_PAGES];

	for (uint64_t end = off + len, n; off < end; off += n) {
		uint64_t at = off / RAM_SMALL_BYTES, stop, take;

		n = min_u64(end - off, BATCH_PAGES * RAM_SMALL_BYTES);
		if (mincore(piece->region.hva + off, n, resident) < 0)
			memset(resident, 0, sizeof(resident));
		stop = at + n / RAM_SMALL_BYTES;
		for (const unsigned char *p = resident; at < stop; at += take, p += take) {
			uint64_t mask = 0;

			take = min_u64(stop - at, 64 - at % 64);
			for (uint64_t i = 0; i < take; i++)
				mask |= (uint64_t)(p[i] & 1) << i;
			mask = mask << (at % 64) | credited(piece, at, take);
			credit_word(piece, at / 64, mask, credit);
		}
	}
}

static void uncredit_range(struct ram_piece *piece, uint64_t off, uint64_t len, enum credit to)
{
	uint64_t at = off / RAM_SMALL_BYTES, stop = at + len / RAM_SMALL_BYTES, take;

	for (; at < stop; at += take) {
		take = min_u64(stop - at, 64 - at % 64);
		credit_word(piece, at / 64, credited(piece, at, take), to);
	}
}

void ram_credit_forget(struct ram_piece *piece, uint64_t off, uint64_t len)
{
	uncredit_range(piece, off, len, CREDIT_NONE);
}

void ram_credit_nobody(struct ram_piece *piece, uint64_t off, uint64_t len)
{
	uncredit_range(piece, off, len, CREDIT_NOBODY);
}

bool ram_is_reported(const struct ram_piece *piece, uint64_t off, uint64_t len)
{
	for (uint64_t at = off / RAM_SMALL_BYTES; at < (off + len) / RAM_SMALL_BYTES; at++)
		if (credit_get(piece, at) == CREDIT_REPORTING)
			return true;
	return false;
}

/* ---- the account ---- */

/* Is each of the n pages host memory (present or swapped out)? */
static int look(const struct ram *ram, const uint8_t *hva, uint64_t n, bool *ret_used)
{
	uint64_t entries[BATCH_PAGES];
	unsigned char *resident = (unsigned char *)entries;
	ssize_t want = (ssize_t)(n * sizeof(*entries));

	if (ram->pagemap_fd >= 0 &&
	    pread(ram->pagemap_fd, entries, (size_t)want,
		  (off_t)((uintptr_t)hva / RAM_SMALL_BYTES * sizeof(*entries))) == want) {
		for (uint64_t i = 0; i < n; i++)
			ret_used[i] = entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED);
		return 0;
	}
	/* Without pagemap what is swapped out looks absent. */
	if (mincore((void *)(uintptr_t)hva, n * RAM_SMALL_BYTES, resident) < 0)
		return -errno;
	for (uint64_t i = 0; i < n; i++)
		ret_used[i] = resident[i] & 1;
	return 0;
}

static bool has_credit(const struct ram_piece *piece, uint64_t page, uint64_t n)
{
	for (uint64_t w = page / 64; w <= (page + n - 1) / 64; w++)
		if (piece->credit[0][w] | piece->credit[1][w])
			return true;
	return false;
}

int ram_returned(struct ram *ram, uint64_t *ret_balloon_bytes, uint64_t *ret_reporting_bytes)
{
	uint64_t pages[4] = {0};
	bool used[BATCH_PAGES] = {false};

	struct ram_piece *piece;

	while (ram_settle(ram, true))
		;
	for (size_t i = 0; (piece = ram_piece_at(ram, i)); i++) {
		uint64_t end = piece->region.size_bytes / RAM_SMALL_BYTES;

		for (uint64_t at = 0, n; at < end; at += n) {
			int r;

			n = min_u64(end - at, BATCH_PAGES);
			if (!has_credit(piece, at, n))
				continue;
			r = look(ram, piece->region.hva + at * RAM_SMALL_BYTES, n, used);
			if (r < 0)
				return r;
			for (uint64_t p = at; p < at + n; p++) {
				if (used[p - at])
					credit_set(piece, p, CREDIT_NONE);
				else
					pages[credit_get(piece, p)]++;
			}
		}
	}
	*ret_balloon_bytes = pages[CREDIT_BALLOON] * RAM_SMALL_BYTES;
	*ret_reporting_bytes = pages[CREDIT_REPORTING] * RAM_SMALL_BYTES;
	return 0;
}
